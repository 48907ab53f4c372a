//! AddPartitionsToTxn (key 24), versions 0-5.
//!
//! v1 errors of quotas; v2 PRODUCER_FENCED; v3 flexible; v4 for brokers only: many transactions at once, which can be
//! looked up instead of added (KIP-890); v5 TRANSACTION_ABORTABLE.
//!
//! All partitions of a transaction are added, or none: when one cannot be, the others are OPERATION_NOT_ATTEMPTED.
//! Kafka's internal topics are added by other requests, a client that names them hears TOPIC_AUTHORIZATION_FAILED. Mirrors of
//! another cluster's topics are POLICY_VIOLATION.

use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use twinstream_coordinator::transaction::{AddPartitions, AddPartitionsAnswer, Answer, Request, TransactionVersion};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, PartitionIndex, TopicName, TopicPartition, TransactionalId};

use super::log_wire::is_read_only;
use super::transaction_wire::{
    authorize_transaction, connection, fenced_for, mismatched, producer, transactional_id, unless_late, wire_topic,
};
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::server::response::Reply;

const PRODUCER_FENCED_SINCE: i16 = 2;
const FOR_BROKERS_SINCE: i16 = 4;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Reply<AddPartitionsToTxnResponse> {
    if ctx.api_version < FOR_BROKERS_SINCE {
        let transaction = of_client(request);
        let codes = serve(broker, ctx, &transaction).await;
        let code = codes.first().copied().unwrap_or(ErrorCode::None);
        let results = results(ctx, &transaction.topics, codes);
        return unless_late(code, AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results));
    }
    if !broker.authorize(ctx, Operation::ClusterAction, Resource::Cluster) {
        return Reply::Send(error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed));
    }
    let served = request.transactions.iter().map(|transaction| serve_one(broker, ctx, transaction));
    Reply::Send(AddPartitionsToTxnResponse::default().with_results_by_transaction(join_all(served).await))
}

async fn serve_one(
    broker: &Broker,
    ctx: &RequestContext,
    transaction: &AddPartitionsToTxnTransaction,
) -> AddPartitionsToTxnResult {
    let codes = serve(broker, ctx, transaction).await;
    AddPartitionsToTxnResult::default()
        .with_transactional_id(transaction.transactional_id.clone())
        .with_topic_results(results(ctx, &transaction.topics, codes))
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: AddPartitionsToTxnRequest,
    code: ErrorCode,
) -> AddPartitionsToTxnResponse {
    if ctx.api_version >= FOR_BROKERS_SINCE {
        ctx.count_error(code);
        return AddPartitionsToTxnResponse::default().with_error_code(code.code());
    }
    let topics = request.v3_and_below_topics;
    let codes = topics.iter().flat_map(|topic| &topic.partitions).map(|_| code).collect();
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results(ctx, &topics, codes))
}

/// The one transaction of a client's request.
fn of_client(request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(request.v3_and_below_transactional_id)
        .with_producer_id(request.v3_and_below_producer_id)
        .with_producer_epoch(request.v3_and_below_producer_epoch)
        .with_topics(request.v3_and_below_topics)
}

/// Adds or looks up; a code for each partition in the order of the request.
async fn serve(broker: &Broker, ctx: &RequestContext, transaction: &AddPartitionsToTxnTransaction) -> Vec<ErrorCode> {
    let id = transactional_id(&transaction.transactional_id);
    let is_client = ctx.api_version < FOR_BROKERS_SINCE;
    let image = broker.image.load_full();
    let checked = places(&transaction.topics).map(|(topic, index)| match is_client {
        true => check_of_client(broker, ctx, &image, topic, index),
        false => check(&image, topic, index),
    });
    let checked: Vec<Result<TopicPartition, ErrorCode>> = checked.collect();
    if let (true, Err(code)) = (is_client, authorize_transaction(broker, ctx, Operation::Write, &id)) {
        return vec![code; checked.len()];
    }
    if checked.iter().any(Result::is_err) {
        let codes = checked.into_iter().map(|checked| checked.err().unwrap_or(ErrorCode::OperationNotAttempted));
        return codes.collect();
    }
    let partitions: Vec<TopicPartition> = checked.into_iter().flatten().collect();
    if partitions.is_empty() {
        return Vec::new();
    }
    match add(broker, ctx, id, transaction, &partitions).await {
        Ok(answer) => partitions.iter().map(|partition| answer.of(partition)).collect(),
        Err(code) => vec![code; partitions.len()],
    }
}

async fn add(
    broker: &Broker,
    ctx: &RequestContext,
    id: TransactionalId,
    transaction: &AddPartitionsToTxnTransaction,
    partitions: &[TopicPartition],
) -> Result<AddPartitionsAnswer, ErrorCode> {
    let is_client = ctx.api_version < FOR_BROKERS_SINCE;
    let add = AddPartitions {
        transactional_id: id.clone(),
        producer: producer(transaction.producer_id, transaction.producer_epoch),
        partitions: partitions.iter().cloned().collect(),
        verify_only: transaction.verify_only,
        version: if is_client { TransactionVersion::V0 } else { TransactionVersion::V2 },
        connection: connection(ctx).filter(|_| is_client),
    };
    match broker.transactions.call(broker, &id, Request::AddPartitions(add)).await? {
        Answer::AddPartitions(answer) => Ok(answer),
        other => Err(mismatched(&other)),
    }
}

fn places(topics: &[AddPartitionsToTxnTopic]) -> impl Iterator<Item = (&str, i32)> {
    topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.name.as_str(), *index)))
}

fn check_of_client(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: &str,
    index: i32,
) -> Result<TopicPartition, ErrorCode> {
    let is_internal = TopicName::parse(topic).is_ok_and(|name| name.is_internal());
    if is_internal || !broker.authorize(ctx, Operation::Write, Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    check(image, topic, index)
}

fn check(image: &Image, topic: &str, index: i32) -> Result<TopicPartition, ErrorCode> {
    let name = TopicName::parse(topic).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let found = image.topic(&name).and_then(|topic| topic.partition(PartitionIndex(index)));
    match found {
        None => Err(ErrorCode::UnknownTopicOrPartition),
        Some(_) if is_read_only(image, &name) => Err(ErrorCode::PolicyViolation),
        Some(_) => Ok(TopicPartition::new(name, index)),
    }
}

/// `codes` has one for each partition in the order of `topics`.
fn results(
    ctx: &RequestContext,
    topics: &[AddPartitionsToTxnTopic],
    codes: Vec<ErrorCode>,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut codes = codes.into_iter();
    let mut of_partition = |index: &i32| {
        let code = fenced_for(ctx, PRODUCER_FENCED_SINCE, codes.next().unwrap_or(ErrorCode::UnknownServerError));
        ctx.count_error(code);
        AddPartitionsToTxnPartitionResult::default().with_partition_index(*index).with_partition_error_code(code.code())
    };
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        AddPartitionsToTxnTopicResult::default()
            .with_name(wire_topic(topic.name.as_str()))
            .with_results_by_partition(topic.partitions.iter().map(&mut of_partition).collect())
    };
    topics.iter().map(of_topic).collect()
}
