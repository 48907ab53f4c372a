//! SyncGroup (key 14), versions 0-5.
//!
//! v1 throttle time; v3 static members (KIP-345); v4 flexible; v5 protocol type and name, checked against the
//! group's (KIP-559).

use std::sync::Arc;

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use twinstream_coordinator::group::{Answer, Generation, Request, Sync, SyncAnswer};
use twinstream_model::ErrorCode;

use super::group_wire::{call_while_there, group_id, instance_id, kept_bytes, member_id, mismatched, text, wire};
use crate::context::{Broker, Operation, RequestContext};

/// From here on members say what protocol they believe in.
const NAMES_PROTOCOL_SINCE: i16 = 5;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: SyncGroupRequest) -> SyncGroupResponse {
    if lacks_protocol(ctx, &request) {
        return respond(ctx, SyncAnswer::failed(ErrorCode::InconsistentGroupProtocol));
    }
    let group = group_id(&request.group_id);
    let assignments = request.assignments.iter();
    let sync = Sync {
        group: group.clone(),
        generation: Generation(request.generation_id),
        member: member_id(&request.member_id),
        instance: instance_id(request.group_instance_id.as_ref()),
        protocol_type: request.protocol_type.as_ref().map(text),
        protocol: request.protocol_name.as_ref().map(text),
        assignments: assignments.map(|a| (member_id(&a.member_id), kept_bytes(&a.assignment))).collect(),
    };
    let answer = match call_while_there(broker, ctx, Operation::Read, &group, Request::Sync(sync)).await {
        Ok(Answer::Sync(answer)) => answer,
        Ok(other) => SyncAnswer::failed(mismatched(&other)),
        Err(error) => SyncAnswer::failed(error),
    };
    respond(ctx, answer)
}

/// Whether a version that has to name the protocol leaves a part of it out (KIP-559).
fn lacks_protocol(ctx: &RequestContext, request: &SyncGroupRequest) -> bool {
    ctx.api_version >= NAMES_PROTOCOL_SINCE && (request.protocol_type.is_none() || request.protocol_name.is_none())
}

pub(crate) fn error_response(ctx: &RequestContext, _request: SyncGroupRequest, code: ErrorCode) -> SyncGroupResponse {
    respond(ctx, SyncAnswer::failed(code))
}

fn respond(ctx: &RequestContext, answer: SyncAnswer) -> SyncGroupResponse {
    ctx.count_error(answer.error);
    SyncGroupResponse::default()
        .with_error_code(answer.error.code())
        .with_protocol_type(answer.protocol_type.as_deref().map(wire))
        .with_protocol_name(answer.protocol.as_deref().map(wire))
        .with_assignment(answer.assignment)
}
