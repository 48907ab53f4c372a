//! What happens to logs by the clock: retention, flushes, checkpoints.
//!
//! Each job is a task with the interval that its setting names; a job does file work and so runs where blocking
//! is allowed. A job that takes longer than its interval skips ticks instead of piling up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinstream_log::{Checkpoint, LogError, PartitionLog};

use super::{Partition, PartitionManager, now_ms};

/// How often closed segments are flushed and files of deleted ones removed.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

impl PartitionManager {
    /// Starts the jobs; they end when `shutdown` fires.
    pub(crate) fn start_background(self: &Arc<Self>, tasks: &TaskTracker, shutdown: &CancellationToken) {
        self.introduce();
        let log = &self.settings().log;
        let every = |interval: Duration, job: fn(&PartitionManager)| {
            tasks.spawn(repeat(Arc::clone(self), interval, job, shutdown.clone()));
        };
        tasks.spawn(super::scrub::run(Arc::clone(self), log.scrub_bytes_per_second, shutdown.clone()));
        for dir in 0..self.directories().len() {
            tasks.spawn(super::moves::run(Arc::clone(self), dir, shutdown.clone()));
        }
        every(log.retention_check_interval, |manager| {
            manager.for_each_partition("retention", |partition| {
                // A mirror begins where its source does, however short this cluster keeps topics of its own.
                if partition.is_mirror() { Ok(()) } else { partition.log().enforce_retention(now_ms()).map(|_| ()) }
            });
        });
        every(log.producer_id_check_interval, |manager| {
            manager.for_each_log("producer expiry", |log| {
                log.expire_producers(now_ms());
                Ok(())
            });
        });
        every(log.flush_scheduler_interval.unwrap_or(TIDY_INTERVAL).min(TIDY_INTERVAL), |manager| {
            manager.remove_doomed(now_ms());
            manager.for_each_log("flush", |log| log.tidy(now_ms()).map(|_| ()));
        });
        every(log.recovery_checkpoint_interval, |manager| manager.write_checkpoints(Checkpoint::RecoveryPoint));
        every(log.start_offset_checkpoint_interval, |manager| manager.write_checkpoints(Checkpoint::LogStart));
        every(log.high_watermark_checkpoint_interval, |manager| manager.write_checkpoints(Checkpoint::Replication));
    }

    fn for_each_log(&self, job: &'static str, work: impl Fn(&PartitionLog) -> Result<(), LogError>) {
        self.for_each_partition(job, |partition| work(&partition.log()));
    }

    /// Does a job on every partition. A log that is closed or out of use is passed over: that was reported already.
    fn for_each_partition(&self, job: &'static str, work: impl Fn(&Partition) -> Result<(), LogError>) {
        for (at, (partition, _)) in self.all() {
            match work(&partition) {
                Ok(()) => {}
                Err(error) if error.is_known() => {}
                Err(error) => tracing::error!(partition = %at, job, error = %error.chain(), "background work failed"),
            }
        }
    }
}

async fn repeat(
    manager: Arc<PartitionManager>,
    interval: Duration,
    job: fn(&PartitionManager),
    shutdown: CancellationToken,
) {
    let interval = interval.max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let manager = Arc::clone(&manager);
        if let Err(error) = tokio::task::spawn_blocking(move || job(&manager)).await {
            tracing::error!(%error, "background job panicked");
        }
    }
}
