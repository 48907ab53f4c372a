use super::*;

fn key(partition: i32) -> Key {
    (TopicKey::Name(TopicName::parse("t").unwrap()), PartitionIndex(partition))
}

fn at(offset: i64) -> Position {
    Position {
        fetch_offset: Offset(offset),
        bytes_max: 100,
        current_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
    }
}

fn ask(session_id: i32, epoch: i32, partitions: &[(i32, i64)]) -> Ask {
    let partitions = partitions.iter().map(|(partition, offset)| (key(*partition), at(*offset))).collect();
    Ask { session_id, epoch, partitions, ..Ask::default() }
}

fn told(high_watermark: i64) -> Told {
    Told { high_watermark: Offset(high_watermark), log_start: Offset(0), was_error: false }
}

fn offsets(plan: &Plan) -> Vec<(i32, i64)> {
    plan.partitions.iter().map(|(key, position)| (key.1.0, position.fetch_offset.0)).collect()
}

fn begin(sessions: &FetchSessions) -> i32 {
    let plan = sessions.plan(ask(0, INITIAL_EPOCH, &[(0, 5), (1, 6), (2, 7)]), 0).unwrap();
    assert!(!plan.incremental);
    plan.session_id
}

#[test]
fn without_a_session_nothing_is_remembered() {
    let sessions = FetchSessions::new(10);
    let plan = sessions.plan(ask(0, FINAL_EPOCH, &[(0, 5)]), 0).unwrap();
    assert_eq!((plan.session_id, plan.incremental, sessions.len()), (NO_SESSION, false, 0));
}

#[test]
fn incremental_request_only_names_what_changes() {
    let sessions = FetchSessions::new(10);
    let id = begin(&sessions);
    let plan = sessions.plan(ask(id, 1, &[(1, 16)]), 0).unwrap();
    assert!(plan.incremental);
    assert_eq!(offsets(&plan), [(0, 5), (1, 16), (2, 7)]);
    let more = Ask { forgotten: vec![key(0)], ..ask(id, 2, &[(3, 1)]) };
    assert_eq!(offsets(&sessions.plan(more, 0).unwrap()), [(1, 16), (2, 7), (3, 1)]);
}

#[test]
fn a_session_that_has_no_partitions_left_ends() {
    let sessions = FetchSessions::new(10);
    let id = begin(&sessions);
    let none = Ask { forgotten: vec![key(0), key(1), key(2)], ..ask(id, 1, &[]) };
    let plan = sessions.plan(none, 0).unwrap();
    assert_eq!((plan.session_id, sessions.len()), (NO_SESSION, 0));
    assert_eq!(sessions.plan(ask(id, 2, &[]), 0), Err(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn wrong_epochs_and_unknown_ids_are_refused() {
    let sessions = FetchSessions::new(10);
    let id = begin(&sessions);
    assert_eq!(sessions.plan(ask(id, 2, &[]), 0), Err(ErrorCode::InvalidFetchSessionEpoch));
    assert_eq!(sessions.plan(ask(id + 1, 1, &[]), 0), Err(ErrorCode::FetchSessionIdNotFound));
    sessions.plan(ask(id, 1, &[]), 0).unwrap();
    assert_eq!(sessions.plan(ask(id, 1, &[]), 0), Err(ErrorCode::InvalidFetchSessionEpoch));
    let by_id = Ask { by_id: true, ..ask(id, 2, &[]) };
    assert_eq!(sessions.plan(by_id, 0), Err(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn epoch_zero_with_an_id_is_a_reset_and_opens_a_new_session() {
    let sessions = FetchSessions::new(10);
    let old = begin(&sessions);
    let new = sessions.plan(ask(old, INITIAL_EPOCH, &[(9, 1)]), 0).unwrap().session_id;
    assert!(new != NO_SESSION && new != old);
    assert_eq!(sessions.plan(ask(old, 1, &[]), 0), Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(offsets(&sessions.plan(ask(new, 1, &[]), 0).unwrap()), [(9, 1)]);
    let unknown = sessions.plan(ask(7777, INITIAL_EPOCH, &[(9, 1)]), 0).unwrap();
    assert_ne!(unknown.session_id, NO_SESSION);
}

#[test]
fn final_epoch_with_an_id_ends_the_session() {
    let sessions = FetchSessions::new(10);
    let id = begin(&sessions);
    sessions.plan(ask(id, FINAL_EPOCH, &[(0, 5)]), 0).unwrap();
    assert_eq!(sessions.len(), 0);
}

#[test]
fn full_cache_gives_up_only_silent_sessions() {
    let sessions = FetchSessions::new(2);
    let first = begin(&sessions);
    begin(&sessions);
    assert_eq!(sessions.plan(ask(0, INITIAL_EPOCH, &[(0, 1)]), EVICTION_MS - 1).unwrap().session_id, NO_SESSION);
    assert_eq!(sessions.len(), 2);
    sessions.plan(ask(first, 1, &[]), EVICTION_MS).unwrap();
    assert_ne!(sessions.plan(ask(0, INITIAL_EPOCH, &[(0, 1)]), EVICTION_MS).unwrap().session_id, NO_SESSION);
    sessions.plan(ask(first, 2, &[]), EVICTION_MS).unwrap();
    let none = FetchSessions::new(0);
    assert_eq!(none.plan(ask(0, INITIAL_EPOCH, &[(0, 1)]), 0).unwrap().session_id, NO_SESSION);
}

#[test]
fn answer_names_partitions_with_news_only() {
    let sessions = FetchSessions::new(10);
    let id = begin(&sessions);
    let answers = [(key(0), told(5), false), (key(1), told(6), true), (key(2), told(7), false)];
    assert_eq!(sessions.settle(id, &answers), [true, true, true]);
    assert_eq!(sessions.settle(id, &answers), [false, true, false]);
    let error = Told { was_error: true, ..told(7) };
    assert_eq!(sessions.settle(id, &[(key(0), told(8), false), (key(2), error, false)]), [true, true]);
    assert_eq!(sessions.settle(id, &[(key(2), error, false)]), [true]);
}

#[test]
fn partition_that_got_records_goes_to_the_end() {
    let sessions = FetchSessions::new(10);
    let id = begin(&sessions);
    sessions.settle(id, &[(key(0), told(5), true), (key(1), told(6), false), (key(2), told(7), false)]);
    assert_eq!(offsets(&sessions.plan(ask(id, 1, &[]), 0).unwrap()), [(1, 6), (2, 7), (0, 5)]);
}

#[test]
fn epoch_wraps_to_one() {
    let sessions = FetchSessions::new(10);
    let id = begin(&sessions);
    sessions.sessions.lock().by_id.get_mut(&id).unwrap().next_epoch = i32::MAX;
    sessions.plan(ask(id, i32::MAX, &[]), 0).unwrap();
    sessions.plan(ask(id, 1, &[]), 0).unwrap();
}

#[test]
fn ids_of_an_earlier_run_are_not_given_to_others() {
    let first_id = |_| FetchSessions::new(10).plan(ask(0, INITIAL_EPOCH, &[(0, 1)]), 0).unwrap().session_id;
    let mut ids: Vec<i32> = (0..8).map(first_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() > 4 && ids[0] > NO_SESSION, "{ids:?}");
}

fn bounded(weight_max: usize) -> FetchSessions {
    let sessions = FetchSessions::new(10);
    sessions.sessions.lock().weight_max = weight_max;
    sessions
}

fn weight_of(sessions: &FetchSessions) -> usize {
    sessions.sessions.lock().weight
}

#[test]
fn partitions_of_all_sessions_together_have_a_bound() {
    let sessions = bounded(7);
    let (first, second) = (begin(&sessions), begin(&sessions));
    assert!(first != NO_SESSION && second != NO_SESSION);
    assert_eq!(begin(&sessions), NO_SESSION, "only one more has room");
    let plan = sessions.plan(ask(0, INITIAL_EPOCH, &[(0, 5), (1, 6), (2, 7)]), 0).unwrap();
    assert_eq!(plan.partitions.len(), 3, "without a session it is served all the same");
    assert_eq!((sessions.len(), weight_of(&sessions)), (2, 6));
    // One that ends makes room, and so does one that was silent for long.
    sessions.plan(ask(first, FINAL_EPOCH, &[]), 0).unwrap();
    assert_eq!(weight_of(&sessions), 3);
    assert!(begin(&sessions) != NO_SESSION);
    let many = ask(0, INITIAL_EPOCH, &[(0, 0), (1, 0), (2, 0), (3, 0)]);
    assert!(sessions.plan(many, EVICTION_MS).unwrap().session_id != NO_SESSION);
    assert_eq!((sessions.len(), weight_of(&sessions)), (2, 7));
    let too_many: Vec<(i32, i64)> = (0..8).map(|partition| (partition, 0)).collect();
    assert_eq!(sessions.plan(ask(0, INITIAL_EPOCH, &too_many), i64::MAX).unwrap().session_id, NO_SESSION);
    assert_eq!(sessions.len(), 2, "nobody goes for what would not fit anyway");
}

#[test]
fn session_that_outgrows_the_bound_ends_and_one_that_shrinks_makes_room() {
    let sessions = bounded(6);
    let (first, second) = (begin(&sessions), begin(&sessions));
    sessions.plan(Ask { forgotten: vec![key(0)], ..ask(first, 1, &[]) }, 0).unwrap();
    assert_eq!(weight_of(&sessions), 5);
    sessions.plan(ask(second, 1, &[(3, 0)]), 0).unwrap();
    assert_eq!(sessions.plan(ask(second, 2, &[(4, 0)]), 0), Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!((sessions.len(), weight_of(&sessions)), (1, 2));
}

#[test]
fn long_names_of_no_topic_weigh_what_they_hold() {
    let sessions = bounded(10);
    let name = TopicKey::Invalid("?".repeat(10 * NAME_BYTES_PER_WEIGHT));
    let ask = Ask { partitions: vec![((name, PartitionIndex(0)), at(0))], ..Ask::default() };
    assert_eq!(sessions.plan(ask, 0).unwrap().session_id, NO_SESSION);
}
