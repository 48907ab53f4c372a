//! What is counted, under MirrorMaker 2's names as its users know them from Prometheus; the worker's binary declares
//! [`collectors`].
//!
//! A record counts when the target has acknowledged it. `byte_count` counts batches as they travel, compressed;
//! MirrorMaker 2 counts unpacked values. Each partition holds its own figures, so that nothing is looked up by name for a
//! batch. What speaks of now (lags, ages, what is verified) is read off [`crate::figures`] when somebody scrapes
//! ([`gauges`]).

mod gauges;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts};
use twinstream_model::{Offset, TopicPartition};

use crate::engine::standing::Standing;
use crate::figures::{self, Heard, Mode, PartitionFigures};
use crate::observer::now_ms;

const LABELS: [&str; 4] = ["source", "target", "topic", "partition"];
const STATE_LABELS: [&str; 5] = ["source", "target", "topic", "partition", "state"];

pub(crate) struct Metrics {
    record_count: IntCounterVec,
    byte_count: IntCounterVec,
    lost: IntCounterVec,
    diverged: IntCounterVec,
    aborted: IntCounterVec,
    echoes: IntCounterVec,
    state: IntGaugeVec,
    changes: IntCounterVec,
    differences: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    record_count: counter("kafka_connect_mirror_mirrorsourceconnector_record_count", "Records copied."),
    byte_count: counter(
        "kafka_connect_mirror_mirrorsourceconnector_byte_count",
        "Bytes of batches copied, as they travel.",
    ),
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
    echoes: counter(
        "kafka_connect_mirror_mirrorsourceconnector_record_echo",
        "Records that were left out because they have been at the target.",
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
    differences: counter(
        "twinstream_mirror_verify_difference_total",
        "Records, or batches that cannot be read, in which source and target differ.",
    ),
});

/// How many hold the figures of a partition: while it moves from one task to another, two do.
static HOLDERS: LazyLock<Mutex<BTreeMap<[String; 4], usize>>> = LazyLock::new(Mutex::default);

/// The figures of this process, for the worker's registry.
pub fn collectors() -> Vec<Arc<dyn Collector>> {
    let metrics = &*METRICS;
    let counters = [
        &metrics.record_count,
        &metrics.byte_count,
        &metrics.lost,
        &metrics.diverged,
        &metrics.aborted,
        &metrics.echoes,
        &metrics.changes,
        &metrics.differences,
    ];
    let mut all: Vec<Arc<dyn Collector>> = counters.into_iter().map(|counter| Arc::new(counter.clone()) as _).collect();
    all.push(Arc::new(metrics.state.clone()));
    all.push(Arc::new(gauges::Gauges::new()));
    all.extend(crate::checkpoint::metrics::collectors());
    all.extend(crate::acls::collectors());
    all
}

/// Verification has found differences in a partition; `target` is its name there.
pub(crate) fn differ(source: &str, target: &str, partition: &TopicPartition, differences: u64) {
    let index = partition.partition.to_string();
    let labels = [source, target, partition.topic.as_str(), &index];
    METRICS.differences.with_label_values(&labels).inc_by(differences);
}

/// What a task tells of one partition.
pub(crate) struct PartitionMetrics {
    labels: [String; 4],
    record_count: IntCounter,
    byte_count: IntCounter,
    aborted: IntCounter,
    echoes: IntCounter,
    figures: Arc<PartitionFigures>,
}

impl PartitionMetrics {
    /// By aliases, and by the names of the partition at the source and on the target; MirrorMaker 2 labels it with the latter.
    pub(crate) fn new(
        source: &str,
        target: &str,
        there: &TopicPartition,
        partition: &TopicPartition,
    ) -> PartitionMetrics {
        let (topic, index) = (partition.topic.to_string(), partition.partition.to_string());
        let labels = [source.to_owned(), target.to_owned(), topic, index];
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        *holders.entry(labels.clone()).or_insert(0) += 1;
        let values = labels.each_ref().map(String::as_str);
        let figures = figures::link(source, target).partition(there, partition);
        figures.held();
        PartitionMetrics {
            record_count: METRICS.record_count.with_label_values(&values),
            byte_count: METRICS.byte_count.with_label_values(&values),
            aborted: METRICS.aborted.with_label_values(&values),
            echoes: METRICS.echoes.with_label_values(&values),
            labels,
            figures,
        }
    }

    fn values(&self) -> [&str; 4] {
        self.labels.each_ref().map(String::as_str)
    }

    fn with_state(&self, state: Standing) -> [&str; 5] {
        let [source, target, topic, partition] = self.values();
        [source, target, topic, partition, state.name()]
    }

    pub(crate) fn copied_as(&self, mode: Mode) {
        self.figures.copied_as(mode);
    }

    pub(crate) fn handed_on(&self, age_ms: i64) {
        self.figures.handed_on(age_ms, now_ms());
    }

    /// The target has acknowledged a batch.
    pub(crate) fn copied(&self, records: u32, bytes: usize) {
        self.record_count.inc_by(u64::from(records));
        self.byte_count.inc_by(bytes as u64);
        self.figures.copied(u64::from(records), bytes as u64, now_ms());
    }

    /// The source has told where it ends; what is before `arrived` is on the target.
    pub(crate) fn heard(&self, heard: &Heard, arrived: Offset) {
        self.figures.heard(heard, arrived, now_ms());
    }

    /// The source ends there, says its leader to somebody who does not fetch.
    pub(crate) fn ends_at(&self, end: Offset) {
        self.figures.ends_at(end, now_ms());
    }

    /// What is before `arrived` is on the target; `newest` is the time of the newest record that came with it.
    pub(crate) fn arrived(&self, arrived: Offset, newest: Option<i64>) {
        let now = now_ms();
        self.figures.arrived(arrived, newest.map(|timestamp| ((now - timestamp).max(0), timestamp)), now);
    }

    pub(crate) fn aborted(&self, records: u64) {
        self.aborted.inc_by(records);
    }

    /// Records that have been at the target are left out.
    pub(crate) fn echoed(&self, records: u64) {
        self.echoes.inc_by(records);
    }

    /// The partition stands differently, or had to leave something out.
    pub(crate) fn stands(&self, standing: Standing, cause: &str, lost: i64, diverged: i64) {
        self.figures.stands(standing, cause);
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
        self.figures.let_go();
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        match holders.get_mut(&self.labels) {
            Some(others) if *others > 1 => {
                *others -= 1;
                return;
            }
            _ => _ = holders.remove(&self.labels),
        }
        for state in Standing::ALL {
            METRICS.state.remove_label_values(&self.with_state(state)).ok(); // was not in that state
        }
    }
}

fn counter(name: &str, help: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), &LABELS).expect("constant metric name")
}
