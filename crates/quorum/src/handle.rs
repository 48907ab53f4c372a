//! What the rest of the process holds of the quorum.
//!
//! Every verb here is a message to the quorum thread over one bounded queue. When it is full, messages of peers are dropped (Raft
//! repeats them) and proposals answer [`ProposeError::Busy`].

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::mpsc::{SyncSender, TrySendError},
    task::{Context, Poll},
};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use twinstream_model::{ClusterId, NodeId};
use uuid::Uuid;

use crate::{
    Description, MEMBERS_MAX, MESSAGE_BYTES_MAX, PROPOSAL_BYTES_MAX, Role, Status,
    envelope::{self, Incoming},
};

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

/// Why a proposal was not committed, as far as this node knows.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProposeError {
    #[error("this node does not lead the metadata quorum")]
    NotLeader,
    #[error("the lead was lost before the entry was known to be committed")]
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
    #[error("the message has layout version {found}, this release knows {known}; run the same release on all nodes")]
    OtherVersion { found: u8, known: u8 },
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

/// Why the members did not change.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MemberError {
    #[error(transparent)]
    Proposal(#[from] ProposeError),
    #[error("node {node} is {behind} entries behind the leader and gets a vote when it has caught up; ask again")]
    NotCaughtUp { node: NodeId, behind: u64 },
    #[error("node {0} does not belong to the metadata quorum")]
    NotAMember(NodeId),
    #[error(
        "node {node} is a member with directory {}, not with {}",
        ClusterId::from_uuid(*found),
        ClusterId::from_uuid(*expected)
    )]
    OtherDirectory { node: NodeId, found: Uuid, expected: Uuid },
    #[error("node {0} is the last voter; add another one before it leaves")]
    LastVoter(NodeId),
    #[error("node {0} leads the metadata quorum and hands over first; ask again")]
    Leads(NodeId),
    #[error("no such other voter that could take over; add one, or name a voter of the quorum")]
    NoSuccessor,
    #[error("the leadership was not taken over in time; ask again")]
    NotTakenOver,
    #[error("the quorum has {MEMBERS_MAX} members, no more are possible")]
    TooMany,
    #[error("this node belongs to a quorum already")]
    Formed,
    #[error("the voters {0:?} do not contain this node with its own directory")]
    NotAmongVoters(Vec<NodeId>),
}

pub(crate) type Reply = oneshot::Sender<Result<u64, ProposeError>>;
pub(crate) type MemberReply = oneshot::Sender<Result<u64, MemberError>>;

pub(crate) enum Command {
    Propose { data: Vec<u8>, reply: Reply },
    Members { request: MemberRequest, reply: MemberReply },
    Describe { reply: oneshot::Sender<Result<Description, ProposeError>> },
    Step(Box<Incoming>),
    PeerGone(NodeId),
    Unreachable(NodeId),
    SnapshotSent { to: NodeId, delivered: bool },
    SaveSnapshot { index: u64, data: Bytes },
    Stop,
}

/// What somebody wants of the members.
#[derive(Clone, Debug)]
pub(crate) enum MemberRequest {
    Form {
        voters: BTreeMap<NodeId, Uuid>,
    },
    FormAlone,
    AddLearner {
        node: NodeId,
        directory: Uuid,
    },
    AddVoter {
        node: NodeId,
        directory: Uuid,
    },
    /// Takes the vote; the node follows on.
    RemoveVoter {
        node: NodeId,
        directory: Option<Uuid>,
    },
    Remove {
        node: NodeId,
    },
    HandOver {
        to: Option<NodeId>,
    },
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

/// A change of members that is on its way; it goes on when this is dropped. Its index, once it is committed and applied here.
#[derive(Debug)]
pub struct MemberChange {
    refused: Option<MemberError>,
    answer: oneshot::Receiver<Result<u64, MemberError>>,
}

impl Future for MemberChange {
    type Output = Result<u64, MemberError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        let stopped = Err(MemberError::Proposal(ProposeError::Stopped));
        Pin::new(&mut self.answer).poll(context).map(|reply| reply.unwrap_or(stopped))
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

    /// Forms a new quorum: this node begins with these voters, itself among them. Every one of them must be told the same. Only for
    /// a node that has never belonged to a quorum (see [`Status::formed`]).
    pub fn form(&self, voters: BTreeMap<NodeId, Uuid>) -> MemberChange {
        self.change_members(MemberRequest::Form { voters })
    }

    /// Forms a quorum of this node alone, which leads at once. Done already when it belongs to one.
    pub fn form_alone(&self) -> MemberChange {
        self.change_members(MemberRequest::FormAlone)
    }

    /// Lets a node follow the log without a vote; done at once if it does already, with or without a vote. A node that is a member
    /// with another directory lost its log: it leaves and joins again.
    pub fn add_learner(&self, node: NodeId, directory: Uuid) -> MemberChange {
        self.change_members(MemberRequest::AddLearner { node, directory })
    }

    /// Gives a node a vote, after it has followed until it has (nearly) everything. Answers [`MemberError::NotCaughtUp`] when that
    /// takes long; the node goes on following then, and asking again is right.
    pub fn add_voter(&self, node: NodeId, directory: Uuid) -> MemberChange {
        self.change_members(MemberRequest::AddVoter { node, directory })
    }

    /// Takes a voter's vote; it follows on as a learner. With a directory only if it votes with that one. The leader does not
    /// do it to itself: it hands over and answers [`MemberError::Leads`].
    pub fn remove_voter(&self, node: NodeId, directory: Option<Uuid>) -> MemberChange {
        self.change_members(MemberRequest::RemoveVoter { node, directory })
    }

    /// Removes a node that is gone for good, voter or learner.
    pub fn remove_member(&self, node: NodeId) -> MemberChange {
        self.change_members(MemberRequest::Remove { node })
    }

    /// Lets another voter lead, that one or the one that has most; for a leader that is about to stop. Answers when this node leads no
    /// more, which it does not tell from being overtaken.
    pub fn hand_over(&self, to: Option<NodeId>) -> MemberChange {
        self.change_members(MemberRequest::HandOver { to })
    }

    /// Says that the process of a node is gone *for sure*: nobody listens at its address. If it led, this node need not wait out
    /// the lease and calls an election. A wrong report costs an election that the living leader survives.
    pub fn peer_gone(&self, node: NodeId) {
        self.submit_lossy(Command::PeerGone(node));
    }

    /// What this node knows of all members as their leader.
    pub async fn describe(&self) -> Result<Description, ProposeError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Command::Describe { reply })?;
        answer.await.unwrap_or(Err(ProposeError::Stopped))
    }

    fn change_members(&self, request: MemberRequest) -> MemberChange {
        let (reply, answer) = oneshot::channel();
        let refused = self.submit(Command::Members { request, reply }).err().map(MemberError::Proposal);
        MemberChange { refused, answer }
    }

    /// Takes in a message of a peer whose identity the caller has checked.
    pub fn step(&self, from: NodeId, bytes: &[u8]) -> Result<(), StepError> {
        let message = envelope::decode(self.node_id, from, bytes)?;
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

    /// The random id of this node's folder; see [`Status::directory_id`].
    pub fn directory_id(&self) -> Uuid {
        self.status.borrow().directory_id
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
