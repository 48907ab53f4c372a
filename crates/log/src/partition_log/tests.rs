use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::TempDir;
use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, ProducerStamp, batches, whole_batches};
use twinstream_protocol::compression::Compression;
use uuid::Uuid;

use super::*;
use crate::{CleanupPolicy, LastStop, ReadError, RecordFaultKind};

pub(super) const NOW: i64 = 1_700_000_000_000;
const EPOCH: LeaderEpoch = LeaderEpoch(0);
const ALL: Offset = Offset(i64::MAX);

/// A log in a folder of its own, which can be opened again.
pub(super) struct Fixture {
    root: TempDir,
    config: LogConfig,
    pub(super) log: PartitionLog,
}

impl Fixture {
    pub(super) fn new(config: LogConfig) -> Fixture {
        let root = tempfile::tempdir().unwrap();
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

    /// Base offsets of the batches that are read from an offset on, over all segments.
    pub(super) fn bases(&self, from: i64) -> Vec<i64> {
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
                found.push(batch.base_offset().0);
                next = batch.header().next_offset().0;
            }
        }
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
fn read_inside_a_batch_returns_the_whole_batch() {
    let log = Fixture::new(small());
    for _ in 0..20 {
        log.fill(5);
    }
    for offset in 0..100 {
        assert_eq!(log.bases(offset)[0], offset / 5 * 5, "offset {offset}");
    }
}

#[test]
fn read_honours_limits_but_returns_a_first_batch_whole() {
    let log = Fixture::new(LogConfig::default());
    let one = log.fill(1).bytes;
    log.fill(1);
    let len = |max, at_least_one, upper| log.log.read(Offset(0), max, at_least_one, upper).unwrap().len();
    assert_eq!(len(1, true, ALL), one);
    assert_eq!(len(1, false, ALL), 0);
    assert_eq!(len(one + 10, false, ALL), one + 10);
    assert_eq!(len(1 << 20, true, Offset(1)), one);
    assert_eq!(len(1 << 20, true, Offset(0)), 0);
}

#[test]
fn read_outside_the_log_is_an_error_and_at_its_end_empty() {
    let log = Fixture::new(LogConfig::default());
    log.fill(3);
    assert!(log.log.read(Offset(3), 100, true, ALL).unwrap().is_empty());
    for offset in [-1, 4] {
        let result = log.log.read(Offset(offset), 100, true, ALL);
        assert!(matches!(result, Err(ReadError::OutOfRange { .. })), "{offset}");
    }
}

#[test]
fn torn_tail_is_cut_to_last_valid_batch() {
    for torn in [1usize, 30, 61, 100] {
        let log = Fixture::new(LogConfig::default());
        log.fill(2);
        log.fill(2);
        let size = fs::metadata(log.active_file()).unwrap().len();
        let third = log.fill(2).bytes;
        let file = fs::OpenOptions::new().write(true).open(log.active_file()).unwrap();
        file.set_len(size + third as u64 - torn as u64).unwrap();
        let log = log.crash();
        assert_eq!(log.end(), 4, "{torn} bytes are missing");
        assert_eq!(fs::metadata(log.active_file()).unwrap().len(), size);
        assert_eq!(log.fill(1).base_offset, Offset(4));
        assert_eq!(log.bases(0), [0, 2, 4]);
    }
}

#[test]
fn flipped_bit_behind_the_recovery_point_cuts_the_log_there() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(1);
    }
    let segments = log.files(".log");
    let victim = log.dir().join(&segments[1]);
    let file = fs::OpenOptions::new().write(true).read(true).open(&victim).unwrap();
    file.write_all_at(b"X", fs::metadata(&victim).unwrap().len() - 1).unwrap();
    let log = log.crash();
    assert_eq!(log.files(".log"), segments[..2]);
    assert_eq!(log.bases(0), (0..log.end()).collect::<Vec<_>>());
    assert!(log.end() > 0 && log.end() < 30);
}

#[test]
fn segments_below_the_recovery_point_are_not_scanned() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(1);
    }
    log.log.flush(NOW).unwrap();
    let first = log.dir().join(&log.files(".log")[0]);
    let file = fs::OpenOptions::new().write(true).open(first).unwrap();
    file.write_all_at(b"X", 80).unwrap();
    let log = log.reopen(|opening| {
        opening.last_stop = LastStop::Unknown;
        opening.recovery_point = Offset(30);
    });
    assert_eq!(log.end(), 30);
}

#[test]
fn damaged_and_missing_indexes_are_rebuilt() {
    let damages: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, [1; 7]).unwrap(),
        |path| fs::write(path, [0xee; 48]).unwrap(),
        |path| fs::write(path, b"").unwrap(),
    ];
    for (i, damage) in damages.iter().enumerate() {
        for extension in [".index", ".timeindex"] {
            let log = Fixture::new(small());
            for _ in 0..40 {
                log.fill(2);
            }
            log.log.close(NOW).unwrap();
            let names = log.files(extension);
            let before: Vec<_> = names.iter().map(|name| fs::read(log.dir().join(name)).unwrap()).collect();
            names.iter().for_each(|name| damage(&log.dir().join(name)));
            let log = log.reopen(|_| {});
            assert_eq!(log.end(), 80);
            for offset in 0..80 {
                assert_eq!(log.bases(offset)[0], offset / 2 * 2);
                let found = log.log.offset_for_time(NOW + offset).unwrap().unwrap();
                assert_eq!(found.offset, Offset(offset), "damage {i} of {extension}");
            }
            if i < 3 {
                log.log.close(NOW).unwrap();
                let after: Vec<_> = names.iter().map(|name| fs::read(log.dir().join(name)).unwrap()).collect();
                assert_eq!(after, before, "damage {i} of {extension}");
            }
        }
    }
}

#[test]
fn clean_restart_goes_on_where_it_was() {
    let mut log = Fixture::new(small());
    for round in 0..5 {
        for _ in 0..7 {
            log.fill(3);
        }
        log = log.close();
        assert_eq!(log.end(), (round + 1) * 21);
    }
    assert_eq!(log.bases(0), (0..35).map(|i| i * 3).collect::<Vec<_>>());
}

#[test]
fn crash_loses_nothing_that_was_written() {
    let log = Fixture::new(small());
    for _ in 0..20 {
        log.fill(3);
    }
    let log = log.crash();
    assert_eq!(log.end(), 60);
    assert_eq!(log.log.max_timestamp().unwrap().unwrap().offset, Offset(59));
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
fn dedupe_window_survives_a_clean_restart_and_a_crash() {
    for clean in [true, false] {
        let log = Fixture::new(LogConfig::default());
        for i in 0..6 {
            log.append(idempotent(9, 0, i * 2, 2)).unwrap();
        }
        let log = if clean { log.close() } else { log.crash() };
        assert_eq!(log.files(".snapshot").len(), usize::from(clean));
        for i in 1..6 {
            let again = log.append(idempotent(9, 0, i * 2, 2)).unwrap();
            assert!(again.duplicate && again.base_offset.0 == i64::from(i) * 2, "clean {clean}, batch {i}");
        }
        assert!(!log.append(idempotent(9, 0, 12, 1)).unwrap().duplicate);
    }
}

#[test]
fn producers_are_known_from_the_snapshot_when_their_segment_is_gone() {
    let config = LogConfig { retention_bytes: Some(1_500), ..small() };
    let log = Fixture::new(config);
    log.append(idempotent(9, 0, 0, 2)).unwrap();
    for _ in 0..30 {
        log.fill(1);
    }
    assert!(log.log.maintain(NOW).unwrap().deleted_segments > 0);
    let log = log.crash();
    assert!(log.append(idempotent(9, 0, 0, 2)).unwrap().duplicate);
    log.append(idempotent(9, 0, 2, 1)).unwrap();
}

#[test]
fn damaged_snapshot_is_passed_over() {
    let log = Fixture::new(LogConfig::default());
    log.append(idempotent(9, 0, 0, 2)).unwrap();
    log.log.close(NOW).unwrap();
    let snapshot = log.dir().join(&log.files(".snapshot")[0]);
    fs::write(&snapshot, b"\0\x01garbage").unwrap();
    let log = log.reopen(|_| {});
    assert!(log.append(idempotent(9, 0, 0, 2)).unwrap().duplicate);
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
fn offset_for_time_finds_the_record_inside_a_batch() {
    for codec in Compression::ALL {
        let log = Fixture::new(small());
        for i in 0..10 {
            let times: Vec<i64> = (0..5).map(|j| NOW + i * 50 + j * 10).collect();
            log.append(plain(&times).with_compression(codec)).unwrap();
        }
        let at = |time| log.log.offset_for_time(NOW + time).unwrap().map(|f| (f.offset.0, f.timestamp - NOW));
        assert_eq!(at(-5), Some((0, 0)));
        assert_eq!(at(11), Some((2, 20)));
        assert_eq!(at(230), Some((23, 230)));
        assert_eq!(at(490), Some((49, 490)));
        assert_eq!(at(491), None);
    }
}

#[test]
fn max_timestamp_is_a_record_and_not_a_batch() {
    let log = Fixture::new(LogConfig::default());
    assert_eq!(log.log.max_timestamp().unwrap(), None);
    log.append(plain(&[NOW, NOW + 500, NOW + 20])).unwrap();
    log.append(plain(&[NOW + 30])).unwrap();
    let found = log.log.max_timestamp().unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp, found.leader_epoch), (Offset(1), NOW + 500, EPOCH));
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
fn retention_by_age_deletes_whole_segments_and_the_files_later() {
    let config = LogConfig { retention_ms: Some(10_000), file_delete_delay_ms: 500, ..small() };
    let log = Fixture::new(config);
    for _ in 0..30 {
        log.fill(1);
    }
    assert_eq!(log.log.maintain(NOW + 10_000).unwrap().deleted_segments, 0);
    let kept = log.log.size();
    let done = log.log.maintain(NOW + 10_020).unwrap();
    assert!(done.deleted_segments > 0 && done.deleted_bytes < kept);
    assert!(log.log.log_start_offset() > Offset(0));
    let renamed = log.files(".deleted");
    assert!(!renamed.is_empty());
    log.log.maintain(NOW + 10_519).unwrap();
    assert!(renamed.iter().all(|name| log.dir().join(name).exists()));
    log.log.maintain(NOW + 10_520).unwrap();
    assert!(!renamed.iter().any(|name| log.dir().join(name).exists()));
    log.log.maintain(NOW + 99_000).unwrap();
    assert_eq!((log.log.log_start_offset(), log.log.log_end_offset()), (Offset(30), Offset(30)));
    assert_eq!(log.fill(1).base_offset, Offset(30));
}

#[test]
fn retention_by_size_keeps_at_least_that_much() {
    let log = Fixture::new(LogConfig { retention_bytes: Some(4_000), retention_ms: None, ..small() });
    for _ in 0..60 {
        log.fill(1);
    }
    log.log.maintain(NOW).unwrap();
    assert!((4_000..6_000).contains(&log.log.size()), "{}", log.log.size());
}

#[test]
fn records_above_the_high_watermark_and_of_compacted_topics_stay() {
    let log = Fixture::new(LogConfig { retention_ms: Some(1), ..small() });
    for _ in 0..30 {
        log.log.append(&plain(&[NOW]).build().unwrap(), Origin::Client, EPOCH, NOW).unwrap();
    }
    assert_eq!(log.log.maintain(NOW + 99_000).unwrap().deleted_segments, 0);
    for cleanup in [CleanupPolicy { delete: false, compact: true }, CleanupPolicy { delete: false, compact: false }] {
        let log = Fixture::new(LogConfig { cleanup, retention_ms: Some(1), retention_bytes: Some(1), ..small() });
        for _ in 0..30 {
            log.fill(1);
        }
        assert_eq!(log.log.maintain(NOW + 99_000).unwrap().deleted_segments, 0);
    }
}

#[test]
fn reader_of_a_deleted_segment_can_finish() {
    let config = LogConfig { retention_ms: Some(1), file_delete_delay_ms: 0, ..small() };
    let log = Fixture::new(config);
    log.fill(3);
    let slice = log.log.read(Offset(0), 1 << 20, true, ALL).unwrap().slice.unwrap();
    log.log.maintain(NOW + 99_000).unwrap();
    assert!(log.files(".deleted").is_empty());
    assert_eq!(batches(&slice.read().unwrap()).count(), 1);
}

#[test]
fn delete_records_moves_the_start_and_drops_whole_segments() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(1);
    }
    let segments = log.log.segment_count();
    // Records that are too old are left to retention.
    assert_eq!(log.log.delete_records(Offset(17), NOW + 99 * 86_400_000).unwrap(), Offset(17));
    assert!(log.log.segment_count() < segments);
    assert!(matches!(log.log.read(Offset(16), 100, true, ALL), Err(ReadError::OutOfRange { .. })));
    assert_eq!(log.bases(17)[0], 17);
    assert_eq!(log.log.offset_for_time(NOW).unwrap().unwrap().offset, Offset(17));
    assert_eq!(log.log.delete_records(Offset(5), NOW).unwrap(), Offset(17));
    assert!(matches!(log.log.delete_records(Offset(31), NOW), Err(ReadError::OutOfRange { .. })));
    assert_eq!(log.log.delete_records(Offset::NONE, NOW).unwrap(), Offset(30));
    let log = log.reopen(|opening| opening.log_start = Offset(30));
    assert_eq!((log.log.log_start_offset().0, log.end()), (30, 30));
}

#[test]
fn log_that_ends_before_its_start_begins_anew_there() {
    let log = Fixture::new(LogConfig::default());
    log.fill(3);
    let log = log.reopen(|opening| opening.log_start = Offset(10));
    assert_eq!((log.log.log_start_offset(), log.log.log_end_offset()), (Offset(10), Offset(10)));
    assert_eq!(log.fill(1).base_offset, Offset(10));
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
fn failed_write_puts_the_log_out_of_use() {
    let log = Fixture::new(small());
    log.fill(1);
    // The next segment cannot be made, because its name is taken by a folder.
    for i in 2..40 {
        fs::create_dir(log.dir().join(format!("{i:020}.log"))).unwrap();
    }
    let failed = (0..40).find_map(|_| log.append(plain(&[NOW])).err()).unwrap();
    assert!(matches!(failed, AppendError::Storage(LogError::Io { .. })), "{failed:?}");
    assert!(log.log.is_poisoned());
    let end = log.end();
    assert!(matches!(log.append(plain(&[NOW])), Err(AppendError::Storage(LogError::Poisoned { .. }))));
    assert_eq!(log.end(), end);
    assert!(matches!(log.log.flush(NOW), Err(LogError::Poisoned { .. })));
}

#[test]
fn flush_moves_the_recovery_point() {
    let log = Fixture::new(LogConfig { flush_messages: 5, ..LogConfig::default() });
    log.fill(3);
    assert_eq!(log.log.recovery_point(), Offset(0));
    log.fill(3);
    assert_eq!(log.log.recovery_point(), Offset(6));
    let log = Fixture::new(LogConfig { flush_ms: 100, ..LogConfig::default() });
    log.fill(3);
    assert!(!log.log.maintain(NOW + 99).unwrap().flushed);
    assert!(log.log.maintain(NOW + 100).unwrap().flushed);
    assert_eq!(log.log.recovery_point(), Offset(3));
}

#[test]
fn rolled_segments_are_flushed_by_maintenance() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(1);
    }
    log.log.maintain(NOW).unwrap();
    let point = log.log.recovery_point();
    assert!(point > Offset(0) && point < Offset(30));
}

#[test]
fn closed_and_deleted_logs_take_nothing() {
    let log = Fixture::new(LogConfig::default());
    log.fill(1);
    let renamed = log.log.close_for_deletion("t-0.ab-delete").unwrap();
    assert!(renamed.join("00000000000000000000.log").exists() && !log.dir().exists());
    assert!(matches!(log.append(plain(&[NOW])), Err(AppendError::Storage(LogError::Closed))));
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
