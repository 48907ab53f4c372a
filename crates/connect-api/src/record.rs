//! Records on their way between Kafka and the outside.

use bytes::Bytes;
use twinstream_model::{Offset, PartitionIndex, TopicName, TopicPartition};

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

/// One or more whole record batches (magic 2) for one partition, produced as they are.
#[derive(Clone, Debug)]
pub struct RawBatch {
    pub topic: TopicName,
    pub partition: PartitionIndex,
    /// The batches, header and records, byte for byte as a Produce request carries them.
    pub bytes: Bytes,
    /// Records inside, for the metrics.
    pub records: u32,
    pub source_partition: OffsetMap,
    /// Where to go on after the last record inside.
    pub source_offset: OffsetMap,
}
