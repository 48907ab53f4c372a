//! What the handlers of the transaction APIs share: numbers of the wire as the coordinator's values, and the call itself.

use std::collections::BTreeMap;

use kafka_protocol::messages::{
    ProducerId as WireProducerId, TopicName as WireTopicName, TransactionalId as WireTransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use twinstream_coordinator::transaction::{Answer, Connection, Producer, Refusal, Request};
use twinstream_model::{ErrorCode, PartitionIndex, TopicName, TopicPartition, TransactionalId};

use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::server::response::Reply;

pub(super) fn transactional_id(wire: &WireTransactionalId) -> TransactionalId {
    TransactionalId::from(wire.as_str())
}

pub(super) fn wire_transactional_id(id: &TransactionalId) -> WireTransactionalId {
    WireTransactionalId(StrBytes::from_string(id.as_str().to_owned()))
}

pub(super) fn producer(id: WireProducerId, epoch: i16) -> Producer {
    Producer::new(id.0, epoch)
}

/// The client's connection, by which requests of older clients that come late are known.
pub(super) fn connection(ctx: &RequestContext) -> Option<Connection> {
    ctx.connection.map(Connection)
}

/// Closes the connection of a request from the past instead of answering it; see [`connection`].
pub(super) fn unless_late<M>(code: ErrorCode, answer: M) -> Reply<M> {
    match code {
        ErrorCode::NetworkException => Reply::Close,
        _ => Reply::Send(answer),
    }
}

pub(super) fn authorize_transaction(
    broker: &Broker,
    ctx: &RequestContext,
    operation: Operation,
    id: &TransactionalId,
) -> Result<(), ErrorCode> {
    match broker.authorize(ctx, operation, Resource::TransactionalId(id.as_str())) {
        true => Ok(()),
        false => Err(ErrorCode::TransactionalIdAuthorizationFailed),
    }
}

/// Authorizes and asks the coordinator of the transactional id.
pub(super) async fn call(
    broker: &Broker,
    ctx: &RequestContext,
    operation: Operation,
    id: &TransactionalId,
    request: Request,
) -> Result<Answer, ErrorCode> {
    authorize_transaction(broker, ctx, operation, id)?;
    broker.transactions.call(broker, id, request).await
}

/// Why a producer got nothing. The service has seen to its wish for an id.
pub(super) fn refused(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Error(code) => code,
        Refusal::NeedsProducerId => {
            tracing::error!("transaction coordinator wants a producer id after it got one");
            ErrorCode::UnknownServerError
        }
    }
}

/// PRODUCER_FENCED for clients of before that code: INVALID_PRODUCER_EPOCH makes them do the same.
pub(super) fn fenced_for(ctx: &RequestContext, known_since: i16, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced if ctx.api_version < known_since => ErrorCode::InvalidProducerEpoch,
        code => code,
    }
}

/// An answer of another kind than its request: the shard broke its contract.
pub(super) fn mismatched(answer: &Answer) -> ErrorCode {
    tracing::error!(?answer, "transaction coordinator answered another question");
    ErrorCode::UnknownServerError
}

/// Partitions by topic, as answers have them.
pub(super) fn by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> BTreeMap<&'a TopicName, Vec<PartitionIndex>> {
    let mut topics: BTreeMap<&TopicName, Vec<PartitionIndex>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics
}

pub(super) fn wire_topic(topic: &str) -> WireTopicName {
    WireTopicName(StrBytes::from_string(topic.to_owned()))
}
