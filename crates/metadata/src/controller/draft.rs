//! A decision under way.
//!
//! Picture: records so far, on an image that has them. A verb that touches many partitions walks over them once and stops where the
//! batch is full ([`Walk::Full`]); what it did so far is sound by itself, and the same verb, asked again after the replay, goes on
//! from there, because it looks at the image and not at a list of its own.

use twinstream_model::{NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};

use super::{
    Decision, Effects,
    brokers_up::BrokersUp,
    change::{Change, Elected, Election, Settled},
    rules::{Policy, Rules},
};
use crate::{
    image::{Image, PartitionImage},
    record::{Record, encoded_len},
};

pub(super) struct Draft {
    pub(super) image: Image,
    pub(super) records: Vec<Record>,
    pub(super) effects: Effects,
    bytes: usize,
    bytes_max: usize,
}

/// Whether a walk over the partitions came to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    Done,
    /// The batch is full; the rest is for the next one.
    Full,
}

impl Draft {
    pub(super) fn new(image: &Image, bytes_max: usize) -> Self {
        Self { image: image.clone(), records: Vec::new(), effects: Effects::default(), bytes: 0, bytes_max }
    }

    /// Adds a record that the caller has checked against the draft's image.
    pub(super) fn push(&mut self, record: Record) {
        if let Err(error) = self.image.apply(&record) {
            // The caller looked at this very image; that the record does not fit is a bug in the controller.
            panic!("the controller drafted a record that does not fit: {error}");
        }
        self.bytes += encoded_len(&record);
        self.records.push(record);
    }

    /// Whether the batch has no room for another walk.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    pub(super) fn decide<T>(self, answer: T) -> Decision<T> {
        Decision { records: self.records, answer, effects: self.effects }
    }

    /// Adds the change of one partition and notes what it means.
    pub(super) fn push_change(
        &mut self,
        topic_id: TopicId,
        topic: &TopicName,
        index: PartitionIndex,
        settled: Settled,
    ) {
        let Settled { image, elected, leader_before, isr_shrunk } = settled;
        let at = || TopicPartition::new(topic.clone(), index);
        let effects = &mut self.effects;
        match (elected, image.leader) {
            (Some(Elected::Unclean), Some(leader)) => effects.unclean.push((at(), leader)),
            (Some(Elected::LastKnown), Some(leader)) => effects.last_known.push((at(), leader)),
            (None, None) if leader_before.is_some() => effects.offline.push(at()),
            _ => {}
        }
        effects.leaders_changed += usize::from(image.leader != leader_before);
        effects.isr_shrunk += usize::from(isr_shrunk);
        self.push(Record::PartitionChange { topic_id, partition: index, image });
    }

    /// Walks over all partitions. `change` says what happens to one, or `None` to pass it by; what comes of it is settled with the
    /// rules of its topic.
    pub(super) fn walk(
        &mut self,
        policy: &Policy,
        change: impl Fn(&PartitionImage, &dyn Fn() -> Rules) -> Option<Settled>,
    ) -> Walk {
        // A clone costs two pointers, and the partitions before this walk are those to look at.
        let before = self.image.clone();
        for topic in before.topics() {
            let rules = || policy.of(&before, &topic.name);
            for (index, partition) in topic.iter() {
                let Some(settled) = change(partition, &rules) else { continue };
                if self.is_full() {
                    return Walk::Full;
                }
                self.push_change(topic.id, &topic.name, index, settled);
            }
        }
        Walk::Done
    }

    /// Takes nodes out of every ISR, and elects where they led.
    pub(super) fn retire(&mut self, policy: &Policy, brokers: &BrokersUp, nodes: &[NodeId]) -> Walk {
        self.walk(policy, |partition, rules| {
            let concerned = partition.isr.iter().chain(&partition.leader).any(|node| nodes.contains(node));
            concerned.then_some(())?;
            let mut change = Change::of(partition);
            change.leave_isr(nodes);
            change.settle(rules(), Election::IfNeeded, brokers)
        })
    }
}
