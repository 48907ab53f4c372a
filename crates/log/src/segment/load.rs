//! What the indexes of a segment tell, and building them anew.
//!
//! Picture: a segment that is closed costs nothing until somebody comes to it; then the ends of its indexes are read and
//! held against the batches behind their last entries. What does not fit is built anew from the records.
//!
//! Invariants: while indexes are built anew nobody searches them and nobody appends; that is the one time at which their
//! lock is held while records are read.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;

use twinstream_model::{LeaderEpoch, Offset};
use twinstream_protocol::batch::NO_TIMESTAMP;

use super::check::{Before, Walk};
use super::scan::{self, Tail};
use super::{Inner, Segment};
use crate::files::{INDEX, LOG, TIME_INDEX};
use crate::index::{Index, TimeEntry};
use crate::open_files::{Handle, Place};
use crate::page_cache::Patience;
use crate::{Damage, LogConfig, LogError};

/// Bytes of log behind the last entry of an index that are no sign of lost entries: what one append may bring.
const UNINDEXED_MAX: u64 = 4 << 20;

impl Segment {
    /// A segment of which nothing is read until somebody comes to it. All its offsets lie below `next`.
    /// `adjoins` says that nothing was compacted away, so that its last record lies right before `next`.
    pub(crate) fn closed(
        place: &Place,
        base: Offset,
        next: Offset,
        adjoins: bool,
        config: &LogConfig,
    ) -> Result<Segment, LogError> {
        let mut segment = Segment::unread(place, base, config)?;
        *segment.loaded.get_mut() = false;
        *segment.next.get_mut() = next.0;
        segment.adjoins = adjoins;
        Ok(segment)
    }

    /// A segment of which nothing is known yet but its size.
    pub(super) fn unread(place: &Place, base: Offset, config: &LogConfig) -> Result<Segment, LogError> {
        let handle = Handle::new(place, base, LOG, "");
        let size = len(&handle.path())?;
        let offsets = Index::unread(&Handle::new(place, base, INDEX, ""));
        let times = Index::unread(&Handle::new(place, base, TIME_INDEX, ""));
        Ok(Segment::assemble(base, handle, size, offsets, times, config))
    }

    /// Has the ends of the indexes read, if that was not done yet.
    pub(super) fn ensure_loaded(&self, patience: Patience) -> Result<(), LogError> {
        if self.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        self.may_wait(patience)?;
        let _alone = self.loading.lock();
        if self.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut told = None;
        match self.read_indexes(&mut told) {
            Ok(()) => {}
            Err(LogError::Damaged { what, .. }) => self.rebuild_indexes(&what)?,
            Err(error) => return Err(error),
        }
        self.mark_missing_end(told)?;
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Reads the ends of the indexes of a closed segment, and tells the newest offset in them. What does not fit the records is [`LogError::Damaged`].
    fn read_indexes(&self, told: &mut Option<Offset>) -> Result<(), LogError> {
        let size = self.size();
        let damaged = |what: &str| Err(LogError::damaged(&self.log_path(), format!("index {what}")));
        let (last, known) = {
            let mut inner = self.inner.write();
            inner.offsets.read()?;
            inner.times.read()?;
            let last = inner.times.last();
            inner.take_times(self.base, last);
            let relative = inner.offsets.last().map(|entry| entry.relative).max(last.map(|entry| entry.relative));
            *told = relative.map(|relative| Offset(self.base.0 + i64::from(relative)));
            (inner.offsets.last(), inner.max_timestamp)
        };
        let from = last.map_or(0, |entry| u64::from(entry.position));
        if from > 0 && from >= size {
            return damaged("points behind the end");
        }
        if size - from > UNINDEXED_MAX + u64::from(self.index_interval) {
            return damaged("ends too early");
        }
        let (mut newest, mut first) = (NO_TIMESTAMP, None);
        let walked = self.walk(from, size, Patience::Waits, |_, header| {
            first.get_or_insert(header.base_offset);
            newest = newest.max(header.max_timestamp);
            ControlFlow::Continue(())
        });
        match (walked, last, first) {
            (Err(LogError::DamagedBatch { position, .. }), Some(_), _) if position == from => {
                damaged("leads to no batch")
            }
            (Err(LogError::DamagedBatch { .. }), ..) => Ok(()), // for those to find who read there
            (Err(error), ..) => Err(error),
            (Ok(()), Some(last), Some(first)) if first.0 > self.base.0 + i64::from(last.relative) => {
                damaged("leads to another batch")
            }
            _ if newest > known => damaged("of timestamps ends too early"),
            _ => Ok(()),
        }
    }

    /// A file that was cut right between two batches looks whole, and the gap before the next one like what a compaction left.
    /// But its indexes were made when it was whole: where nothing was compacted, a gap and an index that tells of records in it
    /// mean that they are gone.
    fn mark_missing_end(&self, told: Option<Offset>) -> Result<(), LogError> {
        let next = self.next_offset();
        let Some(told) = told.filter(|_| self.adjoins && !self.checked.is_damaged()) else { return Ok(()) };
        let last = self.inner.read().offsets.last();
        let from = last.map_or(0, |entry| u64::from(entry.position));
        let (mut reached, mut newest, mut adjoins) = (self.base, None::<TimeEntry>, true);
        let walked = self.walk(from, self.size(), Patience::Waits, |at, header| {
            // An offset that was changed leaves a gap, too, and is found by its neighbours.
            adjoins &= match last.filter(|_| at == from) {
                Some(last) => header.last_offset() == Offset(self.base.0 + i64::from(last.relative)),
                None => header.base_offset == reached,
            };
            reached = header.next_offset();
            if newest.is_none_or(|newest| header.max_timestamp > newest.timestamp) {
                newest =
                    Some(TimeEntry { timestamp: header.max_timestamp, relative: self.relative(header.last_offset()) });
            }
            ControlFlow::Continue(())
        });
        match walked {
            Err(LogError::DamagedBatch { .. }) => return Ok(()), // as above
            walked => walked?,
        }
        if !adjoins || !(reached..next).contains(&told) {
            return Ok(());
        }
        let size = self.size();
        let relative = reached.0 - self.base.0;
        {
            let mut inner = self.inner.write();
            inner.times.keep(|entry| i64::from(entry.relative) < relative)?;
            let last = inner.times.last();
            (inner.max_timestamp, inner.max_timestamp_offset) = (NO_TIMESTAMP, self.base);
            inner.take_times(self.base, last);
            if newest.is_some_and(|newest| newest.timestamp > inner.max_timestamp) {
                inner.take_times(self.base, newest);
            }
        }
        let hole = Damage { base: self.base, bytes: size..size, offsets: reached..next };
        self.end_in(hole, &|| Ok(()), "the file ends before records that its indexes tell of")
    }

    /// Builds the indexes anew from the records, which are all read and checked; damage that is found is marked.
    pub(crate) fn rebuild_indexes(&self, why: &str) -> Result<(), LogError> {
        let mut inner = self.inner.write();
        tracing::warn!(segment = %self.log_path().display(), why, "rebuilding the indexes of a segment");
        inner.offsets.clear()?;
        inner.times.clear()?;
        inner.reset(self.base);
        let (file, size, limit) = (self.file.get()?, self.size(), self.next_offset());
        let mut walk = Walk::from(0, Before { next: self.base, epoch: LeaderEpoch::NONE });
        while walk.reached < size {
            let start = walk.reached;
            let mut failure = None;
            let tail = scan::checked(&file, start, size, |position, header| {
                walk.step(position, header, limit)?;
                match self.index(&mut inner, position, header, self.index_interval) {
                    Ok(()) => Ok(ControlFlow::Continue(())),
                    Err(error) => {
                        failure = Some(error);
                        Ok(ControlFlow::Break(()))
                    }
                }
            });
            if let Some(error) = failure {
                return Err(error);
            }
            self.checked.note(start..walk.reached);
            if let Tail::Damaged { position, why } = tail.map_err(LogError::io("read", &self.log_path()))? {
                let Some(damage) = self.diagnose_in(&inner.offsets, position, None)? else {
                    return Err(self.damaged_batch(position, why));
                };
                walk = Walk::from(damage.bytes.end, Before { next: damage.offsets.end, ..walk.before });
                self.add_damage(damage, &why);
            }
        }
        inner.end_times(self.base)?;
        inner.write_out()
    }
}

impl Inner {
    /// Takes over what an entry says of the timestamps up to it.
    pub(super) fn take_times(&mut self, base: Offset, entry: Option<TimeEntry>) {
        if let Some(entry) = entry {
            self.max_timestamp = entry.timestamp;
            self.max_timestamp_offset = Offset(base.0 + i64::from(entry.relative));
        }
    }

    /// Adds the entry with which the index of timestamps of a closed segment ends.
    pub(super) fn end_times(&mut self, base: Offset) -> Result<(), LogError> {
        if self.max_timestamp == NO_TIMESTAMP {
            return Ok(());
        }
        let relative = u32::try_from(self.max_timestamp_offset.0 - base.0).unwrap_or(u32::MAX);
        self.times.push(TimeEntry { timestamp: self.max_timestamp, relative })
    }
}

/// Length of a file, without opening it.
fn len(path: &Path) -> Result<u64, LogError> {
    std::fs::metadata(path).map(|found| found.len()).map_err(LogError::io("inspect", path))
}
