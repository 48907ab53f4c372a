//! DescribeTransactions (key 65), version 0 (KIP-664).
//!
//! Transactional ids that are coordinated elsewhere are NOT_COORDINATOR: admin clients look for each one's coordinator
//! first. Of a transaction that ends, the partitions are listed whose markers are not known to be written.

use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId as WireProducerId,
    TransactionalId as WireTransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use twinstream_coordinator::transaction::{Answer, Description, Request};
use twinstream_model::{ErrorCode, TopicName};

use super::transaction_wire::{by_topic, call, mismatched, transactional_id, wire_topic};
use crate::context::{Broker, Operation, RequestContext, Resource};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.into_iter().map(|id| state_of(broker, ctx, id));
    DescribeTransactionsResponse::default().with_transaction_states(join_all(states).await)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: DescribeTransactionsRequest,
    code: ErrorCode,
) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.into_iter().map(|id| failed(ctx, id, code));
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

async fn state_of(broker: &Broker, ctx: &RequestContext, id: WireTransactionalId) -> TransactionState {
    match describe(broker, ctx, &id).await {
        Ok(description) => state(broker, ctx, id, &description),
        Err(code) => failed(ctx, id, code),
    }
}

async fn describe(broker: &Broker, ctx: &RequestContext, id: &WireTransactionalId) -> Result<Description, ErrorCode> {
    let id = transactional_id(id);
    if id.as_str().is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    match call(broker, ctx, Operation::Describe, &id, Request::Describe(id.clone())).await? {
        Answer::Describe(description) => description,
        other => Err(mismatched(&other)),
    }
}

fn state(
    broker: &Broker,
    ctx: &RequestContext,
    id: WireTransactionalId,
    description: &Description,
) -> TransactionState {
    let is_visible = |topic: &TopicName| broker.authorize(ctx, Operation::Describe, Resource::Topic(topic.as_str()));
    let topics = by_topic(&description.partitions).into_iter().filter(|(topic, _)| is_visible(topic));
    let topics = topics.map(|(topic, partitions)| {
        TopicData::default()
            .with_topic(wire_topic(topic.as_str()))
            .with_partitions(partitions.into_iter().map(|partition| partition.0).collect())
    });
    TransactionState::default()
        .with_transactional_id(id)
        .with_transaction_state(StrBytes::from_static_str(description.state.name()))
        .with_transaction_timeout_ms(description.timeout_ms)
        .with_transaction_start_time_ms(description.start_ms)
        .with_producer_id(WireProducerId(description.producer.id.0))
        .with_producer_epoch(description.producer.epoch.0)
        .with_topics(topics.collect())
}

fn failed(ctx: &RequestContext, id: WireTransactionalId, code: ErrorCode) -> TransactionState {
    ctx.count_error(code);
    TransactionState::default().with_error_code(code.code()).with_transactional_id(id)
}
