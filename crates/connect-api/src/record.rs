//! Records on their way between Kafka and the outside.

use std::sync::Arc;

use bytes::Bytes;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicName, TopicPartition};
use uuid::Uuid;

use crate::TaskError;
use crate::data::{Headers, SchemaAndValue};
use crate::source::OffsetMap;

/// Where a record's timestamp comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// A record from Kafka, its key and value decoded by the connector's converters.
#[derive(Clone, Debug)]
pub struct SinkRecord {
    pub topic: TopicName,
    pub partition: PartitionIndex,
    pub offset: Offset,
    /// Milliseconds since 1970; `None` when the producer set none.
    pub timestamp: Option<i64>,
    pub timestamp_type: TimestampType,
    pub key: SchemaAndValue,
    pub value: SchemaAndValue,
    pub headers: Headers,
    /// The bytes as consumed, for the dead-letter topic.
    pub original: OriginalRecord,
}

impl SinkRecord {
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

/// Key, value and headers of a consumed record before any converter.
#[derive(Clone, Debug, Default)]
pub struct OriginalRecord {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// A record for Kafka, to be encoded by the connector's converters.
#[derive(Clone, Debug)]
pub struct SourceRecord {
    pub source_partition: OffsetMap,
    /// Where to go on after this record.
    pub source_offset: OffsetMap,
    pub topic: TopicName,
    /// `None` leaves the choice to the producer's partitioner.
    pub partition: Option<PartitionIndex>,
    pub key: SchemaAndValue,
    pub value: SchemaAndValue,
    /// Milliseconds since 1970; `None` takes the time of sending.
    pub timestamp: Option<i64>,
    pub headers: Headers,
}

/// One source partition whose whole batches are copied: said once, shared by all its batches.
///
/// The worker knows a lane by its allocation: a task makes one for each partition and clones the `Arc`, so that nothing
/// about names is built, compared or hashed for a batch.
#[derive(Debug)]
pub struct RawLane {
    pub target: TopicPartition,
    pub source_partition: OffsetMap,
    /// A position as it is stored: [`RawBatch::next`] to the offset that Connect keeps.
    pub source_offset: fn(i64) -> OffsetMap,
}

/// Record batches (magic 2) that are copied whole. See [`Placement`] for how many, and who numbers their records.
#[derive(Clone, Debug)]
pub struct RawBatch {
    pub lane: Arc<RawLane>,
    /// Header and records byte for byte as the source has them. Where the target numbers the records, the sender
    /// rewrites base offset, leader epoch, producer fields and the transactional bit in a copy of the header; the records
    /// are never copied. Without bytes nothing is sent: the position counts once everything before it has arrived.
    pub bytes: Bytes,
    /// Records inside, for the metrics.
    pub records: u32,
    /// The position after the last record.
    pub next: i64,
    pub placement: Placement,
}

/// Who decides at which offsets the records of a [`RawBatch`] stand on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The target numbers the records: any Kafka. Exactly one batch, without gaps between its offsets, and no control batch;
    /// or none, where nothing of the source is to be copied up to the position.
    Assigned,
    /// The source's offsets are kept: our own brokers. A run of whole batches, control batches and gaps included.
    Aligned(Aligned),
}

/// What a run of batches needs beside its bytes to be appended at its own offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aligned {
    /// The link that the target topic is marked with.
    pub link: Uuid,
    /// Where the target's log continues: the first batch holds this offset or begins at it.
    pub from: Offset,
    /// Log start, leader epoch and high watermark of the source partition when the batches were read.
    pub log_start: Offset,
    pub source_epoch: LeaderEpoch,
    pub high_watermark: Offset,
    /// The source's epoch of the record before `from`, if it is known: mirror and source must agree on it.
    pub last_epoch: LeaderEpoch,
    /// Without bytes: what the mirror has from `from` on is not the source's any more, and goes.
    pub cut: bool,
}

/// Told by the worker what became of raw batches: of each once, at once, and in order per lane.
///
/// It is called between two batches of the data path, so it must not block.
pub trait RawObserver: Send + Sync {
    /// All records of the lane before `next` are on the target; those of this batch begin there at `base_offset`, which
    /// is [`Offset::NONE`] when the target only knows that it had taken this batch long before.
    fn delivered(&self, lane: &Arc<RawLane>, next: i64, base_offset: Offset);

    /// Aligned batches only: where the target's log ends, told before [`Self::delivered`] of the batch that asked.
    fn log_end(&self, _lane: &Arc<RawLane>, _end: Offset) {}

    /// The target takes a batch of the lane at no time, and nothing behind it was sent. Everything before it was told as
    /// delivered. Without an observer this fails the task.
    fn refused(&self, _lane: &Arc<RawLane>, _refusal: &Refusal<'_>) -> AfterRefusal {
        AfterRefusal::FailTask
    }
}

/// Why a batch was refused.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The target's answer; `None` if it gave none within the time for a delivery.
    pub code: Option<ErrorCode>,
    pub error: &'a TaskError,
    /// Aligned batches: where the target's log ends, if it said so.
    pub log_end: Option<Offset>,
}

/// What a task does about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefusal {
    /// The task ends with the error.
    FailTask,
    /// The lane takes nothing more: what is on its way through it, in the worker or in the task, is dropped, and no offset
    /// beyond the last delivery is stored. The task goes on with a *new* lane, from the last delivery or wherever it has
    /// found the target to be; the other lanes notice nothing.
    CloseLane,
}
