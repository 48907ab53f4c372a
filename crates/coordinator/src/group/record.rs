//! The records of `__consumer_offsets` as values; `codec` turns them to bytes and back.
//!
//! Field names are Kafka's (`OffsetCommitValue`, `GroupMetadataValue`).

use std::sync::Arc;

use bytes::Bytes;
use twinstream_model::{GroupId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use super::consumer::ConsumerRecord;
use super::request::{Generation, InstanceId, MemberId};
use crate::transaction::Producer;

/// One stored fact; a `None` value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    OffsetCommit {
        key: OffsetKey,
        value: Option<CommittedOffset>,
    },
    GroupMetadata {
        group: GroupId,
        value: Option<GroupMetadata>,
    },
    /// One of the pieces of a consumer group.
    Consumer(ConsumerRecord),
    /// An offset that counts once the producer's transaction commits.
    TransactionalCommit {
        producer: Producer,
        key: OffsetKey,
        value: CommittedOffset,
    },
    /// The end of a producer's transaction.
    TransactionMarker {
        producer: Producer,
        commit: bool,
        coordinator_epoch: i32,
    },
}

/// What the batch says in which a record is stored. Those of one decision are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    Plain,
    Transactional(Producer),
    /// A control batch, which holds nothing else.
    Marker(Producer),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    pub group: GroupId,
    pub topic: TopicName,
    pub partition: PartitionIndex,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
    pub commit_timestamp_ms: i64,
    /// Only of commits that named their own retention (OffsetCommit versions 2 to 4).
    pub expire_timestamp_ms: Option<i64>,
    pub topic_id: TopicId,
}

/// A completed generation of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    pub protocol_type: Option<Arc<str>>,
    pub generation: Generation,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    /// When the group came to its state; versions before 2 do not know it.
    pub current_state_timestamp_ms: Option<i64>,
    pub members: Vec<StoredMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl Record {
    pub fn batch_kind(&self) -> BatchKind {
        match self {
            Record::TransactionalCommit { producer, .. } => BatchKind::Transactional(*producer),
            Record::TransactionMarker { producer, .. } => BatchKind::Marker(*producer),
            _ => BatchKind::Plain,
        }
    }

    /// What a record that was read from a transactional batch means. A tombstone means what it means everywhere.
    pub fn in_transaction(self, producer: Producer) -> Record {
        match self {
            Record::OffsetCommit { key, value: Some(value) } => Record::TransactionalCommit { producer, key, value },
            other => other,
        }
    }

    /// Roughly how many bytes the record takes in the log; exact enough to bound a batch.
    pub(crate) fn approximate_bytes(&self) -> usize {
        const FIXED: usize = 64; // record framing, versions, lengths, numbers
        match self {
            Record::OffsetCommit { key, value } => {
                let metadata = value.as_ref().map_or(0, |v| v.metadata.len());
                FIXED + key.group.as_str().len() + key.topic.as_str().len() + metadata
            }
            Record::TransactionalCommit { key, value, .. } => {
                FIXED + key.group.as_str().len() + key.topic.as_str().len() + value.metadata.len()
            }
            Record::TransactionMarker { .. } => FIXED,
            Record::Consumer(record) => record.approximate_bytes(),
            Record::GroupMetadata { group, value } => {
                let members = value.iter().flat_map(|v| &v.members).map(StoredMember::approximate_bytes);
                FIXED + group.as_str().len() + members.sum::<usize>()
            }
        }
    }
}

impl StoredMember {
    fn approximate_bytes(&self) -> usize {
        const FIXED: usize = 32; // lengths and timeouts
        FIXED
            + self.member.as_str().len()
            + self.instance.as_ref().map_or(0, |i| i.as_str().len())
            + self.client_id.len()
            + self.client_host.len()
            + self.subscription.len()
            + self.assignment.len()
    }
}
