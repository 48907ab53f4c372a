//! What Metadata and DescribeTopicPartitions share: how a partition of the image looks to a client.
//!
//! Invariants: a client only hears of brokers that it can reach over the listener that it asked on; a leader that it
//! cannot reach is an error of that partition, never a missing partition.

use twinstream_metadata::{BrokerImage, Endpoint, Image, PartitionImage};
use twinstream_model::{ErrorCode, NodeId};

/// A partition as one client may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionView {
    pub(crate) error: ErrorCode,
    pub(crate) leader: NodeId,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<NodeId>,
    pub(crate) isr: Vec<NodeId>,
    pub(crate) elr: Vec<NodeId>,
    /// Who led last, while nobody does: what Kafka shows as the last known ELR.
    pub(crate) last_known_elr: Vec<NodeId>,
    pub(crate) offline_replicas: Vec<NodeId>,
}

impl PartitionView {
    pub(crate) fn new(image: &Image, listener: &str, partition: &PartitionImage) -> Self {
        let is_reachable = |node: NodeId| reachable(image, listener, node).is_some();
        let is_offline = |node: NodeId| !is_reachable(node) || partition.offline.contains(&node);
        let (error, leader) = match partition.leader {
            Some(leader) if is_reachable(leader) => (ErrorCode::None, leader),
            Some(leader) if image.broker(leader).is_some_and(|broker| !broker.fenced) => {
                (ErrorCode::ListenerNotFound, NodeId::NONE)
            }
            _ => (ErrorCode::LeaderNotAvailable, NodeId::NONE),
        };
        Self {
            error,
            leader,
            leader_epoch: partition.leader_epoch.0,
            offline_replicas: partition.replicas.iter().copied().filter(|node| is_offline(*node)).collect(),
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            elr: partition.elr.clone(),
            last_known_elr: partition.last_known_leader.into_iter().collect(),
        }
    }
}

/// The address of a live broker on a listener.
pub(crate) fn reachable<'a>(image: &'a Image, listener: &str, node: NodeId) -> Option<&'a Endpoint> {
    let broker: &BrokerImage = image.broker(node).filter(|broker| !broker.fenced)?;
    broker.endpoint(listener)
}

/// The live brokers that a client of this listener can reach, with their addresses.
pub(crate) fn reachable_brokers<'a>(
    image: &'a Image,
    listener: &'a str,
) -> impl Iterator<Item = (&'a BrokerImage, &'a Endpoint)> {
    image.live_brokers().filter_map(move |broker| Some((&**broker, broker.endpoint(listener)?)))
}

/// The broker that clients shall send administrative requests to. Every broker forwards them to the controller, so
/// the one that answers is as good as any and already reached.
pub(crate) fn controller_for_clients(image: &Image, listener: &str, own: NodeId) -> NodeId {
    if reachable(image, listener, own).is_some() {
        return own;
    }
    reachable_brokers(image, listener).next().map_or(NodeId::NONE, |(broker, _)| broker.node_id)
}
