//! An open loop: records are due at fixed times, whatever became of the ones before.
//!
//! Picture: a timetable. A latency is counted from the time in the table, not from when the sender got round to it, so a
//! broker that stalls for a second is charged for every record that was due in that second ("coordinated omission" is the
//! name of the mistake to leave that out).

use std::time::{Duration, Instant};

/// Records due at a steady rate.
#[derive(Clone, Copy, Debug)]
pub struct OpenLoop {
    start: Instant,
    interval: Duration,
}

impl OpenLoop {
    /// `None` for a rate that is no positive number.
    pub fn new(start: Instant, per_second: f64) -> Option<Self> {
        if !(per_second.is_finite() && per_second > 0.0) {
            return None;
        }
        Some(Self { start, interval: Duration::from_secs_f64(1.0 / per_second) })
    }

    /// When the record with this number is due, from 0.
    pub fn due(&self, number: u32) -> Instant {
        self.start + self.interval * number
    }

    /// How long the sender may sleep before this record; zero when it is late.
    pub fn pause(&self, number: u32, now: Instant) -> Duration {
        self.due(number).saturating_duration_since(now)
    }

    /// Microseconds between when a record was due and now.
    pub fn latency_us(&self, number: u32, now: Instant) -> f64 {
        now.saturating_duration_since(self.due(number)).as_nanos() as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests;
