//! Copies of logs that grow, are cut, lose their begin or their compacted records meanwhile.

use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::batches;

use super::*;
use crate::partition_log::tests::{ALL, Fixture, NOW, idempotent, plain, small};
use crate::{Applicant, LastStop, LogMetrics, Opening, Origin};

const CHUNK: usize = 300; // two batches or three

/// A log with a copy in another directory.
struct Pair {
    source: Fixture,
    root: tempfile::TempDir,
    copy: PartitionLog,
}

const FOLDER: &str = "t-0.0123456789abcdef-future";

impl Pair {
    fn new() -> Pair {
        let source = Fixture::new(small());
        let root = tempfile::tempdir().unwrap();
        let copy = PartitionLog::create(&root.path().join(FOLDER), source.log.topic_id(), fresh()).unwrap();
        Pair { source, root, copy }
    }

    fn lead(&self, epoch: i32, batches: usize) {
        for _ in 0..batches {
            let batch = plain(&[NOW]).build().unwrap();
            self.source.log.append(&batch, Origin::Client, LeaderEpoch(epoch), NOW).unwrap();
        }
        self.source.log.advance_high_watermark(self.source.log.log_end_offset());
    }

    fn step(&self) -> u64 {
        self.copy.copy_from(&self.source.log, CHUNK, NOW).unwrap()
    }

    fn finish(&self) {
        while self.step() > 0 {}
        assert!(self.copy.has_all_of(&self.source.log));
    }

    /// The copy takes the place of its source, and is opened again as after a kill.
    fn change(self) -> PartitionLog {
        self.copy.succeed(&self.source.log, NOW).unwrap();
        let folder = self.copy.rename_folder("t-0").unwrap();
        self.copy.settle_name().unwrap();
        assert_eq!(folder, self.root.path().join("t-0"));
        let opening = Opening { last_stop: LastStop::Killed, high_watermark: ALL, ..fresh() };
        let opened = PartitionLog::open(&folder, opening).unwrap();
        std::mem::forget(self.root);
        opened
    }

    fn bytes(log: &PartitionLog) -> Vec<u8> {
        let (mut all, mut from) = (Vec::new(), log.log_start_offset());
        while let Some(slice) = log.read(from, 1 << 20, true, ALL).unwrap().slice {
            let bytes = slice.read().unwrap();
            from = batches(&bytes).map(|batch| batch.unwrap().header().next_offset()).last().unwrap();
            all.extend(bytes);
        }
        all
    }
}

fn fresh() -> Opening {
    Opening::fresh(small(), LogMetrics::new(), NOW)
}

#[test]
fn copy_has_the_bytes_the_epochs_and_the_producers_of_its_source() {
    let pair = Pair::new();
    pair.lead(3, 10);
    pair.source.log.append(&idempotent(7, 0, 0, 2).build().unwrap(), Origin::Client, LeaderEpoch(5), NOW).unwrap();
    pair.source.log.note_leadership(LeaderEpoch(6)).unwrap();
    assert!(pair.step() > 0 && !pair.copy.has_all_of(&pair.source.log), "a step is bounded");
    pair.lead(6, 3);
    pair.finish();
    let (bytes, producers) = (Pair::bytes(&pair.source.log), pair.source.log.active_producers());
    let ends: Vec<_> = (0..7).map(|epoch| pair.source.log.end_offset_for_epoch(LeaderEpoch(epoch))).collect();
    let copy = pair.change();
    assert_eq!(Pair::bytes(&copy), bytes);
    assert_eq!(copy.active_producers(), producers);
    assert_eq!((0..7).map(|epoch| copy.end_offset_for_epoch(LeaderEpoch(epoch))).collect::<Vec<_>>(), ends);
}

#[test]
fn copy_follows_every_cut_of_its_source() {
    let pair = Pair::new();
    pair.lead(1, 10);
    pair.lead(2, 10);
    pair.finish();
    let _cut = pair.source.log.truncate_to(Offset(5)).unwrap();
    pair.lead(4, 30);
    pair.finish();
    assert_eq!(Pair::bytes(&pair.copy), Pair::bytes(&pair.source.log));
    let _cut = pair.source.log.truncate_to(Offset(3)).unwrap();
    pair.finish();
    assert_eq!(Pair::bytes(&pair.copy), Pair::bytes(&pair.source.log));
    let _cut = pair.source.log.restart_at(Offset(1_000)).unwrap();
    pair.lead(9, 2);
    pair.finish();
    assert_eq!(pair.copy.log_start_offset(), Offset(1_000));
    assert_eq!(Pair::bytes(&pair.copy), Pair::bytes(&pair.source.log));
}

#[test]
fn copy_begins_where_records_were_deleted_even_within_a_batch() {
    let pair = Pair::new();
    pair.source.fill(5);
    pair.source.fill(5);
    pair.source.log.delete_records(Offset(3), NOW).unwrap();
    pair.finish();
    pair.source.log.delete_records(Offset(7), NOW).unwrap();
    let root = pair.root.path().to_owned();
    pair.copy.succeed(&pair.source.log, NOW).unwrap();
    assert_eq!(pair.copy.log_start_offset(), Offset(7));
    assert_eq!(pair.copy.high_watermark(), Offset(10));
    assert!(root.join(FOLDER).exists());
}

#[test]
fn copy_of_a_log_that_was_emptied_meanwhile_is_complete() {
    let pair = Pair::new();
    pair.lead(3, 5);
    pair.finish();
    let end = pair.source.log.log_end_offset();
    pair.source.log.delete_records(end, NOW).unwrap();
    pair.finish();
    pair.copy.succeed(&pair.source.log, NOW).unwrap();
    assert_eq!((pair.copy.log_start_offset(), pair.copy.log_end_offset()), (end, end));
}

#[test]
fn producer_whose_records_are_gone_is_known_to_the_copy() {
    let pair = Pair::new();
    pair.source.append(idempotent(7, 0, 0, 1)).unwrap();
    pair.lead(0, 20);
    pair.source.log.delete_records(Offset(15), NOW).unwrap();
    pair.finish();
    assert!(pair.copy.active_producers().is_empty());
    let copy = pair.change();
    assert_eq!(copy.active_producers().len(), 1, "also after a restart");
}

#[test]
fn transaction_that_is_being_verified_begins_in_the_copy() {
    let pair = Pair::new();
    pair.lead(0, 1);
    let applicant = Applicant { producer_id: ProducerId(7), epoch: ProducerEpoch(0), base_sequence: 0, adds: true };
    let guard = pair.source.log.begin_verification(&applicant, NOW).unwrap().unwrap();
    pair.finish();
    pair.copy.succeed(&pair.source.log, NOW).unwrap();
    pair.copy.take_verifications(&pair.source.log);
    let batch = idempotent(7, 0, 0, 1).with_transactional().build().unwrap();
    pair.copy.append(&batch, Origin::Verified(guard), LeaderEpoch(0), NOW).unwrap();
    assert_eq!(pair.copy.last_stable_offset(), Offset(1));
}

#[test]
fn damage_of_the_source_is_not_copied() {
    let pair = Pair::new();
    pair.lead(0, 4);
    let path = pair.source.active_file();
    let source = Fixture::close(pair.source);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let source = source.reopen(|opening| opening.recovery_point = Offset(4));
    while pair.copy.log_end_offset() < Offset(3) {
        pair.copy.copy_from(&source.log, CHUNK, NOW).unwrap();
    }
    let error = pair.copy.copy_from(&source.log, CHUNK, NOW).unwrap_err();
    assert!(matches!(error, CopyError::Source(ReadError::Damaged { .. })), "{error}");
}

#[test]
fn copy_is_told_of_every_compaction_of_its_source() {
    let pair = Pair::new();
    pair.lead(0, 3);
    let count = || pair.source.log.between_compactions(|count| count);
    let before = count().unwrap();
    let limits = crate::CleanerLimits { map_bytes: 1 << 20, load_factor: 0.9, io_bytes: 1 << 16 };
    let config = LogConfig { cleanup: crate::CleanupPolicy { delete: false, compact: true }, ..small() };
    pair.source.log.set_config(config);
    let _cleaned = pair.source.log.clean(&limits, &crate::FullSpeed, NOW);
    assert_ne!(count().unwrap(), before);
    let while_one_is_under_way = pair.source.log.between_compactions(|_| count());
    assert_eq!(while_one_is_under_way, Some(None));
}
