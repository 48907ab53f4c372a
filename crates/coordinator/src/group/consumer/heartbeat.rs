//! ConsumerGroupHeartbeat: one look at one member, with everything that follows from it.
//!
//! A [`Beat`] works on what is stored and collects records; nothing is changed here. Its steps are in the order in
//! which Kafka takes them: who is it, what does it want, does that change the group, is a new target due, what may
//! the member do next.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use twinstream_model::{ErrorCode, GroupId, TopicId};

use super::super::Event;
use super::super::request::{InstanceId, MemberId};
use super::config::ConsumerGroupConfig;
use super::reconcile::{Step, without_epochs};
use super::record::{ClassicMember, ConsumerRecord, Epoch, MemberState, OwnedPartitions, Partitions, RegexValue};
use super::request::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, Refusal};
use super::state::{Consumer, ConsumerGroup, Seen};
use crate::Now;

/// What a heartbeat leads to.
pub(super) struct Outcome {
    pub(super) records: Vec<ConsumerRecord>,
    pub(super) events: Vec<Event>,
    pub(super) seen: Seen,
    pub(super) member: MemberId,
    /// The member's rebalance timeout starts (`Some(Some(ms))`), ends (`Some(None)`), or goes on.
    pub(super) rebalance_timeout_ms: Option<Option<i32>>,
    pub(super) answer: ConsumerHeartbeatAnswer,
}

/// One heartbeat, half decided.
pub(super) struct Beat<'a> {
    pub(super) now: Now,
    pub(super) config: &'a ConsumerGroupConfig,
    pub(super) group: &'a ConsumerGroup,
    pub(super) heartbeat: &'a ConsumerHeartbeat,
    pub(super) id: MemberId,
    /// The static member whose place this one takes.
    pub(super) replaced: Option<MemberId>,
    /// What it brought with its JoinGroup, if it speaks the classic protocol.
    pub(super) classic: Option<ClassicMember>,
    pub(super) before: Consumer,
    pub(super) after: Consumer,
    pub(super) regexes: Cow<'a, BTreeMap<Arc<str>, RegexValue>>,
    pub(super) records: Vec<ConsumerRecord>,
    pub(super) events: Vec<Event>,
    pub(super) seen: Seen,
}

/// Refuses what no group could take.
pub(super) fn check_request(heartbeat: &ConsumerHeartbeat, config: &ConsumerGroupConfig) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    if heartbeat.group.as_str().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if heartbeat.instance.as_ref().is_some_and(|instance| instance.as_str().is_empty()) {
        return invalid("InstanceId can't be empty.");
    }
    if heartbeat.rack.as_ref().is_some_and(|rack| rack.is_empty()) {
        return invalid("RackId can't be empty.");
    }
    let must_have_id = heartbeat.requires_member_id || heartbeat.epoch != Epoch::JOINING;
    if must_have_id && heartbeat.member.is_unknown() {
        return invalid("MemberId can't be empty.");
    }
    match heartbeat.epoch {
        Epoch::JOINING => {
            if heartbeat.rebalance_timeout_ms.is_none() {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if !heartbeat.owned.as_ref().is_some_and(BTreeMap::is_empty) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if heartbeat.topics.is_none() && heartbeat.regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        Epoch::AWAY if heartbeat.instance.is_none() => return invalid("InstanceId can't be null."),
        Epoch::AWAY | Epoch::LEAVING => (),
        epoch if epoch < Epoch::JOINING => return invalid("MemberEpoch is invalid."),
        _ => (),
    }
    if let Some(assignor) = &heartbeat.assignor
        && !config.assignors.contains(assignor)
    {
        let supported = config.assignors.join(", ");
        let message = format!("ServerAssignor {assignor} is not supported. Supported assignors: {supported}.");
        return Err(Refusal::new(ErrorCode::UnsupportedAssignor, message));
    }
    Ok(())
}

/// Decides a heartbeat of a member that stays or joins.
pub(super) fn beat(
    now: Now,
    config: &ConsumerGroupConfig,
    group: &ConsumerGroup,
    heartbeat: &ConsumerHeartbeat,
) -> Result<Outcome, Refusal> {
    Beat::start(now, config, group, heartbeat)?.take_steps()
}

impl<'a> Beat<'a> {
    fn start(
        now: Now,
        config: &'a ConsumerGroupConfig,
        group: &'a ConsumerGroup,
        heartbeat: &'a ConsumerHeartbeat,
    ) -> Result<Beat<'a>, Refusal> {
        let id = match heartbeat.member.is_unknown() {
            true => MemberId::from(TopicId(heartbeat.fresh_id).to_string()), // Kafka's form of an id
            false => heartbeat.member.clone(),
        };
        if group.members.len() >= config.members_max && !group.members.contains_key(&id) {
            let max = config.members_max;
            let message = format!("The consumer group has reached its maximum capacity of {max} members.");
            return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message));
        }
        let (before, replaced) = match &heartbeat.instance {
            Some(instance) => find_static(group, heartbeat, &id, instance)?,
            None => (find_dynamic(group, heartbeat, &id)?, None),
        };
        Ok(Beat::new(now, config, group, heartbeat, (id, replaced), before))
    }

    /// For a member that was found: its id, that of the member whose place it takes, and what it is until now.
    pub(super) fn new(
        now: Now,
        config: &'a ConsumerGroupConfig,
        group: &'a ConsumerGroup,
        heartbeat: &'a ConsumerHeartbeat,
        (id, replaced): (MemberId, Option<MemberId>),
        before: Consumer,
    ) -> Beat<'a> {
        Beat {
            now,
            config,
            group,
            heartbeat,
            id,
            replaced,
            classic: None,
            after: before.clone(),
            before,
            regexes: Cow::Borrowed(&group.regexes),
            records: Vec::new(),
            events: Vec::new(),
            seen: group.seen,
        }
    }

    pub(super) fn take_steps(mut self) -> Result<Outcome, Refusal> {
        self.update_member();
        let has_new_names = self.after.value.topics != self.before.value.topics;
        let has_new_regex = self.update_regexes()?;
        let epoch = self.update_epoch(has_new_names || has_new_regex);
        let (target_epoch, target) = self.update_target(epoch);
        let rebalance_timeout_ms = self.reconcile(target_epoch, &target, has_new_names || has_new_regex)?;
        Ok(self.finish(rebalance_timeout_ms))
    }

    pub(super) fn group_id(&self) -> GroupId {
        self.heartbeat.group.clone()
    }

    fn joins(&self) -> bool {
        self.heartbeat.epoch == Epoch::JOINING
    }

    /// Everybody but the member itself and whom it replaces.
    pub(super) fn others(&self) -> impl Iterator<Item = (&'a MemberId, &'a Consumer)> {
        let (id, replaced) = (self.id.clone(), self.replaced.clone());
        self.group.members.iter().filter(move |(other, _)| **other != id && Some(*other) != replaced.as_ref())
    }

    /// What the member was to own until now.
    pub(super) fn former_target(&self) -> Arc<Partitions> {
        let id = self.replaced.as_ref().unwrap_or(&self.id);
        self.group.target.members.get(id).cloned().unwrap_or_default()
    }

    fn update_member(&mut self) {
        let heartbeat = self.heartbeat;
        let value = &mut self.after.value;
        replace_if_told(&mut value.instance, &heartbeat.instance);
        replace_if_told(&mut value.rack, &heartbeat.rack);
        replace_if_told(&mut value.assignor, &heartbeat.assignor);
        if let Some(timeout_ms) = heartbeat.rebalance_timeout_ms {
            value.rebalance_timeout_ms = timeout_ms;
        }
        if let Some(topics) = &heartbeat.topics {
            value.topics = topics.clone();
        }
        if let Some(regex) = &heartbeat.regex {
            value.regex = Some(regex.clone()).filter(|regex| !regex.is_empty());
        }
        value.client_id = heartbeat.client_id.clone();
        value.client_host = heartbeat.client_host.clone();
        value.classic = self.classic.clone();

        let is_new = !self.group.members.contains_key(&self.id);
        if let Some(replaced) = self.replaced.clone().filter(|replaced| *replaced != self.id) {
            self.records.extend(tombstones(&self.group_id(), &replaced));
            let (group, old, new) = (self.group_id(), replaced.clone(), self.id.clone());
            if let Some(instance) = self.after.value.instance.clone() {
                self.events.push(Event::StaticMemberFenced { group, instance, old, new });
            }
        }
        if is_new || self.replaced.is_some() || self.after.value != self.before.value {
            let (group, member) = (self.group_id(), self.id.clone());
            let value = Some(self.after.value.clone());
            self.records.push(ConsumerRecord::Member { group, member, value });
        }
        if self.replaced.is_some() {
            let (group, member) = (self.group_id(), self.id.clone());
            let target = Some(Partitions::clone(&self.former_target()));
            self.records.push(ConsumerRecord::TargetMember { group, member, value: target });
            let (group, member) = (self.group_id(), self.id.clone());
            let current = Some(self.after.current.clone());
            self.records.push(ConsumerRecord::Current { group, member, value: current });
        }
    }

    /// Takes one step towards the target; says what becomes of the rebalance timeout.
    fn reconcile(
        &mut self,
        target_epoch: Epoch,
        target: &Partitions,
        has_new_subscription: bool,
    ) -> Result<Option<Option<i32>>, Refusal> {
        if !has_new_subscription && self.after.is_reconciled_to(target_epoch) {
            return Ok(None);
        }
        let subscribed = self.subscribed_ids(&self.after.value);
        let step = Step {
            current: &self.after.current,
            target_epoch,
            target,
            subscribed: &subscribed,
            has_new_subscription,
            owned: self.heartbeat.owned.as_ref(),
            is_taken: &|topic, partition| {
                let owner = self.group.owner(topic, partition);
                owner.is_some_and(|owner| *owner != self.id && Some(owner) != self.replaced.as_ref())
            },
        };
        let next = step.take().map_err(|_| {
            let message = "The consumer group member is in a unknown state. The member must abandon all its \
                           partitions and rejoin.";
            Refusal::new(ErrorCode::FencedMemberEpoch, message)
        })?;
        if next == self.after.current {
            return Ok(None);
        }
        let is_revoking = next.state == MemberState::UnrevokedPartitions;
        self.after.current = next;
        let (group, member) = (self.group_id(), self.id.clone());
        let value = Some(self.after.current.clone());
        self.records.push(ConsumerRecord::Current { group, member, value });
        Ok(Some(is_revoking.then_some(self.after.value.rebalance_timeout_ms)))
    }

    fn finish(self, rebalance_timeout_ms: Option<Option<i32>>) -> Outcome {
        let heartbeat = self.heartbeat;
        let wants_topics = heartbeat.topics.is_some() || heartbeat.regex.is_some();
        let tells_everything = heartbeat.rebalance_timeout_ms.is_some() && wants_topics && heartbeat.owned.is_some();
        let has_changed = !same_partitions(&self.before.current.assigned, &self.after.current.assigned);
        let must_hear = self.joins() || tells_everything || has_changed;
        let interval_ms = heartbeat.overrides.heartbeat_interval_ms;
        let answer = ConsumerHeartbeatAnswer {
            error: ErrorCode::None,
            message: None,
            member: self.id.clone(),
            epoch: self.after.current.epoch,
            heartbeat_interval_ms: interval_ms.unwrap_or(self.config.heartbeat_interval_ms),
            assignment: must_hear.then(|| without_epochs(&self.after.current.assigned)),
        };
        Outcome {
            records: self.records,
            events: self.events,
            seen: self.seen,
            member: self.id,
            rebalance_timeout_ms,
            answer,
        }
    }
}

fn replace_if_told<T: Clone>(place: &mut Option<T>, told: &Option<T>) {
    if told.is_some() {
        place.clone_from(told);
    }
}

fn same_partitions(one: &OwnedPartitions, other: &OwnedPartitions) -> bool {
    let keys = |partitions: &OwnedPartitions| partitions.len();
    keys(one) == keys(other)
        && one.iter().all(|(topic, partitions)| other.get(topic).is_some_and(|o| o.keys().eq(partitions.keys())))
}

fn find_dynamic(group: &ConsumerGroup, heartbeat: &ConsumerHeartbeat, id: &MemberId) -> Result<Consumer, Refusal> {
    match group.members.get(id) {
        Some(known) => {
            check_epoch(known, heartbeat)?;
            Ok(known.clone())
        }
        None if heartbeat.epoch == Epoch::JOINING => Ok(Consumer::newcomer()),
        None => Err(unknown_member(&heartbeat.group, id)),
    }
}

/// A static member is found by its instance. One that joins takes the place of its former self if that has left for
/// a while, or spoke the classic protocol; then its former id comes back, too.
fn find_static(
    group: &ConsumerGroup,
    heartbeat: &ConsumerHeartbeat,
    id: &MemberId,
    instance: &InstanceId,
) -> Result<(Consumer, Option<MemberId>), Refusal> {
    let known = group.member_of(instance);
    if heartbeat.epoch != Epoch::JOINING {
        let (known_id, known) = known.ok_or_else(|| unknown_instance(instance))?;
        check_instance(known_id, id, instance)?;
        check_epoch(known, heartbeat)?;
        return Ok((known.clone(), None));
    }
    let Some((known_id, known)) = known else {
        return Ok((find_dynamic(group, heartbeat, id)?, None));
    };
    let is_released = known.current.epoch == Epoch::AWAY || known.speaks_classic();
    if !is_released && known_id == id {
        // It was fenced, and comes back as the protocol asks for. Kafka refuses it until its session ends.
        return Ok((known.clone(), None));
    }
    if !is_released {
        let message = format!(
            "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by \
             {known_id} member."
        );
        return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message));
    }
    let mut heir = known.clone();
    heir.current.epoch = Epoch::JOINING;
    heir.current.previous_epoch = Epoch::JOINING;
    Ok((heir, Some(known_id.clone())))
}

/// A member may come with its epoch, with 0 to start over, or with its epoch before if the answer that told it the new
/// one was lost: then it owns nothing that it should not.
fn check_epoch(known: &Consumer, heartbeat: &ConsumerHeartbeat) -> Result<(), Refusal> {
    let (expected, told) = (known.current.epoch, heartbeat.epoch);
    let is_subset = |owned: &Partitions| {
        owned.iter().all(|(topic, partitions)| {
            let assigned = known.current.assigned.get(topic);
            partitions.iter().all(|p| assigned.is_some_and(|a| a.contains_key(p)))
        })
    };
    let missed_an_answer =
        told < expected && told == known.current.previous_epoch && heartbeat.owned.as_ref().is_some_and(is_subset);
    if told == Epoch::JOINING || told == expected || missed_an_answer {
        return Ok(());
    }
    let relation = if told > expected { "greater" } else { "smaller" };
    let message = format!(
        "The consumer group member has a {relation} member epoch ({told}) than the one known by the group coordinator \
         ({expected}). The member must abandon all its partitions and rejoin."
    );
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
}

pub(super) fn unknown_member(group: &GroupId, id: &MemberId) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("Member {id} is not a member of group {group}."))
}

pub(super) fn unknown_instance(instance: &InstanceId) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."))
}

pub(super) fn check_instance(known: &MemberId, told: &MemberId, instance: &InstanceId) -> Result<(), Refusal> {
    if known == told {
        return Ok(());
    }
    let message = format!("Static member {told} with instance id {instance} was fenced by member {known}.");
    Err(Refusal::new(ErrorCode::FencedInstanceId, message))
}

/// The records that remove a member: what it owns first, so that nobody waits for it whatever follows.
pub(super) fn tombstones(group: &GroupId, member: &MemberId) -> [ConsumerRecord; 3] {
    let (group, member) = (group.clone(), member.clone());
    [
        ConsumerRecord::Current { group: group.clone(), member: member.clone(), value: None },
        ConsumerRecord::TargetMember { group: group.clone(), member: member.clone(), value: None },
        ConsumerRecord::Member { group, member, value: None },
    ]
}
