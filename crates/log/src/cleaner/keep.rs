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

use std::collections::HashMap;

use thiserror::Error;
use twinstream_model::{Offset, ProducerId};
use twinstream_protocol::batch::{
    BatchBuilder, BatchError, BatchHeader, BatchView, BuildError, ProducerStamp, Record, Records,
};
use twinstream_protocol::compression::{Compression, CompressionSpec};

use super::offset_map::OffsetMap;
use super::transactions::CleanedTransactions;
use crate::producers::LastRecord;
use crate::transactions::Marker;

/// What the decision hangs on besides the batch.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) map: &'a OffsetMap,
    pub(super) producers: &'a HashMap<ProducerId, LastRecord>,
    pub(super) now: i64,
    pub(super) delete_retention_ms: i64,
    /// What a batch may unpack to.
    pub(super) unpacked_max: usize,
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
    Build(#[from] BuildError),
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
                let records = batch.records(self.unpacked_max)?;
                let all = records.iter().collect::<Result<Vec<_>, _>>()?;
                let stays = all.len() as u64;
                (Kept::Rewritten(rewrite(&header, &all, Some(self.new_horizon()))?), stays)
            }
            _ => (Kept::AsItIs, u64::from(header.record_count.unsigned_abs())),
        })
    }

    fn judge_records(&self, batch: &BatchView<'_>, counts: &mut Counts) -> Result<(Kept, u64), JudgeError> {
        let header = batch.header();
        let records: Records<'_> = batch.records(self.unpacked_max)?;
        let mut stay: Vec<Record<'_>> = Vec::new();
        let mut all = 0usize;
        for record in &records {
            let record = record?;
            all += 1;
            counts.without_key += u64::from(record.key.is_none());
            if self.stays(&header, &record) {
                stay.push(record);
            }
        }
        if stay.is_empty() {
            return Ok((Kept::Nothing, 0));
        }
        // A cleaning that ends inside of a batch has not reached the tombstones behind: their time would run before the
        // older records of their keys are gone, and a reader could miss them (in Kafka he can).
        let is_reached = self.map.latest().is_some_and(|latest| header.last_offset() <= latest);
        let has_tombstone = stay.iter().any(|record| record.value.is_none());
        let needs_horizon = is_reached && has_tombstone && header.delete_horizon().is_none();
        let stays = stay.len() as u64;
        if stay.len() == all && !needs_horizon {
            return Ok((Kept::AsItIs, stays));
        }
        let horizon = header.delete_horizon().or(needs_horizon.then(|| self.new_horizon()));
        Ok((Kept::Rewritten(rewrite(&header, &stay, horizon)?), stays))
    }

    fn stays(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        if self.map.latest().is_none_or(|latest| record.offset > latest) {
            return true;
        }
        let Some(key) = record.key else { return false };
        let is_newest = self.map.get(key).is_none_or(|newest| record.offset >= newest);
        let may_go = record.value.is_none() && header.delete_horizon().is_some_and(|horizon| horizon <= self.now);
        is_newest && !may_go
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

/// The batch with these of its records only, and with a delete horizon.
fn rewrite(header: &BatchHeader, records: &[Record<'_>], horizon: Option<i64>) -> Result<Vec<u8>, JudgeError> {
    let codec = header.attributes.compression().unwrap_or(Compression::None);
    let mut builder = BatchBuilder::new()
        .with_base_offset(header.base_offset)
        .with_leader_epoch(header.leader_epoch)
        .with_compression(CompressionSpec { codec, level: None });
    if header.is_idempotent() {
        let (id, epoch, base_sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
        builder = builder.with_producer(ProducerStamp { id, epoch, base_sequence });
    }
    if header.attributes.is_transactional() {
        builder = builder.with_transactional();
    }
    if header.attributes.is_control() {
        builder = builder.with_control();
    }
    if header.attributes.is_log_append_time() {
        builder = builder.with_log_append_time(header.max_timestamp);
    }
    if let Some(horizon) = horizon {
        builder = builder.with_delete_horizon(horizon);
    }
    let mut due = header.base_offset;
    for record in records {
        if record.offset < due || record.offset > header.last_offset() {
            return Err(JudgeError::Disorder(record.offset));
        }
        due = record.offset.next();
        let delta = (record.offset.0 - header.base_offset.0) as i32;
        let headers = record.headers.iter().map(|header| (header.key, header.value));
        builder.append_at_delta(delta, record.timestamp, record.key, record.value, headers);
    }
    builder.end_at_delta(header.last_offset_delta);
    Ok(builder.build()?)
}

#[cfg(test)]
pub(super) mod tests;
