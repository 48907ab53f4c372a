//! What was measured in the last minute, for figures that Kafka shows as averages of late.
//!
//! Invariants: as many slots as seconds of a minute; adding is a lock and an addition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Kafka's rates and averages look back as far: two samples of thirty seconds.
const LOOK_BACK: Duration = Duration::from_secs(60);
const SLOT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Slot {
    since: Instant,
    sum: f64,
    count: u64,
}

/// Sum and number of what was measured; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    slots: Arc<Mutex<VecDeque<Slot>>>,
}

impl Recent {
    pub(crate) fn add(&self, value: f64, now: Instant) {
        let mut slots = self.slots.lock();
        match slots.back_mut() {
            Some(slot) if now.duration_since(slot.since) < SLOT => {
                slot.sum += value;
                slot.count += 1;
            }
            _ => slots.push_back(Slot { since: now, sum: value, count: 1 }),
        }
        while slots.front().is_some_and(|slot| now.duration_since(slot.since) > LOOK_BACK) {
            slots.pop_front();
        }
    }

    /// The mean of what was added within the last minute, 0 if that is nothing.
    pub(crate) fn mean(&self, now: Instant) -> f64 {
        let (sum, count) = self.total(now);
        if count == 0 { 0.0 } else { sum / count as f64 }
    }

    /// What was added within the last minute, per second.
    pub(crate) fn per_second(&self, now: Instant) -> f64 {
        self.total(now).0 / LOOK_BACK.as_secs_f64()
    }

    fn total(&self, now: Instant) -> (f64, u64) {
        let slots = self.slots.lock();
        let recent = slots.iter().filter(|slot| now.duration_since(slot.since) <= LOOK_BACK);
        recent.fold((0.0, 0), |(sum, count), slot| (sum + slot.sum, count + slot.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let recent = Recent::default();
        let begin = Instant::now();
        recent.add(10.0, begin);
        recent.add(20.0, begin + Duration::from_millis(10));
        recent.add(60.0, begin + Duration::from_secs(30));
        assert_eq!(recent.mean(begin + Duration::from_secs(40)), 30.0);
        assert_eq!(recent.per_second(begin + Duration::from_secs(40)), 1.5);
        assert_eq!(recent.mean(begin + Duration::from_secs(70)), 60.0);
        assert_eq!(recent.mean(begin + Duration::from_secs(200)), 0.0);
    }
}
