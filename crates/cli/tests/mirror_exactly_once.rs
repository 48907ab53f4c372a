//! Generic links that bring every record once: into Apache Kafka, with workers that are killed at any moment, and from one
//! worker of Kafka's to one of ours and back.

mod earthquakes;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinHandle;
use twinstream_client::{Admin, ProducerRecord};
use twinstream_model::PartitionIndex;
use twinstream_testkit::{Folder, Process, Rest, Worker, WorkerOptions, free_port, peer, records, wait_until};

const WITHIN: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 3;
const TOPIC: &str = "earthquakes";
const COPY: &str = "src.earthquakes";
const CONNECT: &str = "org.apache.kafka.connect.cli.ConnectDistributed";

type Numbers = BTreeMap<PartitionIndex, Vec<u64>>;

fn record(number: u64) -> ProducerRecord {
    let text = Bytes::from(format!("{number}"));
    let mut record = ProducerRecord::new(records::topic_name(TOPIC), Some(text.clone()), Some(text));
    record.partition = Some(PartitionIndex((number % PARTITIONS as u64) as i32));
    record
}

/// Produces small batches without a pause until it is told how many there are to be.
fn load(bootstrap: String, count: u64) -> JoinHandle<()> {
    const EACH: u64 = 60;
    tokio::spawn(async move {
        for first in (0..count).step_by(EACH as usize) {
            let batch: Vec<ProducerRecord> = (first..first + EACH).map(record).collect();
            records::produce(&bootstrap, &[("linger.ms", "1")], &batch).await;
        }
    })
}

/// What a reader of committed records sees.
async fn committed(bootstrap: &str, topic: &str) -> Numbers {
    let mut numbers = Numbers::new();
    for record in records::read_committed(bootstrap, topic).await {
        let text = String::from_utf8(record.value.expect("a value").to_vec()).expect("a number");
        numbers.entry(record.partition).or_default().push(text.parse().expect("a number"));
    }
    numbers
}

async fn count(bootstrap: &str) -> usize {
    records::read_committed(bootstrap, COPY).await.len()
}

async fn wait_for_copy(source: &str, target: &str) {
    let sent = committed(source, TOPIC).await;
    let wanted: usize = sent.values().map(Vec::len).sum();
    wait_until("the copy is as long as the source", WITHIN, || async { count(target).await >= wanted }).await;
    assert!(committed(target, COPY).await == sent, "each record once, in order");
}

fn config(source: &str, target: &str) -> Value {
    let mut config = earthquakes::mirror_config(source, target);
    let more = [
        ("source.consumer.isolation.level", "read_committed"),
        ("transaction.boundary", "interval"),
        ("transaction.boundary.interval.ms", "300"),
        ("key.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
        ("value.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
    ];
    let map = config.as_object_mut().expect("an object");
    for (name, value) in more {
        map.insert(name.to_owned(), value.into());
    }
    config
}

fn ours() -> WorkerOptions {
    WorkerOptions::default().set("exactly.once.source.support", "enabled").set("offset.flush.interval.ms", "1000")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_into_kafka_that_is_killed_again_and_again_copies_every_record_once() {
    const KILLS: usize = 10;
    let kafka = peer::kafka();
    let folder = Folder::new();
    let (source, target) = tokio::join!(kafka.cluster(1, &[]), kafka.cluster(1, &[]));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    records::create_topic(&from, TOPIC, PARTITIONS).await;
    let load = load(from.clone(), 60 * 400);
    let mut worker = Worker::start(&folder, &to, ours()).await;
    worker.rest.put("/connectors/mirror/config", &config(&from, &to)).await.good();
    for kill in 1..=KILLS {
        let before = if kill == 1 { 0 } else { count(&to).await };
        wait_until(&format!("something is committed before kill {kill}"), WITHIN, || async {
            count(&to).await > before || load.is_finished()
        })
        .await;
        worker.crash_and_restart().await;
    }
    load.await.expect("the load");
    wait_for_copy(&from, &to).await;
    worker.server.stop().await;
    assert!(committed(&to, COPY).await == committed(&from, TOPIC).await, "a stop adds nothing");
}

struct Theirs {
    process: Process,
    rest: Rest,
}

/// Kafka's Connect worker of the same group, with the same topics.
async fn theirs(folder: &Folder, run: &str, bootstrap: &str) -> Theirs {
    let port = free_port();
    let mut text = format!("bootstrap.servers={bootstrap}\nlisteners=http://127.0.0.1:{port}\n");
    for (name, value) in [
        ("group.id", "connect"),
        ("plugin.discovery", "service_load"),
        ("exactly.once.source.support", "enabled"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
        ("config.storage.topic", "connect-configs"),
        ("offset.storage.topic", "connect-offsets"),
        ("status.storage.topic", "connect-status"),
        ("config.storage.replication.factor", "1"),
        ("offset.storage.replication.factor", "1"),
        ("status.storage.replication.factor", "1"),
        ("offset.flush.interval.ms", "1000"),
    ] {
        text.push_str(&format!("{name}={value}\n"));
    }
    let file = folder.path().join(format!("{run}.properties"));
    std::fs::write(&file, text).expect("write the worker's settings");
    let command = peer::kafka().application(folder.path(), CONNECT, &[&file.display().to_string()]);
    let process = Process::spawn(run, command, &folder.path().join(format!("{run}.log")));
    let rest = Rest::new(format!("http://127.0.0.1:{port}"));
    wait_until("Kafka's Connect worker answers", WITHIN, || async {
        rest.try_get("/connectors").await.is_some_and(|answer| answer.is_good())
    })
    .await;
    Theirs { process, rest }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirror_maker_is_taken_over_and_handed_back_with_kills_and_no_record_twice() {
    let kafka = peer::kafka();
    let folder = Folder::new();
    let (source, target) = tokio::join!(kafka.cluster(1, &[]), kafka.cluster(1, &[]));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    records::create_topic(&from, TOPIC, PARTITIONS).await;
    let load = load(from.clone(), 60 * 300);
    let more = |before: usize, what: &'static str| {
        let to = to.clone();
        async move { wait_until(what, WITHIN, || async { count(&to).await > before }).await }
    };

    let mut first = theirs(&folder, "connect-1", &to).await;
    wait_until("the connector is taken", WITHIN, || async {
        let answer = first.rest.put("/connectors/mirror/config", &config(&from, &to)).await;
        answer.is_good()
    })
    .await;
    more(0, "MirrorMaker has committed something").await;
    first.process.kill();

    let before = count(&to).await;
    let mut worker = Worker::start(&folder, &to, ours()).await;
    more(before, "ours goes on").await;
    worker.crash_and_restart().await;
    let before = count(&to).await;
    more(before, "ours goes on after a kill").await;
    worker.server.process().kill();

    // A worker of Kafka's is refused while the group has a member that speaks another protocol, dead or not.
    let admin = Admin::connect(&records::client_settings(&to, &[])).await.expect("admin client");
    wait_until("the place of the killed worker is free", WITHIN, || async {
        let groups = admin.raw().list_groups().await.expect("groups");
        groups.iter().all(|group| group.group.to_string() != "connect" || group.state == "Empty")
    })
    .await;
    load.await.expect("the load");
    let batch: Vec<ProducerRecord> = (60 * 300..60 * 310).map(record).collect();
    records::produce(&from, &[], &batch).await;
    let mut second = theirs(&folder, "connect-2", &to).await;
    wait_for_copy(&from, &to).await;
    second.process.kill();
}
