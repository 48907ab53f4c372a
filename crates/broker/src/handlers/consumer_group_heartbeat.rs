//! ConsumerGroupHeartbeat (key 68), versions 0-1.
//!
//! v1 subscriptions by regular expression, and the member chooses its id (KIP-848, KIP-1082).
//!
//! A cluster whose `group.version` is 0 answers UNSUPPORTED_VERSION, and so does a broker whose
//! `group.coordinator.rebalance.protocols` does not name `consumer`.
//!
//! Where Kafka resolves expressions beside and lets members wait for a heartbeat, we resolve them at once. A classic group of
//! librdkafka's `cooperative-sticky` is taken over in any generation, by Kafka in its first one only.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use twinstream_coordinator::group::{Answer, ConsumerHeartbeat, ConsumerHeartbeatAnswer, Epoch, Partitions, Request};
use twinstream_metadata::features::GROUP_VERSION;
use twinstream_model::{ErrorCode, PartitionIndex, TopicId};
use uuid::Uuid;

use super::group_wire::{call, group_id, instance_id, member_id, mismatched, text, wire};
use crate::context::{Broker, Operation, RequestContext, Resource};

const OWN_MEMBER_ID_SINCE: i16 = 1;
const GROUP_VERSION_WITH_CONSUMERS: i16 = 1;
const TIMEOUT_AS_BEFORE: i32 = -1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if !may_describe_topics(broker, ctx, &request) {
        return failed(ctx, ErrorCode::TopicAuthorizationFailed, None);
    }
    if !is_served(broker) {
        return failed(ctx, ErrorCode::UnsupportedVersion, None);
    }
    let group = group_id(&request.group_id);
    let heartbeat = parse(broker, ctx, request);
    match call(broker, ctx, Operation::Read, &group, Request::ConsumerHeartbeat(Box::new(heartbeat))).await {
        Ok(Answer::ConsumerHeartbeat(answer)) => respond(ctx, answer),
        Ok(other) => failed(ctx, mismatched(&other), None),
        Err(error) => failed(ctx, error, None),
    }
}

/// Whether this broker and its cluster serve the protocol.
pub(super) fn is_served(broker: &Broker) -> bool {
    let level = broker.image.load().feature_level(GROUP_VERSION);
    broker.settings.groups.serves_consumer_protocol && level >= GROUP_VERSION_WITH_CONSUMERS
}

fn may_describe_topics(broker: &Broker, ctx: &RequestContext, request: &ConsumerGroupHeartbeatRequest) -> bool {
    let mut names = request.subscribed_topic_names.iter().flatten();
    names.all(|topic| broker.authorize(ctx, Operation::Describe, Resource::Topic(topic.as_str())))
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: ConsumerGroupHeartbeatRequest,
    code: ErrorCode,
) -> ConsumerGroupHeartbeatResponse {
    failed(ctx, code, None)
}

fn parse(broker: &Broker, ctx: &RequestContext, request: ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeat {
    let topics =
        request.subscribed_topic_names.map(|names| names.iter().map(|name| Arc::from(name.as_str())).collect());
    ConsumerHeartbeat {
        overrides: broker.groups.overrides(broker, request.group_id.as_str()),
        group: group_id(&request.group_id),
        member: member_id(&request.member_id),
        epoch: Epoch(request.member_epoch),
        instance: instance_id(request.instance_id.as_ref()),
        rack: request.rack_id.as_ref().map(text),
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|timeout| *timeout != TIMEOUT_AS_BEFORE),
        topics,
        regex: request.subscribed_topic_regex.as_ref().map(text),
        assignor: request.server_assignor.as_ref().map(text),
        owned: request.topic_partitions.map(owned),
        client_id: ctx.client_id.as_deref().unwrap_or("").into(),
        client_host: format!("/{}", ctx.peer.ip()).into(),
        requires_member_id: ctx.api_version >= OWN_MEMBER_ID_SINCE,
        fresh_id: Uuid::new_v4(),
        cluster: broker.groups.cluster(),
    }
}

fn owned(topics: Vec<Owned>) -> Partitions {
    let mut owned = Partitions::new();
    for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let partitions: BTreeSet<PartitionIndex> = topic.partitions.into_iter().map(PartitionIndex).collect();
        owned.entry(TopicId(topic.topic_id)).or_default().extend(partitions);
    }
    owned
}

fn respond(ctx: &RequestContext, answer: ConsumerHeartbeatAnswer) -> ConsumerGroupHeartbeatResponse {
    if answer.error.is_error() {
        return failed(ctx, answer.error, answer.message);
    }
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(wire(answer.member.as_str())))
        .with_member_epoch(answer.epoch.0)
        .with_heartbeat_interval_ms(answer.heartbeat_interval_ms)
        .with_assignment(answer.assignment.map(assignment))
}

fn assignment(partitions: Partitions) -> Assignment {
    let topics = partitions.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|partition| partition.0).collect();
        TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

fn failed(ctx: &RequestContext, code: ErrorCode, message: Option<String>) -> ConsumerGroupHeartbeatResponse {
    ctx.count_error(code);
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(code.code())
        .with_error_message(message.map(|message| wire(&message)))
}
