//! Records to bytes, always in the newest version of each kind.

use twinstream_model::NodeId;

use super::{BATCH_VERSION, BatchBytes, Record, kind};
use crate::{
    codec::Writer,
    image::{ConfigResource, MirrorState, PartitionImage, QuotaEntity, QuotaEntityType, ScramCredential},
};

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

/// The bytes that a record takes in a batch.
pub(crate) fn encoded_len(record: &Record) -> usize {
    let mut out = Writer::default();
    encode_record(record, &mut out);
    out.bytes.len()
}

fn encode_record(record: &Record, out: &mut Writer) {
    let kind = kind_of(record);
    out.u16(kind);
    out.u16(kind::newest_version(kind));
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
        Record::UnregisterBroker { .. } => kind::UNREGISTER_BROKER,
        Record::Topic { .. } => kind::TOPIC,
        Record::Partition { .. } => kind::PARTITION,
        Record::PartitionChange { .. } => kind::PARTITION_CHANGE,
        Record::RemoveTopic { .. } => kind::REMOVE_TOPIC,
        Record::Config { .. } => kind::CONFIG,
        Record::ProducerIds { .. } => kind::PRODUCER_IDS,
        Record::FeatureLevel { .. } => kind::FEATURE_LEVEL,
        Record::ClientQuota { .. } => kind::CLIENT_QUOTA,
        Record::ScramCredential { .. } => kind::SCRAM_CREDENTIAL,
        Record::Mirror { .. } => kind::MIRROR,
    }
}

fn encode_fields(record: &Record, out: &mut Writer) {
    match record {
        Record::ClusterId { cluster_id } => out.text(cluster_id.as_str()),
        Record::RegisterBroker { .. } => encode_registration(record, out),
        Record::FenceBroker { node_id, epoch, fenced, shutting_down } => {
            out.i32(node_id.0);
            out.i64(*epoch);
            out.bool(*fenced);
            out.bool(*shutting_down);
        }
        Record::UnregisterBroker { node_id, epoch } => {
            out.i32(node_id.0);
            out.i64(*epoch);
        }
        Record::Topic { name, topic_id } => {
            out.text(name.as_str());
            out.uuid(topic_id.0);
        }
        Record::Partition { topic_id, partition, image } | Record::PartitionChange { topic_id, partition, image } => {
            out.uuid(topic_id.0);
            out.i32(partition.0);
            encode_partition(image, out);
        }
        Record::Mirror { topic_id, mirror } => {
            out.uuid(topic_id.0);
            out.uuid(mirror.link);
            out.text(&mirror.cluster);
            out.text(mirror.topic.as_str());
            out.uuid(mirror.topic_id.0);
            match mirror.state {
                MirrorState::Mirroring => out.u8(1),
                MirrorState::Promoted { epoch, own: None } => {
                    out.u8(2);
                    out.i32(epoch.0);
                }
                MirrorState::Promoted { epoch, own: Some(own) } => {
                    out.u8(4);
                    out.i32(epoch.0);
                    out.i32(own.0);
                }
                MirrorState::MirroringAgain { epoch } => {
                    out.u8(3);
                    out.i32(epoch.0);
                }
            }
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
        Record::FeatureLevel { name, level } => {
            out.text(name);
            out.u16(*level as u16);
        }
        Record::ClientQuota { entity, key, value } => {
            encode_quota_entity(entity, out);
            out.text(key);
            out.bool(value.is_some());
            if let Some(value) = value {
                out.i64(value.0.to_bits() as i64);
            }
        }
        Record::ScramCredential { user, credential } => {
            out.text(&user.name);
            out.u8(user.mechanism as u8);
            out.bool(credential.is_some());
            if let Some(ScramCredential { salt, stored_key, server_key, iterations }) = credential {
                [salt, stored_key, server_key].into_iter().for_each(|bytes| out.blob(bytes));
                out.i32(*iterations);
            }
        }
    }
}

fn encode_registration(record: &Record, out: &mut Writer) {
    let Record::RegisterBroker {
        node_id,
        incarnation,
        epoch,
        endpoints,
        rack,
        controller,
        directories,
        metadata_directory,
        boot_id,
    } = record
    else {
        return;
    };
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
    out.uuid_list(directories);
    out.uuid_option(*metadata_directory);
    out.text(boot_id);
}

fn encode_partition(image: &PartitionImage, out: &mut Writer) {
    for nodes in [&image.replicas, &image.isr, &image.elr, &image.adding, &image.removing] {
        out.i32_list(nodes.iter().map(|node| node.0));
    }
    for node in [image.last_known_leader, image.leader] {
        out.i32(node.map_or(NodeId::NONE.0, |node| node.0));
    }
    out.i32(image.leader_epoch.0);
    out.i32(image.partition_epoch);
    out.i32_list(image.offline.iter().map(|node| node.0));
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
        ConfigResource::Group(group) => {
            out.u8(4);
            out.text(group);
        }
        ConfigResource::ClientMetrics(subscription) => {
            out.u8(5);
            out.text(subscription);
        }
    }
}

fn encode_quota_entity(entity: &QuotaEntity, out: &mut Writer) {
    out.u32(entity.parts.len() as u32);
    for (kind, name) in &entity.parts {
        out.u8(match kind {
            QuotaEntityType::User => 1,
            QuotaEntityType::ClientId => 2,
            QuotaEntityType::Ip => 3,
        });
        out.text_option(name.as_deref());
    }
}
