use std::fs;

use tempfile::TempDir;
use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, BatchView, ProducerStamp, batches, whole_batches};
use uuid::Uuid;

use super::*;
use crate::{CleanupPolicy, LastStop, RecordFaultKind};

pub(super) const NOW: i64 = 1_700_000_000_000;
pub(super) const EPOCH: LeaderEpoch = LeaderEpoch(0);
pub(super) const ALL: Offset = Offset(i64::MAX);

/// A log in a folder of its own, which can be opened again.
pub(super) struct Fixture {
    root: TempDir,
    config: LogConfig,
    pub(super) log: PartitionLog,
}

impl Fixture {
    pub(super) fn new(config: LogConfig) -> Fixture {
        Fixture::within(tempfile::tempdir().unwrap(), config)
    }

    /// Beside the program, where it was built: unlike the folder for temporary files that is no file system in memory.
    pub(super) fn on_disk(config: LogConfig) -> Fixture {
        let program = std::env::current_exe().unwrap();
        Fixture::within(tempfile::tempdir_in(program.parent().unwrap()).unwrap(), config)
    }

    fn within(root: TempDir, config: LogConfig) -> Fixture {
        let opening = Opening::fresh(config.clone(), LogMetrics::new(), NOW);
        let log = PartitionLog::create(&root.path().join("t-0"), TopicId(Uuid::from_u128(7)), opening).unwrap();
        Fixture { root, config, log }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.root.path().join("t-0")
    }

    pub(super) fn opening(&self, clean: bool) -> Opening {
        let last_stop = if clean { LastStop::Clean } else { LastStop::Unknown };
        Opening { last_stop, high_watermark: ALL, ..Opening::fresh(self.config.clone(), LogMetrics::new(), NOW) }
    }

    /// Opens the folder again as after a crash.
    pub(super) fn crash(self) -> Fixture {
        self.reopen(|opening| opening.last_stop = LastStop::Unknown)
    }

    pub(super) fn close(self) -> Fixture {
        self.log.close(NOW).unwrap();
        self.reopen(|_| {})
    }

    pub(super) fn reopen(self, change: impl Fn(&mut Opening)) -> Fixture {
        let mut opening = self.opening(true);
        change(&mut opening);
        let log = PartitionLog::open(&self.dir(), opening).unwrap();
        Fixture { log, ..self }
    }

    pub(super) fn append(&self, batch: BatchBuilder) -> Result<Appended, AppendError> {
        let appended = self.log.append(&batch.build().unwrap(), Origin::Client, EPOCH, NOW)?;
        self.log.advance_high_watermark(self.log.log_end_offset());
        Ok(appended)
    }

    /// Appends one batch of `records` records with ascending timestamps from `NOW + offset` on.
    pub(super) fn fill(&self, records: i64) -> Appended {
        let base = self.log.log_end_offset().0;
        let times: Vec<i64> = (0..records).map(|i| NOW + base + i).collect();
        self.append(plain(&times)).unwrap()
    }

    pub(super) fn read(&self, from: i64) -> Vec<u8> {
        let found = self.log.read(Offset(from), 1 << 20, true, ALL).unwrap();
        found.slice.map_or(Vec::new(), |slice| slice.read().unwrap())
    }

    /// The batches from an offset on, over all segments, as a reader of all offsets gets them.
    pub(super) fn batches_from(&self, from: i64) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut next = from;
        loop {
            let bytes = self.read(next);
            if bytes.is_empty() {
                return found;
            }
            for batch in batches(whole_batches(&bytes).unwrap()) {
                let batch = batch.unwrap();
                batch.check_crc().unwrap();
                next = batch.header().next_offset().0;
                found.push(batch.bytes().to_vec());
            }
        }
    }

    /// Their base offsets.
    pub(super) fn bases(&self, from: i64) -> Vec<i64> {
        self.batches_from(from).iter().map(|batch| BatchView::parse(batch).unwrap().base_offset().0).collect()
    }

    pub(super) fn end(&self) -> i64 {
        self.log.log_end_offset().0
    }

    pub(super) fn files(&self, extension: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(extension))
            .collect();
        names.sort();
        names
    }

    pub(super) fn active_file(&self) -> PathBuf {
        self.dir().join(self.files(".log").pop().unwrap())
    }
}

pub(super) fn plain(times: &[i64]) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    for time in times {
        builder.append(*time, Some(b"key"), Some(&[b'v'; 100]), []);
    }
    builder
}

pub(super) fn idempotent(id: i64, epoch: i16, sequence: i32, records: usize) -> BatchBuilder {
    let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence: sequence };
    let mut builder = plain(&vec![NOW; records]);
    builder = builder.with_producer(stamp);
    builder
}

/// Small segments, an index entry for nearly every batch.
pub(super) fn small() -> LogConfig {
    LogConfig { segment_bytes: 2_000, index_interval_bytes: 200, ..LogConfig::default() }
}

#[test]
fn offsets_ascend_over_batches_and_segments() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(3);
    }
    assert_eq!(log.end(), 90);
    assert!(log.log.segment_count() > 3);
    assert_eq!(log.bases(0), (0..30).map(|i| i * 3).collect::<Vec<_>>());
}

#[test]
fn repeated_batch_gets_its_old_offset() {
    let log = Fixture::new(LogConfig::default());
    for i in 0..3 {
        log.append(idempotent(9, 0, i * 2, 2)).unwrap();
    }
    let again = log.append(idempotent(9, 0, 2, 2)).unwrap();
    assert!(again.duplicate);
    assert_eq!((again.base_offset, again.last_offset, log.end()), (Offset(2), Offset(3), 6));
    assert!(matches!(log.append(idempotent(9, 0, 9, 1)), Err(AppendError::OutOfOrderSequence { .. })));
    log.append(idempotent(9, 1, 0, 1)).unwrap();
    assert!(matches!(log.append(idempotent(9, 0, 6, 1)), Err(AppendError::InvalidProducerEpoch { .. })));
}

#[test]
fn keyless_record_on_a_compacted_topic_is_refused_by_index() {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    let log = Fixture::new(LogConfig { cleanup, ..LogConfig::default() });
    let mut builder = plain(&[NOW]);
    builder.append(NOW, None, Some(b"v"), []);
    match log.append(builder) {
        Err(AppendError::InvalidRecords { kind: RecordFaultKind::Record, faults }) => {
            assert_eq!(faults[0].batch_index, 1);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(log.end(), 0);
}

#[test]
fn segments_roll_by_size_and_by_age() {
    let log = Fixture::new(small());
    let bytes = log.fill(1).bytes as u64;
    for _ in 1..20 {
        log.fill(1);
    }
    assert_eq!(log.log.segment_count() as u64, 20u64.div_ceil(2_000 / bytes));
    let log = Fixture::new(LogConfig { segment_ms: 1_000, ..LogConfig::default() });
    log.append(plain(&[NOW])).unwrap();
    log.append(plain(&[NOW + 1_000])).unwrap();
    assert_eq!(log.log.segment_count(), 1);
    log.append(plain(&[NOW + 1_001])).unwrap();
    assert_eq!(log.log.segment_count(), 2);
}

#[test]
fn epochs_are_remembered_and_rebuilt_from_the_log() {
    let log = Fixture::new(LogConfig::default());
    for epoch in [0, 0, 3, 5] {
        log.log.append(&plain(&[NOW, NOW]).build().unwrap(), Origin::Client, LeaderEpoch(epoch), NOW).unwrap();
    }
    let check = |log: &Fixture| {
        let end = |epoch| log.log.end_offset_for_epoch(LeaderEpoch(epoch)).map(|(e, o)| (e.0, o.0));
        assert_eq!(
            [end(0), end(2), end(3), end(5), end(6)],
            [Some((0, 4)), Some((0, 4)), Some((3, 6)), Some((5, 8)), None]
        );
    };
    check(&log);
    let file = log.dir().join("leader-epoch-checkpoint");
    assert_eq!(fs::read_to_string(&file).unwrap(), "0\n3\n0 0\n3 4\n5 6\n");
    let log = log.close();
    check(&log);
    fs::remove_file(&file).unwrap();
    let log = log.close();
    check(&log);
    assert_eq!(log.log.epoch_at(Offset(5)), LeaderEpoch(3));
}

#[test]
fn topic_id_is_kept_in_kafkas_format() {
    let log = Fixture::new(LogConfig::default());
    let text = fs::read_to_string(log.dir().join(METADATA_FILE)).unwrap();
    assert_eq!(text, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABw");
    let log = log.close();
    assert_eq!(log.log.topic_id(), TopicId(Uuid::from_u128(7)));
    fs::write(log.dir().join(METADATA_FILE), "version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAABw").unwrap();
    let error = PartitionLog::open(&log.dir(), log.opening(true)).unwrap_err();
    assert!(matches!(error, LogError::NewerVersion { .. }), "{error}");
}

#[test]
fn files_of_a_log_have_golden_bytes() {
    let log = Fixture::new(LogConfig { index_interval_bytes: 1, ..LogConfig::default() });
    for i in 0..3 {
        log.append(idempotent(9, 0, i, 1)).unwrap();
    }
    log.append(plain(&[NOW + 9])).unwrap();
    log.log.close(NOW).unwrap();
    let hex =
        |name: &str| -> String { fs::read(log.dir().join(name)).unwrap().iter().map(|b| format!("{b:02x}")).collect() };
    let bytes = log.log.size() / 4;
    let entry = |i: u64| format!("{i:08x}{:08x}", i * bytes);
    assert_eq!(hex("00000000000000000000.index"), [entry(1), entry(2), entry(3)].concat());
    assert_eq!(
        hex("00000000000000000000.timeindex"),
        "0000018bcfe5680000000000".to_owned() + "0000018bcfe5680900000003"
    );
    assert!(hex("00000000000000000000.log").starts_with(&format!("0000000000000000{:08x}0000000002", bytes - 12)));
    let snapshot = hex("00000000000000000004.snapshot");
    assert!(
        snapshot.starts_with("0001") && snapshot.ends_with("0000018bcfe56800ffffffffffffffffffffffff"),
        "{snapshot}"
    );
}
