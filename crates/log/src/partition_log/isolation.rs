//! What readers of committed records need: the last stable offset, and which transactions were aborted (KIP-98).
//!
//! Picture: every batch that enters the log, or is met when it is opened, tells the producers; what that does to a
//! transaction is noted here, and an aborted one gets its entry in the index of the segment of its marker.
//!
//! Invariants: a reader is told of every aborted transaction that has records in what it gets: an entry is there before
//! the last stable offset passes its marker, and a reader looks at that offset before it looks at the entries. Compaction removes such
//! records and their entries together, and a reader with old records and new entries would take aborted records for
//! committed ones. So a reader takes a copy of what the indexes are, reads records and entries without any lock, which may
//! take a disk's time, and begins anew if entries went meanwhile.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinstream_model::Offset;
use twinstream_protocol::batch::BatchHeader;

use super::snapshots::{self, Restored, Restoring};
use super::{PartitionLog, ReadResult, Writer};
use crate::producers::Producers;
use crate::segment::Segment;
use crate::transactions::{AbortedTransaction, Completed, Marker, Outcome, Step, Transactions};
use crate::txn_index::{AbortedEntry, TxnIndexes};
use crate::{FileSlice, LogError, ReadError, Readiness};

/// Attempts of a reader to find entries and records of one log. Only a compaction, a cut or retention can foil one.
const READS_WITHOUT_LOCK: usize = 3;

impl PartitionLog {
    /// Up to where a reader of committed records may go: at most the high watermark, and not into a transaction that
    /// is open or whose marker is not committed.
    pub fn last_stable_offset(&self) -> Offset {
        // DeleteRecords may have moved the start into an open transaction.
        self.transactions.last_stable(self.high_watermark()).max(self.log_start_offset())
    }

    /// Reads like [`PartitionLog::read`], up to the last stable offset, and tells which transactions of what was found
    /// were aborted.
    pub fn read_committed(
        &self,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<(ReadResult, Vec<AbortedTransaction>), ReadError> {
        self.with_indexes(|upper, indexes| {
            let found = self.read(from, max_bytes, at_least_one, upper)?;
            let aborted = self.aborted_of(indexes, &found, from, upper)?;
            Ok((found, aborted))
        })
    }

    /// Like [`PartitionLog::read_committed`], but never waits for the disk: `None` if that would be needed.
    pub fn read_committed_at_once(
        &self,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<(ReadResult, Vec<AbortedTransaction>)>, ReadError> {
        self.with_indexes(|upper, indexes| {
            let Some(found) = self.read_at_once(from, max_bytes, at_least_one, upper)? else { return Ok(None) };
            let is_ready = |slice: &FileSlice| slice.readiness() == Readiness::Ready;
            if !indexes.is_empty() && !found.slice.as_ref().is_none_or(is_ready) {
                return Ok(None); // the headers of the slice say which transactions are in it
            }
            let aborted = self.aborted_of(indexes, &found, from, upper)?;
            Ok(Some((found, aborted)))
        })
    }

    /// Reads something up to the last stable offset with the indexes as they are, and again when entries went meanwhile:
    /// whatever was found then, an error included, is of two different logs. When that happens time and again, nobody may
    /// take entries away meanwhile.
    ///
    /// The offset is looked up first. A transaction that ends in between would otherwise be below it and not in the indexes,
    /// and its aborted records would be read as committed ones.
    fn with_indexes<T, E>(&self, read: impl Fn(Offset, &TxnIndexes) -> Result<T, E>) -> Result<T, E> {
        for _ in 0..READS_WITHOUT_LOCK {
            let upper = self.last_stable_offset();
            let indexes = self.aborted.read().clone();
            let found = read(upper, &indexes);
            if self.aborted.read().has_all_of(&indexes) {
                return found;
            }
        }
        let upper = self.last_stable_offset();
        let indexes = self.aborted.read();
        read(upper, &indexes)
    }

    /// The aborted transactions of what was found. The indexes are of before it was looked for.
    fn aborted_of(
        &self,
        indexes: &TxnIndexes,
        found: &ReadResult,
        from: Offset,
        upper: Offset,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        match &found.slice {
            Some(slice) if !indexes.is_empty() => {
                let end = end_of(slice)?.min(upper);
                Ok(indexes.collect(&self.dir, slice.segment.base(), from, end)?)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The aborted transactions that have records between `from` and `upper`.
    pub fn aborted_transactions(&self, from: Offset, upper: Offset) -> Result<Vec<AbortedTransaction>, LogError> {
        self.with_indexes(|_, indexes| {
            let segments = self.segments.load();
            let holder = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
            let base = segments.get(holder).map_or(from, |segment| segment.base());
            indexes.collect(&self.dir, base, from, upper)
        })
    }

    /// How many aborted transactions the indexes tell of: what the next start is told if this one ends well, because the
    /// files do not say how long they should be.
    pub fn aborted_count(&self) -> u64 {
        self.aborted.read().count()
    }

    /// The entries behind [`PartitionLog::aborted_transactions`].
    pub(super) fn aborted_entries(&self, from: Offset, upper: Offset) -> Result<Vec<AbortedEntry>, LogError> {
        self.with_indexes(|_, indexes| indexes.entries(&self.dir, from, from, upper))
    }

    /// Indexes of aborted transactions that are not on the disk; who asks flushes them.
    pub(super) fn dirty_txn_indexes(&self) -> Result<Vec<(PathBuf, File)>, LogError> {
        // A statement of its own: a guard in the head of a `match` lives to its end.
        let none = self.aborted.read().is_empty();
        match none {
            true => Ok(Vec::new()), // nearly always
            false => self.aborted.write().take_dirty(&self.dir.read()),
        }
    }

    /// Has the state of producers and transactions back after the log was cut at `end`.
    pub(super) fn restore_producers(&self, dir: &Path, end: Offset) -> Result<Restored, LogError> {
        let mut indexes = self.aborted.write();
        let unfit = indexes.truncate(dir, end)?;
        let restoring = Restoring {
            dir,
            segments: &self.segments.load(),
            start: self.log_start_offset(),
            end,
            rebuild_from: unfit.map_or(end, |base| base.min(end)),
            transactions: &self.transactions,
            indexes: &mut indexes,
        };
        restoring.restore(snapshots::list(dir)?)
    }

    /// Tells the producers of a batch that was written to `segment`. `bytes` gives the whole batch; it is asked for
    /// markers only.
    pub(super) fn follow_producer<'b>(
        &self,
        writer: &mut Writer,
        segment: &Segment,
        header: &BatchHeader,
        bytes: impl FnOnce() -> Cow<'b, [u8]>,
    ) -> Result<(), LogError> {
        if !header.is_idempotent() {
            return Ok(());
        }
        let marker = if header.attributes.is_control() { marker_in(&bytes()) } else { None };
        writer.verifications.wrote(header);
        match writer.producers.replay(header, marker) {
            None => Ok(()),
            Some(step) => {
                let mut indexes = self.aborted.write();
                take_step(step, segment.base(), &self.transactions, &mut indexes, &self.dir.read())
            }
        }
    }
}

/// What opening or cutting a log brings in line with its batches.
pub(super) struct Followed<'a> {
    pub(super) producers: &'a mut Producers,
    pub(super) transactions: &'a Transactions,
    pub(super) indexes: &'a mut TxnIndexes,
}

impl Followed<'_> {
    /// Replays the batches of a segment from `from` on; `position` is that of the batch that holds it.
    pub(super) fn replay(
        &mut self,
        dir: &Path,
        segment: &Arc<Segment>,
        position: u64,
        from: Offset,
    ) -> Result<(), LogError> {
        let mut failure = None;
        segment.for_each_header(position, |here, header| {
            // DeleteRecords may have moved the start of the log into a batch, which still counts.
            if header.last_offset() >= from && header.is_idempotent() && failure.is_none() {
                failure = self.replay_one(dir, segment, here, header).err();
            }
        })?;
        failure.map_or(Ok(()), Err)
    }

    fn replay_one(
        &mut self,
        dir: &Path,
        segment: &Arc<Segment>,
        position: u64,
        header: &BatchHeader,
    ) -> Result<(), LogError> {
        let marker = match header.attributes.is_control() {
            true => {
                let bytes = segment.slice(position, header.len)?.read();
                marker_in(&bytes.map_err(LogError::io("read", &segment.log_path()))?)
            }
            false => None,
        };
        match self.producers.replay(header, marker) {
            Some(step) => take_step(step, segment.base(), self.transactions, self.indexes, dir),
            None => Ok(()),
        }
    }
}

/// Entries of one index that are compared with the log at a start; more would make it slow, older ones matter less.
const COMPARED_MAX: usize = 4_096;

/// Compares entries of the index of the last of `segments` with the batches that they speak of: the file has no checksum of
/// its own. A transaction may have begun in an earlier one of the segments.
pub(super) fn agrees(segments: &[Arc<Segment>], entries: &[AbortedEntry]) -> Result<Result<(), String>, LogError> {
    let Some(segment) = segments.last() else { return Ok(Ok(())) };
    for entry in entries.iter().rev().take(COMPARED_MAX) {
        let is_of = |header: &BatchHeader| header.producer_id == entry.producer_id;
        let marker = segment.around_damage(|| segment.locate(entry.last))?.map(|found| found.header);
        if !marker.is_some_and(|marker| {
            marker.last_offset() == entry.last && marker.attributes.is_control() && is_of(&marker)
        }) {
            return Ok(Err(format!("no marker of producer {} lies at {}", entry.producer_id, entry.last)));
        }
        let earlier = segments.partition_point(|segment| segment.base() <= entry.first);
        let Some(holder) = earlier.checked_sub(1).map(|at| &segments[at]) else { continue }; // retention took it
        // Compaction may have taken the first batch.
        let first = holder.around_damage(|| holder.locate(entry.first))?.map(|found| found.header);
        let differs = |first: BatchHeader| {
            first.base_offset <= entry.first && !(first.base_offset == entry.first && is_of(&first))
        };
        if first.is_some_and(differs) {
            return Ok(Err(format!("producer {} began nothing at {}", entry.producer_id, entry.first)));
        }
    }
    Ok(Ok(()))
}

/// The marker of a control batch. One that cannot be read leaves its transaction open: readers of committed records wait
/// there rather than see what may have been aborted.
fn marker_in(bytes: &[u8]) -> Option<Marker> {
    Marker::in_batch(bytes).unwrap_or_else(|error| {
        tracing::error!(%error, "marker of a transaction is damaged, its records are held back from readers of committed ones");
        None
    })
}

fn take_step(
    step: Step,
    base: Offset,
    transactions: &Transactions,
    indexes: &mut TxnIndexes,
    dir: &Path,
) -> Result<(), LogError> {
    match step {
        Step::Began { producer_id, first } => {
            transactions.began(producer_id, first);
            Ok(())
        }
        Step::Ended(completed) => {
            let last_stable = transactions.ended(&completed);
            let Completed { producer_id, first, last, outcome } = completed;
            match outcome {
                Outcome::Abort => indexes.append(dir, base, AbortedEntry { producer_id, first, last, last_stable }),
                Outcome::Commit => Ok(()),
            }
        }
    }
}

/// The offset behind what a slice holds, or a little beyond.
fn end_of(slice: &FileSlice) -> Result<Offset, LogError> {
    let (segment, end) = (&slice.segment, slice.position + slice.len as u64);
    let start = segment.position_before_end(segment.size().saturating_sub(end))?;
    let at = Cell::new(start);
    let behind = segment.find(start, |header| at.replace(at.get() + header.len as u64) >= end)?;
    Ok(behind.map_or_else(|| segment.next_offset(), |found| found.header.base_offset))
}

#[cfg(test)]
mod tests;
