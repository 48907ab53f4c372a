//! Members that speak the classic protocol in a consumer group, as long as a group is on its way from one to the other.
//!
//! Picture: for such a member the member epoch is the generation. When there is something new for it, its heartbeat
//! says REBALANCE_IN_PROGRESS; it joins, which is one step as a heartbeat of the newer protocol is, and syncs, which
//! tells it what it owns. Nobody leads, and nobody waits for anybody.
//!
//! Deadlines: it must join within its rebalance timeout after it was told to (`MemberJoin`), and sync within the same
//! time after it has joined (`MemberSync`).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use twinstream_model::{ErrorCode, TopicId};

use super::super::request::{
    Answer, Heartbeat, InstanceId, Join, JoinAnswer, Leave, LeaveAnswer, LeavingMember, LeftMember, MemberId, Protocol,
    Sync, SyncAnswer,
};
use super::super::subscription::CONSUMER_PROTOCOL_TYPE;
use super::super::topics::Topics;
use super::super::{Decision, Event, GroupShard, Record, Then, Timer};
use super::embedded::{self, NamedPartitions, Subscription};
use super::heartbeat::{Beat, check_instance};
use super::record::{ClassicMember, Epoch, MemberState, OwnedPartitions, Partitions};
use super::request::{ConsumerHeartbeat, GroupOverrides, Refusal};
use super::shard::Look;
use super::state::{Consumer, ConsumerGroup};
use crate::{Now, Token};

impl GroupShard {
    /// A group without members makes way for a classic one; with members, it takes the classic member in.
    pub(crate) fn join_consumer_group(&mut self, now: Now, token: Token, join: Join) -> Decision {
        let empty = self.consumers.get(&join.group).and_then(|group| Self::delete_consumer_group(&join.group, group));
        if let Some(records) = empty {
            return Decision { records, then: Some(Then::Join(Box::new((token, join)))), ..Decision::default() };
        }
        let member = join.member.clone();
        self.join_as_classic(now, token, join)
            .unwrap_or_else(|error| Decision::answer(token, Answer::Join(JoinAnswer::failed(member, error))))
    }

    fn join_as_classic(&mut self, now: Now, token: Token, join: Join) -> Result<Decision, ErrorCode> {
        let id = join.group.clone();
        let told = join.cluster.clone().or_else(|| self.cluster.clone());
        let cluster = self.newest_view(told.ok_or(ErrorCode::CoordinatorNotAvailable)?);
        let group = self.consumers.get(&id).ok_or(ErrorCode::UnknownMemberId)?;
        let (first, subscription) = offered(group, &join).ok_or(ErrorCode::InconsistentGroupProtocol)?;
        let member = match (join.member.is_unknown(), &join.instance) {
            (true, Some(instance)) => MemberId::from(format!("{instance}-{}", join.fresh_id)),
            (true, None) => MemberId::from(format!("{}-{}", join.client_id, join.fresh_id)),
            (false, _) => join.member.clone(),
        };
        if group.members.len() >= self.config.consumer.members_max && !group.members.contains_key(&member) {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        if join.member.is_unknown() && join.instance.is_none() && join.requires_member_id {
            return Ok(Decision::answer(token, Answer::Join(JoinAnswer::failed(member, ErrorCode::MemberIdRequired))));
        }
        let (before, replaced) = find(group, &join, &member).map_err(|refusal| refusal.error)?;
        let then = replaced.is_some().then(|| Then::MayDowngrade(id.clone()));
        let heartbeat = as_heartbeat(&join, &member, subscription, cluster);
        let classic = ClassicMember { session_timeout_ms: join.session_timeout_ms, protocols: join.protocols.clone() };
        let mut beat = Beat::new(now, &self.config.consumer, group, &heartbeat, (member, replaced), before);
        beat.classic = Some(classic);
        let outcome = beat.take_steps().map_err(|refusal| refusal.error)?;

        self.arm(now, Timer::Session(id.clone(), outcome.member.clone()), join.session_timeout_ms);
        self.arm(now, Timer::MemberSync(id.clone(), outcome.member.clone()), join.rebalance_timeout_ms);
        self.deadlines.cancel(&Timer::MemberJoin(id.clone(), outcome.member.clone()));
        let look = Look { group: id, member: outcome.member.clone(), seen: outcome.seen };
        let answer = JoinAnswer {
            error: ErrorCode::None,
            member: outcome.member,
            generation: super::super::Generation(outcome.answer.epoch.0),
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.into()),
            protocol: Some(first),
            leader: MemberId::default(),
            skip_assignment: false,
            members: Vec::new(),
        };
        let records = outcome.records.into_iter().map(Record::Consumer).collect();
        let answers = vec![(token, Answer::Join(answer))];
        let mut decision = Decision { records, answers, then, events: outcome.events, ..Decision::default() };
        self.remember(look, &mut decision);
        Ok(decision)
    }

    pub(crate) fn sync_consumer_group(&mut self, now: Now, token: Token, sync: &Sync) -> Decision {
        let answer = self.sync_as_classic(now, sync).unwrap_or_else(SyncAnswer::failed);
        Decision::answer(token, Answer::Sync(answer))
    }

    fn sync_as_classic(&mut self, now: Now, sync: &Sync) -> Result<SyncAnswer, ErrorCode> {
        let group = self.consumers.get(&sync.group).ok_or(ErrorCode::UnknownMemberId)?;
        let (id, member, classic) = classic_member(group, &sync.member, sync.instance.as_ref())?;
        if sync.generation.0 != member.current.epoch.0 {
            return Err(ErrorCode::IllegalGeneration);
        }
        let first = classic.protocols.first().ok_or(ErrorCode::InconsistentGroupProtocol)?;
        let type_fits = sync.protocol_type.as_deref().is_none_or(|told| told == CONSUMER_PROTOCOL_TYPE);
        let name_fits = sync.protocol.as_ref().is_none_or(|told| *told == first.name);
        if !type_fits || !name_fits {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let timeouts = (classic.session_timeout_ms, member.value.rebalance_timeout_ms);
        let is_behind = group.epoch > member.current.epoch && member.current.state != MemberState::UnrevokedPartitions;
        let assignment = self.bytes_of(&first.metadata, &member.current.assigned);
        let names = (sync.group.clone(), id.clone());
        if is_behind {
            self.expect_join(now, names, timeouts.1);
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.deadlines.cancel(&Timer::MemberSync(names.0.clone(), names.1.clone()));
        self.arm(now, Timer::Session(names.0, names.1), timeouts.0);
        Ok(SyncAnswer {
            error: ErrorCode::None,
            protocol_type: sync.protocol_type.clone(),
            protocol: sync.protocol.clone(),
            assignment,
        })
    }

    fn bytes_of(&self, subscription: &[u8], assigned: &OwnedPartitions) -> Bytes {
        let partitions = super::reconcile::without_epochs(assigned);
        let named = self.cluster.as_deref().map(|cluster| named(&partitions, cluster)).unwrap_or_default();
        embedded::assignment_bytes(subscription, &named)
    }

    pub(crate) fn heartbeat_consumer_group(&mut self, now: Now, token: Token, heartbeat: &Heartbeat) -> Decision {
        let error = self.beat_as_classic(now, heartbeat).err().unwrap_or(ErrorCode::None);
        Decision::answer(token, Answer::Heartbeat(error))
    }

    fn beat_as_classic(&mut self, now: Now, heartbeat: &Heartbeat) -> Result<(), ErrorCode> {
        let group = self.consumers.get(&heartbeat.group).ok_or(ErrorCode::UnknownMemberId)?;
        let (id, member, classic) = classic_member(group, &heartbeat.member, heartbeat.instance.as_ref())?;
        if heartbeat.generation.0 != member.current.epoch.0 {
            return Err(ErrorCode::IllegalGeneration);
        }
        let has_news = match member.current.state {
            _ if member.current.epoch < group.epoch => true,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !waits_for_others(group, id, member),
            MemberState::Stable | MemberState::Unknown => false,
        };
        let (session_ms, rebalance_ms) = (classic.session_timeout_ms, member.value.rebalance_timeout_ms);
        let names = (heartbeat.group.clone(), id.clone());
        self.arm(now, Timer::Session(names.0.clone(), names.1.clone()), session_ms);
        if has_news {
            self.expect_join(now, names, rebalance_ms);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    fn expect_join(&mut self, now: Now, (group, member): (twinstream_model::GroupId, MemberId), within_ms: i32) {
        let timer = Timer::MemberJoin(group, member);
        if self.deadlines.get(&timer).is_none() {
            self.arm(now, timer, within_ms);
        }
    }

    pub(crate) fn leave_consumer_group(&mut self, now: Now, token: Token, leave: &Leave) -> Decision {
        let Some(group) = self.consumers.get(&leave.group) else { return Decision::default() };
        let mut leaving: Vec<MemberId> = Vec::new();
        let mut members = Vec::with_capacity(leave.members.len());
        let mut events = Vec::new();
        for told in &leave.members {
            let found = leaving_classic(group, told).filter(|id| !leaving.contains(id));
            let error = if found.is_some() { ErrorCode::None } else { ErrorCode::UnknownMemberId };
            members.push(LeftMember { member: told.member.clone(), instance: told.instance.clone(), error });
            if let Some(member) = found {
                let reason = told.reason.as_deref().unwrap_or("not provided").to_owned();
                events.push(Event::MemberLeft { group: leave.group.clone(), member: member.clone(), reason });
                leaving.push(member);
            }
        }
        let mut decision = match leaving.is_empty() {
            true => Decision::default(),
            false => self.remove_consumers(now, &leave.group, &leaving, None),
        };
        decision.events.extend(events);
        decision.answers.push((token, Answer::Leave(LeaveAnswer { error: ErrorCode::None, members })));
        decision
    }
}

/// The protocol that is told to the member and what it subscribes to under it; `None` if it cannot be with the others.
fn offered(group: &ConsumerGroup, join: &Join) -> Option<(Arc<str>, Subscription)> {
    if &*join.protocol_type != CONSUMER_PROTOCOL_TYPE {
        return None;
    }
    let classics = || group.members.values().filter_map(|member| member.value.classic.as_ref());
    let suits_all = |protocol: &&Protocol| {
        classics().all(|other| other.protocols.iter().any(|offered| offered.name == protocol.name))
    };
    join.protocols.iter().find(suits_all)?;
    let first = join.protocols.first()?;
    Some((first.name.clone(), embedded::subscription(&first.metadata)?))
}

fn as_heartbeat(
    join: &Join,
    member: &MemberId,
    subscription: Subscription,
    cluster: Arc<dyn Topics>,
) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: join.group.clone(),
        member: member.clone(),
        epoch: Epoch::JOINING,
        instance: join.instance.clone(),
        rack: subscription.rack,
        rebalance_timeout_ms: Some(join.rebalance_timeout_ms),
        topics: Some(subscription.topics),
        regex: Some("".into()), // classic members have none
        assignor: None,
        owned: Some(by_id(&subscription.owned, &*cluster)),
        client_id: join.client_id.clone(),
        client_host: join.client_host.clone(),
        requires_member_id: true,
        fresh_id: join.fresh_id,
        cluster,
        overrides: GroupOverrides::default(),
    }
}

/// A classic member is known by its id alone; a static one that comes without id takes the place of its former self.
fn find(group: &ConsumerGroup, join: &Join, id: &MemberId) -> Result<(Consumer, Option<MemberId>), Refusal> {
    let Some(instance) = &join.instance else {
        return Ok((group.members.get(id).cloned().unwrap_or_else(Consumer::newcomer), None));
    };
    let known = group.member_of(instance);
    if !join.member.is_unknown() {
        let (known_id, known) = known.ok_or_else(|| super::heartbeat::unknown_instance(instance))?;
        check_instance(known_id, id, instance)?;
        return Ok((known.clone(), None));
    }
    let Some((known_id, known)) = known else { return Ok((Consumer::newcomer(), None)) };
    let mut heir = known.clone();
    heir.current.epoch = Epoch::JOINING;
    heir.current.previous_epoch = Epoch::JOINING;
    Ok((heir, Some(known_id.clone())))
}

fn classic_member<'a>(
    group: &'a ConsumerGroup,
    told: &MemberId,
    instance: Option<&InstanceId>,
) -> Result<(&'a MemberId, &'a Consumer, &'a ClassicMember), ErrorCode> {
    let (id, member) = match instance {
        Some(instance) => {
            let known = group.member_of(instance).ok_or(ErrorCode::UnknownMemberId)?;
            check_instance(known.0, told, instance).map_err(|refusal| refusal.error)?;
            known
        }
        None => group.members.get_key_value(told).ok_or(ErrorCode::UnknownMemberId)?,
    };
    let classic = member.value.classic.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
    Ok((id, member, classic))
}

fn leaving_classic(group: &ConsumerGroup, told: &LeavingMember) -> Option<MemberId> {
    let (id, member) = match &told.instance {
        Some(instance) => group.member_of(instance)?,
        None => group.members.get_key_value(&told.member)?,
    };
    let is_named = told.member.is_unknown() || told.member == *id;
    (is_named && member.speaks_classic()).then(|| id.clone())
}

/// Whether what the member lacks is still owned by others.
fn waits_for_others(group: &ConsumerGroup, id: &MemberId, member: &Consumer) -> bool {
    let target = group.target.members.get(id);
    target.into_iter().flat_map(|target| target.iter()).any(|(topic, partitions)| {
        partitions.iter().any(|partition| {
            let has_it = member.current.assigned.get(topic).is_some_and(|have| have.contains_key(partition));
            !has_it && group.owner(*topic, *partition).is_some_and(|owner| owner != id)
        })
    })
}

pub(super) fn by_id(partitions: &NamedPartitions, cluster: &dyn Topics) -> Partitions {
    let of_topic = |(name, partitions): (&Arc<str>, &BTreeSet<_>)| Some((cluster.id(name)?, partitions.clone()));
    partitions.iter().filter_map(of_topic).collect()
}

/// Topics that are gone have no name.
pub(super) fn named(partitions: &Partitions, cluster: &dyn Topics) -> NamedPartitions {
    let of_topic =
        |(id, partitions): (&TopicId, &BTreeSet<_>)| Some((Arc::from(cluster.name(*id)?.as_str()), partitions.clone()));
    partitions.iter().filter_map(of_topic).collect()
}
