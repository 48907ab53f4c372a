//! The controller of the model: Kafka's rules for one partition, written down once more in their simplest form.

use std::collections::BTreeMap;

use twinstream_model::{LeaderEpoch, NodeId};

use super::Bug;
use crate::leader::{Answer, Assignment, Proposal, Standing};

pub(super) const MIN_ISR: usize = 2;

/// What brokers get to see.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) leader: Option<NodeId>,
    pub(super) assignment: Assignment,
    pub(super) standing: BTreeMap<NodeId, Standing>,
}

#[derive(Debug)]
pub(super) struct Controller {
    pub(super) leader: Option<NodeId>,
    pub(super) assignment: Assignment,
    elr: Vec<NodeId>,
    standing: BTreeMap<NodeId, Standing>,
    next_broker_epoch: i64,
    pub(super) images: Vec<Image>,
    pub(super) elections: usize,
    bug: Option<Bug>,
}

impl Controller {
    pub(super) fn new(replicas: &[NodeId], bug: Option<Bug>) -> Controller {
        let assignment = Assignment {
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
        };
        let mut controller = Controller {
            leader: None,
            assignment,
            elr: Vec::new(),
            standing: BTreeMap::new(),
            next_broker_epoch: 1,
            images: Vec::new(),
            elections: 0,
            bug,
        };
        controller.publish();
        controller
    }

    fn publish(&mut self) {
        let (leader, assignment, standing) = (self.leader, self.assignment.clone(), self.standing.clone());
        self.images.push(Image { leader, assignment, standing });
    }

    pub(super) fn is_unfenced(&self, id: NodeId) -> bool {
        self.standing.get(&id).is_some_and(|standing| standing.eligible)
    }

    /// A broker starts. With `lost` its disk is new, or what was not flushed is gone: it has no claim to anything.
    pub(super) fn register(&mut self, id: NodeId, lost: bool) -> i64 {
        self.leave_isr(id);
        if lost && self.bug != Some(Bug::KeepsPlaceAfterPowerLoss) {
            self.elr.retain(|member| *member != id);
        }
        let broker_epoch = self.next_broker_epoch;
        self.next_broker_epoch += 1;
        self.standing.insert(id, Standing { broker_epoch, eligible: true });
        self.elect();
        self.publish();
        broker_epoch
    }

    pub(super) fn fence(&mut self, id: NodeId) {
        self.set_eligible(id, false);
        self.leave_isr(id);
        self.elect();
        self.publish();
    }

    pub(super) fn unfence(&mut self, id: NodeId) {
        self.set_eligible(id, true);
        self.elect();
        self.publish();
    }

    fn set_eligible(&mut self, id: NodeId, eligible: bool) {
        if let Some(standing) = self.standing.get_mut(&id) {
            standing.eligible = eligible;
        }
    }

    fn leave_isr(&mut self, id: NodeId) {
        let isr: Vec<NodeId> = self.assignment.isr.iter().copied().filter(|member| *member != id).collect();
        if isr.len() < self.assignment.isr.len() {
            self.set_isr(isr);
        }
        if self.leader == Some(id) {
            self.set_leader(None);
        }
    }

    /// Who leaves an ISR that is then too small stays eligible, because nothing is committed without it (KIP-966).
    fn set_isr(&mut self, isr: Vec<NodeId>) {
        let leaving = self.assignment.isr.iter().filter(|member| !isr.contains(member));
        let mut elr: Vec<NodeId> = self.elr.iter().chain(leaving).copied().collect();
        elr.retain(|member| !isr.contains(member));
        elr.dedup();
        if isr.len() >= MIN_ISR {
            elr.clear();
        }
        self.elr = elr;
        self.assignment.isr = isr;
        self.assignment.partition_epoch += 1;
    }

    fn elect(&mut self) {
        if self.leader.is_some() {
            return;
        }
        let in_order = |members: &[NodeId]| {
            let mut candidates = self.assignment.replicas.iter().copied();
            candidates.find(|id| members.contains(id) && self.is_unfenced(*id))
        };
        let from_isr = in_order(&self.assignment.isr);
        let Some(leader) = from_isr.or_else(|| in_order(&self.elr)) else { return };
        if from_isr.is_none() {
            self.set_isr(vec![leader]);
        }
        self.set_leader(Some(leader));
        self.elections += 1;
    }

    fn set_leader(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        self.assignment.leader_epoch = LeaderEpoch(self.assignment.leader_epoch.0 + 1);
        self.assignment.partition_epoch += 1;
    }

    /// AlterPartition.
    pub(super) fn alter(&mut self, from: NodeId, broker_epoch: i64, proposal: &Proposal) -> Answer {
        let current = &self.assignment;
        if self.bug != Some(Bug::AcceptsOldLeaders) {
            let registered = self.standing.get(&from).map(|standing| standing.broker_epoch);
            let is_leader = self.leader == Some(from) && proposal.leader_epoch == current.leader_epoch;
            if !is_leader || registered != Some(broker_epoch) || proposal.partition_epoch != current.partition_epoch {
                return Answer::Outdated;
            }
        }
        let may = |(id, epoch): &(NodeId, i64)| {
            self.standing.get(id).is_some_and(|s| s.eligible && (*epoch == -1 || *epoch == s.broker_epoch))
        };
        if !proposal.isr.iter().all(may) {
            return Answer::NotApplied;
        }
        self.set_isr(proposal.isr.iter().map(|(id, _)| *id).collect());
        self.publish();
        let Assignment { leader_epoch, partition_epoch, isr, .. } = self.assignment.clone();
        Answer::Decided { leader_epoch, partition_epoch, isr }
    }
}
