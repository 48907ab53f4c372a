//! A partition and the disk: what is flushed, who waits for it, and the end when the disk fails.

use std::sync::atomic::Ordering;
use std::time::Instant;

use twinstream_log::LogError;
use twinstream_model::Offset;

use super::super::waiters::Event;
use super::{Partition, Role};

impl Partition {
    /// Of the own log only what lies below counts; `None` where all of it does.
    pub(super) fn flushed_end(&self) -> Option<Offset> {
        let log = self.log();
        log.acknowledges_flushed().then(|| log.recovery_point())
    }

    /// Something was appended, here or by a leader: sees to it that it comes to the disk, now or by and by.
    pub(super) fn note_appended(&self) {
        self.seat.load().note_appended();
    }

    /// Has the log flushed as soon as possible, together with others that wait.
    pub(crate) fn request_flush(&self) {
        self.seat.load().request_flush();
    }

    /// Whether the leader may not be told yet how far this log goes, because the end of it is not on the disk.
    pub(crate) fn owes_flush(&self) -> bool {
        self.log().acknowledges_flushed() && !self.log().is_flushed() && !self.failed.load(Ordering::Acquire)
    }

    /// Whether the leader may not be told how far this log goes, be it that its disk has failed.
    pub(crate) fn hides_its_end(&self) -> bool {
        self.log().acknowledges_flushed() && !self.log().is_flushed()
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
    pub(super) fn note_flushed(&self) {
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
