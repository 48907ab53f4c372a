//! Bytes per second that all compactions together may read and write.
//!
//! Picture: every piece of work moves the time at which the next one may begin. Who comes too early waits, in short steps,
//! so that a stop is noticed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use twinstream_log::{Interrupted, Pace};

/// Longest wait without a look at whether the broker stops.
const STEP: Duration = Duration::from_millis(50);
/// A rate from which on nobody has to wait.
const UNLIMITED: f64 = 1e15;
/// Work is never put off by more than this at once, whatever rate was set.
const DEBT_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Allowance {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    bytes_per_second: f64,
    /// When the bytes that were spent so far are paid for.
    paid_at: Option<Instant>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { bytes_per_second: f64::MAX, paid_at: None }) }
    }
}

impl Allowance {
    /// From now on so many.
    pub(super) fn set(&self, bytes_per_second: f64) {
        self.inner.lock().bytes_per_second = bytes_per_second.max(1.0);
    }

    /// Until when to wait after these bytes.
    fn spend(&self, bytes: u64, now: Instant) -> Option<Instant> {
        let mut inner = self.inner.lock();
        if inner.bytes_per_second >= UNLIMITED {
            return None;
        }
        let cost = Duration::try_from_secs_f64(bytes as f64 / inner.bytes_per_second).unwrap_or(DEBT_MAX).min(DEBT_MAX);
        let paid_at = inner.paid_at.map_or(now, |at| at.max(now)) + cost;
        inner.paid_at = Some(paid_at);
        Some(paid_at)
    }
}

/// The pace of a compaction that ends when the broker stops.
pub(super) struct Stopping<'a> {
    pub(super) allowance: &'a Allowance,
    pub(super) stop: &'a CancellationToken,
}

impl Pace for Stopping<'_> {
    fn spent(&self, bytes: u64) -> Result<(), Interrupted> {
        let until = self.allowance.spend(bytes, Instant::now());
        loop {
            if self.stop.is_cancelled() {
                return Err(Interrupted);
            }
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(STEP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_puts_off_the_next_one() {
        let (allowance, now) = (Allowance::default(), Instant::now());
        assert_eq!(allowance.spend(1 << 40, now), None, "without a limit");
        allowance.set(1_000.0);
        assert_eq!(allowance.spend(500, now), Some(now + Duration::from_millis(500)));
        assert_eq!(allowance.spend(500, now), Some(now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(60);
        assert_eq!(allowance.spend(100, later), Some(later + Duration::from_millis(100)), "rest is not saved up");
    }

    #[test]
    fn stop_is_noticed_while_waiting() {
        let (allowance, stop) = (Allowance::default(), CancellationToken::new());
        allowance.set(1.0);
        stop.cancel();
        assert_eq!(Stopping { allowance: &allowance, stop: &stop }.spent(1 << 20), Err(Interrupted));
    }
}
