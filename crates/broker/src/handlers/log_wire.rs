//! What the APIs over partitions share: finding the partition that a request names, and where its leader is.

use std::sync::Arc;

use kafka_protocol::messages::TopicName as WireTopicName;
use twinstream_metadata::{Image, Mirror};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName};

use super::topic_view::reachable;
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::partitions::Partition;

/// A topic as a request names it: by name, or by id where the version does so.
pub(super) fn resolve(
    image: &Image,
    name: &WireTopicName,
    id: uuid::Uuid,
    by_id: bool,
) -> Result<TopicName, ErrorCode> {
    match by_id {
        true => image.topic_by_id(TopicId(id)).map(|topic| topic.name.clone()).ok_or(ErrorCode::UnknownTopicId),
        false => TopicName::parse(name.as_str()).map_err(|_| ErrorCode::UnknownTopicOrPartition),
    }
}

pub(super) fn authorize_topic(
    broker: &Broker,
    ctx: &RequestContext,
    operation: Operation,
    topic: &TopicName,
) -> Result<(), ErrorCode> {
    match broker.authorize(ctx, operation, Resource::Topic(topic.as_str())) {
        true => Ok(()),
        false => Err(ErrorCode::TopicAuthorizationFailed),
    }
}

/// Whether the topic is a mirror, which nobody but its link writes to.
pub(super) fn is_read_only(image: &Image, topic: &TopicName) -> bool {
    image.topic(topic).and_then(|topic| topic.mirror.as_deref()).is_some_and(Mirror::is_read_only)
}

/// The partition of this very topic with its log, or why this broker does not have it.
pub(super) fn partition_here(
    broker: &Broker,
    image: &Image,
    topic: &TopicName,
    partition: PartitionIndex,
) -> Result<Arc<Partition>, ErrorCode> {
    if let Some(found) = broker.partitions.find(topic, partition) {
        let is_of_this_topic = image.topic(topic).is_none_or(|known| known.id == found.topic_id());
        // A topic was made again under its name, and its new log is not there yet. What went into the old one would be
        // acknowledged and deleted; what is in it belongs to nobody. Kafka tells those who name the topic by its id of
        // INCONSISTENT_TOPIC_ID, which librdkafka does not know and hands to its application.
        return if is_of_this_topic { Ok(found) } else { Err(ErrorCode::NotLeaderOrFollower) };
    }
    match image.partition(topic, partition) {
        None => Err(ErrorCode::UnknownTopicOrPartition),
        // Its log is about to be made, or could not be opened; the client shall ask again.
        Some(known) if known.replicas.contains(&broker.settings.node.id) => Err(ErrorCode::LeaderNotAvailable),
        Some(_) => Err(ErrorCode::NotLeaderOrFollower),
    }
}

/// Where to go instead, for a client that asked the wrong broker (KIP-951).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaderHint {
    pub(super) node: NodeId,
    pub(super) epoch: LeaderEpoch,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) rack: Option<String>,
}

/// The hint for an error that has one: the leader is known, is not this broker, and the client can reach it.
pub(super) fn leader_hint(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: &TopicName,
    partition: PartitionIndex,
    error: ErrorCode,
) -> Option<LeaderHint> {
    if !matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
        return None;
    }
    let partition = image.partition(topic, partition)?;
    // A broker that is cut off may still take itself for the leader.
    let node = partition.leader.filter(|node| *node != broker.settings.node.id)?;
    let endpoint = reachable(image, &ctx.listener, node)?;
    Some(LeaderHint {
        node,
        epoch: partition.leader_epoch,
        host: endpoint.host.clone(),
        port: endpoint.port,
        rack: image.broker(node).and_then(|broker| broker.rack.clone()),
    })
}

/// Runs file work that may take long where blocking is allowed. A panic in it is one of the handler.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
