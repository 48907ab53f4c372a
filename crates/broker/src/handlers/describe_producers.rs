//! DescribeProducers (key 61), version 0 (KIP-664).
//!
//! The idempotent and transactional producers that the log of a partition remembers, with their open transactions. Any
//! replica answers for its own log, as in Kafka: tools ask the leader, unless they are told which broker to ask.

use std::sync::Arc;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId as WireProducerId};
use kafka_protocol::protocol::StrBytes;
use twinstream_log::ActiveProducer;
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, PartitionIndex, TopicName};

use super::log_wire::{authorize_topic, partition_here};
use crate::context::{Broker, Operation, RequestContext};

const NO_TRANSACTION: i64 = -1;

/// Why a partition is not described, with a text for people where the code does not say it all.
type Refusal = (ErrorCode, Option<String>);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let image = broker.image.load_full();
    let topics = request.topics.into_iter().map(|topic| describe_topic(broker, ctx, &image, topic));
    DescribeProducersResponse::default().with_topics(topics.collect())
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: DescribeProducersRequest,
    code: ErrorCode,
) -> DescribeProducersResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| to_response(ctx, *index, Err((code, None))));
        TopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn describe_topic(broker: &Broker, ctx: &RequestContext, image: &Image, topic: TopicRequest) -> TopicResponse {
    let name = check_topic(broker, ctx, image, topic.name.as_str());
    let partitions = topic.partition_indexes.iter().map(|index| {
        let found = match &name {
            Ok(name) => describe_partition(broker, image, name, PartitionIndex(*index)).map_err(|code| (code, None)),
            Err(refusal) => Err(refusal.clone()),
        };
        to_response(ctx, *index, found)
    });
    TopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name)
}

fn check_topic(broker: &Broker, ctx: &RequestContext, image: &Image, name: &str) -> Result<TopicName, Refusal> {
    let name = TopicName::parse(name).map_err(|error| (ErrorCode::InvalidTopicException, Some(error.to_string())))?;
    authorize_topic(broker, ctx, Operation::Read, &name).map_err(|code| (code, None))?;
    match image.topic(&name) {
        Some(_) => Ok(name),
        None => Err((ErrorCode::UnknownTopicOrPartition, None)),
    }
}

fn describe_partition(
    broker: &Broker,
    image: &Image,
    topic: &TopicName,
    index: PartitionIndex,
) -> Result<Vec<ActiveProducer>, ErrorCode> {
    let partition = partition_here(broker, image, topic, index)?;
    match partition.has_failed() {
        true => Err(ErrorCode::KafkaStorageError),
        false => Ok(partition.log().active_producers()),
    }
}

fn to_response(ctx: &RequestContext, index: i32, found: Result<Vec<ActiveProducer>, Refusal>) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(index);
    match found {
        Ok(producers) => response.with_active_producers(producers.iter().map(to_state).collect()),
        Err((code, message)) => {
            ctx.count_error(code);
            response.with_error_code(code.code()).with_error_message(message.map(StrBytes::from_string))
        }
    }
}

fn to_state(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(WireProducerId(producer.id.0))
        .with_producer_epoch(i32::from(producer.epoch.0))
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.open_since.map_or(NO_TRANSACTION, |first| first.0))
}
