//! The requests that nodes of one cluster send each other, on the same listeners as clients, under API keys of our own.
//!
//! Every request begins with who sends it to whom in which cluster, and is refused when that does not match: the quorum's messages
//! are decoded only after that. The request header's API version is the version of the layout; there is one so far.
//!
//! Not here: sockets (`peers`), what is done about a request (`handlers::internal`).

use bytes::Bytes;
use twinstream_metadata::Endpoint;
use twinstream_metadata::codec::{DecodeError, Reader, Writer};
use twinstream_metadata::controller::{Heartbeat, HeartbeatAnswer, ProducerIdBlock, Registration};
use twinstream_model::{ClusterId, ErrorCode, NodeId, ProducerId};
use twinstream_protocol::frame::INTERNAL_API_KEY_MIN;

/// The only layout version so far.
pub(crate) const INTERNAL_VERSION: i16 = 0;
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
}

impl InternalApi {
    pub(crate) const ALL: [Self; 5] = [Self::Raft, Self::Register, Self::Heartbeat, Self::Forward, Self::ProducerIds];

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
        }
    }
}

/// Who asks whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The cluster that the sender belongs to. Only a registration may come without one.
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) from: NodeId,
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

/// A registration, with how much of the metadata log the node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) registration: Registration,
    pub(crate) last_index: u64,
}

/// What a node learns when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) cluster: ClusterId,
    pub(crate) epoch: i64,
}

impl Join {
    pub(crate) fn write(&self, out: &mut Writer) {
        let Registration { node_id, incarnation, cluster_id, endpoints, rack, controller } = &self.registration;
        out.i32(node_id.0);
        out.uuid(*incarnation);
        out.text_option(cluster_id.as_ref().map(ClusterId::as_str));
        out.u32(endpoints.len() as u32);
        for endpoint in endpoints {
            out.text(&endpoint.listener);
            out.text(&endpoint.host);
            out.u16(endpoint.port);
            out.u16(endpoint.security_protocol as u16);
        }
        out.text_option(rack.as_deref());
        out.bool(*controller);
        out.i64(self.last_index as i64);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let node_id = NodeId(reader.i32()?);
        let incarnation = reader.uuid()?;
        let cluster_id = reader.text_option()?.map(ClusterId::from);
        let count = reader.list_len(12)?;
        let mut endpoints = Vec::with_capacity(count);
        for _ in 0..count {
            endpoints.push(Endpoint {
                listener: reader.text()?,
                host: reader.text()?,
                port: reader.u16()?,
                security_protocol: reader.u16()? as i16,
            });
        }
        let registration = Registration {
            node_id,
            incarnation,
            cluster_id,
            endpoints,
            rack: reader.text_option()?,
            controller: reader.bool()?,
        };
        let join = Self { registration, last_index: reader.i64()? as u64 };
        reader.end()?;
        Ok(join)
    }
}

impl Joined {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.text(self.cluster.as_str());
        out.i64(self.epoch);
        out.bytes
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("answer to a registration", payload);
        let joined = Self { cluster: ClusterId::from(reader.text()?), epoch: reader.i64()? };
        reader.end()?;
        Ok(joined)
    }
}

pub(crate) fn write_heartbeat(out: &mut Writer, heartbeat: &Heartbeat) {
    out.i32(heartbeat.node_id.0);
    out.i64(heartbeat.epoch);
    out.bool(heartbeat.caught_up);
    out.bool(heartbeat.wants_shutdown);
}

pub(crate) fn read_heartbeat(reader: &mut Reader<'_>) -> Result<Heartbeat, DecodeError> {
    let heartbeat = Heartbeat {
        node_id: NodeId(reader.i32()?),
        epoch: reader.i64()?,
        caught_up: reader.bool()?,
        wants_shutdown: reader.bool()?,
    };
    reader.end()?;
    Ok(heartbeat)
}

pub(crate) fn write_heartbeat_answer(answer: HeartbeatAnswer) -> Vec<u8> {
    vec![u8::from(answer.fenced), u8::from(answer.may_shut_down)]
}

pub(crate) fn read_heartbeat_answer(payload: &[u8]) -> Result<HeartbeatAnswer, DecodeError> {
    let mut reader = Reader::new("answer to a heartbeat", payload);
    let answer = HeartbeatAnswer { fenced: reader.bool()?, may_shut_down: reader.bool()? };
    reader.end()?;
    Ok(answer)
}

pub(crate) fn write_producer_ids(block: ProducerIdBlock) -> Vec<u8> {
    let mut out = Writer::default();
    out.i64(block.first.0);
    out.i64(block.len);
    out.bytes
}

pub(crate) fn read_producer_ids(payload: &[u8]) -> Result<ProducerIdBlock, DecodeError> {
    let mut reader = Reader::new("block of producer ids", payload);
    let block = ProducerIdBlock { first: ProducerId(reader.i64()?), len: reader.i64()? };
    reader.end()?;
    Ok(block)
}

/// A client's request that another node received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) api_key: i16,
    pub(crate) api_version: i16,
    pub(crate) client_id: Option<String>,
    pub(crate) principal_kind: String,
    pub(crate) principal_name: String,
    /// The listener that the client came over.
    pub(crate) listener: String,
    pub(crate) body: Bytes,
}

impl Forwarded {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.u16(self.api_key as u16);
        out.u16(self.api_version as u16);
        out.text_option(self.client_id.as_deref());
        out.text(&self.principal_kind);
        out.text(&self.principal_name);
        out.text(&self.listener);
        out.bytes.extend_from_slice(&self.body);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            api_key: reader.u16()? as i16,
            api_version: reader.u16()? as i16,
            client_id: reader.text_option()?,
            principal_kind: reader.text()?,
            principal_name: reader.text()?,
            listener: reader.text()?,
            body: {
                let left = reader.left();
                Bytes::copy_from_slice(reader.take(left)?)
            },
        })
    }
}

/// The answer to a forwarded request: how far the asker must have replayed to see its effect, then the response body.
pub(crate) fn write_forwarded_answer(applied: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.i64(applied as i64);
    out.bytes.extend_from_slice(body);
    out.bytes
}

pub(crate) fn read_forwarded_answer(payload: &[u8]) -> Result<(u64, Bytes), DecodeError> {
    let mut reader = Reader::new("answer to a forwarded request", payload);
    let applied = reader.i64()? as u64;
    let left = reader.left();
    Ok((applied, Bytes::copy_from_slice(reader.take(left)?)))
}

#[cfg(test)]
mod tests;
