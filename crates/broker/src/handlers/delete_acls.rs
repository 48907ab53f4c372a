//! DeleteAcls (key 31), versions 1-3.
//!
//! v1 pattern types (KIP-290); v2 flexible; v3 users as resources.
//!
//! A cluster without an authorizer keeps no ACLs: each filter of the request is SECURITY_DISABLED, as from Kafka.

use std::sync::Arc;

use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};
use twinstream_model::ErrorCode;

use super::config_view::text;
use super::create_acls::NO_AUTHORIZER;
use crate::context::{Broker, Operation, RequestContext, Resource};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DeleteAclsRequest,
) -> DeleteAclsResponse {
    if !broker.authorize(ctx, Operation::Alter, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    refusal(ctx, &request, ErrorCode::SecurityDisabled, NO_AUTHORIZER)
}

pub(crate) fn error_response(ctx: &RequestContext, request: DeleteAclsRequest, code: ErrorCode) -> DeleteAclsResponse {
    refusal(ctx, &request, code, code.text())
}

fn refusal(ctx: &RequestContext, request: &DeleteAclsRequest, code: ErrorCode, message: &str) -> DeleteAclsResponse {
    ctx.count_error(code);
    let refused =
        DeleteAclsFilterResult::default().with_error_code(code.code()).with_error_message(Some(text(message)));
    DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
}
