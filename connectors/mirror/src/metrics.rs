//! What is counted, under MirrorMaker 2's names as its users know them from Prometheus; the worker's binary registers
//! them with [`register`].
//!
//! `byte_count` counts batches as they travel, compressed; MirrorMaker 2 counts unpacked values.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use twinstream_model::TopicPartition;

const LABELS: [&str; 4] = ["source", "target", "topic", "partition"];

pub(crate) struct Metrics {
    record_count: IntCounterVec,
    byte_count: IntCounterVec,
    record_age: IntGaugeVec,
    lag: IntGaugeVec,
    lost: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    record_count: counter("kafka_connect_mirror_mirrorsourceconnector_record_count", "Records copied."),
    byte_count: counter(
        "kafka_connect_mirror_mirrorsourceconnector_byte_count",
        "Bytes of batches copied, as they travel.",
    ),
    record_age: gauge(
        "kafka_connect_mirror_mirrorsourceconnector_record_age_ms",
        "Age of the newest record of the last batch when it was copied.",
    ),
    lag: gauge("kafka_connect_mirror_mirrorsourceconnector_record_lag", "Records of the source beyond the position."),
    lost: counter(
        "kafka_connect_mirror_mirrorsourceconnector_record_lost",
        "Records that the source removed before they were copied.",
    ),
});

/// Adds the figures to a registry; once per process.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    let metrics = &*METRICS;
    for counter in [&metrics.record_count, &metrics.byte_count, &metrics.lost] {
        registry.register(Box::new(counter.clone()))?;
    }
    for gauge in [&metrics.record_age, &metrics.lag] {
        registry.register(Box::new(gauge.clone()))?;
    }
    Ok(())
}

/// The figures of one partition; they leave the registry with it.
pub(crate) struct PartitionMetrics {
    labels: [String; 4],
}

impl PartitionMetrics {
    /// `partition` is the one on the target, as MirrorMaker 2 labels it.
    pub(crate) fn new(source: &str, target: &str, partition: &TopicPartition) -> PartitionMetrics {
        PartitionMetrics {
            labels: [
                source.to_owned(),
                target.to_owned(),
                partition.topic.to_string(),
                partition.partition.to_string(),
            ],
        }
    }

    fn values(&self) -> [&str; 4] {
        self.labels.each_ref().map(String::as_str)
    }

    pub(crate) fn copied(&self, records: u32, bytes: usize, age_ms: i64) {
        METRICS.record_count.with_label_values(&self.values()).inc_by(u64::from(records));
        METRICS.byte_count.with_label_values(&self.values()).inc_by(bytes as u64);
        METRICS.record_age.with_label_values(&self.values()).set(age_ms);
    }

    pub(crate) fn lag(&self, records: i64) {
        METRICS.lag.with_label_values(&self.values()).set(records);
    }

    pub(crate) fn lost(&self, records: i64) {
        METRICS.lost.with_label_values(&self.values()).inc_by(u64::try_from(records).unwrap_or(0));
    }
}

impl Drop for PartitionMetrics {
    /// Only the gauges go: they speak of now. Counters stay, another task goes on with them.
    fn drop(&mut self) {
        for gauge in [&METRICS.record_age, &METRICS.lag] {
            gauge.remove_label_values(&self.values()).ok(); // never set: nothing to remove
        }
    }
}

fn counter(name: &str, help: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), &LABELS).expect("constant metric name")
}

fn gauge(name: &str, help: &str) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), &LABELS).expect("constant metric name")
}
