//! Bytes to records, of every version that was ever released.

use twinstream_model::{ClusterId, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName};

use super::{BATCH_VERSION, Endpoint, RECORD_HEADER_BYTES, Record, kind};
use crate::{
    codec::{DecodeError, Reader},
    image::{
        ConfigResource, Mirror, MirrorState, PartitionImage, QuotaEntity, QuotaEntityType, QuotaValue, ScramCredential,
        ScramMechanism, ScramUser,
    },
};

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

fn decode_record(batch: &mut Reader<'_>) -> Result<Record, DecodeError> {
    let kind = batch.u16()?;
    let version = batch.u16()?;
    let length = batch.u32()? as usize;
    let body = batch.take(length)?;
    let what = name_of(kind)?;
    if version == 0 {
        return Err(DecodeError::BadValue { what, value: 0 });
    }
    let newest = kind::newest_version(kind);
    if version > newest {
        return Err(DecodeError::NewerVersion { what, found: version, newest });
    }
    let mut reader = Reader::new(what, body);
    let record = decode_fields(kind, version, &mut reader)?;
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
        kind::UNREGISTER_BROKER => "broker removal record",
        kind::FEATURE_LEVEL => "feature level record",
        kind::CLIENT_QUOTA => "client quota record",
        kind::SCRAM_CREDENTIAL => "scram credential record",
        kind::MIRROR => "mirror record",
        kind => return Err(DecodeError::UnknownKind { kind }),
    })
}

fn decode_fields(kind: u16, version: u16, reader: &mut Reader<'_>) -> Result<Record, DecodeError> {
    Ok(match kind {
        kind::CLUSTER_ID => {
            let text = reader.text()?;
            if text.is_empty() {
                return Err(reader.bad_value(0));
            }
            Record::ClusterId { cluster_id: ClusterId::from(text) }
        }
        kind::REGISTER_BROKER => decode_registration(version, reader)?,
        kind::FENCE_BROKER => Record::FenceBroker {
            node_id: NodeId(reader.i32()?),
            epoch: reader.i64()?,
            fenced: reader.bool()?,
            shutting_down: version >= 2 && reader.bool()?,
        },
        kind::UNREGISTER_BROKER => Record::UnregisterBroker { node_id: NodeId(reader.i32()?), epoch: reader.i64()? },
        kind::TOPIC => Record::Topic { name: decode_topic_name(reader)?, topic_id: TopicId(reader.uuid()?) },
        kind::PARTITION => Record::Partition {
            topic_id: TopicId(reader.uuid()?),
            partition: PartitionIndex(reader.i32()?),
            image: match version {
                1 => decode_partition_v1(decode_nodes(reader)?, reader)?,
                _ => decode_partition(version, reader)?,
            },
        },
        kind::PARTITION_CHANGE => Record::PartitionChange {
            topic_id: TopicId(reader.uuid()?),
            partition: PartitionIndex(reader.i32()?),
            image: match version {
                1 => decode_partition_v1(Vec::new(), reader)?,
                _ => decode_partition(version, reader)?,
            },
        },
        kind::REMOVE_TOPIC => Record::RemoveTopic { topic_id: TopicId(reader.uuid()?) },
        kind::CONFIG => {
            let resource = decode_resource(version, reader)?;
            Record::Config { resource, name: reader.text()?, value: reader.text_option()? }
        }
        kind::PRODUCER_IDS => Record::ProducerIds {
            node_id: NodeId(reader.i32()?),
            broker_epoch: reader.i64()?,
            next_producer_id: reader.i64()?,
        },
        kind::FEATURE_LEVEL => Record::FeatureLevel { name: reader.text()?, level: reader.u16()? as i16 },
        kind::CLIENT_QUOTA => Record::ClientQuota {
            entity: decode_quota_entity(reader)?,
            key: reader.text()?,
            value: match reader.bool()? {
                true => Some(QuotaValue(f64::from_bits(reader.i64()? as u64))),
                false => None,
            },
        },
        kind::SCRAM_CREDENTIAL => decode_scram(reader)?,
        kind::MIRROR => Record::Mirror { topic_id: TopicId(reader.uuid()?), mirror: decode_mirror(reader)? },
        kind => return Err(DecodeError::UnknownKind { kind }),
    })
}

fn decode_registration(version: u16, reader: &mut Reader<'_>) -> Result<Record, DecodeError> {
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
    let (directories, metadata_directory, boot_id) = match version {
        1 => (Vec::new(), None, String::new()),
        _ => (reader.uuid_list()?, reader.uuid_option()?, reader.text()?),
    };
    Ok(Record::RegisterBroker {
        node_id,
        incarnation,
        epoch,
        endpoints,
        rack,
        controller,
        directories,
        metadata_directory,
        boot_id,
    })
}

fn decode_topic_name(reader: &mut Reader<'_>) -> Result<TopicName, DecodeError> {
    let text = reader.text()?;
    TopicName::parse(&text).map_err(|_| reader.bad_value(text.len() as i64))
}

fn decode_mirror(reader: &mut Reader<'_>) -> Result<Mirror, DecodeError> {
    Ok(Mirror {
        link: reader.uuid()?,
        cluster: reader.text()?,
        topic: decode_topic_name(reader)?,
        topic_id: TopicId(reader.uuid()?),
        state: match reader.u8()? {
            1 => MirrorState::Mirroring,
            state @ (2 | 3) => match (reader.i32()?, state) {
                (epoch, 2) if epoch > 0 => MirrorState::Promoted { epoch: LeaderEpoch(epoch), own: None },
                (epoch, _) if epoch > 0 => MirrorState::MirroringAgain { epoch: LeaderEpoch(epoch) },
                (epoch, _) => return Err(reader.bad_value(i64::from(epoch))),
            },
            4 => match (reader.i32()?, reader.i32()?) {
                (epoch, own) if 0 < own && own < epoch => {
                    MirrorState::Promoted { epoch: LeaderEpoch(epoch), own: Some(LeaderEpoch(own)) }
                }
                (_, own) => return Err(reader.bad_value(i64::from(own))),
            },
            other => return Err(reader.bad_value(i64::from(other))),
        },
    })
}

fn decode_nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    Ok(reader.i32_list()?.into_iter().map(NodeId).collect())
}

fn decode_node_option(reader: &mut Reader<'_>) -> Result<Option<NodeId>, DecodeError> {
    match reader.i32()? {
        -1 => Ok(None),
        node if node >= 0 => Ok(Some(NodeId(node))),
        other => Err(reader.bad_value(i64::from(other))),
    }
}

fn decode_partition_v1(replicas: Vec<NodeId>, reader: &mut Reader<'_>) -> Result<PartitionImage, DecodeError> {
    Ok(PartitionImage {
        replicas,
        isr: decode_nodes(reader)?,
        leader: decode_node_option(reader)?,
        leader_epoch: LeaderEpoch(reader.i32()?),
        partition_epoch: reader.i32()?,
        ..PartitionImage::default()
    })
}

fn decode_partition(version: u16, reader: &mut Reader<'_>) -> Result<PartitionImage, DecodeError> {
    Ok(PartitionImage {
        replicas: decode_nodes(reader)?,
        isr: decode_nodes(reader)?,
        elr: decode_nodes(reader)?,
        adding: decode_nodes(reader)?,
        removing: decode_nodes(reader)?,
        last_known_leader: decode_node_option(reader)?,
        leader: decode_node_option(reader)?,
        leader_epoch: LeaderEpoch(reader.i32()?),
        partition_epoch: reader.i32()?,
        offline: match version {
            2 => Vec::new(),
            _ => decode_nodes(reader)?,
        },
    })
}

fn decode_resource(version: u16, reader: &mut Reader<'_>) -> Result<ConfigResource, DecodeError> {
    Ok(match reader.u8()? {
        1 => ConfigResource::Topic(decode_topic_name(reader)?),
        2 => ConfigResource::Broker(NodeId(reader.i32()?)),
        3 => ConfigResource::BrokerDefault,
        4 if version >= 2 => ConfigResource::Group(reader.text()?),
        5 if version >= 2 => ConfigResource::ClientMetrics(reader.text()?),
        other => return Err(reader.bad_value(i64::from(other))),
    })
}

/// The parts stand in the order of their types, each once.
fn decode_quota_entity(reader: &mut Reader<'_>) -> Result<QuotaEntity, DecodeError> {
    let count = reader.list_len(2)?;
    let mut entity = QuotaEntity::default();
    for _ in 0..count {
        let kind = match reader.u8()? {
            1 => QuotaEntityType::User,
            2 => QuotaEntityType::ClientId,
            3 => QuotaEntityType::Ip,
            other => return Err(reader.bad_value(i64::from(other))),
        };
        if entity.parts.last_key_value().is_some_and(|(last, _)| *last >= kind) {
            return Err(reader.bad_value(kind as i64));
        }
        entity.parts.insert(kind, reader.text_option()?);
    }
    match entity.parts.is_empty() {
        true => Err(reader.bad_value(0)),
        false => Ok(entity),
    }
}

fn decode_scram(reader: &mut Reader<'_>) -> Result<Record, DecodeError> {
    let name = reader.text()?;
    let code = reader.u8()?;
    let mechanism = ScramMechanism::from_code(code as i8).ok_or_else(|| reader.bad_value(i64::from(code)))?;
    let credential = match reader.bool()? {
        true => Some(ScramCredential {
            salt: reader.blob()?,
            stored_key: reader.blob()?,
            server_key: reader.blob()?,
            iterations: reader.i32()?,
        }),
        false => None,
    };
    Ok(Record::ScramCredential { user: ScramUser { name, mechanism }, credential })
}
