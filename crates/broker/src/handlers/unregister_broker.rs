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

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

impl Forwardable for UnregisterBrokerRequest {
    type Response = UnregisterBrokerResponse;
}

impl ByController for UnregisterBrokerRequest {
    const NEEDS: Option<Operation> = Some(Operation::Alter);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> UnregisterBrokerResponse {
        let node = NodeId(self.broker_id.0);
        if broker.controller.quorum_status().voter_directory(node).is_some() {
            let message = format!(
                "node {node} votes in the metadata quorum; remove it there first (kafka-metadata-quorum remove-controller)"
            );
            return self.failed(ctx, ErrorCode::InvalidRequest, &message);
        }
        match broker.controller.decide(move |controller, _| controller.unregister_broker(node)).await {
            Ok(Ok(())) => tracing::info!(%node, "broker is unregistered"),
            // An earlier try got no further.
            Ok(Err(BrokerError::NotRegistered(_))) if broker.controller.quorum_status().is_learner(node) => {}
            Ok(Err(error)) => return self.failed(ctx, error.code(), &error.to_string()),
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        }
        match broker.controller.forget_follower(node).await {
            Ok(()) => UnregisterBrokerResponse::default(),
            Err((code, message)) => self.failed(ctx, code, &message),
        }
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> UnregisterBrokerResponse {
        ctx.count_error(code);
        UnregisterBrokerResponse::default().with_error_code(code.code()).with_error_message(Some(text(message)))
    }
}
