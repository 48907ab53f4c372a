//! The worker mirrors between two clusters of Apache Kafka: nothing in it depends on our brokers.

mod earthquakes;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::{Header, ProducerRecord, RawClient};
use twinstream_model::{GroupId, PartitionIndex, TopicPartition};
use twinstream_testkit::load::{Protocol, Transactor};
use twinstream_testkit::peer::Kafka;
use twinstream_testkit::{Folder, Worker, WorkerOptions, peer, records, wait_until, wait_until_some};

const MIRRORED_WITHIN: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 3;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_mirrors_between_two_apache_kafka_clusters() {
    let kafka = peer::kafka();
    let folder = Folder::new();
    let (source, target) = tokio::join!(kafka.cluster(1, &[]), kafka.cluster(1, &[]));
    records::create_topic(&source.bootstrap(), "earthquakes", PARTITIONS).await;
    for codec in CODECS {
        let settings = [("compression.type", codec), ("linger.ms", "20")];
        records::produce(&source.bootstrap(), &settings, &batch(codec)).await;
    }
    let mut worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
    let config = earthquakes::mirror_config(&source.bootstrap(), &target.bootstrap());
    worker.rest.put("/connectors/mirror/config", &config).await.good();
    wait_for_copy(&source.bootstrap(), &target.bootstrap()).await;

    // What comes later, and what comes while the worker is away, arrives as well; nothing is copied twice after a stop.
    worker.server.stop().await;
    records::produce(&source.bootstrap(), &[("compression.type", "lz4")], &batch("later")).await;
    worker.server.start().await;
    worker.wait_ready().await;
    wait_for_copy(&source.bootstrap(), &target.bootstrap()).await;
    let status = worker.rest.get("/connectors/mirror/status").await.good();
    assert_eq!(status["connector"]["state"], "RUNNING", "{status}");
    assert_eq!(status["type"], "source", "{status}");
}

/// Of the records that a member reads before the link is failed over.
const READ_BEFORE: usize = 30;
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
/// Groups of both protocols, by what a member of them says more.
const GROUPS: [(&str, &[&str]); 2] =
    [("classics", &[]), ("moderns", &["--command-property", "group.protocol=consumer"])];

/// What a generic target allows of a link, operated as its users do and read by Kafka's own consumers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_between_two_apache_kafka_clusters_is_followed_verified_and_failed_over() {
    let kafka = peer::kafka();
    let folder = Folder::new();
    let (source, target) = tokio::join!(kafka.cluster(1, &[]), kafka.cluster(1, &[]));
    let (source, target) = (source.bootstrap(), target.bootstrap());
    records::create_topic(&source, "orders", 1).await;
    // The markers take offsets at the source, and none on the target.
    for (name, commits) in [("commits", true), ("aborts", false), ("commits again", true)] {
        transaction(&source, name, commits).await;
    }
    records::produce(&source, &[], &orders("early", 50)).await;

    let worker = Worker::start(&folder, &target, WorkerOptions::default()).await;
    let config = json!({
        "source.cluster.bootstrap.servers": source,
        "target.cluster.bootstrap.servers": target,
        "topics": "orders",
        "tasks.max": "1",
        "refresh.topics.interval.seconds": "1",
        "refresh.groups.interval.seconds": "1",
        "sync.topic.configs.interval.seconds": "1",
        "heartbeats.replication.enabled": "false",
        "offset-syncs.topic.location": "target",
        "source.consumer.isolation.level": "read_committed",
        "twinstream.verify.bytes.per.second": "0",
    });
    worker.rest.put("/links/a->b", &config).await.good();

    // Settings and partitions follow.
    let topic =
        ["--entity-type", "topics", "--entity-name", "orders", "--alter", "--add-config", "retention.ms=86400017"];
    kafka.text("kafka.admin.ConfigCommand", &[&["--bootstrap-server", &source], &topic[..]].concat());
    let more = ["--alter", "--topic", "orders", "--partitions", "2"];
    kafka.text("org.apache.kafka.tools.TopicCommand", &[&["--bootstrap-server", &source], &more[..]].concat());
    records::produce(&source, &[], &orders("later", 20)).await;
    wait_until("settings and partitions have followed", MIRRORED_WITHIN, || async {
        let told = kafka.text(
            "org.apache.kafka.tools.TopicCommand",
            &["--bootstrap-server", &target, "--describe", "--topic", "a.orders"],
        );
        told.contains("PartitionCount: 2") && told.contains("retention.ms=86400017")
    })
    .await;
    wait_until("all is copied", MIRRORED_WITHIN, || async {
        values(&target, "a.orders").await == values(&source, "orders").await
    })
    .await;
    let verified = wait_until_some("both sides are compared to their ends", MIRRORED_WITHIN, || async {
        let answer = worker.rest.put("/links/a:b/verify", &json!({})).await.good();
        let partitions = answer["partitions"].as_array().expect("partitions").clone();
        let is_done =
            |partition: &Value| partition["verified"].is_i64() && partition["verified"] == partition["source_end"];
        (partitions.len() == 2 && partitions.iter().all(is_done)).then_some(answer)
    })
    .await;
    assert!(verified["partitions"].as_array().unwrap().iter().all(|at| at["difference"].is_null()), "{verified}");

    // Groups of both protocols stand at the very records.
    let mut left = Vec::new();
    for (group, more) in GROUPS {
        let read = read_as(&kafka, [&source, "orders", group], more, READ_BEFORE);
        assert_eq!(read.len(), READ_BEFORE, "{group}");
        left.push((group, more, values(&source, "orders").await.difference(&read).cloned().collect::<BTreeSet<_>>()));
        wait_until(&format!("{group} has followed"), MIRRORED_WITHIN, || async {
            let there = unread(&target, "a.orders", group).await;
            there.is_some() && there == unread(&source, "orders", group).await
        })
        .await;
    }

    // What comes while the link pauses is what a fail-over would lose, and it says so exactly.
    worker.rest.put("/links/a:b/pause", &json!({})).await.good();
    wait_until("the link pauses", MIRRORED_WITHIN, || async {
        worker.rest.get("/links/a:b").await.good()["state"] == "PAUSED"
    })
    .await;
    records::produce(&source, &[], &orders("never mirrored", 7)).await;
    let report = worker.rest.put("/links/a:b/failover", &json!({})).await.good();
    assert_eq!((&report["done"], &report["rpo"]["records"]), (&json!(true), &json!(7)), "{report}");
    assert_eq!(report["rpo"]["exact"], json!(true), "{report}");
    for (group, more, left) in left {
        let read = read_as(&kafka, [&target, "a.orders", group], more, left.len());
        assert_eq!(read, left, "{group} goes on at its very record");
    }
    for verb in ["reverse", "failback"] {
        let refused = worker.rest.put(&format!("/links/a:b/{verb}"), &json!({})).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
        assert!(refused.body["message"].to_string().contains("brokers of ours"), "{}", refused.body);
    }
}

async fn transaction(bootstrap: &str, name: &str, commits: bool) {
    let mut transactor = Transactor::new(bootstrap, name, Protocol::Second, Duration::from_secs(60));
    transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let at = TopicPartition::new(records::topic_name("orders"), PartitionIndex(0));
    for number in 0..3 {
        let value = format!("{name} {number}");
        transactor.write(&at, None, Some(&value)).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    }
    transactor.end(commits).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
}

fn orders(tag: &str, count: i32) -> Vec<ProducerRecord> {
    let record = |number| {
        let value = Bytes::from(format!("{tag} {number}"));
        ProducerRecord::new(records::topic_name("orders"), Some(value.clone()), Some(value))
    };
    (0..count).map(record).collect()
}

async fn values(bootstrap: &str, topic: &str) -> BTreeSet<String> {
    let all = records::read_committed(bootstrap, topic).await;
    all.into_iter().map(|record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned()).collect()
}

/// What the group has before it, of all records that count; `None` if it stands nowhere.
async fn unread(bootstrap: &str, topic: &str, group: &str) -> Option<BTreeSet<String>> {
    let client = RawClient::connect(&records::client_settings(bootstrap, &[])).await.expect("a client");
    // A group that is not there yet stands nowhere.
    let stands = client.committed_offsets(&GroupId::from(group)).await.ok().filter(|stands| !stands.is_empty())?;
    let all = records::read_committed(bootstrap, topic).await;
    let before = all.into_iter().filter(|record| {
        let at = TopicPartition::new(records::topic_name(topic), record.partition);
        stands.get(&at).is_none_or(|commit| commit.offset <= record.offset)
    });
    Some(before.map(|record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned()).collect())
}

/// So many records as a member of the group reads them, of those that count.
fn read_as(kafka: &Kafka, at: [&str; 3], more: &[&str], count: usize) -> BTreeSet<String> {
    let [bootstrap, topic, group] = at;
    let of = ["--bootstrap-server", bootstrap, "--topic", topic, "--group", group, "--from-beginning"];
    let count = count.to_string();
    let until = ["--isolation-level", "read_committed", "--max-messages", &count, "--timeout-ms", "60000"];
    kafka.text(CONSUMER, &[&of[..], &until, more].concat()).lines().map(str::to_owned).collect()
}

/// Waits until the target holds the same records in the same partitions and order, and not one more.
async fn wait_for_copy(source: &str, target: &str) {
    let sent = content(source, "earthquakes").await;
    wait_until("the target holds as many records as the source", MIRRORED_WITHIN, || async {
        content(target, "src.earthquakes").await.len() >= sent.len()
    })
    .await;
    assert_eq!(content(target, "src.earthquakes").await, sent);
}

type Content = (PartitionIndex, Option<Bytes>, Option<Bytes>, Vec<Header>, Option<i64>);

async fn content(bootstrap: &str, topic: &str) -> Vec<Content> {
    let all = records::read_all(bootstrap, topic).await;
    all.into_iter().map(|r| (r.partition, r.key, r.value, r.headers, r.timestamp)).collect()
}

/// Records with everything that a record may have, and may lack.
fn batch(tag: &str) -> Vec<ProducerRecord> {
    let topic = records::topic_name("earthquakes");
    let record = |index: i32| {
        let key = (index % 7 != 0).then(|| Bytes::from(format!("{tag}-{index}")));
        let value = (index % 11 != 0).then(|| Bytes::from(format!("{tag} value {index} ").repeat(20)));
        let mut record = ProducerRecord::new(topic.clone(), key, value);
        record.partition = Some(PartitionIndex(index % PARTITIONS));
        record.timestamp = Some(1_517_363_399_650 + i64::from(index));
        if index % 5 == 0 {
            record.headers = vec![
                Header { key: "codec".to_owned(), value: Some(Bytes::from(tag.to_owned())) },
                Header { key: "null".to_owned(), value: None },
            ];
        }
        record
    };
    (0..400).map(record).collect()
}
