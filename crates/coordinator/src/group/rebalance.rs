//! The rebalance itself: gathering members, starting a generation, and the deadlines on the way.
//!
//! ```text
//!            first member            everybody joined, or time is up          leader's assignment stored
//! Empty ───────────────────▶ Preparing ───────────────────────────▶ Completing ─────────────────────▶ Stable
//!   ▲    (initial delay)      │  ▲  ▲                                  │                                │
//!   └───── nobody is left ────┘  │  └── join, leave, fail ─────────────┘                                │
//!                                └───────────────────────────────────── join, leave, fail ─────────────┘
//! ```
//!
//! Deadlines: `JoinPhase` ends Preparing (initially after the initial delay, extended while new members come;
//! later after the slowest member's rebalance timeout), `SyncPhase` ends Completing, `Session` fails a member.

use twinstream_model::{ErrorCode, GroupId};

use super::request::{Answer, GroupState, JoinAnswer, MemberId, SyncAnswer};
use super::state::{Group, InitialDelay};
use super::{Context, Decision, Event, GroupShard, Record, Then, Timer, sync};
use crate::Now;

impl GroupShard {
    pub(super) fn fire(&mut self, now: Now, timer: Timer) -> Decision {
        let decision = match timer {
            Timer::Session(group, member) if self.consumers.contains_key(&group) => {
                Some(self.consumer_is_silent(now, &group, &member))
            }
            Timer::Rebalance(group, member) => Some(self.consumer_is_overdue(now, &group, &member)),
            Timer::MemberJoin(group, member) => {
                Some(self.fail_consumer(now, &group, &member, "did not join again within its rebalance timeout"))
            }
            Timer::MemberSync(group, member) => Some(self.fail_consumer(
                now,
                &group,
                &member,
                "did not ask for its assignment within its rebalance timeout",
            )),
            Timer::Session(group, member) => {
                self.with_group(now, &group, |cx, group| session_is_over(cx, group, &member))
            }
            Timer::JoinPhase(group) => self.with_group(now, &group, join_phase_is_over),
            Timer::SyncPhase(group) => self.with_group(now, &group, sync_phase_is_over),
            Timer::Expiry => Some(self.expire_offsets(now)),
        };
        decision.unwrap_or_default()
    }

    /// A deleted group leaves no deadlines behind.
    pub(super) fn replay_group_tombstone(&mut self, id: &GroupId) {
        let Some(group) = self.groups.remove(id) else { return };
        for member in group.members.keys().chain(&group.pending_joins) {
            self.deadlines.cancel(&Timer::Session(id.clone(), member.clone()));
        }
        self.deadlines.cancel(&Timer::JoinPhase(id.clone()));
        self.deadlines.cancel(&Timer::SyncPhase(id.clone()));
        if !self.offsets.partitions_of_group(id).is_empty() {
            // Deleting a group deletes its offsets first. If some came later, they are those of a simple group.
            self.ensure_group(id);
        }
    }
}

/// After loading: members have a full session to be heard of again.
pub(super) fn resume(cx: &mut Context<'_>, group: &mut Group) {
    for member in group.members.values() {
        cx.renew_session(&group.id, &member.id, member.session_timeout_ms);
    }
    if group.members.len() > cx.config.members_max {
        prepare(cx, group, "loaded with more members than group.max.size allows".to_owned());
    }
}

/// A change that everybody must hear of: start over, or see whether the rebalance under way can go on.
pub(super) fn prepare_or_complete(cx: &mut Context<'_>, group: &mut Group, reason: String) {
    if group.is_in(GroupState::PreparingRebalance) {
        complete_if_everyone_joined(cx, group);
    } else {
        prepare(cx, group, reason);
    }
}

/// Starts a rebalance from any other state.
pub(super) fn prepare(cx: &mut Context<'_>, group: &mut Group, reason: String) {
    if group.is_in(GroupState::CompletingRebalance) {
        sync::reset_and_answer(cx, group, ErrorCode::RebalanceInProgress);
    }
    end_sync_phase(cx, group);

    let is_initial = group.is_in(GroupState::Empty);
    group.transition(GroupState::PreparingRebalance, cx.now.wall_ms);
    cx.event(Event::Rebalancing { group: group.id.clone(), generation: group.generation, reason });
    if is_initial {
        start_initial_delay(cx, group);
    } else if group.has_everyone_joined() {
        complete_join_phase(cx, group);
    } else {
        cx.set_deadline(Timer::JoinPhase(group.id.clone()), group.rebalance_timeout_ms());
    }
}

/// The first rebalance of a group always lasts its delay, so that members that start together meet.
pub(super) fn complete_if_everyone_joined(cx: &mut Context<'_>, group: &mut Group) {
    let is_initial = group.previous == GroupState::Empty;
    if group.is_in(GroupState::PreparingRebalance) && !is_initial && group.has_everyone_joined() {
        complete_join_phase(cx, group);
    }
}

fn start_initial_delay(cx: &mut Context<'_>, group: &mut Group) {
    let delay_ms = cx.config.initial_rebalance_delay_ms;
    let remaining_ms = group.rebalance_timeout_ms().saturating_sub(delay_ms);
    group.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
    group.new_member_in_initial_delay = false;
    cx.set_deadline(Timer::JoinPhase(group.id.clone()), delay_ms);
}

fn join_phase_is_over(cx: &mut Context<'_>, group: &mut Group) {
    if !group.is_in(GroupState::PreparingRebalance) {
        return;
    }
    match group.initial_delay {
        Some(delay) if group.new_member_in_initial_delay && delay.remaining_ms > 0 => {
            // Somebody came during the delay: wait once more, within what the rebalance timeout allows.
            group.new_member_in_initial_delay = false;
            let next = InitialDelay {
                delay_ms: cx.config.initial_rebalance_delay_ms.min(delay.remaining_ms),
                remaining_ms: delay.remaining_ms.saturating_sub(delay.delay_ms),
            };
            group.initial_delay = Some(next);
            cx.set_deadline(Timer::JoinPhase(group.id.clone()), next.delay_ms);
        }
        _ => complete_join_phase(cx, group),
    }
}

/// Ends the join phase with whoever is there. Dynamic members that did not rejoin are out; static ones stay,
/// they may come back with their session.
fn complete_join_phase(cx: &mut Context<'_>, group: &mut Group) {
    cx.deadlines.cancel(&Timer::JoinPhase(group.id.clone()));
    group.initial_delay = None;
    group.new_member_in_initial_delay = false;
    let absent: Vec<MemberId> =
        group.members.values().filter(|m| !m.is_awaiting_join() && !m.is_static()).map(|m| m.id.clone()).collect();
    for member in absent {
        cx.end_session(&group.id, &member);
        group.remove(&member);
        let reason = "did not rejoin within the rebalance timeout";
        cx.event(Event::MemberFailed { group: group.id.clone(), member, reason });
    }

    if group.members.is_empty() {
        let record = group.metadata_when_empty(cx.now.wall_ms);
        cx.out.records.push(Record::GroupMetadata { group: group.id.clone(), value: Some(record) });
        cx.out.then = Some(Then::Empty(group.id.clone()));
    } else if !group.elect_joined_leader() {
        // Only static members, none of which is back: wait until they come or their sessions end.
        cx.set_deadline(Timer::JoinPhase(group.id.clone()), group.rebalance_timeout_ms());
    } else {
        start_generation(cx, group);
    }
}

fn start_generation(cx: &mut Context<'_>, group: &mut Group) {
    group.start_generation(cx.now.wall_ms);
    let everyone = group.members.values().map(|m| m.joined(group.protocol.as_deref())).collect::<Vec<_>>();
    let ids: Vec<MemberId> = group.members.keys().cloned().collect();
    for id in ids {
        let members = if group.is_leader(&id) { everyone.clone() } else { Vec::new() };
        if let Some(token) = group.take_join(&id) {
            cx.answer_join(token, current_generation(group, &id, members));
        }
        if let Some(member) = group.members.get_mut(&id) {
            member.is_new = false;
            cx.renew_session(&group.id, &id, member.session_timeout_ms);
        }
        group.pending_syncs.insert(id);
    }
    cx.event(Event::GenerationStarted {
        group: group.id.clone(),
        generation: group.generation,
        members: group.members.len(),
    });
    cx.set_deadline(Timer::SyncPhase(group.id.clone()), group.rebalance_timeout_ms());
}

/// The answer that tells a member the generation as it is.
pub(super) fn current_generation(group: &Group, member: &MemberId, members: Vec<super::JoinedMember>) -> JoinAnswer {
    JoinAnswer {
        error: ErrorCode::None,
        member: member.clone(),
        generation: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        leader: group.leader.clone().unwrap_or_default(),
        skip_assignment: false,
        members,
    }
}

/// The record that empties the group was not stored. The members are gone nevertheless; after a restart the
/// last stored generation comes back and its members time out.
pub(super) fn empty_anyway(cx: &mut Context<'_>, group: &mut Group, error: ErrorCode) {
    let empty = group.metadata_when_empty(cx.now.wall_ms);
    group.adopt(&empty);
    cx.event(Event::NotStored { group: group.id.clone(), what: "the empty generation", error });
}

fn sync_phase_is_over(cx: &mut Context<'_>, group: &mut Group) {
    let in_time = group.pending_syncs.is_empty();
    if in_time || !matches!(group.state, GroupState::CompletingRebalance | GroupState::Stable) {
        return;
    }
    for member in std::mem::take(&mut group.pending_syncs) {
        cx.end_session(&group.id, &member);
        group.remove(&member);
        let reason = "did not ask for its assignment within the rebalance timeout";
        cx.event(Event::MemberFailed { group: group.id.clone(), member, reason });
    }
    prepare(cx, group, "members did not sync in time".to_owned());
}

/// Nobody is waited for in the sync phase any more.
pub(super) fn end_sync_phase(cx: &mut Context<'_>, group: &mut Group) {
    group.pending_syncs.clear();
    cx.deadlines.cancel(&Timer::SyncPhase(group.id.clone()));
}

fn session_is_over(cx: &mut Context<'_>, group: &mut Group, member: &MemberId) {
    let reason = "session timed out";
    if group.pending_joins.contains(member) {
        group.remove(member);
        complete_if_everyone_joined_or_timed_out(cx, group);
    } else if let Some(known) = group.members.get(member)
        && !known.is_excused_from_heartbeat()
    {
        cx.event(Event::MemberFailed { group: group.id.clone(), member: member.clone(), reason });
        dismiss(cx, group, member);
        match group.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                prepare(cx, group, format!("member {member} failed"));
            }
            _ => complete_if_everyone_joined_or_timed_out(cx, group),
        }
    }
}

/// As Kafka does: a failure may end even the initial delay, for then everybody who is left has joined.
fn complete_if_everyone_joined_or_timed_out(cx: &mut Context<'_>, group: &mut Group) {
    if group.is_in(GroupState::PreparingRebalance) && group.has_everyone_joined() {
        complete_join_phase(cx, group);
    }
}

/// Removes a member and answers what it had parked: if the client is still there, it joins anew.
pub(super) fn dismiss(cx: &mut Context<'_>, group: &mut Group, member: &MemberId) {
    cx.end_session(&group.id, member);
    if let Some(token) = group.take_join(member) {
        let unknown = JoinAnswer::failed(MemberId::default(), ErrorCode::UnknownMemberId);
        cx.answer_join(token, unknown);
    }
    if let Some(token) = group.members.get_mut(member).and_then(|m| m.awaiting_sync.take()) {
        cx.answer(token, Answer::Sync(SyncAnswer::failed(ErrorCode::UnknownMemberId)));
    }
    group.remove(member);
}
