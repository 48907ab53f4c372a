//! What a node needs to know to take part, and why it may fail to start.

use std::{path::PathBuf, time::Duration};

use thiserror::Error;
use twinstream_model::NodeId;

use crate::storage::StorageError;

/// How a node takes part in the quorum.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    pub node_id: NodeId,
    /// The nodes with a vote, the same list on every node. A node that is not in it follows as a learner.
    pub voters: Vec<NodeId>,
    /// A folder of this quorum alone; it is made when missing.
    pub directory: PathBuf,
    /// A follower that hears no leader for this long starts an election.
    pub election_timeout: Duration,
    /// Committed entries between two snapshots; the owner of the state is asked by [`crate::QuorumHandle::wants_snapshot`].
    pub snapshot_after_entries: u64,
}

impl QuorumOptions {
    pub fn new(node_id: NodeId, voters: Vec<NodeId>, directory: impl Into<PathBuf>) -> Self {
        Self {
            node_id,
            voters,
            directory: directory.into(),
            election_timeout: Duration::from_millis(1000),
            snapshot_after_entries: 5000,
        }
    }

    pub(crate) fn check(&self) -> Result<(), QuorumError> {
        if self.voters.is_empty() {
            return Err(QuorumError::NoVoters);
        }
        let negative = |node: &&NodeId| node.0 < 0;
        if let Some(node) = self.voters.iter().chain([&self.node_id]).find(negative) {
            return Err(QuorumError::NegativeNode(*node));
        }
        Ok(())
    }
}

/// Why the quorum did not start.
#[derive(Debug, Error)]
pub enum QuorumError {
    #[error("the quorum has no voters; name them in controller.quorum.voters")]
    NoVoters,
    #[error("node id {0} is negative; node.id starts at 0")]
    NegativeNode(NodeId),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the raft state machine refused to start: {0}")]
    Raft(String),
    #[error("cannot start the quorum thread")]
    Thread(#[source] std::io::Error),
}
