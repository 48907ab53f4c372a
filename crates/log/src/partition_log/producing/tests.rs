use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, BatchMut, NO_SEQUENCE, ProducerStamp};

use super::super::tests::{EPOCH, Fixture, NOW, idempotent, plain, small};
use super::*;
use crate::MarkerEpoch;

const NEWER: Origin = Origin::Marker(MarkerEpoch::Newer);
const NOT_OLDER: Origin = Origin::Marker(MarkerEpoch::NotOlder);

fn records(id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    idempotent(id, epoch, sequence, 1).with_transactional().build().unwrap()
}

fn marker(id: i64, epoch: i16, commit: bool, coordinator_epoch: u8) -> Vec<u8> {
    let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence: NO_SEQUENCE };
    let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional().with_control();
    builder.append(NOW, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0, 0, 0, 0, 0, coordinator_epoch]), []);
    builder.build().unwrap()
}

impl Fixture {
    fn write(&self, bytes: &[u8], origin: Origin) -> Result<Appended, AppendError> {
        let appended = self.log.append(bytes, origin, EPOCH, NOW);
        self.log.advance_high_watermark(self.log.log_end_offset());
        appended
    }

    fn verify(&self, epoch: i16, sequence: i32, adds: bool) -> Result<Option<VerificationGuard>, AppendError> {
        let (producer_id, epoch) = (ProducerId(1), ProducerEpoch(epoch));
        self.log.begin_verification(&Applicant { producer_id, epoch, base_sequence: sequence, adds }, NOW)
    }

    fn stable(&self) -> i64 {
        self.log.last_stable_offset().0
    }
}

#[test]
fn verified_append_is_refused_after_its_transaction_has_ended() {
    let log = Fixture::new(small());
    let late = log.verify(0, 0, false).unwrap().unwrap();
    log.write(&marker(1, 0, false, 0), NOT_OLDER).unwrap();
    // The next transaction of the producer waits, too, and does not lend its guard.
    let next = log.verify(0, 0, false).unwrap().unwrap();
    assert!(matches!(log.write(&records(1, 0, 0), Origin::Verified(late)), Err(AppendError::NotInTransaction { .. })));
    assert!(matches!(log.write(&records(1, 0, 0), Origin::Client), Err(AppendError::NotInTransaction { .. })));
    log.write(&records(1, 0, 0), Origin::Verified(next)).unwrap();
    assert_eq!((log.verify(0, 1, false).unwrap(), log.stable()), (None, 1));
    log.write(&records(1, 0, 1), Origin::Client).unwrap();
    log.write(&marker(1, 0, true, 0), NOT_OLDER).unwrap();
    assert_eq!((log.stable(), log.end()), (4, 4));
    assert!(matches!(log.write(&records(1, 0, 2), Origin::Client), Err(AppendError::NotInTransaction { .. })));
}

#[test]
fn batches_that_a_leader_sends_void_guards_as_well() {
    let log = Fixture::new(small());
    let late = log.verify(0, 0, false).unwrap().unwrap();
    let mut sent = Vec::new();
    for (offset, mut batch) in (0..).zip([records(1, 0, 0), marker(1, 0, true, 0)]) {
        let mut header = BatchMut::parse(&mut batch).unwrap();
        header.set_base_offset(Offset(offset));
        header.set_leader_epoch(LeaderEpoch(0));
        sent.extend(batch);
    }
    log.log.append_as_follower(&sent, LeaderEpoch(0), NOW).unwrap();
    let refused = log.write(&records(1, 0, 1), Origin::Verified(late));
    assert!(matches!(refused, Err(AppendError::NotInTransaction { .. })));
}

#[test]
fn transactions_with_epochs_of_their_own_begin_at_zero_each() {
    let log = Fixture::new(small());
    for (epoch, commit) in [(3, true), (4, false), (5, true)] {
        let guard = log.verify(epoch, 0, true).unwrap().unwrap();
        log.write(&records(1, epoch, 0), Origin::Verified(guard)).unwrap();
        log.write(&records(1, epoch, 1), Origin::Client).unwrap();
        log.write(&marker(1, epoch + 1, commit, 0), NEWER).unwrap();
        log.write(&marker(1, epoch + 1, commit, 0), NEWER).expect("the marker once more");
        assert!(matches!(log.verify(epoch, 2, true), Err(AppendError::InvalidProducerEpoch { .. })));
        let late = log.write(&records(1, epoch, 2), Origin::Client);
        assert!(matches!(late, Err(AppendError::InvalidProducerEpoch { .. })));
    }
    assert_eq!(log.stable(), log.end());
    let aborted = log.log.aborted_transactions(Offset(0), Offset(log.end())).unwrap();
    assert_eq!(aborted.iter().map(|aborted| aborted.first_offset.0).collect::<Vec<_>>(), [4]);
}

#[test]
fn guard_of_the_next_transaction_outlives_the_late_marker_of_the_last() {
    let log = Fixture::new(small());
    let first = log.verify(0, 0, true).unwrap().unwrap();
    log.write(&records(1, 0, 0), Origin::Verified(first)).unwrap();
    log.write(&marker(1, 1, true, 0), NEWER).unwrap();
    let next = log.verify(1, 0, true).unwrap().unwrap();
    log.write(&marker(1, 1, true, 0), NEWER).unwrap();
    log.write(&records(1, 1, 0), Origin::Verified(next)).unwrap();
    assert_eq!(log.stable(), 3);
    assert!(matches!(log.write(&marker(1, 1, true, 0), NEWER), Err(AppendError::InvalidProducerEpoch { .. })));
}

#[test]
fn fenced_coordinator_ends_nothing() {
    let log = Fixture::new(small());
    log.write(&marker(1, 0, true, 5), NOT_OLDER).unwrap();
    log.write(&records(1, 0, 0), Origin::Unverified).unwrap();
    for origin in [NOT_OLDER, Origin::Coordinator] {
        let refused = log.write(&marker(1, 0, true, 4), origin);
        assert!(matches!(refused, Err(AppendError::CoordinatorFenced { found: 4, current: 5, .. })));
    }
    assert_eq!(log.stable(), 1);
    let log = log.crash();
    assert!(matches!(log.write(&marker(1, 0, true, 4), NOT_OLDER), Err(AppendError::CoordinatorFenced { .. })));
    log.write(&marker(1, 0, true, 5), NOT_OLDER).unwrap();
    assert_eq!(log.stable(), 3);
}

#[test]
fn operator_sees_producers_with_their_transactions() {
    let log = Fixture::new(small());
    log.write(&plain(&[NOW]).build().unwrap(), Origin::Client).unwrap();
    log.write(&records(9, 2, 0), Origin::Unverified).unwrap();
    log.write(&idempotent(4, 0, 7, 2).build().unwrap(), Origin::Client).unwrap();
    let seen = |log: &Fixture| {
        let producers = log.log.active_producers();
        let view = |p: ActiveProducer| (p.id.0, p.epoch.0, p.last_sequence, p.coordinator_epoch, p.open_since);
        producers.into_iter().map(view).collect::<Vec<_>>()
    };
    assert_eq!(seen(&log), [(4, 0, 8, -1, None), (9, 2, 0, -1, Some(Offset(1)))]);
    log.write(&marker(9, 3, true, 6), NEWER).unwrap();
    assert_eq!(seen(&log), [(4, 0, 8, -1, None), (9, 3, -1, 6, None)]);
    let before = seen(&log);
    assert_eq!(seen(&log.close()), before);
}
