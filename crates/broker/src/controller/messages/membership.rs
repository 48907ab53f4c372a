//! Requests of a broker about itself: registration, heartbeat, producer ids.

use twinstream_metadata::Endpoint;
use twinstream_metadata::codec::{DecodeError, Reader, Writer};
use twinstream_metadata::controller::{Heartbeat, HeartbeatAnswer, ProducerIdBlock, Registration};
use twinstream_model::{ClusterId, NodeId, ProducerId};

use crate::controller::heartbeats::Form;

/// A number that its sender does not know.
const UNKNOWN: i32 = -1;

/// A registration, with whether the node wants a vote in the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) registration: Registration,
    pub(crate) wants_vote: bool,
}

/// What a node learns when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) cluster: ClusterId,
    pub(crate) epoch: i64,
}

impl Join {
    pub(crate) fn write(&self, out: &mut Writer) {
        let Registration {
            node_id,
            incarnation,
            cluster_id,
            endpoints,
            rack,
            controller,
            directories,
            offline_directories,
            metadata_directory,
            boot_id,
            clean,
        } = &self.registration;
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
        out.uuid_list(directories);
        out.u32(*offline_directories as u32);
        out.uuid_option(*metadata_directory);
        out.text(boot_id);
        out.bool(*clean);
        out.bool(self.wants_vote);
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
            directories: reader.uuid_list()?,
            offline_directories: reader.u32()? as usize,
            metadata_directory: reader.uuid_option()?,
            boot_id: reader.text()?,
            clean: reader.bool()?,
        };
        let join = Self { registration, wants_vote: reader.bool()? };
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

/// The whole form has a tail that older releases do not know.
pub(crate) fn write_heartbeat(out: &mut Writer, heartbeat: &Heartbeat, form: Form) {
    out.i32(heartbeat.node_id.0);
    out.i64(heartbeat.epoch);
    out.bool(heartbeat.caught_up);
    out.bool(heartbeat.wants_shutdown);
    if form == Form::Whole {
        out.bool(heartbeat.takes_replicas);
        out.i32(heartbeat.min_insync_replicas.map_or(UNKNOWN, |number| number.try_into().unwrap_or(i32::MAX)));
    }
}

/// Both forms, and one whose tail only says whether the broker takes replicas.
pub(crate) fn read_heartbeat(reader: &mut Reader<'_>) -> Result<Heartbeat, DecodeError> {
    let heartbeat = Heartbeat {
        node_id: NodeId(reader.i32()?),
        epoch: reader.i64()?,
        caught_up: reader.bool()?,
        wants_shutdown: reader.bool()?,
        takes_replicas: reader.left() == 0 || reader.bool()?,
        min_insync_replicas: match reader.left() {
            0 => None,
            _ => usize::try_from(reader.i32()?).ok(),
        },
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
