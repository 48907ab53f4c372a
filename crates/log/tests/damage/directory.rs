//! The files of a log directory: its identity, and the checkpoints.

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;
use twinstream_log::{Checkpoint, DirectoryError, LastStop, LogDirectory, LogError, Opening, PartitionLog};
use twinstream_model::{ClusterId, NodeId, Offset, TopicName, TopicPartition};

use crate::matrix::{Change, STOPS, goes_on, served};
use crate::original::{FOLDER, Original, files_of, opening, temporary};

const NODE: NodeId = NodeId(1);
const CHECKPOINTS: [(Checkpoint, &str); 5] = [
    (Checkpoint::RecoveryPoint, "recovery-point-offset-checkpoint"),
    (Checkpoint::LogStart, "log-start-offset-checkpoint"),
    (Checkpoint::Replication, "replication-offset-checkpoint"),
    (Checkpoint::Cleaner, "cleaner-offset-checkpoint"),
    (Checkpoint::Aborted, ".twinstream-aborted"),
];

fn cluster() -> ClusterId {
    "36i6jnfPS4eNu7ZmdW0Kyg".into()
}

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::parse("t").expect("a topic"), 0)
}

/// A directory with the original's folder in it, as a clean stop leaves it.
struct Directory {
    root: TempDir,
    original: Original,
    files: BTreeMap<String, Vec<u8>>,
    id: uuid::Uuid,
}

impl Directory {
    fn new() -> Directory {
        let root = temporary();
        let original = Original::new();
        let mut directory = LogDirectory::open(root.path(), NODE).expect("a directory");
        directory.claim(&cluster()).expect("a directory of nobody");
        for (kind, _) in CHECKPOINTS {
            let at = match kind {
                Checkpoint::LogStart => 12,
                Checkpoint::Aborted => i64::try_from(original.aborted_count).expect("a few"),
                _ => original.end,
            };
            directory.write_checkpoint(kind, &[(partition(), Offset(at))].into()).expect("a checkpoint");
        }
        let files = files_of(root.path());
        Directory { id: directory.id(), root, original, files }
    }

    /// Opens the directory with one file changed.
    fn open(&self, file: &str, change: Change) -> Result<LogDirectory, DirectoryError> {
        for (name, bytes) in &self.files {
            fs::write(self.root.path().join(name), bytes).expect("a file");
        }
        fs::write(self.root.path().join(file), change.apply(&self.files[file])).expect("a file");
        LogDirectory::open(self.root.path(), NODE)
    }
}

#[test]
fn damaged_identity_is_refused_by_name_or_another_one_is_noticed() {
    let dir = Directory::new();
    let file = "meta.properties";
    for change in Change::all_of_text(dir.files[file].len()) {
        let error = match dir.open(file, change) {
            // Whose directory it is must not be in doubt; which one it is, the controller compares.
            Ok(mut opened) => match opened.claim(&cluster()) {
                Ok(meta) => {
                    assert_eq!((&meta.cluster, meta.node), (&cluster(), NODE), "{change:?}");
                    continue;
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        match error {
            DirectoryError::OtherCluster { .. } | DirectoryError::OtherNode { .. } => {}
            DirectoryError::Log(error) => assert!(error.chain().contains(file), "{change:?}: {}", error.chain()),
            error => panic!("{change:?}: {error}"),
        }
    }
    assert_eq!(dir.open(file, Change::Flip(0, 0)).expect("the whole one").id(), dir.id);
}

/// What the directory knows of a log, with one checkpoint changed.
fn knowledge(dir: &Directory, file: &str, change: Change, last_stop: LastStop) -> Option<Opening> {
    let directory = dir.open(file, change).expect("a directory with an identity");
    let mut found = BTreeMap::new();
    for (kind, name) in CHECKPOINTS {
        let offsets = match directory.read_checkpoint(kind) {
            Ok(offsets) => offsets,
            Err(error) => {
                assert_eq!(name, file);
                assert!(error.chain().contains(file), "{}", error.chain());
                match error {
                    LogError::Damaged { .. } => BTreeMap::new(), // as good as none
                    LogError::NewerVersion { .. } => return None,
                    error => panic!("{}", error.chain()),
                }
            }
        };
        found.insert(name, offsets.get(&partition()).copied());
    }
    let offset = |name: &str| found[name].unwrap_or(Offset(0));
    Some(Opening {
        log_start: offset("log-start-offset-checkpoint"),
        high_watermark: offset("replication-offset-checkpoint"),
        cleaned_to: found["cleaner-offset-checkpoint"],
        aborted_count: found[".twinstream-aborted"].and_then(|count| u64::try_from(count.0).ok()),
        ..opening(last_stop, offset("recovery-point-offset-checkpoint").0)
    })
}

fn changes_no_record(file: &str) {
    let dir = Directory::new();
    for change in Change::all_of_text(dir.files[file].len()) {
        for stop in STOPS {
            let Some(opening) = knowledge(&dir, file, change, stop) else { continue };
            let folder = dir.root.path().join(FOLDER);
            dir.original.lay_out(&folder);
            let case = format!("{change:?} of {file} after {stop:?}");
            let log = PartitionLog::open(&folder, opening).unwrap_or_else(|error| panic!("{case}: {}", error.chain()));
            let served = served(&log);
            let is_original = |(base, batch): (&i64, &Vec<u8>)| dir.original.batches.get(base) == Some(batch);
            assert!(served.batches.iter().all(is_original), "{case}: {:?}", served.batches.keys());
            assert_eq!(served.holes, [], "{case}");
            let (start, end) = (log.log_start_offset().0, log.log_end_offset().0);
            // After a crash a start behind the end is how it may be; the log goes on there.
            let goes_on_at_start = stop != LastStop::Clean && start > dir.original.end;
            assert_eq!(end, if goes_on_at_start { start } else { dir.original.end }, "{case}");
            let expected = dir.original.batches.range(..).filter(|(base, _)| **base >= start);
            assert!(
                expected.clone().all(|(base, _)| served.batches.contains_key(base)),
                "{case}: {:?}",
                served.batches.keys()
            );
            goes_on(&log, &served);
        }
    }
}

#[test]
fn damaged_recovery_points_change_no_record() {
    changes_no_record("recovery-point-offset-checkpoint");
}

#[test]
fn damaged_log_starts_change_no_record() {
    changes_no_record("log-start-offset-checkpoint");
}

#[test]
fn damaged_high_watermarks_change_no_record() {
    changes_no_record("replication-offset-checkpoint");
}

#[test]
fn damaged_counts_of_aborted_transactions_change_no_record() {
    changes_no_record(".twinstream-aborted");
}

#[test]
fn damaged_cleaner_checkpoints_change_no_record() {
    changes_no_record("cleaner-offset-checkpoint");
}
