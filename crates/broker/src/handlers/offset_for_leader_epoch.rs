//! OffsetForLeaderEpoch (key 23), versions 2-4.
//!
//! v2 the epoch that the client knows (KIP-320); v3 replica id; v4 flexible.
//!
//! Tells where an epoch ended, so that a consumer finds out whether records that it has read were lost with an
//! old leader. An epoch that the log does not know is answered with epoch and offset -1 and no error.

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicName};

use super::log_wire::{authorize_topic, partition_here};
use crate::context::{Broker, Operation, RequestContext};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = broker.image.load();
    answer(ctx, request.topics, |topic, asked| find(broker, ctx, &image, topic, asked))
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: OffsetForLeaderEpochRequest,
    code: ErrorCode,
) -> OffsetForLeaderEpochResponse {
    answer(ctx, request.topics, |_, _| Err(code))
}

type Found = Option<(LeaderEpoch, Offset)>;

fn find(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Found, ErrorCode> {
    let topic = TopicName::parse(topic).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    authorize_topic(broker, ctx, Operation::Describe, &topic)?;
    let partition = partition_here(broker, image, &topic, PartitionIndex(asked.partition))?;
    partition.check_leader(LeaderEpoch(asked.current_leader_epoch))?;
    Ok(partition.end_of_epoch(LeaderEpoch(asked.leader_epoch)))
}

fn answer(
    ctx: &RequestContext,
    topics: Vec<OffsetForLeaderTopic>,
    find: impl Fn(&str, &OffsetForLeaderPartition) -> Result<Found, ErrorCode>,
) -> OffsetForLeaderEpochResponse {
    let results = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|asked| to_response(ctx, asked.partition, find(topic.topic.as_str(), asked)));
        OffsetForLeaderTopicResult::default().with_partitions(partitions.collect()).with_topic(topic.topic)
    });
    OffsetForLeaderEpochResponse::default().with_topics(results.collect())
}

fn to_response(ctx: &RequestContext, partition: i32, found: Result<Found, ErrorCode>) -> EpochEndOffset {
    let (code, found) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(code) => (code, None),
    };
    ctx.count_error(code);
    let (epoch, end) = found.unwrap_or((LeaderEpoch::NONE, Offset::NONE));
    EpochEndOffset::default()
        .with_partition(partition)
        .with_error_code(code.code())
        .with_leader_epoch(epoch.0)
        .with_end_offset(end.0)
}
