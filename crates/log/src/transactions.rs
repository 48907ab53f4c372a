//! Which transactions are open, and up to where a reader of committed records may go.
//!
//! Picture: a transaction begins with the first transactional batch of its producer and ends with a marker. As long as
//! one is open, nobody knows whether its records count, so a reader of committed records stops before it: at the *last
//! stable offset*. A marker that is not committed itself may be cut off again; its transaction counts as open until the
//! high watermark has passed the marker.
//!
//! Invariants: T1 the last stable offset is at most the high watermark and never goes back while the log only grows.
//! T2 a log without transactions pays one load for it. Not here: the producers whose transactions these are
//! (`producers`), what was aborted (`txn_index`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use twinstream_model::{Offset, ProducerId};
use twinstream_protocol::batch::{BatchError, BatchView};

/// A control batch holds one record; nobody needs more than this for it.
const MARKER_BYTES_MAX: usize = 64 * 1024;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// An aborted transaction, as a Fetch answer tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Abort,
    Commit,
}

/// What the record of a control batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) outcome: Outcome,
    pub(crate) coordinator_epoch: i32,
}

impl Marker {
    /// The marker of the bytes of a control batch.
    pub(crate) fn in_batch(bytes: &[u8]) -> Result<Option<Marker>, BatchError> {
        let batch = BatchView::parse(bytes)?;
        batch.check_crc()?;
        Marker::of(&batch)
    }

    /// The marker of a control batch; `None` if compaction has emptied the batch, or if it is of another kind.
    pub(crate) fn of(batch: &BatchView<'_>) -> Result<Option<Marker>, BatchError> {
        let records = batch.records(MARKER_BYTES_MAX)?;
        let Some(record) = records.iter().next() else { return Ok(None) };
        let record = record?;
        let outcome = match record.key.and_then(|key| key.get(2..4)) {
            Some(kind) if kind == ABORT.to_be_bytes() => Outcome::Abort,
            Some(kind) if kind == COMMIT.to_be_bytes() => Outcome::Commit,
            _ => return Ok(None),
        };
        let epoch = record.value.and_then(|value| value.get(2..6)?.try_into().ok());
        Ok(Some(Marker { outcome, coordinator_epoch: epoch.map_or(-1, i32::from_be_bytes) }))
    }
}

/// A transaction that has its marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) producer_id: ProducerId,
    pub(crate) first: Offset,
    /// Of the marker.
    pub(crate) last: Offset,
    pub(crate) outcome: Outcome,
}

/// What a batch did to its producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Began { producer_id: ProducerId, first: Offset },
    Ended(Completed),
}

const NONE_OPEN: i64 = i64::MAX;

/// The transactions of a log whose end is not certain.
#[derive(Debug)]
pub(crate) struct Transactions {
    /// The first offset of all that are below, or [`NONE_OPEN`].
    first: AtomicI64,
    undecided: Mutex<Undecided>,
}

#[derive(Clone, Debug, Default)]
struct Undecided {
    /// By first offset.
    open: BTreeMap<Offset, ProducerId>,
    /// Ended by a marker that is perhaps not committed: first offset and the marker's.
    ended: BTreeMap<Offset, Offset>,
}

impl Default for Transactions {
    fn default() -> Transactions {
        Transactions { first: AtomicI64::new(NONE_OPEN), undecided: Mutex::default() }
    }
}

impl Transactions {
    /// Up to where records are committed and their transactions decided.
    pub(crate) fn last_stable(&self, high_watermark: Offset) -> Offset {
        // The high watermark was read first, so a transaction that begins below it has been seen.
        if self.first.load(Ordering::Acquire) >= high_watermark.0 {
            return high_watermark;
        }
        let mut undecided = self.undecided.lock();
        undecided.ended.retain(|_, marker| *marker >= high_watermark);
        self.announce(&undecided).min(high_watermark)
    }

    pub(crate) fn began(&self, producer_id: ProducerId, first: Offset) {
        let mut undecided = self.undecided.lock();
        undecided.open.insert(first, producer_id);
        self.announce(&undecided);
    }

    /// Takes note of a marker; returns where the first transaction begins that is still open, or the offset behind the
    /// marker: what the index of aborted transactions stores as their last stable offset.
    pub(crate) fn ended(&self, completed: &Completed) -> Offset {
        let mut undecided = self.undecided.lock();
        undecided.open.remove(&completed.first);
        undecided.ended.insert(completed.first, completed.last);
        self.announce(&undecided);
        undecided.open.keys().next().copied().unwrap_or(completed.last.next())
    }

    /// A transaction that was taken for open has ended long ago.
    pub(crate) fn settled(&self, first: Offset) {
        let mut undecided = self.undecided.lock();
        undecided.open.remove(&first);
        self.announce(&undecided);
    }

    /// Has what another log with the same records has.
    pub(crate) fn take_over(&self, other: &Transactions) {
        let theirs = other.undecided.lock().clone();
        let mut undecided = self.undecided.lock();
        *undecided = theirs;
        self.announce(&undecided);
    }

    /// Begins anew with what is open.
    pub(crate) fn reset(&self, open: impl IntoIterator<Item = (Offset, ProducerId)>) {
        let mut undecided = self.undecided.lock();
        *undecided = Undecided { open: open.into_iter().collect(), ended: BTreeMap::new() };
        self.announce(&undecided);
    }

    fn announce(&self, undecided: &Undecided) -> Offset {
        let first = [undecided.open.keys().next(), undecided.ended.keys().next()];
        let first = first.into_iter().flatten().min().copied().unwrap_or(Offset(NONE_OPEN));
        self.first.store(first.0, Ordering::Release);
        first
    }
}

#[cfg(test)]
mod tests;
