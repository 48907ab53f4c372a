//! DescribeAcls (key 29), versions 1-3.
//!
//! v1 pattern types (KIP-290); v2 flexible; v3 users as resources.
//!
//! A cluster without an authorizer has no ACLs: SECURITY_DISABLED, as from Kafka. Kafka's authorizer class is refused by the settings,
//! so there is no other cluster yet.

use std::sync::Arc;

use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use twinstream_model::ErrorCode;

use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext, Resource};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeAclsRequest,
) -> DescribeAclsResponse {
    if !broker.authorize(ctx, Operation::Describe, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    refusal(ctx, ErrorCode::SecurityDisabled, "No Authorizer is configured on the broker")
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: DescribeAclsRequest,
    code: ErrorCode,
) -> DescribeAclsResponse {
    refusal(ctx, code, code.text())
}

fn refusal(ctx: &RequestContext, code: ErrorCode, message: &str) -> DescribeAclsResponse {
    ctx.count_error(code);
    DescribeAclsResponse::default().with_error_code(code.code()).with_error_message(Some(text(message)))
}
