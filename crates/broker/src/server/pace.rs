//! How fast new connections are taken in: `max.connection.creation.rate` (KIP-612).
//!
//! Picture: each connection moves the time of the next one on by a share of a second. Who comes earlier waits in the system's
//! queue (`socket.listen.backlog.size`), because nobody accepts meanwhile. A second's worth may come at once, so that clients that
//! start together are not held up.
//!
//! Invariants: over any time t no more than rate * (t + 1 s) connections are taken.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How much may come at once.
const BURST: Duration = Duration::from_secs(1);
/// How long a wait lasts before the rate, which may change at run time, is looked at again.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(500);

/// The pace of all listeners together.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next connection would come if all came evenly.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// Takes a connection in, or says how long to wait before asking again.
    pub(super) fn take(&self, rate: u32, now: Instant) -> Result<(), Duration> {
        if rate >= i32::MAX as u32 {
            return Ok(());
        }
        if rate == 0 {
            return Err(WAIT_MAX);
        }
        let mut next = self.next.lock();
        let due = next.map_or(now, |next| next.max(now)) + BURST / rate;
        let ahead = due.saturating_duration_since(now);
        if ahead > BURST {
            return Err((ahead - BURST).min(WAIT_MAX));
        }
        *next = Some(due);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worth_comes_at_once_and_the_rest_evenly() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert_eq!((0..20).filter(|_| pace.take(10, start).is_ok()).count(), 10);
        let wait = pace.take(10, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(pace.take(10, start + wait).is_ok());
        assert!(pace.take(10, start + wait).is_err());
    }

    #[test]
    fn no_more_than_the_rate_comes_over_a_long_time() {
        let (pace, start) = (Pace::default(), Instant::now());
        let taken = (0..10_000).filter(|n| pace.take(10, start + Duration::from_millis(*n)).is_ok()).count();
        assert!((109..=110).contains(&taken), "{taken}");
    }

    #[test]
    fn a_rate_that_grows_ends_a_long_wait() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert!(pace.take(1, start).is_ok());
        assert_eq!(pace.take(1, start), Err(WAIT_MAX), "the rate is looked at before the second is over");
        assert!(pace.take(1000, start).is_ok() || pace.take(1000, start + Duration::from_millis(1)).is_ok());
    }

    #[test]
    fn without_a_bound_nobody_waits_and_with_zero_nobody_comes() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert!((0..100_000).all(|_| pace.take(i32::MAX as u32, now).is_ok()));
        assert!(pace.take(0, now).is_err());
    }
}
