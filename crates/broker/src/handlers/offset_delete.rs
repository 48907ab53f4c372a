//! OffsetDelete (key 47), version 0 (KIP-496).
//!
//! Refused for topics that the group is subscribed to (GROUP_SUBSCRIBED_TO_TOPIC), and for every topic of a group
//! with members whose protocol is not that of consumers (NON_EMPTY_GROUP).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use twinstream_coordinator::group::{Answer, DeleteOffsets, DeleteOffsetsAnswer, Request};
use twinstream_model::{ErrorCode, PartitionIndex, TopicName};

use super::group_wire::{call, group_id, mismatched};
use crate::context::{Broker, Operation, RequestContext, Resource};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    if request.group_id.is_empty() {
        return error_response(ctx, request, ErrorCode::InvalidGroupId);
    }
    let group = group_id(&request.group_id);
    let image = broker.image.load_full();
    let may_read = |topic: &str| broker.authorize(ctx, Operation::Read, Resource::Topic(topic));
    // A topic that does not exist any more may still have offsets, but Kafka refuses it too: they go with the topic.
    let known = request.topics.iter().filter_map(|topic| {
        let name = TopicName::parse(topic.name.as_str()).ok().filter(|name| may_read(name.as_str()))?;
        let exists = |index: &PartitionIndex| image.partition(&name, *index).is_some();
        let indexes = topic.partitions.iter().map(|partition| PartitionIndex(partition.partition_index));
        let indexes: Vec<PartitionIndex> = indexes.filter(exists).collect();
        (!indexes.is_empty()).then_some((name, indexes))
    });
    let topics: Vec<(TopicName, Vec<PartitionIndex>)> = known.collect();
    let delete = Request::DeleteOffsets(DeleteOffsets { group: group.clone(), topics: topics.clone() });
    let answer = match call(broker, ctx, Operation::Delete, &group, delete).await {
        Ok(Answer::DeleteOffsets(answer)) => answer,
        Ok(other) => DeleteOffsetsAnswer { error: mismatched(&other), topics: Vec::new() },
        Err(error) => DeleteOffsetsAnswer { error, topics: Vec::new() },
    };
    if answer.error.is_error() {
        return error_response(ctx, request, answer.error);
    }
    let codes: BTreeMap<&str, ErrorCode> =
        topics.iter().map(|(name, _)| name.as_str()).zip(answer.topics.iter().copied()).collect();
    let answers = request.topics.into_iter().map(|topic| {
        let code_of = |index: i32| match codes.get(topic.name.as_str()) {
            _ if !may_read(topic.name.as_str()) => ErrorCode::TopicAuthorizationFailed,
            Some(code) if asked_for(&topics, topic.name.as_str(), index) => *code,
            _ => ErrorCode::UnknownTopicOrPartition,
        };
        let partitions = topic.partitions.iter().map(|partition| {
            let code = code_of(partition.partition_index);
            ctx.count_error(code);
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code.code())
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetDeleteResponse::default().with_topics(answers.collect())
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: OffsetDeleteRequest,
    code: ErrorCode,
) -> OffsetDeleteResponse {
    ctx.count_error(code);
    OffsetDeleteResponse::default().with_error_code(code.code())
}

fn asked_for(topics: &[(TopicName, Vec<PartitionIndex>)], name: &str, index: i32) -> bool {
    topics.iter().any(|(topic, indexes)| topic.as_str() == name && indexes.contains(&PartitionIndex(index)))
}
