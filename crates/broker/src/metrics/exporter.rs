//! Topics and brokers under kafka_exporter's names, read off the image and the logs when somebody scrapes.
//!
//! Picture: kafka_exporter is one process that asks the whole cluster; here each broker tells its own part. A partition's
//! series come from its leader, a topic's from the leader of its first partition that has one, a broker's from the broker.
//!
//! Invariants: a scrape of all brokers has each series once, so sums over them are those that kafka_exporter's boards
//! expect; a partition without leader has none, see `offlinepartitionscount`.
//!
//! Not here: groups (`group_lag`), `kafka_brokers` (`cluster`).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use twinstream_metadata::{Image, PartitionImage};
use twinstream_model::{NodeId, PartitionIndex, TopicName};

use super::cluster::{gauge, gauge_family};
use super::logs::{label, partition_labels};
use crate::partitions::{Partition, PartitionManager};
use crate::settings::Settings;

const BROKER: (&str, &str) = ("kafka_broker_info", "1, with the id and the address of this broker.");
const TOPIC: (&str, &str) = ("kafka_topic_partitions", "Partitions of the topic.");

/// A partition that this broker leads.
struct Led<'i> {
    topic: &'i TopicName,
    index: PartitionIndex,
    image: &'i PartitionImage,
    /// `None` for the moment in which it is led by the metadata and not yet in fact.
    here: Option<Arc<Partition>>,
}

/// Name, help, and how to read it.
type Figure = (&'static str, &'static str, fn(&Led<'_>) -> Option<f64>);

const PER_PARTITION: [Figure; 7] = [
    ("kafka_topic_partition_current_offset", "Offset behind the last committed record.", |led| {
        Some(led.here.as_ref()?.high_watermark().0 as f64)
    }),
    ("kafka_topic_partition_oldest_offset", "Offset of the oldest record.", |led| {
        Some(led.here.as_ref()?.log().log_start_offset().0 as f64)
    }),
    ("kafka_topic_partition_leader", "Id of the broker that leads the partition.", |led| {
        Some(f64::from(led.image.leader?.0))
    }),
    ("kafka_topic_partition_leader_is_preferred", "1 if the preferred replica leads, else 0.", |led| {
        Some(f64::from(u8::from(led.image.leader == led.image.preferred_leader())))
    }),
    ("kafka_topic_partition_replicas", "Replicas of the partition.", |led| Some(led.image.replicas.len() as f64)),
    ("kafka_topic_partition_in_sync_replica", "In-sync replicas of the partition.", |led| {
        Some(led.image.isr.len() as f64)
    }),
    ("kafka_topic_partition_under_replicated_partition", "1 if a replica is not in sync, else 0.", |led| {
        Some(f64::from(u8::from(led.image.isr.len() < led.image.original_replicas().len())))
    }),
];

/// The collector.
#[derive(Clone)]
pub(crate) struct ExporterFigures {
    image: Arc<ArcSwap<Image>>,
    partitions: Arc<PartitionManager>,
    settings: Arc<Settings>,
    descs: Vec<Desc>,
}

impl ExporterFigures {
    pub(crate) fn new(image: Arc<ArcSwap<Image>>, partitions: Arc<PartitionManager>, settings: Arc<Settings>) -> Self {
        let desc = |(name, help): (&str, &str), labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
                .expect("a metric of ours has a legal name")
        };
        let mut descs = vec![desc(BROKER, &["address", "id"]), desc(TOPIC, &["topic"])];
        descs.extend(PER_PARTITION.iter().map(|(name, help, _)| desc((name, help), &["partition", "topic"])));
        Self { image, partitions, settings, descs }
    }

    fn of_broker(&self, image: &Image) -> Option<Metric> {
        let id = self.settings.node.id;
        let endpoint = image.broker(id)?.endpoints.first()?;
        let address = crate::controller::address(&endpoint.host, endpoint.port);
        Some(member(vec![label("address", address), label("id", id.to_string())], 1.0))
    }
}

impl Collector for ExporterFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let image = self.image.load_full();
        let node = self.settings.node.id;
        let here = self.partitions.all();
        let mut topics = Vec::new();
        let mut led = Vec::new();
        for topic in image.topics() {
            if first_leader(topic.partitions.iter()) == Some(node) {
                let labels = vec![label("topic", topic.name.to_string())];
                topics.push(member(labels, topic.partitions.len() as f64));
            }
            for (index, image) in topic.iter().filter(|(_, partition)| partition.leader == Some(node)) {
                let at = twinstream_model::TopicPartition::new(topic.name.clone(), index);
                let here = here.get(&at).map(|(partition, _)| Arc::clone(partition));
                let here = here.filter(|partition| partition.topic_id() == topic.id);
                led.push(Led { topic: &topic.name, index, image, here });
            }
        }
        let mut families = vec![
            gauge_family(BROKER.0, BROKER.1, self.of_broker(&image).into_iter().collect()),
            gauge_family(TOPIC.0, TOPIC.1, topics),
        ];
        families.extend(PER_PARTITION.iter().map(|(name, help, read)| {
            let members = led.iter().filter_map(|led| Some(member(partition_labels(led.topic, led.index), read(led)?)));
            gauge_family(name, help, members.collect())
        }));
        families
    }
}

/// Who tells of a topic as a whole.
fn first_leader<'p>(mut partitions: impl Iterator<Item = &'p PartitionImage>) -> Option<NodeId> {
    partitions.find_map(|partition| partition.leader)
}

fn member(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge(value));
    metric
}
