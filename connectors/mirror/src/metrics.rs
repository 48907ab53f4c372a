//! What is counted, under MirrorMaker 2's names as its users know them from Prometheus; the worker's binary registers
//! them with [`register`].
//!
//! A record counts when the target has acknowledged it. `byte_count` counts batches as they travel, compressed;
//! MirrorMaker 2 counts unpacked values. Each partition holds its own figures, so that nothing is looked up by name for a
//! batch.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use twinstream_model::TopicPartition;

use crate::engine::standing::Standing;

const LABELS: [&str; 4] = ["source", "target", "topic", "partition"];
const STATE_LABELS: [&str; 5] = ["source", "target", "topic", "partition", "state"];

pub(crate) struct Metrics {
    record_count: IntCounterVec,
    byte_count: IntCounterVec,
    record_age: IntGaugeVec,
    latency: IntGaugeVec,
    lag: IntGaugeVec,
    lost: IntCounterVec,
    diverged: IntCounterVec,
    aborted: IntCounterVec,
    state: IntGaugeVec,
    changes: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    record_count: counter("kafka_connect_mirror_mirrorsourceconnector_record_count", "Records copied."),
    byte_count: counter(
        "kafka_connect_mirror_mirrorsourceconnector_byte_count",
        "Bytes of batches copied, as they travel.",
    ),
    record_age: gauge(
        "kafka_connect_mirror_mirrorsourceconnector_record_age_ms",
        "Age of the newest record of the last batch when it was handed on.",
    ),
    latency: gauge(
        "kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms",
        "Age of the newest record of the last batch when the target acknowledged it.",
    ),
    lag: gauge("kafka_connect_mirror_mirrorsourceconnector_record_lag", "Records of the source beyond the position."),
    lost: counter(
        "kafka_connect_mirror_mirrorsourceconnector_record_lost",
        "Records that the source removed before they were copied.",
    ),
    diverged: counter(
        "kafka_connect_mirror_mirrorsourceconnector_record_diverged",
        "Records that were copied and that the source lost afterwards.",
    ),
    aborted: counter(
        "kafka_connect_mirror_mirrorsourceconnector_record_aborted",
        "Records of aborted transactions that were left out.",
    ),
    state: IntGaugeVec::new(
        Opts::new(
            "kafka_connect_mirror_mirrorsourceconnector_partition_state",
            "1 for the state that the copy of a partition is in.",
        ),
        &STATE_LABELS,
    )
    .expect("constant metric name"),
    changes: IntCounterVec::new(
        Opts::new(
            "kafka_connect_mirror_mirrorsourceconnector_partition_state_changes",
            "How often the copy of a partition came into a state.",
        ),
        &STATE_LABELS,
    )
    .expect("constant metric name"),
});

/// How many hold the figures of a partition: while it moves from one task to another, two do.
static HOLDERS: LazyLock<Mutex<BTreeMap<[String; 4], usize>>> = LazyLock::new(Mutex::default);

/// Adds the figures to a registry; once per process.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    crate::checkpoint::metrics::register(registry)?;
    let metrics = &*METRICS;
    let counters = [
        &metrics.record_count,
        &metrics.byte_count,
        &metrics.lost,
        &metrics.diverged,
        &metrics.aborted,
        &metrics.changes,
    ];
    for counter in counters {
        registry.register(Box::new(counter.clone()))?;
    }
    for gauge in [&metrics.record_age, &metrics.latency, &metrics.lag, &metrics.state] {
        registry.register(Box::new(gauge.clone()))?;
    }
    Ok(())
}

/// The figures of one partition; those that speak of now leave the registry with it.
pub(crate) struct PartitionMetrics {
    labels: [String; 4],
    record_count: IntCounter,
    byte_count: IntCounter,
    record_age: IntGauge,
    latency: IntGauge,
    lag: IntGauge,
    aborted: IntCounter,
}

impl PartitionMetrics {
    /// `partition` is the one on the target, as MirrorMaker 2 labels it.
    pub(crate) fn new(source: &str, target: &str, partition: &TopicPartition) -> PartitionMetrics {
        let (topic, index) = (partition.topic.to_string(), partition.partition.to_string());
        let labels = [source.to_owned(), target.to_owned(), topic, index];
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        *holders.entry(labels.clone()).or_insert(0) += 1;
        let values = labels.each_ref().map(String::as_str);
        PartitionMetrics {
            record_count: METRICS.record_count.with_label_values(&values),
            byte_count: METRICS.byte_count.with_label_values(&values),
            record_age: METRICS.record_age.with_label_values(&values),
            latency: METRICS.latency.with_label_values(&values),
            lag: METRICS.lag.with_label_values(&values),
            aborted: METRICS.aborted.with_label_values(&values),
            labels,
        }
    }

    fn values(&self) -> [&str; 4] {
        self.labels.each_ref().map(String::as_str)
    }

    fn with_state(&self, state: Standing) -> [&str; 5] {
        let [source, target, topic, partition] = self.values();
        [source, target, topic, partition, state.name()]
    }

    pub(crate) fn handed_on(&self, age_ms: i64) {
        self.record_age.set(age_ms);
    }

    /// The target has acknowledged a batch.
    pub(crate) fn copied(&self, records: u32, bytes: usize, latency_ms: i64) {
        self.record_count.inc_by(u64::from(records));
        self.byte_count.inc_by(bytes as u64);
        self.latency.set(latency_ms);
    }

    pub(crate) fn lag(&self, records: i64) {
        self.lag.set(records);
    }

    pub(crate) fn aborted(&self, records: u64) {
        self.aborted.inc_by(records);
    }

    /// The partition stands differently, or had to leave something out.
    pub(crate) fn stands(&self, standing: Standing, lost: i64, diverged: i64) {
        for other in Standing::ALL.into_iter().filter(|other| *other != standing) {
            METRICS.state.remove_label_values(&self.with_state(other)).ok(); // was not in that state
        }
        METRICS.state.with_label_values(&self.with_state(standing)).set(1);
        METRICS.changes.with_label_values(&self.with_state(standing)).inc();
        let count = |counter: &IntCounterVec, records: i64| {
            if let Some(records) = u64::try_from(records).ok().filter(|records| *records > 0) {
                counter.with_label_values(&self.values()).inc_by(records);
            }
        };
        count(&METRICS.lost, lost);
        count(&METRICS.diverged, diverged);
    }
}

impl Drop for PartitionMetrics {
    /// Only the gauges go: they speak of now. Counters stay, another task goes on with them.
    fn drop(&mut self) {
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        match holders.get_mut(&self.labels) {
            Some(others) if *others > 1 => {
                *others -= 1;
                return;
            }
            _ => _ = holders.remove(&self.labels),
        }
        for gauge in [&METRICS.record_age, &METRICS.latency, &METRICS.lag] {
            gauge.remove_label_values(&self.values()).ok(); // never set: nothing to remove
        }
        for state in Standing::ALL {
            METRICS.state.remove_label_values(&self.with_state(state)).ok(); // was not in that state
        }
    }
}

fn counter(name: &str, help: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), &LABELS).expect("constant metric name")
}

fn gauge(name: &str, help: &str) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), &LABELS).expect("constant metric name")
}
