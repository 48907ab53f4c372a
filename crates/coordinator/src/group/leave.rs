//! Heartbeat and LeaveGroup: staying and going.

use twinstream_model::ErrorCode;

use super::rebalance::{complete_if_everyone_joined, dismiss, prepare};
use super::request::{GroupState, Heartbeat, InstanceId, Leave, LeaveAnswer, LeavingMember, LeftMember, MemberId};
use super::state::Group;
use super::{Answer, Context, Decision, Event, GroupShard};
use crate::{Now, Token};

impl GroupShard {
    pub(super) fn heartbeat(&mut self, now: Now, token: Token, heartbeat: &Heartbeat) -> Decision {
        let refuse = |error| Decision::answer(token, Answer::Heartbeat(error));
        if heartbeat.group.as_str().is_empty() {
            return refuse(ErrorCode::InvalidGroupId);
        }
        if self.consumers.contains_key(&heartbeat.group) {
            return self.heartbeat_consumer_group(now, token, heartbeat);
        }
        let decision = self.with_group(now, &heartbeat.group, |cx, group| {
            let error = beat(cx, group, heartbeat).err().unwrap_or(ErrorCode::None);
            cx.answer(token, Answer::Heartbeat(error));
        });
        decision.unwrap_or_else(|| refuse(ErrorCode::UnknownMemberId))
    }

    pub(super) fn leave(&mut self, now: Now, token: Token, leave: Leave) -> Decision {
        if leave.group.as_str().is_empty() {
            let answer = LeaveAnswer { error: ErrorCode::InvalidGroupId, members: Vec::new() };
            return Decision::answer(token, Answer::Leave(answer));
        }
        if self.consumers.contains_key(&leave.group) {
            return self.leave_consumer_group(now, token, &leave);
        }
        let decision = self.with_group(now, &leave.group, |cx, group| {
            let members = leave_group(cx, group, &leave.members);
            cx.answer(token, Answer::Leave(LeaveAnswer { error: ErrorCode::None, members }));
        });
        decision.unwrap_or_else(|| {
            let unknown = leave.members.iter().map(|m| left(m, ErrorCode::UnknownMemberId)).collect();
            let answer = LeaveAnswer { error: ErrorCode::None, members: unknown };
            Decision::answer(token, Answer::Leave(answer))
        })
    }
}

fn beat(cx: &mut Context<'_>, group: &mut Group, heartbeat: &Heartbeat) -> Result<(), ErrorCode> {
    group.check_member(&heartbeat.member, heartbeat.instance.as_ref())?;
    if heartbeat.generation != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    if let Some(member) = group.members.get(&heartbeat.member) {
        cx.renew_session(&group.id, &member.id, member.session_timeout_ms);
    }
    match group.state {
        GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
        // Consumers may heartbeat between their join and their sync.
        GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        GroupState::Empty | GroupState::Dead => Err(ErrorCode::UnknownMemberId),
    }
}

fn leave_group(cx: &mut Context<'_>, group: &mut Group, leaving: &[LeavingMember]) -> Vec<LeftMember> {
    let members_before = group.members.len();
    let answers: Vec<LeftMember> = leaving
        .iter()
        .map(|member| left(member, leave_one(cx, group, member).err().unwrap_or(ErrorCode::None)))
        .collect();
    let has_member_left = group.members.len() < members_before;
    match group.state {
        // A pending member that goes was never counted: nobody needs to hear of it.
        GroupState::Stable | GroupState::CompletingRebalance if has_member_left => {
            prepare(cx, group, "members left".to_owned());
        }
        GroupState::PreparingRebalance => complete_if_everyone_joined(cx, group),
        _ => (),
    }
    answers
}

fn leave_one(cx: &mut Context<'_>, group: &mut Group, leaving: &LeavingMember) -> Result<(), ErrorCode> {
    let member = if leaving.member.is_unknown() {
        member_of_instance(group, leaving.instance.as_ref())?
    } else if group.pending_joins.contains(&leaving.member) {
        leaving.member.clone()
    } else {
        group.check_member(&leaving.member, leaving.instance.as_ref())?;
        leaving.member.clone()
    };
    dismiss(cx, group, &member);
    let reason = leaving.reason.as_deref().unwrap_or("not provided").to_owned();
    cx.event(Event::MemberLeft { group: group.id.clone(), member, reason });
    Ok(())
}

/// An administrator removes a static member by its instance alone.
fn member_of_instance(group: &Group, instance: Option<&InstanceId>) -> Result<MemberId, ErrorCode> {
    let member = instance.and_then(|instance| group.static_members.get(instance));
    member.cloned().ok_or(ErrorCode::UnknownMemberId)
}

fn left(leaving: &LeavingMember, error: ErrorCode) -> LeftMember {
    LeftMember { member: leaving.member.clone(), instance: leaving.instance.clone(), error }
}
