//! How far groups are behind, under kafka_exporter's names and, in seconds, under one of our own.
//!
//! Picture: who coordinates a group knows what it has committed, who leads a partition knows where it ends. So every few
//! seconds a broker looks at what the groups have committed that it coordinates, asks each leader in one request where
//! those partitions end and how old the batch is that a group has yet to read, and writes a table. A scrape reads the
//! table.
//!
//! Invariants: a group's series come from its coordinator and nowhere else, so that sums over brokers count each once; a
//! scrape asks nobody; a table has at most [`ROWS_MAX`] rows, and what is left out is counted; what is not known (a leader
//! that does not answer, records without times) has no series rather than a guess; a table is replaced whole, so series go
//! with their topic, group or coordinator.
//!
//! Not here: what groups commit (`groups`), where partitions end without regard to groups (`exporter`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use futures::future::join_all;
use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use twinstream_metadata::Image;
use twinstream_model::{NodeId, Offset, PartitionIndex, TopicName};
use twinstream_telemetry::Metrics;

use super::cluster::{gauge, gauge_family};
use super::logs::label;
use crate::context::Broker;
use crate::controller::messages::{POSITIONS_MAX, Position, Standing};
use crate::groups::CommittedGroup;

/// How often the table is made anew.
const INTERVAL: Duration = Duration::from_secs(3);
/// For a leader's answer. One that hangs costs its partitions their lag, not the table its age.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Partitions times groups, and groups, that one broker tells of: about ten megabytes of text per scrape.
const ROWS_MAX: usize = 20_000;

const CURRENT: Name = ("kafka_consumergroup_current_offset", "Offset that the group has committed.", &PER_ROW);
const CURRENT_SUM: Name =
    ("kafka_consumergroup_current_offset_sum", "Sum of the group's committed offsets in the topic.", &PER_TOPIC);
const LAG: Name = (
    "kafka_consumergroup_lag",
    "Committed records of the partition behind what the group has committed, some seconds ago.",
    &PER_ROW,
);
const LAG_SUM: Name = (
    "kafka_consumergroup_lag_sum",
    "Sum of the group's lag in the topic; not there while a part is unknown.",
    &PER_TOPIC,
);
const MEMBERS: Name = ("kafka_consumergroup_members", "Members of the group.", &["consumergroup"]);
const SECONDS: Name = (
    "twinstream_group_lag_seconds",
    "Age of the oldest batch of the partition that the group has not committed to the end; 0 if it has read all.",
    &PER_ROW,
);
const PER_ROW: [&str; 3] = ["consumergroup", "partition", "topic"];
const PER_TOPIC: [&str; 2] = ["consumergroup", "topic"];

/// Name, help, labels.
type Name = (&'static str, &'static str, &'static [&'static str]);

/// What a group has committed in a partition, and what the partition's leader says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    group: Arc<str>,
    topic: TopicName,
    partition: PartitionIndex,
    committed: Offset,
    standing: Standing,
}

impl Row {
    fn lag(&self) -> Option<i64> {
        Some((self.standing.end?.0 - self.committed.0).max(0))
    }

    fn lag_seconds(&self, now_ms: i64) -> Option<f64> {
        match self.lag()? {
            0 => Some(0.0),
            _ => Some((now_ms - self.standing.time_ms?).max(0) as f64 / 1000.0),
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    /// By group, topic and partition.
    rows: Vec<Row>,
    members: Vec<(Arc<str>, usize)>,
}

/// The table and its collector.
#[derive(Clone)]
pub(crate) struct GroupLag {
    table: Arc<ArcSwap<Table>>,
    left_out: IntGauge,
}

impl GroupLag {
    pub(super) fn new(registry: &Metrics) -> Self {
        let left_out = registry.gauge(
            "twinstream_group_lag_left_out",
            "Groups, and offsets of groups, that this broker coordinates and has no series for: too many, or not known in time.",
        );
        let table = Arc::<ArcSwap<Table>>::default();
        registry.declare(LagFigures::new(Arc::clone(&table)));
        Self { table, left_out }
    }
}

/// Keeps the table of [`GroupLag`] young until the broker stops. Where nobody can scrape nothing is done.
pub(crate) async fn watch_group_lag(broker: Arc<Broker>) {
    if broker.settings.network.metrics_listener.is_none() {
        return;
    }
    loop {
        tokio::select! {
            () = broker.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if !broker.serving.is_cancelled() {
            continue;
        }
        tokio::select! {
            () = broker.shutdown.cancelled() => return,
            (table, left_out) = observe(&broker) => {
                broker.metrics.group_lag.left_out.set(i64::try_from(left_out).unwrap_or(i64::MAX));
                broker.metrics.group_lag.table.store(Arc::new(table));
            }
        }
    }
}

async fn observe(broker: &Arc<Broker>) -> (Table, usize) {
    let (groups, mut left_out) = broker.groups.committed(ROWS_MAX).await;
    let image = broker.image.load_full();
    let mut members: Vec<(Arc<str>, usize)> =
        groups.iter().map(|group| (Arc::from(group.group.as_str()), group.members)).collect();
    members.sort();
    let mut asked = positions(&groups, &image);
    left_out += asked.len().saturating_sub(ROWS_MAX);
    asked.truncate(ROWS_MAX);
    let standings = standings(broker, &image, &asked).await;
    let rows = asked.into_iter().zip(standings);
    let rows = rows.map(|((mut row, _), standing)| {
        row.standing = standing;
        row
    });
    (Table { rows: rows.collect(), members }, left_out)
}

/// A row without standing for each offset of a topic that there is, with its leader's question.
fn positions(groups: &[CommittedGroup], image: &Image) -> Vec<(Row, Position)> {
    let mut found = Vec::new();
    for group in groups {
        let name: Arc<str> = Arc::from(group.group.as_str());
        for (topic, offsets) in &group.offsets {
            let Some(now) = image.topic(topic) else { continue };
            let of_now = offsets.iter().filter(|offset| offset.offset.0 >= 0 && !offset.is_of_another(now.id));
            for offset in of_now.filter(|offset| now.partition(offset.partition).is_some()) {
                let row = Row {
                    group: Arc::clone(&name),
                    topic: topic.clone(),
                    partition: offset.partition,
                    committed: offset.offset,
                    standing: Standing::default(),
                };
                let position = Position { topic_id: now.id, partition: offset.partition, offset: offset.offset };
                found.push((row, position));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| (&a.group, &a.topic, a.partition).cmp(&(&b.group, &b.topic, b.partition)));
    found
}

/// What the leaders say, in the order of the rows; nothing where a leader is missing or does not answer.
async fn standings(broker: &Arc<Broker>, image: &Image, asked: &[(Row, Position)]) -> Vec<Standing> {
    let mut by_leader: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for (index, (row, _)) in asked.iter().enumerate() {
        if let Some(leader) = image.partition(&row.topic, row.partition).and_then(|partition| partition.leader) {
            by_leader.entry(leader).or_default().push(index);
        }
    }
    let questions = by_leader.iter().flat_map(|(leader, indexes)| {
        indexes.chunks(POSITIONS_MAX).map(move |indexes| async move {
            let positions: Vec<Position> = indexes.iter().map(|index| asked[*index].1.clone()).collect();
            (indexes, standings_at(broker, *leader, positions).await)
        })
    });
    let mut standings = vec![Standing::default(); asked.len()];
    for (indexes, answers) in join_all(questions).await {
        for (index, answer) in indexes.iter().zip(answers) {
            standings[*index] = answer;
        }
    }
    standings
}

async fn standings_at(broker: &Arc<Broker>, leader: NodeId, positions: Vec<Position>) -> Vec<Standing> {
    if leader == broker.settings.node.id {
        return standings_here(Arc::clone(broker), positions).await;
    }
    let answer = broker.controller.ask_standings(leader, &positions, ANSWER_LIMIT).await;
    answer.unwrap_or_else(|error| {
        tracing::debug!(%leader, %error, "lag of groups in partitions of another broker is not known");
        Vec::new()
    })
}

/// What this broker says of positions in partitions that it leads. Indexes may have to be read, so that is done where
/// waiting for a disk holds nobody up.
pub(crate) async fn standings_here(broker: Arc<Broker>, positions: Vec<Position>) -> Vec<Standing> {
    let count = positions.len();
    let looked = tokio::task::spawn_blocking(move || {
        let image = broker.image.load_full();
        positions.iter().map(|position| standing(&broker, &image, position)).collect()
    });
    looked.await.unwrap_or_else(|_| vec![Standing::default(); count])
}

fn standing(broker: &Broker, image: &Image, position: &Position) -> Standing {
    let partition = image
        .topic_by_id(position.topic_id)
        .and_then(|topic| broker.partitions.find(&topic.name, position.partition))
        .filter(|partition| partition.topic_id() == position.topic_id);
    let led = partition.and_then(|partition| Some((partition.latest_offset().ok()?, partition)));
    let Some((end, partition)) = led else { return Standing::default() };
    let unread = position.offset < end;
    let time_ms = unread.then(|| partition.log().batch_time(position.offset).ok().flatten()).flatten();
    Standing { end: Some(end), time_ms }
}

/// The collector.
#[derive(Clone)]
struct LagFigures {
    table: Arc<ArcSwap<Table>>,
    descs: Vec<Desc>,
}

impl LagFigures {
    fn new(table: Arc<ArcSwap<Table>>) -> Self {
        let desc = |(name, help, labels): Name| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
                .expect("a metric of ours has a legal name")
        };
        Self { table, descs: [CURRENT, CURRENT_SUM, LAG, LAG_SUM, MEMBERS, SECONDS].map(desc).into() }
    }
}

impl Collector for LagFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        families(&self.table.load(), now_ms)
    }
}

fn families(table: &Table, now_ms: i64) -> Vec<MetricFamily> {
    let per_row = |name: Name, read: &dyn Fn(&Row) -> Option<f64>| {
        let members = table.rows.iter().filter_map(|row| Some(member(row_labels(row), read(row)?)));
        gauge_family(name.0, name.1, members.collect())
    };
    let per_topic = |name: Name, read: &dyn Fn(&Row) -> Option<i64>| {
        let of_topics = table.rows.chunk_by(|a, b| (&a.group, &a.topic) == (&b.group, &b.topic));
        let members = of_topics.filter_map(|rows| {
            let sum: i64 = rows.iter().map(read).sum::<Option<i64>>()?;
            let first = rows.first()?;
            let labels = vec![label("consumergroup", first.group.to_string()), label("topic", first.topic.to_string())];
            Some(member(labels, sum as f64))
        });
        gauge_family(name.0, name.1, members.collect())
    };
    let members = table.members.iter();
    let members = members.map(|(group, count)| member(vec![label("consumergroup", group.to_string())], *count as f64));
    vec![
        per_row(CURRENT, &|row| Some(row.committed.0 as f64)),
        per_topic(CURRENT_SUM, &|row| Some(row.committed.0)),
        per_row(LAG, &|row| Some(row.lag()? as f64)),
        per_topic(LAG_SUM, &Row::lag),
        gauge_family(MEMBERS.0, MEMBERS.1, members.collect()),
        per_row(SECONDS, &|row| row.lag_seconds(now_ms)),
    ]
}

fn member(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge(value));
    metric
}

fn row_labels(row: &Row) -> Vec<LabelPair> {
    let Row { group, topic, partition, .. } = row;
    vec![
        label("consumergroup", group.to_string()),
        label("partition", partition.to_string()),
        label("topic", topic.to_string()),
    ]
}

#[cfg(test)]
mod tests;
