//! Kafka's cleaner as the judge of ours: the same log, cleaned by both, holds the same.
//!
//! `kafka-4.3.1-cleaner` has a log that Kafka 4.3.1 wrote, before and after its cleaner went over it, twice: records of
//! plain, idempotent and transactional producers, aborted and committed, over segment borders, tombstones that the second
//! cleaning drops (`delete.retention.ms=0`). The delete horizon is the time of the cleaning, so that one may differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use twinstream_log::{CleanerLimits, CleanupPolicy, FullSpeed, LastStop, LogConfig, LogMetrics, Opening, PartitionLog};
use twinstream_model::Offset;
use twinstream_protocol::batch::{BatchView, batches};

/// After Kafka's first cleaning, before its second one would let a tombstone live on.
const NOW: i64 = 1_800_000_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka-4.3.1-cleaner").join(name)
}

/// The log of a fixture in a folder of its own, which ours may change.
fn open(name: &str, cleaned_to: Option<i64>) -> (TempDir, PathBuf, PartitionLog) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("kv-0");
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let cleanup = CleanupPolicy { delete: false, compact: true };
    let config = LogConfig { cleanup, delete_retention_ms: 0, ..LogConfig::default() };
    let opening = Opening {
        last_stop: LastStop::Clean, // else the indexes of aborted transactions were made again
        high_watermark: Offset(i64::MAX),
        cleaned_to: cleaned_to.map(Offset),
        ..Opening::fresh(config, LogMetrics::new(), NOW)
    };
    let log = PartitionLog::open(&dir, opening).unwrap();
    (root, dir, log)
}

/// Every batch with its records, by file, as text that names what must be equal.
fn shown(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        if name.ends_with(".log") {
            found.insert(name, batches(&bytes).map(|batch| batch_shown(&batch.unwrap())).collect());
        } else if name.ends_with(".txnindex") {
            found.insert(name, vec![format!("{bytes:?}")]);
        }
    }
    found
}

fn batch_shown(batch: &BatchView<'_>) -> String {
    batch.check_crc().unwrap();
    let header = batch.header();
    let base = if header.delete_horizon().is_some() { None } else { Some(header.base_timestamp) };
    let mut text = format!(
        "{}..{} epoch {} attributes {:#x} base {base:?} max {} producer {}/{}/{} records {}",
        header.base_offset,
        header.last_offset(),
        header.leader_epoch,
        header.attributes.0,
        header.max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.record_count
    );
    for record in &batch.records(1 << 20).unwrap() {
        let record = record.unwrap();
        text += &format!(" [{} {} {:?} {:?}]", record.offset, record.timestamp, record.key, record.value);
    }
    text
}

fn check(before: &str, after: &str, cleaned_to: Option<i64>) {
    let (_root, dir, log) = open(before, cleaned_to);
    let done = log.clean(&CleanerLimits::default(), &FullSpeed, NOW).unwrap();
    assert!(done.records_after < done.records_before, "{done:?}");
    let (ours, kafkas) = (shown(&dir), shown(&fixture(after)));
    let names = |files: &BTreeMap<String, Vec<String>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&kafkas));
    for (name, batches) in &kafkas {
        assert_eq!(&ours[name], batches, "{name}");
    }
}

#[test]
fn first_cleaning_keeps_what_kafkas_keeps() {
    check("first-before", "first-after", None);
}

#[test]
fn second_cleaning_drops_the_tombstones_and_markers_that_kafkas_drops() {
    check("second-before", "second-after", Some(237));
}
