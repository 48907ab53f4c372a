//! An image as a list of record batches: what a metadata snapshot holds.
//!
//! A snapshot is replayed by the same code as the log. Layout: version byte, batch count, then each batch with its length. Two facts
//! that no record of a quiet cluster carries (the next broker epoch, the next producer id) stand in the header.

use twinstream_model::NodeId;

use super::{Image, ReplayError};
use crate::{
    codec::{DecodeError, Reader, Writer},
    record::{Record, decode_batch, encode_batch},
};

const SNAPSHOT_VERSION: u8 = 1;
/// Records per batch of a snapshot, so that neither side builds one huge buffer.
const RECORDS_PER_BATCH: usize = 1000;

/// Why a snapshot cannot be loaded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SnapshotError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl Image {
    /// The image as snapshot bytes; equal images give equal bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let records = self.to_records();
        let batches: Vec<&[Record]> = records.chunks(RECORDS_PER_BATCH).collect();
        let mut out = Writer::default();
        out.u8(SNAPSHOT_VERSION);
        out.i64(self.next_broker_epoch);
        out.i64(self.next_producer_id);
        out.u32(batches.len() as u32);
        for batch in batches {
            let bytes = encode_batch(batch);
            out.u32(bytes.len() as u32);
            out.bytes.extend_from_slice(&bytes);
        }
        out.bytes
    }

    /// The image that [`Image::to_snapshot`] wrote.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader::new("metadata snapshot", bytes);
        let version = reader.u8()?;
        if version != SNAPSHOT_VERSION {
            let (found, newest) = (u16::from(version), u16::from(SNAPSHOT_VERSION));
            return Err(DecodeError::NewerVersion { what: "metadata snapshot", found, newest }.into());
        }
        let next_broker_epoch = reader.i64()?;
        let next_producer_id = reader.i64()?;
        let count = reader.list_len(4)?;
        let mut image = Self::default();
        for _ in 0..count {
            let length = reader.u32()? as usize;
            for record in decode_batch(reader.take(length)?)? {
                image.apply(&record)?;
            }
        }
        reader.end()?;
        image.next_broker_epoch = image.next_broker_epoch.max(next_broker_epoch);
        image.next_producer_id = image.next_producer_id.max(next_producer_id);
        Ok(image)
    }

    /// Records that replay into this image, in an order that `apply` accepts.
    pub(super) fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        records.extend(self.cluster_id().map(|cluster_id| Record::ClusterId { cluster_id: cluster_id.clone() }));
        let features = self.features.iter();
        records.extend(features.map(|(name, level)| Record::FeatureLevel { name: name.clone(), level: *level }));
        self.broker_records(&mut records);
        self.topic_records(&mut records);
        for resource in self.config_resources() {
            for (name, value) in self.configs(resource) {
                let (name, value) = (name.to_owned(), Some(value.to_owned()));
                records.push(Record::Config { resource: resource.clone(), name, value });
            }
        }
        for (entity, quotas) in self.client_quotas() {
            records.extend(quotas.map(|(key, value)| Record::ClientQuota {
                entity: entity.clone(),
                key: key.to_owned(),
                value: Some(value),
            }));
        }
        for (user, credential) in self.scram_credentials() {
            let credential = Some(credential.clone());
            records.push(Record::ScramCredential { user: user.clone(), credential });
        }
        if self.next_producer_id > 0 {
            let next_producer_id = self.next_producer_id;
            records.push(Record::ProducerIds { node_id: NodeId(-1), broker_epoch: -1, next_producer_id });
        }
        records
    }

    fn broker_records(&self, records: &mut Vec<Record>) {
        for broker in self.brokers() {
            let (node_id, epoch) = (broker.node_id, broker.epoch);
            records.push(Record::RegisterBroker {
                node_id,
                incarnation: broker.incarnation,
                epoch,
                endpoints: broker.endpoints.clone(),
                rack: broker.rack.clone(),
                controller: broker.controller,
                directories: broker.directories.clone(),
                metadata_directory: broker.metadata_directory,
                boot_id: broker.boot_id.clone(),
            });
            let (fenced, shutting_down) = (broker.fenced, broker.shutting_down);
            if !fenced || shutting_down {
                records.push(Record::FenceBroker { node_id, epoch, fenced, shutting_down });
            }
        }
    }

    fn topic_records(&self, records: &mut Vec<Record>) {
        for topic in self.topics() {
            records.push(Record::Topic { name: topic.name.clone(), topic_id: topic.id });
            // Before the partitions, whose epochs it must not raise once more.
            let mirror = topic.mirror.as_deref().cloned();
            records.extend(mirror.map(|mirror| Record::Mirror { topic_id: topic.id, mirror }));
            for (partition, image) in topic.iter() {
                records.push(Record::Partition { topic_id: topic.id, partition, image: image.clone() });
            }
        }
    }
}
