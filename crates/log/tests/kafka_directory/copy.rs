//! A copy of the directory for one test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use twinstream_log::{LastStop, LogConfig, LogMetrics, Opening, Origin, PartitionLog};
use twinstream_model::{LeaderEpoch, Offset, TopicName, TopicPartition};
use twinstream_protocol::batch::BatchBuilder;

use crate::rows::Row;

/// The four partitions that were kept, in the order of their names.
pub(crate) const PARTITIONS: [&str; 4] = ["compacted-0", "plain-0", "stamped-0", "transactional-0"];
/// Some time after everything was written.
pub(crate) const NOW: i64 = 1_795_400_000_000;
const ALL: Offset = Offset(i64::MAX);

pub(crate) struct Copy {
    folder: TempDir,
}

pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka-4.3.1")
}

pub(crate) fn partition(folder: &str) -> TopicPartition {
    let (topic, index) = folder.rsplit_once('-').expect("topic-partition");
    TopicPartition::new(TopicName::parse(topic).expect("a topic"), index.parse::<i32>().expect("a partition"))
}

impl Copy {
    pub(crate) fn new() -> Copy {
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy_files(&source(), folder.path());
        for partition in PARTITIONS {
            let to = folder.path().join(partition);
            fs::create_dir(&to).expect("a folder");
            copy_files(&source().join(partition), &to);
        }
        Copy { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The files of a partition with this extension.
    pub(crate) fn files(&self, partition: &str, extension: &str) -> BTreeMap<String, Vec<u8>> {
        let entries =
            fs::read_dir(self.path().join(partition)).expect("a folder").map(|entry| entry.expect("an entry"));
        let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
        let wanted = named.filter(|(_, path)| path.extension().is_some_and(|found| found == extension));
        wanted.map(|(name, path)| (name, fs::read(path).expect("a file"))).collect()
    }

    /// Opens a partition as after this stop, with nothing known of it but its files.
    pub(crate) fn open(&self, partition: &str, last_stop: LastStop) -> PartitionLog {
        let config = LogConfig { index_interval_bytes: 512, ..LogConfig::default() };
        let fresh = Opening::fresh(config, LogMetrics::new(), NOW);
        let opening = Opening { last_stop, high_watermark: ALL, ..fresh };
        PartitionLog::open(&self.path().join(partition), opening)
            .unwrap_or_else(|e| panic!("{partition}: {}", e.chain()))
    }
}

/// Appends a record, and tells how a consumer should see it.
pub(crate) fn append_one(log: &PartitionLog, at: Offset) -> Row {
    let mut builder = BatchBuilder::new();
    builder.append(NOW, Some(b"key"), Some(b"value"), []);
    let batch = builder.build().expect("a small batch");
    let appended = log.append(&batch, Origin::Client, LeaderEpoch(1), NOW).expect("a log that takes appends");
    assert_eq!(appended.base_offset, at);
    log.advance_high_watermark(ALL);
    Row {
        offset: at.0,
        log_append_time: false,
        timestamp: NOW,
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: Vec::new(),
    }
}

fn copy_files(from: &Path, to: &Path) {
    let entries = fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry"));
    for entry in entries.filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy a file");
    }
}
