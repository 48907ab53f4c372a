//! What nodes tell each other before they belong together: who votes, who leads, who is new.
//!
//! These are asked by nodes that know neither their cluster nor its leader, so nothing here depends on either. A node that knows only
//! an address asks there for the quorum, and is told where its voters and its leader are.

use std::collections::BTreeMap;

use twinstream_metadata::codec::{DecodeError, Reader, Writer};
use twinstream_model::{ClusterId, NodeId};
use uuid::Uuid;

/// A voter map has few entries; more is no voter map.
const VOTERS_MAX: usize = 64;
/// The voters and a leader that may have given up its vote.
pub(crate) const NODES_MAX: usize = VOTERS_MAX + 1;
/// Node id and directory id.
const VOTER_BYTES: usize = 4 + 16;
/// Node id, epoch, length of the host, port.
const ADDRESS_BYTES: usize = 4 + 8 + 4 + 2;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The id of its metadata directory.
    pub(crate) directory: Uuid,
    /// The voters that its settings name: nodes that form a quorum must agree on them.
    pub(crate) configured: Vec<NodeId>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HelloAnswer {
    pub(crate) directory: Uuid,
    pub(crate) configured: Vec<NodeId>,
    /// The cluster that it belongs to, or the one that it would found.
    pub(crate) cluster: Option<ClusterId>,
    /// Whether its log directories hold partitions.
    pub(crate) holds_partitions: bool,
    /// The voters with their metadata directories, when it belongs to a quorum.
    pub(crate) voters: Option<BTreeMap<NodeId, Uuid>>,
    /// Who leads the quorum as far as it knows, and in which term.
    pub(crate) leader: Option<NodeId>,
    pub(crate) term: u64,
}

impl Hello {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.uuid(self.directory);
        out.i32_list(self.configured.iter().map(|node| node.0));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let hello = Self { directory: reader.uuid()?, configured: read_nodes(reader)? };
        reader.end()?;
        Ok(hello)
    }
}

impl HelloAnswer {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.uuid(self.directory);
        out.i32_list(self.configured.iter().map(|node| node.0));
        out.text_option(self.cluster.as_ref().map(ClusterId::as_str));
        out.bool(self.holds_partitions);
        out.bool(self.voters.is_some());
        if let Some(voters) = &self.voters {
            write_voters(&mut out, voters);
        }
        out.i32(self.leader.unwrap_or(NodeId::NONE).0);
        out.i64(self.term as i64);
        out.bytes
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("answer to a hello", payload);
        let answer = Self {
            directory: reader.uuid()?,
            configured: read_nodes(&mut reader)?,
            cluster: reader.text_option()?.map(ClusterId::from),
            holds_partitions: reader.bool()?,
            voters: if reader.bool()? { Some(read_voters(&mut reader)?) } else { None },
            leader: Some(NodeId(reader.i32()?)).filter(|node| *node != NodeId::NONE),
            term: reader.i64()? as u64,
        };
        reader.end()?;
        Ok(answer)
    }
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeAddress {
    pub(crate) node: NodeId,
    /// Of the registration that the address is at least as new as.
    pub(crate) epoch: i64,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What a node that was asked by its address says about itself and the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuorumPlace {
    pub(crate) node: NodeId,
    /// The run of its process, by which a node that asks at its own address knows itself.
    pub(crate) incarnation: Uuid,
    /// Whether it belongs to a quorum.
    pub(crate) formed: bool,
    /// Who leads the quorum as far as it knows, and in which term.
    pub(crate) leader: Option<NodeId>,
    pub(crate) term: u64,
    /// The voters and the leader, as far as it knows where they are.
    pub(crate) nodes: Vec<NodeAddress>,
}

impl QuorumPlace {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.i32(self.node.0);
        out.uuid(self.incarnation);
        out.bool(self.formed);
        out.i32(self.leader.unwrap_or(NodeId::NONE).0);
        out.i64(self.term as i64);
        out.u32(self.nodes.len() as u32);
        for address in &self.nodes {
            out.i32(address.node.0);
            out.i64(address.epoch);
            out.text(&address.host);
            out.u16(address.port);
        }
        out.bytes
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("answer about the quorum", payload);
        let place = Self {
            node: NodeId(reader.i32()?),
            incarnation: reader.uuid()?,
            formed: reader.bool()?,
            leader: Some(NodeId(reader.i32()?)).filter(|node| *node != NodeId::NONE),
            term: reader.i64()? as u64,
            nodes: read_addresses(&mut reader)?,
        };
        reader.end()?;
        Ok(place)
    }
}

fn read_addresses(reader: &mut Reader<'_>) -> Result<Vec<NodeAddress>, DecodeError> {
    let count = reader.list_len(ADDRESS_BYTES)?;
    if count > NODES_MAX {
        return Err(reader.bad_value(count as i64));
    }
    let address = |_| {
        let (node, epoch) = (NodeId(reader.i32()?), reader.i64()?);
        Ok(NodeAddress { node, epoch, host: reader.text()?, port: reader.u16()? })
    };
    (0..count).map(address).collect()
}

fn write_voters(out: &mut Writer, voters: &BTreeMap<NodeId, Uuid>) {
    out.u32(voters.len() as u32);
    for (node, directory) in voters {
        out.i32(node.0);
        out.uuid(*directory);
    }
}

fn read_voters(reader: &mut Reader<'_>) -> Result<BTreeMap<NodeId, Uuid>, DecodeError> {
    let count = reader.list_len(VOTER_BYTES)?;
    if count > VOTERS_MAX {
        return Err(reader.bad_value(count as i64));
    }
    (0..count).map(|_| Ok((NodeId(reader.i32()?), reader.uuid()?))).collect()
}

fn read_nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    let nodes = reader.i32_list()?;
    if nodes.len() > VOTERS_MAX {
        return Err(reader.bad_value(nodes.len() as i64));
    }
    Ok(nodes.into_iter().map(NodeId).collect())
}
