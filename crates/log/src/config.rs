//! What a topic's configuration means to its logs.
//!
//! Field names follow Kafka's topic settings, which the doc of each field names. Reading the settings'
//! text is the broker's task; a [`LogConfig`] is always complete and in range.

use twinstream_protocol::compression::CompressionSpec;

#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that would grow beyond it is closed first.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment whose first batch is older than this is closed by the next append.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to this much is taken off `segment_ms`, so that partitions do not roll in step.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment whose index is full is closed.
    pub index_bytes_max: u32,
    /// `index.interval.bytes`: bytes of log between two index entries.
    pub index_interval_bytes: u32,
    /// `retention.ms`, `None` keeps records of any age.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`, `None` keeps any amount.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `max.message.bytes`: largest batch.
    pub message_bytes_max: usize,
    /// `max.decompressed.message.bytes`: what a batch may unpack to where the broker must look inside.
    pub decompressed_bytes_max: usize,
    /// `twinstream.record.checks` of the broker: how much of a produced batch is looked at.
    pub record_checks: RecordChecks,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`, `None` accepts any age.
    pub timestamp_before_max_ms: Option<i64>,
    /// `message.timestamp.after.max.ms`, `None` accepts any future.
    pub timestamp_after_max_ms: Option<i64>,
    /// `compression.type` with its level, `None` keeps the producer's codec.
    pub compression: Option<CompressionSpec>,
    /// `flush.messages`: records after which an append waits for the disk.
    pub flush_messages: i64,
    /// `flush.ms`: age at which written records are flushed to the disk.
    pub flush_ms: i64,
    /// `twinstream.flush=ack`: producers with `acks=all` wait until the in-sync replicas have flushed.
    pub flush_before_ack: bool,
    /// `file.delete.delay.ms`: how long files outlive the segment they belonged to.
    pub file_delete_delay_ms: i64,
    /// `preallocate`: reserve the disk space of a new segment at once.
    pub preallocate: bool,
    /// `delete.retention.ms`: how long a tombstone or a transaction's marker outlives the compaction that first reached it.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: compaction keeps its hands off records that are younger.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a log with an uncompacted record that is older is compacted in any case (KIP-354).
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`: a log is compacted when more than this share of its bytes is uncompacted.
    pub min_cleanable_dirty_ratio: f64,
    /// `producer.id.expiration.ms` of the broker: how long an idle producer's sequence is remembered.
    pub producer_expiry_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's clock.
    CreateTime,
    /// The broker's clock.
    LogAppendTime,
}

/// How much of a produced batch is looked at before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordChecks {
    /// Checksum and header, and the records where the topic or the header asks for it.
    Headers,
    /// Every record of every batch, unpacked where it is compressed, as Kafka does.
    Records,
}

/// What makes old records go; neither means that they stay for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            index_bytes_max: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * 24 * 3_600_000),
            retention_bytes: None,
            cleanup: CleanupPolicy { delete: true, compact: false },
            message_bytes_max: 1_048_588,
            decompressed_bytes_max: i32::MAX as usize - 8,
            record_checks: RecordChecks::Headers,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: None,
            timestamp_after_max_ms: Some(3_600_000),
            compression: None,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            flush_before_ack: false,
            file_delete_delay_ms: 60_000,
            preallocate: false,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            producer_expiry_ms: 86_400_000,
        }
    }
}
