//! AddRaftVoter (key 80), version 0: a node that follows the metadata log gets a vote (KIP-853).
//!
//! The node must be registered and have the controller role, because it would refuse to start with a vote and without the role. The
//! directory id may be that of its metadata directory, as `kafka-metadata-quorum describe` shows it,
//! or that of any of its log directories, which is what `kafka-metadata-quorum add-controller` reads from `meta.properties`. The
//! addresses in the request are not used: a node is reached where it registered.
//!
//! Every broker answers: one that is not the active controller forwards.

use std::sync::Arc;

use kafka_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};
use twinstream_metadata::Image;
use twinstream_model::{ClusterId, ErrorCode, NodeId};
use uuid::Uuid;

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

impl Forwardable for AddRaftVoterRequest {
    type Response = AddRaftVoterResponse;
}

impl ByController for AddRaftVoterRequest {
    const NEEDS: Option<Operation> = Some(Operation::Alter);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> AddRaftVoterResponse {
        let node = NodeId(self.voter_id);
        let image = broker.image.load_full();
        let checked = check_cluster(&image, self.cluster_id.as_deref())
            .and_then(|()| metadata_directory(&image, node, self.voter_directory_id));
        let directory = match checked {
            Ok(directory) => directory,
            Err((code, message)) => return self.failed(ctx, code, &message),
        };
        if broker.controller.quorum_status().is_voter(node, directory) {
            let message = format!("node {node} votes in the metadata quorum already");
            return self.failed(ctx, ErrorCode::DuplicateVoter, &message);
        }
        match broker.controller.add_voter(node, directory).await {
            Ok(()) => AddRaftVoterResponse::default(),
            Err((code, message)) => self.failed(ctx, code, &message),
        }
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> AddRaftVoterResponse {
        ctx.count_error(code);
        AddRaftVoterResponse::default().with_error_code(code.code()).with_error_message(Some(text(message)))
    }
}

/// A request may name the cluster that it is meant for.
pub(super) fn check_cluster(image: &Image, named: Option<&str>) -> Result<(), (ErrorCode, String)> {
    match (named, image.cluster_id()) {
        (Some(named), Some(own)) if named != own.as_str() => Err((
            ErrorCode::InconsistentClusterId,
            format!("this is cluster {own}, the request is for cluster {named}"),
        )),
        _ => Ok(()),
    }
}

/// The node's metadata directory, if the named one is it or belongs to the node.
fn metadata_directory(image: &Image, node: NodeId, named: Uuid) -> Result<Uuid, (ErrorCode, String)> {
    let registered = image.broker(node).and_then(|known| Some((known, known.metadata_directory?)));
    let Some((known, directory)) = registered else {
        return Err((ErrorCode::VoterNotFound, format!("node {node} is not registered; start it first")));
    };
    if !known.controller {
        let message = format!(
            "node {node} has no controller role; add controller to its process.roles and restart it, then ask again"
        );
        return Err((ErrorCode::InvalidRequest, message));
    }
    if named == directory || known.directories.contains(&named) {
        return Ok(directory);
    }
    let (named, directory) = (ClusterId::from_uuid(named), ClusterId::from_uuid(directory));
    let message = format!("node {node} has no directory with the id {named}; its metadata directory is {directory}");
    Err((ErrorCode::InvalidVoterKey, message))
}
