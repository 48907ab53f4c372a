//! Throttled replication: moving replicas may take only so many bytes per second (KIP-73).
//!
//! Picture: two sides. The *leader's* side bounds what this broker sends to followers that are not in sync, of the
//! partitions that the topic config `leader.replication.throttled.replicas` lists; the *follower's* side bounds what
//! it fetches of those in `follower.replication.throttled.replicas` while it is not in sync. The rates are broker
//! configs that may change while the broker runs.
//!
//! Invariants: replicas that are in sync are never held back, since producers wait for them; without a rate, or
//! without listed partitions, nothing is looked at but one pointer.
//!
//! Not here: the arithmetic (`twinstream_replication::throttle`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use twinstream_metadata::configs::{BrokerDefaults, parse_list};
use twinstream_metadata::{ConfigResource, Image};
use twinstream_model::{NodeId, PartitionIndex, TopicName, TopicPartition};
use twinstream_replication::throttle::Throttle;

use crate::settings::Settings;
use crate::settings::live::LiveSettings;

/// Both sides.
pub(crate) struct Throttles {
    pub(crate) leader: Side,
    pub(crate) follower: Side,
    /// Whether they come from an image that knows this run of the process.
    settled: AtomicBool,
}

/// What one side may do.
pub(crate) struct Side {
    rate_config: &'static str,
    replicas_config: &'static str,
    limited: ArcSwap<Limited>,
    /// Grows with each change of rate or list.
    generation: AtomicU64,
    bucket: Mutex<Throttle>,
}

/// The partitions that are held back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Limited {
    topics: HashMap<TopicName, Which>,
}

#[derive(Debug, PartialEq, Eq)]
enum Which {
    All,
    Some(BTreeSet<PartitionIndex>),
}

impl Throttles {
    pub(crate) fn new() -> Throttles {
        Throttles {
            leader: Side::new("leader.replication.throttled.rate", "leader.replication.throttled.replicas"),
            follower: Side::new("follower.replication.throttled.rate", "follower.replication.throttled.replicas"),
            settled: AtomicBool::new(false),
        }
    }

    /// Takes rates and lists over from an image, which either knows this run of the process or is of an earlier one.
    pub(crate) fn update(&self, settings: &Settings, image: &Image, of_this_run: bool, now: Instant) {
        self.leader.update(settings, image, now);
        self.follower.update(settings, image, now);
        self.settled.fetch_or(of_this_run, Ordering::AcqRel);
    }

    /// Whether rates and lists are those of this run. An older image may name leaders that are none any more, and does
    /// not know the throttles that were set while the broker was away.
    pub(crate) fn are_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }
}

impl Side {
    fn new(rate_config: &'static str, replicas_config: &'static str) -> Side {
        Side {
            rate_config,
            replicas_config,
            limited: ArcSwap::default(),
            generation: AtomicU64::new(0),
            bucket: Mutex::new(Throttle::new(None, Instant::now())),
        }
    }

    fn update(&self, settings: &Settings, image: &Image, now: Instant) {
        let given = LiveSettings::new(settings, image).given(self.rate_config);
        let rate = given.and_then(|text| text.trim().parse::<u64>().ok()).filter(|rate| *rate < i64::MAX as u64);
        let mut bucket = self.bucket.lock();
        if bucket.rate() != rate {
            tracing::info!(config = self.rate_config, rate, "throttle changed");
            bucket.set_rate(rate, now);
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        drop(bucket);
        let limited = match rate {
            Some(_) => Limited::of(image, self.replicas_config, settings.node.id),
            None => Limited::default(),
        };
        if **self.limited.load() != limited {
            self.limited.store(Arc::new(limited));
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Another number than before when [`Side::holds`] may answer otherwise.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a partition is held back on this broker at all.
    pub(crate) fn holds(&self, at: &TopicPartition) -> bool {
        let limited = self.limited.load();
        match limited.topics.get(&at.topic) {
            None => false,
            Some(Which::All) => true,
            Some(Which::Some(partitions)) => partitions.contains(&at.partition),
        }
    }

    /// Bytes that may go now: 0 while what went is not paid off, `None` without a limit.
    pub(crate) fn allowance(&self, now: Instant) -> Option<usize> {
        let mut bucket = self.bucket.lock();
        let ration = usize::try_from(bucket.ration()?).unwrap_or(usize::MAX);
        Some(if bucket.is_open(now) { ration } else { 0 })
    }

    /// When something may go again, `None` if it may now.
    pub(crate) fn opens_in(&self, now: Instant) -> Option<Duration> {
        self.bucket.lock().opens_in(now)
    }

    /// Takes what went; a batch that is larger than what was left is paid off later.
    pub(crate) fn spend(&self, bytes: usize, now: Instant) {
        self.bucket.lock().spend(bytes as u64, now);
    }
}

impl Limited {
    fn of(image: &Image, config: &str, node: NodeId) -> Limited {
        let mut limited = Limited::default();
        for resource in image.config_resources() {
            let ConfigResource::Topic(topic) = resource else { continue };
            let Some(text) = image.config(resource, config) else { continue };
            if let Some(which) = Which::parse(text, node) {
                limited.topics.insert(topic.clone(), which);
            }
        }
        limited
    }
}

impl Which {
    /// `*`, or `partition:broker` pairs of which those of this broker count. The values were checked when they were set.
    fn parse(text: &str, node: NodeId) -> Option<Which> {
        let mut listed = BTreeSet::new();
        for item in parse_list(text) {
            if item == "*" {
                return Some(Which::All);
            }
            let Some((partition, broker)) = item.split_once(':') else { continue };
            if let (Ok(partition), Ok(broker)) = (partition.parse(), broker.parse::<i32>())
                && broker == node.0
            {
                listed.insert(PartitionIndex(partition));
            }
        }
        (!listed.is_empty()).then_some(Which::Some(listed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_replicas_of_this_broker_are_held_back() {
        let of = |text: &str| Which::parse(text, NodeId(2));
        assert_eq!(of("*"), Some(Which::All));
        assert_eq!(of("0:1,0:2,3:2,4:3"), Some(Which::Some([PartitionIndex(0), PartitionIndex(3)].into())));
        assert_eq!(of("0:1"), None);
        assert_eq!(of(""), None);
    }
}
