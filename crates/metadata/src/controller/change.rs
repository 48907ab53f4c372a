//! One partition from one state to the next: ISR, ELR, leader, epochs.
//!
//! Picture: a verb says what happened ([`Change::leave_isr`], [`Change::set_isr`], [`Change::forget`], [`Change::fail`],
//! [`Change::come_back`], [`Change::reassign`], [`Change::raise_epoch`]), and
//! [`Change::settle`] draws every consequence in one fixed order: a reassignment that has what it needs completes, a leader is
//! elected, the ELR follows from the ISR, epochs grow. Nobody else writes these fields.
//!
//! Who may lead, best first: the present leader; another member of the ISR, in replica order; a member of the ELR, which then is the
//! whole ISR (KIP-966); if ISR and ELR are both empty, who led last; if the topic allows it, any replica that is up (unclean).
//!
//! Invariants: somebody outside of ISR and ELR leads only as last known leader or by an unclean election, and then the ELR is
//! emptied, because its members may have records that the new leader lacks. A change that changes nothing has no record.
//! `docs/002-isr-and-elr.md` has the reasons.

use twinstream_model::{LeaderEpoch, NodeId};

use super::{brokers_up::BrokersUp, rules::Rules};
use crate::image::{PartitionImage, without};

/// What kind of leader is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// A leader only if the present one cannot stay.
    IfNeeded,
    /// The preferred leader, if it may lead.
    Preferred,
}

/// How a leader came to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elected {
    /// From ISR or ELR: it has everything that was committed.
    Clean,
    /// It led last and nobody is left who certainly has everything, itself included.
    LastKnown,
    /// It may lack committed records.
    Unclean,
}

/// A node whose copy no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forget {
    /// Its tail may be gone.
    Tail,
    /// Nothing of it is left, or nobody knows.
    All,
}

pub(super) struct Change<'a> {
    before: &'a PartitionImage,
    next: PartitionImage,
    /// Nodes that are in no ELR any more.
    forgotten: Vec<NodeId>,
    wiped: Vec<NodeId>,
    /// A new leader epoch, whoever leads.
    renews_epoch: bool,
    /// The leader epoch that the partition has at least afterwards.
    epoch_min: LeaderEpoch,
}

/// What comes of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) image: PartitionImage,
    /// Set when the leader changed to another node.
    pub(super) elected: Option<Elected>,
    pub(super) leader_before: Option<NodeId>,
    /// Whether somebody left the ISR.
    pub(super) isr_shrunk: bool,
}

impl<'a> Change<'a> {
    pub(super) fn of(before: &'a PartitionImage) -> Self {
        Self {
            before,
            next: before.clone(),
            forgotten: Vec::new(),
            wiped: Vec::new(),
            renews_epoch: false,
            epoch_min: before.leader_epoch,
        }
    }

    pub(super) fn leave_isr(&mut self, nodes: &[NodeId]) {
        self.next.isr.retain(|node| !nodes.contains(node));
    }

    pub(super) fn set_isr(&mut self, isr: Vec<NodeId>) {
        self.next.isr = isr;
    }

    /// Takes a node out of ISR and ELR.
    pub(super) fn forget(&mut self, node: NodeId, what: Forget) {
        self.leave_isr(&[node]);
        self.forgotten.push(node);
        if what == Forget::All {
            self.wiped.push(node);
        }
    }

    /// The disk under a node's copy failed while its broker serves on: the copy counts nowhere and cannot lead.
    pub(super) fn fail(&mut self, node: NodeId) {
        self.forget(node, Forget::Tail);
        if !self.next.offline.contains(&node) {
            self.next.offline.push(node);
        }
    }

    /// A node's process started anew; whether its disks work now it will say itself.
    pub(super) fn return_online(&mut self, node: NodeId) {
        self.next.offline.retain(|other| *other != node);
    }

    /// A node's copy was cut and is sound again. What others know of it is over, which takes a new leader epoch to tell.
    pub(super) fn come_back(&mut self, node: NodeId) {
        self.return_online(node);
        self.renews_epoch = true;
    }

    /// Batches of another cluster with this epoch are to be appended, which no leader of an older one may do.
    pub(super) fn raise_epoch(&mut self, to: LeaderEpoch) {
        self.epoch_min = self.epoch_min.max(to);
    }

    /// Starts, changes or ends a reassignment: from the original replicas to `target`. What an earlier reassignment was still
    /// adding and this one does not want leaves at once.
    pub(super) fn reassign(&mut self, target: &[NodeId]) {
        let original = self.before.original_replicas();
        self.next.adding = without(target, &original);
        self.next.removing = without(&original, target);
        self.next.replicas = [target, &self.next.removing].concat();
        let replicas = self.next.replicas.clone();
        self.next.isr.retain(|node| replicas.contains(node));
    }

    /// Draws the consequences; `None` when there are none.
    pub(super) fn settle(mut self, rules: Rules, election: Election, brokers: &BrokersUp) -> Option<Settled> {
        self.complete_reassignment();
        let replicas = &self.next.replicas;
        self.next.offline.retain(|node| replicas.contains(node));
        let in_elr = self.elr_candidates();
        let elected = self.elect(rules, election, brokers, &in_elr);
        self.next.elr = match elected {
            Some(Elected::LastKnown | Elected::Unclean) => Vec::new(),
            _ if self.next.isr.len() >= rules.min_isr.min(self.next.replicas.len()) => Vec::new(),
            _ => without(&in_elr, &self.next.isr),
        };
        self.next.last_known_leader = self.last_known_leader();
        self.grow_epochs()?;
        let elected = elected.filter(|_| self.next.leader != self.before.leader);
        let isr_shrunk = self.before.isr.iter().any(|node| !self.next.isr.contains(node));
        Some(Settled { image: self.next, elected, leader_before: self.before.leader, isr_shrunk })
    }

    /// KIP-455, with the careful reading: every replica of the target is in sync, not only the added ones. A replica that is
    /// removed may be the last one that has everything.
    fn complete_reassignment(&mut self) {
        let next = &mut self.next;
        if !next.is_reassigning() {
            return;
        }
        let target = next.target_replicas();
        if target.iter().all(|node| next.isr.contains(node)) {
            next.isr.retain(|node| target.contains(node));
            next.replicas = target;
            next.adding.clear();
            next.removing.clear();
        }
    }

    /// Who has everything that was committed, in replica order: members of the ISR, and of the ELR while it lasts.
    fn elr_candidates(&self) -> Vec<NodeId> {
        let has_everything =
            |node: &NodeId| [&self.before.isr, &self.before.elr, &self.next.isr].iter().any(|set| set.contains(node));
        let candidates = self.next.replicas.iter().copied();
        candidates.filter(|node| has_everything(node) && !self.forgotten.contains(node)).collect()
    }

    fn elect(&mut self, rules: Rules, election: Election, brokers: &BrokersUp, in_elr: &[NodeId]) -> Option<Elected> {
        let next = &self.next;
        let is_eligible = |node: &NodeId| brokers.is_eligible(*node) && !next.offline.contains(node);
        let in_sync = |node: &NodeId| next.isr.contains(node) && is_eligible(node);
        let present = self.before.leader.filter(|leader| next.isr.contains(leader));
        if let Some(preferred) = next.preferred_leader().filter(in_sync)
            && election == Election::Preferred
        {
            return self.lead(preferred, Elected::Clean);
        }
        if let Some(leader) = present.filter(in_sync).or_else(|| next.replicas.iter().copied().find(in_sync)) {
            return self.lead(leader, Elected::Clean);
        }
        if let Some(leader) = in_elr.iter().copied().find(is_eligible) {
            self.next.isr = vec![leader];
            return self.lead(leader, Elected::Clean);
        }
        // It is about to stop, and nobody else can lead: better than nobody until it is gone.
        if let Some(leader) = present.filter(|leader| brokers.is_serving(*leader)) {
            return self.lead(leader, Elected::Clean);
        }
        let last_known = self.last_known_leader().filter(is_eligible);
        if let Some(leader) = last_known.filter(|_| next.isr.is_empty() && in_elr.is_empty()) {
            self.next.isr = vec![leader];
            return self.lead(leader, Elected::LastKnown);
        }
        let any = next.replicas.iter().copied().find(is_eligible);
        if let Some(leader) = any.filter(|_| rules.unclean) {
            self.next.isr = vec![leader];
            return self.lead(leader, Elected::Unclean);
        }
        self.next.leader = None;
        None
    }

    fn lead(&mut self, leader: NodeId, how: Elected) -> Option<Elected> {
        self.next.leader = Some(leader);
        Some(how)
    }

    /// Kept only while nobody leads. A node whose disk was wiped led nothing that it still has.
    fn last_known_leader(&self) -> Option<NodeId> {
        if self.next.leader.is_some() && self.next.isr.iter().any(|node| Some(*node) == self.next.leader) {
            return None;
        }
        let before = self.before;
        let has_something = |node: &NodeId| self.next.replicas.contains(node) && !self.wiped.contains(node);
        let known = before.leader.or(before.last_known_leader).filter(has_something);
        // Who led is not known of partitions that an older release left without a leader.
        let member = |node: &NodeId| before.isr.contains(node) || before.elr.contains(node);
        let guess = || before.replicas.iter().copied().find(|node| member(node) && has_something(node));
        known.or_else(guess)
    }

    /// A new leader, replicas that have left, and copies that were cut need a new leader epoch: nobody must take the word of the
    /// old ones after that.
    fn grow_epochs(&mut self) -> Option<()> {
        let (before, next) = (self.before, &mut self.next);
        let is_raised = self.epoch_min > before.leader_epoch;
        if before == next && !is_raised {
            return None;
        }
        let somebody_left = before.replicas.iter().any(|node| !next.replicas.contains(node));
        if next.leader != before.leader || somebody_left || self.renews_epoch {
            next.leader_epoch = LeaderEpoch(before.leader_epoch.0 + 1);
        }
        next.leader_epoch = next.leader_epoch.max(self.epoch_min);
        next.partition_epoch = before.partition_epoch + 1;
        Some(())
    }
}
