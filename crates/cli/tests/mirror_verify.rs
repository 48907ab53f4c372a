//! What operators hold against a link between clusters of real processes. Verification: equal sides verify up to the end, and
//! what changes on the target is named with its offsets. Limits: a class of topics is slow, and nobody else is.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::RawClient;
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::raw::OffsetAt;
use twinstream_model::{Offset, TopicPartition};
use twinstream_testkit::load::{Protocol, Transactor};
use twinstream_testkit::records::{client_settings, create_topic, topic_name};
use twinstream_testkit::{Cluster, ClusterOptions, Folder, Worker, WorkerOptions, wait_until, wait_until_some};

const PATIENCE: Duration = Duration::from_secs(90);

struct Sites {
    source: Cluster,
    target: Cluster,
    worker: Worker,
    _folder: Folder,
}

impl Sites {
    async fn start() -> Self {
        let folder = Folder::new();
        let quiet = ClusterOptions::default().set("twinstream.scrub.bytes.per.second", "0");
        let (source, target) = tokio::join!(Cluster::start(1), Cluster::start_with(1, quiet));
        let worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
        Self { source, target, worker, _folder: folder }
    }

    async fn link(&self, topics: &str, more: &[(&str, &str)]) {
        let mut config = json!({
            "name": "link",
            "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
            "tasks.max": "1",
            "source.cluster.alias": "src",
            "target.cluster.alias": "dst",
            "source.cluster.bootstrap.servers": self.source.bootstrap(),
            "target.cluster.bootstrap.servers": self.target.bootstrap(),
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "topics": topics,
            "twinstream.verify.bytes.per.second": "0",
        });
        for (key, value) in more {
            config[*key] = Value::from(*value);
        }
        self.worker.rest.put("/connectors/link/config", &config).await.good();
    }

    async fn verify(&self, topics: &str) -> Value {
        let answer = self.worker.rest.put(&format!("/links/src:dst/verify?topics={topics}"), &json!({})).await.good();
        answer["partitions"][0].clone()
    }

    /// Verifies again until the whole topic is on both sides.
    async fn verified_to_the_end(&self, topic: &str) -> Value {
        wait_until_some(&format!("{topic} is compared to its end"), PATIENCE, || async {
            let partition = self.verify(topic).await;
            let is_done = partition["verified"].is_i64() && partition["verified"] == partition["source_end"];
            is_done.then_some(partition)
        })
        .await
    }

    fn command(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinstream"));
        command.args(["link"]).args(args).args(["-w", self.worker.rest.base()]);
        command.output().expect("the command runs")
    }
}

async fn connect(bootstrap: &str) -> RawClient {
    RawClient::connect(&client_settings(bootstrap, &[])).await.expect("a client")
}

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(topic_name(topic), 0)
}

/// Appends one batch of these values.
async fn append(client: &RawClient, topic: &str, first: i64, values: &[&str]) {
    let mut builder = BatchBuilder::new();
    for (number, value) in values.iter().enumerate() {
        builder.append(1_700_000_000_000 + first + number as i64, Some(b"key"), Some(value.as_bytes()), []);
    }
    let batch = Bytes::from(builder.build().expect("a batch"));
    client.produce_batch(&at(topic), batch).await.unwrap_or_else(|error| panic!("{error}"));
}

async fn end_of(client: &RawClient, topic: &str) -> Option<Offset> {
    end_at(client, topic, OffsetAt::Latest).await
}

async fn end_at(client: &RawClient, topic: &str, which: OffsetAt) -> Option<Offset> {
    client.list_offsets_now(&[at(topic)], which).await.ok()?.remove(&at(topic))?.ok()
}

/// One that commits and one that aborts, side by side.
async fn transactions(bootstrap: &str, topic: &str) {
    for (name, commits) in [("commits", true), ("aborts", false)] {
        let mut transactor = Transactor::new(bootstrap, name, Protocol::Second, Duration::from_secs(60));
        transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        for number in 0..3 {
            let value = format!("{name} {number}");
            transactor.write(&at(topic), None, Some(&value)).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        }
        transactor.end(commits).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    }
    // The answer to EndTxn comes before the markers.
    let client = connect(bootstrap).await;
    wait_until("the markers are written", PATIENCE, || async {
        let stable = end_at(&client, topic, OffsetAt::LastStable).await;
        stable.is_some() && stable == end_of(&client, topic).await
    })
    .await;
}

/// Changes one byte of a record in the files of a partition.
fn damage(folder: &Path, value: &str) {
    for entry in fs::read_dir(folder).expect("the partition's folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let bytes = fs::read(&path).expect("a segment");
        if let Some(place) = bytes.windows(value.len()).position(|window| window == value.as_bytes()) {
            let file = fs::OpenOptions::new().write(true).open(&path).expect("a segment");
            file.write_all_at(&[bytes[place] ^ 1], place as u64).expect("a byte");
            return;
        }
    }
    panic!("no segment in {} has {value}", folder.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_sides_verify_to_the_end_and_a_damaged_byte_of_a_mirror_is_named() {
    let sites = Sites::start().await;
    let source = connect(&sites.source.bootstrap()).await;
    create_topic(&sites.source.bootstrap(), "ledger", 1).await;
    for number in 0..10 {
        append(&source, "ledger", number, &[&format!("payment number {number}")]).await;
    }
    transactions(&sites.source.bootstrap(), "ledger").await;
    let end = end_of(&source, "ledger").await.expect("an end").0;

    sites.link("ledger", &[("twinstream.link.mode", "aligned")]).await;
    let equal = sites.verified_to_the_end("ledger").await;
    assert_eq!(
        (&equal["state"], &equal["mode"], &equal["differences"]),
        (&json!("EQUAL"), &json!("aligned"), &json!(0))
    );
    assert_eq!((&equal["verified"], &equal["records"]), (&json!(end), &json!(end)), "markers are the mirror's as well");
    let output = sites.command(&["verify", "src:dst", "--topics", "led.*"]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("EQUAL") && printed.contains(&end.to_string()), "{printed}");

    damage(&sites.target.data(1).join("ledger-0"), "payment number 6");
    let different = wait_until_some("the damage is found", PATIENCE, || async {
        let partition = sites.verify("ledger").await;
        (partition["state"] == "DIFFERENT").then_some(partition)
    })
    .await;
    assert_eq!((&different["differences"], &different["verified"]), (&json!(1), &json!(end)), "{different}");
    assert_eq!(different["first"][0]["target"], 6, "{different}");
    let output = sites.command(&["verify", "src:dst"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(printed.contains("ledger-0") && printed.contains("target offset 6"), "{printed}");
    let link = sites.worker.rest.get("/links/src:dst").await.good();
    assert_eq!(link["partitions"]["states"], json!({"COPYING": 1}), "{link}");
    assert!(link["partitions"]["differences"].as_i64().is_some_and(|found| found > 0), "{link}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_differs_in_a_copy_with_offsets_of_its_own_is_named_with_both_offsets() {
    let sites = Sites::start().await;
    let (source, target) = (connect(&sites.source.bootstrap()).await, connect(&sites.target.bootstrap()).await);
    create_topic(&sites.source.bootstrap(), "orders", 1).await;
    create_topic(&sites.target.bootstrap(), "orders", 1).await;
    append(&target, "orders", 0, &["not of this link", "neither"]).await;
    transactions(&sites.source.bootstrap(), "orders").await;
    for number in 0..5 {
        append(&source, "orders", number, &[&format!("order number {number}")]).await;
    }
    let end = end_of(&source, "orders").await.expect("an end").0;
    let committed = [("twinstream.link.mode", "generic"), ("source.consumer.isolation.level", "read_committed")];
    sites.link("orders", &committed).await;
    let equal = sites.verified_to_the_end("orders").await;
    let told = ["state", "mode", "differences", "records", "verified"].map(|name| &equal[name]);
    // Three records were committed, three were aborted; markers are no records.
    let expected = [json!("EQUAL"), json!("generic"), json!(0), json!(8), json!(end)];
    assert_eq!(told, expected.each_ref(), "{equal}");

    // The source's orders begin behind six records and two markers, the copy's behind two strangers and three records.
    damage(&sites.target.data(1).join("orders-0"), "order number 3");
    let different = wait_until_some("the damage is found", PATIENCE, || async {
        let partition = sites.verify("orders").await;
        (partition["state"] == "DIFFERENT").then_some(partition)
    })
    .await;
    let first = &different["first"][0];
    assert_eq!((&first["source"], &first["target"]), (&json!(8 + 3), &json!(5 + 3)), "{different}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_background_verifier_follows_the_copy_and_tells_what_it_finds() {
    let sites = Sites::start().await;
    let source = connect(&sites.source.bootstrap()).await;
    create_topic(&sites.source.bootstrap(), "watched", 1).await;
    for number in 0..5 {
        append(&source, "watched", number, &[&format!("entry number {number}")]).await;
    }
    sites.link("watched", &[("twinstream.verify.bytes.per.second", "1000000")]).await;
    let verified = async || {
        let lag = sites.worker.rest.get("/links/src:dst/lag").await.good();
        lag["partitions"][0]["verified"].as_i64()
    };
    wait_until("all is verified", PATIENCE, || async { verified().await == Some(5) }).await;
    let lag = sites.worker.rest.get("/links/src:dst/lag").await.good();
    let told = ["records", "bytes", "ms"].map(|name| &lag[name]);
    assert_eq!(told, [&json!(0), &json!(0), &json!(0)], "{lag}");

    // A worker that starts anew compares from the beginning, and finds what changed since.
    sites.worker.rest.put("/connectors/link/pause", &json!({})).await.good();
    let target = connect(&sites.target.bootstrap()).await;
    wait_until("the link is paused", PATIENCE, || async {
        sites.worker.rest.get("/connectors/link/status").await.good()["tasks"][0]["state"] == "PAUSED"
    })
    .await;
    damage(&sites.target.data(1).join("watched-0"), "entry number 2");
    assert_eq!(end_of(&target, "watched").await, Some(Offset(5)));
    let mut sites = sites;
    sites.worker.server.kill();
    sites.worker.server.start().await;
    sites.worker.wait_ready().await;
    sites.worker.rest.put("/connectors/link/resume", &json!({})).await.good();
    wait_until("the difference is logged", PATIENCE, || async {
        let log = sites.worker.server.log_text();
        log.lines().any(|line| line.contains("source and target differ") && line.contains("target offset 2"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_of_topics_keeps_its_limit_and_delays_no_other() {
    const BYTES_PER_SECOND: usize = 1 << 20;
    const RECORDS: i64 = 6;
    let sites = Sites::start().await;
    let (source, target) = (connect(&sites.source.bootstrap()).await, connect(&sites.target.bootstrap()).await);
    let large = "x".repeat(BYTES_PER_SECOND - 1_000);
    for topic in ["slow-1", "fast"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        for number in 0..RECORDS {
            append(&source, topic, number, &[&large]).await;
        }
    }
    create_topic(&sites.source.bootstrap(), "still", 1).await;
    append(&source, "still", 0, &[&"a".repeat(600)]).await;
    let limit = format!("slow-.*={BYTES_PER_SECOND}, still=1");
    let began = Instant::now();
    // A byte per second, but for the window that has this and every other moment.
    let window = format!("daily 00:00-24:00 UTC+1 {limit}");
    let more = [
        ("twinstream.topics.bytes.per.second", "slow-.*=1"),
        ("twinstream.topics.bytes.per.second.windows", window.as_str()),
    ];
    sites.link("slow-.*, fast, still", &more).await;
    let has_all = async |topic: &str| end_of(&target, topic).await == Some(Offset(RECORDS));
    wait_until("fast is there", PATIENCE, || has_all("fast")).await;
    assert!(!has_all("slow-1").await, "it is in nobody's way");
    let limits = sites.worker.rest.get("/links/src:dst").await.good()["limits"].clone();
    let row = |topics: &str, rate: usize| json!({"of": "topics", "topics": topics, "bytes_per_second": rate, "window": window, "until": null});
    let counts = json!([row("slow-.*", BYTES_PER_SECOND), row("still", 1)]);
    assert_eq!(limits, counts);
    wait_until("slow is there", PATIENCE, || has_all("slow-1")).await;
    // Each answer brings one record; before the last one leaves, the others are paid for, but for the burst.
    let least = Duration::from_secs(4);
    assert!(began.elapsed() >= least, "{:?} is less than {RECORDS} MiB take at one per second", began.elapsed());

    // Nobody fetches what waits for ten minutes: its source is asked where it ends.
    wait_until("still is there", PATIENCE, async || end_of(&target, "still").await == Some(Offset(1))).await;
    append(&source, "still", 1, &["b"]).await;
    append(&source, "still", 2, &["c"]).await;
    wait_until("what a fail-over would lose is told", PATIENCE, || async {
        let partitions = sites.worker.rest.get("/links/src:dst").await.good()["partitions"].clone();
        partitions["rpo"]["records"] == 2 && partitions["furthest_behind"][0]["topic"] == "still"
    })
    .await;
    assert_eq!(end_of(&target, "still").await, Some(Offset(1)), "it waits all the same");
}
