//! The metadata quorum: one replicated, durable log of opaque entries, on the `raft` crate.
//!
//! Picture: a thread per node owns the Raft state machine and its files. Others talk to it through a [`QuorumHandle`]: they propose
//! bytes, hand in messages of peers and read the stream of [`Event`]s, which has every committed entry in order on every node.
//! Sending to peers is somebody else's job behind [`Transport`].
//!
//! Members are in the log, not in the settings: a new quorum is formed once ([`QuorumHandle::form`]), after that the leader adds,
//! promotes and removes members. A member is a node id with the id of its directory (`docs/002-membership.md`).
//!
//! Invariants:
//! - an entry is in the event stream only when a majority of voters has it on disk, fsynced;
//! - nothing that a peer may rely on leaves before it is on disk;
//! - a node that lost its files is not taken for the member that had them: it does not vote, and its answers do not count;
//! - damage of the files is found at start and refused, except a torn tail that nobody relied on;
//! - a failed write or fsync ends the node's part in the quorum: it is never retried over.
//!
//! Not here: what entries mean (`metadata`), sockets and addresses (`broker`). No type of the `raft` crate leaves this crate.

mod driver; // the thread around the state machine
mod envelope; // a message between nodes
#[doc(hidden)]
pub mod fuzzing; // decoders as functions of bytes
mod handle; // what others hold
mod log_bridge; // raft's log lines into tracing
mod membership; // who belongs to the quorum
mod options;
mod status;
mod storage; // files
mod transport;

pub use driver::start;
pub use handle::{Event, MemberChange, MemberError, Proposal, ProposeError, QuorumEntry, QuorumHandle, StepError};
pub use options::{QuorumError, QuorumOptions};
pub use status::{Description, ReplicaProgress, Role, Status};
pub use storage::StorageError;
pub use transport::{Outgoing, Transport, Undeliverable};

use twinstream_model::NodeId;

/// Bound of one proposal.
pub const PROPOSAL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bound of one message between nodes; a snapshot of the metadata is the largest.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bound of the members. Each costs the leader a message per heartbeat; Kafka's largest clusters have some hundreds of nodes.
pub const MEMBERS_MAX: usize = 1000;

/// Raft keeps 0 for "nobody", Kafka's node ids start at 0.
fn raft_id(node: NodeId) -> u64 {
    node.0 as u64 + 1
}

fn node_id(raft_id: u64) -> Option<NodeId> {
    let node = raft_id.checked_sub(1)?;
    i32::try_from(node).ok().map(NodeId)
}

#[cfg(test)]
mod tests;
