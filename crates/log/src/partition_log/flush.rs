//! From the page cache to the disk, and what follows when that fails.
//!
//! Picture: an append leaves its bytes in the page cache. A flush takes everything up to the log end of that moment to
//! the disk and then moves the recovery point there: what lies below it is never checked again at a start.
//!
//! Invariants: the recovery point moves only after all that lies below it is on the disk: records, the epochs that they
//! brought, the names of the files and of the folder. A write or flush that failed puts the log out of use and is never
//! tried again, because the kernel may drop what it could not write and report the error only once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use twinstream_model::Offset;

use super::PartitionLog;
use crate::files::{self, SNAPSHOT};
use crate::segment::Segment;
use crate::{LogConfig, LogError, directory};

impl PartitionLog {
    /// Waits until all that was appended so far is on the disk; returns up to where that is.
    pub fn flush(&self, now: i64) -> Result<Offset, LogError> {
        self.check_usable()?;
        let _alone = self.flushing.lock();
        let (segments, end) = {
            let mut writer = self.writer.lock();
            writer.unflushed_records = 0;
            writer.last_flush_ms = now;
            (self.segments.load_full(), self.log_end_offset())
        };
        self.flush_segments(&segments, end)
    }

    /// The caller holds `flushing`.
    pub(super) fn flush_segments(&self, segments: &[Arc<Segment>], end: Offset) -> Result<Offset, LogError> {
        self.check_not_poisoned()?; // by the flush that was waited for
        let from = self.recovery_point();
        if end <= from {
            return Ok(from);
        }
        let timer = self.metrics.flush_seconds.start_timer();
        let dirty = segments.iter().filter(|segment| segment.next_offset() > from && segment.base() < end);
        let synced = dirty.map(|segment| segment.sync()).collect::<Result<Vec<()>, LogError>>();
        let epochs = self.epochs.write().take_unflushed();
        let synced = synced.and_then(|_| epochs.map_or(Ok(()), |file| files::sync_file(&file)));
        let synced = synced.and_then(|()| files::sync_dir(&self.dir.read())).and_then(|()| self.settle());
        timer.observe_duration();
        synced.map_err(|error| self.poison(error))?;
        self.recovery_point.fetch_max(end.0, Ordering::AcqRel);
        Ok(self.recovery_point())
    }

    /// Flushes what is older than `flush.ms`, and closed segments.
    pub(super) fn flush_if_due(&self, now: i64, config: &LogConfig) -> Result<bool, LogError> {
        let active_base = self.active().base();
        let aged = now.saturating_sub(self.writer.lock().last_flush_ms) >= config.flush_ms;
        if aged && self.recovery_point() < self.log_end_offset() {
            self.flush(now)?;
            return Ok(true);
        }
        if self.recovery_point() < active_base {
            let _alone = self.flushing.lock();
            let segments = self.segments.load_full();
            self.flush_segments(&segments, self.active().base())?;
            return Ok(true);
        }
        Ok(false)
    }

    fn settle(&self) -> Result<(), LogError> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        files::sync_dir(self.dir.read().parent().unwrap_or(Path::new(".")))?;
        self.settled.store(true, Ordering::Release);
        Ok(())
    }

    /// Closes the log in good order: nothing has to be scanned when it is opened again.
    pub fn close(&self, now: i64) -> Result<(), LogError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.check_not_poisoned()?;
        let _alone = self.flushing.lock();
        let mut writer = self.writer.lock();
        writer.last_flush_ms = now;
        self.active().seal()?;
        let end = self.log_end_offset();
        let dir = self.dir.read().clone();
        writer.producers.save(&files::offset_file(&dir, end, SNAPSHOT))?;
        drop(writer);
        self.flush_segments(&self.segments.load_full(), end)?;
        Ok(())
    }

    /// Closes the log and renames its folder to `name`, in the same directory; the caller removes it later. Does not wait
    /// for the disk: a folder that a power loss brings back belongs to a topic that is gone, as its identity says.
    pub fn close_for_deletion(&self, name: &str) -> Result<PathBuf, LogError> {
        self.closed.store(true, Ordering::Release);
        let _writer = self.writer.lock();
        let mut dir = self.dir.write();
        let renamed = dir.with_file_name(name);
        fs::rename(&*dir, &renamed).map_err(LogError::io("rename", &dir))?;
        dir.clone_from(&renamed);
        Ok(renamed)
    }

    pub(super) fn check_not_poisoned(&self) -> Result<(), LogError> {
        match self.poison.get() {
            Some(cause) => Err(LogError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn check_usable(&self) -> Result<(), LogError> {
        self.check_not_poisoned()?;
        match self.closed.load(Ordering::Acquire) {
            true => Err(LogError::Closed),
            false => Ok(()),
        }
    }

    /// Puts the log out of use after a failure of the disk.
    pub(super) fn poison(&self, error: LogError) -> LogError {
        let cause = error.chain();
        if self.poison.set(cause.clone()).is_ok() {
            self.metrics.poisoned.inc();
            if let Err(error) = directory::forget_checked(self.dir.read().parent()) {
                tracing::warn!(error = %error.chain(), "the next start may check this log less than it should");
            }
            tracing::error!(partition = %self.partition, cause, "log is out of use, restart the broker when the disk is well");
        }
        error
    }
}
