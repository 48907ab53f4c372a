//! Claims about ends of transactions, by both protocols.

use std::collections::BTreeSet;

use twinstream_model::{ErrorCode, ProducerEpoch};

use super::super::*;
use super::context::{TIMEOUT_MS, TestContext, above, adding, ending, partition};
use TransactionVersion::{V0, V2};

fn begun(version: TransactionVersion, partitions: &[i32]) -> (TestContext, Producer) {
    let mut context = TestContext::of_version(version);
    let producer = context.init("payments");
    assert_eq!(context.add_by(version, "payments", producer, partitions), ErrorCode::None);
    (context, producer)
}

#[test]
fn outcome_is_stored_before_it_is_told_to_anybody() {
    for (version, commit) in [(V0, true), (V0, false), (V2, true), (V2, false)] {
        let (mut context, producer) = begun(version, &[0, 1]);
        context.holds_commits = true;
        let token = context.request(ending(version, "payments", producer, commit, None));
        let prepared = if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        assert_eq!(context.newest("payments").state, prepared);
        assert_eq!(context.answer(token), None);
        assert!(context.effects.is_empty(), "the log could lose the outcome");

        context.commit();
        let bumps = i16::from(version.bumps_epoch());
        let next = above(producer, bumps);
        assert_eq!(context.answer(token), Some(Answer::EndTxn(Ok(next))));
        let expected = WriteMarkers {
            transactional_id: "payments".into(),
            producer: next,
            commit,
            partitions: [partition(0), partition(1)].into(),
            version,
        };
        assert_eq!(context.effects, [expected]);
        context.write_markers();
        let completed = if commit { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort };
        assert_eq!(context.state("payments"), completed);
        assert_eq!(context.add_by(version, "payments", next, &[3]), ErrorCode::None, "the next transaction");
    }
}

#[test]
fn transaction_is_complete_when_the_last_partition_has_its_marker() {
    let (mut context, producer) = begun(V2, &[0, 1, 2]);
    context.end(V2, "payments", producer, true).unwrap();
    let markers = context.effects.pop_front().unwrap();
    for (written, left) in [(vec![1], vec![0, 2]), (vec![1, 0], vec![2]), (vec![7], vec![2])] {
        let written = written.into_iter().map(partition).collect();
        assert_eq!(context.report(&markers, written), ErrorCode::None);
        let description = context.describe("payments").unwrap();
        assert_eq!(description.state, TransactionState::PrepareCommit);
        assert_eq!(description.partitions, left.into_iter().map(partition).collect());
    }
    context.report(&markers, [partition(2)].into());
    assert_eq!(context.state("payments"), TransactionState::CompleteCommit);
    let records = context.log.len();
    assert_eq!(context.report(&markers, [partition(2)].into()), ErrorCode::None, "told twice");
    assert_eq!(context.log.len(), records);
}

#[test]
fn report_about_an_earlier_transaction_changes_nothing() {
    let (mut context, producer) = begun(V2, &[0]);
    let next = context.end(V2, "payments", producer, true).unwrap();
    let first = context.effects.front().unwrap().clone();
    context.write_markers();
    context.add_by(V2, "payments", next, &[0]);
    context.end(V2, "payments", next, false).unwrap();
    context.report(&first, [partition(0)].into());
    assert_eq!(context.state("payments"), TransactionState::PrepareAbort);
}

#[test]
fn while_a_transaction_ends_everything_else_waits() {
    for version in [V0, V2] {
        let (mut context, producer) = begun(version, &[0]);
        let next = context.end(version, "payments", producer, true).unwrap();
        for commit in [true, false] {
            let again = context.end(version, "payments", producer, commit);
            assert_eq!(again, Err(ErrorCode::ConcurrentTransactions));
        }
        assert_eq!(context.add_by(version, "payments", next, &[5]), ErrorCode::ConcurrentTransactions);
        assert_eq!(context.verify("payments", next, 0), ErrorCode::ConcurrentTransactions);
        assert_eq!(context.try_init("payments", None), Err(ErrorCode::ConcurrentTransactions));
    }
}

#[test]
fn older_protocol_judges_a_repeated_end_by_the_state() {
    let (mut context, producer) = begun(V0, &[0]);
    context.end(V0, "payments", producer, true).unwrap();
    context.write_markers();
    assert_eq!(context.end(V0, "payments", producer, true), Ok(producer));
    assert_eq!(context.end(V0, "payments", producer, false), Err(ErrorCode::InvalidTxnState));
    context.add("payments", producer, &[0]);
    context.end(V0, "payments", producer, false).unwrap();
    context.write_markers();
    assert_eq!(context.end(V0, "payments", producer, false), Ok(producer));
    assert_eq!(context.end(V0, "payments", producer, true), Err(ErrorCode::InvalidTxnState));
}

#[test]
fn older_protocol_cannot_end_what_never_began() {
    let mut context = TestContext::of_version(V0);
    let producer = context.init("payments");
    for commit in [true, false] {
        assert_eq!(context.end(V0, "payments", producer, commit), Err(ErrorCode::InvalidTxnState));
    }
}

/// The table of `judge_v2`, row by row.
#[test]
fn new_protocol_tells_a_repeated_end_by_its_epoch() {
    let mut context = TestContext::new();
    let p0 = context.init("payments");
    let before = Producer::new(p0.id, -1);

    // Empty
    assert_eq!(context.end(V2, "payments", before, false), Err(ErrorCode::ProducerFenced));
    assert_eq!(context.end(V2, "payments", before, true), Err(ErrorCode::ProducerFenced));
    assert_eq!(context.end(V2, "payments", p0, true), Err(ErrorCode::InvalidTxnState));
    let p1 = context.end(V2, "payments", p0, false).unwrap();
    assert_eq!(p1, above(p0, 1));

    // CompleteAbort
    assert_eq!(context.state("payments"), TransactionState::CompleteAbort);
    assert_eq!(context.end(V2, "payments", p0, false), Ok(p1));
    assert_eq!(context.end(V2, "payments", p0, true), Err(ErrorCode::InvalidTxnState));
    assert_eq!(context.end(V2, "payments", p1, true), Err(ErrorCode::InvalidTxnState));
    let p2 = context.end(V2, "payments", p1, false).unwrap();
    assert_eq!(p2, above(p0, 2));
    assert_eq!(context.end(V2, "payments", p0, false), Err(ErrorCode::ProducerFenced), "two ends ago");

    // Ongoing
    context.add_by(V2, "payments", p2, &[0]);
    assert_eq!(context.end(V2, "payments", p1, false), Err(ErrorCode::ProducerFenced));
    assert_eq!(context.end(V2, "payments", p1, true), Err(ErrorCode::ProducerFenced));
    let p3 = context.end(V2, "payments", p2, true).unwrap();
    assert_eq!(p3, above(p0, 3));
    context.write_markers();

    // CompleteCommit
    assert_eq!(context.end(V2, "payments", p2, true), Ok(p3));
    assert_eq!(context.end(V2, "payments", p2, false), Err(ErrorCode::InvalidTxnState));
    assert_eq!(context.end(V2, "payments", p3, true), Err(ErrorCode::InvalidTxnState));
    assert_eq!(context.end(V2, "payments", p3, false), Ok(above(p0, 4)));
    assert_eq!(context.state("payments"), TransactionState::CompleteAbort);
}

#[test]
fn transaction_without_partitions_is_complete_at_once() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    let stored = context.log.len();
    context.end(V2, "payments", producer, false).unwrap();
    assert_eq!(context.log.len(), stored + 2, "both states, in one batch");
    assert!(context.effects.is_empty());
    let newest = context.newest("payments");
    assert_eq!(newest.state, TransactionState::CompleteAbort);
    assert_eq!(newest.start_ms, context.now().wall_ms);
}

#[test]
fn repeated_end_is_known_after_a_change_of_coordinators() {
    let (mut context, producer) = begun(V2, &[0]);
    let next = context.end(V2, "payments", producer, true).unwrap();
    context.restart();
    assert_eq!(context.end(V2, "payments", producer, true), Err(ErrorCode::ConcurrentTransactions));
    context.write_markers();
    context.restart();
    assert_eq!(context.end(V2, "payments", producer, true), Ok(next));
}

#[test]
fn last_epoch_ends_with_another_id() {
    for commit in [true, false] {
        let mut context = TestContext::new();
        let first = context.init("payments");
        let last = context.wear_out("payments", i16::MAX - 1);
        context.add_by(V2, "payments", last, &[0]);

        let refused = context.ask(ending(V2, "payments", last, commit, None));
        assert_eq!(refused, Answer::EndTxn(Err(Refusal::NeedsProducerId)));
        assert_eq!(context.state("payments"), TransactionState::Ongoing);

        let renewed = context.end(V2, "payments", last, commit).unwrap();
        assert_ne!(renewed.id, first.id);
        assert_eq!(renewed.epoch, ProducerEpoch(0));
        assert_eq!(context.effects.front().unwrap().producer, Producer::new(first.id, i16::MAX));
        assert_eq!(context.add_by(V2, "payments", renewed, &[0]), ErrorCode::ConcurrentTransactions);
        context.restart();
        context.write_markers();
        assert_eq!(context.describe("payments").unwrap().producer, renewed);
        assert_eq!(context.end(V2, "payments", last, commit), Ok(renewed), "its answer was lost");
        assert_eq!(context.end(V2, "payments", last, !commit), Err(ErrorCode::InvalidTxnState));
        assert_eq!(context.add_by(V2, "payments", renewed, &[0]), ErrorCode::None);
        assert_eq!(context.end(V2, "payments", last, commit), Err(ErrorCode::InvalidProducerIdMapping), "too late");
    }
}

#[test]
fn coordinator_that_takes_over_finishes_what_is_decided() {
    let (mut context, producer) = begun(V2, &[0, 1]);
    let next = context.end(V2, "payments", producer, true).unwrap();
    let asked = context.effects.pop_front().unwrap();
    context.report(&asked, [partition(0)].into());
    context.restart();
    assert_eq!(context.effects, [asked], "all of it: who knows what the one before has done");
    context.write_markers();
    assert_eq!(context.state("payments"), TransactionState::CompleteCommit);
    assert_eq!(context.add_by(V2, "payments", next, &[0]), ErrorCode::None);
}

#[test]
fn completion_that_the_log_refuses_is_tried_again() {
    let (mut context, producer) = begun(V2, &[0]);
    context.end(V2, "payments", producer, true).unwrap();
    let markers = context.effects.pop_front().unwrap();
    context.append_error = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(context.report(&markers, [partition(0)].into()), ErrorCode::CoordinatorNotAvailable);
    context.advance(1_000);
    assert_eq!(context.state("payments"), TransactionState::PrepareCommit);
    context.append_error = None;
    context.advance(1_000);
    assert_eq!(context.state("payments"), TransactionState::CompleteCommit);
    let completed = Event::Completed { transactional_id: "payments".into(), state: TransactionState::CompleteCommit };
    assert_eq!(context.events.last(), Some(&completed));
}

#[test]
fn end_that_the_log_refuses_did_not_happen() {
    for version in [V0, V2] {
        let (mut context, producer) = begun(version, &[0]);
        context.append_error = Some(ErrorCode::NotEnoughReplicas);
        let refused = context.end(version, "payments", producer, true);
        assert_eq!(refused, Err(ErrorCode::CoordinatorNotAvailable));
        assert!(context.effects.is_empty());
        context.append_error = None;
        assert_eq!(
            context.end(version, "payments", producer, false).map(|_| ()),
            Ok(()),
            "the producer may still choose"
        );
    }
}

#[test]
fn partitions_are_verified_only_while_they_are_in_the_transaction() {
    let (mut context, producer) = begun(V0, &[0]);
    assert_eq!(context.verify("payments", producer, 0), ErrorCode::None);
    assert_eq!(context.verify("payments", producer, 1), ErrorCode::TransactionAbortable);
    assert_eq!(context.verify("payments", above(producer, 1), 0), ErrorCode::ProducerFenced);
    let stranger = Producer::new(5, 0);
    assert_eq!(context.verify("payments", stranger, 0), ErrorCode::InvalidProducerIdMapping);
    assert_eq!(context.newest("payments").partitions, BTreeSet::from([partition(0)]), "nothing is added");
    context.end(V0, "payments", producer, true).unwrap();
    context.write_markers();
    assert_eq!(context.verify("payments", producer, 0), ErrorCode::TransactionAbortable);
}

#[test]
fn adding_what_is_there_stores_nothing() {
    let (mut context, producer) = begun(V0, &[0, 1]);
    let records = context.log.len();
    assert_eq!(context.add("payments", producer, &[1]), ErrorCode::None);
    assert_eq!(context.log.len(), records);
    assert_eq!(context.add("payments", producer, &[1, 2]), ErrorCode::None);
    assert_eq!(context.log.len(), records + 1);
    assert_eq!(context.newest("payments").partitions.len(), 3);
}

#[test]
fn request_from_a_connection_that_was_given_up_cannot_touch_the_next_transaction() {
    let mut context = TestContext::of_version(V0);
    let producer = context.init("payments");
    let add = |connection| {
        Request::AddPartitions(AddPartitions {
            connection: Some(Connection(connection)),
            ..adding("payments", producer, &[0])
        })
    };
    let end = |connection, commit| {
        Request::EndTxn(EndTxn {
            transactional_id: "payments".into(),
            producer,
            commit,
            version: V0,
            fresh: None,
            connection: Some(Connection(connection)),
        })
    };
    let done = Answer::EndTxn(Ok(producer));
    let late = ErrorCode::NetworkException;

    context.ask(add(1));
    // The network holds the first commit back, the producer repeats it on another connection.
    assert_eq!(context.ask(end(2, true)), done);
    context.write_markers();
    context.ask(add(2));
    assert_eq!(context.ask(end(1, true)), Answer::EndTxn(Err(Refusal::Error(late))));
    assert_eq!(context.state("payments"), TransactionState::Ongoing);
    assert_eq!(context.ask(end(2, false)), done);
    context.write_markers();
    assert_eq!(context.ask(add(1)), Answer::AddPartitions(AddPartitionsAnswer::all(late)));
    assert_eq!(context.state("payments"), TransactionState::CompleteAbort);

    // A new instance has connections of its own, perhaps older ones, and the epoch tells it from others.
    let renewed = context.init("payments");
    let add = AddPartitions { connection: Some(Connection(1)), ..adding("payments", renewed, &[0]) };
    assert_eq!(
        context.ask(Request::AddPartitions(add)),
        Answer::AddPartitions(AddPartitionsAnswer::all(ErrorCode::None))
    );
}

#[test]
fn connections_do_not_count_where_epochs_do() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    for connection in [2, 1] {
        let add = AddPartitions {
            version: V2,
            connection: Some(Connection(connection)),
            ..adding("payments", producer, &[connection as i32])
        };
        let answer = context.ask(Request::AddPartitions(add));
        assert_eq!(answer, Answer::AddPartitions(AddPartitionsAnswer::all(ErrorCode::None)));
    }
}

#[test]
fn cluster_of_the_old_level_stores_records_that_old_brokers_read() {
    let (mut context, producer) = begun(V0, &[0]);
    assert_eq!(context.newest("payments").layout, Layout::V0);
    context.ask(Request::SetVersion(TransactionVersion::V1));
    context.add("payments", producer, &[1]);
    assert_eq!(context.newest("payments").layout, Layout::V1);
}

#[test]
fn level_of_the_cluster_decides_how_a_producer_is_fenced() {
    let (mut context, producer) = begun(V0, &[0]);
    context.ask(Request::SetVersion(V2));
    context.advance(TIMEOUT_MS as u64 + 10_000);
    let markers = context.effects.pop_front().unwrap();
    assert_eq!((markers.version, markers.producer), (V2, above(producer, 1)));
}

#[test]
fn end_of_an_older_client_is_not_taken_for_that_of_a_fenced_new_one() {
    let mut context = TestContext::new();
    let fenced = context.init("payments"); // speaks the new protocol
    let current = context.init("payments"); // speaks the old one
    for commit in [true, false] {
        context.add("payments", current, &[0]);
        context.end(V0, "payments", current, commit).unwrap();
        context.write_markers();
        assert_eq!(context.end(V2, "payments", fenced, commit), Err(ErrorCode::ProducerFenced), "not {current}");
    }
}
