//! One segment: a `.log` file of batches, with its two indexes.
//!
//! Picture: the file only grows, except when a tail is cut. `size` is the length that readers may see; it
//! moves after the bytes are written, so a reader never looks at half a batch. The indexes stand behind a
//! lock that is held for a search or an entry and never while records are read or written.
//!
//! Invariants: batches ascend in offset; offsets are `base` to `base + i32::MAX`; `size` is a batch border.

mod repair; // opening and cutting
mod scan; // walks over the batches of a file

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use twinstream_model::Offset;
use twinstream_protocol::batch::{BatchHeader, BatchView, NO_TIMESTAMP};

use crate::files::{self, INDEX, LOG, TIME_INDEX};
use crate::index::{Entry, Index, OffsetEntry, TimeEntry};
use crate::{FileSlice, LogConfig, LogError};

pub(crate) use scan::Tail;

/// Batches whose place is remembered: more than appends between two fetches of a follower that keeps up.
const RECENT_MAX: usize = 32;

/// Bytes of log that index entries in memory may stand for: what a start after a crash has to check again.
const UNWRITTEN_MAX: u64 = 256 << 10;

/// Where a batch lies in a segment, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
}

#[derive(Debug)]
pub(crate) struct Segment {
    base: Offset,
    dir: PathBuf,
    file: Arc<File>,
    size: AtomicU64,
    /// Whether bytes may be newer than the last flush.
    dirty: AtomicBool,
    /// Whether both index files were there and readable when the segment was opened.
    indexes_fit: bool,
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
    next_offset: Offset,
    /// The batches appended last, so that followers and consumers at the end of the log are served without a search.
    recent: VecDeque<Located>,
    /// The batch at this position is the one that the last offset entry points at.
    resumed_at: Option<u64>,
}

impl Segment {
    /// Makes an empty segment. Left-overs of the same name have no claim any more.
    pub(crate) fn create(dir: &Path, base: Offset, config: &LogConfig) -> Result<Segment, LogError> {
        for extension in [INDEX, TIME_INDEX] {
            files::remove(&files::offset_file(dir, base, extension))?;
        }
        let path = files::offset_file(dir, base, LOG);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(LogError::io("create", &path))?;
        if config.preallocate {
            preallocate(&file, config.segment_bytes);
        }
        Segment::assemble(dir, base, file, 0)
    }

    /// Opens a segment whose content has yet to be looked at with [`Segment::load`], [`Segment::load_checked`] or
    /// [`Segment::recover`].
    pub(crate) fn open(dir: &Path, base: Offset) -> Result<Segment, LogError> {
        let path = files::offset_file(dir, base, LOG);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(LogError::io("open", &path))?;
        let size = file.metadata().map_err(LogError::io("inspect", &path))?.len();
        Segment::assemble(dir, base, file, size)
    }

    fn assemble(dir: &Path, base: Offset, file: File, size: u64) -> Result<Segment, LogError> {
        let (offsets, offsets_fit) = open_index(dir, base, INDEX)?;
        let (times, times_fit) = open_index(dir, base, TIME_INDEX)?;
        let inner = Inner {
            offsets,
            times,
            bytes_since_entry: 0,
            written_to: 0,
            max_timestamp: NO_TIMESTAMP,
            max_timestamp_offset: base,
            first_timestamp: None,
            next_offset: base,
            recent: VecDeque::new(),
            resumed_at: None,
        };
        Ok(Segment {
            base,
            dir: dir.to_owned(),
            file: Arc::new(file),
            size: AtomicU64::new(size),
            dirty: AtomicBool::new(true),
            indexes_fit: offsets_fit && times_fit,
            inner: RwLock::new(inner),
        })
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn next_offset(&self) -> Offset {
        self.inner.read().next_offset
    }

    /// The largest timestamp and the last offset of its batch, `None` without records or timestamps.
    pub(crate) fn max_timestamp(&self) -> Option<(i64, Offset)> {
        let inner = self.inner.read();
        (inner.max_timestamp != NO_TIMESTAMP).then_some((inner.max_timestamp, inner.max_timestamp_offset))
    }

    /// When the last byte was written, for segments without timestamps.
    pub(crate) fn modified_ms(&self) -> Option<i64> {
        let modified = self.file.metadata().ok()?.modified().ok()?;
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
        files::write_pieces_at(&self.file, pieces, start).map_err(LogError::io("write", &self.log_path()))?;
        self.dirty.store(true, Ordering::Release);
        let mut position = start;
        let mut inner = self.inner.write();
        for batch in batches {
            self.index(&mut inner, position, batch, config.index_interval_bytes)?;
            inner.remember(Located { position, header: *batch });
            position += batch.len as u64;
        }
        drop(inner);
        self.size.store(position, Ordering::Release);
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
        let mut inner = self.inner.write();
        inner.recent = VecDeque::new();
        let last = TimeEntry { timestamp: inner.max_timestamp, relative: self.relative(inner.max_timestamp_offset) };
        if last.timestamp != NO_TIMESTAMP {
            inner.times.push(last)?;
        }
        inner.write_out()
    }

    /// Hands index entries to the system, so that others who open the files see them.
    pub(crate) fn write_out(&self) -> Result<(), LogError> {
        self.inner.write().write_out()
    }

    /// Waits until everything written so far is on the disk.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.write_out()?;
        let synced = self.file.sync_data().map_err(LogError::io("flush", &self.log_path()));
        let inner = self.inner.read();
        synced.and_then(|()| inner.offsets.sync()).and_then(|()| inner.times.sync())
    }

    /// The batch that holds `offset`, or the first one behind it.
    pub(crate) fn locate(&self, offset: Offset) -> Result<Option<Located>, LogError> {
        if let Some(recent) = self.inner.read().find_recent(offset) {
            return Ok(Some(recent));
        }
        let from = self.floor_position(offset)?;
        self.find(from, |header| header.last_offset() >= offset)
    }

    /// The first batch from `position` on of which `wanted` holds.
    pub(crate) fn find(
        &self,
        position: u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<Located>, LogError> {
        let mut found = None;
        let tail = scan::headers(&self.file, position, self.size(), |position, header| match wanted(header) {
            true => {
                found = Some(Located { position, header: *header });
                ControlFlow::Break(())
            }
            false => ControlFlow::Continue(()),
        });
        match tail.map_err(LogError::io("read", &self.log_path()))? {
            Tail::Damaged { position, why } => {
                Err(LogError::damaged(&self.log_path(), format!("{why} at position {position}")))
            }
            Tail::Whole => Ok(found),
        }
    }

    /// A position at or before the batch that holds `offset`.
    fn floor_position(&self, offset: Offset) -> Result<u64, LogError> {
        let relative = offset.0.saturating_sub(self.base.0);
        let entry = self.inner.read().offsets.floor(relative)?;
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// A position at or before the first batch with a timestamp of at least `timestamp`.
    pub(crate) fn floor_position_by_time(&self, timestamp: i64) -> Result<u64, LogError> {
        // Up to the entry's offset all timestamps are at most the entry's, which is below the wanted one.
        let entry = self.inner.read().times.floor(timestamp.saturating_sub(1))?;
        entry.map_or(Ok(0), |entry| self.floor_position(Offset(self.base.0 + i64::from(entry.relative))))
    }

    /// A range of the file that readers may send.
    pub(crate) fn slice(&self, position: u64, len: usize) -> FileSlice {
        FileSlice { file: Arc::clone(&self.file), position, len }
    }

    /// Calls `each` with every header from `position` on.
    pub(crate) fn for_each_header(&self, position: u64, mut each: impl FnMut(&BatchHeader)) -> Result<(), LogError> {
        let tail = scan::headers(&self.file, position, self.size(), |_, header| {
            each(header);
            ControlFlow::Continue(())
        });
        match tail.map_err(LogError::io("read", &self.log_path()))? {
            Tail::Whole => Ok(()),
            Tail::Damaged { position, why } => {
                Err(LogError::damaged(&self.log_path(), format!("{why} at position {position}")))
            }
        }
    }

    /// The position of a batch about `bytes` before the end, for a look at the latest batches.
    pub(crate) fn position_before_end(&self, bytes: u64) -> Result<u64, LogError> {
        let wanted = self.size().saturating_sub(bytes);
        let entry = self.inner.read().offsets.last_where(|entry| u64::from(entry.position) <= wanted)?;
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// Renames the files, so that they are no part of the log any more. Open readers keep reading.
    pub(crate) fn mark_deleted(&self) -> Result<Vec<PathBuf>, LogError> {
        let mut renamed = Vec::new();
        for extension in [LOG, INDEX, TIME_INDEX] {
            let path = files::offset_file(&self.dir, self.base, extension);
            let deleted = files::offset_file(&self.dir, self.base, &format!("{extension}.{}", files::DELETED));
            std::fs::rename(&path, &deleted).map_err(LogError::io("rename", &path))?;
            renamed.push(deleted);
        }
        Ok(renamed)
    }

    fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0 - self.base.0).unwrap_or(u32::MAX)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        files::offset_file(&self.dir, self.base, LOG)
    }
}

impl Inner {
    fn note(&mut self, batch: &BatchHeader) {
        self.first_timestamp.get_or_insert(batch.max_timestamp);
        if batch.max_timestamp > self.max_timestamp {
            self.max_timestamp = batch.max_timestamp;
            self.max_timestamp_offset = batch.last_offset();
        }
        self.next_offset = batch.next_offset();
    }

    fn reset(&mut self, base: Offset) {
        self.bytes_since_entry = 0;
        self.written_to = 0;
        self.max_timestamp = NO_TIMESTAMP;
        self.max_timestamp_offset = base;
        self.first_timestamp = None;
        self.next_offset = base;
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

/// Opens an index and tells whether it was fit for use; a missing or damaged one comes back empty.
fn open_index<E: Entry>(dir: &Path, base: Offset, extension: &str) -> Result<(Index<E>, bool), LogError> {
    let path = files::offset_file(dir, base, extension);
    let exists = path.exists();
    match Index::open(&path) {
        Err(LogError::Damaged { what, .. }) => {
            tracing::warn!(path = %path.display(), what, "emptying a damaged index");
            files::remove(&path)?;
            Ok((Index::open(&path)?, false))
        }
        opened => Ok((opened?, exists)),
    }
}

/// Reserves space without changing the length; a file system that cannot is no reason to stop.
fn preallocate(file: &File, bytes: u32) {
    let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
    if let Err(error) = rustix::fs::fallocate(file, flags, 0, u64::from(bytes)) {
        tracing::debug!(%error, "disk space could not be reserved");
    }
}
