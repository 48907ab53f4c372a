//! Size and offsets of every log, and how far mirrors are behind, read when somebody scrapes.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use twinstream_log::PartitionLog;
use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

use super::cluster::{gauge, gauge_family};
use crate::partitions::PartitionManager;

type Figure = (&'static str, &'static str, fn(&PartitionLog) -> f64);

const FIGURES: [Figure; 4] = [
    ("kafka_log_log_size", "Bytes of the log's segments.", |log| log.size() as f64),
    ("kafka_log_log_numlogsegments", "Segments of the log.", |log| log.segment_count() as f64),
    ("kafka_log_log_logstartoffset", "First offset of the log.", |log| log.log_start_offset().0 as f64),
    ("kafka_log_log_logendoffset", "Offset of the log's next record.", |log| log.log_end_offset().0 as f64),
];

const MIRROR_LAG: (&str, &str) = (
    "twinstream_mirror_lag_records",
    "Offsets that the source of a mirror has committed and the mirror does not have, as its link last said.",
);

/// The collector.
#[derive(Clone)]
pub(crate) struct LogFigures {
    partitions: Arc<PartitionManager>,
    descs: Vec<Desc>,
}

impl LogFigures {
    pub(crate) fn new(partitions: Arc<PartitionManager>) -> Self {
        let desc = |(name, help): (&str, &str)| {
            let labels = vec!["partition".to_owned(), "topic".to_owned()];
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
                .expect("a metric of ours has a legal name")
        };
        let all = FIGURES.iter().map(|(name, help, _)| (*name, *help)).chain([MIRROR_LAG]);
        Self { partitions, descs: all.map(desc).collect() }
    }
}

impl Collector for LogFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let all = self.partitions.all();
        let member = |at: &TopicPartition, value: f64| {
            let mut metric = Metric::from_label(partition_labels(&at.topic, at.partition));
            metric.set_gauge(gauge(value));
            metric
        };
        let of_logs = FIGURES.iter().map(|(name, help, read)| {
            let members = all.iter().map(|(at, (partition, _))| member(at, read(&partition.log())));
            gauge_family(name, help, members.collect())
        });
        let mut families: Vec<MetricFamily> = of_logs.collect();
        let lag = all.iter().filter_map(|(at, (partition, _))| Some(member(at, partition.mirror_lag()? as f64)));
        families.push(gauge_family(MIRROR_LAG.0, MIRROR_LAG.1, lag.collect()));
        families
    }
}

/// The labels of a partition's series, in the order that the registry wants.
pub(super) fn partition_labels(topic: &TopicName, partition: PartitionIndex) -> Vec<LabelPair> {
    vec![label("partition", partition.to_string()), label("topic", topic.to_string())]
}

pub(super) fn label(name: &str, value: String) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value);
    label
}
