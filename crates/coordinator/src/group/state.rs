//! One classic group: its members, its generation, and the questions one can ask of them.
//!
//! Picture: a room. Members knock (pending), come in (members), agree on a way to share work (protocol) and
//! get their share from one of them (the leader). The functions here keep the room's books; who may come in
//! and when the room starts over is decided in `join`, `sync`, `leave` and `rebalance`.
//!
//! Invariants (`check_invariants`): the leader is a member; each static instance names a member that has it;
//! a pending member is no member yet; `awaiting_joins` counts the parked joins; Empty has no members, and the
//! other states have at least one member or a deadline that will empty them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use twinstream_model::{ErrorCode, GroupId, TopicName};

use super::member::Member;
use super::record::GroupMetadata;
use super::request::{Generation, GroupState, InstanceId, MemberId, Protocol};
use super::subscription::{CONSUMER_PROTOCOL_TYPE, subscribed_topics};
use crate::Token;

/// How the first rebalance of a group waits for more members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InitialDelay {
    pub(crate) delay_ms: u64,
    pub(crate) remaining_ms: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) state: GroupState,
    /// The state before PreparingRebalance tells an initial rebalance from a later one.
    pub(crate) previous: GroupState,
    pub(crate) state_since_ms: Option<i64>,
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) generation: Generation,
    pub(crate) leader: Option<MemberId>,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) static_members: BTreeMap<InstanceId, MemberId>,
    /// Were told their id and have not come back with it yet.
    pub(crate) pending_joins: BTreeSet<MemberId>,
    /// Know the new generation and have not asked for their assignment yet.
    pub(crate) pending_syncs: BTreeSet<MemberId>,
    /// `None`: not a consumer group, or its subscriptions cannot be read.
    pub(crate) subscribed: Option<BTreeSet<Arc<str>>>,
    pub(crate) initial_delay: Option<InitialDelay>,
    pub(crate) new_member_in_initial_delay: bool,
    awaiting_joins: usize,
}

impl Group {
    pub(crate) fn new(id: GroupId) -> Group {
        Group {
            id,
            state: GroupState::Empty,
            previous: GroupState::Dead,
            state_since_ms: None,
            protocol_type: None,
            protocol: None,
            generation: Generation(0),
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            subscribed: None,
            initial_delay: None,
            new_member_in_initial_delay: false,
            awaiting_joins: 0,
        }
    }

    pub(crate) fn transition(&mut self, to: GroupState, wall_ms: i64) {
        use GroupState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        let legal = match to {
            PreparingRebalance => matches!(self.state, Empty | CompletingRebalance | Stable),
            CompletingRebalance | Empty => self.state == PreparingRebalance,
            Stable => self.state == CompletingRebalance,
            GroupState::Dead => false,
        };
        assert!(legal, "group {} cannot go from {} to {to}", self.id, self.state);
        self.previous = self.state;
        self.state = to;
        self.state_since_ms = Some(wall_ms);
    }

    pub(crate) fn is_in(&self, state: GroupState) -> bool {
        self.state == state
    }

    pub(crate) fn is_leader(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// Empty with nobody at the door.
    pub(crate) fn is_deserted(&self) -> bool {
        self.is_in(GroupState::Empty) && self.pending_joins.is_empty()
    }

    pub(crate) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// A consumer group whose subscriptions are unknown counts as subscribed to everything.
    pub(crate) fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic.as_str()),
            None => self.is_consumer_group(),
        }
    }

    pub(crate) fn awaiting_joins(&self) -> usize {
        self.awaiting_joins
    }

    pub(crate) fn has_everyone_joined(&self) -> bool {
        self.members.len() == self.awaiting_joins && self.pending_joins.is_empty()
    }

    /// The slowest member decides.
    pub(crate) fn rebalance_timeout_ms(&self) -> u64 {
        let slowest = self.members.values().map(|m| m.rebalance_timeout_ms).max();
        slowest.unwrap_or(0).max(0) as u64
    }

    /// Whether a member with these protocols could share at least one of them with everybody.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is_in(GroupState::Empty) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.members.values().all(|m| m.supports(&p.name)))
    }

    /// Whether the pair of ids names a member, with Kafka's error if not.
    pub(crate) fn check_member(&self, member: &MemberId, instance: Option<&InstanceId>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if current != member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => (),
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    pub(crate) fn add(&mut self, mut member: Member, protocol_type: &Arc<str>, join: Token) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        if let Some(instance) = &member.instance {
            self.static_members.insert(instance.clone(), member.id.clone());
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.pending_joins.remove(&member.id);
        member.awaiting_join = Some(join);
        self.awaiting_joins += 1;
        self.members.insert(member.id.clone(), member);
    }

    /// Removes a member or a pending one. The caller has answered what was parked.
    pub(crate) fn remove(&mut self, id: &MemberId) {
        if let Some(member) = self.members.remove(id) {
            self.awaiting_joins -= usize::from(member.is_awaiting_join());
            if let Some(instance) = &member.instance {
                self.static_members.remove(instance);
            }
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
    }

    /// Parks a join; a second one of the same member takes the place of the first, which is returned.
    pub(crate) fn park_join(&mut self, id: &MemberId, join: Token) -> Option<Token> {
        let member = self.members.get_mut(id)?;
        let replaced = member.awaiting_join.replace(join);
        self.awaiting_joins += usize::from(replaced.is_none());
        replaced
    }

    pub(crate) fn take_join(&mut self, id: &MemberId) -> Option<Token> {
        let token = self.members.get_mut(id)?.awaiting_join.take();
        self.awaiting_joins -= usize::from(token.is_some());
        token
    }

    /// Gives a static member a new id; everything else stays. The caller has answered what was parked.
    pub(crate) fn replace_static(&mut self, old: &MemberId, new: &MemberId) {
        let Some(mut member) = self.members.remove(old) else { return };
        debug_assert!(!member.is_awaiting_join() && member.awaiting_sync.is_none());
        if let Some(instance) = &member.instance {
            self.static_members.insert(instance.clone(), new.clone());
        }
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        self.pending_syncs.remove(old);
        member.id = new.clone();
        self.members.insert(new.clone(), member);
    }

    /// If the leader did not rejoin, somebody who did becomes leader. `false` if nobody did.
    pub(crate) fn elect_joined_leader(&mut self) -> bool {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(Member::is_awaiting_join) {
            return true;
        }
        let joined = self.members.values().find(|m| m.is_awaiting_join()).map(|m| m.id.clone());
        match joined {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// The protocol that everybody supports and most prefer; a tie goes to what the leader prefers.
    pub(crate) fn select_protocol(&self) -> Option<Arc<str>> {
        let anyone = self.members.values().next()?;
        let candidates: BTreeSet<&str> = anyone
            .protocols
            .iter()
            .map(|p| &*p.name)
            .filter(|name| self.members.values().all(|m| m.supports(name)))
            .collect();
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|m| m.vote(&candidates)) {
            *votes.entry(name).or_default() += 1;
        }
        let most = *votes.values().max()?;
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id)).unwrap_or(anyone);
        let preferred = leader.protocols.iter().map(|p| &p.name).find(|name| votes.get(name) == Some(&most));
        preferred.cloned().or_else(|| votes.iter().find(|(_, n)| **n == most).map(|(name, _)| (*name).clone()))
    }

    /// Starts the next generation with whoever is there.
    pub(crate) fn start_generation(&mut self, wall_ms: i64) {
        self.generation = self.generation.next();
        self.protocol = self.select_protocol();
        self.subscribed = self.compute_subscribed();
        self.pending_syncs.clear();
        self.transition(GroupState::CompletingRebalance, wall_ms);
    }

    pub(crate) fn compute_subscribed(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_consumer_group() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(&member.metadata(Some(self.protocol.as_deref()?)))?);
        }
        Some(topics)
    }

    /// The record of this generation with the given assignments; who has none gets an empty one.
    pub(crate) fn metadata_with(&self, assignment: impl Fn(&Member) -> Bytes) -> GroupMetadata {
        let protocol = self.protocol.as_deref();
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp_ms: self.state_since_ms,
            members: self.members.values().map(|m| m.stored(protocol, assignment(m))).collect(),
        }
    }

    /// The record that empties the group.
    pub(crate) fn metadata_when_empty(&self, wall_ms: i64) -> GroupMetadata {
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation.next(),
            protocol: None,
            leader: None,
            current_state_timestamp_ms: Some(wall_ms),
            members: Vec::new(),
        }
    }

    /// Becomes what a stored generation says; volatile parts of members that stay are kept.
    pub(crate) fn adopt(&mut self, stored: &GroupMetadata) {
        self.protocol_type = stored.protocol_type.clone();
        self.protocol = stored.protocol.clone();
        self.generation = stored.generation;
        self.leader = stored.leader.clone();
        self.state_since_ms = stored.current_state_timestamp_ms;
        self.previous = self.state;
        self.state = if stored.members.is_empty() { GroupState::Empty } else { GroupState::Stable };

        let protocol: Arc<str> = stored.protocol.clone().unwrap_or_else(|| Arc::from(""));
        let mut old = std::mem::take(&mut self.members);
        self.static_members.clear();
        for member in &stored.members {
            let adopted = match old.remove(&member.member) {
                Some(mut known) => {
                    known.adopt(member, &protocol);
                    known
                }
                None => Member::from_stored(member, &protocol),
            };
            if let Some(instance) = &adopted.instance {
                self.static_members.insert(instance.clone(), adopted.id.clone());
            }
            self.members.insert(adopted.id.clone(), adopted);
        }
        self.awaiting_joins = self.members.values().filter(|m| m.is_awaiting_join()).count();
        self.pending_syncs.retain(|id| self.members.contains_key(id));
        self.leader.take_if(|id| !self.members.contains_key(id));
        if self.members.is_empty() {
            self.initial_delay = None;
            self.new_member_in_initial_delay = false;
        }
        self.subscribed = self.compute_subscribed();
    }

    /// Panics if the books do not add up; for tests and simulation.
    pub(crate) fn check_invariants(&self) {
        let id = &self.id;
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "group {id}: leader {leader} is no member");
        }
        for (instance, member) in &self.static_members {
            let known = self.members.get(member).and_then(|m| m.instance.as_ref());
            assert_eq!(known, Some(instance), "group {id}: instance {instance} and member {member} differ");
        }
        for pending in &self.pending_joins {
            assert!(!self.members.contains_key(pending), "group {id}: {pending} is pending and a member");
        }
        for pending in &self.pending_syncs {
            assert!(self.members.contains_key(pending), "group {id}: {pending} must sync but is no member");
        }
        let parked = self.members.values().filter(|m| m.is_awaiting_join()).count();
        assert_eq!(self.awaiting_joins, parked, "group {id}: count of parked joins");
        if self.is_in(GroupState::Empty) {
            assert!(self.members.is_empty(), "group {id}: empty with members");
        }
        if matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) {
            assert!(!self.members.is_empty(), "group {id}: {} without members", self.state);
            assert_eq!(parked, 0, "group {id}: {} with parked joins", self.state);
        }
    }
}
