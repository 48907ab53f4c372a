//! How much replication traffic may pass: `leader.replication.throttled.rate` and its twin for followers.
//!
//! Picture: a bucket that fills with `rate` bytes a second and holds at most what a quarter of a second brings. Who
//! wants to move records asks first whether the bucket is open and pays *afterwards* what was moved, even if that is
//! more than there was: the size of an answer is known only when it is there. The debt is paid back by waiting.
//!
//! Consequences: over any stretch of `t` seconds at most `rate * (t + 0.25)` bytes plus one answer pass, and a mover that
//! always has more to move and asks at least every quarter of a second moves at least `rate * t`. So the rate is held
//! within 10 % over a few seconds if an answer is at most a fraction of a second's worth; [`Throttle::ration`] says how
//! large an answer should be for that. Kafka averages over 11 windows of 1 s instead, with the same long-run rate but
//! bursts of several seconds' worth.
//!
//! Not here: which replicas are throttled (topic configs), and the exemption of in-sync replicas (KIP-73): the traffic of
//! those is counted and never held back, else a throttle could shrink an ISR.

use std::time::{Duration, Instant};

/// What an idle bucket saves up, in time.
const BURST: Duration = Duration::from_millis(250);
/// The smallest ration: below it the cost of a request outweighs the smoothness.
const RATION_MIN: u64 = 64 << 10;

/// A bucket for the traffic of one direction of one broker.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// Bytes a second, `None` lets everything pass.
    rate: Option<u64>,
    /// Bytes at hand at the time `at`; negative is debt.
    balance: f64,
    at: Instant,
}

impl Throttle {
    /// A new bucket is empty: a change of the rate must not be a gift.
    pub fn new(rate: Option<u64>, now: Instant) -> Throttle {
        Throttle { rate, balance: 0.0, at: now }
    }

    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Another rate from now on. A debt is kept, to be paid at the new rate, unless there is none any more.
    pub fn set_rate(&mut self, rate: Option<u64>, now: Instant) {
        self.fill(now);
        self.rate = rate;
        if rate.is_none() {
            self.balance = 0.0;
        }
    }

    /// Whether records may be moved now.
    pub fn is_open(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.rate.is_none() || self.balance >= 0.0
    }

    /// When the bucket opens, `None` if it is open.
    pub fn opens_in(&mut self, now: Instant) -> Option<Duration> {
        if self.is_open(now) {
            return None;
        }
        let rate = self.rate.unwrap_or(1).max(1) as f64;
        Some(Duration::from_secs_f64(-self.balance / rate))
    }

    /// How many bytes the next answer should have at most; `None` if that does not matter.
    pub fn ration(&self) -> Option<u64> {
        self.rate.map(|rate| (rate / 4).max(RATION_MIN))
    }

    /// Bytes were moved.
    pub fn spend(&mut self, bytes: u64, now: Instant) {
        self.fill(now);
        if self.rate.is_some() {
            self.balance -= bytes as f64;
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        if let Some(rate) = self.rate {
            let most = rate as f64 * BURST.as_secs_f64();
            self.balance = (self.balance + rate as f64 * passed.as_secs_f64()).min(most);
        }
    }
}

#[cfg(test)]
mod tests;
