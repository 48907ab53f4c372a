//! DeleteGroups (key 42), versions 0-2 (KIP-229).
//!
//! v1 throttle time; v2 flexible. A group with members is NON_EMPTY_GROUP, an unknown one GROUP_ID_NOT_FOUND; the
//! committed offsets go with the group.

use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId as WireGroupId};
use twinstream_coordinator::group::{Answer, Request};
use twinstream_model::ErrorCode;

use super::by_controller::once_each;
use super::group_wire::{call, group_id, mismatched};
use crate::context::{Broker, Operation, RequestContext};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let names = once_each(request.groups_names, Clone::clone);
    let results = names.into_iter().map(async |id| {
        let code = delete(broker, ctx, &id).await;
        result(ctx, id, code)
    });
    DeleteGroupsResponse::default().with_results(join_all(results).await)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: DeleteGroupsRequest,
    code: ErrorCode,
) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|id| result(ctx, id, code));
    DeleteGroupsResponse::default().with_results(results.collect())
}

async fn delete(broker: &Arc<Broker>, ctx: &RequestContext, id: &WireGroupId) -> ErrorCode {
    let group = group_id(id);
    match call(broker, ctx, Operation::Delete, &group, Request::Delete(group.clone())).await {
        Ok(Answer::Delete(code)) => code,
        Ok(other) => mismatched(&other),
        Err(code) => code,
    }
}

fn result(ctx: &RequestContext, id: WireGroupId, code: ErrorCode) -> DeletableGroupResult {
    ctx.count_error(code);
    DeletableGroupResult::default().with_group_id(id).with_error_code(code.code())
}
