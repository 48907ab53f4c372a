//! What replication asks of a log: to take a leader's batches as they are, and to give way where a leader differs.
//!
//! Picture: a follower's log is a copy of bytes. Offsets, epochs, timestamps and codecs were settled by the leader, so
//! nothing is assigned, stamped or packed here; what is checked is that the bytes are whole and go where they say.
//! The follower keeps everything that it would need as a leader up to date on the way: the epochs (KIP-101) and the
//! producers, so that a retry of a batch that was replicated is recognised by whoever leads next.
//!
//! A cut is made at batch borders. The offset to cut at comes from a leader's history of epochs and so is a border in
//! every log that shares this history; should it fall into a batch all the same, the whole batch goes, because what
//! stays must be the leader's bytes. So does a hole as a whole: where a batch of it ends, nobody knows.
//!
//! A leader's log may begin within a batch, where DeleteRecords moved its start to. A copy of it has the whole batch,
//! too, and hides what comes before the start.
//!
//! Not here: when to cut and where (`twinstream-replication`).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use twinstream_model::{LeaderEpoch, Offset};
use twinstream_protocol::batch::{BatchHeader, BatchView, batches, whole_batches};

use super::compaction::NEVER_CLEANED;
use super::snapshots::{self, Snapshots};
use super::{PartitionLog, Writer};
use crate::files;
use crate::producers::Producers;
use crate::segment::Segment;
use crate::{AppendError, LogConfig, LogError};

/// What became of a leader's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerAppended {
    pub log_end: Offset,
    /// The epoch of the last record of the log.
    pub last_epoch: LeaderEpoch,
    pub bytes: usize,
    /// Offsets that the appended batches cover.
    pub records: i64,
}

/// What a cut did.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    pub log_end: Offset,
    /// Offsets that are gone.
    pub offsets: i64,
    /// The recovery point went back. Write its checkpoint before anything is appended: after a power loss a checkpoint
    /// that lies too high would spare unflushed records the check.
    pub recovery_point_moved: bool,
}

impl PartitionLog {
    /// Appends what a leader of epoch `leader_epoch` sent, as it is, in one write for each segment. A last batch that
    /// is cut off, as Fetch answers may have it, is left out. Nothing is appended if a batch is damaged, does not lie
    /// behind the log end, or has an epoch that is newer than the leader's or older than the record before it
    /// (KAFKA-18723). Gaps between batches are fine: compaction makes them.
    ///
    /// The high watermark stays; move it with [`PartitionLog::advance_high_watermark`] to what the leader says.
    pub fn append_as_follower(
        &self,
        records: &[u8],
        leader_epoch: LeaderEpoch,
        now: i64,
    ) -> Result<FollowerAppended, AppendError> {
        let followed = follow(whole_batches(records)?, leader_epoch)?;
        let config = self.config.load();
        let mut writer = self.writer.lock();
        self.check_usable()?;
        let (appended, flush) = self.append_followed(&mut writer, &followed, &config, now)?;
        drop(writer);
        self.count_followed(&appended);
        if flush {
            self.flush(now)?;
        }
        Ok(appended)
    }

    /// Appends batches that were checked among themselves; also whether it is time to flush.
    pub(super) fn append_followed(
        &self,
        writer: &mut Writer,
        followed: &[BatchView<'_>],
        config: &LogConfig,
        now: i64,
    ) -> Result<(FollowerAppended, bool), AppendError> {
        let Some((first, last)) = followed.first().zip(followed.last()) else {
            return Ok((self.followed(0, 0), false));
        };
        self.check_next(&first.header())?;
        let (base, end) = (first.base_offset(), last.header().next_offset());
        let bytes = followed.iter().map(BatchView::len).sum();
        self.check_room(bytes)?;
        let (mark, before) = (self.mark(), self.log_end_offset());
        let written = self.write_followed(writer, followed, config, now);
        written.map_err(|error| self.not_written(writer, mark, before, error))?;
        self.log_end.store(end.0, Ordering::Release);
        let count = end.0 - base.0;
        let flush = self.note_appended(writer, bytes, count, config);
        Ok((self.followed(bytes, count), flush))
    }

    pub(super) fn count_followed(&self, appended: &FollowerAppended) {
        let FollowerAppended { bytes, records, .. } = *appended;
        self.metrics.appended_bytes.inc_by(bytes as u64);
        self.metrics.appended_records.inc_by(records.unsigned_abs());
    }

    fn followed(&self, bytes: usize, records: i64) -> FollowerAppended {
        FollowerAppended { log_end: self.log_end_offset(), last_epoch: self.last_epoch(), bytes, records }
    }

    fn check_next(&self, first: &BatchHeader) -> Result<(), AppendError> {
        let (base, end) = (first.base_offset, self.log_end_offset());
        if base < end {
            return Err(AppendError::InvalidBatch(format!("batch at offset {base} lies before the log end {end}")));
        }
        let last = self.last_epoch();
        if first.leader_epoch < last {
            let what = format!("batch at offset {base} has epoch {}, after epoch {last}", first.leader_epoch);
            return Err(AppendError::InvalidBatch(what));
        }
        Ok(())
    }

    fn write_followed(
        &self,
        writer: &mut Writer,
        followed: &[BatchView<'_>],
        config: &LogConfig,
        now: i64,
    ) -> Result<(), LogError> {
        let mut rest = followed;
        while let Some(first) = rest.first() {
            let segment = self.segment_for(writer, &first.header(), config)?;
            let fit = segment.fitting(rest, config, self.jitter_ms(&segment, config));
            let (run, later) = rest.split_at(fit);
            let headers: Vec<BatchHeader> = run.iter().map(BatchView::header).collect();
            self.note_epochs(&headers)?;
            let pieces: Vec<(&[u8], &[u8])> = run.iter().map(|batch| (batch.bytes(), &[][..])).collect();
            segment.append(&pieces, &headers, config)?;
            for (batch, header) in run.iter().zip(&headers) {
                self.follow_producer(writer, &segment, header, || Cow::Borrowed(batch.bytes()))?;
                writer.producers.hear(header.producer_id, now);
            }
            rest = later;
        }
        Ok(())
    }

    fn note_epochs(&self, headers: &[BatchHeader]) -> Result<(), LogError> {
        let mut epochs = self.epochs.write();
        for header in headers {
            epochs.note(header.leader_epoch, header.base_offset);
        }
        epochs.save()
    }

    /// The epoch of the last record, [`LeaderEpoch::NONE`] if there is none. What a follower says of itself.
    pub fn last_epoch(&self) -> LeaderEpoch {
        let end = self.log_end_offset();
        match end > self.log_start_offset() {
            true => self.epoch_at(Offset(end.0 - 1)),
            false => LeaderEpoch::NONE,
        }
    }

    /// Notes that this broker leads from here on, before the first record of that epoch is there: whoever asks where
    /// an older epoch ended hears the present log end and not something that moves (KIP-101). Nothing is written: the
    /// first record of the epoch will tell, and a leadership without records leaves no trace.
    pub fn note_leadership(&self, epoch: LeaderEpoch) -> Result<(), LogError> {
        let _writer = self.writer.lock();
        self.check_usable()?;
        self.epochs.write().note(epoch, self.log_end_offset());
        Ok(())
    }

    /// Forgets epochs that were noted without records: who leads here from now on leaves no trace, and neither shall who led before.
    pub fn forget_leaderships(&self) -> Result<(), LogError> {
        let _writer = self.writer.lock();
        self.check_usable()?;
        self.cut_epochs(self.log_end_offset())
    }

    /// Lets the log begin at `start`, as the leader's does, at most at the high watermark. Returns where it begins.
    pub fn follow_log_start(&self, start: Offset, now: i64) -> Result<Offset, LogError> {
        self.check_usable()?;
        self.raise_log_start(start.min(self.high_watermark()), now)?;
        Ok(self.log_start_offset())
    }

    /// Cuts the log so that it ends at `end`, or at the border before it. Epochs and producers go back, too; a high
    /// watermark above the new end comes down to it. Epochs that were noted without records go in any case.
    pub fn truncate_to(&self, end: Offset) -> Result<Truncated, LogError> {
        self.check_usable()?;
        let _quiet = self.flushing.lock(); // a flush that is under way would set the recovery point too high
        let mut writer = self.writer.lock();
        let _cutting = self.cuts.begin();
        let before = (self.log_end_offset(), self.recovery_point());
        let cut = match end < before.0 {
            true => self.truncate_locked(&mut writer, end),
            false => self.cut_epochs(before.0),
        };
        cut.map_err(|error| self.poison(error))?;
        Ok(self.truncated(before))
    }

    fn truncated(&self, (end, recovery_point): (Offset, Offset)) -> Truncated {
        let log_end = self.log_end_offset();
        Truncated {
            log_end,
            offsets: (end.0 - log_end.0).max(0),
            recovery_point_moved: self.recovery_point() < recovery_point,
        }
    }

    pub(super) fn truncate_locked(&self, writer: &mut Writer, end: Offset) -> Result<(), LogError> {
        let config = self.config.load();
        let dir = self.dir.read().clone();
        let (mut kept, gone): (Vec<_>, Vec<_>) =
            self.segments.load().iter().cloned().partition(|segment| segment.base() < end);
        // From the end on, so that a process that is killed meanwhile leaves a log without a hole. What has the name of
        // the segment to begin is emptied by that.
        let replaced = kept.is_empty().then_some(end);
        for segment in gone.iter().rev().filter(|segment| Some(segment.base()) != replaced) {
            super::recovery::remove_paths(&segment.mark_deleted()?)?;
        }
        if kept.is_empty() {
            kept.push(Arc::new(Segment::create(&self.place, end, &config)?));
        }
        let active = &kept[kept.len() - 1];
        active.truncate_to(end, &config)?;
        let end = active.next_offset();
        if active.ends_in_hole() {
            active.seal()?;
            kept.push(Arc::new(Segment::create(&self.place, end, &config)?));
        }
        self.log_end.store(end.0, Ordering::Release);
        for bounded_by_end in [&self.high_watermark, &self.log_start, &self.recovery_point, &self.indexed_to] {
            bounded_by_end.fetch_min(end.0, Ordering::AcqRel);
        }
        self.segments.store(Arc::new(kept));
        self.cut_epochs(end)?;
        self.cleaned_to.fetch_min(end.0, Ordering::AcqRel);
        let mut restored = self.restore_producers(&dir, end)?;
        restored.producers.hear_as(&writer.producers);
        writer.producers = restored.producers;
        writer.snapshots = restored.snapshots;
        if restored.removed || !gone.is_empty() {
            files::sync_dir(&dir)?; // a file that comes back after a power loss would tell of another history
        }
        Ok(())
    }

    fn cut_epochs(&self, end: Offset) -> Result<(), LogError> {
        let mut epochs = self.epochs.write();
        epochs.truncate_end(end);
        epochs.save()
    }

    /// Where this log has to begin so that it can take `records`, if that is earlier than it does: it is empty, and
    /// DeleteRecords moved the start of the leader's log into the first batch, which comes as a whole all the same.
    /// [`PartitionLog::restart_at`] that offset first. `None` if the log need not be moved, or must not.
    pub fn begin_of(&self, records: &[u8]) -> Option<Offset> {
        let end = self.log_end_offset();
        if self.log_start_offset() != end {
            return None;
        }
        let first = batches(records).next()?.ok()?.header();
        let holds_the_end = first.base_offset < end && first.last_offset() >= end;
        (holds_the_end && first.base_offset >= Offset(0)).then_some(first.base_offset)
    }

    /// Drops all records and goes on, empty, at `start`: the leader has deleted all that this log has.
    pub fn restart_at(&self, start: Offset) -> Result<Truncated, LogError> {
        self.check_usable()?;
        let _quiet = self.flushing.lock();
        let mut writer = self.writer.lock();
        let _cutting = self.cuts.begin();
        let before = (self.log_end_offset(), self.recovery_point());
        self.restart_locked(&mut writer, start).map_err(|error| self.poison(error))?;
        Ok(self.truncated(before))
    }

    fn restart_locked(&self, writer: &mut Writer, start: Offset) -> Result<(), LogError> {
        let config = self.config.load();
        let dir = self.dir.read().clone();
        let gone = self.segments.load_full();
        // Readers that come now find nothing at all rather than half of it.
        for position in [&self.log_end, &self.log_start, &self.high_watermark, &self.recovery_point, &self.indexed_to] {
            position.store(start.0, Ordering::Release);
        }
        for segment in gone.iter() {
            super::recovery::remove_paths(&segment.mark_deleted()?)?;
        }
        snapshots::remove_all(&dir)?;
        let fresh = Segment::create(&self.place, start, &config)?;
        self.segments.store(Arc::new(vec![Arc::new(fresh)]));
        let mut epochs = self.epochs.write();
        epochs.clear();
        epochs.save()?;
        drop(epochs);
        self.cleaned_to.store(NEVER_CLEANED, Ordering::Release);
        self.transactions.reset([]);
        self.aborted.write().truncate(&dir, Offset(0))?;
        writer.producers = Producers::default();
        writer.snapshots = Snapshots::default();
        files::sync_dir(&dir)
    }
}

/// Checks what a leader sent: whole batches in ascending order.
pub(super) fn follow(records: &[u8], leader_epoch: LeaderEpoch) -> Result<Vec<BatchView<'_>>, AppendError> {
    let mut followed: Vec<BatchView<'_>> = Vec::new();
    for batch in batches(records) {
        let batch = batch?;
        batch.check_crc()?;
        check_followed(&batch.header(), followed.last().map(|before| before.header()), leader_epoch)?;
        followed.push(batch);
    }
    Ok(followed)
}

fn check_followed(
    header: &BatchHeader,
    before: Option<BatchHeader>,
    leader_epoch: LeaderEpoch,
) -> Result<(), AppendError> {
    let (base, epoch) = (header.base_offset, header.leader_epoch);
    let invalid = |text: String| Err(AppendError::InvalidBatch(text));
    if base < Offset(0) || header.last_offset_delta < 0 || header.last_offset().0 == i64::MAX {
        return invalid(format!("batch has offsets {base} to {}", header.last_offset()));
    }
    if epoch > leader_epoch {
        return invalid(format!("batch at offset {base} has epoch {epoch}, its leader has epoch {leader_epoch}"));
    }
    match before {
        Some(before) if base < before.next_offset() => {
            invalid(format!("batch at offset {base} follows one that ends at {}", before.last_offset()))
        }
        Some(before) if epoch < before.leader_epoch => {
            invalid(format!("batch at offset {base} has epoch {epoch}, after epoch {}", before.leader_epoch))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
