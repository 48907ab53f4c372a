//! How well the partitions that this broker leads are replicated, read off the image when somebody scrapes.
//!
//! Picture: one row per led partition with its replicas, its in-sync replicas and the least that it may have; the
//! counts of the replica manager are sums over the rows. Only the leader reports a partition, as in Kafka, so that sums
//! over brokers count each partition once. A partition without leader is nobody's row: see `offlinepartitionscount`.
//!
//! Invariants: as many series as led partitions, times a constant; replicas that a reassignment adds do not count as
//! missing.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily};
use twinstream_metadata::configs;
use twinstream_metadata::{Image, PartitionImage};
use twinstream_model::{PartitionIndex, TopicName};

use super::cluster::{family, gauge, gauge_family};
use super::logs::partition_labels;
use crate::settings::Settings;
use crate::settings::live::LiveSettings;

const MIN_ISR: &str = "min.insync.replicas";

/// One led partition.
struct Row {
    topic: TopicName,
    partition: PartitionIndex,
    replicas: usize,
    isr: usize,
    min_isr: usize,
}

impl Row {
    /// A partition with fewer replicas than the topic asks for needs only those that it has.
    fn new(topic: &TopicName, partition: PartitionIndex, image: &PartitionImage, min_isr: usize) -> Self {
        let replicas = replication_factor(image);
        let min_isr = min_isr.min(replicas);
        Self { topic: topic.clone(), partition, replicas, isr: image.isr.len(), min_isr }
    }

    fn is_under_replicated(&self) -> bool {
        self.isr < self.replicas
    }

    fn is_under_min_isr(&self) -> bool {
        self.isr < self.min_isr
    }

    fn is_at_min_isr(&self) -> bool {
        self.isr == self.min_isr
    }
}

/// Replicas that the partition has, without those that a reassignment is about to add.
fn replication_factor(image: &PartitionImage) -> usize {
    image.original_replicas().len()
}

/// Name, help, and how to read it off a row.
type Figure<T> = (&'static str, &'static str, fn(&Row) -> T);

const COUNTS: [Figure<bool>; 3] = [
    (
        "kafka_server_replicamanager_underreplicatedpartitions",
        "Partitions that this broker leads and that lack an in-sync replica.",
        Row::is_under_replicated,
    ),
    (
        "kafka_server_replicamanager_underminisrpartitioncount",
        "Partitions that this broker leads and that have fewer in-sync replicas than min.insync.replicas.",
        Row::is_under_min_isr,
    ),
    (
        "kafka_server_replicamanager_atminisrpartitioncount",
        "Partitions that this broker leads and that have exactly min.insync.replicas in sync.",
        Row::is_at_min_isr,
    ),
];

const PER_PARTITION: [Figure<usize>; 5] = [
    ("kafka_cluster_partition_replicascount", "Replicas of the partition.", |row| row.replicas),
    ("kafka_cluster_partition_insyncreplicascount", "In-sync replicas of the partition.", |row| row.isr),
    ("kafka_cluster_partition_underreplicated", "1 if the partition lacks an in-sync replica.", |row| {
        usize::from(row.is_under_replicated())
    }),
    ("kafka_cluster_partition_underminisr", "1 if fewer than min.insync.replicas are in sync.", |row| {
        usize::from(row.is_under_min_isr())
    }),
    ("kafka_cluster_partition_atminisr", "1 if exactly min.insync.replicas are in sync.", |row| {
        usize::from(row.is_at_min_isr())
    }),
];

/// The collector.
#[derive(Clone)]
pub(crate) struct InSyncFigures {
    image: Arc<ArcSwap<Image>>,
    settings: Arc<Settings>,
    descs: Vec<Desc>,
}

impl InSyncFigures {
    pub(crate) fn new(image: Arc<ArcSwap<Image>>, settings: Arc<Settings>) -> Self {
        let desc = |name: &str, help: &str, labels: Vec<String>| {
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
                .expect("a metric of ours has a legal name")
        };
        let counts = COUNTS.iter().map(|(name, help, _)| desc(name, help, Vec::new()));
        let labels = || vec!["partition".to_owned(), "topic".to_owned()];
        let per_partition = PER_PARTITION.iter().map(|(name, help, _)| desc(name, help, labels()));
        Self { image, settings, descs: counts.chain(per_partition).collect() }
    }

    fn rows(&self) -> Vec<Row> {
        let image = self.image.load();
        let node = self.settings.node.id;
        let live = LiveSettings::new(&self.settings, &image);
        let mut rows = Vec::new();
        for topic in image.topics() {
            let mut led = topic.iter().filter(|(_, partition)| partition.leader == Some(node)).peekable();
            if led.peek().is_none() {
                continue;
            }
            let min_isr = configs::find(MIN_ISR)
                .map(|config| configs::effective(&image, &topic.name, config, &live))
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(1);
            rows.extend(led.map(|(index, partition)| Row::new(&topic.name, index, partition, min_isr)));
        }
        rows
    }
}

impl Collector for InSyncFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let rows = self.rows();
        let counts = COUNTS.iter().map(|(name, help, is)| {
            let count = rows.iter().filter(|row| is(row)).count();
            family(name, help, Metric::from_gauge(gauge(count as f64)))
        });
        let mut families: Vec<MetricFamily> = counts.collect();
        families.extend(PER_PARTITION.iter().map(|(name, help, read)| {
            let members = rows.iter().map(|row| {
                let mut metric = Metric::from_label(partition_labels(&row.topic, row.partition));
                metric.set_gauge(gauge(read(row) as f64));
                metric
            });
            gauge_family(name, help, members.collect())
        }));
        families
    }
}

#[cfg(test)]
mod tests;
