//! Figures that are read off the cluster's image when somebody scrapes.
//!
//! Invariants: nothing here is counted along the way, so nothing can drift from what the image says.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, Metric, MetricFamily, MetricType};
use twinstream_metadata::{Image, PartitionImage};
use twinstream_model::NodeId;

/// Name, help, and how to read it.
type Figure = (&'static str, &'static str, fn(&Image, NodeId) -> usize);

const FIGURES: [Figure; 11] = [
    ("kafka_server_replicamanager_partitioncount", "Partitions with a replica on this broker.", |image, node| {
        count(image, |partition| partition.replicas.contains(&node))
    }),
    ("kafka_server_replicamanager_leadercount", "Partitions that this broker leads.", |image, node| {
        count(image, |partition| partition.leader == Some(node))
    }),
    (
        "kafka_server_replicamanager_offlinereplicacount",
        "Replicas of this broker whose log directory failed.",
        |image, node| count(image, |partition| partition.offline.contains(&node)),
    ),
    ("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a leader.", |image, _| {
        count(image, |partition| partition.leader.is_none())
    }),
    ("kafka_controller_kafkacontroller_activebrokercount", "Brokers that serve clients.", |image, _| {
        image.live_brokers().count()
    }),
    (
        "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
        "Partitions that their preferred replica does not lead.",
        |image, _| count(image, |partition| partition.leader != partition.preferred_leader()),
    ),
    (
        "kafka_server_replicamanager_reassigningpartitions",
        "Partitions that this broker leads and whose replicas are being exchanged.",
        |image, node| count(image, |partition| partition.leader == Some(node) && partition.is_reassigning()),
    ),
    (
        "kafka_controller_kafkacontroller_fencedbrokercount",
        "Registered brokers that do not serve clients.",
        |image, _| image.brokers().filter(|broker| broker.fenced).count(),
    ),
    ("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.", |image, _| image.topic_count()),
    ("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.", |image, _| {
        image.partition_count()
    }),
    ("kafka_brokers", "Brokers that serve clients, under the name of kafka_exporter.", |image, _| {
        image.live_brokers().count()
    }),
];

fn count(image: &Image, wanted: impl Fn(&PartitionImage) -> bool) -> usize {
    image.topics().flat_map(|topic| topic.partitions.iter()).filter(|partition| wanted(partition)).count()
}

/// The collector.
#[derive(Clone)]
pub(super) struct ClusterFigures {
    image: Arc<ArcSwap<Image>>,
    node: NodeId,
    descs: Vec<Desc>,
}

impl ClusterFigures {
    pub(super) fn new(image: Arc<ArcSwap<Image>>, node: NodeId) -> Self {
        let desc = |(name, help, _): &Figure| {
            Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), HashMap::new())
                .expect("a metric of ours has a legal name")
        };
        Self { image, node, descs: FIGURES.iter().map(desc).collect() }
    }
}

impl Collector for ClusterFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let image = self.image.load();
        let read = |read: fn(&Image, NodeId) -> usize| Metric::from_gauge(gauge(read(&image, self.node) as f64));
        FIGURES.iter().map(|(name, help, figure)| family(name, help, read(*figure))).collect()
    }
}

pub(super) fn gauge(value: f64) -> Gauge {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    gauge
}

/// A family of gauges with one member.
pub(super) fn family(name: &str, help: &str, metric: Metric) -> MetricFamily {
    gauge_family(name, help, vec![metric])
}

/// A family of gauges.
pub(super) fn gauge_family(name: &str, help: &str, members: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(members);
    family
}
