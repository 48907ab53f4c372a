//! What the group shard is asked and what it answers, free of wire versions.
//!
//! The broker's handlers map each Kafka API to one [`Request`] and its [`Answer`] back. Where a version
//! changes behaviour and not only the layout, the request carries the behaviour by name
//! (`requires_member_id`, `can_skip_assignment`).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use twinstream_model::{ErrorCode, GroupId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use uuid::Uuid;

use super::consumer::{ConsumerDescription, ConsumerHeartbeat, ConsumerHeartbeatAnswer, Epoch};
use super::topics::Topics;
use crate::transaction::{Producer, TransactionVersion};

macro_rules! member_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

member_text! {
    /// `member.id`: given by the coordinator; empty means "I have none yet".
    MemberId
}
member_text! {
    /// `group.instance.id` of a static member.
    InstanceId
}

impl MemberId {
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }
}

/// Counts the completed rebalances of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub i32);

impl Generation {
    /// "Not a member", and the generation in answers that failed.
    pub const NONE: Generation = Generation(-1);

    /// The generation after this one; wraps to 0 so that it never reads as "none".
    pub fn next(self) -> Generation {
        Generation(self.0.checked_add(1).unwrap_or(0))
    }
}

/// One assignment strategy that a member offers, with what it tells the leader under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

/// One question to the shard.
#[derive(Clone, Debug)]
pub enum Request {
    Join(Join),
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Leave),
    CommitOffsets(CommitOffsets),
    /// TxnOffsetCommit.
    CommitTransactionalOffsets(CommitTransactionalOffsets),
    /// A marker for this partition of `__consumer_offsets`.
    EndTransaction(EndTransaction),
    FetchOffsets(FetchOffsets),
    DeleteOffsets(DeleteOffsets),
    /// Boxed, for it is much larger than the others.
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    ConsumerDescribe(GroupId),
    Describe(GroupId),
    List(ListFilter),
    Delete(GroupId),
    /// Topics are gone: forget the offsets that any group committed for them. By their ids, too, because there may be another
    /// topic of that name by now, which has offsets of its own.
    ForgetTopics(Vec<(TopicName, TopicId)>),
}

/// The shard's reply; each variant belongs to the request of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Join(JoinAnswer),
    Sync(SyncAnswer),
    Heartbeat(ErrorCode),
    Leave(LeaveAnswer),
    CommitOffsets(CommitAnswer),
    CommitTransactionalOffsets(CommitAnswer),
    /// To a commit whose producer has no transaction open here: ask the transaction's coordinator, then ask again.
    Unverified(TransactionGuard),
    EndTransaction(ErrorCode),
    FetchOffsets(FetchAnswer),
    DeleteOffsets(DeleteOffsetsAnswer),
    ConsumerHeartbeat(ConsumerHeartbeatAnswer),
    ConsumerDescribe(Result<ConsumerDescription, ErrorCode>),
    Describe(Result<Description, ErrorCode>),
    List(Result<Vec<Listing>, ErrorCode>),
    Delete(ErrorCode),
    ForgetTopics(ErrorCode),
}

#[derive(Clone, Debug)]
pub struct Join {
    pub group: GroupId,
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: Arc<str>,
    pub protocols: Vec<Protocol>,
    pub reason: Option<Arc<str>>,
    /// Version 4 and later (KIP-394): a new dynamic member is first told its id and must come back with it.
    pub requires_member_id: bool,
    /// Version 9 and later (KIP-814): a leader that only came back may be told not to assign anew.
    pub can_skip_assignment: bool,
    /// The cluster as it is now; only a group that is on its way between the protocols asks for it.
    pub cluster: Option<Arc<dyn Topics>>,
    /// Randomness from the outside for a new member id.
    pub fresh_id: Uuid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAnswer {
    pub error: ErrorCode,
    pub member: MemberId,
    pub generation: Generation,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub leader: MemberId,
    pub skip_assignment: bool,
    /// Everyone in the group, told to the leader only.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub metadata: Bytes,
}

impl JoinAnswer {
    pub fn failed(member: MemberId, error: ErrorCode) -> JoinAnswer {
        JoinAnswer {
            error,
            member,
            generation: Generation::NONE,
            protocol_type: None,
            protocol: None,
            leader: MemberId::default(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub group: GroupId,
    pub generation: Generation,
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    /// Version 5 and later (KIP-559).
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    /// Only the leader sends assignments.
    pub assignments: Vec<(MemberId, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAnswer {
    pub error: ErrorCode,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignment: Bytes,
}

impl SyncAnswer {
    pub fn failed(error: ErrorCode) -> SyncAnswer {
        SyncAnswer { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub group: GroupId,
    pub generation: Generation,
    pub member: MemberId,
    pub instance: Option<InstanceId>,
}

#[derive(Clone, Debug)]
pub struct Leave {
    pub group: GroupId,
    pub members: Vec<LeavingMember>,
}

/// Named by its id, or by the instance alone when an administrator removes a static member.
#[derive(Clone, Debug)]
pub struct LeavingMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub reason: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveAnswer {
    pub error: ErrorCode,
    pub members: Vec<LeftMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub error: ErrorCode,
}

#[derive(Clone, Debug)]
pub struct CommitOffsets {
    pub group: GroupId,
    pub generation: Generation,
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    /// Versions 2 to 4 may name their own retention.
    pub retention_ms: Option<i64>,
    /// Version 9 and later say GROUP_ID_NOT_FOUND where older ones say ILLEGAL_GENERATION, and may come from members of
    /// consumer groups, whose epoch is the generation.
    pub knows_group_id_not_found: bool,
    pub offsets: Vec<OffsetToCommit>,
}

#[derive(Clone, Debug)]
pub struct CommitTransactionalOffsets {
    pub group: GroupId,
    pub producer: Producer,
    pub verification: Verification,
    /// As in [`CommitOffsets`]; versions before 3 name no member (KIP-447).
    pub generation: Generation,
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub offsets: Vec<OffsetToCommit>,
}

/// What the caller knows of the transaction (KIP-890). Only asked for while the transaction has nothing here yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Nothing yet.
    Missing,
    /// Since the guard, the transaction's coordinator has said that this partition belongs to the transaction.
    LookedUp(TransactionGuard),
    /// Since the guard, it has added this partition to the transaction. Then every transaction has its own epoch.
    Added(TransactionGuard),
    /// `transaction.partition.verification.enable=false`
    SwitchedOff,
}

/// The moment at which a caller began to verify a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionGuard {
    pub(super) loaded_ms: i64,
    pub(super) log_end: Offset,
}

#[derive(Clone, Copy, Debug)]
pub struct EndTransaction {
    pub producer: Producer,
    pub commit: bool,
    /// Of the transaction's coordinator; an older one than the log knows is fenced.
    pub coordinator_epoch: i32,
    pub version: TransactionVersion,
}

#[derive(Clone, Debug)]
pub struct OffsetToCommit {
    pub topic: TopicName,
    pub topic_id: TopicId,
    /// The id of the topic that has this name now; not stored.
    pub topic_now: TopicId,
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
}

/// One code for the whole request, or one per offset in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitAnswer {
    pub error: ErrorCode,
    pub offsets: Vec<ErrorCode>,
}

#[derive(Clone, Debug)]
pub struct FetchOffsets {
    pub group: GroupId,
    /// Version 9 and later may say who asks, which consumer groups check.
    pub member: Option<MemberId>,
    pub epoch: Epoch,
    /// `None` asks for every offset of the group.
    pub partitions: Option<Vec<(TopicName, Vec<PartitionIndex>)>>,
    /// An offset that a transaction is about to replace is an error (KIP-447).
    pub require_stable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    pub error: ErrorCode,
    pub topics: Vec<(TopicName, Vec<FetchedOffset>)>,
}

/// Offset -1 and empty metadata where nothing is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    pub partition: PartitionIndex,
    /// Of the topic that it was committed for, NONE where that is not known.
    pub topic_id: TopicId,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
    /// UNSTABLE_OFFSET_COMMIT, or none.
    pub error: ErrorCode,
}

#[derive(Clone, Debug)]
pub struct DeleteOffsets {
    pub group: GroupId,
    pub topics: Vec<(TopicName, Vec<PartitionIndex>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOffsetsAnswer {
    pub error: ErrorCode,
    /// One code per topic, in the order of the request.
    pub topics: Vec<ErrorCode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub state: GroupState,
    pub protocol_type: Option<Arc<str>>,
    /// Only of a stable group.
    pub protocol: Option<Arc<str>>,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// An empty list lets everything through. Compared without regard to case.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub group: GroupId,
    pub protocol_type: Option<Arc<str>>,
    pub kind: GroupKind,
    /// Kafka's name of the state, of either kind.
    pub state: &'static str,
    pub members: usize,
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    Classic,
    Consumer,
}

impl GroupKind {
    /// Kafka's name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            GroupKind::Classic => "classic",
            GroupKind::Consumer => "consumer",
        }
    }
}

/// The state of a classic group.
///
/// Legal transitions:
/// - Empty -> PreparingRebalance: a first member joins
/// - PreparingRebalance -> CompletingRebalance: everybody joined or time is up
/// - PreparingRebalance -> Empty: time is up and nobody is left
/// - CompletingRebalance -> Stable: the leader's assignment is stored
/// - CompletingRebalance, Stable -> PreparingRebalance: a member joins, leaves, fails or changes
///
/// Dead exists on the wire only: a group that is gone is not in the table any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
}

impl GroupState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
