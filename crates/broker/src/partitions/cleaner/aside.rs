//! Logs that could not be compacted.
//!
//! What was wrong may pass: a damaged stretch is repaired from a replica, a full disk gets room. So a log is tried again
//! after a while, where Kafka waits for a restart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use twinstream_model::TopicPartition;

/// How long a log is left alone.
const PAUSE: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Aside {
    logs: BTreeMap<TopicPartition, (usize, Instant)>,
}

impl Aside {
    pub(super) fn add(&mut self, at: TopicPartition, dir: usize, now: Instant) {
        self.logs.insert(at, (dir, now + PAUSE));
    }

    /// Gives logs another try whose time has come.
    pub(super) fn release(&mut self, now: Instant) {
        self.logs.retain(|_, (_, until)| *until > now);
    }

    pub(super) fn holds(&self, at: &TopicPartition) -> bool {
        self.logs.contains_key(at)
    }

    pub(super) fn retain(&mut self, is_there: impl Fn(&TopicPartition) -> bool) {
        self.logs.retain(|at, _| is_there(at));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicPartition, usize)> {
        self.logs.iter().map(|(at, (dir, _))| (at, *dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinstream_model::TopicName;

    #[test]
    fn log_is_tried_again_after_a_while() {
        let at = TopicPartition::new(TopicName::parse("t").unwrap(), 0);
        let (mut aside, now) = (Aside::default(), Instant::now());
        aside.add(at.clone(), 1, now);
        aside.release(now + PAUSE - Duration::from_millis(1));
        assert!(aside.holds(&at));
        assert_eq!(aside.iter().collect::<Vec<_>>(), [(&at, 1)]);
        aside.release(now + PAUSE);
        assert!(!aside.holds(&at));
    }
}
