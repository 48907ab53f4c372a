//! The records of consumer groups (KIP-848) as values; `consumer_codec` turns them to bytes and back.
//!
//! Field names are Kafka's (`ConsumerGroupMetadataValue` and so on). A group is stored in small pieces, so that
//! a heartbeat that moves one member writes one record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use twinstream_model::{GroupId, PartitionIndex, TopicId};

use super::super::request::{InstanceId, MemberId, Protocol};

/// Partitions by topic; no topic is listed without partitions.
pub type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// Partitions with the epoch at which the member got each (KIP-1251); no topic is listed without partitions.
pub type OwnedPartitions = BTreeMap<TopicId, BTreeMap<PartitionIndex, Epoch>>;

/// The one counter of a consumer group. The group's epoch counts changes of members, subscriptions and topics;
/// the epoch of the target assignment and the epochs of members are those group epochs that they have reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i32);

impl Epoch {
    /// In requests: "let me in". Of a stored member: it owns nothing yet.
    pub const JOINING: Epoch = Epoch(0);
    /// In requests: "I leave".
    pub const LEAVING: Epoch = Epoch(-1);
    /// In requests and of a stored member: a static member that left and will be back (KIP-345).
    pub const AWAY: Epoch = Epoch(-2);

    /// Of a group before its first member; that brings the second epoch, as in Kafka.
    pub(crate) const UNBORN: Epoch = Epoch(1);

    /// The epoch after this one. After two billion changes it starts over, which members notice as being fenced.
    pub fn next(self) -> Epoch {
        Epoch(self.0.checked_add(1).unwrap_or(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One stored fact; a `None` value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// Kind 3: the group exists and has this epoch.
    Group { group: GroupId, value: Option<GroupValue> },
    /// Kind 4, of Kafka before 4.1: what was known of the subscribed topics. Read and ignored; only its tombstone
    /// is ever written, when the group is deleted.
    TopicMetadata { group: GroupId },
    /// Kind 5: a member and what it wants.
    Member { group: GroupId, member: MemberId, value: Option<MemberValue> },
    /// Kind 6: the target assignment is complete for this epoch.
    Target { group: GroupId, value: Option<TargetValue> },
    /// Kind 7: what a member is to own.
    TargetMember { group: GroupId, member: MemberId, value: Option<Partitions> },
    /// Kind 8: what a member owns.
    Current { group: GroupId, member: MemberId, value: Option<CurrentValue> },
    /// Kind 16: the topics that a regular expression was found to match.
    Regex { group: GroupId, regex: Arc<str>, value: Option<RegexValue> },
}

/// `ConsumerGroupMetadataValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupValue {
    pub epoch: Epoch,
    /// Of all subscribed topics (KIP-1101); 0 in records of older releases.
    pub metadata_hash: i64,
}

/// `ConsumerGroupMemberMetadataValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberValue {
    pub instance: Option<InstanceId>,
    pub rack: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: BTreeSet<Arc<str>>,
    pub regex: Option<Arc<str>>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<Arc<str>>,
    /// Only of a member that speaks the classic protocol.
    pub classic: Option<ClassicMember>,
}

/// What a member that speaks the classic protocol brought with its JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    pub session_timeout_ms: i32,
    pub protocols: Vec<Protocol>,
}

/// `ConsumerGroupTargetAssignmentMetadataValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetValue {
    pub epoch: Epoch,
    /// When it was computed (KIP-1263); 0 in records of older releases.
    pub timestamp_ms: i64,
}

/// `ConsumerGroupCurrentMemberAssignmentValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentValue {
    pub epoch: Epoch,
    pub previous_epoch: Epoch,
    pub state: MemberState,
    /// Where a record has no epochs per partition, they are read as the member's epoch.
    pub assigned: OwnedPartitions,
    pub pending_revocation: OwnedPartitions,
}

/// Where a member is on its way to its target. Any state may follow any other, by `reconcile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// Owns its target, as of its epoch. Stored as 0.
    #[default]
    Stable,
    /// Must give partitions back first. Stored as 1.
    UnrevokedPartitions,
    /// Waits for partitions that others have not given back. Stored as 2.
    UnreleasedPartitions,
    /// A state of a newer release. Stored as 127.
    Unknown,
}

/// `ConsumerGroupRegularExpressionValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegexValue {
    pub topics: BTreeSet<Arc<str>>,
    /// Of the metadata image that it was resolved against.
    pub version: i64,
    pub timestamp_ms: i64,
}

impl ConsumerRecord {
    pub fn group(&self) -> &GroupId {
        match self {
            ConsumerRecord::Group { group, .. }
            | ConsumerRecord::TopicMetadata { group }
            | ConsumerRecord::Member { group, .. }
            | ConsumerRecord::Target { group, .. }
            | ConsumerRecord::TargetMember { group, .. }
            | ConsumerRecord::Current { group, .. }
            | ConsumerRecord::Regex { group, .. } => group,
        }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            ConsumerRecord::TopicMetadata { .. } => true,
            ConsumerRecord::Group { value, .. } => value.is_none(),
            ConsumerRecord::Member { value, .. } => value.is_none(),
            ConsumerRecord::Target { value, .. } => value.is_none(),
            ConsumerRecord::TargetMember { value, .. } => value.is_none(),
            ConsumerRecord::Current { value, .. } => value.is_none(),
            ConsumerRecord::Regex { value, .. } => value.is_none(),
        }
    }

    /// Roughly how many bytes the record takes in the log; exact enough to bound a batch.
    pub(crate) fn approximate_bytes(&self) -> usize {
        const FIXED: usize = 96; // record framing, ids, versions, lengths, numbers
        const PER_TOPIC: usize = 24;
        const PER_PARTITION: usize = 9; // with its epoch
        let owned = |partitions: &OwnedPartitions| {
            partitions.values().map(|partitions| PER_TOPIC + PER_PARTITION * partitions.len()).sum::<usize>()
        };
        let texts = |texts: &BTreeSet<Arc<str>>| texts.iter().map(|text| text.len() + 4).sum::<usize>();
        let rest = match self {
            ConsumerRecord::Member { value: Some(value), .. } => {
                let protocols = value.classic.iter().flat_map(|classic| &classic.protocols);
                let classic =
                    protocols.map(|protocol| protocol.name.len() + protocol.metadata.len() + 8).sum::<usize>();
                texts(&value.topics) + value.client_id.len() + value.client_host.len() + classic
            }
            ConsumerRecord::TargetMember { value: Some(value), .. } => {
                value.values().map(|partitions| PER_TOPIC + PER_PARTITION * partitions.len()).sum()
            }
            ConsumerRecord::Current { value: Some(value), .. } => {
                owned(&value.assigned) + owned(&value.pending_revocation)
            }
            ConsumerRecord::Regex { regex, value, .. } => {
                regex.len() + value.as_ref().map_or(0, |value| texts(&value.topics))
            }
            _ => 0,
        };
        FIXED + self.group().as_str().len() + rest
    }
}
