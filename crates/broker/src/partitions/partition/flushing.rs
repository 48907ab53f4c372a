//! A partition and the disk: what is flushed, who waits for it, and the end when the disk fails.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use twinstream_log::{Flush, LogError};
use twinstream_model::Offset;

use super::super::now_ms;
use super::super::waiters::Event;
use super::{Partition, Role};

/// Between two attempts to flush a log for which there was no descriptor.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

impl Partition {
    /// Of the own log only what lies below counts; `None` where all of it does.
    pub(super) fn flushed_end(&self) -> Option<Offset> {
        self.log.acknowledges_flushed().then(|| self.log.recovery_point())
    }

    /// Something was appended, here or by a leader: sees to it that it comes to the disk, now or by and by.
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
    pub(crate) fn request_flush(&self) {
        let needs_it = !self.log.is_flushed() && !self.stands_urgent.swap(true, Ordering::AcqRel);
        if needs_it {
            self.flusher.urgent(self.weak());
        }
    }

    fn weak(&self) -> Weak<dyn Flush> {
        Weak::clone(&self.myself) as Weak<dyn Flush>
    }

    /// Whether the leader may not be told yet how far this log goes, because the end of it is not on the disk.
    pub(crate) fn owes_flush(&self) -> bool {
        self.log.acknowledges_flushed() && !self.log.is_flushed() && !self.failed.load(Ordering::Acquire)
    }

    /// Whether the leader may not be told how far this log goes, be it that its disk has failed.
    pub(crate) fn hides_its_end(&self) -> bool {
        self.log.acknowledges_flushed() && !self.log.is_flushed()
    }

    /// Waits until it does not owe one. A disk that fails ends the wait, one that hangs does not.
    pub(crate) async fn until_flushed(&self) {
        loop {
            let told = self.flushed.notified();
            tokio::pin!(told);
            told.as_mut().enable(); // else a flush that ends now would go unheard
            if !self.owes_flush() {
                return;
            }
            self.request_flush();
            told.await;
        }
    }

    /// More is on the disk than before: commits it if this broker leads.
    fn note_flushed(&self) {
        let gate = self.gate.read();
        if let Role::Leading(leading) = &gate.role {
            let committed = self.catch_up(&mut leading.state.lock(), Instant::now());
            committed.into_iter().for_each(|high_watermark| self.commit(high_watermark));
        }
        drop(gate);
        self.flushed.notify_waiters();
    }

    /// The log cannot be used any more. Others take over from here: see `failures`.
    pub(super) fn fail(&self, error: &LogError) {
        if matches!(error, LogError::Closed) || error.is_passing() || self.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        if !error.is_known() {
            tracing::error!(partition = %self.id(), error = %error.chain(), "log is out of use, this replica stands still until the broker restarts");
        }
        self.failures.name(self.id());
    }

    /// Ends whatever role this broker has in the partition: who asks hears KAFKA_STORAGE_ERROR and looks for another leader.
    pub(in crate::partitions) fn take_offline(&self) {
        self.failed.store(true, Ordering::Release);
        let mut gate = self.gate.write();
        gate.role = Role::Offline;
        drop(gate);
        self.set_followers(None);
        self.announce(Event::Changed);
        self.flushed.notify_waiters();
    }

    /// Whether the log is out of use, even if its role does not show it yet.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(in crate::partitions) fn is_offline(&self) -> bool {
        matches!(self.gate.read().role, Role::Offline)
    }
}

impl Flush for Partition {
    fn flush(&self) {
        // Before the flush: what is appended meanwhile has to ask again.
        self.stands_urgent.store(false, Ordering::Release);
        match self.log.flush(now_ms()) {
            Ok(_) => self.note_flushed(),
            Err(error) => {
                if error.is_passing() && self.log.disk().failure().is_none() {
                    tracing::warn!(partition = %self.id(), error = %error.chain(), "log is not flushed for now, trying on");
                    std::thread::sleep(RETRY_PAUSE); // others that wait would fare no better
                    return self.request_flush();
                }
                self.fail(&error);
                self.flushed.notify_waiters();
            }
        }
    }

    fn begin(&self) {
        self.noted.store(false, Ordering::Release);
        let begun = self.log.begin_flush(now_ms());
        *self.flush_mark.lock() = begun.unwrap_or_else(|error| {
            tracing::debug!(partition = %self.id(), error = %error.chain(), "log has no part in the flush of its file system");
            None
        });
    }

    fn end(&self) {
        if let Some(mark) = self.flush_mark.lock().take() {
            self.log.end_flush(mark);
            self.note_flushed();
        }
    }

    fn panicked(&self, cause: &str) {
        self.fail(&self.log.abandon(cause));
        self.flushed.notify_waiters();
    }
}
