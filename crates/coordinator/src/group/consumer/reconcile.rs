//! One step of a member from what it owns to what it is to own.
//!
//! ```text
//!            target moved, something must go
//! Stable ──────────────────────────────────▶ UnrevokedPartitions
//!   ▲  │                                           │ the member no longer owns it
//!   │  │ target moved, something is taken          ▼
//!   │  └─────────────────────────────────▶ UnreleasedPartitions ◀──┐ more has become free
//!   └────────────────── nothing is taken ──────────┘───────────────┘
//! ```
//!
//! Invariant: a member is given a partition only when nobody else owns it, and counts as its owner until it has
//! said that it does not own it any more.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_model::{PartitionIndex, TopicId};

use super::record::{CurrentValue, Epoch, MemberState, OwnedPartitions, Partitions};

/// What a step depends on.
pub(super) struct Step<'a> {
    pub(super) current: &'a CurrentValue,
    pub(super) target_epoch: Epoch,
    pub(super) target: &'a Partitions,
    /// The member's topics that exist.
    pub(super) subscribed: &'a BTreeSet<TopicId>,
    /// The subscription changed: what it no longer covers goes at once, whatever the target says.
    pub(super) has_new_subscription: bool,
    /// What the member says that it owns; `None` if it says nothing.
    pub(super) owned: Option<&'a Partitions>,
    /// Whether somebody else owns the partition.
    pub(super) is_taken: &'a dyn Fn(TopicId, PartitionIndex) -> bool,
}

/// The member's state is one of a newer release: it must come back with nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownState;

impl Step<'_> {
    /// The member after this step; equal to the member before if it cannot go on.
    pub(super) fn take(&self) -> Result<CurrentValue, UnknownState> {
        let current = self.current;
        Ok(match current.state {
            MemberState::Stable if current.epoch != self.target_epoch => self.move_on(current.epoch),
            MemberState::Stable if self.has_new_subscription => self.drop_unsubscribed(),
            MemberState::Stable => current.clone(),
            MemberState::UnrevokedPartitions if self.owns_any(&current.pending_revocation) => {
                if self.has_new_subscription { self.drop_unsubscribed() } else { current.clone() }
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => self.move_on(current.epoch),
            MemberState::Unknown if self.owned.is_some_and(BTreeMap::is_empty) => self.move_on(self.target_epoch),
            MemberState::Unknown => return Err(UnknownState),
        })
    }

    /// Who says nothing may still own everything.
    fn owns_any(&self, partitions: &OwnedPartitions) -> bool {
        let Some(owned) = self.owned else { return true };
        owned.iter().any(|(topic, owned)| {
            partitions.get(topic).is_some_and(|pending| owned.iter().any(|p| pending.contains_key(p)))
        })
    }

    /// Takes away what the subscription no longer covers, without a new target.
    fn drop_unsubscribed(&self) -> CurrentValue {
        let mut next = self.current.clone();
        let (kept, dropped): (OwnedPartitions, OwnedPartitions) =
            next.assigned.into_iter().partition(|(topic, _)| self.subscribed.contains(topic));
        if dropped.is_empty() {
            return self.current.clone();
        }
        next.assigned = kept;
        next.previous_epoch = next.epoch;
        let mut pending = next.pending_revocation.clone();
        for (topic, partitions) in dropped {
            pending.entry(topic).or_default().extend(partitions);
        }
        if self.owns_any(&pending) {
            next.state = MemberState::UnrevokedPartitions;
            next.pending_revocation = pending;
        }
        next
    }

    fn move_on(&self, epoch: Epoch) -> CurrentValue {
        let mut kept = OwnedPartitions::new();
        let mut to_revoke = OwnedPartitions::new();
        for (topic, partitions) in &self.current.assigned {
            for (partition, since) in partitions {
                let place = if self.is_target(*topic, *partition) { &mut kept } else { &mut to_revoke };
                place.entry(*topic).or_default().insert(*partition, *since);
            }
        }
        let previous_epoch = self.current.epoch;
        if !to_revoke.is_empty() && self.owns_any(&to_revoke) {
            let state = MemberState::UnrevokedPartitions;
            return CurrentValue { epoch, previous_epoch, state, assigned: kept, pending_revocation: to_revoke };
        }
        let is_complete = self.add_what_is_free(&mut kept);
        CurrentValue {
            epoch: self.target_epoch,
            previous_epoch,
            state: if is_complete { MemberState::Stable } else { MemberState::UnreleasedPartitions },
            assigned: kept,
            pending_revocation: OwnedPartitions::new(),
        }
    }

    fn is_target(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.subscribed.contains(&topic) && self.target.get(&topic).is_some_and(|t| t.contains(&partition))
    }

    /// Gives the member what it lacks, `false` if somebody still owns some of it.
    fn add_what_is_free(&self, assigned: &mut OwnedPartitions) -> bool {
        let mut is_complete = true;
        for (topic, partitions) in self.target.iter().filter(|(topic, _)| self.subscribed.contains(topic)) {
            for partition in partitions {
                if assigned.get(topic).is_some_and(|have| have.contains_key(partition)) {
                    continue;
                }
                if (self.is_taken)(*topic, *partition) {
                    is_complete = false;
                } else {
                    assigned.entry(*topic).or_default().insert(*partition, self.target_epoch);
                }
            }
        }
        is_complete
    }
}

/// The same without epochs.
pub(crate) fn without_epochs(owned: &OwnedPartitions) -> Partitions {
    owned.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}
