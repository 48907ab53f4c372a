//! The log of one partition.
//!
//! Picture: a row of segments of which only the last one grows. One writer at a time appends (a short lock,
//! no flush under it); readers never wait for it, they see the row of segments and the log end as they were
//! last announced.
//!
//! ```text
//!   log start            high watermark     log end
//!      v                        v              v
//!   [ segment 0 | segment 90 | segment 200 .... ]
//!                     ^ recovery point: on the disk for certain
//! ```
//! Invariants: log start <= high watermark <= log end, recovery point <= log end; the segments adjoin in
//! order; the offset given to a batch is the log end at that moment.

mod compaction; // cleaned segments take the place of others
mod copying; // a copy in another directory
mod cuts; // readers notice a cut
mod damage; // bytes are checked before they go out
mod flush; // to the disk, and what follows when that fails
mod follow; // a follower's appends and cuts
mod identity; // which topic a folder belongs to
mod isolation; // readers of committed records
mod left; // where a replica went that moved to another directory
mod mirroring; // batches of another cluster's log
mod producing; // what is known of producers
mod read; // readers: by offset, by time, by epoch
mod recovery; // opening a folder
mod retention; // old segments go, deleted files go
mod snapshots; // the state of producers between starts

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use twinstream_model::{LeaderEpoch, Offset, TopicId, TopicPartition};
use twinstream_protocol::batch::{BatchHeader, BatchMut};

use crate::config::TimestampType;
use crate::directory::Unflushed;
use crate::epochs::Epochs;
use crate::metrics::LogMetrics;
use crate::open_files::Place;
use crate::producers::{Producers, Verifications};
use crate::segment::Segment;
use crate::transactions::Transactions;
use crate::txn_index::TxnIndexes;
use crate::validate::{self, Prepared};
use crate::{AppendError, Disk, LogConfig, LogError, Origin};

pub use copying::CopyError;
use cuts::Cuts;
pub use damage::Repaired;
pub use flush::FlushMark;
pub use follow::{FollowerAppended, Truncated};
pub use identity::{Identity, compare_identity, write_identity};
pub use left::{Left, read_left, remove_left, write_left};
pub use mirroring::{Aborted, Mirrored, MirroredFrom};
pub use read::{ReadResult, TimestampedOffset};
pub use recovery::Opening;
pub use retention::Maintained;
use snapshots::Snapshots;

/// Ties a folder to a topic id, in Kafka's format.
pub(crate) const METADATA_FILE: &str = "partition.metadata";

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// The broker's time if the topic wants it in the records.
    pub log_append_time: Option<i64>,
    pub log_start_offset: Offset,
    /// The batch had been appended before; the offsets are those of then.
    pub duplicate: bool,
    pub bytes: usize,
    pub records: i64,
}

#[derive(Debug)]
pub struct PartitionLog {
    partition: TopicPartition,
    topic_id: TopicId,
    /// Where the folder is; it moves when the partition is deleted, or when a copy takes its source's place.
    dir: Arc<RwLock<PathBuf>>,
    /// The same, with who opens the files.
    place: Place,
    config: ArcSwap<LogConfig>,
    metrics: LogMetrics,
    segments: ArcSwap<Vec<Arc<Segment>>>,
    log_start: AtomicI64,
    /// Where it begins once a cut below its start is done; `i64::MAX` without one.
    start_to_come: AtomicI64,
    high_watermark: AtomicI64,
    log_end: AtomicI64,
    recovery_point: AtomicI64,
    /// Whether the name of the folder is on the disk; it is flushed with the first records.
    settled: AtomicBool,
    /// Files were made since the last flush.
    new_names: AtomicBool,
    /// Segments below have their indexes on the disk.
    indexed_to: AtomicI64,
    disk: Arc<Disk>,
    unflushed: Unflushed,
    cuts: Cuts,
    writer: Mutex<Writer>,
    /// Held by whoever flushes, so that nobody takes a flush that is still under way for done, and by whoever cuts, so
    /// that a flush does not raise the recovery point for records that are gone. Taken before `writer`; readers and
    /// appends do not need it.
    flushing: Mutex<()>,
    epochs: RwLock<Epochs>,
    /// Transactions whose end is not certain.
    transactions: Transactions,
    /// The indexes of aborted transactions. Taken after `epochs`.
    aborted: RwLock<TxnIndexes>,
    /// Up to where the log was compacted, -1 if it never was.
    cleaned_to: AtomicI64,
    /// Held by whoever compacts. Taken before all others. Counts how often that was begun.
    cleaning: Mutex<u64>,
    closed: AtomicBool,
    poison: OnceLock<String>,
}

/// What only the one who appends or cuts may touch.
#[derive(Debug)]
struct Writer {
    producers: Producers,
    verifications: Verifications,
    snapshots: Snapshots,
    unflushed_records: i64,
    last_flush_ms: i64,
    /// Files of deleted segments and when they may go.
    doomed: Vec<(i64, Vec<PathBuf>)>,
}

impl PartitionLog {
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    pub fn config(&self) -> Arc<LogConfig> {
        self.config.load_full()
    }

    pub fn set_config(&self, config: LogConfig) {
        self.config.store(Arc::new(config));
    }

    pub fn log_start_offset(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    /// What the checkpoint of log starts says: never behind what a cut that is under way leaves.
    pub fn start_to_write(&self) -> Offset {
        Offset(self.log_start_offset().0.min(self.start_to_come.load(Ordering::Acquire)))
    }

    /// The log is about to be cut at `to`. Whether that is below its start: then the checkpoint of log starts has to be written
    /// before, or a crash after the cut would leave a log that ends before it begins, and is begun anew behind what is
    /// written next.
    pub fn begins_earlier(&self, to: Offset) -> bool {
        let is_earlier = to < self.log_start_offset();
        if is_earlier {
            self.start_to_come.fetch_min(to.0, Ordering::AcqRel);
        }
        is_earlier
    }

    /// What the checkpoint of recovery points says: a cut that is under way takes what is behind it off the disk, and a start
    /// after a crash would miss it.
    pub fn recovery_point_to_write(&self) -> Offset {
        Offset(self.recovery_point().0.min(self.start_to_come.load(Ordering::Acquire)))
    }

    /// The cut that [`PartitionLog::begins_earlier`] announced is done, or is not made.
    pub fn cut_is_over(&self) {
        self.start_to_come.store(i64::MAX, Ordering::Release);
    }

    pub fn log_end_offset(&self) -> Offset {
        Offset(self.log_end.load(Ordering::Acquire))
    }

    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// Up to where the log is known to be on the disk.
    pub fn recovery_point(&self) -> Offset {
        Offset(self.recovery_point.load(Ordering::Acquire))
    }

    /// Moves the high watermark forward, at most to the log end; returns whether it moved.
    pub fn advance_high_watermark(&self, to: Offset) -> bool {
        let to = to.min(self.log_end_offset()).0;
        self.high_watermark.fetch_max(to, Ordering::AcqRel) < to
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments.load().iter().map(|segment| segment.size()).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.segments.load().len()
    }

    /// Producers whose sequences are remembered.
    pub fn producer_count(&self) -> usize {
        self.writer.lock().producers.len()
    }

    /// Whether an earlier failure put the log out of use.
    pub fn is_poisoned(&self) -> bool {
        self.poison.get().is_some()
    }

    /// Appends batches and announces them. Offsets and epoch are assigned here; everything else of the batches
    /// stays as it is, unless the topic wants the broker's time or another codec.
    pub fn append(
        &self,
        records: &[u8],
        origin: Origin,
        epoch: LeaderEpoch,
        now: i64,
    ) -> Result<Appended, AppendError> {
        let config = self.config.load();
        let mut batches = validate::prepare(records, origin, &config, now)?;
        let mut writer = self.writer.lock();
        self.check_usable()?;
        if let Some(repeated) = self.check_producers(&writer, &batches, origin)? {
            return Ok(repeated);
        }
        if origin.is_client() {
            self.check_room(records.len())?;
        }
        let base_offset = self.log_end_offset();
        let end = assign(&mut batches, base_offset, epoch)?;
        let mark = self.mark();
        let written = self.write(&mut writer, &batches, epoch, &config);
        written.map_err(|error| self.not_written(&mut writer, mark, base_offset, error))?;
        batches.iter().for_each(|batch| writer.producers.hear(batch.header.producer_id, now));
        self.log_end.store(end.0, Ordering::Release);
        let appended = Appended {
            base_offset,
            last_offset: Offset(end.0 - 1),
            log_append_time: (config.timestamp_type == TimestampType::LogAppendTime).then_some(now),
            log_start_offset: self.log_start_offset(),
            duplicate: false,
            bytes: batches.iter().map(|batch| batch.header.len).sum(),
            records: batches.iter().map(|batch| i64::from(batch.header.record_count)).sum(),
        };
        let flush = self.note_appended(&mut writer, appended.bytes, appended.records, &config);
        drop(writer);
        self.metrics.appended_bytes.inc_by(appended.bytes as u64);
        self.metrics.appended_records.inc_by(appended.records.unsigned_abs());
        if flush {
            self.flush(now)?;
        }
        Ok(appended)
    }

    /// Whether an append of these records by a client may take longer than a step of a runtime should.
    pub fn append_takes_long(&self, records: &[u8], now: i64) -> bool {
        let config = self.config.load();
        config.flush_messages < i64::MAX || validate::takes_long(records, &config, now)
    }

    /// Keeps account of what was appended; true if it is time to flush.
    fn note_appended(&self, writer: &mut Writer, bytes: usize, records: i64, config: &LogConfig) -> bool {
        let Writer { producers, snapshots, .. } = writer;
        snapshots.appended(bytes as u64, producers, &self.dir.read(), self.log_end_offset());
        writer.unflushed_records += records;
        self.unflushed.add(bytes as u64);
        writer.unflushed_records >= config.flush_messages
    }

    /// Writes batches that have their offsets. All go into one segment if they fit, else batch by batch.
    fn write(
        &self,
        writer: &mut Writer,
        batches: &[Prepared<'_>],
        epoch: LeaderEpoch,
        config: &LogConfig,
    ) -> Result<(), LogError> {
        if let Some(first) = batches.first() {
            self.note_epoch(epoch, first.header.base_offset)?;
        }
        for batch in batches {
            let segment = self.segment_for(writer, &batch.header, config)?;
            segment.append(&[(&batch.head[..], &batch.body[..])], &[batch.header], config)?;
            let bytes = || Cow::Owned([&batch.head[..], &batch.body].concat());
            self.follow_producer(writer, &segment, &batch.header, bytes)?;
        }
        Ok(())
    }

    fn note_epoch(&self, epoch: LeaderEpoch, start: Offset) -> Result<(), LogError> {
        let mut epochs = self.epochs.write();
        epochs.note(epoch, start);
        epochs.save()
    }

    /// The segment that takes the next batch; a new one if the current is full.
    fn segment_for(
        &self,
        writer: &mut Writer,
        batch: &BatchHeader,
        config: &LogConfig,
    ) -> Result<Arc<Segment>, LogError> {
        let active = self.active();
        if !active.is_full_for(batch, batch.len as u64, config, self.jitter_ms(&active, config)) {
            return Ok(active);
        }
        // At the end of the segment before, even if a leader's batch lies behind a gap that compaction left: so a gap between
        // two files of a log that was never compacted itself tells that something is missing. But offsets have 31 bits.
        let end = active.next_offset();
        let reaches = batch.last_offset().0.saturating_sub(end.0) <= i64::from(i32::MAX);
        self.roll(writer, if reaches { end } else { batch.base_offset }, config)
    }

    /// Closes the active segment and begins another at `base`.
    fn roll(&self, writer: &mut Writer, base: Offset, config: &LogConfig) -> Result<Arc<Segment>, LogError> {
        self.active().seal()?;
        let dir = self.dir.read().clone();
        writer.snapshots.rolled(&writer.producers, &dir, base)?;
        let fresh = Arc::new(Segment::create(&self.place, base, config)?);
        let mut segments = Vec::clone(&self.segments.load());
        segments.push(Arc::clone(&fresh));
        self.segments.store(Arc::new(segments));
        self.new_names.store(true, Ordering::Release);
        self.metrics.segments_rolled.inc();
        tracing::debug!(partition = %self.partition, base = base.0, "rolled a new segment");
        Ok(fresh)
    }

    fn active(&self) -> Arc<Segment> {
        let segments = self.segments.load();
        match segments.last() {
            Some(active) => Arc::clone(active),
            None => unreachable!("a log always has a segment"),
        }
    }

    /// A number that differs between partitions and segments and is the same each time it is asked for.
    fn jitter_ms(&self, segment: &Segment, config: &LogConfig) -> i64 {
        let span = config.segment_jitter_ms.min(config.segment_ms);
        if span <= 0 {
            return 0;
        }
        let seed = crc32c::crc32c(format!("{}/{}", self.partition, segment.base()).as_bytes());
        i64::from(seed) % span
    }
}

/// Gives consecutive offsets to batches and returns the offset after the last.
fn assign(batches: &mut [Prepared<'_>], base: Offset, epoch: LeaderEpoch) -> Result<Offset, AppendError> {
    let mut next = base;
    for batch in batches {
        let mut head = BatchMut::header_only(&mut batch.head);
        head.set_base_offset(next);
        head.set_leader_epoch(epoch);
        batch.header.base_offset = next;
        batch.header.leader_epoch = epoch;
        if batch.header.last_offset().0 == i64::MAX {
            return Err(AppendError::InvalidBatch("log has no offsets left".to_owned()));
        }
        next = batch.header.next_offset();
    }
    Ok(next)
}

#[cfg(test)]
mod tests;
