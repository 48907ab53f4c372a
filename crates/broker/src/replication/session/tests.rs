use uuid::Uuid;

use super::*;

fn key(topic: u128, partition: i32) -> Key {
    (TopicId(Uuid::from_u128(topic)), PartitionIndex(partition))
}

fn wanted(offset: i64) -> Wanted {
    Wanted {
        epoch: LeaderEpoch(3),
        fetch_offset: Offset(offset),
        last_fetched_epoch: LeaderEpoch(2),
        log_start: Offset(0),
        high_watermark: Offset(offset),
        bytes_max: 100,
    }
}

fn named(lists: &Lists) -> Vec<(u128, i32, i64)> {
    let topics = lists.topics.iter();
    let each = topics.flat_map(|t| t.partitions.iter().map(|p| (t.topic_id.as_u128(), p.partition, p.fetch_offset)));
    each.collect()
}

#[test]
fn first_request_names_all_and_later_ones_what_changed() {
    let mut session = Session::default();
    for (at, offset) in [(key(2, 0), 7), (key(1, 1), 6), (key(1, 0), 5)] {
        session.want(at, wanted(offset));
    }
    let first = session.lists();
    assert_eq!((first.session_id, first.session_epoch, first.topics.len()), (0, 0, 2));
    assert_eq!(named(&first), [(1, 0, 5), (1, 1, 6), (2, 0, 7)]);
    assert!(session.answered(ErrorCode::None, 77));
    session.want(key(1, 0), wanted(5));
    let quiet = session.lists();
    assert_eq!((quiet.session_id, quiet.session_epoch), (77, 1));
    assert!(quiet.topics.is_empty() && quiet.forgotten.is_empty());
    assert!(session.answered(ErrorCode::None, 77));
    session.want(key(1, 1), wanted(9));
    session.drop(&key(2, 0));
    let changed = session.lists();
    assert_eq!((changed.session_epoch, named(&changed)), (2, vec![(1, 1, 9)]));
    assert_eq!(changed.forgotten[0].partitions, [0]);
    assert_eq!(changed.forgotten[0].topic_id.as_u128(), 2);
}

#[test]
fn partition_that_comes_back_before_it_was_forgotten_is_named_again() {
    let mut session = Session::default();
    session.want(key(1, 0), wanted(5));
    session.lists();
    assert!(session.answered(ErrorCode::None, 77));
    session.drop(&key(1, 0));
    assert!(session.is_empty());
    session.want(key(1, 0), wanted(5));
    let lists = session.lists();
    assert_eq!((named(&lists), lists.forgotten.len()), (vec![(1, 0, 5)], 0));
}

#[test]
fn lost_session_is_replaced_by_a_new_one_that_ends_it() {
    let mut session = Session::default();
    session.want(key(1, 0), wanted(5));
    session.lists();
    assert!(session.answered(ErrorCode::None, 77));
    session.lists();
    assert!(!session.answered(ErrorCode::FetchSessionIdNotFound, 0));
    session.want(key(1, 1), wanted(6));
    session.drop(&key(1, 1));
    let again = session.lists();
    assert_eq!((again.session_id, again.session_epoch), (77, 0));
    assert_eq!((named(&again), again.forgotten.len()), (vec![(1, 0, 5)], 0));
}

#[test]
fn leader_without_room_for_sessions_is_told_all_each_time() {
    let mut session = Session::default();
    session.want(key(1, 0), wanted(5));
    for _ in 0..3 {
        let lists = session.lists();
        assert_eq!((lists.session_id, lists.session_epoch, named(&lists).len()), (0, 0, 1));
        assert!(session.answered(ErrorCode::None, 0));
    }
}

#[test]
fn session_epoch_wraps_to_one() {
    let mut session = Session { id: 5, next_epoch: i32::MAX, ..Session::default() };
    assert!(session.answered(ErrorCode::None, 5));
    assert_eq!(session.lists().session_epoch, 1);
}
