//! UnregisterBroker (key 64), version 0: a broker that was stopped leaves for good (KIP-500).
//!
//! Its replicas must be moved elsewhere first or count as lost; a broker that serves clients is refused. It stops following the
//! metadata log, too. A vote in the metadata quorum is another matter: RemoveRaftVoter takes it, and must come first.
//!
//! Every broker answers: one that is not the active controller forwards.

use std::sync::Arc;

use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use twinstream_metadata::controller::BrokerError;
use twinstream_model::{ErrorCode, NodeId};

use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::controller::Forwardable;

impl Forwardable for UnregisterBrokerRequest {
    type Response = UnregisterBrokerResponse;
}

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    match broker.controller.forward(ctx, &request).await {
        Ok(Some(response)) => response,
        Ok(None) => execute(broker, ctx, request).await,
        Err(error) => failed(ctx, error.code(), &error.to_string()),
    }
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: UnregisterBrokerRequest,
    code: ErrorCode,
) -> UnregisterBrokerResponse {
    failed(ctx, code, code.text())
}

/// Decides, on the active controller.
pub(crate) async fn execute(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    if !broker.authorize(ctx, Operation::Alter, Resource::Cluster) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        return failed(ctx, code, code.text());
    }
    let node = NodeId(request.broker_id.0);
    if broker.controller.quorum_status().voter_directory(node).is_some() {
        let message = format!(
            "node {node} votes in the metadata quorum; remove it there first (kafka-metadata-quorum remove-controller)"
        );
        return failed(ctx, ErrorCode::InvalidRequest, &message);
    }
    match broker.controller.decide(move |controller, _| controller.unregister_broker(node)).await {
        Ok(Ok(())) => tracing::info!(%node, "broker is unregistered"),
        // An earlier try got no further.
        Ok(Err(BrokerError::NotRegistered(_))) if broker.controller.quorum_status().is_learner(node) => {}
        Ok(Err(error)) => return failed(ctx, error.code(), &error.to_string()),
        Err(error) => return failed(ctx, error.code(), &error.to_string()),
    }
    match broker.controller.forget_follower(node).await {
        Ok(()) => UnregisterBrokerResponse::default(),
        Err((code, message)) => failed(ctx, code, &message),
    }
}

fn failed(ctx: &RequestContext, code: ErrorCode, message: &str) -> UnregisterBrokerResponse {
    ctx.count_error(code);
    UnregisterBrokerResponse::default().with_error_code(code.code()).with_error_message(Some(text(message)))
}
