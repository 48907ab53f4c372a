//! One cleaning over the segments of a log: first the keys, then the copies.
//!
//! Nothing here changes the log. What comes out is a new segment beside each group, flushed, with a name that makes it
//! no part of the log.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use twinstream_model::{Offset, ProducerId};
use twinstream_protocol::batch::{BatchHeader, BatchView, Surveyed, Visitor};

use super::keep::{Counts, Kept, Rules};
use super::offset_map::{KeyHasher, OffsetMap};
use super::source::{Found, Source, unworkable};
use super::transactions::CleanedTransactions;
use super::{CleanError, Cleaned, CleanerLimits, Pace};
use crate::producers::LastRecord;
use crate::segment::Segment;
use crate::txn_index::AbortedEntry;
use crate::{LogConfig, LogError};

/// The aborted transactions between two offsets, the first of which is the base of a segment.
pub(crate) type Aborted<'a> = &'a dyn Fn(Offset, Offset) -> Result<Vec<AbortedEntry>, LogError>;

/// What a cleaning works with.
pub(crate) struct Job<'a> {
    pub(crate) config: &'a LogConfig,
    pub(crate) limits: &'a CleanerLimits,
    pub(crate) pace: &'a dyn Pace,
    pub(crate) producers: HashMap<ProducerId, LastRecord>,
    pub(crate) aborted: Aborted<'a>,
    pub(crate) now: i64,
}

/// A cleaning whose keys are known.
pub(crate) struct Cleaning<'a> {
    job: &'a Job<'a>,
    map: OffsetMap,
    transactions: CleanedTransactions,
    counts: Counts,
}

/// A segment and where the one behind it begins.
pub(crate) type Bounded = (Arc<Segment>, Offset);

impl<'a> Cleaning<'a> {
    /// Reads the keys from `first_dirty` on, as many as fit. `dirty` are the segments from the one of that offset on.
    pub(crate) fn begin(job: &'a Job<'a>, dirty: &[Bounded], first_dirty: Offset) -> Result<Cleaning<'a>, CleanError> {
        let end = dirty.last().map_or(first_dirty, |(_, end)| *end);
        let keys = end.0.saturating_sub(first_dirty.0).max(0).unsigned_abs();
        let mut map = OffsetMap::new(job.limits.map_bytes, keys, job.limits.load_factor);
        let mut transactions = CleanedTransactions::default();
        if let Some((first, _)) = dirty.first() {
            transactions.announce((job.aborted)(first.base(), end)?);
        }
        for (segment, end) in dirty {
            if !read_keys(job, segment, first_dirty, &mut map, &mut transactions)? {
                break;
            }
            map.reached(Offset(end.0 - 1)); // behind its last batch there may be nothing up to the next segment
        }
        Ok(Cleaning { job, map, transactions: CleanedTransactions::default(), counts: Counts::default() })
    }

    /// When the cleaning began.
    pub(crate) fn now(&self) -> i64 {
        self.job.now
    }

    /// The log is clean up to here when all groups are copied.
    pub(crate) fn end(&self) -> Option<Offset> {
        self.map.latest().map(Offset::next)
    }

    /// Copies what stays of a group into an empty segment and flushes it. Returns its aborted transactions.
    pub(crate) fn copy(
        &mut self,
        group: &[Bounded],
        ends_cleaning: bool,
        into: &Arc<Segment>,
    ) -> Result<Vec<AbortedEntry>, CleanError> {
        let mut out = Output { into, config: self.job.config, bytes: Vec::new(), headers: Vec::new() };
        for (i, (segment, end)) in group.iter().enumerate() {
            self.transactions.announce((self.job.aborted)(segment.base(), *end)?);
            self.copy_segment(segment, ends_cleaning && i + 1 == group.len(), &mut out)?;
        }
        out.write(self.job.pace)?;
        let settle = || {
            into.seal()?;
            keep_age(group, into)?;
            into.sync()
        };
        settle().map_err(CleanError::Write)?;
        Ok(self.transactions.take_index())
    }

    fn copy_segment(&mut self, segment: &Arc<Segment>, is_last: bool, out: &mut Output<'_>) -> Result<(), CleanError> {
        let job = self.job;
        let rules = Rules {
            map: &self.map,
            producers: &job.producers,
            now: job.now,
            delete_retention_ms: job.config.delete_retention_ms,
            unpacked_max: job.config.decompressed_bytes_max,
            io_bytes: job.limits.io_bytes,
        };
        let mut source = Source::new(segment, 0, job.limits.io_bytes, job.pace)?;
        while let Some(Found { batch, position, is_last: ends_segment }) = source.next()? {
            let kept = rules.judge(&batch, is_last && ends_segment, &mut self.transactions, &mut self.counts);
            match kept.map_err(|error| unworkable(segment, position, error))? {
                Kept::Nothing => {}
                Kept::AsItIs => out.push(batch.bytes(), batch.header())?,
                Kept::Rewritten(bytes) => {
                    let header = BatchView::parse(&bytes).map(|batch| batch.header());
                    out.push(&bytes, header.map_err(|error| unworkable(segment, position, error))?)?;
                }
            }
            if out.bytes.len() >= job.limits.io_bytes {
                out.write(job.pace)?;
            }
        }
        Ok(())
    }

    /// Adds what was looked at to the figures of a cleaning.
    pub(crate) fn note(&self, cleaned: &mut Cleaned) {
        cleaned.records_before = self.counts.before;
        cleaned.records_after = self.counts.after;
        cleaned.without_key = self.counts.without_key;
        cleaned.map_utilization = self.map.utilization();
    }
}

/// Puts the keys of a segment into the map; false if it is full.
fn read_keys(
    job: &Job<'_>,
    segment: &Arc<Segment>,
    first_dirty: Offset,
    map: &mut OffsetMap,
    transactions: &mut CleanedTransactions,
) -> Result<bool, CleanError> {
    let position = match first_dirty > segment.base() {
        true => segment.locate(first_dirty)?.map_or(segment.size(), |found| found.position),
        false => 0,
    };
    let mut source = Source::new(segment, position, job.limits.io_bytes, job.pace)?;
    while let Some(Found { batch, position, .. }) = source.next()? {
        let header = batch.header();
        let broken = |error| unworkable(segment, position, error);
        if !header.attributes.is_control() && !transactions.is_aborted(&header) {
            let hasher = map.hasher();
            let mut keys = Keys { map, hasher, first_dirty, is_full: false };
            batch.walk(job.config.decompressed_bytes_max, &mut keys).map_err(broken)?;
            if keys.is_full {
                return Ok(false);
            }
        } else if header.attributes.is_control() {
            let marker = crate::transactions::Marker::of(&batch).map_err(broken)?;
            transactions.is_needless(&header, marker);
        }
        map.reached(header.last_offset());
    }
    Ok(true)
}

/// Puts the keys of a batch into the map.
struct Keys<'a> {
    map: &'a mut OffsetMap,
    /// Of the present record's key.
    hasher: KeyHasher,
    first_dirty: Offset,
    is_full: bool,
}

impl Visitor for Keys<'_> {
    fn key(&mut self, piece: &[u8]) {
        self.hasher.write(piece);
    }

    fn record(&mut self, record: Surveyed) -> ControlFlow<()> {
        let hasher = std::mem::replace(&mut self.hasher, self.map.hasher());
        if record.has_key && record.offset >= self.first_dirty && !self.map.put(hasher.finish(), record.offset) {
            self.is_full = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Batches on their way into the new segment.
struct Output<'a> {
    into: &'a Arc<Segment>,
    config: &'a LogConfig,
    bytes: Vec<u8>,
    headers: Vec<BatchHeader>,
}

impl Output<'_> {
    fn push(&mut self, bytes: &[u8], header: BatchHeader) -> Result<(), CleanError> {
        if header.last_offset().0 - self.into.base().0 > i64::from(i32::MAX) {
            return Err(CleanError::Overflow { path: self.into.log_path() });
        }
        self.bytes.extend_from_slice(bytes);
        self.headers.push(header);
        Ok(())
    }

    fn write(&mut self, pace: &dyn Pace) -> Result<(), CleanError> {
        pace.spent(self.bytes.len() as u64)?;
        let mut rest = &self.bytes[..];
        let mut pieces: Vec<(&[u8], &[u8])> = Vec::with_capacity(self.headers.len());
        for header in &self.headers {
            let (batch, behind) = rest.split_at(header.len);
            pieces.push((batch, &[]));
            rest = behind;
        }
        self.into.append(&pieces, &self.headers, self.config).map_err(CleanError::Write)?;
        self.bytes.clear();
        self.headers.clear();
        Ok(())
    }
}

/// Retention looks at the age of a file whose records have no timestamps.
fn keep_age(group: &[Bounded], into: &Arc<Segment>) -> Result<(), LogError> {
    let Some(modified) = group.last().and_then(|(last, _)| last.modified_ms()) else { return Ok(()) };
    let modified = UNIX_EPOCH + Duration::from_millis(modified.max(0).unsigned_abs());
    into.slice(0, 0)?.file.set_modified(modified).map_err(LogError::io("set the time of", &into.log_path()))
}
