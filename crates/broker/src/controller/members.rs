//! Who follows the metadata log and who votes, as nodes come.
//!
//! Picture: a node that registers says which metadata directory it has. When the quorum knows the node with another one, the node has
//! lost its log and its vote with it: it follows from the beginning, and gets a vote again when it has caught up (KIP-853). The leader
//! does this by itself for nodes whose settings name them as voters; [`QuorumHandle`](twinstream_quorum::QuorumHandle) takes care that
//! one change comes after the other and that a lagging node gets no vote.
//!
//! Not here: changes by hand (`handlers::add_raft_voter`, `handlers::remove_raft_voter`).

use std::sync::Arc;
use std::time::Duration;

use twinstream_model::{ClusterId, ErrorCode, NodeId};
use twinstream_quorum::{Description, MemberError, ProposeError};
use uuid::Uuid;

use super::ask::Refusal;
use super::{ControllerClient, Shared};

/// Before a node that lags is looked at again.
const PROMOTION_PAUSE: Duration = Duration::from_millis(500);

/// Lets a node follow the log, and gives it a vote later if it wants one.
pub(super) async fn take_in(
    shared: &Arc<Shared>,
    node: NodeId,
    directory: Uuid,
    wants_vote: bool,
) -> Result<(), MemberError> {
    let status = shared.quorum.status();
    if status.is_voter(node, directory) {
        return Ok(());
    }
    if let Some(lost) = status.voter_directory(node) {
        tracing::warn!(
            %node,
            lost_directory = %ClusterId::from_uuid(lost),
            directory = %ClusterId::from_uuid(directory),
            "a voter came back with another metadata directory, its vote is suspended until it has caught up"
        );
    }
    shared.quorum.add_learner(node, directory).await?;
    if wants_vote && shared.promotions.lock().insert((node, directory)) {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            tokio::select! {
                () = promote(&shared, node, directory) => {}
                () = shared.shutdown.cancelled() => {}
            }
            shared.promotions.lock().remove(&(node, directory));
        });
    }
    Ok(())
}

/// Gives a node a vote as soon as it has caught up, as long as this node leads and that one keeps its directory.
async fn promote(shared: &Arc<Shared>, node: NodeId, directory: Uuid) {
    while shared.is_active() && has_directory(shared, node, directory) {
        match shared.quorum.add_voter(node, directory).await {
            Ok(_) => {
                tracing::info!(%node, directory = %ClusterId::from_uuid(directory), "node has caught up and votes in the metadata quorum");
                return;
            }
            Err(MemberError::NotCaughtUp { behind, .. }) => {
                tracing::debug!(%node, behind, "node does not vote yet");
            }
            Err(MemberError::Proposal(ProposeError::NotLeader | ProposeError::Superseded | ProposeError::Stopped)) => {
                return;
            }
            Err(error) => tracing::warn!(%node, %error, "node does not get its vote yet, trying on"),
        }
        tokio::time::sleep(PROMOTION_PAUSE).await;
    }
}

fn has_directory(shared: &Shared, node: NodeId, directory: Uuid) -> bool {
    let image = shared.image.load();
    image.broker(node).is_some_and(|broker| broker.metadata_directory == Some(directory))
}

impl ControllerClient {
    /// The quorum as its leader, this node, knows it.
    pub(crate) async fn describe_quorum(&self) -> Result<Description, Refusal> {
        self.shared.quorum.describe().await.map_err(|error| refusal(error.into()))
    }

    /// Gives a node a vote, when it has caught up.
    pub(crate) async fn add_voter(&self, node: NodeId, directory: Uuid) -> Result<(), Refusal> {
        self.shared.quorum.add_voter(node, directory).await.map_err(refusal)?;
        tracing::info!(%node, directory = %ClusterId::from_uuid(directory), "node votes in the metadata quorum");
        Ok(())
    }

    /// Takes a node's vote; it follows on without one.
    pub(crate) async fn remove_voter(&self, node: NodeId, directory: Uuid) -> Result<(), Refusal> {
        self.shared.quorum.remove_voter(node, Some(directory)).await.map_err(refusal)?;
        tracing::info!(%node, directory = %ClusterId::from_uuid(directory), "node does not vote in the metadata quorum any more");
        Ok(())
    }

    /// A node that is gone for good follows the log no more.
    pub(crate) async fn forget_follower(&self, node: NodeId) -> Result<(), Refusal> {
        match self.shared.quorum.remove_member(node).await {
            Ok(_) | Err(MemberError::NotAMember(_)) => Ok(()),
            Err(error) => Err(refusal(error)),
        }
    }

    /// Host and port at which other nodes reach this one.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<(String, u16)> {
        self.shared.address_of(node)
    }
}

/// Why the members did not change, for the one who asked.
pub(super) fn refusal(error: MemberError) -> Refusal {
    (code(&error), error.to_string())
}

/// The error on the wire.
fn code(error: &MemberError) -> ErrorCode {
    match error {
        MemberError::Proposal(ProposeError::NotLeader | ProposeError::Superseded | ProposeError::Stopped)
        | MemberError::Leads(_) => ErrorCode::NotController,
        MemberError::Proposal(ProposeError::Busy) => ErrorCode::ThrottlingQuotaExceeded,
        MemberError::Proposal(ProposeError::TooLarge(_)) => ErrorCode::InvalidRequest,
        MemberError::NotCaughtUp { .. } | MemberError::NoSuccessor | MemberError::NotTakenOver => {
            ErrorCode::RequestTimedOut
        }
        MemberError::NotAMember(_) | MemberError::OtherDirectory { .. } => ErrorCode::VoterNotFound,
        MemberError::LastVoter(_) | MemberError::TooMany | MemberError::Formed | MemberError::NotAmongVoters(_) => {
            ErrorCode::InvalidRequest
        }
    }
}
