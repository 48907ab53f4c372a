//! What was appended a moment ago.
//!
//! Picture: who reads at the end of a busy log gets what was written milliseconds before. That is in the page cache, and
//! asking the kernel would cost two system calls for every fetch. But being near the end is not enough: a log that rests,
//! or that grows by a small batch now and then, has a tail as old as any other bytes, and the kernel may have taken it. So a
//! segment keeps one mark, a position and when it was set: what lies behind it was appended later.
//!
//! Invariants: bytes pass for fresh for [`FRESH_FOR`] at most after they were appended. A mark only errs to the other side:
//! when it moves on, readers that are a little behind ask the kernel once. A cut leaves it true, what comes behind a cut
//! is younger still.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use super::Segment;

/// So long, in tenths of a second, bytes are in memory without asking: the kernel does not even begin to write them out.
const FRESH_FOR: u32 = 10;
/// A mark moves on when it is that old, so that all that is appended has some time behind one.
const MARK_FOR: u32 = 5;
/// Further from the end than this bytes are asked for, whenever they came.
const FRESH_BYTES: u64 = 256 << 10;

/// Tenths of a second of a clock that only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u32);

impl Moment {
    /// The clock of the kernel's last tick: a few nanoseconds, no system call.
    pub(crate) fn now() -> Moment {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        let tenths = time.tv_sec.saturating_mul(10).saturating_add(time.tv_nsec / 100_000_000);
        Moment(u32::try_from(tenths).unwrap_or(u32::MAX)) // of thirteen years without a start
    }

    fn since(self, earlier: Moment) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    #[cfg(test)]
    pub(crate) fn later(self, tenths: u32) -> Moment {
        Moment(self.0.saturating_add(tenths))
    }
}

/// What was appended since a mark was set.
#[derive(Debug)]
pub(super) struct Fresh {
    /// Position, and the moment, in the upper half.
    mark: AtomicU64,
}

impl Default for Fresh {
    /// Nothing was appended yet.
    fn default() -> Fresh {
        Fresh { mark: AtomicU64::new(u64::from(u32::MAX)) }
    }
}

impl Fresh {
    /// Bytes were appended at `position`. There is one writer at a time.
    pub(super) fn appended(&self, position: u64, now: Moment) {
        let (_, set) = self.mark();
        if now.since(set) >= MARK_FOR {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            self.mark.store(u64::from(now.0) << 32 | u64::from(position), Ordering::Relaxed);
        }
    }

    /// Whether what lies at `position` and behind was appended a moment before `now`.
    fn reaches(&self, position: u64, now: Moment) -> bool {
        let (from, set) = self.mark();
        position >= from && now.since(set) <= FRESH_FOR
    }

    fn mark(&self) -> (u64, Moment) {
        let mark = self.mark.load(Ordering::Relaxed);
        (mark & u64::from(u32::MAX), Moment((mark >> 32) as u32))
    }
}

impl Segment {
    /// Whether this was appended so short a time before that it is in memory without asking.
    pub(crate) fn is_fresh(&self, position: u64, now: Moment) -> bool {
        position + FRESH_BYTES >= self.size() && self.fresh.reaches(position, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment(1_000);

    #[test]
    fn nothing_is_fresh_before_something_was_appended() {
        let fresh = Fresh::default();
        for now in [Moment(0), Moment(1), START] {
            assert!(!fresh.reaches(0, now) && !fresh.reaches(1 << 31, now), "{now:?}");
        }
    }

    #[test]
    fn bytes_are_fresh_for_a_moment_and_not_for_ever() {
        let fresh = Fresh::default();
        fresh.appended(0, START);
        assert!(fresh.reaches(0, START) && fresh.reaches(0, START.later(FRESH_FOR)));
        assert!(!fresh.reaches(0, START.later(FRESH_FOR + 1)));
    }

    #[test]
    fn a_batch_now_and_then_does_not_make_old_bytes_fresh() {
        let fresh = Fresh::default();
        for batch in 0..20 {
            let now = START.later(batch * 9);
            fresh.appended(u64::from(batch) * 100, now);
            assert!(fresh.reaches(u64::from(batch) * 100, now), "batch {batch}");
            assert!(batch == 0 || !fresh.reaches(u64::from(batch - 1) * 100, now), "batch {batch}");
        }
    }

    #[test]
    fn a_reader_at_the_end_of_a_busy_log_never_has_to_ask() {
        let fresh = Fresh::default();
        for batch in 0..1_000 {
            let now = START.later(batch / 10);
            fresh.appended(u64::from(batch) * 100, now);
            assert!(fresh.reaches(u64::from(batch) * 100, now), "batch {batch}");
        }
    }

    #[test]
    fn nothing_passes_for_fresh_a_second_after_it_came_however_batches_fall() {
        let fresh = Fresh::default();
        let mut came = Vec::new();
        let mut now = START;
        for batch in 0..500_u32 {
            now = now.later(batch * 7 % 13 % 4);
            fresh.appended(u64::from(batch), now);
            came.push(now);
            let old = came.iter().filter(|at| now.since(**at) > FRESH_FOR).count();
            assert!(!(0..old).any(|position| fresh.reaches(position as u64, now)), "batch {batch}");
        }
    }
}
