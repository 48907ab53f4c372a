//! All logs are read again, slowly, for ever.
//!
//! Picture: one task goes over the partitions by name, a step at a time, and rests between the steps so that it reads
//! `twinstream.scrub.bytes.per.second`. What it finds is marked as when a reader finds it, and repaired as that
//! (`repair`).
//!
//! Invariants: one step at a time, of bounded size; a step of a small log counts for more than its bytes, so that many
//! small logs cost no more time of the processor than few large ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twinstream_log::{LogError, ScrubCursor};

use super::{Partition, PartitionManager};

/// Largest step.
const STEP_BYTES_MAX: u64 = 256 << 10;
/// What a step costs at least.
const STEP_COST_MIN: u64 = 16 << 10;
/// Between two passes over all logs.
const PASS_PAUSE: Duration = Duration::from_secs(5);

/// Scrubs until `shutdown` fires.
pub(super) async fn run(manager: Arc<PartitionManager>, bytes_per_second: u64, shutdown: CancellationToken) {
    if bytes_per_second == 0 {
        return;
    }
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = passes(&manager, bytes_per_second) => {}
    }
}

async fn passes(manager: &Arc<PartitionManager>, bytes_per_second: u64) {
    loop {
        tokio::time::sleep(PASS_PAUSE).await;
        let mut pace = Pace { bytes_per_second, free_at: Instant::now() };
        for (_, (partition, _)) in manager.all() {
            if partition.log().size() > 0 {
                scrub(&partition, &mut pace).await;
            }
        }
    }
}

async fn scrub(partition: &Arc<Partition>, pace: &mut Pace) {
    let mut cursor = Some(ScrubCursor::default());
    while let Some(at) = cursor {
        let of_step = Arc::clone(partition);
        let done = tokio::task::spawn_blocking(move || of_step.log().scrub(at, STEP_BYTES_MAX)).await;
        cursor = match done {
            Ok(Ok(scrubbed)) => {
                pace.wait(scrubbed.bytes.max(STEP_COST_MIN)).await;
                scrubbed.next
            }
            Ok(Err(error)) => {
                // A file may be gone that was deleted meanwhile; a disk that fails is told of by who writes.
                tracing::debug!(partition = %partition.id(), error = %error.chain(), "log was not scrubbed to its end");
                note_failure(partition, &error);
                None
            }
            Err(error) => {
                tracing::error!(partition = %partition.id(), %error, "scrub panicked");
                None
            }
        };
        if partition.is_retired() {
            return;
        }
    }
}

/// A sector that cannot be read is worth a word; the records are lost to readers as well.
fn note_failure(partition: &Partition, error: &LogError) {
    if let LogError::Io { source, .. } = error
        && source.kind() != std::io::ErrorKind::NotFound
        && !partition.is_retired()
    {
        tracing::warn!(partition = %partition.id(), error = %error.chain(), "scrub cannot read a log");
    }
}

/// Rests so that a rate is kept.
struct Pace {
    bytes_per_second: u64,
    free_at: Instant,
}

impl Pace {
    async fn wait(&mut self, bytes: u64) {
        tokio::time::sleep_until(self.after(bytes, Instant::now())).await;
    }

    /// When the next step may begin after one of so many bytes.
    fn after(&mut self, bytes: u64, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.free_at = self.free_at.max(now) + cost;
        self.free_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_kept_and_time_without_work_is_not_made_up_for() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace { bytes_per_second: 1_000, free_at: start };
        assert_eq!(pace.after(500, start), start + second / 2);
        assert_eq!(pace.after(1_500, start), start + 2 * second);
        assert_eq!(pace.after(1_000, start + 10 * second), start + 11 * second);
    }
}
