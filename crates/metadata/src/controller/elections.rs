//! Elections by command (ElectLeaders), and the way back to the preferred leaders.
//!
//! After a broker was away its followers lead and it leads nothing; its partitions go back to it when it is in sync again, by
//! command or when the imbalance is large enough. An unclean election is how an operator says that service counts more than records
//! that may be lost; nothing else elects outside of ISR and ELR without the topic's leave.

use std::collections::BTreeMap;

use thiserror::Error;
use twinstream_model::{ErrorCode, NodeId, TopicPartition};

use super::{
    Controller, Decision,
    brokers_up::BrokersUp,
    change::{Change, Election, Settled},
    draft::Draft,
    rules::{Policy, Rules},
};
use crate::image::{PartitionImage, TopicImage};

/// Leaders that one step of rebalancing moves at most, as in Kafka: clients look up each of them anew.
pub const REBALANCED_LEADERS_MAX: usize = 1000;

/// What kind of election a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica, if it is in sync.
    Preferred,
    /// Any replica, for partitions without a leader. Records may be lost.
    Unclean,
}

/// Why a partition has no new leader.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ElectError {
    #[error("there is no partition {0}")]
    UnknownPartition(TopicPartition),
    #[error("leader election is not needed for partition {0}")]
    NotNeeded(TopicPartition),
    #[error("the preferred leader {preferred} of partition {partition} is not in sync or not up")]
    PreferredNotAvailable { partition: TopicPartition, preferred: NodeId },
    #[error("no replica of partition {0} is up")]
    NoEligible(TopicPartition),
    #[error("partition {0} does not fit into this batch of elections; ask again")]
    Later(TopicPartition),
}

impl ElectError {
    /// The error on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
            Self::NotNeeded(_) => ErrorCode::ElectionNotNeeded,
            Self::PreferredNotAvailable { .. } => ErrorCode::PreferredLeaderNotAvailable,
            Self::NoEligible(_) => ErrorCode::EligibleLeadersNotAvailable,
            Self::Later(_) => ErrorCode::ThrottlingQuotaExceeded,
        }
    }
}

/// What a step of rebalancing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balanced {
    pub moved: usize,
    /// Whether there is more to move than one step does.
    pub more: bool,
}

/// What an election looks at.
struct Round<'a> {
    draft: &'a mut Draft,
    policy: Policy,
    brokers: BrokersUp,
}

impl Controller {
    /// Elects leaders of these partitions, or of all that need it, and answers per partition. Of all partitions, those that need
    /// none are left out.
    pub fn elect_leaders(
        &self,
        kind: ElectionKind,
        partitions: Option<&[TopicPartition]>,
    ) -> Decision<Vec<(TopicPartition, Result<(), ElectError>)>> {
        let mut draft = self.draft();
        let mut round = self.round(&mut draft);
        let mut answers = Vec::new();
        match partitions {
            Some(partitions) => {
                for partition in partitions {
                    answers.push((partition.clone(), round.elect_named(kind, partition)));
                }
            }
            None => {
                for topic in self.image.topics() {
                    for (index, partition) in topic.iter() {
                        let at = TopicPartition::new(topic.name.clone(), index);
                        match round.elect(kind, topic, &at, partition) {
                            Err(ElectError::NotNeeded(_)) => {}
                            answer => answers.push((at, answer)),
                        }
                    }
                }
            }
        }
        draft.decide(answers)
    }

    fn round<'a>(&self, draft: &'a mut Draft) -> Round<'a> {
        let (policy, brokers) = (self.policy(&draft.image), self.brokers_without(draft, &[]));
        Round { draft, policy, brokers }
    }

    /// Moves leaderships back to the preferred leaders of brokers that lead less than they should: more than `percentage` percent of
    /// what they are the preferred leader of is led by others.
    pub fn balance_leaders(&self, percentage: u32) -> Decision<Balanced> {
        let short = self.brokers_short_of_leaderships(percentage);
        let mut draft = self.draft();
        let mut round = self.round(&mut draft);
        let mut balanced = Balanced { moved: 0, more: false };
        for topic in self.image.topics() {
            for (index, partition) in topic.iter() {
                let Some(preferred) = partition.preferred_leader().filter(|node| short.contains(node)) else {
                    continue;
                };
                let can_move = partition.leader != Some(preferred)
                    && partition.isr.contains(&preferred)
                    && round.brokers.is_eligible(preferred);
                if !can_move {
                    continue;
                }
                if balanced.moved == REBALANCED_LEADERS_MAX {
                    return draft.decide(Balanced { more: true, ..balanced });
                }
                let at = TopicPartition::new(topic.name.clone(), index);
                let moved = round.elect(ElectionKind::Preferred, topic, &at, partition).is_ok();
                balanced.moved += usize::from(moved);
                balanced.more |= !moved;
            }
        }
        draft.decide(balanced)
    }

    fn brokers_short_of_leaderships(&self, percentage: u32) -> Vec<NodeId> {
        let mut counts: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
        for partition in self.image.topics().flat_map(|topic| &topic.partitions) {
            let Some(preferred) = partition.preferred_leader() else { continue };
            let (should, elsewhere) = counts.entry(preferred).or_default();
            *should += 1;
            *elsewhere += u64::from(partition.leader != Some(preferred));
        }
        let is_short = |(should, elsewhere): &(u64, u64)| elsewhere * 100 > u64::from(percentage) * should;
        counts.into_iter().filter(|(_, counts)| is_short(counts)).map(|(node, _)| node).collect()
    }
}

impl Round<'_> {
    fn elect_named(&mut self, kind: ElectionKind, at: &TopicPartition) -> Result<(), ElectError> {
        let topic = self.draft.image.topic(&at.topic);
        let found = topic.and_then(|topic| Some((topic.id, topic.partition(at.partition)?)));
        let Some((topic_id, partition)) = found else { return Err(ElectError::UnknownPartition(at.clone())) };
        let settled = self.judge(kind, at, partition)?;
        self.draft.push_change(topic_id, &at.topic, at.partition, settled);
        Ok(())
    }

    /// Like [`Round::elect_named`], for a partition that this decision has not changed yet.
    fn elect(
        &mut self,
        kind: ElectionKind,
        topic: &TopicImage,
        at: &TopicPartition,
        partition: &PartitionImage,
    ) -> Result<(), ElectError> {
        let settled = self.judge(kind, at, partition)?;
        self.draft.push_change(topic.id, &at.topic, at.partition, settled);
        Ok(())
    }

    fn judge(
        &self,
        kind: ElectionKind,
        at: &TopicPartition,
        partition: &PartitionImage,
    ) -> Result<Settled, ElectError> {
        let preferred = partition.preferred_leader();
        let not_needed = match kind {
            ElectionKind::Preferred => partition.leader == preferred,
            ElectionKind::Unclean => partition.leader.is_some(),
        };
        if not_needed {
            return Err(ElectError::NotNeeded(at.clone()));
        }
        let rules = Rules { unclean: kind == ElectionKind::Unclean, ..self.policy.of(&self.draft.image, &at.topic) };
        let election = match kind {
            ElectionKind::Preferred => Election::Preferred,
            ElectionKind::Unclean => Election::IfNeeded,
        };
        let settled = Change::of(partition).settle(rules, election, &self.brokers);
        let elected = settled.filter(|settled| match kind {
            ElectionKind::Preferred => settled.image.leader == preferred,
            ElectionKind::Unclean => settled.image.leader.is_some(),
        });
        match (elected, preferred) {
            (Some(_), _) if self.draft.is_full() => Err(ElectError::Later(at.clone())),
            (Some(settled), _) => Ok(settled),
            (None, Some(preferred)) if kind == ElectionKind::Preferred => {
                Err(ElectError::PreferredNotAvailable { partition: at.clone(), preferred })
            }
            (None, _) => Err(ElectError::NoEligible(at.clone())),
        }
    }
}
