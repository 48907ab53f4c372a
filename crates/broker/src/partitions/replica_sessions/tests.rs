use uuid::Uuid;

use super::*;

const NODE: NodeId = NodeId(2);

fn key(partition: i32) -> ReplicaKey {
    (TopicId(Uuid::from_u128(1)), PartitionIndex(partition))
}

fn at(offset: i64) -> ReplicaPosition {
    ReplicaPosition {
        leader_epoch: LeaderEpoch(1),
        fetch_offset: Offset(offset),
        last_fetched_epoch: LeaderEpoch(1),
        log_start: Offset(0),
        high_watermark: Offset(0),
        bytes_max: 10,
    }
}

fn absent() -> Result<Arc<Partition>, ErrorCode> {
    Err(ErrorCode::UnknownTopicId)
}

fn listed(session: &ReplicaSession) -> Vec<(i32, i64)> {
    let mut listed: Vec<_> = session.slots().iter().map(|s| (s.key.1.0, s.position.fetch_offset.0)).collect();
    listed.sort_unstable();
    listed
}

#[test]
fn session_keeps_what_later_requests_do_not_name() {
    let (sessions, now) = (ReplicaSessions::default(), Instant::now());
    let mut session = sessions.take(NODE, 0, 0, now).unwrap();
    assert!(session.is_first_answer);
    (0..4).for_each(|partition| session.set(key(partition), at(5), absent));
    let id = session.id();
    sessions.put_back(session);
    let mut session = sessions.take(NODE, id, 1, now).unwrap();
    assert!(!session.is_first_answer);
    session.set(key(3), at(9), absent);
    session.forget(&key(0));
    assert_eq!(listed(&session), [(1, 5), (2, 5), (3, 9)]);
    session.set(key(3), at(10), absent);
    session.forget(&key(7));
    assert_eq!(listed(&session), [(1, 5), (2, 5), (3, 10)]);
}

#[test]
fn session_is_found_by_its_follower_in_its_epoch_and_by_one_request_at_a_time() {
    let (sessions, now) = (ReplicaSessions::default(), Instant::now());
    let session = sessions.take(NODE, 0, 0, now).unwrap();
    let id = session.id();
    let code = |follower, epoch| sessions.take(follower, id, epoch, now).map(|s| s.id()).unwrap_err();
    assert_eq!(code(NODE, 1), ErrorCode::FetchSessionIdNotFound);
    sessions.put_back(session);
    assert_eq!(code(NodeId(3), 1), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(code(NODE, 2), ErrorCode::InvalidFetchSessionEpoch);
    assert!(sessions.take(NODE, id, 1, now).is_ok());
}

#[test]
fn new_session_replaces_the_one_that_it_names_and_requests_without_one_leave_nothing() {
    let (sessions, now) = (ReplicaSessions::default(), Instant::now());
    let first = sessions.take(NODE, 0, 0, now).unwrap();
    let id = first.id();
    sessions.put_back(first);
    let second = sessions.take(NODE, id, 0, now).unwrap();
    assert_ne!(second.id(), id);
    sessions.put_back(second);
    assert_eq!(sessions.inner.lock().idle.len(), 1);
    sessions.put_back(sessions.take(NODE, 0, -1, now).unwrap());
    assert_eq!(sessions.inner.lock().idle.len(), 1);
}

#[test]
fn request_that_nobody_waits_for_any_more_is_ended_by_the_next_session() {
    let (sessions, now) = (ReplicaSessions::default(), Instant::now());
    let waiting = sessions.take(NODE, 0, 0, now).unwrap();
    let foreign = sessions.take(NodeId(3), waiting.id(), 0, now).unwrap();
    assert!(!waiting.replaced().is_cancelled());
    let next = sessions.take(NODE, waiting.id(), 0, now).unwrap();
    assert!(waiting.replaced().is_cancelled());
    [waiting, foreign, next].into_iter().for_each(|session| sessions.put_back(session));
    let inner = sessions.inner.lock();
    assert_eq!((inner.idle.len(), inner.busy.len()), (2, 0));
}

#[test]
fn answers_begin_behind_the_partition_that_was_served_last() {
    let mut session = ReplicaSession::new(1, NODE, Instant::now());
    (0..3).for_each(|partition| session.set(key(partition), at(0), absent));
    assert_eq!(session.order().collect::<Vec<_>>(), [0, 1, 2]);
    session.served(1);
    assert_eq!(session.order().collect::<Vec<_>>(), [2, 0, 1]);
    session.served(2);
    assert_eq!(session.order().collect::<Vec<_>>(), [0, 1, 2]);
}

fn begin_with(sessions: &ReplicaSessions, partitions: i32, now: Instant) -> i32 {
    let mut session = sessions.take(NODE, 0, INITIAL_EPOCH, now).unwrap();
    (0..partitions).for_each(|partition| session.set(key(partition), at(5), absent));
    sessions.decline_if_too_large(&mut session);
    let id = session.id();
    sessions.put_back(session);
    id
}

#[test]
fn partitions_of_all_sessions_together_have_a_bound() {
    let sessions = ReplicaSessions { partitions_max: 5, ..ReplicaSessions::default() };
    let start = Instant::now();
    let at_second = |second| start + std::time::Duration::from_secs(second);
    let (first, second) = (begin_with(&sessions, 2, at_second(1)), begin_with(&sessions, 3, at_second(2)));
    let third = begin_with(&sessions, 3, at_second(3));
    let gone = |id| sessions.take(NODE, id, 1, at_second(4)).map(|session| sessions.put_back(session)).is_err();
    assert!(gone(first) && gone(second), "those that were silent longest made room");
    assert!(!gone(third));
    assert_eq!(begin_with(&sessions, 6, at_second(5)), NO_SESSION, "too large for any room");
    assert_eq!(sessions.take(NODE, third, 2, at_second(6)).map(|session| session.id()), Ok(third));
    assert!(sessions.inner.lock().partitions == 0, "what a request holds is not idle");
}
