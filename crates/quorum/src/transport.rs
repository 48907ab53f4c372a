//! How messages leave this node.

use bytes::Bytes;
use thiserror::Error;
use twinstream_model::NodeId;

/// One message for one peer. The receiver hands `bytes` to its [`crate::QuorumHandle::step`].
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub to: NodeId,
    pub bytes: Bytes,
    /// A snapshot: when it is delivered or lost, the transport must say so with [`crate::QuorumHandle::snapshot_sent`], because
    /// the leader sends that peer nothing else until then.
    pub snapshot: bool,
}

/// The message was dropped. Raft repeats what matters.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Undeliverable {
    #[error("no address of the node is known")]
    NoAddress,
    #[error("the queue to the node is full")]
    QueueFull,
}

/// Sends messages to peers without ever blocking: a bounded queue per peer, and what does not fit is dropped.
pub trait Transport: Send + Sync + 'static {
    fn send(&self, message: Outgoing) -> Result<(), Undeliverable>;
}
