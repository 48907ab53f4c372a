//! Copies that lack committed records which no other replica could give back, and their way back.
//!
//! Picture: a replica in sync may not shorten its log, because who has less than was acknowledged could be elected. So one with
//! a hole first *steps aside*: it leaves ISR and ELR and is marked as offline, as a copy on a failed disk is; if it led,
//! another in-sync replica leads on. When the broker has seen that in its image it cuts its log at the hole, copies what
//! follows anew, and *comes back*: the mark goes, and the leader may take it in when it has caught up.
//!
//! ```text
//!   in sync, with a hole ──step aside──▶ offline ──(log is cut)──come back──▶ lags behind ──▶ in sync
//! ```
//! Invariants: nobody steps aside unless another eligible member of the ISR leads afterwards. Both verbs count only for the very
//! state that the broker has seen (broker epoch, leader epoch and partition epoch, as in AlterPartition): a report that was under
//! way while the hole was filled takes nobody out. Coming back begins a new leader epoch, so that nothing the leader heard
//! from the copy before the cut counts any more: else it could take it in on the strength of records that are gone.

use twinstream_model::{LeaderEpoch, NodeId, PartitionIndex, TopicId};

use super::{
    BrokerError, Controller, Decision, Reported,
    change::{Change, Election},
};
use crate::image::PartitionImage;

/// A broker's copy of a partition, and the state of the partition that it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenCopy {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
}

/// What a broker does with its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMove {
    StepAside,
    ComeBack,
}

impl Controller {
    /// A broker steps aside with these copies, or comes back with them. What does not fit the state of a partition is passed over:
    /// the broker sees in its image what became of it.
    pub fn move_copies(
        &self,
        node_id: NodeId,
        epoch: i64,
        wanted: CopyMove,
        copies: &[SeenCopy],
    ) -> Decision<Result<Reported, BrokerError>> {
        if let Err(error) = self.check_epoch(node_id, epoch) {
            return Decision::nothing(Err(error));
        }
        let mut draft = self.draft();
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(&draft, &[]);
        for copy in copies {
            let Some(topic) = draft.image.topic_by_id(copy.topic_id) else { continue };
            let Some(partition) = topic.partition(copy.partition).filter(|known| copy.is_of(known, node_id)) else {
                continue;
            };
            let is_aside = partition.offline.contains(&node_id);
            let mut change = Change::of(partition);
            match wanted {
                CopyMove::StepAside if !is_aside => change.fail(node_id),
                CopyMove::ComeBack if is_aside => change.come_back(node_id),
                _ => continue,
            }
            let mut others = partition.isr.iter().filter(|node| **node != node_id);
            if wanted == CopyMove::StepAside && !others.any(|node| brokers.is_eligible(*node)) {
                continue; // nobody has what this one has
            }
            let rules = policy.of(&draft.image, &topic.name).clean_only();
            let Some(settled) = change.settle(rules, Election::IfNeeded, &brokers) else { continue };
            if wanted == CopyMove::StepAside && settled.image.leader.is_none_or(|leader| leader == node_id) {
                continue;
            }
            if draft.is_full() {
                return draft.decide(Ok(Reported::Part));
            }
            let name = topic.name.clone();
            draft.push_change(copy.topic_id, &name, copy.partition, settled);
        }
        draft.decide(Ok(Reported::All))
    }
}

impl SeenCopy {
    fn is_of(&self, partition: &PartitionImage, node: NodeId) -> bool {
        partition.replicas.contains(&node)
            && partition.leader_epoch == self.leader_epoch
            && partition.partition_epoch == self.partition_epoch
    }
}
