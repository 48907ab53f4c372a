//! Claims about who is the producer of a transactional id.

use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId};

use super::super::*;
use super::context::{TIMEOUT_MS, TestContext, above, init};
use TransactionVersion::{V0, V2};

#[test]
fn first_producer_gets_a_fresh_id_and_epoch_0() {
    let mut context = TestContext::new();
    let refused = context.ask(init("payments", None, None));
    assert_eq!(refused, Answer::InitProducerId(Err(Refusal::NeedsProducerId)));
    assert!(context.log.is_empty());
    let answer = context.ask(init("payments", None, Some(ProducerId(77))));
    assert_eq!(answer, Answer::InitProducerId(Ok(Producer::new(77, 0))));
    assert_eq!(context.state("payments"), TransactionState::Empty);
}

#[test]
fn next_instance_fences_the_one_before_it() {
    let mut context = TestContext::new();
    let old = context.init("payments");
    let new = context.init("payments");
    assert_eq!(new, above(old, 1));
    assert_eq!(context.add("payments", old, &[0]), ErrorCode::ProducerFenced);
    assert_eq!(context.end(V0, "payments", old, true), Err(ErrorCode::ProducerFenced));
    assert_eq!(context.end(V2, "payments", old, true), Err(ErrorCode::ProducerFenced));
    assert_eq!(context.try_init("payments", Some(old)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn producer_that_names_its_epoch_goes_on_with_the_next_and_may_ask_twice() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    assert_eq!(context.try_init("payments", Some(producer)), Ok(above(producer, 1)));
    assert_eq!(context.try_init("payments", Some(producer)), Ok(above(producer, 1)), "its answer was lost");
    assert_eq!(context.try_init("payments", Some(above(producer, 1))), Ok(above(producer, 2)));
    assert_eq!(context.try_init("payments", Some(producer)), Err(ErrorCode::ProducerFenced), "too late");
}

#[test]
fn repeated_request_is_not_known_any_more_after_another_producer_came() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    context.try_init("payments", Some(producer)).unwrap();
    context.init("payments");
    assert_eq!(context.try_init("payments", Some(producer)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn producer_of_another_id_is_fenced() {
    let mut context = TestContext::new();
    let producer = context.init("payments");
    let stranger = Producer { id: ProducerId(5), ..producer };
    assert_eq!(context.try_init("payments", Some(stranger)), Err(ErrorCode::ProducerFenced));
    assert_eq!(context.add("payments", stranger, &[0]), ErrorCode::InvalidProducerIdMapping);
    assert_eq!(context.end(V0, "payments", stranger, true), Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(context.end(V2, "payments", stranger, true), Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn producer_whose_id_was_forgotten_starts_anew() {
    let mut context = TestContext::new();
    let forgotten = Producer::new(5, 3);
    let producer = context.try_init("payments", Some(forgotten)).unwrap();
    assert_ne!(producer.id, forgotten.id);
    assert_eq!(producer.epoch, ProducerEpoch(0));
}

#[test]
fn nonsense_is_refused() {
    let mut context = TestContext::new();
    assert_eq!(context.try_init("", None), Err(ErrorCode::InvalidRequest));
    for timeout_ms in [0, -1, 900_001] {
        let request = Request::InitProducerId(InitProducerId {
            transactional_id: "payments".into(),
            timeout_ms,
            producer: None,
            fresh: None,
        });
        let refused = Answer::InitProducerId(Err(Refusal::Error(ErrorCode::InvalidTransactionTimeout)));
        assert_eq!(context.ask(request), refused, "{timeout_ms}");
    }
    let producer = Producer::new(1, 0);
    assert_eq!(context.add("", producer, &[0]), ErrorCode::InvalidRequest);
    assert_eq!(context.add("unknown", producer, &[0]), ErrorCode::InvalidProducerIdMapping);
    assert_eq!(context.end(V0, "", producer, true), Err(ErrorCode::InvalidRequest));
    assert_eq!(context.end(V2, "unknown", producer, true), Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(context.describe(""), Err(ErrorCode::InvalidRequest));
    assert_eq!(context.describe("unknown"), Err(ErrorCode::TransactionalIdNotFound));
}

#[test]
fn open_transaction_of_the_producer_before_is_aborted_first() {
    for version in [V0, V2] {
        let mut context = TestContext::of_version(version);
        let old = context.init("payments");
        assert_eq!(context.add_by(version, "payments", old, &[0, 1]), ErrorCode::None);
        assert_eq!(context.try_init("payments", None), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(context.state("payments"), TransactionState::PrepareAbort);
        assert_eq!(context.try_init("payments", None), Err(ErrorCode::ConcurrentTransactions), "still aborting");
        let markers = context.effects.front().unwrap();
        assert_eq!((markers.producer, markers.commit, markers.version), (above(old, 1), false, version));
        context.write_markers();
        assert_eq!(context.state("payments"), TransactionState::CompleteAbort);
        assert_eq!(context.init("payments"), above(old, 2), "not the epoch of the markers");
        assert_eq!(context.end(version, "payments", old, true), Err(ErrorCode::ProducerFenced));
    }
}

#[test]
fn transaction_is_not_aborted_for_a_producer_that_is_fenced_itself() {
    let mut context = TestContext::new();
    let old = context.init("payments");
    let new = context.init("payments");
    context.add("payments", new, &[0]);
    let stranger = Producer { id: ProducerId(5), ..old };
    for fenced in [stranger, old] {
        assert_eq!(context.try_init("payments", Some(fenced)), Err(ErrorCode::ProducerFenced));
        assert_eq!(context.state("payments"), TransactionState::Ongoing);
    }
    assert_eq!(context.end(V0, "payments", new, true), Ok(new));
}

#[test]
fn late_repetition_of_a_request_that_was_answered_does_not_abort_what_came_after() {
    for version in [V0, V2] {
        let mut context = TestContext::of_version(version);
        let first = context.init("payments");
        let second = context.try_init("payments", Some(first)).unwrap();
        assert_eq!(context.add_by(version, "payments", second, &[0]), ErrorCode::None);
        assert_eq!(context.try_init("payments", Some(first)), Err(ErrorCode::ProducerFenced));
        assert_eq!(context.state("payments"), TransactionState::Ongoing);
    }
}

#[test]
fn producer_with_the_last_epoch_gets_another_id() {
    let mut context = TestContext::new();
    let first = context.init("payments");
    let last = context.wear_out("payments", i16::MAX - 2);
    let last = context.try_init("payments", Some(last)).unwrap();
    assert_eq!(last, Producer::new(first.id, i16::MAX - 1));
    let renewed = context.try_init("payments", Some(last)).unwrap();
    assert_ne!(renewed.id, first.id);
    assert_eq!(renewed.epoch, ProducerEpoch(0));
    assert_eq!(context.try_init("payments", Some(last)), Ok(renewed), "its answer was lost");
    assert_eq!(context.try_init("payments", Some(first)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn producer_with_the_last_epoch_can_be_fenced() {
    for version in [V0, V2] {
        let mut context = TestContext::of_version(version);
        context.init("payments");
        let last = context.wear_out("payments", i16::MAX - 1);
        assert_eq!(context.add_by(version, "payments", last, &[0]), ErrorCode::None);
        context.advance(TIMEOUT_MS as u64 + 10_000);
        let markers = context.effects.front().unwrap();
        assert_eq!(markers.producer, Producer::new(last.id, i16::MAX));
        context.write_markers();
        assert_eq!(context.end(version, "payments", last, false), Err(ErrorCode::ProducerFenced));
        let renewed = context.init("payments");
        assert_ne!(renewed.id, last.id);
        assert_eq!(renewed.epoch, ProducerEpoch(0));
    }
}

#[test]
fn epoch_of_a_fence_is_given_to_nobody() {
    let mut context = TestContext::of_version(V2);
    context.init("payments");
    let last = context.wear_out("payments", i16::MAX - 1);
    context.add_by(V2, "payments", last, &[0]);
    context.advance(TIMEOUT_MS as u64 + 10_000);
    context.write_markers();
    // To its own producer the abort looks like its own, so it may go on; but not with 32767.
    let renewed = context.try_init("payments", Some(last)).unwrap();
    assert_ne!(renewed.id, last.id);
    assert_eq!(renewed.epoch, ProducerEpoch(0));
}

#[test]
fn refused_record_initializes_nobody() {
    let mut context = TestContext::new();
    context.append_error = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(context.try_init("payments", None), Err(ErrorCode::CoordinatorNotAvailable));
    context.append_error = None;
    assert_eq!(context.describe("payments"), Err(ErrorCode::TransactionalIdNotFound));
}

#[test]
fn fenced_producer_with_the_last_epoch_goes_on_with_another_id() {
    let mut context = TestContext::of_version(V2);
    let first = context.init("payments");
    let last = context.wear_out("payments", i16::MAX - 1);
    context.add_by(V2, "payments", last, &[0]);
    let refused = context.ask(init("payments", None, None));
    assert_eq!(refused, Answer::InitProducerId(Err(Refusal::NeedsProducerId)));
    assert_eq!(context.state("payments"), TransactionState::Ongoing);
    assert_eq!(context.try_init("payments", None), Err(ErrorCode::ConcurrentTransactions));
    context.write_markers();
    let renewed = context.end(V2, "payments", last, false).unwrap();
    assert_ne!(renewed.id, first.id);
    assert_eq!(renewed.epoch, ProducerEpoch(0));
    assert_eq!(context.init("payments"), above(renewed, 1), "until the other one takes its place");
}
