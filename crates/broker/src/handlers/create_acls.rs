//! CreateAcls (key 30), versions 1-3.
//!
//! v1 pattern types (KIP-290); v2 flexible; v3 users as resources.
//!
//! A cluster without an authorizer keeps no ACLs: each one of the request is SECURITY_DISABLED, as from Kafka.

use std::sync::Arc;

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};
use twinstream_model::ErrorCode;

use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext, Resource};

/// What a cluster without an authorizer says, in Kafka's words.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: CreateAclsRequest,
) -> CreateAclsResponse {
    if !broker.authorize(ctx, Operation::Alter, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    refusal(ctx, &request, ErrorCode::SecurityDisabled, NO_AUTHORIZER)
}

pub(crate) fn error_response(ctx: &RequestContext, request: CreateAclsRequest, code: ErrorCode) -> CreateAclsResponse {
    refusal(ctx, &request, code, code.text())
}

fn refusal(ctx: &RequestContext, request: &CreateAclsRequest, code: ErrorCode, message: &str) -> CreateAclsResponse {
    ctx.count_error(code);
    let refused = AclCreationResult::default().with_error_code(code.code()).with_error_message(Some(text(message)));
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}
