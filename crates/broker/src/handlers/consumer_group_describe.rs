//! ConsumerGroupDescribe (key 69), versions 0-1.
//!
//! v1 the protocol that each member speaks.
//!
//! Partitions of topics that are gone are left out, for they have no name any more. What is described in one answer is bounded, see
//! [`super::described`].

use std::sync::Arc;

use kafka_protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId as WireGroupId, TopicName as WireTopicName,
};
use twinstream_coordinator::group::{Answer, ConsumerDescription, DescribedConsumer, Partitions, Request};
use twinstream_metadata::Image;
use twinstream_model::ErrorCode;

use super::consumer_group_heartbeat::is_served;
use super::described::{ANSWER_BYTES_MAX, TOO_MUCH, described};
use super::group_wire::{call, group_id, mismatched, wire, wire_topic};
use crate::context::{Broker, OPERATIONS_NOT_ASKED, Operation, RequestContext, Resource};

const SPEAKS_CLASSIC: i8 = 0;
const SPEAKS_CONSUMER: i8 = 1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    if !is_served(broker) {
        return error_response(ctx, request, ErrorCode::UnsupportedVersion);
    }
    let with_operations = request.include_authorized_operations;
    let describe = |group| describe(broker, ctx, group, with_operations);
    let refuse = |group| failed(ctx, group, ErrorCode::InvalidRequest, Some(TOO_MUCH.to_owned()));
    let groups = described(request.group_ids, ctx.api_version, ANSWER_BYTES_MAX, describe, refuse).await;
    ConsumerGroupDescribeResponse::default().with_groups(groups)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: ConsumerGroupDescribeRequest,
    code: ErrorCode,
) -> ConsumerGroupDescribeResponse {
    let groups = request.group_ids.into_iter().map(|group| failed(ctx, group, code, None));
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}

async fn describe(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    id: WireGroupId,
    with_operations: bool,
) -> DescribedGroup {
    let group = group_id(&id);
    if group.as_str().is_empty() {
        return failed(ctx, id, ErrorCode::InvalidGroupId, None);
    }
    let description =
        match call(broker, ctx, Operation::Describe, &group, Request::ConsumerDescribe(group.clone())).await {
            Ok(Answer::ConsumerDescribe(Ok(description))) => description,
            Ok(Answer::ConsumerDescribe(Err(ErrorCode::GroupIdNotFound))) => {
                let message = format!("Group {} is not a consumer group.", id.as_str());
                return failed(ctx, id, ErrorCode::GroupIdNotFound, Some(message));
            }
            Ok(Answer::ConsumerDescribe(Err(error))) | Err(error) => return failed(ctx, id, error, None),
            Ok(other) => return failed(ctx, id, mismatched(&other), None),
        };
    let operations = match with_operations {
        true => broker.authorized_operations(ctx, Resource::Group(group.as_str())),
        false => OPERATIONS_NOT_ASKED,
    };
    shown(id, description, &broker.image.load()).with_authorized_operations(operations)
}

fn shown(id: WireGroupId, description: ConsumerDescription, image: &Image) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(wire(description.state.name()))
        .with_group_epoch(description.epoch.0)
        .with_assignment_epoch(description.target_epoch.0)
        .with_assignor_name(wire(&description.assignor))
        .with_members(description.members.into_iter().map(|described| member(described, image)).collect())
}

fn member(described: DescribedConsumer, image: &Image) -> Member {
    let member_type = if described.speaks_classic { SPEAKS_CLASSIC } else { SPEAKS_CONSUMER };
    Member::default()
        .with_member_id(wire(described.member.as_str()))
        .with_instance_id(described.instance.map(|instance| wire(instance.as_str())))
        .with_rack_id(described.rack.map(|rack| wire(&rack)))
        .with_member_epoch(described.epoch.0)
        .with_client_id(wire(&described.client_id))
        .with_client_host(wire(&described.client_host))
        .with_subscribed_topic_names(described.topics.iter().map(|topic| WireTopicName(wire(topic))).collect())
        // Kafka tells of no expression as of an empty one.
        .with_subscribed_topic_regex(Some(wire(described.regex.as_deref().unwrap_or_default())))
        .with_assignment(assignment(described.assigned, image))
        .with_target_assignment(assignment(described.target, image))
        .with_member_type(member_type)
}

fn assignment(partitions: Partitions, image: &Image) -> Assignment {
    let topics = partitions.into_iter().filter_map(|(topic, partitions)| {
        let name = wire_topic(&image.topic_by_id(topic)?.name);
        let partitions = partitions.into_iter().map(|partition| partition.0).collect();
        Some(TopicPartitions::default().with_topic_id(topic.0).with_topic_name(name).with_partitions(partitions))
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

fn failed(ctx: &RequestContext, id: WireGroupId, code: ErrorCode, message: Option<String>) -> DescribedGroup {
    ctx.count_error(code);
    DescribedGroup::default()
        .with_group_id(id)
        .with_error_code(code.code())
        .with_error_message(message.map(|message| wire(&message)))
}
