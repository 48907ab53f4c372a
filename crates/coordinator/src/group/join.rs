//! JoinGroup: who may come in, and what that means for the rebalance.
//!
//! Three doors: a new dynamic member (since version 4 it is first told its id and counts as pending until it
//! comes back with it), a new or returning static member (known by `group.instance.id`), and a member that is
//! already inside. A returning static member takes over the id, the assignment and the generation of its
//! former self without a rebalance if the group is stable and the protocol stays the same; its former self is
//! fenced.

use bytes::Bytes;
use twinstream_model::{ErrorCode, GroupId};

use super::member::Member;
use super::rebalance::{complete_if_everyone_joined, current_generation, prepare_or_complete};
use super::request::{GroupState, InstanceId, Join, JoinAnswer, MemberId, SyncAnswer};
use super::state::Group;
use super::{Context, Decision, Event, GroupShard, Record, Then};
use crate::{Now, Token};

/// A new member's join may stay parked this long, whatever its session timeout: it cannot heartbeat yet, and
/// if its client gave up (say, for a request timeout) it must not hold up the group forever.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1_000;

/// A static member's return to a stable group, to be finished when its record is stored.
pub struct Replacement {
    group: Group,
    token: Token,
    instance: InstanceId,
    former: MemberId,
    member: MemberId,
    former_leader: MemberId,
    can_skip_assignment: bool,
}

impl Replacement {
    pub(super) fn group_id(&self) -> &GroupId {
        &self.group.id
    }
}

impl GroupShard {
    pub(super) fn join(&mut self, now: Now, token: Token, join: Join) -> Decision {
        let refuse = |error| {
            let answer = JoinAnswer::failed(join.member.clone(), error);
            Decision::answer(token, super::Answer::Join(answer))
        };
        if join.group.as_str().is_empty() {
            return refuse(ErrorCode::InvalidGroupId);
        }
        let bounds = self.config.session_timeout_ms_min..=self.config.session_timeout_ms_max;
        if !bounds.contains(&join.session_timeout_ms) {
            return refuse(ErrorCode::InvalidSessionTimeout);
        }
        if self.consumers.contains_key(&join.group) {
            return self.join_consumer_group(now, token, join);
        }
        if !self.groups.contains_key(&join.group) {
            if !join.member.is_unknown() {
                return refuse(ErrorCode::UnknownMemberId);
            }
            if join.protocol_type.is_empty() || join.protocols.is_empty() {
                return refuse(ErrorCode::InconsistentGroupProtocol);
            }
            self.groups.insert(join.group.clone(), Group::new(join.group.clone()));
        }
        let id = join.group.clone();
        self.with_group(now, &id, |cx, group| join_group(cx, group, token, join)).unwrap_or_default()
    }
}

fn join_group(cx: &mut Context<'_>, group: &mut Group, token: Token, join: Join) {
    if !has_room(cx, group, &join.member) {
        refuse_for_size(cx, group, token, &join.member);
    } else if !group.supports(&join.protocol_type, &join.protocols) {
        cx.answer_join(token, JoinAnswer::failed(join.member, ErrorCode::InconsistentGroupProtocol));
    } else if !join.member.is_unknown() {
        join_with_id(cx, group, token, join);
    } else if let Some(instance) = join.instance.clone() {
        let fresh = MemberId::from(format!("{instance}-{}", join.fresh_id));
        match group.static_members.get(&instance).cloned() {
            Some(former) => return_static(cx, group, token, join, &instance, former, fresh),
            None => add(cx, group, token, join, fresh),
        }
    } else {
        let fresh = MemberId::from(format!("{}-{}", join.client_id, join.fresh_id));
        if join.requires_member_id {
            announce(cx, group, token, &join, fresh);
        } else {
            add(cx, group, token, join, fresh);
        }
    }
}

/// `group.max.size` counts those who wait while a rebalance gathers them (so that a group that is too large
/// loses its last comers), and members otherwise.
fn has_room(cx: &Context<'_>, group: &Group, member: &MemberId) -> bool {
    let known = group.members.get(member);
    match group.state {
        GroupState::Empty | GroupState::Dead => true,
        GroupState::PreparingRebalance => {
            known.is_some_and(Member::is_awaiting_join) || group.awaiting_joins() < cx.config.members_max
        }
        GroupState::CompletingRebalance | GroupState::Stable => {
            known.is_some() || group.members.len() < cx.config.members_max
        }
    }
}

fn refuse_for_size(cx: &mut Context<'_>, group: &mut Group, token: Token, member: &MemberId) {
    if !member.is_unknown() {
        super::rebalance::dismiss(cx, group, member);
        complete_if_everyone_joined(cx, group);
    }
    cx.answer_join(token, JoinAnswer::failed(MemberId::default(), ErrorCode::GroupMaxSizeReached));
}

/// Tells a new member its id and expects it back within its session timeout (KIP-394).
fn announce(cx: &mut Context<'_>, group: &mut Group, token: Token, join: &Join, fresh: MemberId) {
    group.pending_joins.insert(fresh.clone());
    cx.renew_session(&group.id, &fresh, join.session_timeout_ms);
    cx.answer_join(token, JoinAnswer::failed(fresh, ErrorCode::MemberIdRequired));
}

fn add(cx: &mut Context<'_>, group: &mut Group, token: Token, join: Join, id: MemberId) {
    let is_initial = group.is_in(GroupState::PreparingRebalance) && group.previous == GroupState::Empty;
    group.new_member_in_initial_delay |= is_initial;
    let reason = format!("member {id} joins; client reason: {}", reason_of(&join));
    let member = Member {
        id: id.clone(),
        instance: join.instance,
        client_id: join.client_id,
        client_host: join.client_host,
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        session_timeout_ms: join.session_timeout_ms,
        protocols: join.protocols,
        assignment: Bytes::new(),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: true,
    };
    group.add(member, &join.protocol_type, token);
    cx.renew_session(&group.id, &id, NEW_MEMBER_JOIN_TIMEOUT_MS);
    prepare_or_complete(cx, group, reason);
}

fn join_with_id(cx: &mut Context<'_>, group: &mut Group, token: Token, join: Join) {
    let id = join.member.clone();
    if group.pending_joins.contains(&id) {
        return match join.instance {
            // An id is pending only because its owner joined without an instance.
            Some(_) => cx.answer_join(token, JoinAnswer::failed(id, ErrorCode::UnknownMemberId)),
            None => add(cx, group, token, join, id),
        };
    }
    if let Err(error) = group.check_member(&id, join.instance.as_ref()) {
        return cx.answer_join(token, JoinAnswer::failed(id, error));
    }
    let offers_the_same = group.members.get(&id).is_some_and(|m| m.protocols == join.protocols);
    let everyone_must_hear = match group.state {
        GroupState::PreparingRebalance => true,
        GroupState::CompletingRebalance => !offers_the_same,
        // The leader rejoins to have partitions assigned anew, for instance because a topic has grown.
        GroupState::Stable => group.is_leader(&id) || !offers_the_same,
        GroupState::Empty | GroupState::Dead => {
            return cx.answer_join(token, JoinAnswer::failed(id, ErrorCode::UnknownMemberId));
        }
    };
    if everyone_must_hear {
        rejoin(cx, group, token, join);
    } else {
        // It may not have received our first answer: tell it the generation again.
        let tell_members = group.is_leader(&id) && group.is_in(GroupState::CompletingRebalance);
        let members = if tell_members { joined_members(group) } else { Vec::new() };
        if let Some(member) = group.members.get(&id) {
            cx.renew_session(&group.id, &id, member.session_timeout_ms);
        }
        cx.answer_join(token, current_generation(group, &id, members));
    }
}

fn rejoin(cx: &mut Context<'_>, group: &mut Group, token: Token, join: Join) {
    let reason = format!("member {} rejoins; client reason: {}", join.member, reason_of(&join));
    let id = join.member.clone();
    update(group, &id, join);
    park(cx, group, &id, token);
    prepare_or_complete(cx, group, reason);
}

fn joined_members(group: &Group) -> Vec<super::JoinedMember> {
    group.members.values().map(|m| m.joined(group.protocol.as_deref())).collect()
}

fn update(group: &mut Group, id: &MemberId, join: Join) {
    if let Some(member) = group.members.get_mut(id) {
        member.protocols = join.protocols;
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
    }
}

/// A second join of the same member comes from a client that gave up on the first connection.
fn park(cx: &mut Context<'_>, group: &mut Group, id: &MemberId, token: Token) {
    if let Some(abandoned) = group.park_join(id, token) {
        cx.answer_join(abandoned, JoinAnswer::failed(id.clone(), ErrorCode::RebalanceInProgress));
    }
}

fn reason_of(join: &Join) -> &str {
    join.reason.as_deref().filter(|r| !r.is_empty()).unwrap_or("not provided")
}

/// A static member is back without an id (its process restarted): `fresh` takes the place of `former`.
fn return_static(
    cx: &mut Context<'_>,
    group: &mut Group,
    token: Token,
    join: Join,
    instance: &InstanceId,
    former: MemberId,
    fresh: MemberId,
) {
    if group.is_in(GroupState::Stable) {
        let mut next = group.clone();
        next.replace_static(&former, &fresh);
        let mut probe = join.clone();
        probe.member = fresh.clone();
        update(&mut next, &fresh, probe);
        if next.select_protocol() == group.protocol {
            let former_leader = group.leader.clone().unwrap_or_default();
            let can_skip_assignment = join.can_skip_assignment;
            let instance = instance.clone();
            return store_replacement(
                cx,
                Replacement { group: next, token, instance, former, member: fresh, former_leader, can_skip_assignment },
            );
        }
    }
    let reason = format!("static member {instance} returns as {fresh}; client reason: {}", reason_of(&join));
    fence(cx, group, instance, &former, &fresh);
    group.replace_static(&former, &fresh);
    update(group, &fresh, join);
    if let Some(member) = group.members.get(&fresh) {
        cx.renew_session(&group.id, &fresh, member.session_timeout_ms);
    }
    park(cx, group, &fresh, token);
    // Also while the leader still assigns: it knows the former id only.
    prepare_or_complete(cx, group, reason);
}

/// Tells the former self, if it waits here, that another process has its instance id now.
fn fence(cx: &mut Context<'_>, group: &mut Group, instance: &InstanceId, former: &MemberId, fresh: &MemberId) {
    if let Some(token) = group.take_join(former) {
        cx.answer_join(token, JoinAnswer::failed(former.clone(), ErrorCode::FencedInstanceId));
    }
    if let Some(token) = group.members.get_mut(former).and_then(|m| m.awaiting_sync.take()) {
        cx.answer_sync(token, SyncAnswer::failed(ErrorCode::FencedInstanceId));
    }
    cx.end_session(&group.id, former);
    cx.event(Event::StaticMemberFenced {
        group: group.id.clone(),
        instance: instance.clone(),
        old: former.clone(),
        new: fresh.clone(),
    });
}

fn store_replacement(cx: &mut Context<'_>, replacement: Replacement) {
    let value = replacement.group.metadata_with(|member| member.assignment.clone());
    let group = replacement.group.id.clone();
    cx.out.records.push(Record::GroupMetadata { group, value: Some(value) });
    cx.out.then = Some(Then::ReplaceStatic(Box::new(replacement)));
}

pub(super) fn finish_replacement(cx: &mut Context<'_>, group: &mut Group, replacement: Replacement) {
    let Replacement { group: next, token, instance, former, member, former_leader, can_skip_assignment } = replacement;
    fence(cx, group, &instance, &former, &member);
    *group = next;
    let Some(known) = group.members.get(&member) else { return };
    cx.renew_session(&group.id, &member, known.session_timeout_ms);

    let is_leader = group.is_leader(&member);
    let members = if can_skip_assignment && is_leader { joined_members(group) } else { Vec::new() };
    let mut answer = current_generation(group, &member, members);
    if can_skip_assignment {
        answer.skip_assignment = is_leader;
    } else {
        // A leader that cannot skip the assignment must not think that it leads: it would assign anew.
        answer.leader = former_leader;
    }
    cx.answer_join(token, answer);
}

pub(super) fn refuse_replacement(cx: &mut Context<'_>, group: &mut Group, replacement: &Replacement, error: ErrorCode) {
    cx.event(Event::NotStored { group: group.id.clone(), what: "the new id of a static member", error });
    cx.answer_join(replacement.token, JoinAnswer::failed(MemberId::default(), error));
}
