//! The offsets of all groups: those that count, and those that a transaction has committed and no marker has decided on.
//!
//! Picture: a ledger with one line per group and partition, and a tray per producer. What a transaction commits lies in
//! its producer's tray until the marker comes: then it moves to the ledger, or into the bin (KIP-98, KIP-447).
//!
//! Invariants (`check_invariants`): O1 `waiting` names, per partition, exactly the producers whose trays have an offset
//! for it. O2 a line of the ledger is never replaced by one whose record stands earlier in the log. Compaction keeps the
//! later record, so a shard that loads a compacted log comes to the same state.
//!
//! Not here: who may commit (`offsets`, `transactions`), which groups there are (the shard; offsets do not care of what
//! protocol their group is).

use std::collections::{BTreeMap, BTreeSet};

use twinstream_model::{GroupId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicName};

use super::record::{CommittedOffset, OffsetKey};
use crate::transaction::Producer;

/// An offset and where its record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) value: CommittedOffset,
    pub(crate) record: Offset,
}

/// The tray of a producer; it is there from the first commit of a transaction until its marker, even when everything
/// in it was deleted meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tray {
    epoch: ProducerEpoch,
    offsets: BTreeMap<OffsetKey, Kept>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetBook {
    ledger: PerPartition<Kept>,
    trays: BTreeMap<ProducerId, Tray>,
    waiting: PerPartition<BTreeSet<ProducerId>>,
}

impl OffsetBook {
    pub(crate) fn get(
        &self,
        group: &GroupId,
        topic: &TopicName,
        partition: PartitionIndex,
    ) -> Option<&CommittedOffset> {
        self.ledger.get(group, topic, partition).map(|kept| &kept.value)
    }

    /// Where the record of an offset that counts stands.
    pub(crate) fn record_of(&self, group: &GroupId, topic: &TopicName, partition: PartitionIndex) -> Option<Offset> {
        self.ledger.get(group, topic, partition).map(|kept| kept.record)
    }

    /// What a group has committed, in order.
    pub(crate) fn of_group(
        &self,
        group: &GroupId,
    ) -> impl Iterator<Item = (&TopicName, PartitionIndex, &CommittedOffset)> {
        self.ledger.of_group(group).map(|(topic, partition, kept)| (topic, partition, &kept.value))
    }

    /// Whether a transaction has committed an offset of this partition that is not decided yet.
    pub(crate) fn is_pending(&self, group: &GroupId, topic: &TopicName, partition: PartitionIndex) -> bool {
        self.waiting.get(group, topic, partition).is_some()
    }

    pub(crate) fn has_pending(&self, group: &GroupId) -> bool {
        self.waiting.of_group(group).next().is_some()
    }

    /// The partitions that a group has an offset for, committed or pending, each once.
    pub(crate) fn partitions_of_group(&self, group: &GroupId) -> BTreeSet<(&TopicName, PartitionIndex)> {
        let committed = self.ledger.of_group(group).map(|(topic, partition, _)| (topic, partition));
        let pending = self.waiting.of_group(group).map(|(topic, partition, _)| (topic, partition));
        committed.chain(pending).collect()
    }

    /// The partitions of a topic that any group has an offset for, committed or pending, each once.
    pub(crate) fn keys_of_topic(&self, topic: &TopicName) -> BTreeSet<OffsetKey> {
        self.ledger.keys_of_topic(topic).chain(self.waiting.keys_of_topic(topic)).collect()
    }

    /// How many offsets count, over all groups.
    pub(crate) fn len(&self) -> usize {
        self.ledger.len()
    }

    /// The epoch in which a producer has a transaction open here.
    pub(crate) fn open_epoch(&self, producer: ProducerId) -> Option<ProducerEpoch> {
        self.trays.get(&producer).map(|tray| tray.epoch)
    }

    /// The groups that a producer's transaction has pending offsets of.
    pub(crate) fn groups_of(&self, producer: ProducerId) -> BTreeSet<&GroupId> {
        self.trays.get(&producer).into_iter().flat_map(|tray| tray.offsets.keys().map(|key| &key.group)).collect()
    }

    pub(crate) fn replay_commit(&mut self, record: Offset, key: &OffsetKey, value: &CommittedOffset) {
        self.ledger.insert(key, Kept { value: value.clone(), record });
    }

    pub(crate) fn replay_pending(
        &mut self,
        record: Offset,
        producer: Producer,
        key: &OffsetKey,
        value: &CommittedOffset,
    ) {
        let tray = self.trays.entry(producer.id).or_insert(Tray { epoch: producer.epoch, offsets: BTreeMap::new() });
        tray.epoch = producer.epoch;
        tray.offsets.insert(key.clone(), Kept { value: value.clone(), record });
        self.waiting.get_or_default(key).insert(producer.id);
    }

    /// An offset is gone, and with it what transactions have committed for the same partition so far.
    pub(crate) fn replay_tombstone(&mut self, key: &OffsetKey) {
        self.ledger.remove(key);
        for producer in self.waiting.remove(key).unwrap_or_default() {
            if let Some(tray) = self.trays.get_mut(&producer) {
                tray.offsets.remove(key);
            }
        }
    }

    /// A producer's transaction has ended. Returns the groups whose offsets count now.
    pub(crate) fn replay_end(&mut self, producer: ProducerId, commit: bool) -> BTreeSet<GroupId> {
        let mut groups = BTreeSet::new();
        let Some(tray) = self.trays.remove(&producer) else { return groups };
        for (key, kept) in tray.offsets {
            self.waits_no_more(&key, producer);
            let newest = self.ledger.get(&key.group, &key.topic, key.partition);
            if commit && newest.is_none_or(|newest| newest.record < kept.record) {
                self.ledger.insert(&key, kept);
                groups.insert(key.group);
            }
        }
        groups
    }

    fn waits_no_more(&mut self, key: &OffsetKey, producer: ProducerId) {
        let producers = self.waiting.get_or_default(key);
        producers.remove(&producer);
        if producers.is_empty() {
            self.waiting.remove(key);
        }
    }

    /// Panics if the trays and their index do not agree; for tests and simulation.
    pub(crate) fn check_invariants(&self) {
        let mut expected: PerPartition<BTreeSet<ProducerId>> = PerPartition::default();
        for (producer, tray) in &self.trays {
            for key in tray.offsets.keys() {
                expected.get_or_default(key).insert(*producer);
            }
        }
        assert_eq!(self.waiting, expected, "index of pending offsets");
    }
}

/// A value per group, topic and partition; no level holds an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PerPartition<T>(BTreeMap<GroupId, BTreeMap<TopicName, BTreeMap<PartitionIndex, T>>>);

impl<T> Default for PerPartition<T> {
    fn default() -> Self {
        PerPartition(BTreeMap::new())
    }
}

impl<T> PerPartition<T> {
    fn get(&self, group: &GroupId, topic: &TopicName, partition: PartitionIndex) -> Option<&T> {
        self.0.get(group)?.get(topic)?.get(&partition)
    }

    fn of_group(&self, group: &GroupId) -> impl Iterator<Item = (&TopicName, PartitionIndex, &T)> {
        let topics = self.0.get(group).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| partitions.iter().map(move |(p, value)| (topic, *p, value)))
    }

    fn keys_of_topic(&self, topic: &TopicName) -> impl Iterator<Item = OffsetKey> {
        self.0.iter().flat_map(move |(group, topics)| {
            let partitions = topics.get_key_value(topic).into_iter();
            partitions.flat_map(move |(topic, partitions)| {
                let key = |p: &PartitionIndex| OffsetKey { group: group.clone(), topic: topic.clone(), partition: *p };
                partitions.keys().map(key)
            })
        })
    }

    fn len(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }

    fn insert(&mut self, key: &OffsetKey, value: T) {
        let topics = self.0.entry(key.group.clone()).or_default();
        topics.entry(key.topic.clone()).or_default().insert(key.partition, value);
    }

    fn get_or_default(&mut self, key: &OffsetKey) -> &mut T
    where
        T: Default,
    {
        let topics = self.0.entry(key.group.clone()).or_default();
        topics.entry(key.topic.clone()).or_default().entry(key.partition).or_default()
    }

    fn remove(&mut self, key: &OffsetKey) -> Option<T> {
        let topics = self.0.get_mut(&key.group)?;
        let partitions = topics.get_mut(&key.topic)?;
        let removed = partitions.remove(&key.partition);
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.0.remove(&key.group);
        }
        removed
    }
}
