//! The table that `uniform` works on: who owns which partition, in numbers instead of names.
//!
//! Members and topics are numbered in the order of the input, so that a tie is always decided alike. The board
//! starts with what each member had and may keep.
//!
//! Invariant: B1 `loads[m]` is how many partitions have the owner `m`. B2 an owner subscribes to the topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twinstream_model::{PartitionIndex, TopicId};

use super::{Assignment, GroupSpec, MemberSpec};
use crate::group::consumer::record::Partitions;
use crate::group::request::MemberId;

/// A member's number.
pub(super) type Seat = usize;

pub(super) struct Board<'a> {
    pub(super) members: Vec<(&'a MemberId, &'a MemberSpec)>,
    pub(super) topics: Vec<Topic>,
    pub(super) loads: Vec<usize>,
}

pub(super) struct Topic {
    pub(super) id: TopicId,
    /// In ascending order.
    pub(super) subscribers: Vec<Seat>,
    /// By partition.
    pub(super) owners: Vec<Option<Seat>>,
}

impl<'a> Board<'a> {
    /// Everybody has what they had, as far as they still want it and it exists.
    pub(super) fn new(spec: &'a GroupSpec) -> Board<'a> {
        let members: Vec<(&MemberId, &MemberSpec)> = spec.members.iter().collect();
        let mut topics: BTreeMap<TopicId, Topic> = BTreeMap::new();
        for (seat, (_, member)) in members.iter().enumerate() {
            for id in member.subscribed.iter() {
                let Some(topic) = spec.topics.get(id) else { continue };
                let entry = topics.entry(*id);
                let topic = entry.or_insert_with(|| Topic::new(*id, topic.partitions));
                topic.subscribers.push(seat);
            }
        }
        let loads = vec![0; members.len()];
        let mut board = Board { members, topics: topics.into_values().collect(), loads };
        board.keep_old_assignments();
        board
    }

    fn keep_old_assignments(&mut self) {
        for (seat, (_, member)) in self.members.iter().enumerate() {
            for (id, partitions) in member.assigned.iter().filter(|(id, _)| member.subscribed.contains(*id)) {
                let Ok(at) = self.topics.binary_search_by_key(id, |topic| topic.id) else { continue };
                let owners = &mut self.topics[at].owners;
                for partition in partitions {
                    let owner = usize::try_from(partition.0).ok().and_then(|index| owners.get_mut(index));
                    // Two old owners of one partition would be a defect elsewhere; it ends here.
                    if let Some(owner @ None) = owner {
                        *owner = Some(seat);
                        self.loads[seat] += 1;
                    }
                }
            }
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.topics.iter().map(|topic| topic.owners.len()).sum()
    }

    /// Moves a partition, or gives it for the first time.
    pub(super) fn give(&mut self, topic: usize, partition: usize, to: Seat) {
        if let Some(from) = self.topics[topic].owners[partition].replace(to) {
            self.loads[from] -= 1;
        }
        self.loads[to] += 1;
    }

    pub(super) fn take(&mut self, topic: usize, partition: usize) {
        if let Some(from) = self.topics[topic].owners[partition].take() {
            self.loads[from] -= 1;
        }
    }

    pub(super) fn into_assignment(self) -> Assignment {
        let mut shares: Vec<Partitions> = vec![Partitions::new(); self.members.len()];
        for topic in &self.topics {
            for (partition, owner) in topic.owners.iter().enumerate() {
                if let Some(seat) = owner {
                    shares[*seat].entry(topic.id).or_default().insert(PartitionIndex(partition as i32));
                }
            }
        }
        let members = self.members.into_iter().zip(shares);
        members.map(|((id, member), share)| (id.clone(), same_or_new(&member.assigned, share))).collect()
    }
}

impl Topic {
    fn new(id: TopicId, partitions: usize) -> Topic {
        Topic { id, subscribers: Vec::new(), owners: vec![None; partitions] }
    }

    pub(super) fn unowned(&self) -> Vec<usize> {
        self.owners.iter().enumerate().filter(|(_, owner)| owner.is_none()).map(|(partition, _)| partition).collect()
    }
}

/// The old assignment itself if nothing changed.
pub(super) fn same_or_new(old: &Arc<Partitions>, new: Partitions) -> Arc<Partitions> {
    if **old == new { old.clone() } else { Arc::new(new) }
}

/// Whether two members want the same.
pub(super) fn is_same_subscription(a: &Arc<BTreeSet<TopicId>>, b: &Arc<BTreeSet<TopicId>>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
