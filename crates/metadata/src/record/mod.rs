//! The records of the metadata log and their bytes.
//!
//! Picture: one entry of the Raft log is one batch, all of whose records take effect together. A batch is a version byte, a record
//! count and the records; a record is kind, version, length and fields, so that each kind can grow on its own.
//! `docs/001-record-layout.md` has the layout and what else was considered.
//!
//! Invariants: a kind number and the layout of a released version never change; golden bytes in `tests.rs` hold them.
//! What a newer release wrote is refused, not skipped: a node that skips records would serve a different cluster.

mod decode; // bytes to records, of every released version
mod encode; // records to bytes, always of the newest version

use twinstream_model::{ClusterId, NodeId, PartitionIndex, TopicId, TopicName};
use uuid::Uuid;

pub(crate) use self::encode::encoded_len;
pub use self::{decode::decode_batch, encode::encode_batch};
use crate::image::{ConfigResource, Mirror, PartitionImage, QuotaEntity, QuotaValue, ScramCredential, ScramUser};

/// The encoded form of one batch.
pub type BatchBytes = Vec<u8>;

/// Bound of one encoded batch. The largest decision is a request for [`crate::controller::PARTITIONS_PER_REQUEST_MAX`] partitions
/// at about 100 bytes each; the rest is room for config values. Decisions that can touch more partitions than that (fencing a broker,
/// a purge of its replicas) are cut into several batches by the controller.
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
        incarnation: Uuid,
        /// Grows with each registration in the cluster; names this incarnation in later requests.
        epoch: i64,
        endpoints: Vec<Endpoint>,
        rack: Option<String>,
        /// Whether the node has a vote in the metadata quorum.
        controller: bool,
        /// The random ids of its log directories, from `meta.properties`. Empty in version 1.
        directories: Vec<Uuid>,
        /// The random id of its metadata directory. None in version 1.
        metadata_directory: Option<Uuid>,
        /// Names one run of the kernel. Empty in version 1.
        boot_id: String,
    },
    /// A broker of this epoch started or stopped serving clients, or began to shut down.
    FenceBroker {
        node_id: NodeId,
        epoch: i64,
        fenced: bool,
        /// Not in version 1, where it reads as false.
        shutting_down: bool,
    },
    /// A broker of this epoch left for good.
    UnregisterBroker {
        node_id: NodeId,
        epoch: i64,
    },
    Topic {
        name: TopicName,
        topic_id: TopicId,
    },
    /// A new partition of a topic that an earlier record made.
    Partition {
        topic_id: TopicId,
        partition: PartitionIndex,
        image: PartitionImage,
    },
    /// A partition as it is from now on. No replicas (only in version 1, which had none here) means that replicas and their
    /// reassignment are as before.
    PartitionChange {
        topic_id: TopicId,
        partition: PartitionIndex,
        image: PartitionImage,
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
    /// A feature is at this level from now on, in the whole cluster.
    FeatureLevel {
        name: String,
        level: i16,
    },
    /// A client quota is set, or with no value removed.
    ClientQuota {
        entity: QuotaEntity,
        key: String,
        value: Option<QuotaValue>,
    },
    /// A topic that has just been made is a mirror of another cluster's, or one that is a mirror is promoted: then all its
    /// partitions have at least the epoch of that.
    Mirror {
        topic_id: TopicId,
        mirror: Mirror,
    },
    /// A user's credential is set, or without one removed.
    ScramCredential {
        user: ScramUser,
        credential: Option<ScramCredential>,
    },
}

/// The numbers of the record kinds and the newest version of each.
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
    pub(super) const UNREGISTER_BROKER: u16 = 10;
    pub(super) const FEATURE_LEVEL: u16 = 11;
    pub(super) const CLIENT_QUOTA: u16 = 12;
    pub(super) const SCRAM_CREDENTIAL: u16 = 13;
    pub(super) const MIRROR: u16 = 14;

    /// Version 2 came with replication: directories, shutting down, ELR, reassignment. Version 3 of partitions with replicas
    /// on failed disks, version 2 of configs with groups and client metrics.
    pub(super) fn newest_version(kind: u16) -> u16 {
        match kind {
            PARTITION | PARTITION_CHANGE => 3,
            REGISTER_BROKER | FENCE_BROKER | CONFIG => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests;
