//! DeleteRecords (key 21), versions 0-2.
//!
//! v1 throttle time; v2 flexible.
//!
//! Moves the start of a log forward, -1 up to the high watermark. Whole segments below go at once, the rest is out
//! of reach. Only topics whose cleanup policy contains `delete` allow it (POLICY_VIOLATION), as in Kafka. With one
//! replica there is nobody to wait for, so the time limit does not matter.

use std::sync::Arc;

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicName};

use super::log_wire::{authorize_topic, blocking, partition_here};
use crate::context::{Broker, Operation, RequestContext};
use crate::partitions::{now_ms, read_code};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = broker.image.load_full();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        topics.push(delete_in_topic(broker, ctx, &image, topic).await);
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: DeleteRecordsRequest,
    code: ErrorCode,
) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| to_response(ctx, asked.partition_index, Err(code)));
        DeleteRecordsTopicResult::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

async fn delete_in_topic(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: DeleteRecordsTopic,
) -> DeleteRecordsTopicResult {
    let name = TopicName::parse(topic.name.as_str())
        .map_err(|_| ErrorCode::UnknownTopicOrPartition)
        .and_then(|name| authorize_topic(broker, ctx, Operation::Delete, &name).map(|()| name));
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for asked in &topic.partitions {
        let deleted = match &name {
            Ok(name) => delete(broker, image, name, asked).await,
            Err(code) => Err(*code),
        };
        partitions.push(to_response(ctx, asked.partition_index, deleted));
    }
    DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
}

async fn delete(
    broker: &Broker,
    image: &Image,
    topic: &TopicName,
    asked: &DeleteRecordsPartition,
) -> Result<Offset, ErrorCode> {
    let partition = partition_here(broker, image, topic, PartitionIndex(asked.partition_index))?;
    partition.check_leader(LeaderEpoch::NONE)?;
    if !partition.log().config().cleanup.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let before = Offset(asked.offset);
    blocking(move || {
        partition.log().delete_records(before, now_ms()).map_err(|error| {
            tracing::debug!(partition = %partition.id(), %error, "records were not deleted");
            read_code(&error)
        })
    })
    .await
}

fn to_response(ctx: &RequestContext, index: i32, deleted: Result<Offset, ErrorCode>) -> DeleteRecordsPartitionResult {
    let (code, low_watermark) = match deleted {
        Ok(start) => (ErrorCode::None, start),
        Err(code) => (code, Offset::NONE),
    };
    ctx.count_error(code);
    DeleteRecordsPartitionResult::default()
        .with_partition_index(index)
        .with_low_watermark(low_watermark.0)
        .with_error_code(code.code())
}
