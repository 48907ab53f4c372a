//! The records of the metadata log and their bytes.
//!
//! Picture: one entry of the Raft log is one batch, all of whose records take effect together. A batch is a version byte, a record
//! count and the records; a record is kind, version, length and fields, so that each kind can grow on its own.
//! `docs/001-record-layout.md` has the layout and what else was considered.
//!
//! Invariants: a kind number and the layout of a released version never change; golden bytes in `tests.rs` hold them.
//! What a newer release wrote is refused, not skipped: a node that skips records would serve a different cluster.

use twinstream_model::{ClusterId, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName};

use crate::{
    codec::{DecodeError, Reader, Writer},
    image::ConfigResource,
};

/// The encoded form of one batch.
pub type BatchBytes = Vec<u8>;

/// Bound of one encoded batch. The largest decision is a request for [`crate::controller::PARTITIONS_PER_REQUEST_MAX`] partitions
/// at about 70 bytes each; the rest is room for config values.
pub const RECORD_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

const BATCH_VERSION: u8 = 1;
const RECORD_HEADER_BYTES: usize = 8;

/// Where one listener of a broker is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
    /// Kafka's `SecurityProtocol` id: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// One change of the cluster's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The cluster's identity; the first record of every cluster and never written again.
    ClusterId {
        cluster_id: ClusterId,
    },
    /// A broker process came up. It starts fenced.
    RegisterBroker {
        node_id: NodeId,
        incarnation: uuid::Uuid,
        /// Grows with each registration in the cluster; names this incarnation in later requests.
        epoch: i64,
        endpoints: Vec<Endpoint>,
        rack: Option<String>,
        /// Whether the node has a vote in the metadata quorum.
        controller: bool,
    },
    /// A broker of this epoch started or stopped serving clients.
    FenceBroker {
        node_id: NodeId,
        epoch: i64,
        fenced: bool,
    },
    Topic {
        name: TopicName,
        topic_id: TopicId,
    },
    /// A new partition of a topic that an earlier record made.
    Partition {
        topic_id: TopicId,
        partition: PartitionIndex,
        replicas: Vec<NodeId>,
        isr: Vec<NodeId>,
        leader: Option<NodeId>,
        leader_epoch: LeaderEpoch,
        partition_epoch: i32,
    },
    /// A partition got another leader or ISR.
    PartitionChange {
        topic_id: TopicId,
        partition: PartitionIndex,
        isr: Vec<NodeId>,
        leader: Option<NodeId>,
        leader_epoch: LeaderEpoch,
        partition_epoch: i32,
    },
    /// The topic, its partitions and its configs are gone.
    RemoveTopic {
        topic_id: TopicId,
    },
    /// A config is set, or with no value removed.
    Config {
        resource: ConfigResource,
        name: String,
        value: Option<String>,
    },
    /// Producer ids below `next_producer_id` are handed out.
    ProducerIds {
        node_id: NodeId,
        broker_epoch: i64,
        next_producer_id: i64,
    },
}

mod kind {
    pub(super) const CLUSTER_ID: u16 = 1;
    pub(super) const REGISTER_BROKER: u16 = 2;
    pub(super) const FENCE_BROKER: u16 = 3;
    pub(super) const TOPIC: u16 = 4;
    pub(super) const PARTITION: u16 = 5;
    pub(super) const PARTITION_CHANGE: u16 = 6;
    pub(super) const REMOVE_TOPIC: u16 = 7;
    pub(super) const CONFIG: u16 = 8;
    pub(super) const PRODUCER_IDS: u16 = 9;
}

/// Every kind is at its first version.
const RECORD_VERSION: u16 = 1;

/// Writes a batch.
pub fn encode_batch(records: &[Record]) -> BatchBytes {
    let mut out = Writer::default();
    out.u8(BATCH_VERSION);
    out.u32(records.len() as u32);
    for record in records {
        encode_record(record, &mut out);
    }
    out.bytes
}

/// Reads a batch. An error means damage or a newer release: nothing of the batch may be applied.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<Record>, DecodeError> {
    let mut reader = Reader::new("metadata batch", bytes);
    let version = reader.u8()?;
    if version == 0 {
        return Err(DecodeError::BadValue { what: "metadata batch version", value: 0 });
    }
    if version > BATCH_VERSION {
        return Err(DecodeError::NewerVersion {
            what: "metadata batch",
            found: u16::from(version),
            newest: u16::from(BATCH_VERSION),
        });
    }
    let count = reader.list_len(RECORD_HEADER_BYTES)?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        records.push(decode_record(&mut reader)?);
    }
    reader.end()?;
    Ok(records)
}

fn encode_record(record: &Record, out: &mut Writer) {
    out.u16(kind_of(record));
    out.u16(RECORD_VERSION);
    let length_at = out.bytes.len();
    out.u32(0);
    encode_fields(record, out);
    let length = (out.bytes.len() - length_at - 4) as u32;
    out.bytes[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

fn kind_of(record: &Record) -> u16 {
    match record {
        Record::ClusterId { .. } => kind::CLUSTER_ID,
        Record::RegisterBroker { .. } => kind::REGISTER_BROKER,
        Record::FenceBroker { .. } => kind::FENCE_BROKER,
        Record::Topic { .. } => kind::TOPIC,
        Record::Partition { .. } => kind::PARTITION,
        Record::PartitionChange { .. } => kind::PARTITION_CHANGE,
        Record::RemoveTopic { .. } => kind::REMOVE_TOPIC,
        Record::Config { .. } => kind::CONFIG,
        Record::ProducerIds { .. } => kind::PRODUCER_IDS,
    }
}

fn encode_fields(record: &Record, out: &mut Writer) {
    match record {
        Record::ClusterId { cluster_id } => out.text(cluster_id.as_str()),
        Record::RegisterBroker { node_id, incarnation, epoch, endpoints, rack, controller } => {
            out.i32(node_id.0);
            out.uuid(*incarnation);
            out.i64(*epoch);
            out.u32(endpoints.len() as u32);
            for endpoint in endpoints {
                out.text(&endpoint.listener);
                out.text(&endpoint.host);
                out.u16(endpoint.port);
                out.u16(endpoint.security_protocol as u16);
            }
            out.text_option(rack.as_deref());
            out.bool(*controller);
        }
        Record::FenceBroker { node_id, epoch, fenced } => {
            out.i32(node_id.0);
            out.i64(*epoch);
            out.bool(*fenced);
        }
        Record::Topic { name, topic_id } => {
            out.text(name.as_str());
            out.uuid(topic_id.0);
        }
        Record::Partition { topic_id, partition, replicas, isr, leader, leader_epoch, partition_epoch } => {
            out.uuid(topic_id.0);
            out.i32(partition.0);
            out.i32_list(replicas.iter().map(|node| node.0));
            encode_leadership(isr, *leader, *leader_epoch, *partition_epoch, out);
        }
        Record::PartitionChange { topic_id, partition, isr, leader, leader_epoch, partition_epoch } => {
            out.uuid(topic_id.0);
            out.i32(partition.0);
            encode_leadership(isr, *leader, *leader_epoch, *partition_epoch, out);
        }
        Record::RemoveTopic { topic_id } => out.uuid(topic_id.0),
        Record::Config { resource, name, value } => {
            encode_resource(resource, out);
            out.text(name);
            out.text_option(value.as_deref());
        }
        Record::ProducerIds { node_id, broker_epoch, next_producer_id } => {
            out.i32(node_id.0);
            out.i64(*broker_epoch);
            out.i64(*next_producer_id);
        }
    }
}

fn encode_leadership(
    isr: &[NodeId],
    leader: Option<NodeId>,
    epoch: LeaderEpoch,
    partition_epoch: i32,
    out: &mut Writer,
) {
    out.i32_list(isr.iter().map(|node| node.0));
    out.i32(leader.map_or(-1, |node| node.0));
    out.i32(epoch.0);
    out.i32(partition_epoch);
}

fn encode_resource(resource: &ConfigResource, out: &mut Writer) {
    match resource {
        ConfigResource::Topic(name) => {
            out.u8(1);
            out.text(name.as_str());
        }
        ConfigResource::Broker(node_id) => {
            out.u8(2);
            out.i32(node_id.0);
        }
        ConfigResource::BrokerDefault => out.u8(3),
    }
}

fn decode_record(batch: &mut Reader<'_>) -> Result<Record, DecodeError> {
    let kind = batch.u16()?;
    let version = batch.u16()?;
    let length = batch.u32()? as usize;
    let body = batch.take(length)?;
    let what = name_of(kind)?;
    if version == 0 {
        return Err(DecodeError::BadValue { what, value: 0 });
    }
    if version > RECORD_VERSION {
        return Err(DecodeError::NewerVersion { what, found: version, newest: RECORD_VERSION });
    }
    let mut reader = Reader::new(what, body);
    let record = decode_fields(kind, &mut reader)?;
    reader.end()?;
    Ok(record)
}

fn name_of(kind: u16) -> Result<&'static str, DecodeError> {
    Ok(match kind {
        kind::CLUSTER_ID => "cluster id record",
        kind::REGISTER_BROKER => "broker registration record",
        kind::FENCE_BROKER => "broker fencing record",
        kind::TOPIC => "topic record",
        kind::PARTITION => "partition record",
        kind::PARTITION_CHANGE => "partition change record",
        kind::REMOVE_TOPIC => "topic removal record",
        kind::CONFIG => "config record",
        kind::PRODUCER_IDS => "producer id record",
        kind => return Err(DecodeError::UnknownKind { kind }),
    })
}

fn decode_fields(kind: u16, reader: &mut Reader<'_>) -> Result<Record, DecodeError> {
    Ok(match kind {
        kind::CLUSTER_ID => {
            let text = reader.text()?;
            if text.is_empty() {
                return Err(reader.bad_value(0));
            }
            Record::ClusterId { cluster_id: ClusterId::from(text) }
        }
        kind::REGISTER_BROKER => decode_registration(reader)?,
        kind::FENCE_BROKER => {
            Record::FenceBroker { node_id: NodeId(reader.i32()?), epoch: reader.i64()?, fenced: reader.bool()? }
        }
        kind::TOPIC => Record::Topic { name: decode_topic_name(reader)?, topic_id: TopicId(reader.uuid()?) },
        kind::PARTITION => {
            let topic_id = TopicId(reader.uuid()?);
            let partition = PartitionIndex(reader.i32()?);
            let replicas = decode_nodes(reader)?;
            let (isr, leader, leader_epoch, partition_epoch) = decode_leadership(reader)?;
            Record::Partition { topic_id, partition, replicas, isr, leader, leader_epoch, partition_epoch }
        }
        kind::PARTITION_CHANGE => {
            let topic_id = TopicId(reader.uuid()?);
            let partition = PartitionIndex(reader.i32()?);
            let (isr, leader, leader_epoch, partition_epoch) = decode_leadership(reader)?;
            Record::PartitionChange { topic_id, partition, isr, leader, leader_epoch, partition_epoch }
        }
        kind::REMOVE_TOPIC => Record::RemoveTopic { topic_id: TopicId(reader.uuid()?) },
        kind::CONFIG => {
            let resource = decode_resource(reader)?;
            Record::Config { resource, name: reader.text()?, value: reader.text_option()? }
        }
        kind::PRODUCER_IDS => Record::ProducerIds {
            node_id: NodeId(reader.i32()?),
            broker_epoch: reader.i64()?,
            next_producer_id: reader.i64()?,
        },
        kind => return Err(DecodeError::UnknownKind { kind }),
    })
}

fn decode_registration(reader: &mut Reader<'_>) -> Result<Record, DecodeError> {
    let node_id = NodeId(reader.i32()?);
    let incarnation = reader.uuid()?;
    let epoch = reader.i64()?;
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
    let rack = reader.text_option()?;
    let controller = reader.bool()?;
    Ok(Record::RegisterBroker { node_id, incarnation, epoch, endpoints, rack, controller })
}

fn decode_topic_name(reader: &mut Reader<'_>) -> Result<TopicName, DecodeError> {
    let text = reader.text()?;
    TopicName::parse(&text).map_err(|_| reader.bad_value(text.len() as i64))
}

fn decode_nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    Ok(reader.i32_list()?.into_iter().map(NodeId).collect())
}

type Leadership = (Vec<NodeId>, Option<NodeId>, LeaderEpoch, i32);

fn decode_leadership(reader: &mut Reader<'_>) -> Result<Leadership, DecodeError> {
    let isr = decode_nodes(reader)?;
    let leader = match reader.i32()? {
        -1 => None,
        node if node >= 0 => Some(NodeId(node)),
        other => return Err(reader.bad_value(i64::from(other))),
    };
    Ok((isr, leader, LeaderEpoch(reader.i32()?), reader.i32()?))
}

fn decode_resource(reader: &mut Reader<'_>) -> Result<ConfigResource, DecodeError> {
    Ok(match reader.u8()? {
        1 => ConfigResource::Topic(decode_topic_name(reader)?),
        2 => ConfigResource::Broker(NodeId(reader.i32()?)),
        3 => ConfigResource::BrokerDefault,
        other => return Err(reader.bad_value(i64::from(other))),
    })
}

#[cfg(test)]
mod tests;
