//! What the checkpoint connector and the bookkeeping of offsets count. How long positions take is among the figures of the link.

use std::sync::{Arc, LazyLock};

use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts};
use twinstream_model::TopicName;

struct Metrics {
    synced: IntCounterVec,
    left: IntCounterVec,
    refused: IntCounterVec,
    not_written: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
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

pub(crate) fn collectors() -> Vec<Arc<dyn Collector>> {
    let counters = [&METRICS.synced, &METRICS.left, &METRICS.refused, &METRICS.not_written];
    counters.into_iter().map(|counter| Arc::new(counter.clone()) as _).collect()
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

    pub(crate) fn written(&self) {
        METRICS.synced.with_label_values(&[&self.source, &self.target]).inc();
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
