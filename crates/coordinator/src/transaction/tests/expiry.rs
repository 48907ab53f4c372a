//! Claims about time.

use twinstream_model::ErrorCode;

use super::super::*;
use super::context::{TIMEOUT_MS, TestContext, WALL_MS_AT_START, above, partition};
use TransactionVersion::{V0, V2};

const LOOK_MS: u64 = 10_000;
const WEEK_MS: u64 = 7 * 24 * 3_600_000;

#[test]
fn transaction_that_takes_too_long_is_aborted_at_the_next_look() {
    for version in [V0, V2] {
        let mut context = TestContext::of_version(version);
        let producer = context.init("payments");
        context.add_by(version, "payments", producer, &[0]);
        context.advance(TIMEOUT_MS as u64 - 1);
        assert_eq!(context.state("payments"), TransactionState::Ongoing);
        context.advance(LOOK_MS);
        assert_eq!(context.state("payments"), TransactionState::PrepareAbort);
        let timed_out = Event::TimedOut { transactional_id: "payments".into(), producer, timeout_ms: TIMEOUT_MS };
        assert!(context.events.contains(&timed_out));
        context.write_markers();
        assert!(context.end(version, "payments", producer, true).is_err());
        assert_eq!(context.state("payments"), TransactionState::CompleteAbort);
    }
}

#[test]
fn producer_of_the_older_level_is_fenced_by_its_timeout_and_one_of_the_new_level_may_go_on() {
    let mut context = TestContext::of_version(V0);
    let old = context.init("payments");
    context.add("payments", old, &[0]);
    context.advance(TIMEOUT_MS as u64 + LOOK_MS);
    context.write_markers();
    assert_eq!(context.try_init("payments", Some(old)), Err(ErrorCode::ProducerFenced));

    let mut context = TestContext::of_version(V2);
    let new = context.init("payments");
    context.add_by(V2, "payments", new, &[0]);
    context.advance(TIMEOUT_MS as u64 + LOOK_MS);
    context.write_markers();
    assert_eq!(context.end(V2, "payments", new, true), Err(ErrorCode::InvalidTxnState));
    assert_eq!(context.end(V2, "payments", new, false), Ok(above(new, 1)));
    assert_eq!(context.add_by(V2, "payments", above(new, 1), &[0]), ErrorCode::None);
}

#[test]
fn time_begins_with_the_first_partition_and_ends_with_the_transaction() {
    let mut context = TestContext::of_version(V0);
    let producer = context.init("payments");
    context.advance(2 * TIMEOUT_MS as u64);
    context.add("payments", producer, &[0]);
    context.advance(TIMEOUT_MS as u64 / 2);
    context.add("payments", producer, &[1]);
    context.end(V0, "payments", producer, true).unwrap();
    context.write_markers();
    context.add("payments", producer, &[0]);
    context.advance(TIMEOUT_MS as u64 / 2 + LOOK_MS);
    assert_eq!(context.state("payments"), TransactionState::Ongoing, "this one is younger");
    context.advance(TIMEOUT_MS as u64 / 2);
    assert_eq!(context.state("payments"), TransactionState::PrepareAbort);
}

#[test]
fn more_partitions_give_no_more_time() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    for number in 0..7 {
        context.add("payments", producer, &[number]);
        context.advance(LOOK_MS);
    }
    assert_eq!(context.state("payments"), TransactionState::PrepareAbort);
}

#[test]
fn coordinator_that_takes_over_leaves_a_transaction_the_rest_of_its_time() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    context.add("payments", producer, &[0]);
    context.advance(TIMEOUT_MS as u64 - 15_000);
    context.restart();
    context.advance(10_000);
    assert_eq!(context.state("payments"), TransactionState::Ongoing);
    context.advance(5_000 + LOOK_MS);
    assert_eq!(context.state("payments"), TransactionState::PrepareAbort);
    assert_eq!(context.effects.front().unwrap().partitions, [partition(0)].into());
}

#[test]
fn transaction_whose_coordinator_changes_all_the_time_is_aborted_when_its_time_is_over() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    context.add("payments", producer, &[0]);
    for _ in 0..TIMEOUT_MS as u64 / 3_000 {
        assert_eq!(context.state("payments"), TransactionState::Ongoing);
        context.advance(3_000);
        context.restart();
    }
    context.advance(1);
    assert_eq!(context.state("payments"), TransactionState::PrepareAbort);
}

#[test]
fn abort_that_the_log_refuses_is_tried_again() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    context.add("payments", producer, &[0]);
    context.append_error = Some(ErrorCode::NotEnoughReplicas);
    context.advance(TIMEOUT_MS as u64 + 2 * LOOK_MS);
    assert_eq!(context.state("payments"), TransactionState::Ongoing);
    assert!(context.events.iter().any(|event| matches!(event, Event::NotStored { .. })));
    context.append_error = None;
    context.advance(LOOK_MS);
    assert_eq!(context.state("payments"), TransactionState::PrepareAbort);
    let fenced_by = context.effects.front().unwrap().producer;
    assert_eq!(fenced_by, above(producer, 1), "epochs are not spent on attempts");
}

#[test]
fn transaction_of_a_two_phase_commit_has_no_timeout() {
    let mut context = TestContext::with(TransactionConfig { timeout_ms_max: i32::MAX, ..TransactionConfig::default() });
    let request = |fresh| {
        Request::InitProducerId(InitProducerId {
            transactional_id: "payments".into(),
            timeout_ms: i32::MAX,
            producer: None,
            fresh,
        })
    };
    let Some(Answer::InitProducerId(Ok(producer))) = context.ask_with_ids(request) else { panic!("not initialized") };
    context.add("payments", producer, &[0]);
    context.advance(2 * i32::MAX as u64);
    assert_eq!(context.state("payments"), TransactionState::Ongoing);
    context.restart();
    context.advance(2 * i32::MAX as u64);
    assert_eq!(context.state("payments"), TransactionState::Ongoing);
}

#[test]
fn idle_ids_are_forgotten_and_busy_ones_are_not() {
    let mut context = TestContext::new();
    let done = context.init("done");
    context.end(V2, "done", done, false).unwrap();
    context.init("empty");
    context.advance(WEEK_MS / 2);
    context.init("younger");
    let ending = context.init("ending");
    context.add_by(V2, "ending", ending, &[0]);
    context.end(V2, "ending", ending, true).unwrap(); // its markers never come
    context.advance(WEEK_MS / 2 + 3_600_000);
    for id in ["done", "empty"] {
        assert_eq!(context.describe(id), Err(ErrorCode::TransactionalIdNotFound), "{id}");
    }
    assert_eq!(context.state("younger"), TransactionState::Empty);
    context.advance(WEEK_MS);
    assert_eq!(context.describe("younger"), Err(ErrorCode::TransactionalIdNotFound));
    assert_eq!(context.state("ending"), TransactionState::PrepareCommit);
    let forgotten: usize =
        context.events.iter().map(|event| if let Event::IdsExpired { ids } = event { *ids } else { 0 }).sum();
    assert_eq!(forgotten, 3);
    context.restart();
    assert_eq!(context.describe("done"), Err(ErrorCode::TransactionalIdNotFound), "the tombstone is stored");
}

#[test]
fn tombstone_that_the_log_refuses_forgets_nothing() {
    let mut context = TestContext::new();
    context.init("payments");
    context.append_error = Some(ErrorCode::NotEnoughReplicas);
    context.advance(WEEK_MS + 3_600_000);
    assert_eq!(context.state("payments"), TransactionState::Empty);
    context.append_error = None;
    context.advance(3_600_000);
    assert_eq!(context.describe("payments"), Err(ErrorCode::TransactionalIdNotFound));
}

#[test]
fn start_of_a_transaction_is_told_by_the_wall_clock() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    assert_eq!(context.describe("payments").unwrap().start_ms, -1);
    context.advance(993);
    context.add("payments", producer, &[0]);
    let description = context.describe("payments").unwrap();
    assert_eq!(description.start_ms, WALL_MS_AT_START + 1_000);
    assert_eq!(description.timeout_ms, TIMEOUT_MS);
}
