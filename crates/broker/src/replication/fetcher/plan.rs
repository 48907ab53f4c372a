//! What the next request asks for.
//!
//! Picture: most rounds concern the few partitions that the last answer named. Those, and whatever came, rested long
//! enough or is held by a throttle, are asked anew where they stand; all others stay in the session as they are.
//!
//! Invariant: where only what is on the disk counts, nothing is asked for from an offset that is not; the leader would take
//! the question for a promise. This is the one place that can ask.

use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use twinstream_model::TopicPartition;

use super::{FLUSH_PAUSE, Fetcher, Tracked};
use crate::context::Broker;
use crate::partitions::{Followed, Question};
use crate::replication::session::{Key, Wanted};
use crate::settings::ReplicationSettings;

/// How often it is looked whether what a throttle holds back has joined the ISR: from then on producers wait for it.
const HELD_INTERVAL: Duration = Duration::from_millis(50);

impl Fetcher {
    /// Brings the session up to date. Returns when something that is left out may be asked for again.
    pub(super) fn plan(&mut self, now: Instant) -> Option<Instant> {
        let generation = self.broker.replication.throttles.follower.generation();
        if std::mem::replace(&mut self.throttle_generation, generation) != generation {
            self.fresh = self.tracked.keys().copied().collect();
        }
        self.resting.retain(|key, until| {
            let is_over = *until <= now;
            if is_over {
                self.fresh.insert(*key);
            }
            !is_over
        });
        self.fresh.extend(std::mem::take(&mut self.held));
        for key in std::mem::take(&mut self.fresh) {
            self.place(key, now);
        }
        let opens = self.ration(now);
        self.resting.values().copied().chain(opens).min()
    }

    /// Asks a partition where it stands and puts it into the session, or takes it out.
    fn place(&mut self, key: Key, now: Instant) {
        if self.resting.contains_key(&key) {
            return self.session.drop(&key);
        }
        if self.tracked.get(&key).is_some_and(|tracked| tracked.partition.hides_its_end()) {
            return self.put_off(key, now);
        }
        let question = self.tracked.get(&key).and_then(|tracked| tracked.partition.question(tracked.epoch));
        let (Some(tracked), Some(question)) = (self.tracked.get_mut(&key), question) else {
            // Not followed in this epoch any more; its next role has been told, or will be.
            self.tracked.remove(&key);
            return self.session.drop(&key);
        };
        tracked.asked = Some(question.ask);
        let at = tracked.partition.id();
        let is_throttled = self.broker.replication.throttles.follower.holds(at);
        // Right after a change of leader it does not know the high watermark, and may be in sync nevertheless.
        tracked.in_sync = question.in_sync || (is_throttled && is_in_isr(&self.broker, at));
        if is_throttled && !tracked.in_sync {
            self.held.insert(key);
        }
        self.session.want(key, wanted(question, fetch_bytes(&self.broker.settings.replication, None)));
    }

    /// Leaves out a partition until its log is flushed. One whose disk has failed never is.
    fn put_off(&mut self, key: Key, now: Instant) {
        self.session.drop(&key);
        let Some(tracked) = self.tracked.get(&key) else { return };
        match tracked.partition.has_failed() {
            true => self.settle(key, Followed::Failed),
            false => {
                tracked.partition.request_flush();
                self.resting.insert(key, now + FLUSH_PAUSE);
            }
        }
    }

    /// Throttled partitions share what may go now, or are left out until something may.
    fn ration(&mut self, now: Instant) -> Option<Instant> {
        if self.held.is_empty() {
            return None;
        }
        let throttle = &self.broker.replication.throttles.follower;
        let allowance = throttle.allowance(now)?;
        if allowance == 0 {
            self.held.iter().for_each(|key| self.session.drop(key));
            return Some(now + throttle.opens_in(now).unwrap_or(Duration::ZERO).min(HELD_INTERVAL));
        }
        let share = fetch_bytes(&self.broker.settings.replication, Some(allowance / self.held.len()));
        for key in &self.held {
            let question =
                self.tracked.get(key).and_then(|tracked: &Tracked| tracked.partition.question(tracked.epoch));
            if let Some(question) = question {
                self.session.want(*key, wanted(question, share));
            }
        }
        None
    }
}

/// Whether the newest image counts this broker's replica among those that producers wait for.
fn is_in_isr(broker: &Broker, at: &TopicPartition) -> bool {
    let image = broker.image.load();
    let state = image.partition(&at.topic, at.partition);
    state.is_some_and(|state| state.isr.contains(&broker.settings.node.id))
}

/// Bytes of one partition, which a throttle may bound further.
fn fetch_bytes(settings: &ReplicationSettings, share: Option<usize>) -> i32 {
    let share = share.map(|share| i32::try_from(share).unwrap_or(i32::MAX).max(1));
    share.map_or(settings.fetch_bytes_max, |share| share.min(settings.fetch_bytes_max))
}

fn wanted(question: Question, bytes_max: i32) -> Wanted {
    Wanted {
        epoch: question.ask.leader_epoch,
        fetch_offset: question.ask.offset,
        last_fetched_epoch: question.ask.last_epoch,
        log_start: question.ask.log_start,
        high_watermark: question.high_watermark,
        bytes_max,
    }
}

/// A request within the bounds of the settings. The leader may hold it, but not longer than a partition that is left out has
/// to wait.
pub(super) fn bounded(settings: &ReplicationSettings, next: Option<Instant>, now: Instant) -> FetchRequest {
    let max = settings.fetch_wait_max;
    let wait = next.map_or(max, |next| next.saturating_duration_since(now).min(max));
    FetchRequest::default()
        .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(settings.fetch_bytes_min)
        .with_max_bytes(settings.response_bytes_max)
}

#[cfg(test)]
mod tests;
