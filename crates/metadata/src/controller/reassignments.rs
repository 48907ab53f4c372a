//! Partitions that move to other brokers (KIP-455).
//!
//! Picture: a reassignment is started by listing the target in front of the replicas that are to leave. The leader takes the new
//! ones into the ISR as they catch up, and the change of the ISR that completes the target ends the reassignment (see
//! [`super::change`]). Starting another one changes it, naming no target cancels it; both begin from the original replicas, so what
//! was copied for a target that nobody wants any more leaves at once.
//!
//! Invariants: a replica that has everything is never dropped for one that has not; a reassignment that would leave a partition
//! without a leader is refused.

use thiserror::Error;
use twinstream_model::{ErrorCode, NodeId, TopicPartition};

use super::{
    Controller, Decision,
    brokers_up::BrokersUp,
    change::{Change, Election},
    draft::Draft,
    nodes_text,
    rules::Policy,
};
use crate::image::{Image, PartitionImage, has_duplicates};

/// Why a partition is not reassigned.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReassignError {
    #[error("there is no partition {0}")]
    UnknownPartition(TopicPartition),
    #[error("partition {0} is not being reassigned, so there is nothing to cancel")]
    NoReassignment(TopicPartition),
    #[error("{0}")]
    Assignment(String),
    #[error(
        "partition {partition} has replication factor {have} and the target has {wanted} replicas; allow the replication factor to change, or name {have} brokers"
    )]
    ReplicationFactor { partition: TopicPartition, have: usize, wanted: usize },
    #[error(
        "partition {0} would be without a leader, because only replicas that would be dropped are in sync; wait until another one is, or elect uncleanly first"
    )]
    WouldLoseLeader(TopicPartition),
    #[error("partition {0} does not fit into this batch of reassignments; ask again")]
    Later(TopicPartition),
}

impl ReassignError {
    /// The error on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
            Self::NoReassignment(_) => ErrorCode::NoReassignmentInProgress,
            Self::Assignment(_) | Self::WouldLoseLeader(_) => ErrorCode::InvalidReplicaAssignment,
            Self::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            Self::Later(_) => ErrorCode::ThrottlingQuotaExceeded,
        }
    }
}

impl Controller {
    /// Starts or changes (with a target) or cancels (without) the reassignment of each partition, in the order of the request.
    pub fn alter_reassignments(
        &self,
        wanted: &[(TopicPartition, Option<Vec<NodeId>>)],
        allow_rf_change: bool,
    ) -> Decision<Vec<Result<(), ReassignError>>> {
        let mut draft = self.draft();
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(&draft, &[]);
        let mut answers = Vec::with_capacity(wanted.len());
        for (at, target) in wanted {
            answers.push(reassign(&mut draft, &policy, &brokers, at, target.as_deref(), allow_rf_change));
        }
        draft.decide(answers)
    }
}

fn reassign(
    draft: &mut Draft,
    policy: &Policy,
    brokers: &BrokersUp,
    at: &TopicPartition,
    target: Option<&[NodeId]>,
    allow_rf_change: bool,
) -> Result<(), ReassignError> {
    let topic = draft.image.topic(&at.topic);
    let found = topic.and_then(|topic| Some((topic, topic.partition(at.partition)?)));
    let Some((topic, partition)) = found else { return Err(ReassignError::UnknownPartition(at.clone())) };
    let target = match target {
        Some(target) => {
            check_target(&draft.image, at, partition, target, allow_rf_change)?;
            target.to_vec()
        }
        None if partition.is_reassigning() => partition.original_replicas(),
        None => return Err(ReassignError::NoReassignment(at.clone())),
    };
    let mut change = Change::of(partition);
    change.reassign(&target);
    let rules = policy.of(&draft.image, &topic.name).clean_only();
    let Some(settled) = change.settle(rules, Election::IfNeeded, brokers) else { return Ok(()) };
    if partition.leader.is_some() && settled.image.leader.is_none() {
        return Err(ReassignError::WouldLoseLeader(at.clone()));
    }
    if draft.is_full() {
        return Err(ReassignError::Later(at.clone()));
    }
    let topic_id = topic.id;
    draft.push_change(topic_id, &at.topic, at.partition, settled);
    Ok(())
}

fn check_target(
    image: &Image,
    at: &TopicPartition,
    partition: &PartitionImage,
    target: &[NodeId],
    allow_rf_change: bool,
) -> Result<(), ReassignError> {
    let refuse = |message: String| Err(ReassignError::Assignment(message));
    if target.is_empty() {
        return refuse(format!("the target of partition {at} names no broker"));
    }
    if has_duplicates(target) {
        return refuse(format!("the target of partition {at} names a broker twice: {}", nodes_text(target)));
    }
    if let Some(stranger) = target.iter().find(|node| image.broker(**node).is_none()) {
        let known: Vec<NodeId> = image.brokers().map(|broker| broker.node_id).collect();
        return refuse(format!(
            "the target of partition {at} names broker {stranger}, which is not registered; registered are {}",
            nodes_text(&known)
        ));
    }
    let have = partition.target_replicas().len();
    if !allow_rf_change && have != target.len() {
        return Err(ReassignError::ReplicationFactor { partition: at.clone(), have, wanted: target.len() });
    }
    Ok(())
}
