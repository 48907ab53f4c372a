//! One segment: a `.log` file of batches, with its two indexes.
//!
//! Picture: the file only grows, except when a tail is cut. `size` is the length that readers may see; it
//! moves after the bytes are written, so a reader never looks at half a batch. The indexes stand behind a
//! lock that is held for a search or an entry and never while records are read or written.
//!
//! Invariants: batches ascend in offset; offsets are `base` to `base + i32::MAX`; `size` is a batch border.

mod check; // bytes that are not known to be good are checked
mod find; // batches by offset and by time
mod flush; // to the disk
mod fresh; // what was appended a moment ago
mod load; // what indexes tell, and building them anew
mod repair; // after a crash, and cutting
mod scan; // walks over the batches of a file

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use twinstream_model::Offset;
use twinstream_protocol::batch::{BatchHeader, BatchView, NO_TIMESTAMP};

use self::fresh::Fresh;
use crate::checked::Checked;
use crate::files::{self, DELETED, INDEX, LOG, TIME_INDEX};
use crate::index::{Entry, Index, OffsetEntry, TimeEntry};
use crate::open_files::{Handle, Place};
use crate::page_cache::Patience;
use crate::reserve::Reserved;
use crate::{FileSlice, LogConfig, LogError};

pub(crate) use check::Verdict;
pub(crate) use fresh::Moment;
pub(crate) use repair::Found;

/// Batches whose place is remembered: more than appends between two fetches of a follower that keeps up.
const RECENT_MAX: usize = 32;

/// Bytes of log that index entries in memory may stand for between two flushes, if the batches are so large that they are
/// few. What lies behind the recovery point is read again after a crash, with them or without.
const UNWRITTEN_MAX: u64 = 8 << 20;

/// Where a batch lies in a segment, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
}

#[derive(Debug)]
pub(crate) struct Segment {
    base: Offset,
    file: Arc<Handle>,
    size: AtomicU64,
    /// No record reaches this offset. Of a closed segment that is the offset at which the next one begins.
    next: AtomicI64,
    /// Bytes of log between two entries of indexes that are built anew.
    index_interval: u32,
    /// Of a closed segment: nothing was compacted away between it and the next.
    adjoins: bool,
    /// What of it this process knows to be good, or damaged.
    checked: Checked,
    /// Disk space ahead of its end.
    reserved: Reserved,
    fresh: Fresh,
    /// Whether `inner` tells what the indexes tell; a closed segment is looked at when somebody comes to it.
    loaded: AtomicBool,
    loading: Mutex<()>,
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
    bytes_since_entry: u64,
    /// Up to this position the entries are in the files, at least.
    written_to: u64,
    /// Largest timestamp so far, and the last offset of the batch that brought it.
    max_timestamp: i64,
    max_timestamp_offset: Offset,
    /// Largest timestamp of the first batch: the age of the segment counts from here.
    first_timestamp: Option<i64>,
    /// The batches appended last, so that followers and consumers at the end of the log are served without a search.
    recent: VecDeque<Located>,
    /// The batch at this position is the one that the last offset entry points at.
    resumed_at: Option<u64>,
}

impl Segment {
    /// Makes an empty segment. Left-overs of the same name have no claim any more.
    pub(crate) fn create(place: &Place, base: Offset, config: &LogConfig) -> Result<Segment, LogError> {
        Segment::create_as(place, base, "", config)
    }

    /// Makes an empty segment whose files have a suffix, so that they are no part of the log until
    /// [`Segment::rename`] takes it away.
    pub(crate) fn create_as(
        place: &Place,
        base: Offset,
        suffix: &'static str,
        config: &LogConfig,
    ) -> Result<Segment, LogError> {
        let handle = Handle::new(place, base, LOG, suffix);
        let file = handle.create()?;
        if config.preallocate {
            preallocate(&file, config.segment_bytes);
        }
        let offsets = Index::create(&Handle::new(place, base, INDEX, suffix))?;
        let times = Index::create(&Handle::new(place, base, TIME_INDEX, suffix))?;
        Ok(Segment::assemble(base, handle, 0, offsets, times, config))
    }

    fn assemble(
        base: Offset,
        file: Arc<Handle>,
        size: u64,
        offsets: Index<OffsetEntry>,
        times: Index<TimeEntry>,
        config: &LogConfig,
    ) -> Segment {
        let inner = Inner {
            offsets,
            times,
            bytes_since_entry: 0,
            written_to: 0,
            max_timestamp: NO_TIMESTAMP,
            max_timestamp_offset: base,
            first_timestamp: None,
            recent: VecDeque::new(),
            resumed_at: None,
        };
        Segment {
            base,
            file,
            size: AtomicU64::new(size),
            next: AtomicI64::new(base.0),
            index_interval: config.index_interval_bytes,
            adjoins: false,
            checked: Checked::from(size),
            reserved: Reserved::default(),
            fresh: Fresh::default(),
            loaded: AtomicBool::new(true),
            loading: Mutex::new(()),
            inner: RwLock::new(inner),
        }
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn next_offset(&self) -> Offset {
        Offset(self.next.load(Ordering::Acquire))
    }

    /// When the last byte was written, for segments without timestamps.
    pub(crate) fn modified_ms(&self) -> Option<i64> {
        let modified = self.file.get().ok()?.metadata().ok()?.modified().ok()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    }

    /// Whether the next batch belongs into a new segment.
    pub(crate) fn is_full_for(&self, batch: &BatchHeader, bytes: u64, config: &LogConfig, jitter_ms: i64) -> bool {
        let size = self.size();
        if size == 0 {
            return false;
        }
        let inner = self.inner.read();
        let index_full = |entries: usize, entry: usize| entries + entry > config.index_bytes_max as usize;
        let too_old = inner.first_timestamp.is_some_and(|first| {
            first >= 0 && batch.max_timestamp.saturating_sub(first) > config.segment_ms.saturating_sub(jitter_ms)
        });
        size + bytes > u64::from(config.segment_bytes)
            || too_old
            || index_full(inner.offsets.bytes(), OffsetEntry::BYTES)
            || index_full(inner.times.bytes(), TimeEntry::BYTES)
            || batch.last_offset().0 - self.base.0 > i64::from(i32::MAX)
    }

    /// How many of the batches, of which the first is sure to fit, belong into this segment. The indexes may pass their
    /// limit by what one call brings.
    pub(crate) fn fitting(&self, batches: &[BatchView<'_>], config: &LogConfig, jitter_ms: i64) -> usize {
        let age_max = config.segment_ms.saturating_sub(jitter_ms);
        let first = self.inner.read().first_timestamp.or(batches.first().map(|batch| batch.max_timestamp()));
        let mut size = self.size();
        let fits = |batch: &&BatchView<'_>| {
            size += batch.len() as u64;
            let age = first.filter(|first| *first >= 0).map_or(0, |first| batch.max_timestamp().saturating_sub(first));
            size <= u64::from(config.segment_bytes)
                && age <= age_max
                && batch.last_offset().0 - self.base.0 <= i64::from(i32::MAX)
        };
        batches.iter().take_while(fits).count().max(1)
    }

    /// Writes batches behind the last one; each piece is a header and the rest of its batch.
    pub(crate) fn append(
        &self,
        pieces: &[(&[u8], &[u8])],
        batches: &[BatchHeader],
        config: &LogConfig,
    ) -> Result<(), LogError> {
        let start = self.size();
        let file = self.file.get_for_writing()?;
        let bytes = batches.iter().map(|batch| batch.len as u64).sum();
        self.reserved.ahead_of(&file, start, bytes, u64::from(config.segment_bytes));
        files::write_pieces_at(&file, pieces, start).map_err(LogError::io("write", &self.log_path()))?;
        let mut position = start;
        let mut inner = self.inner.write();
        for batch in batches {
            self.index(&mut inner, position, batch, config.index_interval_bytes)?;
            inner.remember(Located { position, header: *batch });
            position += batch.len as u64;
        }
        if let Some(last) = batches.last() {
            self.next.store(last.next_offset().0, Ordering::Release);
        }
        self.fresh.appended(start, Moment::now()); // before the size, so that who sees the bytes sees it
        self.size.store(position, Ordering::Release);
        drop(inner); // who holds it sees the two as they belong together
        Ok(())
    }

    /// Notes a batch in the indexes; entries come before the batch that exceeds the interval, as in Kafka.
    fn index(&self, inner: &mut Inner, position: u64, batch: &BatchHeader, interval: u32) -> Result<(), LogError> {
        inner.note(batch);
        if inner.resumed_at.take() == Some(position) {
            inner.bytes_since_entry = batch.len as u64; // its entry is the last of the index
            return Ok(());
        }
        if inner.bytes_since_entry > u64::from(interval) {
            let relative = self.relative(batch.last_offset());
            let time =
                TimeEntry { timestamp: inner.max_timestamp, relative: self.relative(inner.max_timestamp_offset) };
            inner.offsets.push(OffsetEntry { relative, position: position as u32 })?;
            if time.timestamp != NO_TIMESTAMP {
                inner.times.push(time)?;
            }
            inner.bytes_since_entry = 0;
            if position.saturating_sub(inner.written_to) > UNWRITTEN_MAX {
                inner.write_out()?;
                inner.written_to = position;
            }
        }
        inner.bytes_since_entry += batch.len as u64;
        Ok(())
    }

    /// Finishes the indexes when the segment takes no more batches.
    pub(crate) fn seal(&self) -> Result<(), LogError> {
        if self.reserved.is_used() {
            self.reserved.give_back(&*self.file.get_for_writing()?, self.size());
        }
        let mut inner = self.inner.write();
        inner.recent = VecDeque::new();
        inner.end_times(self.base)?;
        inner.write_out()
    }

    /// Hands index entries to the system, so that others who open the files see them.
    pub(crate) fn write_out(&self) -> Result<(), LogError> {
        self.inner.write().write_out()
    }

    /// A range of the file that readers may send.
    pub(crate) fn slice(self: &Arc<Segment>, position: u64, len: usize) -> Result<FileSlice, LogError> {
        Ok(FileSlice { file: self.file.get()?, position, len, segment: Arc::clone(self) })
    }

    /// Bytes of the larger of its indexes.
    pub(crate) fn index_bytes_max(&self) -> Result<u64, LogError> {
        self.ensure_loaded(Patience::Waits)?;
        let inner = self.inner.read();
        Ok(inner.offsets.bytes().max(inner.times.bytes()) as u64)
    }

    /// Renames the files, so that they are no part of the log any more. Open readers keep reading.
    pub(crate) fn mark_deleted(&self) -> Result<Vec<PathBuf>, LogError> {
        self.rename(DELETED)
    }

    /// Gives all files this suffix; without one they are a part of the log. The record file makes a segment, so it is the
    /// last to come and the first to go. Names are not flushed here.
    pub(crate) fn rename(&self, suffix: &'static str) -> Result<Vec<PathBuf>, LogError> {
        let inner = self.inner.read();
        let mut handles = [inner.offsets.handle(), inner.times.handle(), &self.file];
        if suffix == DELETED {
            handles.reverse();
        }
        handles.into_iter().map(|handle| handle.rename(suffix)).collect()
    }

    fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0 - self.base.0).unwrap_or(u32::MAX)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.file.path()
    }
}

impl Inner {
    fn note(&mut self, batch: &BatchHeader) {
        self.first_timestamp.get_or_insert(batch.max_timestamp);
        if batch.max_timestamp > self.max_timestamp {
            self.max_timestamp = batch.max_timestamp;
            self.max_timestamp_offset = batch.last_offset();
        }
    }

    fn reset(&mut self, base: Offset) {
        self.bytes_since_entry = 0;
        self.written_to = 0;
        self.max_timestamp = NO_TIMESTAMP;
        self.max_timestamp_offset = base;
        self.first_timestamp = None;
        self.recent.clear();
        self.resumed_at = None;
    }

    fn write_out(&mut self) -> Result<(), LogError> {
        self.offsets.write_out()?;
        self.times.write_out()
    }

    fn remember(&mut self, batch: Located) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(batch);
    }

    /// The batch that holds `offset`, or the first one behind it, if that is one of the last.
    fn find_recent(&self, offset: Offset) -> Option<Located> {
        let reaches_back = self.recent.front().is_some_and(|oldest| oldest.header.base_offset <= offset);
        let at = self.recent.partition_point(|batch| batch.header.last_offset() < offset);
        self.recent.get(at).filter(|_| reaches_back).copied()
    }
}

/// Reserves space without changing the length; a file system that cannot is no reason to stop.
fn preallocate(file: &File, bytes: u32) {
    let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
    if let Err(error) = rustix::fs::fallocate(file, flags, 0, u64::from(bytes)) {
        tracing::debug!(%error, "disk space could not be reserved");
    }
}
