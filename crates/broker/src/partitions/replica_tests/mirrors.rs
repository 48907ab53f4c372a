//! Leaders and followers of topics that are mirrors: whose epochs, who may write, what is committed.

use twinstream_metadata::{Mirror, MirrorState};
use twinstream_model::{TopicName, TopicPartition};
use twinstream_protocol::batch::batches;
use twinstream_protocol::mirror::SourceRange;

use super::*;

const LINK: Uuid = Uuid::from_u128(11);

fn mark(state: MirrorState) -> Mirror {
    Mirror {
        link: LINK,
        cluster: "upstream".into(),
        topic: TopicName::parse("orders").unwrap(),
        topic_id: TopicId(Uuid::from_u128(12)),
        state,
    }
}

/// A replica of a mirror.
fn replica() -> Replica {
    let mut replica = Replica::new(1);
    let topic_id = replica.partition.topic_id();
    let name = TopicName::parse("t").unwrap();
    let mirror = Record::Mirror { topic_id, mirror: mark(MirrorState::Mirroring) };
    replica.image.apply_batch(&[Record::Topic { name, topic_id }, mirror]).unwrap();
    replica
}

fn promote(replica: &mut Replica, epoch: i32) {
    let mirror = mark(MirrorState::Promoted { epoch: LeaderEpoch(epoch), own: None });
    let topic_id = replica.partition.topic_id();
    replica.image.apply(&Record::Mirror { topic_id, mirror }).unwrap();
}

fn range(from: i64) -> SourceRange {
    SourceRange {
        from: Offset(from),
        log_start: Offset(0),
        high_watermark: Offset(100),
        leader_epoch: LeaderEpoch(50),
        last_epoch: LeaderEpoch::NONE,
        cut: false,
    }
}

fn mirror(replica: &Replica, bytes: &[u8], from: i64) -> Result<LedMirror, AppendRefused> {
    // The source is led in the epoch of the newest record that it brings.
    let leader_epoch = batches(bytes).last().map_or(LeaderEpoch(0), |batch| batch.unwrap().header().leader_epoch);
    let range = SourceRange { leader_epoch, ..range(from) };
    replica.partition.append_mirrored(bytes, LINK, &range, true, now_ms())
}

#[test]
fn leading_a_mirror_leaves_no_trace_in_its_epochs() {
    let replica = replica();
    replica.lead(7);
    mirror(&replica, &stored(0, 2, &["a"]), 0).unwrap();
    replica.lead(9);
    mirror(&replica, &stored(1, 2, &["b"]), 1).unwrap();
    assert_eq!(replica.partition.log().latest_epoch(), Some(LeaderEpoch(2)));
    replica.fetch(SECOND, 9, 2, 2).expect("a follower with the same records");
}

/// The follower has what an earlier leader had taken in of a newer epoch, and its new leader has not.
#[test]
fn a_follower_with_an_epoch_that_its_leader_has_not_cuts_to_what_both_have() {
    let replica = replica();
    replica.lead(7);
    mirror(&replica, &stored(0, 2, &["a", "b"]), 0).unwrap();
    let expected = ReplicaRefused::Diverging { epoch: LeaderEpoch(2), end: Offset(2) };
    assert_eq!(replica.fetch(SECOND, 7, 3, 5), Err(expected));
    assert_eq!(replica.partition.end_of_epoch(LeaderEpoch(5)), Some((LeaderEpoch(2), Offset(2))));
    let plain = Replica::new(1);
    plain.lead(7);
    assert_eq!(plain.partition.end_of_epoch(LeaderEpoch(8)), None, "as Kafka has it");
}

#[test]
fn a_request_that_was_judged_before_the_promotion_is_refused_behind_the_gate() {
    let mut replica = replica();
    replica.lead(7);
    mirror(&replica, &stored(0, 2, &["a"]), 0).unwrap();
    let refused = replica.partition.append(&batch(0, &["x"]), Origin::Client, NO_EPOCH, true, now_ms());
    assert!(matches!(refused, Err(AppendRefused::ReadOnly { .. })), "{refused:?}");
    promote(&mut replica, 8);
    replica.lead(8);
    let refused = mirror(&replica, &stored(1, 2, &["b"]), 1);
    assert!(matches!(refused, Err(AppendRefused::NotOfLink { .. })), "{refused:?}");
    replica.append(&["x"]);
    assert_eq!(
        replica.partition.end_of_epoch(LeaderEpoch(7)),
        Some((LeaderEpoch(2), Offset(1))),
        "where the logs part"
    );
}

#[test]
fn records_beyond_the_followers_are_committed_when_these_have_them() {
    let replica = replica();
    replica.lead(7);
    let led = mirror(&replica, &stored(0, 2, &["a"]), 0).unwrap();
    assert_eq!(replica.partition.commitment(led.epoch, led.mirrored.end), Commitment::Waiting);
    assert_eq!(replica.partition.mirror_lag(), Some(99));
    for follower in [SECOND, THIRD] {
        replica.fetch(follower, 7, 1, 2).unwrap();
    }
    assert_eq!(replica.partition.commitment(led.epoch, led.mirrored.end), Commitment::Committed);
}

#[test]
fn only_the_leader_takes_what_a_link_brings() {
    let replica = replica();
    replica.take_over(&Replica::wanted(SECOND, 7, 7, &[SELF, SECOND, THIRD]));
    let refused = mirror(&replica, &stored(0, 2, &["a"]), 0);
    assert!(matches!(refused, Err(AppendRefused::NotLeader(ErrorCode::NotLeaderOrFollower))), "{refused:?}");
    assert_eq!(replica.partition.mirror_lag(), None);
    let at = TopicPartition::new(TopicName::parse("t").unwrap(), 0);
    assert_eq!(replica.partition.id(), &at);
}

fn position(offset: i64, last_epoch: i32) -> ReplicaFetch {
    ReplicaFetch {
        follower: SECOND,
        broker_epoch: i64::from(SECOND.0) * 10,
        leader_epoch: LeaderEpoch(9),
        offset: Offset(offset),
        last_epoch: LeaderEpoch(last_epoch),
        log_start: Offset(0),
    }
}

/// It wrote to the site that was given up: what it had acknowledged there after the last common record is gone. librdkafka would take
/// a refusal for a sign that nothing is in order, and be of no use any more.
#[tokio::test]
async fn producer_goes_on_behind_its_records_that_a_fail_back_has_cut() {
    let mut replica = Replica { now: Replica::at_rest(1).now, ..replica() };
    replica.lead(7);
    let mut known = numbered(3);
    known[12..16].copy_from_slice(&2i32.to_be_bytes());
    mirror(&replica, &known, 0).unwrap();
    promote(&mut replica, 8);
    replica.lead(8);
    assert_eq!(replica.append_numbered(9), Err(ErrorCode::NotLeaderOrFollower), "those before it may be on their way");
    let taken = || async { replica.append_numbered(9).ok() };
    assert_eq!(wait_until_some("the batch is taken", Duration::from_secs(20), taken).await, Offset(1));
    assert_eq!(replica.append_numbered(11), Err(ErrorCode::OutOfOrderSequenceNumber), "this gap is its own");
    assert_eq!(replica.append_numbered(10), Ok(Offset(2)));
}

/// A follower's fetch waits at the log end, when the log is cut and has grown beyond that again.
#[test]
fn a_follower_that_waited_during_a_cut_hears_that_epochs_part_and_gets_no_records() {
    let replica = replica();
    replica.lead(9);
    mirror(&replica, &stored(0, 2, &["a", "b", "c"]), 0).unwrap();
    for follower in [SECOND, THIRD] {
        replica.fetch(follower, 9, 3, 2).unwrap();
    }
    assert_eq!(replica.partition.high_watermark(), Offset(3));
    assert_eq!(replica.partition.check_uncut_for(&position(3, 2)), Ok(()));
    let parts = SourceRange { cut: true, leader_epoch: LeaderEpoch(5), ..range(0) };
    let (led, cut) = replica.partition.cut_mirrored(LINK, &parts).unwrap();
    assert_eq!((led.mirrored.log_end, cut.offsets, replica.partition.high_watermark()), (Offset(0), 3, Offset(0)));
    mirror(&replica, &stored(0, 5, &["d", "e", "f", "g"]), 0).unwrap();
    let diverging = ReplicaRefused::Diverging { epoch: LeaderEpoch(2), end: Offset(0) };
    assert_eq!(replica.partition.check_uncut_for(&position(3, 2)), Err(diverging));
    let waits = replica.partition.fetched(&position(3, 2), Intake::Waits, replica.now);
    assert_eq!(
        (waits, replica.partition.high_watermark()),
        (Ok(true), Offset(0)),
        "what it had does not count any more"
    );
    assert_eq!(replica.fetch(SECOND, 9, 4, 5), Ok(true));
    assert_eq!(replica.fetch(THIRD, 9, 4, 5), Ok(true));
    assert_eq!(replica.partition.high_watermark(), Offset(4));
}

#[test]
fn a_topic_that_becomes_a_mirror_again_forgets_leaders_that_wrote_nothing() {
    let mut replica = replica();
    replica.lead(7);
    mirror(&replica, &stored(0, 2, &["a"]), 0).unwrap();
    promote(&mut replica, 1_024);
    replica.lead(1_024);
    assert_eq!(replica.partition.log().latest_epoch(), Some(LeaderEpoch(1_024)));
    let again = mark(MirrorState::MirroringAgain { epoch: LeaderEpoch(1_025) });
    let topic_id = replica.partition.topic_id();
    replica.image.apply(&Record::Mirror { topic_id, mirror: again }).unwrap();
    replica.lead(1_025);
    assert_eq!(replica.partition.log().latest_epoch(), Some(LeaderEpoch(2)), "the link hears of records only");
}
