//! What the checkpoint connector and the bookkeeping of offsets count.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use twinstream_model::{GroupId, TopicName, TopicPartition};

struct Metrics {
    latency: IntGaugeVec,
    synced: IntCounterVec,
    left: IntCounterVec,
    refused: IntCounterVec,
    not_written: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    latency: IntGaugeVec::new(
        Opts::new(
            "kafka_connect_mirror_mirrorcheckpointconnector_checkpoint_latency_ms",
            "Time from reading a group's offset at the source until the target had it.",
        ),
        &["source", "target", "group", "topic", "partition"],
    )
    .expect("constant metric name"),
    synced: counter(
        "kafka_connect_mirror_mirrorcheckpointconnector_group_offset_write_count",
        "Offsets of groups written on the target.",
        &["source", "target"],
    ),
    left: counter(
        "kafka_connect_mirror_mirrorcheckpointconnector_group_offset_left_count",
        "Offsets of groups that were left because the target's group is further by its own doing.",
        &["source", "target"],
    ),
    refused: counter(
        "kafka_connect_mirror_mirrorcheckpointconnector_group_offset_failure_count",
        "Groups whose offsets the target did not take; each is tried again.",
        &["source", "target"],
    ),
    not_written: counter(
        "twinstream_mirror_offset_record_failures_total",
        "Writes of offset-syncs or of the offset map that failed and are tried again.",
        &["topic"],
    ),
});

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("constant metric name")
}

pub(crate) fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(METRICS.latency.clone()))?;
    for counter in [&METRICS.synced, &METRICS.left, &METRICS.refused, &METRICS.not_written] {
        registry.register(Box::new(counter.clone()))?;
    }
    Ok(())
}

/// The figures of one task.
#[derive(Clone, Debug)]
pub(crate) struct LinkMetrics {
    source: String,
    target: String,
}

impl LinkMetrics {
    pub(crate) fn new(source: &str, target: &str) -> Self {
        Self { source: source.to_owned(), target: target.to_owned() }
    }

    pub(crate) fn written(&self, group: &GroupId, partition: &TopicPartition, after_ms: i64) {
        METRICS.synced.with_label_values(&[&self.source, &self.target]).inc();
        let index = partition.partition.to_string();
        let labels = [&self.source, &self.target, group.as_str(), partition.topic.as_str(), &index];
        METRICS.latency.with_label_values(&labels).set(after_ms);
    }

    pub(crate) fn refused(&self) {
        METRICS.refused.with_label_values(&[&self.source, &self.target]).inc();
    }

    pub(crate) fn left(&self) {
        METRICS.left.with_label_values(&[&self.source, &self.target]).inc();
    }
}

/// A write of bookkeeping failed.
pub(crate) fn not_written(topic: &TopicName) {
    METRICS.not_written.with_label_values(&[topic.as_str()]).inc();
}
