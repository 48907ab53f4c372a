//! Where the records of a partition lie: a log in one of the directories, and who flushes it.
//!
//! Picture: the partition sits on its log. It changes seats when its replica moves to another directory, and nobody who
//! waits for the partition notices: roles, waiters and followers are the partition's, bytes and flushes are the seat's.
//!
//! Invariants: a partition changes seats only while its gate is closed, to one that has all that the old one has. What is
//! noted or flushed for a seat counts for that seat alone.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::Guard;
use parking_lot::{Mutex, RwLockWriteGuard};
use twinstream_log::{CopyError, Flush, FlushMark, Flusher, PartitionLog};

use super::super::now_ms;
use super::{Gate, Partition, Role};

/// Between two attempts to flush a log for which there was no descriptor.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// What may be missing of a copy when the gate is closed: some milliseconds for a disk.
const LAST_BYTES_MAX: usize = 1 << 20;

pub(in crate::partitions) struct Seat {
    pub(in crate::partitions) log: PartitionLog,
    /// The number of the directory.
    pub(in crate::partitions) dir: usize,
    flusher: Arc<Flusher>,
    /// Whether it stands in the flusher's lane of those that are waited for, and in that of the others.
    stands_urgent: AtomicBool,
    noted: AtomicBool,
    /// Set while the file system is flushed.
    flush_mark: Mutex<Option<FlushMark>>,
    partition: Weak<Partition>,
    /// For the flusher's lanes.
    myself: Weak<Seat>,
}

/// A seat in a directory, to be had.
pub(in crate::partitions) struct Room {
    pub(in crate::partitions) dir: usize,
    pub(in crate::partitions) flusher: Arc<Flusher>,
}

/// The log that a partition has at the moment.
pub(crate) struct LogRef(Guard<Arc<Seat>>);

impl Deref for LogRef {
    type Target = PartitionLog;

    fn deref(&self) -> &PartitionLog {
        &self.0.log
    }
}

/// A partition whose gate is closed: nobody appends, nobody cuts, roles stand still.
pub(in crate::partitions) struct Closed<'p> {
    partition: &'p Partition,
    gate: RwLockWriteGuard<'p, Gate>,
    /// Where it sits still.
    left: Arc<Seat>,
}

impl Seat {
    pub(in crate::partitions) fn new(log: PartitionLog, room: Room, partition: Weak<Partition>) -> Arc<Seat> {
        Arc::new_cyclic(|myself| Seat {
            log,
            dir: room.dir,
            flusher: room.flusher,
            stands_urgent: AtomicBool::new(false),
            noted: AtomicBool::new(false),
            flush_mark: Mutex::default(),
            partition,
            myself: Weak::clone(myself),
        })
    }

    /// Something was appended: sees to it that it comes to the disk, now or by and by.
    pub(super) fn note_appended(&self) {
        if self.log.acknowledges_flushed() {
            self.request_flush();
            return;
        }
        if !self.noted.swap(true, Ordering::AcqRel) {
            self.flusher.note(self.weak());
        }
        self.flusher.follow();
    }

    /// Has the log flushed as soon as possible, together with others that wait.
    pub(super) fn request_flush(&self) {
        let needs_it = !self.log.is_flushed() && !self.stands_urgent.swap(true, Ordering::AcqRel);
        if needs_it {
            self.flusher.urgent(self.weak());
        }
    }

    fn weak(&self) -> Weak<dyn Flush> {
        Weak::clone(&self.myself) as Weak<dyn Flush>
    }

    /// The partition, if this is its seat.
    fn sitting(&self) -> Option<Arc<Partition>> {
        self.partition.upgrade().filter(|partition| std::ptr::eq(&**partition.seat.load(), self))
    }
}

impl Partition {
    /// The log of this moment. It is another one only after the replica has moved; who does more than one thing with it
    /// holds the gate open, or does not mind.
    pub(crate) fn log(&self) -> LogRef {
        LogRef(self.seat.load())
    }

    /// The directory in which the replica is.
    pub(crate) fn dir(&self) -> usize {
        self.seat.load().dir
    }

    pub(in crate::partitions) fn seat(&self) -> Arc<Seat> {
        self.seat.load_full()
    }

    /// Closes the gate, so that the partition can change seats. `None` if it is gone, or out of use.
    pub(in crate::partitions) fn close_gate(&self) -> Option<Closed<'_>> {
        let gate = self.gate.write();
        let stays = !self.is_retired() && !self.has_failed();
        stays.then(|| Closed { partition: self, gate, left: self.seat.load_full() })
    }
}

impl Closed<'_> {
    /// Copies the last batches; false if too much is missing still.
    pub(in crate::partitions) fn catch_up(&self, seat: &Seat, now: i64) -> Result<bool, CopyError> {
        seat.log.copy_from(&self.left.log, LAST_BYTES_MAX, now)?;
        if !seat.log.has_all_of(&self.left.log) {
            return Ok(false);
        }
        if seat.log.recovery_point() < self.left.log.recovery_point() {
            seat.log.flush(now)?; // little: it was flushed a moment ago
        }
        Ok(true)
    }

    /// Hands over what no record tells.
    pub(in crate::partitions) fn hand_over(&self, seat: &Seat, now: i64) -> Result<(), CopyError> {
        Ok(seat.log.succeed(&self.left.log, now)?)
    }

    /// Gives the copy's folder the partition's name, changes seats and opens the gate. Returns the seat that was left.
    pub(in crate::partitions) fn enter(self, seat: &Arc<Seat>, folder: &str) -> Result<Arc<Seat>, CopyError> {
        let Closed { partition, gate, left } = self;
        seat.log.rename_folder(folder)?;
        seat.log.take_verifications(&left.log);
        partition.seat.store(Arc::clone(seat));
        if let Role::Leading(leading) = &gate.role {
            leading.state.lock().set_flushed(partition.flushed_end());
        }
        drop(gate);
        // Who waits for a flush of the log that was left has to ask for one of this.
        partition.flushed.notify_waiters();
        seat.note_appended();
        Ok(left)
    }
}

impl Flush for Seat {
    fn flush(&self) {
        // Before the flush: what is appended meanwhile has to ask again.
        self.stands_urgent.store(false, Ordering::Release);
        let flushed = self.log.flush(now_ms());
        let Some(partition) = self.sitting() else { return };
        match flushed {
            Ok(_) => partition.note_flushed(),
            Err(error) => {
                if error.is_passing() && self.log.disk().failure().is_none() {
                    tracing::warn!(partition = %partition.id(), error = %error.chain(), "log is not flushed for now, trying on");
                    std::thread::sleep(RETRY_PAUSE); // others that wait would fare no better
                    return self.request_flush();
                }
                partition.fail(&error);
                partition.flushed.notify_waiters();
            }
        }
    }

    fn begin(&self) {
        self.noted.store(false, Ordering::Release);
        let begun = self.log.begin_flush(now_ms());
        *self.flush_mark.lock() = begun.unwrap_or_else(|error| {
            let partition = self.log.partition();
            tracing::debug!(%partition, error = %error.chain(), "log has no part in the flush of its file system");
            None
        });
    }

    fn end(&self) {
        if let Some(mark) = self.flush_mark.lock().take() {
            self.log.end_flush(mark);
            self.sitting().inspect(|partition| partition.note_flushed());
        }
    }

    fn panicked(&self, cause: &str) {
        let error = self.log.abandon(cause);
        if let Some(partition) = self.sitting() {
            partition.fail(&error);
            partition.flushed.notify_waiters();
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("log", self.log.partition()).field("dir", &self.dir).finish()
    }
}
