//! What the rest of the process holds of the quorum.
//!
//! Every verb here is a message to the quorum thread over one bounded queue. When it is full, messages of peers are dropped (Raft
//! repeats them) and proposals answer [`ProposeError::Busy`].

use std::{
    future::Future,
    pin::Pin,
    sync::mpsc::{SyncSender, TrySendError},
    task::{Context, Poll},
};

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use twinstream_model::NodeId;

use crate::{MESSAGE_BYTES_MAX, PROPOSAL_BYTES_MAX, node_id, raft_id};

/// One committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumEntry {
    pub index: u64,
    pub term: u64,
    pub data: Bytes,
}

/// What happened to the log, in order. Every node sees the same entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Forget the state and load this one: it holds all entries up to `index`.
    Snapshot { index: u64, data: Bytes },
    /// These entries are committed. Indexes grow, with holes where the quorum itself wrote. All up to `through` are now known.
    Entries { entries: Vec<QuorumEntry>, through: u64 },
    /// This node leads, and everything that earlier leaders committed came before this event.
    Leading { term: u64 },
    /// This node leads no more; what it proposed and was not told to be committed may or may not come.
    Resigned,
}

/// What this node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Candidate,
    Follower,
    /// Follows without a vote.
    Learner,
}

/// The quorum as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub role: Role,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub committed: u64,
    pub last_index: u64,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// Why this node can take no more part; the process should stop.
    pub failed: Option<String>,
}

/// Why a proposal was not committed, as far as this node knows.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProposeError {
    #[error("this node does not lead the metadata quorum")]
    NotLeader,
    #[error("another leader took over before the entry was committed")]
    Superseded,
    #[error("the quorum has too much to do")]
    Busy,
    #[error("a proposal of {0} bytes is over the bound of {PROPOSAL_BYTES_MAX}")]
    TooLarge(usize),
    #[error("the quorum has stopped")]
    Stopped,
}

/// Why a peer's message was not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StepError {
    #[error("a message of {0} bytes is over the bound of {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
    #[error("the message cannot be decoded: {0}")]
    Malformed(String),
    #[error("the message is from raft id {found}, the connection is of node {expected}")]
    WrongSender { expected: NodeId, found: u64 },
    #[error("the message is for raft id {0}, not for this node")]
    WrongReceiver(u64),
    #[error("messages of type {0} do not travel between nodes")]
    WrongType(String),
    #[error("the quorum has too much to do")]
    Busy,
    #[error("the quorum has stopped")]
    Stopped,
}

pub(crate) enum Command {
    Propose { data: Vec<u8>, reply: oneshot::Sender<Result<u64, ProposeError>> },
    AddLearner { node: NodeId, last_index: u64, reply: oneshot::Sender<Result<u64, ProposeError>> },
    Step(Box<Message>),
    Unreachable(NodeId),
    SnapshotSent { to: NodeId, delivered: bool },
    SaveSnapshot { index: u64, data: Bytes },
    Stop,
}

/// The index at which a proposal was committed, once it is.
#[derive(Debug)]
pub struct Proposal(pub(crate) oneshot::Receiver<Result<u64, ProposeError>>);

impl Future for Proposal {
    type Output = Result<u64, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|reply| reply.unwrap_or(Err(ProposeError::Stopped)))
    }
}

/// A node's part in the quorum. Cheap to clone; the thread runs until [`QuorumHandle::stop`].
#[derive(Clone, Debug)]
pub struct QuorumHandle {
    pub(crate) node_id: NodeId,
    pub(crate) commands: SyncSender<Command>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) snapshot_after_entries: u64,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl QuorumHandle {
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Proposes an entry. Proposals of one caller are committed in the order of these calls, if at all.
    pub fn propose(&self, data: Vec<u8>) -> Result<Proposal, ProposeError> {
        if data.len() > PROPOSAL_BYTES_MAX {
            return Err(ProposeError::TooLarge(data.len()));
        }
        let (reply, answer) = oneshot::channel();
        self.submit(Command::Propose { data, reply })?;
        Ok(Proposal(answer))
    }

    /// Lets a node follow the log without a vote; done at once if it does already. `last_index` is how much of the log the node has:
    /// when it has less than it once confirmed, because it lost its files, it starts over.
    pub fn add_learner(&self, node: NodeId, last_index: u64) -> Result<Proposal, ProposeError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Command::AddLearner { node, last_index, reply })?;
        Ok(Proposal(answer))
    }

    /// Takes in a message of a peer whose identity the caller has checked.
    pub fn step(&self, from: NodeId, bytes: &[u8]) -> Result<(), StepError> {
        let message = decode_message(self.node_id, from, bytes)?;
        match self.commands.try_send(Command::Step(Box::new(message))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(StepError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(StepError::Stopped),
        }
    }

    /// Says that a message to this node was lost, so that the leader probes instead of streaming.
    pub fn unreachable(&self, node: NodeId) {
        self.submit_lossy(Command::Unreachable(node));
    }

    /// Says what became of a snapshot for this node.
    pub fn snapshot_sent(&self, to: NodeId, delivered: bool) {
        self.submit_lossy(Command::SnapshotSent { to, delivered });
    }

    /// Whether the state should be handed to [`Self::save_snapshot`] now.
    pub fn wants_snapshot(&self, applied: u64, last_snapshot: u64) -> bool {
        applied.saturating_sub(last_snapshot) >= self.snapshot_after_entries
    }

    /// Stores the state after all entries up to `index`, so that the log can drop them. Skipped when the quorum is busy: the next
    /// call does it.
    pub fn save_snapshot(&self, index: u64, data: Bytes) {
        self.submit_lossy(Command::SaveSnapshot { index, data });
    }

    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The node that leads, as far as this one knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.status.borrow().leader
    }

    pub fn is_leader(&self) -> bool {
        self.status.borrow().role == Role::Leader
    }

    /// Follows the status; the sender is gone when the thread has ended.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Ends the thread after what is queued; committed entries are on disk already. Returns when it has ended.
    pub async fn stop(&self) {
        let commands = self.commands.clone();
        let stopping = tokio::task::spawn_blocking(move || commands.send(Command::Stop).is_ok());
        if let Ok(true) = stopping.await {
            let mut status = self.status.clone();
            while status.changed().await.is_ok() {}
        }
    }

    fn submit(&self, command: Command) -> Result<(), ProposeError> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => ProposeError::Busy,
            TrySendError::Disconnected(_) => ProposeError::Stopped,
        })
    }

    fn submit_lossy(&self, command: Command) {
        if let Err(error) = self.submit(command) {
            tracing::debug!(%error, "quorum hint dropped");
        }
    }
}

/// Decodes a peer's message and refuses those that only the node itself may make.
fn decode_message(me: NodeId, from: NodeId, bytes: &[u8]) -> Result<Message, StepError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(StepError::TooLarge(bytes.len()));
    }
    let message = Message::parse_from_bytes(bytes).map_err(|error| StepError::Malformed(error.to_string()))?;
    if node_id(message.from) != Some(from) {
        return Err(StepError::WrongSender { expected: from, found: message.from });
    }
    if message.to != raft_id(me) {
        return Err(StepError::WrongReceiver(message.to));
    }
    match message.get_msg_type() {
        MessageType::MsgAppend
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgSnapshot
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTimeoutNow => Ok(message),
        other => Err(StepError::WrongType(format!("{other:?}"))),
    }
}
