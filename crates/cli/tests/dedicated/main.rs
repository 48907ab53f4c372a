//! `twinstream mirror` with dedicated-mode files: as a process between clusters, and beside Kafka's own reading of a file.

mod judge;
mod take_over;

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use twinstream_client::{Admin, NewTopic, ProducerRecord};
use twinstream_model::PartitionIndex;
use twinstream_testkit::{Cluster, Folder, Rest, Server, free_port, records, twinstream, wait_until};

const COPIED_WITHIN: Duration = Duration::from_secs(90);

/// Records with the keys `tag-0`, `tag-1` and so on.
async fn produce(bootstrap: &str, topic: &str, tag: &str, count: i32) {
    let record = |index| {
        let key = Some(Bytes::from(format!("{tag}-{index}")));
        let mut record = ProducerRecord::new(records::topic_name(topic), key, Some(Bytes::from_static(b"value")));
        record.partition = Some(PartitionIndex(0));
        record
    };
    records::produce(bootstrap, &[], &(0..count).map(record).collect::<Vec<_>>()).await;
}

fn tags(tags: &[&str], count: i32) -> BTreeSet<Bytes> {
    tags.iter().flat_map(|tag| (0..count).map(move |index| Bytes::from(format!("{tag}-{index}")))).collect()
}

async fn wait_for_keys(bootstrap: &str, topic: &str, expected: &BTreeSet<Bytes>) {
    wait_until(&format!("all records are in {topic}"), COPIED_WITHIN, || async {
        records::keys(&records::read_all(bootstrap, topic).await) == *expected
    })
    .await;
}

/// A file of settings that one-broker clusters need, and what the test adds.
fn settings(clusters: &[(&str, String)], more: &[(&str, String)]) -> Vec<(String, String)> {
    let aliases: Vec<&str> = clusters.iter().map(|(alias, _)| *alias).collect();
    let mut settings = vec![("clusters".to_owned(), aliases.join(", "))];
    settings.extend(clusters.iter().map(|(alias, servers)| (format!("{alias}.bootstrap.servers"), servers.clone())));
    for name in [
        "replication.factor",
        "checkpoints.topic.replication.factor",
        "heartbeats.topic.replication.factor",
        "offset-syncs.topic.replication.factor",
        "offset.storage.replication.factor",
        "status.storage.replication.factor",
        "config.storage.replication.factor",
    ] {
        settings.push((name.to_owned(), "1".to_owned()));
    }
    settings.push(("refresh.topics.interval.seconds".to_owned(), "1".to_owned()));
    settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_of_a_file_run_in_one_process_and_go_on_after_a_kill() {
    let folder = Folder::new();
    let (paris, oslo) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let (paris_servers, oslo_servers) = (paris.bootstrap(), oslo.bootstrap());
    tokio::join!(records::create_topic(&paris_servers, "orders", 1), records::create_topic(&oslo_servers, "bills", 1),);
    let (there, back) = (free_port(), free_port());
    let more = [
        ("paris->oslo.enabled", "true".to_owned()),
        ("oslo->paris.enabled", "true".to_owned()),
        ("paris->oslo.topics", "orders".to_owned()),
        ("oslo->paris.topics", "bills".to_owned()),
        ("paris->oslo.listeners", format!("http://127.0.0.1:{there}")),
        ("oslo->paris.listeners", format!("http://127.0.0.1:{back}")),
    ];
    let settings = settings(&[("paris", paris.bootstrap()), ("oslo", oslo.bootstrap())], &more);
    let mut process = Server::with_settings(&folder, "mirror", "mirror", there, &settings);
    process.start().await;
    produce(&paris.bootstrap(), "orders", "first", 100).await;
    produce(&oslo.bootstrap(), "bills", "first", 100).await;
    wait_for_keys(&oslo.bootstrap(), "paris.orders", &tags(&["first"], 100)).await;
    wait_for_keys(&paris.bootstrap(), "oslo.bills", &tags(&["first"], 100)).await;
    let status = Rest::new(format!("http://127.0.0.1:{back}")).get("/connectors/MirrorSourceConnector/status").await;
    assert_eq!(status.good()["connector"]["state"], "RUNNING");

    process.kill();
    produce(&paris.bootstrap(), "orders", "second", 100).await;
    produce(&oslo.bootstrap(), "bills", "second", 100).await;
    process.start().await;
    wait_for_keys(&oslo.bootstrap(), "paris.orders", &tags(&["first", "second"], 100)).await;
    wait_for_keys(&paris.bootstrap(), "oslo.bills", &tags(&["first", "second"], 100)).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flow_to_a_cluster_that_is_away_waits_while_the_others_run() {
    let folder = Folder::new();
    let (source, near, mut far) = tokio::join!(Cluster::start(1), Cluster::start(1), Cluster::start(1));
    records::create_topic(&source.bootstrap(), "orders", 1).await;
    produce(&source.bootstrap(), "orders", "first", 100).await;
    far.broker(1).kill();
    let port = free_port();
    let more = [
        ("a->near.enabled", "true".to_owned()),
        ("a->far.enabled", "true".to_owned()),
        ("topics", "orders".to_owned()),
        ("emit.heartbeats.enabled", "false".to_owned()),
        ("a->near.listeners", format!("http://127.0.0.1:{port}")),
    ];
    let clusters = [("a", source.bootstrap()), ("near", near.bootstrap()), ("far", far.bootstrap())];
    let mut process = Server::with_settings(&folder, "mirror", "mirror", port, &settings(&clusters, &more));
    process.start().await;
    wait_for_keys(&near.bootstrap(), "a.orders", &tags(&["first"], 100)).await;
    wait_until("the log tells of the flow that waits", COPIED_WITHIN, || async {
        process.log_text().contains("flow ended, it starts again")
    })
    .await;
    far.broker(1).start().await;
    wait_for_keys(&far.bootstrap(), "a.orders", &tags(&["first"], 100)).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_process_with_the_same_file_stands_by_and_takes_over() {
    let folder = Folder::new();
    let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
    records::create_topic(&source.bootstrap(), "orders", 1).await;
    let process = |name: &str| {
        let port = free_port();
        let more = [
            ("a->b.enabled", "true".to_owned()),
            ("topics", "orders".to_owned()),
            ("emit.heartbeats.enabled", "false".to_owned()),
            ("a->b.listeners", format!("http://127.0.0.1:{port}")),
        ];
        let clusters = [("a", source.bootstrap()), ("b", target.bootstrap())];
        Server::with_settings(&folder, name, "mirror", port, &settings(&clusters, &more))
    };
    let (mut first, mut second) = (process("first"), process("second"));
    first.start().await;
    produce(&source.bootstrap(), "orders", "one", 100).await;
    wait_for_keys(&target.bootstrap(), "a.orders", &tags(&["one"], 100)).await;
    second.spawn();
    wait_until("the second process says who has the flow", COPIED_WITHIN, || async {
        second.log_text().contains("already has a worker at http://127.0.0.1:")
    })
    .await;
    first.stop().await;
    produce(&source.bootstrap(), "orders", "two", 100).await;
    wait_for_keys(&target.bootstrap(), "a.orders", &tags(&["one", "two"], 100)).await;
    let copied = records::read_all(&target.bootstrap(), "a.orders").await;
    assert_eq!(copied.len(), 200, "a process that stops in order leaves nothing to be copied twice");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_exactly_once_copies_every_record_once_whatever_is_killed() {
    let folder = Folder::new();
    let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
    records::create_topic(&source.bootstrap(), "orders", 1).await;
    let port = free_port();
    let more = [
        ("a->b.enabled", "true".to_owned()),
        ("a->b.topics", "orders".to_owned()),
        ("b.exactly.once.source.support", "enabled".to_owned()),
        ("a->b.listeners", format!("http://127.0.0.1:{port}")),
    ];
    let clusters = [("a", source.bootstrap()), ("b", target.bootstrap())];
    let mut process = Server::with_settings(&folder, "mirror", "mirror", port, &settings(&clusters, &more));
    let mut sent: Vec<&str> = Vec::new();
    for tag in ["first", "second", "third", "fourth"] {
        process.start().await;
        produce(&source.bootstrap(), "orders", tag, 200).await;
        sent.push(tag);
        let before = 200 * (sent.len() - 1);
        wait_until("more is committed", COPIED_WITHIN, || async {
            records::read_committed(&target.bootstrap(), "a.orders").await.len() > before
        })
        .await;
        process.kill();
    }
    process.start().await;
    wait_until("all is committed", COPIED_WITHIN, || async {
        records::read_committed(&target.bootstrap(), "a.orders").await.len() >= 800
    })
    .await;
    let copied = records::read_committed(&target.bootstrap(), "a.orders").await;
    assert_eq!((copied.len(), records::keys(&copied)), (800, tags(&sent, 200)), "each record once");
    let rest = Rest::new(format!("http://127.0.0.1:{port}"));
    for connector in ["MirrorSourceConnector", "MirrorCheckpointConnector", "MirrorHeartbeatConnector"] {
        wait_until(&format!("{connector} runs"), COPIED_WITHIN, || async {
            // 503 while the worker starts up.
            let status = rest.get(&format!("/connectors/{connector}/status")).await;
            let tasks = status.body["tasks"].as_array();
            status.is_good()
                && tasks.is_some_and(|tasks| !tasks.is_empty() && tasks.iter().all(|task| task["state"] == "RUNNING"))
        })
        .await;
    }
    assert!(process.log_text().contains("a->b copies with twinstream.link.mode=generic"), "it is said at the start");
    process.stop().await;
}

/// Trying again does not help: the target's topic takes no record as large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_has_failed_for_good_stays_so_and_log_and_exit_code_say_it() {
    let folder = Folder::new();
    let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
    records::create_topic(&source.bootstrap(), "orders", 1).await;
    let narrow = NewTopic::new(records::topic_name("a.orders"), 1, 1).with_config("max.message.bytes", "1000");
    let admin = Admin::connect(&records::client_settings(&target.bootstrap(), &[])).await.unwrap();
    admin.create_topic(&narrow).await.unwrap();
    let port = free_port();
    let more = [
        ("a->b.enabled", "true".to_owned()),
        ("topics", "orders".to_owned()),
        ("sync.topic.configs.enabled", "false".to_owned()),
        ("emit.heartbeats.enabled", "false".to_owned()),
        ("a->b.listeners", format!("http://127.0.0.1:{port}")),
    ];
    let clusters = [("a", source.bootstrap()), ("b", target.bootstrap())];
    let mut process = Server::with_settings(&folder, "mirror", "mirror", port, &settings(&clusters, &more));
    process.start().await;
    let value = Some(Bytes::from(vec![7; 5_000]));
    records::produce(&source.bootstrap(), &[], &[ProducerRecord::new(records::topic_name("orders"), None, value)])
        .await;
    wait_until("the log tells of the task that stays as it is", COPIED_WITHIN, || async {
        process.log_text().contains("task has failed and stays so")
    })
    .await;
    let rest = Rest::new(format!("http://127.0.0.1:{port}"));
    let status = rest.get("/connectors/MirrorSourceConnector/status").await.good();
    assert_eq!(status["tasks"][0]["state"], "FAILED", "{status}");
    assert!(status["tasks"][0]["trace"].as_str().unwrap_or_default().contains("max.message.bytes"), "{status}");
    let ended = process.process().stop().await;
    assert_eq!(ended.code(), Some(1), "{}", process.log_text());
    let told = process.log_text();
    let last = told.lines().rev().take(5).collect::<Vec<_>>().join("\n");
    assert!(last.contains("a->b") && last.contains("MirrorSourceConnector-0"), "{last}");
}

fn dry_run(file: &str, arguments: &[&str]) -> Output {
    let folder = Folder::new();
    let path = folder.path().join("mm2.properties");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new(twinstream());
    command.args(["mirror", "--dry-run", "-c"]).arg(&path).args(arguments).env("NO_COLOR", "1");
    command.output().unwrap()
}

/// What would run; the file must be fine.
fn planned(file: &str, arguments: &[&str]) -> Value {
    let output = dry_run(file, &[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn mistakes_of_a_file_are_told_together_before_anything_starts() {
    let output = dry_run(
        "clusters = a, b\na.bootstrap.servers = h:1\nb.bootstrap.servers = h:2\na->b.enabled = true\n\
         a->b.topisc = x\nb.exactly.once.source.support = enabled\na->b.tasks.max = none\n\
         a.security.protocol = SASL_SSL\na.sasl.jaas.config = hush\n",
        &[],
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !stderr.contains("panicked"), "{stderr}");
    assert!(stderr.contains("a->b.topisc: unknown setting: did you mean 'topics'?"), "{stderr}");
    assert!(stderr.contains("a.security.protocol: ") && stderr.contains("without TLS"), "{stderr}");
    assert!(!stderr.contains("hush"), "{stderr}");
    // What only a worker or a connector can judge comes once the file itself is in order.
    let output = dry_run(
        "clusters = a, b\na.bootstrap.servers = h:1\nb.bootstrap.servers = h:2\na->b.enabled = true\n\
         b.exactly.once.source.support = sometimes\na->b.replication.factor = none\n",
        &[],
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("exactly.once.source.support"), "{stderr}");
}

#[test]
fn only_flows_into_the_named_clusters_are_planned() {
    let file = "clusters = a, b\nbootstrap.servers = h:1\na->b.enabled = true\nb->a.enabled = true\n";
    let plan = planned(file, &["--clusters", "a"]);
    let flows: Vec<&Value> = plan["flows"].as_array().unwrap().iter().map(|flow| &flow["target"]).collect();
    assert_eq!(flows, ["a"]);
    let plan = planned(file, &["--override", "a->b.enabled=false", "--override", "emit.heartbeats.enabled=false"]);
    assert_eq!(plan["flows"].as_array().unwrap().len(), 1);
}
