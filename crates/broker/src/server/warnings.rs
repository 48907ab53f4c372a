//! Warnings that a client can cause at will, such as a connection that is closed for a bad frame, over and over.
//!
//! Invariants: at most [`PER_SECOND_MAX`] of a kind in a second; what was left out is counted and told with the next one
//! that is written. The rest is there at level DEBUG.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Enough to see who it is, and little enough that the log of the broker stays readable and the disk does not fill.
const PER_SECOND_MAX: u32 = 10;

/// The warnings of one kind.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the present second began.
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Warnings {
    /// Whether another one may be written; if so, how many were left out since the last one.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            state.since = Some(now);
            state.written = 0;
        }
        if state.written >= PER_SECOND_MAX {
            state.left_out += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_its_bound_and_counted() {
        let (warnings, start) = (Warnings::default(), Instant::now());
        let written = (0..1000).filter(|_| warnings.admit(start) == Some(0)).count();
        assert_eq!(written, PER_SECOND_MAX as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(warnings.admit(later), Some(1000 - u64::from(PER_SECOND_MAX)));
        assert_eq!(warnings.admit(later), Some(0));
    }
}
