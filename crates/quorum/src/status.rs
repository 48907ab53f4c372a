//! The quorum as one node sees it.

use twinstream_model::NodeId;
use uuid::Uuid;

/// What this node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Candidate,
    Follower,
    /// Follows without a vote, or is new and belongs to nothing yet.
    Learner,
}

/// The quorum as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether this node has ever belonged to a quorum. A node that has not neither votes nor leads, until
    /// [`crate::QuorumHandle::form`] or a leader tells it who the members are.
    pub formed: bool,
    /// The random id of this node's quorum folder: with the node id it is who this node is.
    pub directory_id: Uuid,
    pub role: Role,
    /// Who leads. A node that was not taken in yet, for instance because its folder is new, names the last node that spoke as leader.
    pub leader: Option<NodeId>,
    pub term: u64,
    /// Whom this node voted for in the term.
    pub vote: Option<NodeId>,
    pub committed: u64,
    pub last_index: u64,
    /// The members that this node has applied, in the order of their ids.
    pub voters: Vec<(NodeId, Uuid)>,
    pub learners: Vec<(NodeId, Uuid)>,
    /// Why this node can take no more part; the process should stop.
    pub failed: Option<String>,
}

impl Status {
    /// Whether the node votes with this directory.
    pub fn is_voter(&self, node: NodeId, directory: Uuid) -> bool {
        self.voters.contains(&(node, directory))
    }

    /// Whether the node follows without a vote.
    pub fn is_learner(&self, node: NodeId) -> bool {
        self.learners.iter().any(|(learner, _)| *learner == node)
    }

    /// The directory under which the node votes, if it does.
    pub fn voter_directory(&self, node: NodeId) -> Option<Uuid> {
        self.voters.iter().find(|(voter, _)| *voter == node).map(|(_, directory)| *directory)
    }
}

/// What the leader knows of all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub leader: NodeId,
    /// The term.
    pub leader_epoch: u64,
    /// The index after the last committed entry.
    pub high_watermark: u64,
    pub replicas: Vec<ReplicaProgress>,
}

/// How far one member is. Times are Unix milliseconds, `None` when it has not happened in this term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaProgress {
    pub node: NodeId,
    pub directory_id: Uuid,
    pub voter: bool,
    /// The index after the last entry that it is known to have on disk.
    pub log_end: u64,
    /// When it was last heard of.
    pub last_fetch_ms: Option<i64>,
    /// When it last had everything that the leader had.
    pub last_caught_up_ms: Option<i64>,
}
