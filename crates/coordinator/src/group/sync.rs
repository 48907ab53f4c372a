//! SyncGroup: members ask for their share, the leader brings everybody's.
//!
//! The leader's assignment is stored first and handed out when it is in the log, so that a group that any
//! member saw as stable is stable after a restart, too.

use std::collections::BTreeMap;

use bytes::Bytes;
use twinstream_model::ErrorCode;

use super::rebalance::{end_sync_phase, prepare_or_complete};
use super::request::{GroupState, MemberId, Sync, SyncAnswer};
use super::state::Group;
use super::{Answer, Context, Decision, Event, GroupShard, Record, Then};
use crate::{Now, Token};

impl GroupShard {
    pub(super) fn sync(&mut self, now: Now, token: Token, sync: Sync) -> Decision {
        let refuse = |error| Decision::answer(token, Answer::Sync(SyncAnswer::failed(error)));
        if sync.group.as_str().is_empty() {
            return refuse(ErrorCode::InvalidGroupId);
        }
        if self.consumers.contains_key(&sync.group) {
            return self.sync_consumer_group(now, token, &sync);
        }
        let id = sync.group.clone();
        let decision = self.with_group(now, &id, |cx, group| match check(group, &sync) {
            Ok(()) => sync_group(cx, group, token, sync),
            Err(error) => cx.answer_sync(token, SyncAnswer::failed(error)),
        });
        decision.unwrap_or_else(|| refuse(ErrorCode::UnknownMemberId))
    }
}

fn check(group: &Group, sync: &Sync) -> Result<(), ErrorCode> {
    group.check_member(&sync.member, sync.instance.as_ref())?;
    if sync.generation != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    let type_fits = sync.protocol_type.is_none() || sync.protocol_type == group.protocol_type;
    let name_fits = sync.protocol.is_none() || sync.protocol == group.protocol;
    if type_fits && name_fits { Ok(()) } else { Err(ErrorCode::InconsistentGroupProtocol) }
}

fn sync_group(cx: &mut Context<'_>, group: &mut Group, token: Token, sync: Sync) {
    match group.state {
        GroupState::CompletingRebalance => {
            has_synced(cx, group, &sync.member);
            park(cx, group, &sync.member, token);
            if group.is_leader(&sync.member) {
                store(cx, group, sync.assignments);
            }
        }
        GroupState::Stable => {
            has_synced(cx, group, &sync.member);
            let answer = group.members.get(&sync.member).map(|m| share(group, &m.assignment));
            cx.answer_sync(token, answer.unwrap_or_else(|| SyncAnswer::failed(ErrorCode::UnknownMemberId)));
        }
        GroupState::PreparingRebalance => {
            cx.answer_sync(token, SyncAnswer::failed(ErrorCode::RebalanceInProgress));
        }
        GroupState::Empty | GroupState::Dead => {
            cx.answer_sync(token, SyncAnswer::failed(ErrorCode::UnknownMemberId));
        }
    }
}

fn has_synced(cx: &mut Context<'_>, group: &mut Group, member: &MemberId) {
    group.pending_syncs.remove(member);
    if group.pending_syncs.is_empty() {
        end_sync_phase(cx, group);
    }
}

/// A second sync of the same member comes from a client that gave up on the first connection.
fn park(cx: &mut Context<'_>, group: &mut Group, member: &MemberId, token: Token) {
    let Some(member) = group.members.get_mut(member) else { return };
    if let Some(abandoned) = member.awaiting_sync.replace(token) {
        cx.answer_sync(abandoned, SyncAnswer::failed(ErrorCode::RebalanceInProgress));
    }
}

fn store(cx: &mut Context<'_>, group: &mut Group, assignments: Vec<(MemberId, Bytes)>) {
    let assignments: BTreeMap<MemberId, Bytes> = assignments.into_iter().collect();
    let assignment_of = |id: &MemberId| assignments.get(id).cloned().unwrap_or_default();
    let mut value = group.metadata_with(|member| assignment_of(&member.id));
    value.current_state_timestamp_ms = Some(cx.now.wall_ms);
    cx.out.records.push(Record::GroupMetadata { group: group.id.clone(), value: Some(value) });
    cx.out.then = Some(Then::Stabilize(group.id.clone()));
}

/// The assignment is in the log and replayed: answer all who wait for it.
pub(super) fn hand_out(cx: &mut Context<'_>, group: &mut Group) {
    cx.event(Event::Stabilized { group: group.id.clone(), generation: group.generation, members: group.members.len() });
    answer_parked(cx, group, share);
}

/// The assignment could not be stored: everybody starts over.
pub(super) fn withdraw(cx: &mut Context<'_>, group: &mut Group, error: ErrorCode) {
    cx.event(Event::NotStored { group: group.id.clone(), what: "the assignment", error });
    reset_and_answer(cx, group, error);
    prepare_or_complete(cx, group, format!("the assignment could not be stored: {error}"));
}

/// Takes back assignments of a generation that does not come to pass.
pub(super) fn reset_and_answer(cx: &mut Context<'_>, group: &mut Group, error: ErrorCode) {
    for member in group.members.values_mut() {
        member.assignment = Bytes::new();
    }
    answer_parked(cx, group, |_, _| SyncAnswer::failed(error));
}

fn answer_parked(cx: &mut Context<'_>, group: &mut Group, answer: impl Fn(&Group, &Bytes) -> SyncAnswer) {
    let parked: Vec<_> = group
        .members
        .values_mut()
        .filter_map(|m| Some((m.awaiting_sync.take()?, m.id.clone(), m.assignment.clone(), m.session_timeout_ms)))
        .collect();
    for (token, member, assignment, session_timeout_ms) in parked {
        cx.answer_sync(token, answer(group, &assignment));
        // It could not heartbeat while it waited.
        cx.renew_session(&group.id, &member, session_timeout_ms);
    }
}

fn share(group: &Group, assignment: &Bytes) -> SyncAnswer {
    SyncAnswer {
        error: ErrorCode::None,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        assignment: assignment.clone(),
    }
}
