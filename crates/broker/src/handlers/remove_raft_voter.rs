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
use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

impl Forwardable for RemoveRaftVoterRequest {
    type Response = RemoveRaftVoterResponse;
}

impl ByController for RemoveRaftVoterRequest {
    const NEEDS: Option<Operation> = Some(Operation::Alter);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> RemoveRaftVoterResponse {
        if let Err((code, message)) = check_cluster(&broker.image.load(), self.cluster_id.as_deref()) {
            return self.failed(ctx, code, &message);
        }
        let node = NodeId(self.voter_id);
        if !broker.controller.quorum_status().is_voter(node, self.voter_directory_id) {
            let directory = ClusterId::from_uuid(self.voter_directory_id);
            let message = format!("node {node} does not vote with directory {directory}");
            return self.failed(ctx, ErrorCode::VoterNotFound, &message);
        }
        match broker.controller.remove_voter(node, self.voter_directory_id).await {
            Ok(()) => RemoveRaftVoterResponse::default(),
            Err((code, message)) => self.failed(ctx, code, &message),
        }
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> RemoveRaftVoterResponse {
        ctx.count_error(code);
        RemoveRaftVoterResponse::default().with_error_code(code.code()).with_error_message(Some(text(message)))
    }
}
