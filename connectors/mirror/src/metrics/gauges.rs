//! Gauges that are read off the figures when somebody scrapes: a lag grows while nothing happens, and nothing is set for a
//! batch. What has no value now (nothing was copied yet, the verifier is off) has no line.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::figures::age::Summary;
use crate::figures::{self, Rpo, Seen};
use crate::observer::now_ms;

/// Name, help, and how to read it off a partition.
type Figure = (&'static str, &'static str, fn(&Seen) -> Option<f64>);

const PER_PARTITION: [Figure; 15] = [
    (
        "kafka_connect_mirror_mirrorsourceconnector_record_rate",
        "Records a second that the target acknowledged in the last thirty to sixty seconds.",
        |seen| Some(seen.rates.records),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_byte_rate",
        "Bytes a second, as they travel, that the target acknowledged in the last thirty to sixty seconds.",
        |seen| Some(seen.rates.bytes),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_record_age_ms",
        "Age of the newest record of the last batch when it was handed on.",
        |seen| Some(seen.record_age?.last as f64),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_record_age_ms_min",
        "The smallest record_age_ms of the last minute.",
        |seen| Some(seen.record_age?.min as f64),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_record_age_ms_max",
        "The largest record_age_ms of the last minute.",
        |seen| Some(seen.record_age?.max as f64),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_record_age_ms_avg",
        "The mean record_age_ms of the last minute.",
        |seen| Some(seen.record_age?.avg),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms",
        "Age of the newest record of the last batch when the target acknowledged it.",
        |seen| Some(seen.latency?.last as f64),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms_min",
        "The smallest replication_latency_ms of the last minute.",
        |seen| Some(seen.latency?.min as f64),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms_max",
        "The largest replication_latency_ms of the last minute.",
        |seen| Some(seen.latency?.max as f64),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms_avg",
        "The mean replication_latency_ms of the last minute.",
        |seen| Some(seen.latency?.avg),
    ),
    (
        "kafka_connect_mirror_mirrorsourceconnector_record_lag",
        "Records of the source that the target has not acknowledged.",
        |seen| seen.source_end.map(|_| seen.lag.records as f64),
    ),
    (
        "twinstream_mirror_partition_lag_bytes",
        "Bytes of the source that the target has not acknowledged, estimated from the last records.",
        |seen| Some(seen.lag.bytes.filter(|_| seen.source_end.is_some())? as f64),
    ),
    ("twinstream_mirror_partition_lag_ms", "How long the next record has waited at the source at most.", |seen| {
        Some(seen.lag.ms.filter(|_| seen.source_end.is_some())? as f64)
    }),
    (
        "twinstream_mirror_partition_verified_offset",
        "Offset of the source up to which it was compared with the target.",
        |seen| Some(seen.verified?.0 as f64),
    ),
    ("twinstream_mirror_partition_verify_lag_records", "Records on both sides that were not compared yet.", |seen| {
        Some((seen.arrived?.0 - seen.verified?.0).max(0) as f64)
    }),
];

/// What a board of Kafka's clients reads of a mirror's consumer; there is one per link here.
const CONSUMER_LAG: (&str, &str) = (
    "kafka_consumer_fetch_manager_records_lag",
    "Records of the source's partition that the target has not acknowledged, under the name of a consumer of the link.",
);

type OfLink = fn(&LinkRow) -> Option<i64>;

/// Of a link.
const PER_LINK: [(&str, &str, OfLink); 4] = [
    (
        "twinstream_mirror_link_rpo_records",
        "Records known at the source that a fail-over now would lose, of the partitions that this worker copies.",
        |row| Some(row.rpo?.records),
    ),
    (
        "twinstream_mirror_link_rpo_ms",
        "Of the worst partition: how long its next record has waited, or how long the source has been silent.",
        |row| Some(row.rpo?.ms),
    ),
    (
        "twinstream_mirror_link_topics_refused",
        "Topics that the link is to copy and the target does not take; their causes are in GET /links/A->B.",
        |row| Some(row.refused).filter(|refused| *refused > 0 || row.rpo.is_some()),
    ),
    (
        "twinstream_mirror_link_topics_gone",
        "Topics that were copied, have a copy, and that the source does not show any more.",
        |row| Some(row.gone).filter(|gone| *gone > 0 || row.rpo.is_some()),
    ),
];

struct LinkRow {
    labels: Vec<LabelPair>,
    /// None where no task of this process copies anything of the link.
    rpo: Option<Rpo>,
    refused: i64,
    gone: i64,
}

/// Of a group and a partition.
type GroupFigure = (&'static str, &'static str, fn(&GroupRow) -> Option<i64>);

const PER_GROUP: [GroupFigure; 3] = [
    (
        "twinstream_mirror_group_lag_records",
        "Records between a group's position at the source and the one that it has on the target.",
        |row| Some(row.records),
    ),
    (
        "twinstream_mirror_group_lag_bytes",
        "The same in bytes, estimated from the last records of the partition.",
        |row| row.bytes,
    ),
    (
        "twinstream_mirror_group_lag_ms",
        "For how long a group has had another position on the target than at the source.",
        |row| Some(row.ms),
    ),
];

/// Of a group and a partition of the target whose position was written.
type CheckpointFigure = (&'static str, &'static str, fn(&Summary) -> f64);

const PER_CHECKPOINT: [CheckpointFigure; 4] = [
    (
        "kafka_connect_mirror_mirrorcheckpointconnector_checkpoint_latency_ms",
        "Time from reading a group's offset at the source until the target had it.",
        |took| took.last as f64,
    ),
    (
        "kafka_connect_mirror_mirrorcheckpointconnector_checkpoint_latency_ms_min",
        "The smallest checkpoint_latency_ms of the last minute.",
        |took| took.min as f64,
    ),
    (
        "kafka_connect_mirror_mirrorcheckpointconnector_checkpoint_latency_ms_max",
        "The largest checkpoint_latency_ms of the last minute.",
        |took| took.max as f64,
    ),
    (
        "kafka_connect_mirror_mirrorcheckpointconnector_checkpoint_latency_ms_avg",
        "The mean checkpoint_latency_ms of the last minute.",
        |took| took.avg,
    ),
];

struct GroupRow {
    labels: Vec<LabelPair>,
    records: i64,
    bytes: Option<i64>,
    ms: i64,
}

/// The collector.
pub(super) struct Gauges {
    descs: Vec<Desc>,
}

impl Gauges {
    pub(super) fn new() -> Gauges {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new()).expect("constant metric name")
        };
        let partitions = PER_PARTITION.iter().map(|(name, help, _)| desc(name, help, &super::LABELS));
        let links = PER_LINK.iter().map(|(name, help, _)| desc(name, help, &["source", "target"]));
        let group_labels = ["source", "target", "group", "topic", "partition"];
        let groups = PER_GROUP.iter().map(|(name, help, _)| desc(name, help, &group_labels));
        let checkpoints = PER_CHECKPOINT.iter().map(|(name, help, _)| desc(name, help, &group_labels));
        let lag = desc(CONSUMER_LAG.0, CONSUMER_LAG.1, &["clientid", "partition", "topic"]);
        Gauges { descs: partitions.chain([lag]).chain(links).chain(groups).chain(checkpoints).collect() }
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = now_ms();
        let (mut partitions, mut links, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        let mut checkpoints: Vec<(Vec<LabelPair>, Summary)> = Vec::new();
        for ((source, target), link) in figures::links() {
            let base = vec![label("source", &source), label("target", &target)];
            let seen = link.partitions_at(now);
            for ((group, partition), behind) in link.groups() {
                let of = seen.iter().find(|seen| seen.source == partition);
                let mut labels = base.clone();
                labels.push(label("group", group.as_str()));
                labels.extend(partition_labels(of.map_or(&partition, |seen| &seen.target)));
                let each = of.and_then(|seen| seen.record_bytes);
                groups.push(GroupRow {
                    labels,
                    records: behind.records,
                    bytes: each.map(|each| (behind.records as f64 * each) as i64),
                    ms: behind.since_ms.map_or(0, |since| (now - since).max(0)),
                });
            }
            checkpoints.extend(link.checkpoints(now).into_iter().map(|((group, partition), took)| {
                let labels = base.iter().cloned().chain([label("group", group.as_str())]);
                (labels.chain(partition_labels(&partition)).collect(), took)
            }));
            let rpo = seen.iter().any(|seen| seen.is_live).then(|| Rpo::of(&seen, now));
            let (refused, gone) = (link.refused().len() as i64, link.gone().len() as i64);
            links.push(LinkRow { labels: base.clone(), rpo, refused, gone });
            partitions.extend(seen.into_iter().filter(|seen| seen.is_live || seen.verified.is_some()).map(|seen| {
                let mut labels = base.clone();
                labels.extend(partition_labels(&seen.target));
                (labels, seen)
            }));
        }
        let mut families = Vec::new();
        for (name, help, read) in PER_PARTITION {
            let members = partitions.iter().filter_map(|(labels, seen)| Some(metric(labels, read(seen)?)));
            family(&mut families, name, help, members.collect());
        }
        let of_consumers = partitions.iter().filter_map(|(labels, seen)| {
            let of = |name: &str| labels.iter().find(|label| label.name() == name).map(|label| label.value());
            // As JMX writes an id with such characters, in quotes.
            let id = format!("\"{}->{}|replication-consumer\"", of("source")?, of("target")?);
            let labels: Vec<LabelPair> =
                [label("clientid", &id)].into_iter().chain(partition_labels(&seen.source)).collect();
            Some(metric(&labels, seen.source_end.map(|_| seen.lag.records as f64)?))
        });
        family(&mut families, CONSUMER_LAG.0, CONSUMER_LAG.1, of_consumers.collect());
        for (name, help, read) in PER_LINK {
            let members = links.iter().filter_map(|row| Some(metric(&row.labels, read(row)? as f64)));
            family(&mut families, name, help, members.collect());
        }
        for (name, help, read) in PER_GROUP {
            let members = groups.iter().filter_map(|row| Some(metric(&row.labels, read(row)? as f64)));
            family(&mut families, name, help, members.collect());
        }
        for (name, help, read) in PER_CHECKPOINT {
            let members = checkpoints.iter().map(|(labels, took)| metric(labels, read(took)));
            family(&mut families, name, help, members.collect());
        }
        families
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn partition_labels(partition: &twinstream_model::TopicPartition) -> [LabelPair; 2] {
    [label("topic", partition.topic.as_str()), label("partition", &partition.partition.to_string())]
}

fn metric(labels: &[LabelPair], value: f64) -> Metric {
    let mut labels = labels.to_vec();
    labels.sort(); // the text format wants one order
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn family(families: &mut Vec<MetricFamily>, name: &str, help: &str, members: Vec<Metric>) {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(members);
    families.push(family);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus::{Encoder, Registry, TextEncoder};
    use twinstream_model::{NodeId, Offset, PartitionIndex, TopicName, TopicPartition};

    use super::*;
    use crate::figures::Heard;

    #[test]
    fn a_partition_that_is_behind_is_told_in_records_bytes_and_time_and_so_is_its_link() {
        let at = |topic: &str| TopicPartition::new(TopicName::parse(topic).unwrap(), PartitionIndex(3));
        let figures = figures::link("gauges-a", "gauges-b").partition(&at("t"), &at("gauges-a.t"));
        figures.held();
        let heard = Heard { leader: NodeId(1), source_end: Offset(8), log_start: Offset(0), offsets: 8, bytes: 800 };
        figures.heard(&heard, Offset(0), now_ms());
        figures.arrived(Offset(5), Some((40, now_ms() - 60_000)), now_ms());
        let refused = BTreeMap::from([(TopicName::parse("large").unwrap(), "no room".to_owned())]);
        figures::link("gauges-a", "gauges-c").refuses(refused);
        for took in [30, 10, 20] {
            let group = twinstream_model::GroupId::from("billing");
            figures::link("gauges-a", "gauges-b").checkpoint_took(&group, &at("gauges-a.t"), took, now_ms());
        }
        let registry = Registry::new();
        registry.register(Box::new(Gauges::new())).unwrap();
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let value = |name: &str, labels: &str| {
            let start = format!("{name}{{{labels}}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("{start} is not in\n{text}")).parse::<f64>().unwrap()
        };
        let labels = r#"partition="3",source="gauges-a",target="gauges-b",topic="gauges-a.t""#;
        assert_eq!(value("kafka_connect_mirror_mirrorsourceconnector_record_lag", labels), 3.0);
        assert_eq!(value("twinstream_mirror_partition_lag_bytes", labels), 300.0);
        assert!(value("twinstream_mirror_partition_lag_ms", labels) >= 60_000.0);
        let latency = "kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms_max";
        assert_eq!(value(latency, labels), 40.0);
        let group = format!(r#"group="billing",{labels}"#);
        let took = ["", "_min", "_max", "_avg"].map(|end| {
            value(&format!("kafka_connect_mirror_mirrorcheckpointconnector_checkpoint_latency_ms{end}"), &group)
        });
        assert_eq!(took, [20.0, 10.0, 30.0, 20.0]);
        let link = r#"source="gauges-a",target="gauges-b""#;
        assert_eq!(value("twinstream_mirror_link_rpo_records", link), 3.0);
        assert!(value("twinstream_mirror_link_rpo_ms", link) >= 60_000.0);
        assert_eq!(value("twinstream_mirror_link_topics_refused", link), 0.0);
        let none_is_copied = r#"source="gauges-a",target="gauges-c""#;
        assert_eq!(value("twinstream_mirror_link_topics_refused", none_is_copied), 1.0);
        assert_eq!(value("twinstream_mirror_link_topics_gone", link), 0.0);
        assert!(!text.contains(&format!("twinstream_mirror_link_rpo_ms{{{none_is_copied}}}")), "nobody knows it");
        assert!(!text.contains("verified_offset"), "nothing was verified");
    }
}
