use twinstream_model::LeaderEpoch;
use twinstream_protocol::batch::Attributes;

use super::*;

fn batch(id: i64, epoch: i16, sequence: i32, records: i32, offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(offset),
        len: 100,
        leader_epoch: LeaderEpoch(0),
        crc: 0,
        attributes: Attributes(0),
        last_offset_delta: records - 1,
        base_timestamp: 1_000,
        max_timestamp: 1_000 + offset,
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: sequence,
        record_count: records,
    }
}

fn check(producers: &Producers, header: &BatchHeader) -> Result<Option<Remembered>, AppendError> {
    producers.check(header, Origin::Client, None)
}

fn after(batches: &[BatchHeader]) -> Producers {
    let mut producers = Producers::default();
    for batch in batches {
        producers.replay(batch, None);
    }
    producers
}

#[test]
fn next_sequence_is_new_and_a_gap_is_refused() {
    let producers = after(&[batch(1, 0, 0, 10, 0)]);
    assert_eq!(check(&producers, &batch(1, 0, 10, 1, -1)).unwrap(), None);
    let error = check(&producers, &batch(1, 0, 12, 1, -1)).unwrap_err();
    assert!(matches!(error, AppendError::OutOfOrderSequence { expected: 10, found: 12, .. }));
}

#[test]
fn any_of_the_last_five_batches_is_recognised_again() {
    let batches: Vec<_> = (0..7).map(|i| batch(1, 0, i * 3, 3, i64::from(i) * 100)).collect();
    let producers = after(&batches);
    for old in &batches[2..] {
        let found = check(&producers, old).unwrap().unwrap();
        assert_eq!((found.base_offset(), found.last_offset), (old.base_offset, old.last_offset()));
    }
    check(&producers, &batches[1]).unwrap_err();
}

#[test]
fn unknown_producer_may_start_anywhere() {
    assert_eq!(check(&Producers::default(), &batch(1, 3, 77, 2, -1)).unwrap(), None);
}

#[test]
fn newer_epoch_starts_at_zero_and_fences_the_older() {
    let mut producers = after(&[batch(1, 4, 0, 5, 0)]);
    assert!(matches!(check(&producers, &batch(1, 5, 3, 1, -1)), Err(AppendError::OutOfOrderSequence { .. })));
    assert_eq!(check(&producers, &batch(1, 5, 0, 1, -1)).unwrap(), None);
    producers.replay(&batch(1, 5, 0, 1, 5), None);
    assert!(matches!(check(&producers, &batch(1, 4, 5, 1, -1)), Err(AppendError::InvalidProducerEpoch { .. })));
}

#[test]
fn sequence_wraps_inside_a_batch_and_between_batches() {
    let wrapping = batch(1, 0, i32::MAX - 1, 4, 10); // MAX-1, MAX, 0, 1
    let producers = after(&[wrapping]);
    assert_eq!(check(&producers, &batch(1, 0, 2, 1, -1)).unwrap(), None);
    assert!(check(&producers, &wrapping).unwrap().is_some());
    let producers = after(&[batch(1, 0, i32::MAX, 1, 10)]);
    assert_eq!(check(&producers, &batch(1, 0, 0, 1, -1)).unwrap(), None);
}

#[test]
fn silent_producers_are_forgotten() {
    let mut producers = after(&[batch(1, 0, 0, 1, 0), batch(2, 0, 0, 1, 500)]);
    producers.expire(1_200);
    assert_eq!(producers.len(), 1);
}

#[test]
fn snapshot_has_kafkas_bytes_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000000000000000008.snapshot");
    let producers = after(&[batch(7, 2, 0, 5, 0), batch(7, 2, 5, 3, 5)]);
    producers.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let body = concat!(
        "00000001",
        "0000000000000007",
        "0002",
        "00000007",
        "0000000000000007",
        "00000002",
        "00000000000003ed",
        "ffffffff",
        "ffffffffffffffff"
    );
    assert_eq!(hex, format!("0001{:08x}{body}", crc32c::crc32c(&bytes[6..])));
    let loaded = Producers::load(&path).unwrap();
    assert!(check(&loaded, &batch(7, 2, 5, 3, -1)).unwrap().is_some());
    assert_eq!(check(&loaded, &batch(7, 2, 8, 1, -1)).unwrap(), None);
}

#[test]
fn damaged_and_newer_snapshots_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snapshot");
    after(&[batch(7, 2, 0, 5, 0)]).save(&path).unwrap();
    let good = std::fs::read(&path).unwrap();
    for cut in [0, 1, 9, good.len() - 1] {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert!(matches!(Producers::load(&path), Err(LogError::Damaged { .. })), "{cut} bytes");
    }
    let mut newer = good.clone();
    newer[1] = 2;
    std::fs::write(&path, &newer).unwrap();
    assert!(matches!(Producers::load(&path), Err(LogError::Damaged { .. })), "all else is of this version");
    newer.push(0);
    std::fs::write(&path, newer).unwrap();
    assert!(matches!(Producers::load(&path), Err(LogError::NewerVersion { .. })));
}

#[test]
fn who_writes_old_records_is_not_forgotten_while_it_writes() {
    let mut producers = after(&[batch(1, 0, 0, 2, 1)]);
    producers.hear(ProducerId(1), 5_000);
    producers.expire(4_999);
    assert_eq!(producers.len(), 1);
    producers.expire(5_001);
    assert_eq!(producers.len(), 0);
}

fn transactional(id: i64, sequence: i32, offset: i64) -> BatchHeader {
    BatchHeader { attributes: Attributes(1 << 4), ..batch(id, 0, sequence, 2, offset) }
}

fn marker(id: i64, epoch: i16, offset: i64) -> BatchHeader {
    BatchHeader {
        attributes: Attributes(1 << 4 | 1 << 5),
        base_sequence: NO_SEQUENCE,
        ..batch(id, epoch, 0, 1, offset)
    }
}

const ABORT: Option<Marker> = Some(Marker { outcome: crate::transactions::Outcome::Abort, coordinator_epoch: 6 });

#[test]
fn transaction_goes_from_its_first_batch_to_its_marker() {
    let mut producers = Producers::default();
    let began = Step::Began { producer_id: ProducerId(1), first: Offset(10) };
    assert_eq!(producers.replay(&transactional(1, 0, 10), None), Some(began));
    assert_eq!(producers.replay(&transactional(1, 2, 12), None), None);
    assert_eq!(producers.open_transactions().collect::<Vec<_>>(), [(Offset(10), ProducerId(1))]);
    producers.expire(i64::MAX);
    let ended = producers.replay(&marker(1, 0, 14), ABORT);
    let (first, last) = (Offset(10), Offset(14));
    let outcome = crate::transactions::Outcome::Abort;
    assert_eq!(ended, Some(Step::Ended(Completed { producer_id: ProducerId(1), first, last, outcome })));
    assert_eq!(producers.open_transactions().count(), 0);
    assert_eq!(producers.replay(&marker(1, 0, 15), ABORT), None);
    producers.expire(i64::MAX);
    assert_eq!(producers.len(), 0);
}

#[test]
fn marker_of_a_newer_epoch_fences_and_keeps_the_producer_known() {
    let mut producers = after(&[batch(1, 3, 0, 5, 0)]);
    producers.replay(&marker(1, 4, 5), ABORT);
    let known = LastRecord { last_data: None, epoch: ProducerEpoch(4) };
    assert_eq!(producers.last_records()[&ProducerId(1)], known);
    assert!(matches!(check(&producers, &batch(1, 3, 5, 1, -1)), Err(AppendError::InvalidProducerEpoch { .. })));
    assert_eq!(check(&producers, &batch(1, 4, 0, 1, -1)).unwrap(), None);
}

#[test]
fn snapshot_keeps_open_transactions_and_producers_of_whom_only_a_marker_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snapshot");
    let mut producers = after(&[batch(3, 1, 0, 5, 0)]);
    producers.replay(&transactional(1, 0, 10), None);
    producers.replay(&marker(2, 7, 12), ABORT);
    producers.save(&path).unwrap();
    let loaded = Producers::load(&path).unwrap();
    assert_eq!(loaded, producers);
    assert_eq!(loaded.open_transactions().collect::<Vec<_>>(), [(Offset(10), ProducerId(1))]);
    assert_eq!(loaded.last_records()[&ProducerId(2)].last_data, None);
}

fn in_transaction(mut batch: BatchHeader) -> BatchHeader {
    batch.attributes = Attributes(1 << 4);
    batch
}

fn ending(id: i64, epoch: i16) -> BatchHeader {
    BatchHeader { attributes: Attributes(3 << 4), base_sequence: NO_SEQUENCE, ..batch(id, epoch, 0, 1, 90) }
}

fn end(coordinator_epoch: i32) -> Option<Marker> {
    Some(Marker { outcome: crate::transactions::Outcome::Commit, coordinator_epoch })
}

const NEWER: Origin = Origin::Marker(MarkerEpoch::Newer);
const NOT_OLDER: Origin = Origin::Marker(MarkerEpoch::NotOlder);

#[test]
fn transaction_begins_with_its_guard_only_and_goes_on_without() {
    let mut producers = Producers::default();
    let mut waiting = Verifications::default();
    let first = in_transaction(batch(1, 0, 0, 2, 0));
    let applicant =
        |epoch| Applicant { producer_id: ProducerId(1), epoch: ProducerEpoch(epoch), base_sequence: 0, adds: false };
    assert!(matches!(check(&producers, &first), Err(AppendError::NotInTransaction { .. })));
    assert_eq!(producers.check(&first, Origin::Unverified, None).unwrap(), None);
    let guard = waiting.begin(&applicant(0), 0);
    let ask = |producers: &Producers, waiting: &Verifications, batch: &BatchHeader| {
        producers.check(batch, Origin::Verified(guard), waiting.get(ProducerId(1)))
    };
    assert_eq!(ask(&producers, &waiting, &first).unwrap(), None);
    producers.replay(&first, None);
    waiting.wrote(&first);
    let second = in_transaction(batch(1, 0, 2, 1, 2));
    assert_eq!(check(&producers, &second).unwrap(), None);
    assert!(matches!(check(&producers, &batch(1, 0, 2, 1, 2)), Err(AppendError::OutsideTransaction { .. })));
    producers.replay(&ending(1, 0), end(3));
    assert!(matches!(check(&producers, &second), Err(AppendError::NotInTransaction { .. })));
    assert!(matches!(ask(&producers, &waiting, &second), Err(AppendError::NotInTransaction { .. })));
    assert!(check(&producers, &first).unwrap().is_some(), "what was appended is answered as then");
}

#[test]
fn lower_sequence_that_waits_keeps_higher_ones_out() {
    let mut waiting = Verifications::default();
    let applicant = |sequence, adds| Applicant {
        producer_id: ProducerId(1),
        epoch: ProducerEpoch(0),
        base_sequence: sequence,
        adds,
    };
    waiting.begin(&applicant(4, false), 0);
    let guard = waiting.begin(&applicant(6, false), 0);
    let ask = |waiting: &Verifications, guard, sequence| {
        let header = in_transaction(batch(1, 0, sequence, 2, 0));
        Producers::default().check(&header, Origin::Verified(guard), waiting.get(ProducerId(1)))
    };
    assert!(matches!(ask(&waiting, guard, 6), Err(AppendError::OutOfOrderSequence { expected: 4, .. })));
    assert_eq!(ask(&waiting, guard, 4).unwrap(), None);
    let mut waiting = Verifications::default();
    let guard = waiting.begin(&applicant(4, true), 0);
    assert!(matches!(ask(&waiting, guard, 4), Err(AppendError::OutOfOrderSequence { expected: 0, .. })));
}

#[test]
fn markers_of_older_epochs_are_refused_and_those_of_the_same_one_by_version() {
    let mut producers = after(&[in_transaction(batch(1, 5, 0, 1, 0))]);
    let ask = |producers: &Producers, epoch, origin| producers.check_marker(&ending(1, epoch), end(7), origin);
    for origin in [NEWER, NOT_OLDER, Origin::Coordinator] {
        assert!(matches!(ask(&producers, 4, origin), Err(AppendError::InvalidProducerEpoch { .. })));
        ask(&producers, 6, origin).unwrap();
    }
    ask(&producers, 5, NOT_OLDER).unwrap();
    assert!(matches!(ask(&producers, 5, NEWER), Err(AppendError::InvalidProducerEpoch { .. })));
    producers.replay(&ending(1, 6), end(7));
    ask(&producers, 6, NEWER).expect("the same marker once more");
    let older = producers.check_marker(&ending(1, 6), end(6), NEWER);
    assert!(matches!(older, Err(AppendError::CoordinatorFenced { found: 6, current: 7, .. })));
    ask(&producers, 0, NEWER).unwrap_err();
    producers.check_marker(&ending(2, 0), end(0), NEWER).expect("nothing is known of this producer");
}

#[test]
fn epoch_after_a_marker_begins_at_sequence_zero() {
    let mut producers = after(&[in_transaction(batch(1, 5, 0, 3, 0))]);
    producers.replay(&ending(1, 6), end(0));
    let ask = |sequence| producers.check(&in_transaction(batch(1, 6, sequence, 1, 4)), Origin::Unverified, None);
    assert!(matches!(ask(3), Err(AppendError::OutOfOrderSequence { expected: 0, .. })));
    assert_eq!(ask(0).unwrap(), None);
}

#[test]
fn producer_with_an_open_transaction_outlives_its_time() {
    let mut producers = after(&[in_transaction(batch(1, 0, 0, 1, 0)), batch(2, 0, 0, 1, 1)]);
    producers.expire(i64::MAX);
    assert_eq!(
        producers.active().iter().map(|active| (active.id.0, active.open_since)).collect::<Vec<_>>(),
        [(1, Some(Offset(0)))]
    );
    producers.replay(&ending(1, 0), end(0));
    producers.expire(i64::MAX);
    assert_eq!(producers.len(), 0);
}

#[test]
fn transaction_whose_marker_is_gone_is_settled_by_what_was_known_behind_it() {
    let mut older = after(&[in_transaction(batch(1, 0, 0, 1, 0)), in_transaction(batch(2, 0, 0, 1, 1))]);
    let mut newer = older.clone();
    newer.replay(&ending(1, 0), end(0));
    newer.replay(&in_transaction(batch(1, 0, 1, 1, 91)), None);
    // The marker of the first one was compacted away; what came behind the newer state is replayed in any case.
    older.replay(&in_transaction(batch(3, 0, 0, 1, 100)), None);
    assert_eq!(older.settle(&newer, Offset(95)), [Offset(0)]);
    let mut open: Vec<_> = older.open_transactions().map(|(first, id)| (first.0, id.0)).collect();
    open.sort_unstable();
    assert_eq!(open, [(1, 2), (100, 3)]);
}

#[test]
fn full_house_that_was_heard_at_one_moment_forgets_some_and_not_all() {
    let mut producers = Producers::default();
    for id in 0..PRODUCERS_MAX as i64 {
        producers.replay(&batch(id, 0, 0, 1, id), None);
    }
    producers.hear_all(7_000); // as a start does
    producers.replay(&batch(PRODUCERS_MAX as i64, 0, 0, 1, 0), None);
    assert!((PRODUCERS_MAX * 8 / 10..PRODUCERS_MAX).contains(&producers.len()), "{} are left", producers.len());
}
