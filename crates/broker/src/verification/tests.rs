use std::sync::atomic::{AtomicI32, Ordering};

use futures::FutureExt;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};

use super::*;

fn partition(topic: &str, index: i32) -> TopicPartition {
    TopicPartition::new(TopicName::parse(topic).unwrap(), PartitionIndex(index))
}

fn question(operation: Operation) -> Question {
    Question {
        transactional_id: TransactionalId::from("orders"),
        producer_id: ProducerId(7),
        epoch: ProducerEpoch(3),
        partitions: [partition("a", 0), partition("a", 2), partition("b", 1)].into(),
        operation,
    }
}

fn answer(results: &[(&str, i32, ErrorCode)]) -> AddPartitionsToTxnResponse {
    let topics = results.iter().map(|(topic, index, code)| {
        let result = AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(*index)
            .with_partition_error_code(code.code());
        AddPartitionsToTxnTopicResult::default()
            .with_name(WireTopicName(StrBytes::from_string((*topic).to_owned())))
            .with_results_by_partition(vec![result])
    });
    let result = AddPartitionsToTxnResult::default().with_topic_results(topics.collect());
    AddPartitionsToTxnResponse::default().with_results_by_transaction(vec![result])
}

#[test]
fn request_names_each_topic_once() {
    let request = to_request(&question(Operation::Verify));
    let transaction = &request.transactions[0];
    assert!(transaction.verify_only);
    let topics: Vec<_> = transaction.topics.iter().map(|t| (t.name.as_str(), &t.partitions[..])).collect();
    assert_eq!(topics, [("a", &[0, 2][..]), ("b", &[1][..])]);
    assert!(!to_request(&question(Operation::Add)).transactions[0].verify_only);
}

#[test]
fn partition_without_an_answer_is_not_verified() {
    let question = question(Operation::Verify);
    let answer = answer(&[("a", 0, ErrorCode::None), ("b", 1, ErrorCode::TransactionAbortable)]);
    let refusals = refusals_of(&question, &answer).unwrap();
    assert_eq!(
        refusals,
        [(partition("a", 2), ErrorCode::UnknownServerError), (partition("b", 1), ErrorCode::TransactionAbortable)]
            .into()
    );
    let stranger = self::answer(&[("c", 0, ErrorCode::InvalidTxnState)]);
    assert!(!refusals_of(&question, &stranger).unwrap().contains_key(&partition("c", 0)));
}

#[test]
fn error_of_the_whole_answer_is_one_of_every_partition() {
    let failed = |code: ErrorCode| AddPartitionsToTxnResponse::default().with_error_code(code.code());
    let found = |code| refusals_of(&question(Operation::Add), &failed(code));
    assert_eq!(found(ErrorCode::NotCoordinator), Err(ErrorCode::NotCoordinator));
    assert_eq!(found(ErrorCode::ClusterAuthorizationFailed), Err(ErrorCode::InvalidTxnState));
}

#[test]
fn clients_hear_codes_that_they_know() {
    use ErrorCode::{InvalidProducerEpoch, InvalidTxnState, ProducerFenced, TransactionAbortable};
    for (operation, code, told) in [
        (Operation::VerifyForOld, TransactionAbortable, InvalidTxnState),
        (Operation::Verify, TransactionAbortable, TransactionAbortable),
        (Operation::Add, TransactionAbortable, TransactionAbortable),
        (Operation::Add, ProducerFenced, InvalidProducerEpoch),
    ] {
        assert_eq!(known_code(code, operation), told, "{operation:?}, {code:?}");
    }
}

#[tokio::test]
async fn coordinator_that_hangs_is_waited_for_until_another_one_is_named() {
    let images = watch::Sender::new(0);
    let named = AtomicI32::new(1);
    let name = |node: i32| {
        named.store(node, Ordering::Relaxed);
        images.send_modify(|image| *image += 1);
    };
    let mut moved = Box::pin(moved_from(NodeId(1), images.subscribe(), || Some(NodeId(named.load(Ordering::Relaxed)))));
    assert!(moved.as_mut().now_or_never().is_none());
    name(1); // another change
    assert!(moved.as_mut().now_or_never().is_none());
    name(2);
    assert!(moved.as_mut().now_or_never().is_some());
}
