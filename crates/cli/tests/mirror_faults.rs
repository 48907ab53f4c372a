//! Aligned links while their worker, brokers of both sides and the ways between them break: short versions of `cargo xtask judge
//! links`, that its comparison sees a difference, and a source that loses records that are mirrored already.
//!
//! Seeds are fixed, so that a failure can be repeated: `cargo xtask judge links --of ours --seed N`.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::raw::OffsetAt;
use twinstream_client::{ConsumerRecord, ProducerRecord, RawClient};
use twinstream_model::{Offset, TopicPartition};
use twinstream_testkit::faults::turn;
use twinstream_testkit::links::mirrored::{prefix, same};
use twinstream_testkit::links::{Of, judge};
use twinstream_testkit::load::quick_settings;
use twinstream_testkit::nemesis::Relay;
use twinstream_testkit::records::{client_settings, create_topic, produce, read_all, topic_name};
use twinstream_testkit::{Cluster, ClusterOptions, Folder, Operator, Worker, WorkerOptions, wait_until};

const TROUBLE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aligned_link_is_a_prefix_of_its_source_byte_for_byte_whatever_is_killed_or_cut() {
    let _turn = turn().await;
    eprintln!("repeat: cargo xtask judge links --of ours --seed 1");
    let report = judge(Of::Ours, TROUBLE, 1).await;
    assert!(report.is_good(), "{report}");
}

/// The judge must be able to say no: logs of two clusters that have nothing to do with each other, equal until they are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_offset_at_which_the_logs_of_two_clusters_part_is_told() {
    let (one, other) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let mut clients = Vec::new();
    for cluster in [&one, &other] {
        create_topic(&cluster.bootstrap(), "logs", 1).await;
        let client = RawClient::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("client");
        for number in 0..5 {
            append(&client, &format!("value {number}")).await;
        }
        clients.push(client);
    }
    let (one, other) = (&clients[0], &clients[1]);
    let size = same(one, other, &partition()).await.unwrap_or_else(|difference| panic!("{difference}"));
    assert_eq!((size.batches, size.end), (5, Offset(5)));
    append(one, "only here").await;
    assert_eq!(prefix(one, other, &partition(), Offset(0)).await, Ok(Offset(5)), "less is a prefix");
    let less = same(one, other, &partition()).await.expect_err("a record is missing");
    assert!(less.contains("offset 5") && less.contains("the target nothing more"), "{less}");
    append(other, "only there").await;
    for differs in [
        same(one, other, &partition()).await.map(|_| ()),
        prefix(one, other, &partition(), Offset(3)).await.map(|_| ()),
    ] {
        let difference = differs.expect_err("another record");
        assert!(difference.contains("offset 5") && difference.contains("byte"), "{difference}");
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new(topic_name("logs"), 0)
}

async fn append(client: &RawClient, value: &str) {
    append_one(client, &partition(), value).await;
}

async fn append_one(client: &RawClient, partition: &TopicPartition, value: &str) {
    let mut builder = BatchBuilder::new();
    builder.append(1_700_000_000_000, None, Some(value.as_bytes()), []);
    let batch = Bytes::from(builder.build().expect("a batch"));
    client.produce_batch(partition, batch).await.unwrap_or_else(|error| panic!("{error}"));
}

/// A source whose followers can be made to lose what its leader had acknowledged, and a mirror of its topic.
struct Cut {
    source: Cluster,
    target: Cluster,
    operator: Operator,
    upstream: RawClient,
    downstream: RawClient,
    worker: Worker,
    _folder: Folder,
}

/// Brokers 2 and 3 have the topic; 1 votes, and is never killed.
const LEADER: usize = 2;
const FOLLOWER: usize = 3;
const PATIENCE: Duration = Duration::from_secs(90);

impl Cut {
    /// Ten records are on both sides, of ten more only the leader and the mirror know, and the leader is dead.
    async fn start() -> Self {
        let folder = Folder::new();
        let options = ClusterOptions::default().set("min.insync.replicas", "1");
        let (source, target) = tokio::join!(Cluster::start_with(3, options), Cluster::start(1));
        let operator = Operator::connect(&source.bootstrap(), 3).await;
        operator.create_topic("logs", 1, 1, &[("min.insync.replicas", "1")]).await;
        operator.reassign("logs", 0, Some(&[LEADER, FOLLOWER])).await;
        wait_until("the topic is where it should be", PATIENCE, || async {
            let state = operator.partition("logs", 0).await;
            state.is_whole() && state.replicas == [LEADER, FOLLOWER]
        })
        .await;
        operator.lead_by("logs", 0, LEADER).await;
        let [upstream, downstream] = [client(&source).await, client(&target).await];
        let worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
        let mut cut = Self { source, target, operator, upstream, downstream, worker, _folder: folder };
        cut.append(0..10).await;
        cut.link().await;
        cut.until_mirrored(10).await;
        cut.source.broker(FOLLOWER).kill();
        cut.until_isr(&[LEADER]).await;
        cut.append(10..20).await;
        cut.until_mirrored(20).await;
        cut
    }

    async fn append(&self, numbers: Range<usize>) {
        let record = |number| {
            let value = Bytes::from(format!("value {number}"));
            ProducerRecord::new(topic_name("logs"), None, Some(value))
        };
        produce(&self.source.bootstrap(), &quick_settings(), &numbers.map(record).collect::<Vec<_>>()).await;
    }

    async fn link(&self) {
        let config = link("cut", &self.source.bootstrap(), &self.target.bootstrap());
        self.worker.rest.put("/connectors/cut/config", &config).await.good();
    }

    async fn until_isr(&self, isr: &[usize]) {
        let what = format!("{isr:?} are in sync");
        wait_until(&what, PATIENCE, || async { self.operator.partition("logs", 0).await.isr == isr }).await;
    }

    async fn until_mirrored(&self, end: i64) {
        until_ends_at(&self.downstream, end).await;
    }

    /// The follower leads, without what it lacks, and writes on from there; the old leader comes back and follows it.
    async fn lose_the_tail(&mut self, then: Range<usize>) {
        self.source.broker(LEADER).kill();
        self.source.broker(FOLLOWER).start().await;
        self.operator.elect_unclean("logs", 0).await;
        self.until_isr(&[FOLLOWER]).await;
        self.append(then).await;
        self.source.broker(LEADER).start().await;
        wait_until("the old leader is in sync", PATIENCE, || async {
            self.operator.partition("logs", 0).await.is_whole()
        })
        .await;
    }

    async fn until_same(&self, end: i64) {
        self.until_mirrored(end).await;
        wait_until("the mirror is as its source", PATIENCE, || async {
            same(&self.upstream, &self.downstream, &partition()).await.is_ok_and(|size| size.end == Offset(end))
        })
        .await;
    }
}

async fn client(cluster: &Cluster) -> RawClient {
    RawClient::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("client")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_cut_where_its_source_was_and_goes_on_with_the_other_history() {
    let _turn = turn().await;
    let mut cut = Cut::start().await;
    cut.lose_the_tail(100..103).await;
    cut.until_same(13).await;
    let values: Vec<String> = read_all(&cut.target.bootstrap(), "logs").await.iter().map(text).collect();
    let expected: Vec<String> = (0..10).chain(100..103).map(|number| format!("value {number}")).collect();
    assert_eq!(values, expected);
    // And from there on as ever.
    cut.append(103..110).await;
    cut.until_same(20).await;
    let log = cut.worker.server.log_text();
    let told = log.lines().any(|line| line.contains("TRUNCATED") && line.contains("logs-0"));
    assert!(told, "the worker says what it did:\n{log}");
}

/// Its end tells nothing: the source has more than the mirror has, and other records from the tenth on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_cut_and_has_grown_again_while_the_worker_was_away_is_noticed_by_epochs() {
    let _turn = turn().await;
    let mut cut = Cut::start().await;
    cut.worker.server.kill();
    cut.lose_the_tail(100..125).await;
    cut.worker.server.start().await;
    cut.worker.wait_ready().await;
    cut.until_same(35).await;
}

/// Longer than any pause of whoever tries again, and than the session of the worker's group.
const AWAY: Duration = Duration::from_secs(12);
const MOVES_ON_WITHIN: Duration = Duration::from_secs(5);
/// Enough for each broker of the target to lead some.
const PARTITIONS: i32 = 6;

/// While load goes on at the source, nothing of the target can be reached; then all of it can be again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_says_that_its_target_is_away_and_moves_on_in_seconds_when_it_is_back() {
    let folder = Folder::new();
    let source = Cluster::start(1).await;
    let (target, doors) = Cluster::start_with_side_door(3, ClusterOptions::replicated()).await;
    create_topic(&source.bootstrap(), "logs", PARTITIONS).await;
    let (upstream, downstream) = (client(&source).await, client(&target).await);
    let partitions: Vec<TopicPartition> =
        (0..PARTITIONS).map(|index| TopicPartition::new(topic_name("logs"), index)).collect();
    append_to(&upstream, &partitions, "before").await;
    let door = doors.iter().map(Relay::address).collect::<Vec<_>>().join(",");
    let worker = Worker::start(&folder, &door, WorkerOptions::default()).await;
    worker.rest.put("/connectors/link/config", &link("link", &source.bootstrap(), &door)).await.good();
    until_like(&upstream, &downstream, &partitions).await;
    doors.iter().for_each(Relay::take_down);
    let since = Instant::now();
    wait_until("the task says that nothing arrives", PATIENCE, || async {
        append_to(&upstream, &partitions, "meanwhile").await;
        let status = worker.rest.get("/connectors/link/status").await.good();
        let task = &status["tasks"][0];
        let says = task["trace"].as_str().is_some_and(|trace| trace.contains("acknowledged nothing"));
        since.elapsed() >= AWAY && task["state"] == "RESTARTING" && says
    })
    .await;
    doors.iter().for_each(Relay::mend);
    let mended = Instant::now();
    until_like(&upstream, &downstream, &partitions).await;
    let took = mended.elapsed();
    assert!(took < MOVES_ON_WITHIN, "it moved on after {took:?} only:\n{}", worker.server.log_text());
    wait_until("the task runs again", PATIENCE, || async {
        worker.rest.get("/connectors/link/status").await.good()["tasks"][0]["state"] == "RUNNING"
    })
    .await;
    for partition in &partitions {
        same(&upstream, &downstream, partition).await.unwrap_or_else(|difference| panic!("{difference}"));
    }
}

async fn append_to(client: &RawClient, partitions: &[TopicPartition], value: &str) {
    for partition in partitions {
        append_one(client, partition, value).await;
    }
}

async fn ends_of(client: &RawClient, partitions: &[TopicPartition]) -> Option<Vec<Offset>> {
    let ends = client.list_offsets_now(partitions, OffsetAt::Latest).await.ok()?;
    partitions.iter().map(|partition| ends.get(partition)?.as_ref().ok().copied()).collect()
}

/// Waits until the mirror ends where its source does.
async fn until_like(upstream: &RawClient, downstream: &RawClient, partitions: &[TopicPartition]) {
    wait_until("the mirror ends where its source does", PATIENCE, || async {
        let (there, here) = tokio::join!(ends_of(upstream, partitions), ends_of(downstream, partitions));
        there.is_some() && there == here
    })
    .await;
}

/// An aligned link of the topic under its own name.
fn link(name: &str, source: &str, target: &str) -> Value {
    json!({
        "name": name,
        "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
        "tasks.max": "1",
        "source.cluster.alias": "west",
        "target.cluster.alias": "east",
        "source.cluster.bootstrap.servers": source,
        "target.cluster.bootstrap.servers": target,
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "replication.factor": "1",
        "offset-syncs.topic.location": "target",
        "topics": "logs",
        "twinstream.link.mode": "aligned",
        "twinstream.on.source.truncation": "resume",
    })
}

async fn until_ends_at(mirror: &RawClient, end: i64) {
    wait_until(&format!("the mirror ends at {end}"), PATIENCE, || async {
        let ends = mirror.list_offsets_now(&[partition()], OffsetAt::Latest).await;
        ends.is_ok_and(|ends| ends.into_values().all(|found| found.is_ok_and(|found| found == Offset(end))))
    })
    .await;
}

fn text(record: &ConsumerRecord) -> String {
    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
}
