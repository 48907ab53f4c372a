//! OffsetCommit (key 8), versions 2-9.
//!
//! v2-4 a retention time of the client's own; v3 throttle time; v6 leader epoch (KIP-320); v7 static members
//! (KIP-345); v8 flexible; v9 GROUP_ID_NOT_FOUND and the errors of KIP-848. v10 (topic ids) is newer than our codec.
//!
//! Offsets of topics and partitions that do not exist are UNKNOWN_TOPIC_OR_PARTITION, each for itself.

use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use twinstream_coordinator::group::{Answer, CommitAnswer, CommitOffsets, Generation, OffsetToCommit, Request};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::group_wire::{authorize_group, call, group_id, instance_id, member_id, mismatched, text, topic_to_commit};
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
    let mut accepted = Vec::new();
    let mut codes: Vec<ErrorCode> = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let offset = check(broker, ctx, &image, topic, partition);
            codes.push(offset.as_ref().err().copied().unwrap_or(ErrorCode::None));
            accepted.extend(offset);
        }
    }
    if !accepted.is_empty() {
        let commit = Request::CommitOffsets(parse(ctx, &request, accepted));
        let answer = match call(broker, ctx, Operation::Read, &group, commit).await {
            Ok(Answer::CommitOffsets(answer)) => answer,
            Ok(other) => CommitAnswer { error: mismatched(&other), offsets: Vec::new() },
            Err(error) => CommitAnswer { error, offsets: Vec::new() },
        };
        let mut outcomes = answer.offsets.into_iter();
        for code in codes.iter_mut().filter(|code| code.is_none()) {
            *code = if answer.error.is_error() { answer.error } else { outcomes.next().unwrap_or(ErrorCode::None) };
        }
    }
    respond(ctx, request, codes.into_iter())
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
    topic: &OffsetCommitRequestTopic,
    partition: &OffsetCommitRequestPartition,
) -> Result<OffsetToCommit, ErrorCode> {
    let index = PartitionIndex(partition.partition_index);
    let (topic, topic_now) = topic_to_commit(broker, ctx, image, &topic.name, index)?;
    Ok(OffsetToCommit {
        topic,
        topic_now,
        topic_id: TopicId::NONE, // what Kafka stores for commits by name
        partition: index,
        offset: Offset(partition.committed_offset),
        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
        metadata: partition.committed_metadata.as_ref().map(text).unwrap_or_default(),
    })
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
