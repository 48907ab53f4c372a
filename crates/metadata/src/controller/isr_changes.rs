//! What leaders say about their ISR (AlterPartition in Kafka, KIP-497).
//!
//! Only the leader of the present epoch may ask, only about the state that it has seen, and only for members that the controller
//! takes for up, with the broker epoch that the leader heard from them (KIP-903): else a follower that restarted with an emptied disk
//! would join on what its predecessor had fetched. A change that completes a reassignment may cost the leader its leadership.

use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId};

use super::{
    BrokerError, Controller, Decision,
    brokers_up::BrokersUp,
    change::{Change, Election},
    draft::Draft,
    rules::Policy,
};
use crate::image::{PartitionImage, has_duplicates};

/// The ISR that a leader wants for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChange {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    pub leader_epoch: LeaderEpoch,
    /// The state that the leader has seen.
    pub partition_epoch: i32,
    /// The members with the broker epochs that the leader knows of them, -1 for unknown.
    pub isr: Vec<(NodeId, i64)>,
}

const BROKER_EPOCH_UNKNOWN: i64 = -1;

impl Controller {
    /// Decides about each change that the broker `leader` asks for, in its order. An answer has the partition as it is afterwards.
    pub fn alter_partitions(
        &self,
        leader: NodeId,
        broker_epoch: i64,
        changes: &[IsrChange],
    ) -> Decision<Result<Vec<Result<PartitionImage, ErrorCode>>, BrokerError>> {
        self.each_of_leader(leader, broker_epoch, changes, |draft, policy, brokers, change| {
            self.alter_partition(draft, policy, brokers, leader, change)
        })
    }

    /// Decides about each thing that the broker `leader`, if it is of this epoch, wants of its partitions, in its order.
    pub(super) fn each_of_leader<T>(
        &self,
        leader: NodeId,
        broker_epoch: i64,
        wanted: &[T],
        mut one: impl FnMut(&mut Draft, &Policy, &BrokersUp, &T) -> Result<PartitionImage, ErrorCode>,
    ) -> Decision<Result<Vec<Result<PartitionImage, ErrorCode>>, BrokerError>> {
        if let Err(error) = self.check_epoch(leader, broker_epoch) {
            return Decision::nothing(Err(error));
        }
        let mut draft = self.draft();
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(&draft, &[]);
        let answers = wanted.iter().map(|wanted| one(&mut draft, &policy, &brokers, wanted)).collect();
        draft.decide(Ok(answers))
    }

    fn alter_partition(
        &self,
        draft: &mut Draft,
        policy: &Policy,
        brokers: &BrokersUp,
        leader: NodeId,
        wanted: &IsrChange,
    ) -> Result<PartitionImage, ErrorCode> {
        let topic = draft.image.topic_by_id(wanted.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = topic.partition(wanted.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        self.check_isr_change(partition, brokers, leader, wanted)?;
        if draft.is_full() {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        let mut change = Change::of(partition);
        change.set_isr(wanted.isr.iter().map(|(node, _)| *node).collect());
        let rules = policy.of(&draft.image, &topic.name);
        let Some(settled) = change.settle(rules, Election::IfNeeded, brokers) else {
            return Ok(partition.clone());
        };
        let (after, name) = (settled.image.clone(), topic.name.clone());
        draft.push_change(wanted.topic_id, &name, wanted.partition, settled);
        // The change is made. The error tells the leader that it has to look at the metadata before it asks again.
        if after.leader == Some(leader) { Ok(after) } else { Err(ErrorCode::NewLeaderElected) }
    }

    fn check_isr_change(
        &self,
        partition: &PartitionImage,
        brokers: &BrokersUp,
        leader: NodeId,
        wanted: &IsrChange,
    ) -> Result<(), ErrorCode> {
        let is_ahead =
            wanted.leader_epoch > partition.leader_epoch || wanted.partition_epoch > partition.partition_epoch;
        if is_ahead {
            // It has seen what this node has not: somebody else is the controller.
            return Err(ErrorCode::NotController);
        }
        if wanted.leader_epoch < partition.leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if partition.leader != Some(leader) {
            return Err(ErrorCode::InvalidRequest);
        }
        if wanted.partition_epoch < partition.partition_epoch {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let members: Vec<NodeId> = wanted.isr.iter().map(|(node, _)| *node).collect();
        let are_replicas = members.iter().all(|node| partition.replicas.contains(node));
        if !are_replicas || has_duplicates(&members) || !members.contains(&leader) {
            return Err(ErrorCode::InvalidRequest);
        }
        let may_join = |(node, epoch): &(NodeId, i64)| {
            let is_same_process =
                *epoch == BROKER_EPOCH_UNKNOWN || self.image.broker(*node).is_some_and(|broker| broker.epoch == *epoch);
            is_same_process && brokers.is_eligible(*node) && !partition.offline.contains(node)
        };
        if !wanted.isr.iter().all(may_join) {
            return Err(ErrorCode::IneligibleReplica);
        }
        Ok(())
    }
}
