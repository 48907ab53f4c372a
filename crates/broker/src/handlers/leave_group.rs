//! LeaveGroup (key 13), versions 0-5.
//!
//! v1 throttle time; v3 many members at once, also by their instance alone (KIP-345); v4 flexible; v5 reason
//! (KIP-800). Before v3 one member leaves and its error is that of the answer.

use std::sync::Arc;

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use twinstream_coordinator::group::{Answer, Leave, LeaveAnswer, LeavingMember, Request};
use twinstream_model::ErrorCode;

use super::group_wire::{call, group_id, instance_id, member_id, mismatched, text, wire};
use crate::context::{Broker, Operation, RequestContext};

const MANY_MEMBERS_SINCE: i16 = 3;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let group = group_id(&request.group_id);
    let leave = Leave { group: group.clone(), members: leaving(ctx, &request) };
    let answer = match call(broker, ctx, Operation::Read, &group, Request::Leave(leave)).await {
        Ok(Answer::Leave(answer)) => answer,
        Ok(other) => failed(mismatched(&other)),
        Err(error) => failed(error),
    };
    respond(ctx, answer)
}

pub(crate) fn error_response(ctx: &RequestContext, _request: LeaveGroupRequest, code: ErrorCode) -> LeaveGroupResponse {
    respond(ctx, failed(code))
}

fn failed(error: ErrorCode) -> LeaveAnswer {
    LeaveAnswer { error, members: Vec::new() }
}

fn leaving(ctx: &RequestContext, request: &LeaveGroupRequest) -> Vec<LeavingMember> {
    if ctx.api_version < MANY_MEMBERS_SINCE {
        return vec![LeavingMember { member: member_id(&request.member_id), instance: None, reason: None }];
    }
    let members = request.members.iter().map(|member| LeavingMember {
        member: member_id(&member.member_id),
        instance: instance_id(member.group_instance_id.as_ref()),
        reason: member.reason.as_ref().map(text),
    });
    members.collect()
}

fn respond(ctx: &RequestContext, answer: LeaveAnswer) -> LeaveGroupResponse {
    if ctx.api_version < MANY_MEMBERS_SINCE {
        let of_member = answer.members.first().map_or(ErrorCode::None, |member| member.error);
        let error = if answer.error.is_error() { answer.error } else { of_member };
        ctx.count_error(error);
        return LeaveGroupResponse::default().with_error_code(error.code());
    }
    ctx.count_error(answer.error);
    let members = answer.members.into_iter().map(|member| {
        ctx.count_error(member.error);
        MemberResponse::default()
            .with_member_id(wire(member.member.as_str()))
            .with_group_instance_id(member.instance.map(|instance| wire(instance.as_str())))
            .with_error_code(member.error.code())
    });
    LeaveGroupResponse::default().with_error_code(answer.error.code()).with_members(members.collect())
}
