//! What goes in and out of topics.
//!
//! Picture: the counters of the common case, traffic that succeeds, are kept by topic, so that a batch costs one look-up
//! and not one per figure; failures are rare and look their counters up.
//!
//! The series without a topic are those of all topics together, as Kafka has them: sums over topics leave them out with
//! `topic!=""`. They do not shrink when a topic goes.
//!
//! Invariants: one addition per batch or partition, never per record; a deleted topic's series go with it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec};
use twinstream_telemetry::Metrics;

/// Traffic by topic, and of all topics.
pub(crate) struct TopicTraffic {
    counters: Counters,
    produced: RwLock<HashMap<String, Arc<Produced>>>,
    fetched: RwLock<HashMap<String, Arc<Fetched>>>,
    all_produced: Produced,
    all_fetched: Fetched,
}

/// Counters by topic.
struct Counters {
    messages_in: IntCounterVec,
    bytes_in: IntCounterVec,
    bytes_out: IntCounterVec,
    bytes_rejected: IntCounterVec,
    produce_requests: IntCounterVec,
    fetch_requests: IntCounterVec,
    failed_produce_requests: IntCounterVec,
    failed_fetch_requests: IntCounterVec,
}

/// Label of the series of all topics together; an empty label counts as none.
const ALL: &str = "";

/// What a topic's successful produce requests count.
struct Produced {
    requests: IntCounter,
    messages: IntCounter,
    bytes: IntCounter,
}

/// What a topic's successful fetch requests count.
struct Fetched {
    requests: IntCounter,
    bytes: IntCounter,
}

impl TopicTraffic {
    pub(super) fn new(registry: &Metrics) -> Self {
        let counter = |what: &str, help: &str| {
            registry.counter_vec(&format!("kafka_server_brokertopicmetrics_{what}_total"), help, &["topic"])
        };
        let counters = Counters {
            messages_in: counter("messagesin", "Records produced."),
            bytes_in: counter("bytesin", "Bytes of records produced."),
            bytes_out: counter("bytesout", "Bytes of records fetched by clients."),
            bytes_rejected: counter("bytesrejected", "Bytes of batches over the size limit."),
            produce_requests: counter("totalproducerequests", "Partitions in produce requests."),
            fetch_requests: counter("totalfetchrequests", "Partitions in fetch requests."),
            failed_produce_requests: counter("failedproducerequests", "Partitions of produce requests that failed."),
            failed_fetch_requests: counter("failedfetchrequests", "Partitions of fetch requests that failed."),
        };
        Self {
            all_produced: counters.produced_in(ALL),
            all_fetched: counters.fetched_from(ALL),
            counters,
            produced: RwLock::default(),
            fetched: RwLock::default(),
        }
    }

    /// One partition of a produce request was appended.
    pub(crate) fn produced(&self, topic: &str, records: u64, bytes: u64) {
        let counters = of_topic(&self.produced, topic, || self.counters.produced_in(topic));
        for counters in [&*counters, &self.all_produced] {
            counters.requests.inc();
            counters.messages.inc_by(records);
            counters.bytes.inc_by(bytes);
        }
    }

    /// One partition of a produce request failed.
    pub(crate) fn produce_failed(&self, topic: &str) {
        for topic in [topic, ALL] {
            self.counters.produce_requests.with_label_values(&[topic]).inc();
            self.counters.failed_produce_requests.with_label_values(&[topic]).inc();
        }
    }

    /// A batch was over the size limit.
    pub(crate) fn rejected(&self, topic: &str, bytes: u64) {
        for topic in [topic, ALL] {
            self.counters.bytes_rejected.with_label_values(&[topic]).inc_by(bytes);
        }
    }

    /// One partition of a fetch request was answered.
    pub(crate) fn fetched(&self, topic: &str, bytes: u64) {
        let counters = of_topic(&self.fetched, topic, || self.counters.fetched_from(topic));
        for counters in [&*counters, &self.all_fetched] {
            counters.requests.inc();
            counters.bytes.inc_by(bytes);
        }
    }

    /// One partition of a fetch request failed.
    pub(crate) fn fetch_failed(&self, topic: &str) {
        for topic in [topic, ALL] {
            self.counters.fetch_requests.with_label_values(&[topic]).inc();
            self.counters.failed_fetch_requests.with_label_values(&[topic]).inc();
        }
    }

    /// The topic is gone, and with it its series.
    pub(crate) fn forget(&self, topic: &str) {
        self.produced.write().remove(topic);
        self.fetched.write().remove(topic);
        for counter in [
            &self.counters.messages_in,
            &self.counters.bytes_in,
            &self.counters.bytes_out,
            &self.counters.bytes_rejected,
            &self.counters.produce_requests,
            &self.counters.fetch_requests,
            &self.counters.failed_produce_requests,
            &self.counters.failed_fetch_requests,
        ] {
            // A topic without traffic has no series, which is what is wanted.
            counter.remove_label_values(&[topic]).ok();
        }
    }
}

impl Counters {
    /// Failures get their series along with the others, so that they are seen to be none.
    fn produced_in(&self, topic: &str) -> Produced {
        self.bytes_rejected.with_label_values(&[topic]);
        self.failed_produce_requests.with_label_values(&[topic]);
        Produced {
            requests: self.produce_requests.with_label_values(&[topic]),
            messages: self.messages_in.with_label_values(&[topic]),
            bytes: self.bytes_in.with_label_values(&[topic]),
        }
    }

    fn fetched_from(&self, topic: &str) -> Fetched {
        self.failed_fetch_requests.with_label_values(&[topic]);
        Fetched {
            requests: self.fetch_requests.with_label_values(&[topic]),
            bytes: self.bytes_out.with_label_values(&[topic]),
        }
    }
}

/// The counters of a topic, made at its first traffic.
fn of_topic<C>(all: &RwLock<HashMap<String, Arc<C>>>, topic: &str, make: impl FnOnce() -> C) -> Arc<C> {
    if let Some(known) = all.read().get(topic) {
        return Arc::clone(known);
    }
    Arc::clone(all.write().entry(topic.to_owned()).or_insert_with(|| Arc::new(make())))
}

#[cfg(test)]
mod tests;
