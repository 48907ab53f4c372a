//! One consumer group: its members, what each owns and is to own, and how its stored pieces make it up.
//!
//! Picture: a group is a handful of tables, one per kind of record. Nothing here decides; `replay` puts one
//! record into its table, and the questions that decisions ask are answered from them.
//!
//! Invariants (`check_invariants`): a static instance names a member that has it; every partition that a member
//! owns or still has to give back is in `owners` under its name and nobody else's; targets belong to members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twinstream_model::{PartitionIndex, TopicId};

use super::super::request::{InstanceId, MemberId};
use super::record::{
    ConsumerRecord, CurrentValue, Epoch, GroupValue, MemberState, MemberValue, OwnedPartitions, Partitions, RegexValue,
    TargetValue,
};
use super::request::ConsumerGroupState;

#[derive(Clone, Debug)]
pub(crate) struct ConsumerGroup {
    pub(crate) epoch: Epoch,
    pub(crate) metadata_hash: i64,
    pub(crate) target: Target,
    pub(crate) members: BTreeMap<MemberId, Consumer>,
    pub(crate) static_members: BTreeMap<InstanceId, MemberId>,
    pub(crate) regexes: BTreeMap<Arc<str>, RegexValue>,
    owners: BTreeMap<TopicId, BTreeMap<PartitionIndex, MemberId>>,
    pub(crate) seen: Seen,
}

/// What everybody is to own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) epoch: Epoch,
    pub(crate) timestamp_ms: i64,
    pub(crate) members: BTreeMap<MemberId, Arc<Partitions>>,
}

/// What was looked at last; volatile, for it only saves work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The cluster's version that `metadata_hash` was compared with.
    pub(crate) version: Option<u64>,
    /// When the regular expressions were resolved last (monotonic).
    pub(crate) regexes_at_ms: Option<u64>,
    /// The cluster's version that they were resolved against.
    pub(crate) regexes_version: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consumer {
    pub(crate) value: MemberValue,
    pub(crate) current: CurrentValue,
}

impl Consumer {
    /// A member that owns nothing and wants nothing yet.
    pub(crate) fn newcomer() -> Consumer {
        Consumer {
            value: MemberValue {
                instance: None,
                rack: None,
                client_id: "".into(),
                client_host: "".into(),
                topics: BTreeSet::new(),
                regex: None,
                rebalance_timeout_ms: -1,
                assignor: None,
                classic: None,
            },
            current: owns_nothing(Epoch::JOINING),
        }
    }

    pub(crate) fn speaks_classic(&self) -> bool {
        self.value.classic.is_some()
    }

    pub(crate) fn is_reconciled_to(&self, target: Epoch) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == target
    }

    /// When the member got the partition, if it owns it or still has to give it back.
    pub(crate) fn owns_since(&self, topic: TopicId, partition: PartitionIndex) -> Option<Epoch> {
        let find = |partitions: &OwnedPartitions| partitions.get(&topic)?.get(&partition).copied();
        find(&self.current.assigned).or_else(|| find(&self.current.pending_revocation))
    }
}

fn owns_nothing(epoch: Epoch) -> CurrentValue {
    CurrentValue {
        epoch,
        previous_epoch: epoch,
        state: MemberState::Stable,
        assigned: OwnedPartitions::new(),
        pending_revocation: OwnedPartitions::new(),
    }
}

impl Default for ConsumerGroup {
    fn default() -> ConsumerGroup {
        ConsumerGroup {
            epoch: Epoch::UNBORN,
            metadata_hash: 0,
            target: Target::default(),
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            regexes: BTreeMap::new(),
            owners: BTreeMap::new(),
            seen: Seen::default(),
        }
    }
}

impl ConsumerGroup {
    pub(crate) fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.target.epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.target.epoch)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn owner(&self, topic: TopicId, partition: PartitionIndex) -> Option<&MemberId> {
        self.owners.get(&topic)?.get(&partition)
    }

    pub(crate) fn member_of(&self, instance: &InstanceId) -> Option<(&MemberId, &Consumer)> {
        let id = self.static_members.get(instance)?;
        Some((id, self.members.get(id)?))
    }

    /// Whether any member subscribes to the topic, by name or by an expression.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        let by_name = self.members.values().any(|member| member.value.topics.contains(topic));
        by_name || self.regexes.values().any(|regex| regex.topics.contains(topic))
    }

    /// The names that a member wants, by name or by expression.
    pub(crate) fn topics_of<'a>(
        value: &'a MemberValue,
        regexes: &'a BTreeMap<Arc<str>, RegexValue>,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        let resolved = value.regex.as_ref().and_then(|regex| regexes.get(regex));
        value.topics.iter().chain(resolved.into_iter().flat_map(|regex| &regex.topics))
    }

    /// `false` if the record was the last that told of the group.
    pub(crate) fn replay(&mut self, record: &ConsumerRecord) -> bool {
        match record {
            ConsumerRecord::Group { value: Some(GroupValue { epoch, metadata_hash }), .. } => {
                (self.epoch, self.metadata_hash) = (*epoch, *metadata_hash);
            }
            ConsumerRecord::Group { value: None, .. } => return false,
            ConsumerRecord::TopicMetadata { .. } => (), // the hash has taken its place
            ConsumerRecord::Member { member, value: Some(value), .. } => self.replay_member(member, value),
            ConsumerRecord::Member { member, value: None, .. } => self.remove(member),
            ConsumerRecord::Target { value, .. } => {
                let TargetValue { epoch, timestamp_ms } =
                    value.unwrap_or(TargetValue { epoch: Epoch(0), timestamp_ms: 0 });
                (self.target.epoch, self.target.timestamp_ms) = (epoch, timestamp_ms);
            }
            ConsumerRecord::TargetMember { member, value: Some(value), .. } => {
                self.target.members.insert(member.clone(), Arc::new(value.clone()));
            }
            ConsumerRecord::TargetMember { member, value: None, .. } => {
                self.target.members.remove(member);
            }
            ConsumerRecord::Current { member, value: Some(value), .. } => {
                let known = self.members.entry(member.clone()).or_insert_with(Consumer::newcomer);
                let old = std::mem::replace(&mut known.current, value.clone());
                self.disown(member, &old);
                self.own(member, value);
            }
            ConsumerRecord::Current { member, value: None, .. } => {
                if let Some(known) = self.members.get_mut(member) {
                    let old = std::mem::replace(&mut known.current, owns_nothing(Epoch::LEAVING));
                    self.disown(member, &old);
                }
            }
            ConsumerRecord::Regex { regex, value: Some(value), .. } => {
                self.regexes.insert(regex.clone(), value.clone());
            }
            ConsumerRecord::Regex { regex, value: None, .. } => {
                self.regexes.remove(regex);
            }
        }
        true
    }

    fn replay_member(&mut self, id: &MemberId, value: &MemberValue) {
        let known = self.members.entry(id.clone()).or_insert_with(Consumer::newcomer);
        let former = std::mem::replace(&mut known.value, value.clone()).instance;
        if former != value.instance {
            self.forget_instance(former.as_ref(), id);
        }
        if let Some(instance) = &value.instance {
            self.static_members.insert(instance.clone(), id.clone());
        }
    }

    fn remove(&mut self, id: &MemberId) {
        let Some(known) = self.members.remove(id) else { return };
        self.disown(id, &known.current);
        self.forget_instance(known.value.instance.as_ref(), id);
    }

    /// The instance may have gone to another member already.
    fn forget_instance(&mut self, instance: Option<&InstanceId>, id: &MemberId) {
        if let Some(instance) = instance
            && self.static_members.get(instance) == Some(id)
        {
            self.static_members.remove(instance);
        }
    }

    fn own(&mut self, id: &MemberId, current: &CurrentValue) {
        for (topic, partitions) in current.assigned.iter().chain(&current.pending_revocation) {
            let owners = self.owners.entry(*topic).or_default();
            owners.extend(partitions.keys().map(|partition| (*partition, id.clone())));
        }
    }

    /// A compacted log may tell of the next owner before the former one gave back: whoever came last owns.
    fn disown(&mut self, id: &MemberId, current: &CurrentValue) {
        for (topic, partitions) in current.assigned.iter().chain(&current.pending_revocation) {
            let Some(owners) = self.owners.get_mut(topic) else { continue };
            for partition in partitions.keys() {
                if owners.get(partition) == Some(id) {
                    owners.remove(partition);
                }
            }
            if owners.is_empty() {
                self.owners.remove(topic);
            }
        }
    }

    /// Panics if the books do not add up; for tests and simulation.
    pub(crate) fn check_invariants(&self) {
        for (instance, id) in &self.static_members {
            let known = self.members.get(id).and_then(|member| member.value.instance.as_ref());
            assert_eq!(known, Some(instance), "instance {instance} and member {id} differ");
        }
        let mut owned = 0;
        for (id, member) in &self.members {
            for (topic, partitions) in member.current.assigned.iter().chain(&member.current.pending_revocation) {
                assert!(!partitions.is_empty(), "member {id} owns no partition of topic {topic}");
                for partition in partitions.keys() {
                    owned += 1;
                    assert_eq!(self.owner(*topic, *partition), Some(id), "owner of {topic}-{partition}");
                }
            }
            assert!(member.current.epoch <= self.epoch, "member {id} is ahead of its group");
        }
        assert_eq!(owned, self.owners.values().map(BTreeMap::len).sum::<usize>(), "partitions without an owner");
        for id in self.target.members.keys() {
            assert!(self.members.contains_key(id), "target of {id}, who is no member");
        }
        assert!(self.target.epoch <= self.epoch, "the target is ahead of its group");
    }
}
