//! What the worker tells of lanes that are in use, closed, or left.

use bytes::Bytes;
use twinstream_connect_api::TaskError;
use twinstream_model::{PartitionIndex, TopicName};

use super::*;

fn observer() -> Observer {
    let observer = Observer::new(None);
    let at = |name: &str| TopicPartition::new(TopicName::parse(name).unwrap(), PartitionIndex(0));
    let metrics = PartitionMetrics::new("observer-a", "observer-b", &at("t"), &at("a.t"));
    let lane =
        RawLane { target: at("a.t"), source_partition: Default::default(), source_offset: |_| Default::default() };
    observer.add(at("t"), Arc::new(lane), Arc::new(metrics));
    observer
}

fn hand_on(observer: &Observer, from: i64, next: i64, aligned: bool) -> Option<Arc<RawLane>> {
    let mut ready = Ready { bytes: Bytes::from_static(b"12345"), ..Ready::nothing(Offset(from)) };
    (ready.next, ready.records) = (Offset(next), 1);
    observer.handed_on(0, &mut ready, aligned, None)
}

fn refuse(observer: &Observer, lane: &Arc<RawLane>, code: ErrorCode) -> AfterRefusal {
    let error = TaskError::fatal("cannot produce");
    observer.refused(lane, &Refusal { code: Some(code), error: &error, log_end: None })
}

#[test]
fn a_batch_that_is_too_large_comes_again_in_a_new_lane() {
    let observer = observer();
    let lane = hand_on(&observer, 0, 10, false).unwrap();
    hand_on(&observer, 10, 20, false).unwrap();
    observer.delivered(&lane, 10, Offset(0));
    assert_eq!(observer.under_way(0), 5);
    assert_eq!(refuse(&observer, &lane, ErrorCode::MessageTooLarge), AfterRefusal::CloseLane);
    assert!(hand_on(&observer, 20, 30, false).is_none() && !observer.is_clear(0));
    let closed = observer.reopen();
    assert_eq!((closed[0].at, closed[0].back_to), (0, Some(Offset(10))));
    assert!(observer.is_clear(0));
    let anew = hand_on(&observer, 10, 20, false).unwrap();
    assert_eq!(refuse(&observer, &anew, ErrorCode::MessageTooLarge), AfterRefusal::FailTask, "twice in a row");
}

#[test]
fn a_late_word_about_a_lane_that_was_left_moves_nothing() {
    for code in [ErrorCode::MessageTooLarge, ErrorCode::TopicAuthorizationFailed] {
        let observer = observer();
        let old = hand_on(&observer, 900, 1000, false).unwrap();
        observer.renew(0);
        let new = hand_on(&observer, 0, 10, false).unwrap();
        assert_eq!(refuse(&observer, &old, code), AfterRefusal::CloseLane);
        observer.delivered(&old, 1000, Offset(900));
        assert!(observer.reopen().is_empty());
        assert_eq!(observer.under_way(0), 5, "what is in the new lane is still under way");
        observer.delivered(&new, 10, Offset(1000));
        assert!(observer.is_clear(0));
    }
}

#[test]
fn a_refusal_that_was_not_heard_before_the_lane_was_left_is_forgotten() {
    let observer = observer();
    let old = hand_on(&observer, 900, 1000, false).unwrap();
    assert_eq!(refuse(&observer, &old, ErrorCode::MessageTooLarge), AfterRefusal::CloseLane);
    observer.renew(0);
    assert!(observer.reopen().is_empty());
    assert!(hand_on(&observer, 0, 10, false).is_some());
}

#[test]
fn whatever_is_said_against_a_mirror_is_the_engines_to_judge() {
    let observer = observer();
    let lane = hand_on(&observer, 0, 10, true).unwrap();
    assert_eq!(refuse(&observer, &lane, ErrorCode::OutOfOrderSequenceNumber), AfterRefusal::CloseLane);
    let first = observer.reopen().remove(0).complaint;
    assert_eq!((first.code, first.again), (Some(ErrorCode::OutOfOrderSequenceNumber), false));
    let lane = hand_on(&observer, 0, 10, true).unwrap();
    refuse(&observer, &lane, ErrorCode::PolicyViolation);
    assert!(observer.reopen()[0].complaint.again, "nothing arrived since the last one");
    let lane = hand_on(&observer, 0, 10, false).unwrap();
    assert_eq!(refuse(&observer, &lane, ErrorCode::InvalidRecord), AfterRefusal::FailTask, "no mirror");
    assert_eq!(refuse(&observer, &lane, ErrorCode::PolicyViolation), AfterRefusal::CloseLane, "it became one");
}

#[test]
fn a_partition_that_went_is_not_heard_of_any_more() {
    let observer = observer();
    let lane = hand_on(&observer, 0, 10, true).unwrap();
    refuse(&observer, &lane, ErrorCode::OutOfOrderSequenceNumber);
    observer.remove(0);
    assert!(observer.reopen().is_empty() && observer.partition(0).is_none());
    assert!(hand_on(&observer, 10, 20, true).is_none());
    observer.delivered(&lane, 10, Offset(0));
    assert_eq!(refuse(&observer, &lane, ErrorCode::PolicyViolation), AfterRefusal::CloseLane);
}
