//! The doors of the group shard to consumer groups: requests, deadlines, replay, loading.
//!
//! A group id is that of a classic group or of a consumer group, never of both. An empty classic group, and one that
//! only holds offsets, makes way for a consumer group of the same name.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinstream_model::{ErrorCode, GroupId};

use super::super::request::{Answer, GroupState, MemberId};
use super::super::topics::Topics;
use super::super::{Decision, Event, GroupShard, Record, Then, Timer};
use super::heartbeat::{Outcome, beat, check_request};
use super::leave::{delete, farewell, leaving_member, remove, step_out};
use super::record::{ConsumerRecord, Epoch, MemberState};
use super::request::{ConsumerGroupState, ConsumerHeartbeat, ConsumerHeartbeatAnswer, Refusal};
use super::state::{Consumer, ConsumerGroup, Seen};
use super::{describe, migrate};
use crate::{Now, Token};

/// What a heartbeat of a member saw of the cluster.
pub struct Look {
    pub(super) group: GroupId,
    pub(super) member: MemberId,
    pub(super) seen: Seen,
}

impl GroupShard {
    pub(crate) fn consumer_heartbeat(
        &mut self,
        now: Now,
        token: Token,
        mut heartbeat: Box<ConsumerHeartbeat>,
    ) -> Decision {
        heartbeat.cluster = self.newest_view(heartbeat.cluster.clone());
        let heartbeat = &*heartbeat;
        let decided = check_request(heartbeat, &self.config.consumer).and_then(|()| match heartbeat.epoch {
            Epoch::LEAVING | Epoch::AWAY => self.consumer_leave(now, heartbeat),
            _ => self.consumer_beat(now, heartbeat),
        });
        let (mut decision, answer) = decided.unwrap_or_else(|Refusal { error, message, event }| {
            let decision = Decision { events: event.into_iter().collect(), ..Decision::default() };
            (decision, ConsumerHeartbeatAnswer::failed(error, Some(message)))
        });
        decision.answers.push((token, Answer::ConsumerHeartbeat(answer)));
        decision
    }

    /// Requests overtake each other on their way here: one with an older view must not undo what a newer one brought.
    pub(super) fn newest_view(&mut self, told: Arc<dyn Topics>) -> Arc<dyn Topics> {
        let known = self.cluster.take().filter(|known| known.version() > told.version());
        let newest = known.unwrap_or(told);
        self.cluster = Some(newest.clone());
        newest
    }

    fn consumer_beat(
        &mut self,
        now: Now,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<(Decision, ConsumerHeartbeatAnswer), Refusal> {
        let mut decision = Decision::default();
        let founded;
        let group = match self.consumers.get(&heartbeat.group) {
            Some(group) => group,
            None => {
                founded = self.found_consumer_group(heartbeat, &mut decision)?;
                &founded
            }
        };
        let outcome = beat(now, &self.config.consumer, group, heartbeat)?;
        if decision.then.is_some() {
            self.send_away_classics(&heartbeat.group, &mut decision);
        }
        Ok(self.conclude_beat(now, heartbeat, decision, outcome))
    }

    fn conclude_beat(
        &mut self,
        now: Now,
        heartbeat: &ConsumerHeartbeat,
        mut decision: Decision,
        outcome: Outcome,
    ) -> (Decision, ConsumerHeartbeatAnswer) {
        let id = &heartbeat.group;
        decision.records.extend(outcome.records.into_iter().map(Record::Consumer));
        decision.events.extend(outcome.events);
        let session_timeout_ms = heartbeat.overrides.session_timeout_ms;
        let session_timeout_ms = session_timeout_ms.unwrap_or(self.config.consumer.session_timeout_ms);
        self.arm(now, Timer::Session(id.clone(), outcome.member.clone()), session_timeout_ms);
        let overdue = Timer::Rebalance(id.clone(), outcome.member.clone());
        match outcome.rebalance_timeout_ms {
            Some(Some(timeout_ms)) => self.arm(now, overdue, timeout_ms),
            Some(None) => self.deadlines.cancel(&overdue),
            None => (),
        }
        self.remember(Look { group: id.clone(), member: outcome.member, seen: outcome.seen }, &mut decision);
        (decision, outcome.answer)
    }

    /// Has a look at the cluster believed when the records that it led to are stored. Earlier would be too early: the next
    /// heartbeat would find nothing new, and if the append fails the group would never hear of new partitions.
    pub(super) fn remember(&mut self, look: Look, decision: &mut Decision) {
        if decision.records.is_empty() {
            self.believe(look);
        } else if decision.then.is_none() {
            decision.then = Some(Then::Believe(look));
        }
    }

    pub(crate) fn believe(&mut self, look: Look) {
        if let Some(group) = self.consumers.get_mut(&look.group) {
            group.seen = look.seen;
        }
    }

    /// A member's step was not stored: what it was to do before, it still has to do in time.
    pub(crate) fn resume_after(&mut self, now: Now, look: &Look) {
        let known = self.consumers.get(&look.group).and_then(|group| group.members.get(&look.member)).cloned();
        if let Some(known) = known {
            self.resume_consumer(now, &look.group, &look.member, &known);
        }
    }

    pub(super) fn arm(&mut self, now: Now, timer: Timer, after_ms: i32) {
        self.deadlines.set(timer, now.monotonic_ms.saturating_add(after_ms.max(0) as u64));
    }

    /// The group that a first member finds. A classic group that has members may become it.
    fn found_consumer_group(
        &self,
        heartbeat: &ConsumerHeartbeat,
        decision: &mut Decision,
    ) -> Result<ConsumerGroup, Refusal> {
        let id = &heartbeat.group;
        if heartbeat.epoch != Epoch::JOINING {
            return Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Consumer group {id} not found.")));
        }
        let Some(classic) = self.groups.get(id) else { return Ok(ConsumerGroup::default()) };
        if classic.is_in(GroupState::Empty) {
            decision.records.push(Record::GroupMetadata { group: id.clone(), value: None });
            return Ok(ConsumerGroup::default());
        }
        let (records, group) = migrate::upgrade(classic, heartbeat, &self.config.consumer)?;
        decision.records.extend(records);
        decision.then = Some(Then::Upgrade(id.clone()));
        Ok(group)
    }

    fn consumer_leave(
        &mut self,
        now: Now,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<(Decision, ConsumerHeartbeatAnswer), Refusal> {
        let id = &heartbeat.group;
        let not_found = || Refusal::new(ErrorCode::GroupIdNotFound, format!("Consumer group {id} not found."));
        let group = self.consumers.get(id).ok_or_else(not_found)?;
        let member = leaving_member(group, heartbeat)?;
        if heartbeat.epoch == Epoch::AWAY {
            let records = step_out(id, group, &member).into_iter().map(Record::Consumer).collect();
            self.deadlines.cancel(&Timer::Rebalance(id.clone(), member));
            return Ok((Decision { records, ..Decision::default() }, farewell(heartbeat)));
        }
        let mut decision = self.remove_consumers(now, id, std::slice::from_ref(&member), Some(heartbeat));
        let reason = "the client asked to leave".to_owned();
        decision.events.push(Event::MemberLeft { group: id.clone(), member, reason });
        Ok((decision, farewell(heartbeat)))
    }

    /// Removes members. If only classic ones stay, the group may become a classic group again.
    pub(super) fn remove_consumers(
        &mut self,
        now: Now,
        id: &GroupId,
        members: &[MemberId],
        heartbeat: Option<&ConsumerHeartbeat>,
    ) -> Decision {
        let may_downgrade =
            self.consumers.get(id).is_some_and(|group| migrate::may_downgrade_without(group, members, &self.config));
        if may_downgrade && let Some(decision) = self.downgrade_without(now, id, members) {
            return decision;
        }
        let Some(group) = self.consumers.get_mut(id) else { return Decision::default() };
        let cluster = heartbeat.map(|heartbeat| &*heartbeat.cluster);
        let records = remove(id, group, members, cluster).into_iter().map(Record::Consumer).collect();
        if cluster.is_none() {
            group.seen.version = None;
        }
        let then = Some(Then::RemoveConsumers(id.clone(), members.to_vec()));
        Decision { records, then, ..Decision::default() }
    }

    /// The records that remove members were not stored: they are still in, and their time must be up again some day.
    pub(crate) fn keep_consumers(
        &mut self,
        now: Now,
        id: &GroupId,
        members: &[MemberId],
        error: ErrorCode,
    ) -> Decision {
        for member in members {
            if let Some(known) = self.consumers.get(id).and_then(|group| group.members.get(member)).cloned() {
                self.resume_consumer(now, id, member, &known);
            }
        }
        let event = Event::NotStored { group: id.clone(), what: "the removal of members", error };
        Decision { events: vec![event], ..Decision::default() }
    }

    pub(crate) fn consumer_is_silent(&mut self, now: Now, id: &GroupId, member: &MemberId) -> Decision {
        self.fail_consumer(now, id, member, "session timed out")
    }

    /// The member may have gone on meanwhile: then its deadline was of another step.
    pub(crate) fn consumer_is_overdue(&mut self, now: Now, id: &GroupId, member: &MemberId) -> Decision {
        let known = self.consumers.get(id).and_then(|group| group.members.get(member));
        if known.is_none_or(|known| known.current.state != MemberState::UnrevokedPartitions) {
            return Decision::default();
        }
        self.fail_consumer(now, id, member, "did not give partitions back within its rebalance timeout")
    }

    pub(crate) fn fail_consumer(
        &mut self,
        now: Now,
        id: &GroupId,
        member: &MemberId,
        reason: &'static str,
    ) -> Decision {
        let Some(group) = self.consumers.get(id) else { return Decision::default() };
        if !group.members.contains_key(member) {
            return Decision::default();
        }
        let mut decision = self.remove_consumers(now, id, std::slice::from_ref(member), None);
        decision.events.push(Event::MemberFailed { group: id.clone(), member: member.clone(), reason });
        decision
    }

    pub(crate) fn consumer_describe(&self, token: Token, id: &GroupId) -> Decision {
        let group = self.consumers.get(id);
        let description = group.map(|group| describe::describe(group, &self.config.consumer));
        Decision::answer(token, Answer::ConsumerDescribe(description.ok_or(ErrorCode::GroupIdNotFound)))
    }

    /// The records that delete a consumer group, without its offsets; `None` if it still has members.
    pub(crate) fn delete_consumer_group(id: &GroupId, group: &ConsumerGroup) -> Option<Vec<Record>> {
        group.is_empty().then(|| delete(id, group).into_iter().map(Record::Consumer).collect())
    }

    pub(crate) fn replay_consumer(&mut self, record: &ConsumerRecord) {
        let id = record.group();
        if !self.consumers.contains_key(id) {
            if record.is_tombstone() {
                return;
            }
            self.forget_classic(id);
        }
        let group = self.consumers.entry(id.clone()).or_default();
        let is_alive = group.replay(record);
        if let ConsumerRecord::Member { member, value: None, .. } = record {
            self.forget_timers(id, member);
        }
        if !is_alive {
            self.forget_consumer_group(id);
        }
    }

    /// What was committed for the group stays, as that of a simple group.
    pub(crate) fn forget_consumer_group(&mut self, id: &GroupId) {
        let Some(group) = self.consumers.remove(id) else { return };
        for member in group.members.keys() {
            self.forget_timers(id, member);
        }
        if !self.offsets.partitions_of_group(id).is_empty() {
            self.ensure_group(id);
        }
    }

    fn forget_timers(&mut self, id: &GroupId, member: &MemberId) {
        let names = || (id.clone(), member.clone());
        let of = |timer: fn(GroupId, MemberId) -> Timer| timer(names().0, names().1);
        for timer in [of(Timer::Session), of(Timer::Rebalance), of(Timer::MemberJoin), of(Timer::MemberSync)] {
            self.deadlines.cancel(&timer);
        }
    }

    /// A group without members that a consumer group takes the place of.
    fn forget_classic(&mut self, id: &GroupId) {
        let Some(classic) = self.groups.remove(id) else { return };
        for member in classic.members.keys().chain(&classic.pending_joins) {
            self.deadlines.cancel(&Timer::Session(id.clone(), member.clone()));
        }
        self.deadlines.cancel(&Timer::JoinPhase(id.clone()));
        self.deadlines.cancel(&Timer::SyncPhase(id.clone()));
    }

    /// After loading: members have a full session to be heard of, and their full time to give partitions back. What has
    /// a deadline keeps it.
    pub(crate) fn resume_consumers(&mut self, now: Now) {
        let groups: Vec<GroupId> = self.consumers.keys().cloned().collect();
        groups.iter().for_each(|id| self.resume_group(now, id));
    }

    pub(super) fn resume_group(&mut self, now: Now, id: &GroupId) {
        let members = self.consumers.get(id).map(|group| group.members.clone()).unwrap_or_default();
        members.iter().for_each(|(member, known)| self.resume_consumer(now, id, member, known));
    }

    fn resume_consumer(&mut self, now: Now, id: &GroupId, member: &MemberId, known: &Consumer) {
        let (session, rebalance) =
            (Timer::Session(id.clone(), member.clone()), Timer::Rebalance(id.clone(), member.clone()));
        let classic = known.value.classic.as_ref().map(|classic| classic.session_timeout_ms);
        let timeout_ms = classic.unwrap_or(self.config.consumer.session_timeout_ms);
        if self.deadlines.get(&session).is_none() {
            self.arm(now, session, timeout_ms);
        }
        let is_here = known.current.epoch != Epoch::AWAY && !known.speaks_classic();
        let must_revoke = is_here && known.current.state == MemberState::UnrevokedPartitions;
        if must_revoke && self.deadlines.get(&rebalance).is_none() {
            self.arm(now, rebalance, known.value.rebalance_timeout_ms);
        }
    }

    /// How many consumer groups the shard knows, by state; for metrics.
    pub fn count_consumer_groups(&self) -> BTreeMap<ConsumerGroupState, usize> {
        let mut counts = BTreeMap::new();
        for group in self.consumers.values() {
            *counts.entry(group.state()).or_default() += 1;
        }
        counts
    }

    /// U3, and the books of each group.
    pub(crate) fn check_consumers(&self) {
        for (id, group) in &self.consumers {
            assert!(!self.groups.contains_key(id), "group {id} is of both protocols");
            group.check_invariants();
            for member in group.members.keys() {
                let session = Timer::Session(id.clone(), member.clone());
                assert!(self.deadlines.get(&session).is_some(), "group {id}: {member} has no session");
            }
        }
    }
}
