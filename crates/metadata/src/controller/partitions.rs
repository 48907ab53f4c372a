//! More partitions for a topic.

use twinstream_model::{NodeId, PartitionIndex, TopicId, TopicName};

use super::{
    Controller, Decision, Mode, PARTITIONS_PER_REQUEST_MAX, TopicError,
    draft::Draft,
    placement::place,
    topics::{check_replicas, duplicates},
};
use crate::{
    image::{Image, Mirror, PartitionImage},
    record::Record,
};

/// How many partitions a topic is to have.
#[derive(Clone, Debug)]
pub struct NewPartitions {
    pub topic: String,
    /// The count afterwards, not the number of new ones.
    pub count: i32,
    /// Replicas of the new partitions in order; `None` to let the controller place them.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

impl Controller {
    /// Decides about each topic of a CreatePartitions request, in its order.
    pub fn create_partitions(&self, topics: &[NewPartitions], mode: Mode) -> Decision<Vec<Result<(), TopicError>>> {
        let mut draft = self.draft();
        let mut budget = PARTITIONS_PER_REQUEST_MAX;
        let duplicates = duplicates(topics.iter().map(|topic| topic.topic.as_str()));
        let mut answers = Vec::with_capacity(topics.len());
        for topic in topics {
            if duplicates.contains(topic.topic.as_str()) {
                answers.push(Err(TopicError::Duplicate(topic.topic.clone())));
                continue;
            }
            answers.push(self.add_partitions(&mut draft, &mut budget, topic));
        }
        mode.decide(draft, answers)
    }

    fn add_partitions(&self, draft: &mut Draft, budget: &mut usize, wanted: &NewPartitions) -> Result<(), TopicError> {
        let name = TopicName::parse(&wanted.topic).ok();
        let unknown = || TopicError::UnknownName(wanted.topic.clone());
        let topic = name.and_then(|name| draft.image.topic(&name)).cloned().ok_or_else(unknown)?;
        let have = topic.partitions.len();
        let more =
            usize::try_from(wanted.count).ok().and_then(|count| count.checked_sub(have)).filter(|more| *more > 0);
        let Some(more) = more else {
            return Err(TopicError::NotMorePartitions { topic: topic.name.clone(), have, wanted: wanted.count });
        };
        *budget = budget.checked_sub(more).ok_or(TopicError::TooManyMorePartitions)?;
        // As many replicas as the topic has when its reassignments are done.
        let factor = topic.partitions.first().map_or(1, |first| first.target_replicas().len());
        let replicas = match &wanted.assignments {
            Some(assigned) => check_assigned(&draft.image, have, more, factor, assigned)?,
            None => place(&draft.image, &self.cordoned, more, factor)?,
        };
        for (at, nodes) in replicas.into_iter().enumerate() {
            let index = PartitionIndex((have + at) as i32);
            let record = initial_partition(&draft.image, topic.id, index, nodes);
            draft.push(record);
        }
        Ok(())
    }
}

fn check_assigned(
    image: &Image,
    have: usize,
    more: usize,
    factor: usize,
    assigned: &[Vec<NodeId>],
) -> Result<Vec<Vec<NodeId>>, TopicError> {
    if assigned.len() != more {
        let message = format!("{more} partitions are added and {} assignments were given", assigned.len());
        return Err(TopicError::Assignment(message));
    }
    for (at, nodes) in assigned.iter().enumerate() {
        check_replicas(image, have + at, nodes, factor)?;
    }
    Ok(assigned.to_vec())
}

/// A new partition. Its ISR are the replicas that are up: they all have everything there is. The first of them leads.
pub(super) fn initial_partition(
    image: &Image,
    topic_id: TopicId,
    partition: PartitionIndex,
    replicas: Vec<NodeId>,
) -> Record {
    let is_eligible = |node: &NodeId| image.broker(*node).is_some_and(|broker| broker.is_eligible());
    let isr: Vec<NodeId> = replicas.iter().copied().filter(is_eligible).collect();
    // All partitions of a promoted mirror have at least the epoch of that.
    let mirror = image.topic_by_id(topic_id).and_then(|topic| topic.mirror.as_deref());
    let leader_epoch = mirror.and_then(Mirror::promoted_in).unwrap_or_default();
    let leader = isr.first().copied();
    let image = PartitionImage { leader, isr, replicas, leader_epoch, ..PartitionImage::default() };
    Record::Partition { topic_id, partition, image }
}
