//! The replica that a consumer should read instead of the leader (KIP-392).
//!
//! `RackAwareReplicaSelector`: the leader, if it is in the consumer's rack; else the in-sync follower in that rack that
//! has most records, and at least those that the consumer asks for; else the leader.

use twinstream_metadata::Image;
use twinstream_model::{NodeId, Offset};

use crate::context::Broker;
use crate::partitions::{Partition, ReplicaView};

/// `None` if the consumer is right here.
pub(super) fn replica(broker: &Broker, partition: &Partition, rack: &str, from: Offset) -> Option<NodeId> {
    if !broker.settings.replication.rack_aware_reads || !partition.is_leader() {
        return None;
    }
    if broker.settings.node.rack.as_deref() == Some(rack) {
        return None;
    }
    let image = broker.image.load();
    select(&image, rack, from, &partition.in_sync_followers())
}

fn select(image: &Image, rack: &str, from: Offset, followers: &[ReplicaView]) -> Option<NodeId> {
    let is_near = |view: &&ReplicaView| {
        let broker = image.broker(view.node).filter(|broker| !broker.fenced);
        broker.is_some_and(|broker| broker.rack.as_deref() == Some(rack))
    };
    let has = |view: &&ReplicaView| view.log_start <= from && from <= view.log_end;
    let near = followers.iter().filter(is_near).filter(has);
    near.max_by_key(|view| (view.log_end, std::cmp::Reverse(view.node))).map(|view| view.node)
}
