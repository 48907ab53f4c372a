//! What the leader of a mirror asks of its log: batches of another cluster's log, at the offsets that they have there.
//!
//! Picture: the log is a follower of a leader in another cluster, with a link between them that may bring batches twice, late
//! or not at all. What an offset holds is decided by the source alone, so what is here already is not looked at again, and what
//! goes beyond the log end is appended from there on.
//!
//! Invariants: an append never leaves a hole: what lies between the log end and the first batch is gone at the source, too. The
//! log end is the position up to which everything of the source is here. Epochs are the source's; the local leader's is never below.
//! Once promoted, what transactions of the source left open is aborted, and nothing is cut.
//!
//! Not here: which topic is a mirror, and of what; raising epochs; following the source's log start, which is as for any leader
//! ([`PartitionLog::follow_log_start`]).

use std::ops::Range;

use twinstream_model::{LeaderEpoch, Offset, ProducerId};
use twinstream_protocol::batch::BatchView;
use twinstream_protocol::marker::EndMarker;

use super::PartitionLog;
use super::follow::follow;
use crate::producers::ActiveProducer;
use crate::{AppendError, LogError, MarkerEpoch, Origin, Truncated};

/// Bytes that are checked and written in about two milliseconds.
const SHORT_BYTES_MAX: usize = 4 << 20;
/// Of a producer whose transaction no coordinator has ended before.
const NO_COORDINATOR_EPOCH: i32 = -1;

/// Where mirrored batches come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirroredFrom {
    /// Where the bytes go on.
    pub from: Offset,
    /// What lies below is gone at the source.
    pub source_start: Offset,
    /// Of the source's leader: no batch has a newer one.
    pub source_epoch: LeaderEpoch,
    /// Of the source's record before `from`; [`LeaderEpoch::NONE`] where that is not known.
    pub last_epoch: LeaderEpoch,
}

/// What became of mirrored batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirrored {
    pub log_end: Offset,
    /// Behind the last of the batches that were given; the log end if none were.
    pub end: Offset,
    pub bytes: usize,
    /// Offsets that the appended batches cover.
    pub records: i64,
}

/// What became of transactions that their cluster cannot end any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aborted {
    pub transactions: usize,
    /// Transactions whose marker was refused; they stay open.
    pub refused: usize,
}

impl PartitionLog {
    /// Appends whole batches of another cluster's log as they are, with what is here already left out. Nothing is appended
    /// if a batch is damaged or does not fit, if it would leave a hole, or if the source is led in a newer epoch than `leader_epoch`.
    pub fn append_mirrored(
        &self,
        records: &[u8],
        source: &MirroredFrom,
        leader_epoch: LeaderEpoch,
        now: i64,
    ) -> Result<Mirrored, AppendError> {
        let given = follow(records, source.source_epoch)?;
        let config = self.config.load();
        let mut writer = self.writer.lock();
        self.check_usable()?;
        let before = self.log_end_offset();
        if source.from > before.max(source.source_start) {
            return Err(AppendError::Beyond { from: source.from, end: before });
        }
        self.check_fork(source)?;
        let known = given.partition_point(|batch| batch.header().next_offset() <= before);
        let (known, fresh) = given.split_at(known);
        known.iter().try_for_each(|batch| self.check_known(batch))?;
        // Also without records: whoever is promoted must be above all that its source has led in.
        if source.source_epoch > leader_epoch {
            return Err(AppendError::EpochAhead { theirs: source.source_epoch, ours: leader_epoch });
        }
        let (appended, flush) = self.append_followed(&mut writer, fresh, &config, now)?;
        drop(writer);
        self.count_followed(&appended);
        if flush {
            self.flush(now)?;
        }
        let log_end = self.log_end_offset();
        let end = given.last().map_or(log_end, |batch| batch.header().next_offset());
        Ok(Mirrored { log_end, end, bytes: appended.bytes, records: appended.records })
    }

    /// Cuts a mirror at `from`, because its source parts from it there: what it has beyond is not the source's. Goes below the
    /// high watermark as well. `next_epoch` is that of the source's first record at or behind `from`, or of its leader: unless it is
    /// newer than all that is cut, other replicas could not see by epochs that they have to cut, too, and nothing is done.
    ///
    /// The caller lets nobody append meanwhile.
    pub fn cut_mirrored(&self, from: Offset, next_epoch: LeaderEpoch) -> Result<Truncated, AppendError> {
        let (end, last) = (self.log_end_offset(), self.last_epoch());
        if from < end && next_epoch <= last {
            return Err(AppendError::InvalidBatch(format!(
                "the source goes on at offset {from} with epoch {next_epoch}, and its mirror has records of epoch {last} there: replicas cannot tell the two apart; delete the mirror and make it anew"
            )));
        }
        Ok(self.truncate_to(from.min(end))?)
    }

    /// The record before `from` has the epoch that it has at the source.
    fn check_fork(&self, source: &MirroredFrom) -> Result<(), AppendError> {
        let (from, theirs) = (source.from, source.last_epoch);
        if theirs == LeaderEpoch::NONE || from > self.log_end_offset() || from <= self.log_start_offset() {
            return Ok(());
        }
        let before = Offset(from.0 - 1);
        match self.epoch_at(before) {
            ours if ours == LeaderEpoch::NONE || ours == theirs => Ok(()),
            ours => Err(AppendError::InvalidBatch(format!(
                "the source has epoch {theirs} at offset {before}, its mirror has epoch {ours}; they have parted before"
            ))),
        }
    }

    /// Whether [`PartitionLog::append_mirrored`] and what follows may take longer than a step of a runtime should.
    pub fn mirroring_takes_long(&self, records: &[u8], source: &MirroredFrom) -> bool {
        records.len() > SHORT_BYTES_MAX
            || self.config.load().flush_messages < i64::MAX
            || source.source_start > self.log_start_offset()
    }

    /// What is here already has the epoch that it has at the source, unless that was cut and went on with something else.
    fn check_known(&self, batch: &BatchView<'_>) -> Result<(), AppendError> {
        let header = batch.header();
        let (theirs, ours) = (header.leader_epoch, self.epoch_at(header.base_offset));
        if ours == LeaderEpoch::NONE || ours == theirs {
            return Ok(());
        }
        let base = header.base_offset;
        let what =
            format!("the source has epoch {theirs} at offset {base}, its mirror has epoch {ours}; the source was cut");
        Err(AppendError::InvalidBatch(what))
    }

    /// Aborts, with markers of `epoch`, every transaction that began in one of these epochs and is open: their coordinator is in
    /// another cluster. Whoever leads does so before it appends anything else.
    pub fn abort_foreign(
        &self,
        foreign: Range<LeaderEpoch>,
        epoch: LeaderEpoch,
        now: i64,
    ) -> Result<Aborted, LogError> {
        let mut aborted = Aborted::default();
        // What began before the log does has no epoch of its own any more; it is not newer than the first record that is left.
        let epoch_of = |first: Offset| self.epoch_at(first.max(self.log_start_offset()));
        let is_foreign =
            |producer: &ActiveProducer| producer.open_since.is_some_and(|first| foreign.contains(&epoch_of(first)));
        for producer in self.active_producers().into_iter().filter(is_foreign) {
            match self.abort(&producer, epoch, now) {
                Ok(()) => aborted.transactions += 1,
                Err(AppendError::Storage(error)) => return Err(error),
                Err(error) => {
                    tracing::error!(partition = %self.partition, producer = producer.id.0, %error, "transaction that came over a link is not aborted, readers of committed records wait there");
                    aborted.refused += 1;
                }
            }
        }
        Ok(aborted)
    }

    /// Lets a producer go on at any sequence that wrote nothing since epoch `before` and has no transaction open: what came after
    /// its last batch was cut, or never came over the link, and never will. Whether it was forgotten.
    pub fn forget_older(&self, id: ProducerId, before: LeaderEpoch) -> bool {
        let mut writer = self.writer.lock();
        let Some(last) = writer.producers.last_at_rest(id) else { return false };
        let is_older = self.epoch_at(last.max(self.log_start_offset())) < before;
        if is_older {
            writer.producers.forget(id);
        }
        is_older
    }

    fn abort(&self, producer: &ActiveProducer, epoch: LeaderEpoch, now: i64) -> Result<(), AppendError> {
        let marker = EndMarker {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            commit: false,
            coordinator_epoch: match producer.coordinator_epoch {
                NO_COORDINATOR_EPOCH => 0,
                known => known,
            },
        };
        let batch = marker.to_batch(now)?;
        self.append(&batch, Origin::Marker(MarkerEpoch::NotOlder), epoch, now).map(drop)
    }
}

#[cfg(test)]
mod tests;
