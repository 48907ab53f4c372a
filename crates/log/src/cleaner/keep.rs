//! What stays of a batch: nothing, all of it as it is, or less than there was.
//!
//! The rules, for each record and then for what is left of its batch:
//! - A record stays if it is the newest of its key, or lies behind what the map covers.
//! - A tombstone that is the newest of its key stays until its delete horizon. The first cleaning that meets it sets the
//!   horizon of its batch to `delete.retention.ms` from then, so that a consumer that began before has that long to read
//!   it (KIP-534). Markers of transactions of which nothing is left have a horizon, too.
//! - Records of aborted transactions go at once.
//! - A batch of which nothing is left goes, unless it holds what its producer wrote last or is the last of the cleaning:
//!   then its header stays, for the sequences and for the log's offsets.
//!
//! Offsets, timestamps, codec, producer and epoch of what stays are as before.
//!
//! Memory does not follow what a batch unpacks to, which is its producer's choice: a first walk over the records notes
//! which stay, one bit for each, and a second one packs them anew on the way, where that is needed.

mod choice; // which records stay

use std::collections::HashMap;

use thiserror::Error;
use twinstream_model::{Offset, ProducerId};
use twinstream_protocol::batch::{BatchError, BatchHeader, BatchView, Excerpt, RepackError};

use super::offset_map::{KeyHash, OffsetMap};
use super::transactions::CleanedTransactions;
use crate::producers::LastRecord;
use crate::transactions::Marker;
use choice::Choice;

/// A batch that lost records may be larger than before: it is packed by its codec's default level, its producer may have
/// used a higher one. One that grows by more than this factor cannot be compacted.
const PACKED_GROWTH_MAX: usize = 4;

/// What the decision hangs on besides the batch.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) map: &'a OffsetMap,
    pub(super) producers: &'a HashMap<ProducerId, LastRecord>,
    pub(super) now: i64,
    pub(super) delete_retention_ms: i64,
    /// What a batch may unpack to. Bounds the time that it takes, not memory.
    pub(super) unpacked_max: usize,
    /// What is written at once. A batch may grow up to here in any case.
    pub(super) io_bytes: usize,
}

/// What stays of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    AsItIs,
    Rewritten(Vec<u8>),
}

/// A batch that cannot be judged.
#[derive(Debug, Error)]
pub(super) enum JudgeError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("records cannot be packed again: {0}")]
    Repack(#[from] RepackError),
    #[error("offset {0} of a record is not in its place")]
    Disorder(Offset),
}

/// Records that were looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) before: u64,
    pub(super) after: u64,
    pub(super) without_key: u64,
}

impl Rules<'_> {
    /// Decides about the next batch of the log; `is_last` says that the cleaning ends with it.
    pub(super) fn judge(
        &self,
        batch: &BatchView<'_>,
        is_last: bool,
        transactions: &mut CleanedTransactions,
        counts: &mut Counts,
    ) -> Result<Kept, JudgeError> {
        let header = batch.header();
        counts.before += u64::from(header.record_count.unsigned_abs());
        let keeps_header = is_last || self.is_last_of_producer(&header);
        let (kept, stays) = match header.attributes.is_control() {
            true => self.judge_marker(batch, transactions)?,
            false if transactions.is_aborted(&header) => (Kept::Nothing, 0),
            false => self.judge_records(batch, counts)?,
        };
        counts.after += stays;
        Ok(match kept {
            Kept::Nothing if keeps_header && header.record_count == 0 => Kept::AsItIs,
            Kept::Nothing if keeps_header => Kept::Rewritten(batch.emptied()),
            kept => kept,
        })
    }

    /// A marker that is needless gets a horizon first and goes when that has passed.
    fn judge_marker(
        &self,
        batch: &BatchView<'_>,
        transactions: &mut CleanedTransactions,
    ) -> Result<(Kept, u64), JudgeError> {
        let header = batch.header();
        let is_needless = transactions.is_needless(&header, Marker::of(batch)?);
        Ok(match (is_needless, header.delete_horizon()) {
            _ if header.record_count == 0 => (Kept::Nothing, 0),
            (true, Some(horizon)) if horizon <= self.now => (Kept::Nothing, 0),
            (true, None) => {
                let all = self.excerpt(batch, &|_| true, Some(self.new_horizon()))?;
                (Kept::Rewritten(all), u64::from(header.record_count.unsigned_abs()))
            }
            _ => (Kept::AsItIs, u64::from(header.record_count.unsigned_abs())),
        })
    }

    fn judge_records(&self, batch: &BatchView<'_>, counts: &mut Counts) -> Result<(Kept, u64), JudgeError> {
        let header = batch.header();
        let mut choice = Choice::new(self, &header);
        batch.walk(self.unpacked_max, &mut choice)?;
        let chosen = choice.made();
        counts.without_key += chosen.without_key;
        if chosen.stays == 0 {
            return Ok((Kept::Nothing, 0));
        }
        // A cleaning that ends inside of a batch has not reached the tombstones behind: their time would run before the
        // older records of their keys are gone, and a reader could miss them (in Kafka he can).
        let is_reached = self.map.latest().is_some_and(|latest| header.last_offset() <= latest);
        let needs_horizon = is_reached && chosen.has_tombstone && header.delete_horizon().is_none();
        if chosen.stays == chosen.records && !needs_horizon {
            return Ok((Kept::AsItIs, chosen.stays));
        }
        if let Some(offset) = chosen.out_of_place {
            return Err(JudgeError::Disorder(offset));
        }
        let horizon = header.delete_horizon().or(needs_horizon.then(|| self.new_horizon()));
        let left = self.excerpt(batch, &|index| chosen.has(index), horizon)?;
        Ok((Kept::Rewritten(left), chosen.stays))
    }

    /// Whether a record stays, by its key and whether it is a tombstone.
    fn stays(&self, header: &BatchHeader, offset: Offset, key: Option<KeyHash>, is_tombstone: bool) -> bool {
        if self.map.latest().is_none_or(|latest| offset > latest) {
            return true;
        }
        let Some(key) = key else { return false };
        let is_newest = self.map.get(key).is_none_or(|newest| offset >= newest);
        let may_go = is_tombstone && header.delete_horizon().is_some_and(|horizon| horizon <= self.now);
        is_newest && !may_go
    }

    /// The batch with some of its records only, and with a delete horizon.
    fn excerpt(
        &self,
        batch: &BatchView<'_>,
        stays: &dyn Fn(usize) -> bool,
        horizon: Option<i64>,
    ) -> Result<Vec<u8>, JudgeError> {
        let len_max = batch.len().max(self.io_bytes).saturating_mul(PACKED_GROWTH_MAX);
        let wanted = Excerpt { stays, horizon, unpacked_max: self.unpacked_max, len_max };
        Ok(batch.excerpt(&wanted)?)
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        self.producers.get(&header.producer_id).is_some_and(|known| match known.last_data {
            Some(last) => header.last_offset() == last,
            None => header.attributes.is_control() && header.producer_epoch == known.epoch,
        })
    }

    fn new_horizon(&self) -> i64 {
        self.now.saturating_add(self.delete_retention_ms)
    }
}

#[cfg(test)]
pub(super) mod tests;
