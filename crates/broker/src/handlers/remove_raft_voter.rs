//! RemoveRaftVoter (key 81), version 0: a node loses its vote in the metadata quorum (KIP-853).
//!
//! It follows on without one. The leader hands over first when it is the one to go, and the client is told to ask the new leader. A node
//! whose own `controller.quorum.voters` names it asks for its vote again when it restarts: take it out of that list, too.
//!
//! Every broker answers: one that is not the active controller forwards.

use std::sync::Arc;

use kafka_protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use twinstream_model::{ClusterId, ErrorCode, NodeId};

use super::add_raft_voter::check_cluster;
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::controller::Forwardable;

impl Forwardable for RemoveRaftVoterRequest {
    type Response = RemoveRaftVoterResponse;
}

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: RemoveRaftVoterRequest,
) -> RemoveRaftVoterResponse {
    match broker.controller.forward(ctx, &request).await {
        Ok(Some(response)) => response,
        Ok(None) => execute(broker, ctx, request).await,
        Err(error) => failed(ctx, error.code(), &error.to_string()),
    }
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: RemoveRaftVoterRequest,
    code: ErrorCode,
) -> RemoveRaftVoterResponse {
    failed(ctx, code, code.text())
}

/// Decides, on the active controller.
pub(crate) async fn execute(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: RemoveRaftVoterRequest,
) -> RemoveRaftVoterResponse {
    if !broker.authorize(ctx, Operation::Alter, Resource::Cluster) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        return failed(ctx, code, code.text());
    }
    if let Err((code, message)) = check_cluster(&broker.image.load(), request.cluster_id.as_deref()) {
        return failed(ctx, code, &message);
    }
    let node = NodeId(request.voter_id);
    if !broker.controller.quorum_status().is_voter(node, request.voter_directory_id) {
        let directory = ClusterId::from_uuid(request.voter_directory_id);
        let message = format!("node {node} does not vote with directory {directory}");
        return failed(ctx, ErrorCode::VoterNotFound, &message);
    }
    match broker.controller.remove_voter(node, request.voter_directory_id).await {
        Ok(()) => RemoveRaftVoterResponse::default(),
        Err((code, message)) => failed(ctx, code, &message),
    }
}

fn failed(ctx: &RequestContext, code: ErrorCode, message: &str) -> RemoveRaftVoterResponse {
    ctx.count_error(code);
    RemoveRaftVoterResponse::default().with_error_code(code.code()).with_error_message(Some(text(message)))
}
