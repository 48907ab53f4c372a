//! One partition: who has it, who is in sync, who leads.
//!
//! Picture: five sets over one list of replicas. The *ISR* has every record that may be committed. The *ELR* (eligible leader
//! replicas, KIP-966) left the ISR while it was smaller than `min.insync.replicas`, so nothing was committed since and they have
//! everything that is; only while they wait is the ELR not empty. *adding* and *removing* say where a reassignment goes (KIP-455).
//! *offline* are replicas on failed disks of brokers that serve on.
//!
//! Invariants ([`PartitionImage::check_sets`]): the leader is in the ISR; ISR and ELR are disjoint parts of the replicas; what is
//! added or removed is a replica still. **A leader must not advance its high watermark while the ELR is not empty**: this is what
//! makes everybody in it eligible, whatever a node takes `min.insync.replicas` for.

use twinstream_model::{LeaderEpoch, NodeId};

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionImage {
    /// In order of preference: the first is the preferred leader. During a reassignment the target comes first.
    pub replicas: Vec<NodeId>,
    /// May be empty: nobody that is up has everything.
    pub isr: Vec<NodeId>,
    pub elr: Vec<NodeId>,
    /// Who led last, while nobody leads. Forgotten when its disk was wiped.
    pub last_known_leader: Option<NodeId>,
    /// `None` while no replica that may lead is up: LEADER_NOT_AVAILABLE to clients.
    pub leader: Option<NodeId>,
    /// Grows with each change of the leader, when a replica leaves, and when one comes back that cut its log.
    pub leader_epoch: LeaderEpoch,
    /// Grows with every change.
    pub partition_epoch: i32,
    pub adding: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    /// Replicas whose log directory failed while their broker serves on (KIP-112, KIP-858): they lead nothing and are in no
    /// ISR until the broker starts again. Also those that stepped aside with a hole, until they come back.
    pub offline: Vec<NodeId>,
}

impl PartitionImage {
    /// Whether replicas are being exchanged.
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas when the reassignment is done.
    pub fn target_replicas(&self) -> Vec<NodeId> {
        without(&self.replicas, &self.removing)
    }

    /// The replicas should the reassignment be cancelled.
    pub fn original_replicas(&self) -> Vec<NodeId> {
        without(&self.replicas, &self.adding)
    }

    /// The replica that leads when all is well.
    pub fn preferred_leader(&self) -> Option<NodeId> {
        self.replicas.iter().copied().find(|node| !self.removing.contains(node))
    }

    /// This partition after a change record.
    pub(super) fn changed_by(&self, change: &Self) -> Self {
        let mut next = change.clone();
        if next.replicas.is_empty() {
            next.replicas = self.replicas.clone();
            next.adding = self.adding.clone();
            next.removing = self.removing.clone();
            next.offline = self.offline.clone();
        }
        next
    }

    /// What must hold between its sets.
    pub(super) fn check_sets(&self) -> Result<(), String> {
        if self.replicas.is_empty() {
            return Err("no replica".to_owned());
        }
        for (what, set) in [
            ("ISR", &self.isr),
            ("ELR", &self.elr),
            ("set to add", &self.adding),
            ("set to remove", &self.removing),
            ("offline set", &self.offline),
        ] {
            if let Some(stranger) = set.iter().find(|node| !self.replicas.contains(node)) {
                return Err(format!("node {stranger} is in the {what} and no replica"));
            }
        }
        for (what, set) in
            [("replicas", &self.replicas), ("ISR", &self.isr), ("ELR", &self.elr), ("offline set", &self.offline)]
        {
            if has_duplicates(set) {
                return Err(format!("a node is twice in the {what}"));
            }
        }
        if let Some(both) = self.elr.iter().find(|node| self.isr.contains(node)) {
            return Err(format!("node {both} is in ISR and ELR"));
        }
        if let Some(both) = self.offline.iter().find(|node| self.isr.contains(node)) {
            return Err(format!("node {both} is in the ISR and offline"));
        }
        match self.leader {
            Some(leader) if !self.isr.contains(&leader) => Err(format!("leader {leader} is not in the ISR")),
            _ => Ok(()),
        }
    }
}

/// The nodes of a list that are not in another one, in order.
pub(crate) fn without(nodes: &[NodeId], gone: &[NodeId]) -> Vec<NodeId> {
    nodes.iter().copied().filter(|node| !gone.contains(node)).collect()
}

/// Whether a node is in a list more than once.
pub(crate) fn has_duplicates(nodes: &[NodeId]) -> bool {
    nodes.iter().enumerate().any(|(at, node)| nodes[..at].contains(node))
}
