//! Heartbeat (key 12), versions 0-4.
//!
//! v1 throttle time; v3 static members (KIP-345); v4 flexible.
//!
//! While the coordinator loads, a heartbeat is answered with success, as in Kafka: the member has a full session
//! from the end of the load, and an error would only make it look for another coordinator.

use std::sync::Arc;

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use twinstream_coordinator::group::{Answer, Generation, Heartbeat, Request};
use twinstream_model::ErrorCode;

use super::group_wire::{call, group_id, instance_id, member_id, mismatched};
use crate::context::{Broker, Operation, RequestContext};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: HeartbeatRequest) -> HeartbeatResponse {
    let group = group_id(&request.group_id);
    let heartbeat = Heartbeat {
        group: group.clone(),
        generation: Generation(request.generation_id),
        member: member_id(&request.member_id),
        instance: instance_id(request.group_instance_id.as_ref()),
    };
    let code = match call(broker, ctx, Operation::Read, &group, Request::Heartbeat(heartbeat)).await {
        Ok(Answer::Heartbeat(code)) => code,
        Ok(other) => mismatched(&other),
        Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(code) => code,
    };
    respond(ctx, code)
}

pub(crate) fn error_response(ctx: &RequestContext, _request: HeartbeatRequest, code: ErrorCode) -> HeartbeatResponse {
    respond(ctx, code)
}

fn respond(ctx: &RequestContext, code: ErrorCode) -> HeartbeatResponse {
    ctx.count_error(code);
    HeartbeatResponse::default().with_error_code(code.code())
}
