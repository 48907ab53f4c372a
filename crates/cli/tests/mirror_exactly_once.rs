//! Generic links that bring every record once: into Apache Kafka, with workers that are killed at any moment, and from one
//! worker of Kafka's to one of ours and back; into our own brokers, with a worker that stands still. What makes it so is on the
//! target, so the source is always one of ours, which starts quickly.

mod earthquakes;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinstream_client::{Admin, ProducerRecord};
use twinstream_model::PartitionIndex;
use twinstream_testkit::{Cluster, Folder, Process, Rest, Worker, WorkerOptions, free_port, peer, records, wait_until};

const WITHIN: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 3;
const TOPIC: &str = "earthquakes";
const COPY: &str = "src.earthquakes";
const CONNECT: &str = "org.apache.kafka.connect.cli.ConnectDistributed";
/// The least that a broker allows; each takeover from a dead worker waits for it.
const SESSION_MS: &str = "6000";

type Numbers = BTreeMap<PartitionIndex, Vec<u64>>;

fn record(number: u64) -> ProducerRecord {
    let text = Bytes::from(format!("{number}"));
    let mut record = ProducerRecord::new(records::topic_name(TOPIC), Some(text.clone()), Some(text));
    record.partition = Some(PartitionIndex((number % PARTITIONS as u64) as i32));
    record
}

/// Produces small batches without a pause until it is stopped.
struct Load {
    stop: watch::Sender<bool>,
    done: JoinHandle<()>,
}

impl Load {
    const EACH: u64 = 60;

    fn start(bootstrap: String) -> Load {
        let (stop, stopped) = watch::channel(false);
        let done = tokio::spawn(async move {
            for first in (0..).step_by(Load::EACH as usize).take_while(|_| !*stopped.borrow()) {
                produce(&bootstrap, first).await;
            }
        });
        Load { stop, done }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.done.await.expect("the load");
    }
}

async fn produce(bootstrap: &str, first: u64) {
    let batch: Vec<ProducerRecord> = (first..first + Load::EACH).map(record).collect();
    records::produce(bootstrap, &[("linger.ms", "1")], &batch).await;
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
    WorkerOptions::default()
        .set("exactly.once.source.support", "enabled")
        .set("offset.flush.interval.ms", "1000")
        .set("session.timeout.ms", SESSION_MS)
        .set("heartbeat.interval.ms", "2000")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_into_kafka_that_is_killed_again_and_again_copies_every_record_once() {
    const KILLS: usize = 10;
    let kafka = peer::kafka();
    let folder = Folder::new();
    let (source, target) = tokio::join!(Cluster::start(1), kafka.cluster(1, &[]));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    records::create_topic(&from, TOPIC, PARTITIONS).await;
    let load = Load::start(from.clone());
    let mut worker = Worker::start(&folder, &to, ours()).await;
    worker.rest.put("/connectors/mirror/config", &config(&from, &to)).await.good();
    for kill in 1..=KILLS {
        let before = if kill == 1 { 0 } else { count(&to).await };
        wait_until(&format!("something is committed before kill {kill}"), WITHIN, || async {
            count(&to).await > before
        })
        .await;
        worker.crash_and_restart().await;
    }
    load.stop().await;
    wait_for_copy(&from, &to).await;
    worker.server.stop().await;
    assert!(committed(&to, COPY).await == committed(&from, TOPIC).await, "a stop adds nothing");
}

/// Between our own brokers. The worker that stands still does what it was asked for before it hears of its successor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stood_still_while_another_took_over_adds_nothing_and_takes_nothing_back() {
    let (folder, other) = (Folder::new(), Folder::new());
    let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    records::create_topic(&from, TOPIC, PARTITIONS).await;
    let load = Load::start(from.clone());
    let mut first = Worker::start(&folder, &to, ours()).await;
    let mut config = config(&from, &to);
    config["twinstream.link.mode"] = "generic".into();
    first.rest.put("/connectors/mirror/config", &config).await.good();
    wait_until("the first copies", WITHIN, || async { count(&to).await > 0 }).await;

    first.server.process().freeze();
    let (rest, tasks) = (first.rest.clone(), 0..PARTITIONS);
    let asked = tokio::spawn(async move {
        for task in tasks {
            rest.post(&format!("/connectors/mirror/tasks/{task}/restart"), &Value::Null).await;
        }
    });
    let admin = Admin::connect(&records::client_settings(&to, &[])).await.expect("admin client");
    wait_for_place(&admin).await;
    let before = count(&to).await;
    // The first cannot reach it, so it does not give up its place before it has waited for a session.
    let away = ours().set("rest.advertised.host.name", "192.0.2.1");
    let mut second = Worker::start(&other, &to, away).await;
    wait_until("the second goes on", WITHIN, || async { count(&to).await > before }).await;

    first.server.process().resume();
    wait_until("the first hears of it and ends", WITHIN, || {
        let ended = !first.server.process().is_running();
        async move { ended }
    })
    .await;
    asked.abort();
    load.stop().await;
    wait_for_copy(&from, &to).await;
    let status = second.rest.get("/connectors/mirror/status").await.good();
    let tasks = status["tasks"].as_array().expect("tasks");
    assert!(tasks.iter().all(|task| task["state"] == "RUNNING"), "{status}");
    second.server.stop().await;
    assert!(committed(&to, COPY).await == committed(&from, TOPIC).await, "a stop adds nothing");
}

/// Until the group has no member, dead ones included.
async fn wait_for_place(admin: &Admin) {
    wait_until("the place of the worker is free", WITHIN, || async {
        let groups = admin.raw().list_groups().await.expect("groups");
        groups.iter().all(|group| group.group.to_string() != "connect" || group.state == "Empty")
    })
    .await;
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
        ("session.timeout.ms", SESSION_MS),
        ("heartbeat.interval.ms", "2000"),
        ("scheduled.rebalance.max.delay.ms", "0"),
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
    let (source, target) = tokio::join!(Cluster::start(1), kafka.cluster(1, &[]));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    records::create_topic(&from, TOPIC, PARTITIONS).await;
    let load = Load::start(from.clone());
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
    wait_for_place(&admin).await;
    load.stop().await;
    produce(&from, 1 << 40).await;
    let mut second = theirs(&folder, "connect-2", &to).await;
    wait_for_copy(&from, &to).await;
    second.process.kill();
}
