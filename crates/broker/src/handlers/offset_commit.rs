//! OffsetCommit (key 8), versions 2-9.
//!
//! v2-4 a retention time of the client's own; v3 throttle time; v6 leader epoch (KIP-320); v7 static members
//! (KIP-345); v8 flexible; v9 GROUP_ID_NOT_FOUND and the errors of KIP-848. v10 (topic ids) is newer than our codec.
//!
//! Offsets of topics and partitions that do not exist are UNKNOWN_TOPIC_OR_PARTITION, each for itself.

use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName as WireTopicName};
use twinstream_coordinator::group::{Answer, CommitOffsets, Generation, OffsetToCommit, Request};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

use super::group_wire::{
    Commits, authorize_group, call, group_id, instance_id, member_id, mismatched, offset_to_commit,
};
use crate::context::{Broker, Operation, RequestContext};

const RETENTION_TIME_UNTIL: i16 = 4;
const RETENTION_OF_THE_BROKER: i64 = -1;
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let group = group_id(&request.group_id);
    if let Err(error) = authorize_group(broker, ctx, Operation::Read, group.as_str()) {
        return error_response(ctx, request, error);
    }
    let image = broker.image.load_full();
    let mut commits = Commits::default();
    for topic in &request.topics {
        for partition in &topic.partitions {
            commits.add(check(broker, ctx, &image, &topic.name, partition));
        }
    }
    if let Some(accepted) = commits.take_accepted() {
        let commit = Request::CommitOffsets(parse(ctx, &request, accepted));
        commits.settle(match call(broker, ctx, Operation::Read, &group, commit).await {
            Ok(Answer::CommitOffsets(answer)) => Ok(answer),
            Ok(other) => Err(mismatched(&other)),
            Err(error) => Err(error),
        });
    }
    respond(ctx, request, commits.into_codes())
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: OffsetCommitRequest,
    code: ErrorCode,
) -> OffsetCommitResponse {
    respond(ctx, request, std::iter::repeat(code))
}

fn check(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: &WireTopicName,
    partition: &OffsetCommitRequestPartition,
) -> Result<OffsetToCommit, ErrorCode> {
    let OffsetCommitRequestPartition { partition_index, committed_offset, committed_leader_epoch, .. } = *partition;
    let metadata = partition.committed_metadata.as_ref();
    let committed = (Offset(committed_offset), LeaderEpoch(committed_leader_epoch), metadata);
    offset_to_commit(broker, ctx, image, topic, PartitionIndex(partition_index), committed)
}

fn parse(ctx: &RequestContext, request: &OffsetCommitRequest, offsets: Vec<OffsetToCommit>) -> CommitOffsets {
    let has_retention = ctx.api_version <= RETENTION_TIME_UNTIL && request.retention_time_ms != RETENTION_OF_THE_BROKER;
    CommitOffsets {
        group: group_id(&request.group_id),
        generation: Generation(request.generation_id_or_member_epoch),
        member: member_id(&request.member_id),
        instance: instance_id(request.group_instance_id.as_ref()),
        retention_ms: has_retention.then_some(request.retention_time_ms),
        knows_group_id_not_found: ctx.api_version >= GROUP_ID_NOT_FOUND_SINCE,
        offsets,
    }
}

/// Answers with one code per partition, in the order of the request.
fn respond(
    ctx: &RequestContext,
    request: OffsetCommitRequest,
    mut codes: impl Iterator<Item = ErrorCode>,
) -> OffsetCommitResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let code = codes.next().unwrap_or(ErrorCode::UnknownServerError);
            ctx.count_error(code);
            partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code.code()),
            );
        }
        topics.push(OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
    }
    OffsetCommitResponse::default().with_topics(topics)
}
