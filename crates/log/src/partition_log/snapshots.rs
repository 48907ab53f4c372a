//! When producer snapshots are written, which are kept, and how the state of producers is had back, and with it that of transactions.
//!
//! Picture: the state is a function of the log, so a snapshot only saves reading: the state is the newest snapshot plus
//! the headers behind it. Kafka writes one where a segment begins. With segments of 1 GiB that is far back when a process
//! is killed or a follower cuts its log, so there are some in between as well: a flush writes one when [`DISTANCE_BYTES`]
//! came since the last, off the path of producers, and an append does where nobody flushes for long. The last
//! [`BETWEEN_MAX`] of these stay.
//!
//! Invariants: a snapshot file tells of the records below the offset of its name, all of which are in this log. So those
//! above a new log end are removed with the records.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use twinstream_model::Offset;

use super::isolation::Followed;
use crate::LogError;
use crate::files::{self, SNAPSHOT};
use crate::producers::Producers;
use crate::segment::Segment;
use crate::transactions::Transactions;
use crate::txn_index::TxnIndexes;

/// Bytes of log behind the newest snapshot with which a flush writes another.
const DISTANCE_BYTES: u64 = 16 << 20;
/// Bytes of log behind the newest snapshot with which an append does, so also what a start reads the headers of, at most.
/// Making and removing a file waits for the file system's journal, behind whatever is flushed.
const DISTANCE_BYTES_MAX: u64 = 64 << 20;
/// Snapshots that are kept beside those of segments: a cut that takes the newest leaves another.
const BETWEEN_MAX: usize = 2;
/// Bytes before the end of the log in which older batches of known producers are looked up again.
const WINDOW_BYTES: u64 = 1 << 20;

/// The snapshots of a log that do not stand where a segment begins.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    between: Vec<Offset>,
    /// Where the newest segment that this process made begins; 0 if it made none.
    rolled_at: Offset,
    /// Bytes of log behind the newest snapshot.
    bytes_since: u64,
}

/// The state of producers at the end of a log.
pub(super) struct Restored {
    pub(super) producers: Producers,
    pub(super) snapshots: Snapshots,
    /// Snapshot files went away.
    pub(super) removed: bool,
}

impl Snapshots {
    /// Bytes were appended; writes a snapshot at `end` if no flush has for long.
    pub(super) fn appended(&mut self, bytes: u64, producers: &Producers, dir: &Path, end: Offset) {
        self.bytes_since += bytes;
        if self.bytes_since >= DISTANCE_BYTES_MAX {
            self.bytes_since = 0;
            if save(producers, dir, end) {
                remove(dir, &self.saved(end));
            }
        }
    }

    /// A flush begins: whether it is to write a snapshot of this moment.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.bytes_since >= DISTANCE_BYTES;
        if is_due {
            self.bytes_since = 0;
        }
        is_due
    }

    /// There is a snapshot at `end`; the caller removes those that are returned.
    #[must_use]
    pub(super) fn saved(&mut self, end: Offset) -> Vec<Offset> {
        match end.cmp(&self.rolled_at) {
            Ordering::Less => return vec![end],   // a segment began while it was written
            Ordering::Equal => return Vec::new(), // it is that segment's own
            Ordering::Greater => self.between.push(end),
        }
        self.between.sort_unstable();
        self.between.drain(..self.between.len().saturating_sub(BETWEEN_MAX)).collect()
    }

    /// A segment begins at `base`: writes its snapshot, which makes those in between superfluous.
    pub(super) fn rolled(&mut self, producers: &Producers, dir: &Path, base: Offset) -> Result<(), LogError> {
        producers.save(&files::offset_file(dir, base, SNAPSHOT))?;
        self.bytes_since = 0;
        self.rolled_at = base;
        let old = std::mem::take(&mut self.between);
        old.iter().filter(|at| **at != base).try_for_each(|at| files::remove(&files::offset_file(dir, *at, SNAPSHOT)))
    }
}

/// Writes a snapshot between segments; whether that worked. A failure costs the next start some reading.
#[must_use]
pub(super) fn save(producers: &Producers, dir: &Path, end: Offset) -> bool {
    let saved = producers.save(&files::offset_file(dir, end, SNAPSHOT));
    if let Err(error) = &saved {
        tracing::warn!(error = %error.chain(), "cannot write a producer snapshot");
    }
    saved.is_ok()
}

/// Removes snapshots between segments.
pub(super) fn remove(dir: &Path, offsets: &[Offset]) {
    for offset in offsets {
        if let Err(error) = files::remove(&files::offset_file(dir, *offset, SNAPSHOT)) {
            tracing::warn!(error = %error.chain(), "cannot remove a producer snapshot");
        }
    }
}

/// Removes all snapshots.
pub(super) fn remove_all(dir: &Path) -> Result<(), LogError> {
    list(dir)?.iter().try_for_each(|offset| files::remove(&files::offset_file(dir, *offset, SNAPSHOT)))
}

pub(super) fn list(dir: &Path) -> Result<Vec<Offset>, LogError> {
    let mut offsets = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let entry = entry.map_err(LogError::io("list", dir))?;
        if let Some((offset, SNAPSHOT)) = entry.file_name().to_str().and_then(files::parse_offset_file) {
            offsets.push(offset);
        }
    }
    offsets.sort();
    Ok(offsets)
}

/// The state of producers at the end of a log, and with it its transactions.
pub(super) struct Restoring<'a> {
    pub(super) dir: &'a Path,
    pub(super) segments: &'a [Arc<Segment>],
    pub(super) start: Offset,
    pub(super) end: Offset,
    /// From here on the indexes of aborted transactions may lack entries.
    pub(super) rebuild_from: Offset,
    pub(super) transactions: &'a Transactions,
    pub(super) indexes: &'a mut TxnIndexes,
}

impl Restoring<'_> {
    /// Replays what lies behind the newest of the snapshots with these offsets.
    pub(super) fn restore(self, mut snapshots: Vec<Offset>) -> Result<Restored, LogError> {
        let Restoring { dir, segments, start, end, rebuild_from, transactions, indexes } = self;
        let count = snapshots.len();
        let last = if rebuild_from < end { newest(dir, &mut snapshots, end, end)? } else { None };
        let first = newest(dir, &mut snapshots, end, end.min(rebuild_from))?;
        let mut removed = snapshots.len() < count;
        let (mut producers, from) = first.unwrap_or_else(|| (Producers::default(), start));
        let is_partial = producers.len() > 0;
        transactions.reset(producers.open_transactions());
        let mut followed = Followed { producers: &mut producers, transactions, indexes };
        let mut bytes_since = 0;
        for segment in segments.iter().filter(|segment| segment.next_offset() > from) {
            let position =
                segment.around_damage(|| segment.locate(from))?.map_or(segment.size(), |found| found.position);
            bytes_since += segment.size() - position;
            followed.replay(dir, segment, position, from)?;
        }
        // Compaction may have taken a marker that an older snapshot still waits for.
        if let Some((known, at)) = last.filter(|(_, at)| *at > from) {
            producers.settle(&known, at).into_iter().for_each(|first| transactions.settled(first));
        }
        if is_partial {
            widen(&mut producers, segments)?;
        }
        let mut between: Vec<Offset> =
            snapshots.into_iter().filter(|offset| segments.iter().all(|segment| segment.base() != *offset)).collect();
        for surplus in between.drain(..between.len().saturating_sub(BETWEEN_MAX)) {
            files::remove(&files::offset_file(dir, surplus, SNAPSHOT))?;
            removed = true;
        }
        Ok(Restored { producers, snapshots: Snapshots { between, bytes_since, ..Snapshots::default() }, removed })
    }
}

/// The newest readable snapshot up to `upper`. Those behind `end` and unfit ones are removed, from the list, too.
fn newest(
    dir: &Path,
    offsets: &mut Vec<Offset>,
    end: Offset,
    upper: Offset,
) -> Result<Option<(Producers, Offset)>, LogError> {
    while let Some(behind) = offsets.pop_if(|offset| *offset > end) {
        files::remove(&files::offset_file(dir, behind, SNAPSHOT))?;
    }
    for at in (0..offsets.partition_point(|offset| *offset <= upper)).rev() {
        let path = files::offset_file(dir, offsets[at], SNAPSHOT);
        match Producers::load(&path) {
            Ok(producers) => return Ok(Some((producers, offsets[at]))),
            Err(LogError::Damaged { path, what }) => {
                tracing::warn!(path = %path.display(), what, "passing over a damaged producer snapshot");
            }
            Err(error) => return Err(error),
        }
        files::remove(&path)?;
        offsets.remove(at);
    }
    Ok(None)
}

/// A snapshot keeps one batch of each producer; batches in flight may be up to five. The others are near the end of the
/// log if they matter.
fn widen(producers: &mut Producers, segments: &[Arc<Segment>]) -> Result<(), LogError> {
    let mut left = WINDOW_BYTES;
    let mut stretches = Vec::new();
    for segment in segments.iter().rev() {
        stretches.push((segment, segment.around_damage(|| segment.position_before_end(left))?));
        left = left.saturating_sub(segment.size());
        if left == 0 {
            break;
        }
    }
    let mut window = Producers::default();
    for (segment, position) in stretches.into_iter().rev() {
        segment.for_each_header(position, |_, header| {
            window.replay(header, None); // batches are looked for, markers have none
        })?;
    }
    producers.widen(window);
    Ok(())
}

#[cfg(test)]
mod tests;
