//! The requests that nodes of one cluster send each other, on the same listeners as clients, under API keys of our own.
//!
//! Every request begins with who sends it to whom in which cluster, and is refused when that does not match: the quorum's messages
//! are decoded only after that. The request header's API version is the version of the layout, see [`InternalApi::version`].
//!
//! Not here: sockets (`peers`), what is done about a request (`handlers::internal`).

mod forwarded; // administrative requests of clients
mod hello; // who votes, who leads
mod membership; // registrations and heartbeats
mod partitions; // changes of ISRs
mod positions; // where partitions end

use bytes::Bytes;
use twinstream_metadata::codec::{DecodeError, Reader, Writer};
use twinstream_model::{ClusterId, ErrorCode, NodeId};
use twinstream_protocol::frame::INTERNAL_API_KEY_MIN;

pub(crate) use self::forwarded::{Forwarded, read_forwarded_answer, write_forwarded_answer};
pub(crate) use self::hello::{Hello, HelloAnswer, NODES_MAX, NodeAddress, QuorumPlace};
pub(crate) use self::membership::{
    Join, Joined, read_heartbeat, read_heartbeat_answer, read_producer_ids, write_heartbeat, write_heartbeat_answer,
    write_producer_ids,
};
pub(crate) use self::partitions::{
    IsrOutcomes, read_copy_moves, read_epoch_raises, read_isr_changes, read_isr_outcomes, read_offline, read_reported,
    write_copy_moves, write_epoch_raises, write_isr_changes, write_isr_outcomes, write_offline, write_reported,
};

pub(crate) use self::positions::{
    POSITIONS_MAX, Position, Standing, read_positions, read_standings, write_positions, write_standings,
};

/// Raft messages in one request.
const RAFT_MESSAGES_MAX: usize = 4096;

/// What a node may ask another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub(crate) enum InternalApi {
    /// Messages of the metadata quorum. One way; the answer only says that they arrived.
    Raft = INTERNAL_API_KEY_MIN,
    Register = INTERNAL_API_KEY_MIN + 1,
    Heartbeat = INTERNAL_API_KEY_MIN + 2,
    /// A client's administrative request on its way to the active controller.
    Forward = INTERNAL_API_KEY_MIN + 3,
    ProducerIds = INTERNAL_API_KEY_MIN + 4,
    /// A leader's wish to change the ISR of its partitions.
    AlterPartitions = INTERNAL_API_KEY_MIN + 5,
    /// Who votes, who leads, who is new; the one request between nodes that do not know yet whether they belong together.
    Hello = INTERNAL_API_KEY_MIN + 6,
    /// A broker's copies that it cannot use, because their disk failed.
    ReplicasOffline = INTERNAL_API_KEY_MIN + 7,
    /// A broker's copies with holes that step aside, or come back.
    MoveCopies = INTERNAL_API_KEY_MIN + 8,
    /// Where the quorum is; asked at an address, without knowing who is there.
    FindQuorum = INTERNAL_API_KEY_MIN + 9,
    /// A leader's wish for a higher epoch of mirrors that it leads.
    RaiseEpochs = INTERNAL_API_KEY_MIN + 10,
    /// Where partitions end that a broker leads, and how old what groups have not read is; for metrics.
    Positions = INTERNAL_API_KEY_MIN + 11,
}

impl InternalApi {
    pub(crate) const ALL: [Self; 12] = [
        Self::Raft,
        Self::Register,
        Self::Heartbeat,
        Self::Forward,
        Self::ProducerIds,
        Self::AlterPartitions,
        Self::Hello,
        Self::ReplicasOffline,
        Self::MoveCopies,
        Self::FindQuorum,
        Self::RaiseEpochs,
        Self::Positions,
    ];

    /// The layout that this release speaks. Another one is refused: all nodes run the same release, or one next to it that
    /// changed no layout.
    pub(crate) fn version(self) -> i16 {
        match self {
            // 1: directory ids, boot id, how the last run ended, whether the node wants a vote. 2: how many directories cannot
            // be opened.
            Self::Register => 2,
            // 1: copies on failed disks in the answer.
            Self::AlterPartitions => 1,
            // 1: directory ids in front of each message.
            Self::Raft => 1,
            _ => 0,
        }
    }

    pub(crate) fn from_key(key: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| *api as i16 == key)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raft => "InternalRaft",
            Self::Register => "InternalRegister",
            Self::Heartbeat => "InternalHeartbeat",
            Self::Forward => "InternalForward",
            Self::ProducerIds => "InternalProducerIds",
            Self::AlterPartitions => "InternalAlterPartitions",
            Self::Hello => "InternalHello",
            Self::ReplicasOffline => "InternalReplicasOffline",
            Self::MoveCopies => "InternalMoveCopies",
            Self::FindQuorum => "InternalFindQuorum",
            Self::RaiseEpochs => "InternalRaiseEpochs",
            Self::Positions => "InternalPositions",
        }
    }
}

/// Who asks whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The cluster that the sender belongs to. Only a registration may come without one.
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) from: NodeId,
    /// Nobody in particular when the sender knows only an address.
    pub(crate) to: NodeId,
}

impl Envelope {
    pub(crate) fn write(&self) -> Writer {
        let mut out = Writer::default();
        out.text_option(self.cluster.as_ref().map(ClusterId::as_str));
        out.i32(self.from.0);
        out.i32(self.to.0);
        out
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cluster = reader.text_option()?.map(ClusterId::from);
        Ok(Self { cluster, from: NodeId(reader.i32()?), to: NodeId(reader.i32()?) })
    }
}

/// A refusal, or what was asked for.
pub(crate) fn write_answer(outcome: Result<Vec<u8>, (ErrorCode, String)>) -> Bytes {
    let mut out = Writer::default();
    match outcome {
        Ok(payload) => {
            out.u16(ErrorCode::None.code() as u16);
            out.bytes.extend_from_slice(&payload);
        }
        Err((code, message)) => {
            out.u16(code.code() as u16);
            out.text(&message);
        }
    }
    out.bytes.into()
}

/// The payload, or the other node's refusal.
pub(crate) fn read_answer(answer: &[u8]) -> Result<Result<&[u8], (ErrorCode, String)>, DecodeError> {
    let mut reader = Reader::new("answer of a node", answer);
    let number = reader.u16()? as i16;
    if number == ErrorCode::None.code() {
        let left = reader.left();
        return Ok(Ok(reader.take(left)?));
    }
    let code = ErrorCode::from_code(number).unwrap_or(ErrorCode::UnknownServerError);
    Ok(Err((code, reader.text()?)))
}

pub(crate) fn write_raft(out: &mut Writer, messages: &[Bytes]) {
    out.u32(messages.len() as u32);
    for message in messages {
        out.u32(message.len() as u32);
        out.bytes.extend_from_slice(message);
    }
}

pub(crate) fn read_raft<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, DecodeError> {
    let count = reader.list_len(4)?;
    if count > RAFT_MESSAGES_MAX {
        return Err(reader.bad_value(count as i64));
    }
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        let length = reader.u32()? as usize;
        messages.push(reader.take(length)?);
    }
    reader.end()?;
    Ok(messages)
}

#[cfg(test)]
mod tests;
