//! Kafka's tools that move replicas and leaders.

use std::fs;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use twinstream_testkit::{ClusterOptions, Folder, free_port, wait_until};

use crate::SETTLED_WITHIN;
use crate::bench::{Bench, CONSUMER, TOPICS, field};

const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const ELECT: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const PRODUCE: &str = "org.apache.kafka.tools.ProducerPerformance";

/// A file with JSON that a tool reads.
fn file(folder: &Folder, name: &str, content: &Value) -> String {
    let path = folder.path().join(name);
    fs::write(&path, content.to_string()).expect("write a file for a tool");
    path.display().to_string()
}

fn plan(moves: &[(i32, &[i32])]) -> Value {
    let partitions: Vec<Value> = moves
        .iter()
        .map(|(partition, replicas)| json!({ "topic": "moved", "partition": partition, "replicas": replicas }))
        .collect();
    json!({ "version": 1, "partitions": partitions })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reassign_command_plans_throttles_cancels_moves_and_cleans_up() {
    let folder = Folder::new();
    let bench = Bench::start_with(4, ClusterOptions::replicated()).await;
    bench.text(TOPICS, &["--create", "--topic", "moved", "--replica-assignment", "1:2:3,2:3:1"]);
    let produce = ["--topic", "moved", "--num-records", "8000", "--record-size", "1000", "--throughput", "-1"];
    bench.text(PRODUCE, &produce);

    let topics = file(&folder, "topics.json", &json!({ "version": 1, "topics": [{ "topic": "moved" }] }));
    let proposed =
        bench.text(REASSIGN, &["--generate", "--topics-to-move-json-file", &topics, "--broker-list", "1,2,3,4"]);
    assert!(proposed.contains("Current partition replica assignment"), "{proposed}");
    assert!(proposed.contains("Proposed partition reassignment configuration"), "{proposed}");

    // Two megabytes at the least, at 200 kB/s: slow enough to look at it while it is under way.
    let away = file(&folder, "away.json", &plan(&[(0, &[4, 2, 3]), (1, &[2, 3])]));
    let with_plan = ["--reassignment-json-file", &away];
    let started = bench.text(REASSIGN, &[&["--execute", "--throttle", "200000"], &with_plan[..]].concat());
    assert!(started.contains("The inter-broker throttle limit was set to 200000 B/s"), "{started}");
    assert!(started.contains("Successfully started partition reassignments for moved-0,moved-1"), "{started}");
    let listed = bench.text(REASSIGN, &["--list"]);
    assert!(listed.contains("Current partition reassignments:"), "{listed}");
    assert!(listed.contains("moved-0: replicas: 4,2,3,1. adding: 4. removing: 1."), "{listed}");
    let verified = bench.text(REASSIGN, &[&["--verify"], &with_plan[..]].concat());
    assert!(verified.contains("Reassignment of partition moved-0 is still in progress."), "{verified}");
    bench.until_row("moved", 1, "has lost a replica without copying", |row| field(row, "Replicas") == "2,3").await;

    let cancelled = bench.text(REASSIGN, &[&["--cancel"], &with_plan[..]].concat());
    assert!(cancelled.contains("Successfully cancelled partition reassignment for: moved-0"), "{cancelled}");
    let row = bench.row("moved", 0);
    let mut replicas: Vec<&str> = field(&row, "Replicas").split(',').collect();
    replicas.sort_unstable();
    assert_eq!(replicas, ["1", "2", "3"], "the brokers as they were, in an order that may differ, as in Kafka: {row}");
    assert!(bench.text(REASSIGN, &["--list"]).contains("No partition reassignments found."));
    assert_no_throttles(&bench);

    let started = bench.text(REASSIGN, &[&["--execute"], &with_plan[..]].concat());
    assert!(started.contains("Successfully started partition reassignments"), "{started}");
    wait_until("the reassignment is completed", SETTLED_WITHIN, || async {
        bench.text(REASSIGN, &[&["--verify"], &with_plan[..]].concat()).contains("moved-0 is completed.")
    })
    .await;
    let row = bench.row("moved", 0);
    assert_eq!((field(&row, "Leader"), field(&row, "Replicas")), ("4", "4,2,3"), "{row}");
    assert_no_throttles(&bench);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reassign_command_moves_replicas_between_directories() {
    let folder = Folder::new();
    let dirs = ["a", "b"].map(|name| folder.path().join(name).display().to_string());
    let bench = Bench::start_with(1, ClusterOptions::default().set("log.dirs", dirs.join(","))).await;
    bench.text(TOPICS, &["--create", "--topic", "moved", "--partitions", "2"]);
    let produce = ["--topic", "moved", "--num-records", "6000", "--record-size", "1000", "--throughput", "-1"];
    bench.text(PRODUCE, &produce);
    let in_dir = |dir: &str| {
        let entry =
            |partition: i32| json!({ "topic": "moved", "partition": partition, "replicas": [1], "log_dirs": [dir] });
        json!({ "version": 1, "partitions": [entry(0), entry(1)] })
    };
    // Three megabytes at 300 kB/s: slow enough to look at them while they are under way.
    let first = file(&folder, "first.json", &in_dir(&dirs[0]));
    let slowly = ["--execute", "--replica-alter-log-dirs-throttle", "300000", "--reassignment-json-file", &first];
    let started = bench.text(REASSIGN, &slowly);
    assert!(started.contains("The replica-alter-dir throttle limit was set to 300000 B/s"), "{started}");
    assert!(started.contains("Successfully started moving log directory to"), "{started}");
    let verify = |plan: &str| bench.text(REASSIGN, &["--verify", "--reassignment-json-file", plan]);
    assert!(verify(&first).contains("is still in progress"), "{}", verify(&first));
    let described = bench.text(LOG_DIRS, &["--describe", "--topic-list", "moved"]);
    assert!(described.contains("\"isFuture\":true"), "{described}");
    // To name the directory where a replica is ends its move.
    let second = file(&folder, "second.json", &in_dir(&dirs[1]));
    bench.text(REASSIGN, &["--execute", "--reassignment-json-file", &second, "--additional"]);
    wait_until("both are in the second directory", SETTLED_WITHIN, || async {
        let said = verify(&second);
        (0..2).all(|partition| {
            said.contains(&format!("Reassignment of replica moved-{partition}-1 completed successfully."))
        })
    })
    .await;
    assert_no_throttles(&bench);
    let described = bench.text(LOG_DIRS, &["--describe", "--topic-list", "moved"]);
    assert!(!described.contains("\"isFuture\":true"), "{described}");
    let consume = ["--topic", "moved", "--from-beginning", "--max-messages", "6000", "--timeout-ms", "30000"];
    assert_eq!(bench.text(CONSUMER, &consume).lines().count(), 6000);
}

/// What `--execute --throttle` sets, `--cancel` and `--verify` take away.
fn assert_no_throttles(bench: &Bench) {
    for entity in ["brokers", "topics"] {
        let described = bench.text(CONFIGS, &["--describe", "--entity-type", entity]);
        assert!(!described.contains("throttled"), "{described}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_election_command_brings_leaders_home() {
    // Leaders go home by command only.
    let options = ClusterOptions::replicated().set("auto.leader.rebalance.enable", "false");
    let mut bench = Bench::start_with(3, options).await;
    bench.text(TOPICS, &["--create", "--topic", "home", "--replica-assignment", "3:1:2"]);
    bench.cluster.broker(3).kill();
    bench.until_row("home", 0, "has another leader", |row| field(row, "Leader") == "1").await;
    bench.cluster.broker(3).start().await;
    bench.until_row("home", 0, "is in sync again", |row| field(row, "Isr").split(',').count() == 3).await;

    let all = ["--election-type", "preferred", "--all-topic-partitions"];
    let elected = bench.text(ELECT, &all);
    assert!(elected.contains("Successfully completed leader election (PREFERRED) for partitions"), "{elected}");
    assert_eq!(field(&bench.row("home", 0), "Leader"), "3");
    let one = ["--election-type", "preferred", "--topic", "home", "--partition", "0"];
    let again = bench.text(ELECT, &one);
    assert!(again.contains("Valid replica already elected for partitions home-0"), "{again}");
    let (ok, said) = bench.outcome(ELECT, &["--election-type", "preferred", "--topic", "nosuch", "--partition", "0"]);
    assert!(!ok && said.contains("UnknownTopicOrPartitionException"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unclean_election_happens_only_when_asked_for() {
    let metrics: Vec<String> = (1..=5).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let with_metrics = |options: ClusterOptions, (index, address): (usize, &String)| {
        options.set_on(index + 1, "twinstream.metrics.listener", address.clone())
    };
    let options = metrics.iter().enumerate().fold(ClusterOptions::replicated(), with_metrics);
    let mut bench = Bench::start_with(5, options).await;
    let assignment = ["--replica-assignment", "4:5", "--config", "min.insync.replicas=1"];
    bench.text(TOPICS, &[&["--create", "--topic", "risky"], &assignment[..]].concat());
    bench.cluster.broker(5).kill();
    bench.until_row("risky", 0, "has one replica in sync", |row| field(row, "Isr") == "4").await;
    bench.cluster.broker(4).kill();
    bench.until_row("risky", 0, "has no leader", |row| field(row, "Leader") == "none").await;
    let unclean = ["--election-type", "unclean", "--topic", "risky", "--partition", "0"];
    let (ok, said) = bench.outcome(ELECT, &unclean);
    assert!(!ok && said.contains("EligibleLeadersNotAvailableException"), "nobody is up who could lead: {said}");

    bench.cluster.broker(5).start().await;
    let row = bench.row("risky", 0);
    assert_eq!(field(&row, "Leader"), "none", "it came back and may lack records: {row}");
    let elected = bench.text(ELECT, &unclean);
    assert!(elected.contains("Successfully completed leader election (UNCLEAN) for partitions risky-0"), "{elected}");
    assert_eq!(field(&bench.row("risky", 0), "Leader"), "5");
    let logs: String = (1..=3).map(|voter| bench.cluster.broker(voter).log_text()).collect();
    let warned = logs.lines().filter(|line| line.contains("WARN") && line.contains("unclean leader election"));
    assert_eq!(warned.count(), 1, "the controller says that records may be lost");
    let counted = counters("kafka_controller_controllerstats_uncleanleaderelections_total", &metrics[..3]).await;
    assert_eq!(counted.iter().sum::<u64>(), 1, "and counts it: {counted:?}");
}

/// The value of a counter at each of these addresses.
async fn counters(name: &str, addresses: &[String]) -> Vec<u64> {
    let mut values = Vec::new();
    for address in addresses {
        let mut socket = TcpStream::connect(address).await.expect("the address of metrics");
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.expect("ask");
        let mut page = String::new();
        socket.read_to_string(&mut page).await.expect("the metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        values.push(value.unwrap_or_else(|| panic!("no {name} in\n{page}")));
    }
    values
}
