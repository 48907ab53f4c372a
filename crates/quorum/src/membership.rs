//! Who belongs to the quorum, by node *and* directory.
//!
//! Picture: Raft knows members by a number. That is not enough: a node whose disk was replaced comes back under the same number and
//! has forgotten what it promised. So each member is a node id together with the random id of the directory that holds its log, and
//! this map is replicated: every snapshot carries it, and every change of members names the directory in its context.
//!
//! Invariants: a node is voter or learner, never both; the map at an index is the same on every node that has applied that index,
//! apart from learners that a snapshot was sent to (see `storage::DiskStorage::snapshot`).
//! Not here: when members change (`driver::members`).

use std::collections::BTreeMap;

use protobuf::{Message as _, ProtobufError};
use raft::eraftpb::{ConfChange, ConfChangeType, ConfState};
use thiserror::Error;
use twinstream_model::NodeId;
use uuid::Uuid;

use crate::{node_id, raft_id};

/// Layout of the context of a membership change.
const CHANGE_VERSION: u16 = 1;
/// Layout of what a snapshot carries between nodes.
const SNAPSHOT_VERSION: u16 = 1;
const DIRECTORY_BYTES: usize = 16;

/// The members after some entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) voters: BTreeMap<NodeId, Uuid>,
    pub(crate) learners: BTreeMap<NodeId, Uuid>,
}

impl Membership {
    /// Nobody has ever been a member as far as this node knows: it is new.
    pub(crate) fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.learners.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.voters.len() + self.learners.len()
    }

    pub(crate) fn directory(&self, node: NodeId) -> Option<Uuid> {
        self.voters.get(&node).or_else(|| self.learners.get(&node)).copied()
    }

    pub(crate) fn is_voter(&self, node: NodeId, directory: Uuid) -> bool {
        self.voters.get(&node) == Some(&directory)
    }

    pub(crate) fn apply(&mut self, change: Change) {
        self.voters.remove(&change.node);
        self.learners.remove(&change.node);
        match change.kind {
            ChangeKind::AddVoter => self.voters.insert(change.node, change.directory),
            ChangeKind::AddLearner => self.learners.insert(change.node, change.directory),
            ChangeKind::Remove => None,
        };
    }

    pub(crate) fn conf_state(&self) -> ConfState {
        let ids = |map: &BTreeMap<NodeId, Uuid>| map.keys().copied().map(raft_id).collect::<Vec<u64>>();
        ConfState::from((ids(&self.voters), ids(&self.learners)))
    }
}

/// What a change does to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// Makes it follow without a vote; takes the vote of a voter.
    AddLearner,
    AddVoter,
    Remove,
}

/// One change of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    pub(crate) node: NodeId,
    pub(crate) directory: Uuid,
}

impl Change {
    pub(crate) fn to_raft(self) -> ConfChange {
        let mut context = CHANGE_VERSION.to_be_bytes().to_vec();
        context.extend_from_slice(self.directory.as_bytes());
        let mut change = ConfChange { node_id: raft_id(self.node), context: context.into(), ..ConfChange::default() };
        change.set_change_type(match self.kind {
            ChangeKind::AddLearner => ConfChangeType::AddLearnerNode,
            ChangeKind::AddVoter => ConfChangeType::AddNode,
            ChangeKind::Remove => ConfChangeType::RemoveNode,
        });
        change
    }

    /// Reads the data of an entry that changes members.
    pub(crate) fn read(data: &[u8]) -> Result<(Self, ConfChange), BadMembership> {
        let change = ConfChange::parse_from_bytes(data)?;
        let mut fields = Fields(&change.context);
        let version = fields.u16()?;
        if version != CHANGE_VERSION {
            return Err(BadMembership::Version { what: "membership change", found: version, known: CHANGE_VERSION });
        }
        let directory = fields.directory()?;
        let kind = match change.get_change_type() {
            ConfChangeType::AddLearnerNode => ChangeKind::AddLearner,
            ConfChangeType::AddNode => ChangeKind::AddVoter,
            ConfChangeType::RemoveNode => ChangeKind::Remove,
        };
        let node = node_id(change.node_id).ok_or(BadMembership::Node(change.node_id))?;
        Ok((Self { kind, node, directory }, change))
    }
}

/// Bytes that do not say who the members are.
#[derive(Debug, Error)]
pub(crate) enum BadMembership {
    #[error("a membership change cannot be decoded: {0}")]
    Change(#[from] ProtobufError),
    #[error("{what} version {found} is not known, this release knows {known}; run the same release on all nodes")]
    Version { what: &'static str, found: u16, known: u16 },
    #[error("raft id {0} is no node")]
    Node(u64),
    #[error("the members are cut short")]
    Short,
}

/// What a snapshot of the quorum holds: the members, and the state unless it is the first one, before there was any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotBody {
    pub(crate) members: Membership,
    pub(crate) state: Option<Vec<u8>>,
}

impl SnapshotBody {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let state = self.state.as_deref().unwrap_or_default();
        let mut out = Vec::with_capacity(16 + self.members.len() * (4 + DIRECTORY_BYTES) + state.len());
        out.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        for map in [&self.members.voters, &self.members.learners] {
            out.extend_from_slice(&(map.len() as u32).to_be_bytes());
            for (node, directory) in map {
                out.extend_from_slice(&node.0.to_be_bytes());
                out.extend_from_slice(directory.as_bytes());
            }
        }
        out.push(u8::from(self.state.is_some()));
        out.extend_from_slice(state);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadMembership> {
        let mut fields = Fields(bytes);
        let version = fields.u16()?;
        if version != SNAPSHOT_VERSION {
            return Err(BadMembership::Version { what: "snapshot", found: version, known: SNAPSHOT_VERSION });
        }
        let members = Membership { voters: fields.map()?, learners: fields.map()? };
        let has_state = fields.take::<1>()? == [1];
        Ok(Self { members, state: has_state.then(|| fields.0.to_vec()) })
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadMembership> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(BadMembership::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, BadMembership> {
        self.take().map(u16::from_be_bytes)
    }

    fn directory(&mut self) -> Result<Uuid, BadMembership> {
        self.take().map(Uuid::from_bytes)
    }

    fn map(&mut self) -> Result<BTreeMap<NodeId, Uuid>, BadMembership> {
        let count = u32::from_be_bytes(self.take()?);
        let mut map = BTreeMap::new();
        for _ in 0..count {
            let node = i32::from_be_bytes(self.take()?);
            if node < 0 {
                return Err(BadMembership::Node(node as u64));
            }
            map.insert(NodeId(node), self.directory()?);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests;
