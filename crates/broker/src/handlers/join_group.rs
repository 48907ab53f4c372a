//! JoinGroup (key 11), versions 0-9.
//!
//! v1 rebalance timeout (before: the session timeout stands for both); v2 throttle time; v4 MEMBER_ID_REQUIRED
//! (KIP-394); v5 static members (KIP-345); v6 flexible; v7 protocol type in the answer (KIP-559); v8 reason
//! (KIP-800); v9 skip-assignment (KIP-814).
//!
//! The answer may take a whole rebalance; the connection waits, as in Kafka, while its client is there.

use std::sync::Arc;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use twinstream_coordinator::group::{Answer, Generation, Join, JoinAnswer, Protocol, Request};
use twinstream_model::ErrorCode;
use uuid::Uuid;

use super::group_wire::{call_while_there, group_id, instance_id, kept_bytes, member_id, mismatched, text, wire};
use crate::context::{Broker, Operation, RequestContext};

const REBALANCE_TIMEOUT_SINCE: i16 = 1;
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
const NULLABLE_PROTOCOL_SINCE: i16 = 7;
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: JoinGroupRequest) -> JoinGroupResponse {
    let group = group_id(&request.group_id);
    let member = member_id(&request.member_id);
    let join = Request::Join(parse(broker, ctx, request));
    let answer = match call_while_there(broker, ctx, Operation::Read, &group, join).await {
        Ok(Answer::Join(answer)) => answer,
        Ok(other) => JoinAnswer::failed(member, mismatched(&other)),
        Err(error) => JoinAnswer::failed(member, error),
    };
    respond(ctx, answer)
}

pub(crate) fn error_response(ctx: &RequestContext, request: JoinGroupRequest, code: ErrorCode) -> JoinGroupResponse {
    respond(ctx, JoinAnswer::failed(member_id(&request.member_id), code))
}

fn parse(broker: &Broker, ctx: &RequestContext, request: JoinGroupRequest) -> Join {
    let has_rebalance_timeout = ctx.api_version >= REBALANCE_TIMEOUT_SINCE;
    let protocols = request.protocols.iter();
    Join {
        group: group_id(&request.group_id),
        member: member_id(&request.member_id),
        instance: instance_id(request.group_instance_id.as_ref()),
        client_id: ctx.client_id().into(),
        client_host: format!("/{}", ctx.peer.ip()).into(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: match has_rebalance_timeout {
            true => request.rebalance_timeout_ms,
            false => request.session_timeout_ms,
        },
        protocol_type: text(&request.protocol_type),
        protocols: protocols.map(|p| Protocol { name: text(&p.name), metadata: kept_bytes(&p.metadata) }).collect(),
        reason: request.reason.as_ref().map(text),
        requires_member_id: ctx.api_version >= MEMBER_ID_REQUIRED_SINCE,
        can_skip_assignment: ctx.api_version >= SKIP_ASSIGNMENT_SINCE,
        cluster: Some(broker.groups.cluster()),
        fresh_id: Uuid::new_v4(),
    }
}

fn respond(ctx: &RequestContext, answer: JoinAnswer) -> JoinGroupResponse {
    ctx.count_error(answer.error);
    let protocol = answer.protocol.as_deref();
    let protocol = if ctx.api_version < NULLABLE_PROTOCOL_SINCE { protocol.or(Some("")) } else { protocol };
    let members = answer.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(wire(member.member.as_str()))
            .with_group_instance_id(member.instance.map(|instance| wire(instance.as_str())))
            .with_metadata(member.metadata)
    });
    let Generation(generation) = answer.generation;
    JoinGroupResponse::default()
        .with_error_code(answer.error.code())
        .with_generation_id(generation)
        .with_protocol_type(answer.protocol_type.as_deref().map(wire))
        .with_protocol_name(protocol.map(wire))
        .with_leader(wire(answer.leader.as_str()))
        .with_skip_assignment(answer.skip_assignment)
        .with_member_id(wire(answer.member.as_str()))
        .with_members(members.collect())
}
