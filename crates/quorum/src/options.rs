//! What a node needs to know to take part, and why it may fail to start.

use std::{path::PathBuf, time::Duration};

use thiserror::Error;
use twinstream_model::NodeId;

use crate::storage::StorageError;

/// How a node takes part in the quorum. Who else does is in the log.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    pub node_id: NodeId,
    /// A folder of this quorum alone; it is made when missing, and gets a random id then.
    pub directory: PathBuf,
    /// A voter that hears no leader for one to two times this long starts an election.
    pub election_timeout: Duration,
    /// How long a learner that is to get a vote may take to catch up before the request is answered with how far it is.
    pub catch_up_timeout: Duration,
    /// Committed entries between two snapshots; the owner of the state is asked by [`crate::QuorumHandle::wants_snapshot`].
    pub snapshot_after_entries: u64,
}

impl QuorumOptions {
    pub fn new(node_id: NodeId, directory: impl Into<PathBuf>) -> Self {
        Self {
            node_id,
            directory: directory.into(),
            election_timeout: Duration::from_millis(500),
            catch_up_timeout: Duration::from_secs(10),
            snapshot_after_entries: 5000,
        }
    }

    pub(crate) fn check(&self) -> Result<(), QuorumError> {
        if self.node_id.0 < 0 {
            return Err(QuorumError::NegativeNode(self.node_id));
        }
        Ok(())
    }
}

/// Why the quorum did not start.
#[derive(Debug, Error)]
pub enum QuorumError {
    #[error("node id {0} is negative; node.id starts at 0")]
    NegativeNode(NodeId),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the raft state machine refused to start: {0}")]
    Raft(String),
    #[error("cannot start the quorum thread")]
    Thread(#[source] std::io::Error),
}
