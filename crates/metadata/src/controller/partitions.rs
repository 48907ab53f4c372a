//! More partitions for a topic, and leaders that come and go with their brokers.
//!
//! Legal transitions of a partition with one replica: led (its broker is unfenced) <-> leaderless (its broker is fenced). Each raises
//! the leader epoch, so that nobody takes the old leader's word after the change. The ISR never empties: the last in-sync replica
//! stays in it and leads again when it is back.

use twinstream_model::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName};

use super::{
    Controller, Decision, Draft, Mode, PARTITIONS_PER_REQUEST_MAX, TopicError, placement,
    topics::{FIRST_EPOCH, check_replicas, duplicates},
};
use crate::{
    image::{Image, PartitionImage, TopicImage},
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
        let mut draft = Draft::new(&self.image);
        let mut budget = PARTITIONS_PER_REQUEST_MAX;
        let duplicates = duplicates(topics.iter().map(|topic| topic.topic.as_str()));
        let mut answers = Vec::with_capacity(topics.len());
        for topic in topics {
            if duplicates.contains(topic.topic.as_str()) {
                answers.push(Err(TopicError::Duplicate(topic.topic.clone())));
                continue;
            }
            answers.push(add_partitions(&mut draft, &mut budget, topic));
        }
        mode.decide(draft.records, answers)
    }
}

fn add_partitions(draft: &mut Draft, budget: &mut usize, wanted: &NewPartitions) -> Result<(), TopicError> {
    let name = TopicName::parse(&wanted.topic).ok();
    let unknown = || TopicError::UnknownName(wanted.topic.clone());
    let topic = name.and_then(|name| draft.image.topic(&name)).cloned().ok_or_else(unknown)?;
    let have = topic.partitions.len();
    let more = usize::try_from(wanted.count).ok().and_then(|count| count.checked_sub(have)).filter(|more| *more > 0);
    let Some(more) = more else {
        return Err(TopicError::NotMorePartitions { topic: topic.name.clone(), have, wanted: wanted.count });
    };
    *budget = budget.checked_sub(more).ok_or(TopicError::TooManyPartitions)?;
    let replicas = match &wanted.assignments {
        Some(assigned) => check_assigned(&draft.image, have, more, assigned)?,
        None => placement::spread(&draft.image, more)?,
    };
    for (at, nodes) in replicas.into_iter().enumerate() {
        let index = PartitionIndex((have + at) as i32);
        let record = initial_partition(&draft.image, topic.id, index, nodes);
        draft.push(record);
    }
    Ok(())
}

fn check_assigned(
    image: &Image,
    have: usize,
    more: usize,
    assigned: &[Vec<NodeId>],
) -> Result<Vec<Vec<NodeId>>, TopicError> {
    if assigned.len() != more {
        let message = format!("{more} partitions are added and {} assignments were given", assigned.len());
        return Err(TopicError::Assignment(message));
    }
    for (at, nodes) in assigned.iter().enumerate() {
        check_replicas(image, have + at, nodes)?;
    }
    Ok(assigned.to_vec())
}

/// A new partition, led by its first live replica.
pub(super) fn initial_partition(
    image: &Image,
    topic_id: TopicId,
    partition: PartitionIndex,
    nodes: Vec<NodeId>,
) -> Record {
    let leader = nodes.iter().copied().find(|node| image.broker(*node).is_some_and(|broker| !broker.fenced));
    let image = PartitionImage {
        isr: nodes.clone(),
        replicas: nodes,
        leader,
        leader_epoch: FIRST_EPOCH,
        ..PartitionImage::default()
    };
    Record::Partition { topic_id, partition, image }
}

/// Takes the leadership of everything that `node` leads.
pub(super) fn take_leadership(draft: &mut Draft, node: NodeId) {
    change_leaders(draft, |partition| (partition.leader == Some(node)).then_some(None));
}

/// Makes `node` the leader of everything that waits for it.
pub(super) fn give_leadership(draft: &mut Draft, node: NodeId) {
    change_leaders(draft, |partition| {
        (partition.leader.is_none() && partition.isr.contains(&node)).then_some(Some(node))
    });
}

fn change_leaders(draft: &mut Draft, choose: impl Fn(&PartitionImage) -> Option<Option<NodeId>>) {
    let changes: Vec<Record> = draft.image.topics().flat_map(|topic| leader_changes(topic, &choose)).collect();
    for change in changes {
        draft.push(change);
    }
}

fn leader_changes(topic: &TopicImage, choose: impl Fn(&PartitionImage) -> Option<Option<NodeId>>) -> Vec<Record> {
    let change = |(index, partition): (PartitionIndex, &PartitionImage)| {
        let leader = choose(partition)?;
        let image = PartitionImage {
            leader,
            leader_epoch: LeaderEpoch(partition.leader_epoch.0 + 1),
            partition_epoch: partition.partition_epoch + 1,
            ..partition.clone()
        };
        Some(Record::PartitionChange { topic_id: topic.id, partition: index, image })
    };
    topic.iter().filter_map(change).collect()
}
