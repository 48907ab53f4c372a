//! Where other nodes are reached.
//!
//! Picture: three sources. The settings say where the voters of `controller.quorum.voters` are, and are right. The
//! metadata says where brokers registered; what this node has of it may be older than a move. Nodes at the bootstrap
//! servers tell what *their* metadata says, which counts while this node has nothing newer: epochs grow with each
//! registration in the cluster, so of two addresses that with the higher epoch is the later one.
//!
//! Invariants: an address is never replaced by that of an earlier registration; what was told has a bound.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use twinstream_metadata::Image;
use twinstream_model::NodeId;

use super::messages::{NODES_MAX, NodeAddress};
use crate::settings::listeners::Voter;

/// Of a voter that has not registered yet, as at the founding of a cluster.
pub(super) const UNREGISTERED: i64 = -1;

/// What this node knows of the others' addresses.
pub(super) struct Addresses {
    /// The listener that nodes talk over.
    listener: String,
    voters: Vec<Voter>,
    told: Mutex<BTreeMap<NodeId, NodeAddress>>,
}

impl Addresses {
    pub(super) fn new(listener: String, voters: Vec<Voter>) -> Self {
        Self { listener, voters, told: Mutex::default() }
    }

    /// Where a node is reached; `None` while nobody has said it.
    pub(super) fn of(&self, node: NodeId, image: &Image) -> Option<NodeAddress> {
        let registered = self.registered(node, image);
        let epoch = image.broker(node).map_or(UNREGISTERED, |broker| broker.epoch);
        if let Some(voter) = self.voters.iter().find(|voter| voter.id == node) {
            return Some(NodeAddress { node, epoch, host: voter.host.clone(), port: voter.port });
        }
        // Of one epoch is what comes from the settings of the node that told it: that node's voters are where it says.
        let told = self.told.lock().get(&node).filter(|told| told.epoch >= epoch).cloned();
        told.or(registered)
    }

    fn registered(&self, node: NodeId, image: &Image) -> Option<NodeAddress> {
        let broker = image.broker(node)?;
        let endpoint = broker.endpoint(&self.listener)?;
        Some(NodeAddress { node, epoch: broker.epoch, host: endpoint.host.clone(), port: endpoint.port })
    }

    /// Takes in what one round of questions brought. What earlier rounds brought is forgotten, unless this one brought
    /// nothing.
    pub(super) fn learn(&self, told: impl IntoIterator<Item = NodeAddress>) {
        let mut newest: BTreeMap<NodeId, NodeAddress> = BTreeMap::new();
        for address in told {
            let is_newer = newest.get(&address.node).is_none_or(|known| known.epoch < address.epoch);
            if is_newer && (newest.len() < NODES_MAX || newest.contains_key(&address.node)) {
                newest.insert(address.node, address);
            }
        }
        if !newest.is_empty() {
            *self.told.lock() = newest;
        }
    }

    /// The nodes that others told of: voters of the quorum and its leader.
    pub(super) fn told(&self) -> Vec<NodeId> {
        self.told.lock().keys().copied().collect()
    }
}

#[cfg(test)]
mod tests;
