//! A log that is becoming the copy of another one of the same partition, in another directory, and then takes its place.
//!
//! Picture: the copy follows its source as a follower follows a leader, with bytes that are checked and with the rules of
//! epochs for what it has too much (KIP-101), but within one process: a step finds where the two agree, cuts the copy
//! there, and appends the next batches of the source. What only the source knows, since no record tells it any more, goes
//! over in one go at the end.
//!
//! Invariants: after a step the copy's records are a stretch of those that the source had at some moment of the step; the copy
//! may begin earlier, where the source lost its begin since, and end earlier. Nothing of two histories lies in it side by
//! side. [`PartitionLog::succeed`] is called while nobody appends to the source or cuts it. Not here: when to do a step, who
//! changes to the copy (broker).

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use thiserror::Error;
use twinstream_model::{LeaderEpoch, Offset};

use super::{PartitionLog, snapshots};
use crate::{AppendError, LogConfig, LogError, ReadError};

/// Why a copy does not go on.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The source cannot be read here.
    #[error("cannot read the log that is copied: {0}")]
    Source(#[from] ReadError),
    /// The copy cannot be written.
    #[error("cannot write the copy: {0}")]
    Copy(#[from] AppendError),
    /// The source cannot be marked as left.
    #[error("cannot mark the log that is left: {0}")]
    Mark(LogError),
}

impl From<LogError> for CopyError {
    fn from(error: LogError) -> Self {
        CopyError::Copy(AppendError::Storage(error))
    }
}

impl PartitionLog {
    /// Brings this log nearer to `source` by about `bytes_max`, one batch at least. Returns the bytes that came; none
    /// when there are no more, while the source is being cut, and sometimes when it was cut meanwhile.
    pub fn copy_from(&self, source: &PartitionLog, bytes_max: usize, now: i64) -> Result<u64, CopyError> {
        assert!(!std::ptr::eq(self, source), "a log is no copy of itself");
        self.set_config(LogConfig::clone(&source.config()));
        let Some(uncut) = source.cuts.seen() else { return Ok(0) };
        self.agree_with(source)?;
        let from = self.log_end_offset();
        let found = match source.read(from, bytes_max, true, source.log_end_offset()) {
            Err(ReadError::OutOfRange { .. }) => return Ok(0), // its start or end has just moved
            found => found?,
        };
        let Some(slice) = found.slice else {
            self.advance_high_watermark(source.high_watermark());
            return Ok(0);
        };
        let slice = source.make_ready(&slice, slice.len)?;
        let bytes = slice.read().map_err(|error| {
            let path = source.dir.read().clone();
            ReadError::Storage(LogError::io("read", &path)(error))
        })?;
        // Records of a later history behind those of an earlier one would look like one history.
        if !source.cuts.are(Some(uncut)) {
            return Ok(0);
        }
        if let Some(begin) = self.begin_of(&bytes) {
            let _cut = self.restart_at(begin)?;
        }
        let epoch = source.latest_epoch().unwrap_or(LeaderEpoch::NONE);
        let appended = self.append_as_follower(&bytes, epoch, now)?;
        self.advance_high_watermark(source.high_watermark());
        Ok(appended.bytes as u64)
    }

    /// Cuts what `source` does not have, or begins anew where it begins.
    fn agree_with(&self, source: &PartitionLog) -> Result<(), LogError> {
        loop {
            let (start, end) = (source.log_start_offset(), source.log_end_offset());
            let (own_end, epoch) = (self.log_end_offset(), self.last_epoch());
            if own_end < start || (epoch == LeaderEpoch::NONE && own_end > end) {
                let _cut = self.restart_at(start)?;
                return Ok(());
            }
            if epoch == LeaderEpoch::NONE {
                return Ok(()); // nothing that could differ
            }
            let agreed = match source.end_offset_for_epoch(epoch) {
                Some((same, upto)) if same == epoch => upto,
                Some((older, _)) => self.end_of_epoch(older),
                None => source.latest_epoch().map_or(self.log_start_offset(), |latest| self.end_of_epoch(latest)),
            };
            if agreed >= own_end {
                return Ok(());
            }
            let _cut = self.truncate_to(agreed)?;
        }
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> Offset {
        self.end_offset_for_epoch(epoch).map_or(self.log_start_offset(), |(_, upto)| upto)
    }

    /// Whether this log has all that `source` has. It may have more at its begin: what was deleted from the source meanwhile,
    /// perhaps all of it.
    pub fn has_all_of(&self, source: &PartitionLog) -> bool {
        let is_emptied = source.last_epoch() == LeaderEpoch::NONE;
        self.log_end_offset() == source.log_end_offset() && (is_emptied || self.last_epoch() == source.last_epoch())
    }

    /// Takes over what no record of this log tells: where the log begins, what is committed, epochs without records,
    /// producers whose records are gone, transactions whose end is not certain, how far it was compacted. This log has all
    /// of `source`, and nobody appends to it or cuts it.
    pub fn succeed(&self, source: &PartitionLog, now: i64) -> Result<(), LogError> {
        assert!(!std::ptr::eq(self, source), "a log does not take its own place");
        self.set_config(LogConfig::clone(&source.config()));
        self.advance_high_watermark(source.high_watermark());
        self.raise_log_start(source.log_start_offset(), now)?;
        self.epochs.write().take_over(&source.epochs.read());
        self.transactions.take_over(&source.transactions);
        self.cleaned_to.store(source.cleaned_to.load(Ordering::Acquire), Ordering::Release);
        let producers = source.writer.lock().producers.clone();
        let mut writer = self.writer.lock();
        let (dir, end) = (self.dir.read().clone(), self.log_end_offset());
        if snapshots::save(&producers, &dir, end) {
            snapshots::remove(&dir, &writer.snapshots.saved(end));
        }
        writer.producers = producers;
        Ok(())
    }

    /// Takes over which producers wait to be verified. `source` takes no more batches.
    pub fn take_verifications(&self, source: &PartitionLog) {
        let verifications = std::mem::take(&mut source.writer.lock().verifications);
        self.writer.lock().verifications = verifications;
    }

    /// Does something while this log is not compacted, knowing how many compactions were begun; `None` while one is under
    /// way. A copy that had some segments of before one and others of after it would be neither: a tombstone could lack, or
    /// the marker of an aborted transaction.
    pub fn between_compactions<T>(&self, work: impl FnOnce(u64) -> T) -> Option<T> {
        let count = self.cleaning.try_lock()?;
        Some(work(*count))
    }

    /// Gives the folder another name in the same directory; see [`PartitionLog::settle_name`].
    pub fn rename_folder(&self, name: &str) -> Result<PathBuf, LogError> {
        self.check_usable()?;
        let _writer = self.writer.lock();
        self.settled.store(false, Ordering::Release);
        self.move_folder(name)
    }

    /// Waits until the name of the folder is on the disk. The first flush of records sees to that, too.
    pub fn settle_name(&self) -> Result<(), LogError> {
        self.check_usable()?;
        let _alone = self.flushing.lock();
        self.settle().map_err(|error| self.poison(error))
    }

    /// Renames the folder. The caller holds `writer`.
    pub(super) fn move_folder(&self, name: &str) -> Result<PathBuf, LogError> {
        let mut epochs = self.epochs.write();
        let mut dir = self.dir.write();
        let renamed = dir.with_file_name(name);
        fs::rename(&*dir, &renamed).map_err(LogError::io("rename", &dir))?;
        dir.clone_from(&renamed);
        epochs.moved(&renamed);
        Ok(renamed)
    }
}

#[cfg(test)]
mod tests;
