use twinstream_model::{LeaderEpoch, Offset};
use twinstream_protocol::batch::Attributes;

use super::*;

fn waits(epoch: i16, sequence: i32, adds: bool) -> Applicant {
    let (producer_id, epoch) = (ProducerId(7), ProducerEpoch(epoch));
    Applicant { producer_id, epoch, base_sequence: sequence, adds }
}

fn batch(epoch: i16, attributes: i16) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(0),
        len: 100,
        leader_epoch: LeaderEpoch(0),
        crc: 0,
        attributes: Attributes(attributes),
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: 0,
        record_count: 1,
    }
}

const DATA: i16 = 1 << 4;
const MARKER: i16 = 3 << 4;

#[test]
fn batches_of_a_producer_share_a_guard_until_one_is_written() {
    let mut all = Verifications::default();
    let first = all.begin(&waits(0, 4, false), 0);
    assert_eq!(all.begin(&waits(0, 2, false), 0), first);
    assert_eq!(all.get(ProducerId(7)).unwrap().lowest_sequence, 2);
    all.wrote(&batch(0, 0));
    assert_eq!(all.begin(&waits(0, 9, false), 0), first, "what is not transactional does not count");
    all.wrote(&batch(0, DATA));
    assert!(all.get(ProducerId(7)).is_none());
    assert_ne!(all.begin(&waits(0, 4, false), 0), first);
}

#[test]
fn newer_epoch_begins_its_sequences_anew_and_an_older_one_changes_nothing() {
    let mut all = Verifications::default();
    all.begin(&waits(3, 9, true), 0);
    all.begin(&waits(4, 5, true), 0);
    all.begin(&waits(3, 0, true), 0);
    assert_eq!(all.get(ProducerId(7)).unwrap().lowest_sequence, 5);
}

#[test]
fn marker_voids_a_guard_unless_it_has_the_epoch_of_the_transaction_that_waits() {
    for (adds, waiting, marker, stays) in
        [(true, 5, 5, true), (true, 4, 5, false), (false, 5, 5, false), (true, 5, 4, false)]
    {
        let mut all = Verifications::default();
        all.begin(&waits(waiting, 0, adds), 0);
        all.wrote(&batch(marker, MARKER));
        assert_eq!(all.get(ProducerId(7)).is_some(), stays, "adds {adds}, epoch {waiting}, marker {marker}");
    }
}

#[test]
fn those_that_wait_are_bounded_and_forgotten() {
    let mut all = Verifications::default();
    for id in 0..VERIFICATIONS_MAX as i64 + 1 {
        all.begin(&Applicant { producer_id: ProducerId(id), ..waits(0, 0, false) }, id);
    }
    assert!(all.entries.len() <= VERIFICATIONS_MAX);
    assert!(all.get(ProducerId(0)).is_none() && all.get(ProducerId(VERIFICATIONS_MAX as i64)).is_some());
    all.expire(VERIFICATIONS_MAX as i64);
    assert_eq!(all.entries.len(), 1);
}
