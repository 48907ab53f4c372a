//! Key figures, each held against what an outside client counted, or the file system, or another server's answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use twinstream_client::raw::{FetchFrom, FetchOptions};
use twinstream_client::{CommitOffset, ProducerRecord, RawClient};
use twinstream_model::{GroupId, Offset, PartitionIndex, TopicPartition};
use twinstream_testkit::records::{append_batches, first_partition, produce, read_all, topic_name};
use twinstream_testkit::{wait_until, wait_until_some};

use crate::world::{REPLICAS, World};

const PATIENCE: Duration = Duration::from_secs(90);
const RECORDS: usize = 500;
const PARTITIONS: i32 = 6;
/// Where the group that is behind stands in each partition.
const COMMITTED: i64 = 10;
const BATCHES: usize = 7;
const BROKEN: usize = 3;
/// Age of the record in the topic `old`.
const HOUR_MS: f64 = 3_600_000.0;

/// An expression and the value that somebody else counted.
type Figure = (&'static str, &'static str, f64);

/// All of them hold at some time; how many there are.
async fn hold(world: &World, figures: &[Figure]) -> usize {
    for (name, expression, counted) in figures {
        let hit = tokio::time::timeout(PATIENCE, async {
            wait_until(name, PATIENCE * 2, || async { world.prometheus.query(expression).await == Ok(vec![*counted]) })
                .await;
        });
        if hit.await.is_err() {
            panic!("{name}: counted {counted}, {expression} says {:?}", world.prometheus.query(expression).await);
        }
    }
    figures.len()
}

pub(crate) async fn of_a_healthy_system(world: &World) -> usize {
    let began = now_ms();
    write(world, began).await;
    let fetched = fetch(world).await;
    let posts = register(world).await;
    let size = |count: usize| count as f64;
    let mut count = hold(
        world,
        &[
            (
                "records in",
                r#"sum(kafka_server_brokertopicmetrics_messagesin_total{site="west",topic="counted"})"#,
                size(RECORDS),
            ),
            (
                "end of the topic",
                r#"sum(kafka_topic_partition_current_offset{site="west",topic="counted"})"#,
                size(RECORDS),
            ),
            (
                "produce requests",
                r#"sum(kafka_server_brokertopicmetrics_totalproducerequests_total{topic="fetched"})"#,
                size(BATCHES),
            ),
            (
                "fetch requests",
                r#"sum(kafka_server_brokertopicmetrics_totalfetchrequests_total{topic="fetched"})"#,
                1.0,
            ),
            ("bytes out", r#"sum(kafka_server_brokertopicmetrics_bytesout_total{topic="fetched"})"#, size(fetched)),
            (
                "partitions of a topic",
                r#"sum(kafka_topic_partitions{site="west",topic="counted"})"#,
                f64::from(PARTITIONS),
            ),
            (
                "replicas of a topic",
                r#"sum(kafka_topic_partition_replicas{site="west",topic="counted"})"#,
                f64::from(PARTITIONS) * f64::from(REPLICAS),
            ),
            (
                "committed by a group",
                r#"sum(kafka_consumergroup_current_offset{consumergroup="behind"})"#,
                f64::from(PARTITIONS) * COMMITTED as f64,
            ),
            (
                "a group's lag",
                r#"sum(kafka_consumergroup_lag{consumergroup="behind"})"#,
                size(RECORDS) - f64::from(PARTITIONS) * COMMITTED as f64,
            ),
            (
                "records mirrored",
                r#"sum(kafka_connect_mirror_mirrorsourceconnector_record_count{topic="src.counted"})"#,
                size(RECORDS),
            ),
            (
                "records left to mirror",
                r#"sum(kafka_connect_mirror_mirrorsourceconnector_record_lag{topic="src.counted"})"#,
                0.0,
            ),
            ("requests to register", r#"sum(twinstream_registry_http_requests_total{method="POST"})"#, size(posts)),
            ("subjects", "sum(twinstream_registry_subjects)", 2.0),
            ("schemas", "sum(twinstream_registry_versions)", 3.0),
        ],
    )
    .await;
    count += bytes(world).await + of_the_cluster(world).await + of_connectors(world).await;
    count + age(world, began).await
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as f64
}

/// What is counted: whole records, broken ones, an old one, and a group that is behind.
async fn write(world: &World, now: f64) {
    let record = |number: usize| {
        let mut record = ProducerRecord::new(topic_name("counted"), None, Some(format!(r#"{{"n":{number}}}"#).into()));
        record.partition = Some(PartitionIndex(number as i32 % PARTITIONS));
        record
    };
    let records: Vec<_> = (0..RECORDS).map(record).collect();
    let broken = (0..BROKEN).map(|_| ProducerRecord::new(topic_name("broken"), None, Some("{".into())));
    let mut old = ProducerRecord::new(topic_name("old"), None, Some("{}".into()));
    old.timestamp = Some((now - HOUR_MS) as i64);
    let bootstrap = world.west.bootstrap();
    produce(&bootstrap, &[], &records).await;
    produce(&bootstrap, &[], &broken.chain([old]).collect::<Vec<_>>()).await;
    let at = |index| {
        (TopicPartition::new(topic_name("counted"), PartitionIndex(index)), CommitOffset::from(Offset(COMMITTED)))
    };
    let offsets: BTreeMap<_, _> = (0..PARTITIONS).map(at).collect();
    world.upstream.commit_offsets(&GroupId::from("behind"), &offsets).await.expect("offsets are committed");
}

/// One batch a request into a topic that nobody else knows, and one fetch of all of them; its bytes.
async fn fetch(world: &World) -> usize {
    let partition = first_partition("fetched");
    append_batches(&world.upstream, "fetched", BATCHES).await;
    let leader = world.upstream.leader(&partition).await.expect("a leader");
    let from = FetchFrom::new(partition, Offset(0));
    let fetched = world.upstream.fetch_batches(leader, &[from], &FetchOptions::default()).await.expect("batches");
    fetched[0].batches.len()
}

/// Three schemas under two subjects; how many requests that took.
async fn register(world: &World) -> usize {
    let schemas = [("one", "string"), ("two", "int"), ("two", "long")];
    for (subject, schema) in schemas {
        let body = json!({ "schema": format!(r#"{{"type":"{schema}"}}"#) });
        world.registry.rest.post(&format!("/subjects/{subject}/versions"), &body).await.good();
    }
    schemas.len()
}

/// Bytes of segments in the data folders of some brokers, of the partitions of a topic that this takes.
fn bytes_on_disk(folder: &Path, topic: &str, takes: impl Fn(&TopicPartition) -> bool) -> u64 {
    let partitions = (0..PARTITIONS).map(|index| TopicPartition::new(topic_name(topic), PartitionIndex(index)));
    let folders = partitions.filter(takes).map(|partition| folder.join(format!("{topic}-{}", partition.partition.0)));
    let files = folders
        .flat_map(|folder| std::fs::read_dir(folder).expect("a log").map(|entry| entry.expect("an entry").path()));
    let segments = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
    segments.map(|file| file.metadata().expect("a segment").len()).sum()
}

async fn bytes(world: &World) -> usize {
    let view = world.upstream.refresh_all().await.expect("metadata");
    let all: u64 = (1..=3).map(|id| bytes_on_disk(&world.west.data(id), "counted", |_| true)).sum();
    let led = |id: usize| {
        bytes_on_disk(&world.west.data(id), "counted", |partition| {
            view.leader(partition).is_some_and(|leader| leader.0 == id as i32)
        })
    };
    let led: u64 = (1..=3).map(led).sum();
    hold(
        world,
        &[
            (
                "bytes in",
                r#"sum(kafka_server_brokertopicmetrics_bytesin_total{site="west",topic="counted"})"#,
                led as f64,
            ),
            ("bytes of a log", r#"sum(kafka_log_log_size{site="west",topic="counted"})"#, all as f64),
        ],
    )
    .await
}

/// What a client sees of a cluster.
struct Seen {
    topics: usize,
    partitions: usize,
    replicas: usize,
    lacking: usize,
}

/// Nothing while the broker that is asked goes away.
async fn seen(client: &RawClient) -> Option<Seen> {
    let view = client.refresh_all().await.ok()?;
    let partitions: Vec<_> = view.topics.values().flat_map(|topic| topic.partitions.values()).collect();
    Some(Seen {
        topics: view.topics.len(),
        partitions: partitions.len(),
        replicas: partitions.iter().map(|partition| partition.replicas.len()).sum(),
        lacking: partitions.iter().filter(|partition| partition.isr.len() < partition.replicas.len()).count(),
    })
}

async fn of_the_cluster(world: &World) -> usize {
    let seen = seen(&world.upstream).await.expect("metadata of whole brokers");
    hold(
        world,
        &[
            ("topics", r#"max(kafka_controller_kafkacontroller_globaltopiccount{site="west"})"#, seen.topics as f64),
            (
                "partitions",
                r#"max(kafka_controller_kafkacontroller_globalpartitioncount{site="west"})"#,
                seen.partitions as f64,
            ),
            ("leaders", r#"sum(kafka_server_replicamanager_leadercount{site="west"})"#, seen.partitions as f64),
            ("replicas", r#"sum(kafka_server_replicamanager_partitioncount{site="west"})"#, seen.replicas as f64),
            ("brokers", r#"max(kafka_brokers{site="west"})"#, 3.0),
            ("active controllers", r#"sum(kafka_controller_kafkacontroller_activecontrollercount{site="west"})"#, 1.0),
            (
                "partitions without leader",
                r#"max(kafka_controller_kafkacontroller_offlinepartitionscount{site="west"})"#,
                0.0,
            ),
            (
                "under-replicated",
                r#"sum(kafka_server_replicamanager_underreplicatedpartitions{site="west"})"#,
                seen.lacking as f64,
            ),
        ],
    )
    .await
}

async fn of_connectors(world: &World) -> usize {
    let indexed = async || {
        let answer = world.search.rest.try_get("/src.counted/_count").await?;
        answer.body["count"].as_u64().filter(|count| *count == RECORDS as u64)
    };
    let indexed = wait_until_some("records are indexed", PATIENCE, indexed).await;
    let dead = async || Some(read_all(&world.east.bootstrap(), "dead").await.len()).filter(|count| *count == BROKEN);
    let dead = wait_until_some("broken records are dead letters", PATIENCE, dead).await as f64;
    let connectors = world.connect.rest.get("/connectors").await.good().as_array().expect("a list").len();
    let status = world.connect.rest.get("/connectors/counter/status").await.good();
    let running = status["tasks"].as_array().expect("tasks").iter().filter(|task| task["state"] == "RUNNING").count();
    hold(
        world,
        &[
            (
                "documents written",
                r#"sum(twinstream_elasticsearch_records_total{connector="counter",outcome="written"})"#,
                indexed as f64,
            ),
            (
                "records that failed",
                r#"sum(kafka_connect_task_error_metrics_total_record_failures{connector="counter"})"#,
                dead,
            ),
            (
                "dead letters",
                r#"sum(kafka_connect_task_error_metrics_deadletterqueue_produce_requests{connector="counter"})"#,
                dead,
            ),
            (
                "connectors",
                r#"sum(kafka_connect_worker_metrics_connector_count{strimzi_io_cluster="connect"})"#,
                connectors as f64,
            ),
            (
                "tasks that run",
                r#"sum(kafka_connect_worker_connector_running_task_count{connector="counter"})"#,
                running as f64,
            ),
        ],
    )
    .await
}

/// The record was an hour old when it was written, and grew older until it was handed on.
async fn age(world: &World, began: f64) -> usize {
    let expression = r#"kafka_connect_mirror_mirrorsourceconnector_record_age_ms{topic="src.old"}"#;
    let age = async || world.prometheus.query(expression).await.ok()?.first().copied();
    let age = wait_until_some("the old record has an age", PATIENCE, age).await;
    let oldest = HOUR_MS + now_ms() - began;
    assert!((HOUR_MS..=oldest).contains(&age), "{age} ms, between {HOUR_MS} and {oldest}");
    1
}

pub(crate) async fn with_one_broker_down(world: &mut World) -> usize {
    world.west.broker(3).kill();
    let world = &*world;
    let lacking = async || {
        let seen = seen(&world.upstream).await?;
        (seen.lacking == seen.partitions).then_some(seen.lacking)
    };
    let lacking = wait_until_some("all partitions lack a replica", PATIENCE, lacking).await as f64;
    hold(
        world,
        &[
            ("under-replicated", r#"sum(kafka_server_replicamanager_underreplicatedpartitions{site="west"})"#, lacking),
            (
                "under-replicated, by partition",
                r#"sum(kafka_topic_partition_under_replicated_partition{site="west"})"#,
                lacking,
            ),
            ("fenced brokers", r#"max(kafka_controller_kafkacontroller_fencedbrokercount{site="west"})"#, 1.0),
            ("brokers left", r#"max(kafka_brokers{site="west"})"#, 2.0),
            ("voters away", r#"max(kafka_server_raftmetrics_number_of_offline_voters{site="west"})"#, 1.0),
            ("not scraped", r#"sum(up{job="broker",site="west"} == bool 0)"#, 1.0),
        ],
    )
    .await
}
