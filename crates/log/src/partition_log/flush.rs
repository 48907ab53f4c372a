//! From the page cache to the disk, and what follows when that fails.
//!
//! Picture: an append leaves its bytes in the page cache. A flush takes everything up to the log end of that moment to
//! the disk and then moves the recovery point there: what lies below it is never checked again at a start.
//!
//! ```text
//!   records of all segments ─▶ indexes of those that are full ─▶ epochs ─▶ names of new files ─▶ recovery point
//! ```
//! In the common case, nothing but more records, that is one `fdatasync` of one file.
//!
//! Invariants: the recovery point moves only after all that lies below it is on the disk: records, the epochs that they
//! brought, the names of the files and of the folder. The index of the segment that grows is handed to the system if there
//! is room, so that a start after a kill reads nothing below the recovery point, but not flushed: after a power loss it
//! is made anew. A write or flush that failed takes the whole directory out of use and is never tried again, because the
//! kernel may drop what it could not write and report the error only once. A write for which there was no room is taken
//! back to the last byte, and nothing is out of use.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use twinstream_model::Offset;

use super::{METADATA_FILE, PartitionLog, Writer, snapshots};
use crate::files::{self, SNAPSHOT};
use crate::producers::Producers;
use crate::segment::Segment;
use crate::{Disk, LogConfig, LogError, directory};

/// Topics whose records may use the last bytes of a disk: without them consumers could not go on and give room.
const INTERNAL_PREFIX: &str = "__";

/// How far a log went when the flush of its file system began.
#[derive(Clone, Copy, Debug)]
pub struct FlushMark {
    end: Offset,
    /// Segments below were full.
    full_to: Offset,
    cuts: Option<u64>,
}

/// What a flush has to bring to the disk.
struct Taken {
    segments: Arc<Vec<Arc<Segment>>>,
    end: Offset,
    /// The state of producers at `end`, if there is to be a snapshot of it.
    producers: Option<Producers>,
}

/// Where a log stood before a write, so that the write can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    base: Offset,
    size: u64,
}

impl PartitionLog {
    /// The disk that the log is on.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Bytes that were appended since the last flush.
    pub fn unflushed(&self) -> u64 {
        self.unflushed.get()
    }

    /// Whether everything is on the disk.
    pub fn is_flushed(&self) -> bool {
        self.recovery_point() >= self.log_end_offset()
    }

    /// Whether producers with `acks=all` wait for the disk.
    pub fn acknowledges_flushed(&self) -> bool {
        self.config.load().flush_before_ack
    }

    /// Waits until all that was appended so far is on the disk; returns up to where that is.
    pub fn flush(&self, now: i64) -> Result<Offset, LogError> {
        self.check_usable()?;
        let _alone = self.flushing.lock();
        let Taken { segments, end, producers } = self.take_unflushed(now);
        let flushed = self.flush_segments(&segments, end)?;
        self.save_snapshot(producers, end); // nobody waits for it
        Ok(flushed)
    }

    /// What a flush that begins now has to bring to the disk; from here on it is counted anew. The caller holds `flushing`.
    fn take_unflushed(&self, now: i64) -> Taken {
        let mut writer = self.writer.lock();
        writer.unflushed_records = 0;
        writer.last_flush_ms = now;
        self.unflushed.take();
        let producers = writer.snapshots.is_due().then(|| writer.producers.clone());
        Taken { segments: self.segments.load_full(), end: self.log_end_offset(), producers }
    }

    /// Writes the snapshot of producers that a flush found due. Nobody who appends waits while a file is made; a folder that
    /// is about to be renamed does. The caller holds `flushing`.
    fn save_snapshot(&self, producers: Option<Producers>, end: Offset) {
        let Some(producers) = producers else { return };
        if snapshots::save(&producers, &self.dir.read(), end) {
            let surplus = self.writer.lock().snapshots.saved(end);
            snapshots::remove(&self.dir.read(), &surplus);
        }
    }

    /// The whole file system is about to be flushed by somebody: hands it what is still held back, and notes how far the log
    /// goes now. `None` if all of it is on the disk.
    pub fn begin_flush(&self, now: i64) -> Result<Option<FlushMark>, LogError> {
        self.check_usable()?;
        let _alone = self.flushing.lock();
        let cuts = self.cuts.seen();
        let Taken { segments, end, producers } = self.take_unflushed(now);
        self.save_snapshot(producers, end);
        let Some((growing, full)) = segments.split_last().filter(|_| end > self.recovery_point()) else {
            return Ok(None);
        };
        growing.offer_index()?;
        let indexed = Offset(self.indexed_to.load(Ordering::Acquire));
        for segment in full.iter().filter(|segment| segment.next_offset() > indexed) {
            segment.write_out()?;
        }
        self.epochs.write().save()?;
        Ok(Some(FlushMark { end, full_to: growing.base(), cuts }))
    }

    /// The file system was flushed after `mark` was made. What was cut since counts for nothing.
    pub fn end_flush(&self, mark: FlushMark) {
        let _alone = self.flushing.lock(); // nobody cuts now
        if self.cuts.are(mark.cuts) {
            self.recovery_point.fetch_max(mark.end.0, Ordering::AcqRel);
            self.indexed_to.fetch_max(mark.full_to.min(mark.end).0, Ordering::AcqRel);
        }
    }

    /// The caller holds `flushing`.
    pub(super) fn flush_segments(&self, segments: &[Arc<Segment>], end: Offset) -> Result<Offset, LogError> {
        self.check_not_poisoned()?; // by the flush that was waited for
        let from = self.recovery_point();
        if end <= from {
            return Ok(from);
        }
        let timer = self.metrics.flush_seconds.start_timer();
        let synced = self.sync(segments, from, end);
        timer.observe_duration();
        synced.map_err(|error| self.not_flushed(error))?;
        self.recovery_point.fetch_max(end.0, Ordering::AcqRel);
        Ok(self.recovery_point())
    }

    fn sync(&self, segments: &[Arc<Segment>], from: Offset, end: Offset) -> Result<(), LogError> {
        let Some((growing, full)) = segments.split_last() else { return Ok(()) };
        let indexed = Offset(self.indexed_to.load(Ordering::Acquire));
        for segment in full.iter().filter(|segment| segment.next_offset() > from.min(indexed) && segment.base() < end) {
            segment.sync()?;
        }
        if growing.base() < end {
            growing.offer_index()?;
            growing.sync_records()?;
        }
        let mut new_names = self.new_names.swap(false, Ordering::AcqRel);
        for (path, file) in self.dirty_txn_indexes()? {
            file.sync_all().map_err(LogError::io("flush", &path))?;
            new_names = true;
        }
        let epochs = {
            let mut epochs = self.epochs.write();
            epochs.save()?;
            epochs.take_unflushed()
        };
        if let Some(file) = epochs {
            files::sync_file(&file)?;
            new_names = true; // it was written beside the old one and renamed
        }
        if new_names {
            self.sync_in_folder(Path::to_owned)?;
        }
        self.settle()?;
        self.indexed_to.fetch_max(growing.base().min(end).0, Ordering::AcqRel);
        Ok(())
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

    /// Flushes a file or folder. The log's folder is locked only until it is open: who moves the folder does not wait for
    /// the disk.
    pub(super) fn sync_in_folder(&self, path_from: impl FnOnce(&Path) -> PathBuf) -> Result<(), LogError> {
        let (path, file) = {
            let dir = self.dir.read();
            let path = path_from(&dir);
            let file = File::open(&path).map_err(LogError::io("open", &path))?;
            (path, file)
        };
        file.sync_all().map_err(LogError::io("flush", &path))
    }

    pub(super) fn settle(&self) -> Result<(), LogError> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        self.sync_in_folder(|dir| dir.join(METADATA_FILE))?;
        self.sync_in_folder(|dir| dir.parent().unwrap_or(Path::new(".")).to_owned())?;
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
    ///
    /// Nor does it wait for a flush or a cleaning that is under way. Those find the folder where it is now, since they lock
    /// it whenever they use a path, and touch nothing of another partition that is made where it was. Once the folder is
    /// removed they end with [`LogError::Closed`], which speaks against nothing.
    pub fn close_for_deletion(&self, name: &str) -> Result<PathBuf, LogError> {
        self.closed.store(true, Ordering::Release);
        let _writer = self.writer.lock();
        self.move_folder(name)
    }

    pub(super) fn check_not_poisoned(&self) -> Result<(), LogError> {
        match self.poison.get() {
            Some(cause) => Err(LogError::Poisoned { cause: cause.clone() }),
            None => self.disk.check(),
        }
    }

    pub(crate) fn check_usable(&self) -> Result<(), LogError> {
        self.check_not_poisoned()?;
        match self.closed.load(Ordering::Acquire) {
            true => Err(LogError::Closed),
            false => Ok(()),
        }
    }

    /// Whether records may take these bytes of the disk. What clusters need to work at all always may.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), LogError> {
        match self.partition.topic.as_str().starts_with(INTERNAL_PREFIX) {
            true => Ok(()),
            false => self.disk.check_room(bytes),
        }
    }

    /// A file could not be written, flushed, made or renamed, and what is there now is not known: takes the directory out of
    /// use. What is wrong with this log alone, such as a file that somebody removed or bytes that make no sense, costs only
    /// this log. That a file is gone says nothing of a log that was deleted meanwhile: its folder has another name.
    pub(super) fn poison(&self, error: LogError) -> LogError {
        let is_of_files = matches!(error, LogError::Io { .. });
        match &error {
            LogError::Reserve { .. } => {}
            _ if error.is_known() => {}
            _ if error.is_disk_failure() || error.is_out_of_space() => {
                self.disk.fail(&error.chain());
            }
            _ if is_of_files && self.closed.load(Ordering::Acquire) => return LogError::Closed,
            _ => self.poison_alone(error.chain()),
        }
        error
    }

    /// A flush failed. When it was for want of a descriptor, nothing was lost; the next one flushes all that this one was to.
    fn not_flushed(&self, error: LogError) -> LogError {
        if !error.is_out_of_descriptors() {
            return self.poison(error);
        }
        self.new_names.store(true, Ordering::Release);
        self.epochs.write().doubt();
        self.aborted.write().doubt();
        error
    }

    /// Takes the log out of use for the rest of this process, because somebody who worked on it did not come to an end.
    pub fn abandon(&self, cause: &str) -> LogError {
        self.poison_alone(cause.to_owned());
        LogError::Poisoned { cause: self.poison.get().cloned().unwrap_or_default() }
    }

    fn poison_alone(&self, cause: String) {
        if self.poison.set(cause.clone()).is_ok() {
            self.metrics.poisoned.inc();
            if let Err(error) = directory::forget_checked(self.dir.read().parent()) {
                tracing::warn!(error = %error.chain(), "the next start may check this log less than it should");
            }
            tracing::error!(partition = %self.partition, cause, "log is out of use until the broker restarts");
        }
    }

    /// Like [`PartitionLog::poison`] for what leaves the log as it was when there is no room for it.
    pub(super) fn poison_unless_full(&self, error: LogError) -> LogError {
        if error.is_passing() { self.disk.note_full(error) } else { self.poison(error) }
    }

    /// Where the log stands; the caller holds the writer.
    pub(super) fn mark(&self) -> Mark {
        let active = self.active();
        Mark { base: active.base(), size: active.size() }
    }

    /// Appending at `end`, which began at `mark`, failed. When there was no room, all of it is taken back and the log is as
    /// it was; else it is out of use. Nothing of it was announced, so readers and flushes know nothing of it.
    pub(super) fn not_written(&self, writer: &mut Writer, mark: Mark, end: Offset, error: LogError) -> LogError {
        if !error.is_passing() {
            return self.poison(error);
        }
        let config = self.config.load();
        let is_untouched = self.mark() == mark;
        let taken_back = match is_untouched {
            true => self.active().take_back(&config),
            false => {
                let _cutting = self.cuts.begin();
                self.truncate_locked(writer, end).and_then(|()| self.active().take_back(&config))
            }
        };
        match taken_back {
            Ok(()) => self.disk.note_full(error),
            Err(failed) => {
                self.poison(failed);
                error
            }
        }
    }
}

#[cfg(test)]
mod tests;
