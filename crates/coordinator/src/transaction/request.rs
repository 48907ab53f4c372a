//! What the transaction shard is asked, what it answers, and what it wants done, free of wire versions.
//!
//! The broker's handlers map each Kafka API to one [`Request`] and its [`Answer`] back. Where the version of an
//! API changes behaviour, the request says which [`TransactionVersion`] the client speaks.
//!
//! Two exchanges go on behind the clients' back:
//! - A shard cannot make producer ids. Where it needs one it refuses with [`Refusal::NeedsProducerId`] and changes
//!   nothing; the service gets one from the controller and asks again with `fresh`. An id that then turns out not
//!   to be needed is lost, which does no harm: there are 2^63.
//! - [`Effect::WriteMarkers`] is carried out by the runtime, which tells with [`Request::MarkersWritten`] how far
//!   it came.

use std::collections::BTreeSet;
use std::fmt;

use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId, TopicPartition, TransactionalId};

use super::pattern::IdPattern;

/// The protocol between producers, coordinator and partitions; the level of the feature `transaction.version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionVersion {
    /// The protocol of KIP-98, stored without tagged fields.
    #[default]
    V0,
    /// For clients like `V0`; records have tagged fields.
    V1,
    /// KIP-890: each end of a transaction bumps the epoch, partitions are added by Produce and TxnOffsetCommit.
    V2,
}

/// A producer id and the epoch that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// A connection of a client: later ones have higher numbers, for as long as the broker's process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(pub u64);

#[derive(Clone, Debug)]
pub enum Request {
    /// InitProducerId with a transactional id; those without need no coordinator.
    InitProducerId(InitProducerId),
    /// AddPartitionsToTxn of a client or of another broker, AddOffsetsToTxn, and what Produce and TxnOffsetCommit
    /// add or verify before they append.
    AddPartitions(AddPartitions),
    EndTxn(EndTxn),
    /// The runtime tells for which partitions an [`Effect::WriteMarkers`] is done.
    MarkersWritten(MarkersWritten),
    Describe(TransactionalId),
    List(ListFilter),
    /// The feature `transaction.version` was finalized at another level. To be sent to every shard, the first
    /// time with what [`TransactionConfig::version`](super::TransactionConfig) did not know yet.
    SetVersion(TransactionVersion),
}

#[derive(Clone, Debug)]
pub struct InitProducerId {
    pub transactional_id: TransactionalId,
    pub timeout_ms: i32,
    /// What the producer has and wants to go on with (KIP-360); fails if another one has taken over since.
    /// Not both of its numbers may be -1, the handler refuses that as Kafka does.
    pub producer: Option<Producer>,
    /// An id that nobody has, if the service has one at hand.
    pub fresh: Option<ProducerId>,
}

#[derive(Clone, Debug)]
pub struct AddPartitions {
    pub transactional_id: TransactionalId,
    pub producer: Producer,
    /// Of AddOffsetsToTxn: the group's partition of `__consumer_offsets`.
    pub partitions: BTreeSet<TopicPartition>,
    /// Only say whether the partitions are in the transaction (KIP-890), add nothing.
    pub verify_only: bool,
    /// `V2` from AddPartitionsToTxn 5 and from what adds implicitly (Produce 12, TxnOffsetCommit 5), else `V0`.
    pub version: TransactionVersion,
    /// Of a client that asks itself; `None` when a broker asks. See [`EndTxn::connection`].
    pub connection: Option<Connection>,
}

#[derive(Clone, Debug)]
pub struct EndTxn {
    pub transactional_id: TransactionalId,
    pub producer: Producer,
    pub commit: bool,
    /// `V2` from EndTxn 5, else `V0`.
    pub version: TransactionVersion,
    /// As in [`InitProducerId`]; only needed when a `V2` producer has used up its epochs.
    pub fresh: Option<ProducerId>,
    /// In protocol versions before `V2` nothing in a request tells which transaction it means, so one that was
    /// held up in the network could end a later one. A client gives up a connection before it repeats a request
    /// on another, hence what comes on an older connection than the producer's last request of the same kind is
    /// from the past, and is refused with NETWORK_EXCEPTION: its connection is to be closed without an answer. `None` turns
    /// that check off.
    pub connection: Option<Connection>,
}

#[derive(Clone, Debug)]
pub struct MarkersWritten {
    pub transactional_id: TransactionalId,
    /// The pair of the effect; a report about an earlier transaction changes nothing.
    pub producer: Producer,
    /// Whose markers are in the log of their leader and committed, or whose topic is gone. May be a part of the
    /// effect's partitions: there can be many reports for one effect, in any order, also twice.
    pub partitions: BTreeSet<TopicPartition>,
}

/// An empty filter lets everything through.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Empty: all.
    pub producer_ids: BTreeSet<ProducerId>,
    /// `None`: all. The handler sorts out names that are no states ([`TransactionState::parse`]); when only such
    /// are asked for, nothing is listed.
    pub states: Option<BTreeSet<TransactionState>>,
    /// Only what has been running for longer (ListTransactions 1).
    pub longer_than_ms: Option<i64>,
    /// Only ids that match as a whole (ListTransactions 2).
    pub id_pattern: Option<IdPattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    InitProducerId(Result<Producer, Refusal>),
    AddPartitions(AddPartitionsAnswer),
    /// From EndTxn 5 on the producer goes on with what it is told here.
    EndTxn(Result<Producer, Refusal>),
    /// NONE also when nothing was waiting for the markers any more. After an error nothing needs to be reported
    /// again: the shard remembers, or has moved away.
    MarkersWritten(ErrorCode),
    Describe(Result<Description, ErrorCode>),
    List(Result<Vec<Listing>, ErrorCode>),
    SetVersion(ErrorCode),
}

/// Why a producer gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Error(ErrorCode),
    /// Nothing has changed; ask again with `fresh`.
    NeedsProducerId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPartitionsAnswer {
    /// Of every partition.
    pub error: ErrorCode,
    /// Those that a verification did not find; none unless `error` is NONE.
    pub missing: BTreeSet<TopicPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub producer: Producer,
    pub state: TransactionState,
    pub timeout_ms: i32,
    /// -1 if there has been no transaction since the producer was initialized.
    pub start_ms: i64,
    /// While a transaction ends: those whose marker is not known to be written.
    pub partitions: BTreeSet<TopicPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub transactional_id: TransactionalId,
    pub producer_id: ProducerId,
    pub state: TransactionState,
}

/// What the runtime does for a shard once the decision is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    WriteMarkers(WriteMarkers),
}

/// Ends a transaction in its partitions: WriteTxnMarkers to their leaders, repeated until all is reported or the
/// shard resigns. A later effect for the same transactional id replaces an earlier one.
///
/// After a change of coordinators the same markers are asked for again, with a higher coordinator epoch (the
/// leader epoch of the shard's partition). A partition that has them already must answer that this is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteMarkers {
    pub transactional_id: TransactionalId,
    /// What the marker says. In `V2` its epoch is higher than that of the transaction's records (KIP-890).
    pub producer: Producer,
    pub commit: bool,
    /// Never empty.
    pub partitions: BTreeSet<TopicPartition>,
    /// For `TransactionVersion` of WriteTxnMarkers (KIP-1228).
    pub version: TransactionVersion,
}

/// The state of a transactional id.
///
/// Legal transitions:
/// - nothing -> Empty: a producer is initialized
/// - Empty, CompleteCommit, CompleteAbort -> Empty: one is initialized again, and the one before it fenced
/// - Empty, CompleteCommit, CompleteAbort -> Ongoing: a first partition is added
/// - Ongoing -> Ongoing: more partitions
/// - Ongoing -> PrepareCommit: the producer commits
/// - Ongoing -> PrepareAbort: the producer aborts, another one takes its place, or time is up
/// - Empty, CompleteCommit, CompleteAbort -> PrepareAbort: a `V2` producer aborts without knowing of any partition
/// - PrepareCommit -> CompleteCommit, PrepareAbort -> CompleteAbort: all markers are written
/// - Empty, CompleteCommit, CompleteAbort -> nothing: nobody has used the id for long
///
/// From the moment that PrepareCommit or PrepareAbort is committed the outcome is decided. Kafka's Dead and
/// PrepareEpochFence stand for moments that do not exist here; they are names on the wire and in old logs only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionState {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    Dead,
    PrepareEpochFence,
}

impl TransactionVersion {
    /// The level of the feature `transaction.version`.
    pub fn level(self) -> i16 {
        match self {
            TransactionVersion::V0 => 0,
            TransactionVersion::V1 => 1,
            TransactionVersion::V2 => 2,
        }
    }

    pub fn from_level(level: i16) -> Option<TransactionVersion> {
        match level {
            0 => Some(TransactionVersion::V0),
            1 => Some(TransactionVersion::V1),
            2 => Some(TransactionVersion::V2),
            _ => None,
        }
    }

    /// Whether the end of a transaction gives the producer a new epoch.
    pub fn bumps_epoch(self) -> bool {
        self >= TransactionVersion::V2
    }
}

impl Producer {
    /// What stands in answers that failed.
    pub const NONE: Producer = Producer { id: ProducerId::NONE, epoch: ProducerEpoch::NONE };

    pub fn new(id: impl Into<ProducerId>, epoch: impl Into<ProducerEpoch>) -> Producer {
        Producer { id: id.into(), epoch: epoch.into() }
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} epoch {}", self.id, self.epoch)
    }
}

impl AddPartitionsAnswer {
    pub(super) fn all(error: ErrorCode) -> AddPartitionsAnswer {
        AddPartitionsAnswer { error, missing: BTreeSet::new() }
    }

    /// What to tell about one partition of the request. One that a verification misses is TRANSACTION_ABORTABLE;
    /// clients that do not know that code yet hear INVALID_TXN_STATE, which the handler chooses.
    pub fn of(&self, partition: &TopicPartition) -> ErrorCode {
        match self.error {
            ErrorCode::None if self.missing.contains(partition) => ErrorCode::TransactionAbortable,
            error => error,
        }
    }
}

impl Answer {
    /// The same kind of answer, failed as a whole.
    pub fn failed(self, error: ErrorCode) -> Answer {
        match self {
            Answer::InitProducerId(_) => Answer::InitProducerId(Err(Refusal::Error(error))),
            Answer::AddPartitions(_) => Answer::AddPartitions(AddPartitionsAnswer::all(error)),
            Answer::EndTxn(_) => Answer::EndTxn(Err(Refusal::Error(error))),
            Answer::MarkersWritten(_) => Answer::MarkersWritten(error),
            Answer::Describe(_) => Answer::Describe(Err(error)),
            Answer::List(_) => Answer::List(Err(error)),
            Answer::SetVersion(_) => Answer::SetVersion(error),
        }
    }
}

impl TransactionState {
    pub const ALL: [TransactionState; 8] = [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::PrepareCommit,
        TransactionState::PrepareAbort,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
        TransactionState::Dead,
        TransactionState::PrepareEpochFence,
    ];

    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
            TransactionState::Dead => "Dead",
            TransactionState::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state of that name; Kafka tells upper from lower case here.
    pub fn parse(name: &str) -> Option<TransactionState> {
        TransactionState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the outcome is decided but not yet known to be in every partition.
    pub fn is_ending(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// Whether records have this state.
    pub(super) fn is_stored(self) -> bool {
        !matches!(self, TransactionState::Dead | TransactionState::PrepareEpochFence)
    }

    /// Whether there is no transaction, so that the id may be forgotten after a while.
    pub fn is_idle(self) -> bool {
        matches!(self, TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort)
    }
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
