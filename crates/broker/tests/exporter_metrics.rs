//! What kafka_exporter's boards read, over three broker processes: each series comes from one broker only, lag is what an
//! outside client counts, and series go with what they speak of.

mod support;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    DeleteTopicsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest, delete_topics_request::DeleteTopicState,
};
use support::records::{batch, list_offset, produce, text, topic_name};
use support::replicas::Trio;
use support::{free_port, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GROUP: &str = "readers";
/// Where the lag of a group stands in partitions that three brokers lead.
const LEADERS: [i32; 3] = [1, 2, 3];

/// Three brokers with a page of metrics each.
struct Cluster {
    trio: Trio,
    pages: Vec<u16>,
}

impl Cluster {
    async fn start() -> Self {
        let pages = [free_port(), free_port(), free_port()].to_vec();
        let ports = pages.clone();
        let settings = move |node: i32| {
            let address = format!("127.0.0.1:{}", ports[node as usize - 1]);
            let settings = [
                ("twinstream.metrics.listener", address.as_str()),
                ("offsets.topic.num.partitions", "3"),
                ("offsets.topic.replication.factor", "3"),
            ];
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Self { trio: Trio::start_with(settings).await, pages }
    }

    /// Every series of these families on any broker, with all values that brokers give it.
    async fn series(&self, families: &[&str]) -> BTreeMap<String, Vec<f64>> {
        let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for page in &self.pages {
            for line in page_of(*page).await.lines().filter(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                if families.contains(&series.split('{').next().unwrap_or_default()) {
                    found.entry(series.to_owned()).or_default().push(value.parse().expect("a number"));
                }
            }
        }
        found
    }

    /// The value of a series that exactly one broker has.
    async fn value(&self, family: &str, labels: &str) -> Option<f64> {
        let values = self.series(&[family]).await.remove(&format!("{family}{{{labels}}}"))?;
        assert_eq!(values.len(), 1, "{family}{{{labels}}} comes from more than one broker");
        values.first().copied()
    }

    /// Commits for the group as a client without membership does, at whoever coordinates it.
    async fn commit(&self, offsets: &[(i32, i64)]) {
        let find = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![text(GROUP)]);
        let partitions = offsets.iter().map(|(partition, offset)| {
            let wanted = OffsetCommitRequestPartition::default();
            wanted.with_partition_index(*partition).with_committed_offset(*offset)
        });
        let topic =
            OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        wait_until("the coordinator takes the commit", async || {
            let found = self.trio.client(1).await.call(find.clone(), 6).await;
            let coordinator = &found.coordinators[0];
            if coordinator.error_code != 0 {
                return false;
            }
            let answer = self.trio.client(coordinator.node_id.0).await.call(request.clone(), 8).await;
            answer.topics.iter().flat_map(|topic| &topic.partitions).all(|partition| partition.error_code == 0)
        })
        .await;
    }
}

async fn page_of(port: u16) -> String {
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return String::new() };
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await.expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the metrics");
    answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Records with this time, one batch.
fn aged(time_ms: i64, count: usize) -> Bytes {
    batch(time_ms, &vec![(None, Some("x")); count])
}

const OF_PARTITIONS: [&str; 7] = [
    "kafka_topic_partition_current_offset",
    "kafka_topic_partition_oldest_offset",
    "kafka_topic_partition_leader",
    "kafka_topic_partition_leader_is_preferred",
    "kafka_topic_partition_replicas",
    "kafka_topic_partition_in_sync_replica",
    "kafka_topic_partition_under_replicated_partition",
];
const OF_GROUPS: [&str; 6] = [
    "kafka_consumergroup_current_offset",
    "kafka_consumergroup_current_offset_sum",
    "kafka_consumergroup_lag",
    "kafka_consumergroup_lag_sum",
    "kafka_consumergroup_members",
    "twinstream_group_lag_seconds",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_series_comes_from_one_broker_and_lag_is_what_a_client_counts() {
    let cluster = Cluster::start().await;
    cluster.trio.create("t", &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]], &[]).await;
    let hour_ago = now_ms() - 3_600_000;
    let mut ends = Vec::new();
    for (partition, leader) in LEADERS.iter().enumerate() {
        let mut client = cluster.trio.client(*leader).await;
        for records in [aged(hour_ago, 5), aged(now_ms(), 3 + partition)] {
            let answer = produce(&mut client, "t", partition as i32, records).await;
            assert_eq!(answer.error_code, 0, "{answer:?}");
        }
        let index = partition as i32;
        let reads = async || list_offset(&mut client, "t", index, -1).await.offset >= 8 + i64::from(index);
        wait_until("the records are committed", reads).await;
        ends.push(list_offset(&mut client, "t", index, -1).await.offset);
    }
    // Behind by a whole old batch, behind by young records, all read.
    let first_old = ends[0] - 8;
    cluster.commit(&[(0, first_old), (1, ends[1] - 2), (2, ends[2])]).await;

    let labels = |partition: i32| format!("consumergroup=\"{GROUP}\",partition=\"{partition}\",topic=\"t\"");
    let wanted = [8.0, 2.0, 0.0];
    wait_until("the lag is told", async || {
        let mut told = Vec::new();
        for partition in 0..3 {
            told.extend(cluster.value("kafka_consumergroup_lag", &labels(partition)).await);
        }
        told == wanted
    })
    .await;
    let of_topic = format!("consumergroup=\"{GROUP}\",topic=\"t\"");
    assert_eq!(cluster.value("kafka_consumergroup_lag_sum", &of_topic).await, Some(10.0));
    let committed = (first_old + ends[1] - 2 + ends[2]) as f64;
    assert_eq!(cluster.value("kafka_consumergroup_current_offset_sum", &of_topic).await, Some(committed));
    let members = cluster.value("kafka_consumergroup_members", &format!("consumergroup=\"{GROUP}\"")).await;
    assert_eq!(members, Some(0.0), "it commits without being a member");
    let ages = [
        cluster.value("twinstream_group_lag_seconds", &labels(0)).await.expect("an age"),
        cluster.value("twinstream_group_lag_seconds", &labels(1)).await.expect("an age"),
        cluster.value("twinstream_group_lag_seconds", &labels(2)).await.expect("an age"),
    ];
    assert!((3_600.0..7_200.0).contains(&ages[0]), "an hour: {ages:?}");
    assert!(ages[1] < 3_600.0, "younger than an hour: {ages:?}");
    assert_eq!(ages[2], 0.0, "nothing to read: {ages:?}");

    for (partition, end) in ends.iter().enumerate() {
        let told = cluster
            .value("kafka_topic_partition_current_offset", &format!("partition=\"{partition}\",topic=\"t\""))
            .await;
        assert_eq!(told, Some(*end as f64), "partition {partition}");
    }
    assert_eq!(cluster.value("kafka_topic_partitions", "topic=\"t\"").await, Some(3.0));
    assert_eq!(cluster.series(&["kafka_broker_info"]).await.len(), 3, "each broker tells of itself");
    let all = [&OF_PARTITIONS[..], &OF_GROUPS[..], &["kafka_topic_partitions"]].concat();
    let series = cluster.series(&all).await;
    let doubled: Vec<&String> = series.iter().filter(|(_, values)| values.len() > 1).map(|(name, _)| name).collect();
    assert!(doubled.is_empty(), "told by more than one broker: {doubled:?}");
    for family in OF_PARTITIONS {
        let count =
            series.keys().filter(|name| name.starts_with(&format!("{family}{{")) && name.contains("topic=\"t\""));
        assert_eq!(count.count(), 3, "{family}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_go_with_their_topic_and_move_with_their_leader() {
    let mut cluster = Cluster::start().await;
    cluster.trio.create("t", &[&[2, 3, 1]], &[("min.insync.replicas", "1")]).await;
    cluster.commit(&[(0, 0)]).await;
    let labels = "partition=\"0\",topic=\"t\"";
    let of_group = format!("consumergroup=\"{GROUP}\",{labels}");
    let has_lag = async || cluster.value("kafka_consumergroup_lag", &of_group).await.is_some();
    wait_until("the lag is told", has_lag).await;
    assert_eq!(cluster.value("kafka_topic_partition_leader", labels).await, Some(2.0));

    cluster.trio.node(2).kill();
    let is_led = async || cluster.value("kafka_topic_partition_leader", labels).await == Some(3.0);
    wait_until("the next leader tells of the partition", is_led).await;
    let preferred = cluster.value("kafka_topic_partition_leader_is_preferred", labels).await;
    assert_eq!(preferred, Some(0.0), "another than the first replica leads");
    let behind = cluster.value("kafka_topic_partition_under_replicated_partition", labels).await;
    assert_eq!(behind, Some(1.0), "a replica is gone");
    let has_lag = async || cluster.value("kafka_consumergroup_lag", &of_group).await.is_some();
    wait_until("the lag is told by who coordinates now", has_lag).await;

    let state = DeleteTopicState::default().with_name(Some(topic_name("t")));
    let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(10_000);
    let answer = cluster.trio.client(1).await.call(request, 6).await;
    assert!(answer.responses.iter().all(|topic| topic.error_code == 0), "{answer:?}");
    let families = [&OF_PARTITIONS[..], &OF_GROUPS[..], &["kafka_topic_partitions"]].concat();
    wait_until("no series is left of the topic", async || {
        !cluster.series(&families).await.keys().any(|series| series.contains("topic=\"t\""))
    })
    .await;
}
