//! What the next request asks for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Tracked;
use crate::context::Broker;
use crate::replication::session::{Key, Wanted};

/// One request's partitions.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) wanted: HashMap<Key, Wanted>,
    /// When a partition that is left out may be asked for again.
    pub(super) next: Option<Instant>,
}

impl Plan {
    /// Takes everything that is not resting and not held back. Partitions that are not followed in their epoch any
    /// more are dropped; their next role has been told, or will be.
    pub(super) fn new(broker: &Broker, tracked: &mut HashMap<Key, Tracked>, now: Instant) -> Plan {
        let bytes_max = broker.settings.replication.fetch_bytes_max;
        let mut plan = Plan::default();
        let mut held: Vec<Key> = Vec::new();
        tracked.retain(|key, tracked| {
            let Some(question) = tracked.partition.question(tracked.epoch) else { return false };
            tracked.asked = None;
            if let Some(until) = tracked.rests_until.filter(|until| *until > now) {
                plan.not_before(until);
                return true;
            }
            tracked.rests_until = None;
            tracked.in_sync = question.in_sync;
            tracked.asked = Some(question.ask);
            let wanted = Wanted {
                epoch: question.ask.leader_epoch,
                fetch_offset: question.ask.offset,
                last_fetched_epoch: question.ask.last_epoch,
                log_start: question.ask.log_start,
                high_watermark: question.high_watermark,
                bytes_max,
            };
            if !question.in_sync && broker.replication.throttles.follower.holds(tracked.partition.id()) {
                held.push(*key);
            }
            plan.wanted.insert(*key, wanted);
            true
        });
        plan.ration(broker, &held, now);
        plan
    }

    /// Throttled partitions share what may go now, or wait until something may.
    fn ration(&mut self, broker: &Broker, held: &[Key], now: Instant) {
        if held.is_empty() {
            return;
        }
        let throttle = &broker.replication.throttles.follower;
        let Some(allowance) = throttle.allowance(now) else { return };
        let share = i32::try_from(allowance / held.len()).unwrap_or(i32::MAX);
        for key in held {
            match self.wanted.get_mut(key) {
                Some(wanted) if allowance > 0 => wanted.bytes_max = wanted.bytes_max.min(share.max(1)),
                _ => drop(self.wanted.remove(key)),
            }
        }
        if allowance == 0 {
            self.not_before(now + throttle.opens_in(now).unwrap_or(Duration::ZERO));
        }
    }

    fn not_before(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// How long the leader may hold the request: not longer than a partition that is left out has to wait.
    pub(super) fn wait(&self, max: Duration, now: Instant) -> Duration {
        self.next.map_or(max, |next| next.saturating_duration_since(now).min(max))
    }
}
