//! What Kafka's tools show of replicas: all in sync, one broker gone, and back.

use serde_json::Value;
use twinstream_testkit::ClusterOptions;

use crate::bench::{Bench, TOPICS, field};

const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const FILTERS: [&str; 3] = ["--under-replicated-partitions", "--under-min-isr-partitions", "--unavailable-partitions"];

fn sorted(list: &str) -> Vec<&str> {
    let mut nodes: Vec<&str> = list.split(',').collect();
    nodes.sort_unstable();
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_command_shows_replicas_isr_and_elr_while_a_broker_is_away() {
    let mut bench = Bench::start_with(3, ClusterOptions::replicated()).await;
    let create = |topic: &str, more: &[&str]| bench.text(TOPICS, &[&["--create", "--topic", topic], more].concat());
    create("safe", &["--partitions", "3", "--replication-factor", "3", "--config", "min.insync.replicas=2"]);
    create("pair", &["--replica-assignment", "3:2", "--config", "min.insync.replicas=2"]);
    create("lone", &["--replica-assignment", "3", "--config", "min.insync.replicas=1"]);

    let described = bench.text(TOPICS, &["--describe", "--topic", "safe"]);
    assert!(described.contains("PartitionCount: 3\tReplicationFactor: 3\t"), "{described}");
    let mut leaders = Vec::new();
    for partition in 0..3 {
        let row = bench.row("safe", partition);
        assert_eq!(sorted(field(&row, "Replicas")), ["1", "2", "3"], "{row}");
        assert_eq!(sorted(field(&row, "Isr")), ["1", "2", "3"], "{row}");
        assert_eq!((field(&row, "Elr"), field(&row, "LastKnownElr")), ("", ""), "{row}");
        assert!(field(&row, "Replicas").starts_with(field(&row, "Leader")), "the first replica leads: {row}");
        leaders.push(field(&row, "Leader").to_owned());
    }
    leaders.sort_unstable();
    assert_eq!(leaders, ["1", "2", "3"], "leaders are spread:\n{described}");
    for filter in FILTERS {
        assert!(bench.listed(filter).is_empty(), "{filter} lists nothing while all is well");
    }

    bench.cluster.broker(3).kill();
    bench.until_listed("--unavailable-partitions", &["lone-0"]).await;
    bench.until_listed("--under-min-isr-partitions", &["lone-0", "pair-0"]).await;
    let under = ["lone-0", "pair-0", "safe-0", "safe-1", "safe-2"];
    bench.until_listed("--under-replicated-partitions", &under).await;
    bench.until_listed("--at-min-isr-partitions", &["safe-0", "safe-1", "safe-2"]).await;
    let row = bench.row("pair", 0);
    let fields = ["Leader", "Replicas", "Isr", "Elr"].map(|name| field(&row, name));
    assert_eq!(fields, ["2", "3,2", "2", "3"], "whoever left below min.insync.replicas stays eligible: {row}");
    let row = bench.row("lone", 0);
    let fields = ["Leader", "Replicas", "Isr", "Elr", "LastKnownElr"].map(|name| field(&row, name));
    assert_eq!(fields, ["none", "3", "", "3", "3"], "{row}");
    let state_of = |id: usize| {
        let text = bench.command(CLUSTER, "list-endpoints", &["--include-fenced-brokers"]);
        let row = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row.into_iter().find(|row| row.first() == Some(&id.to_string().as_str()));
        row.unwrap_or_else(|| panic!("no broker {id} in\n{text}"))[4].to_owned()
    };
    assert_eq!((state_of(1), state_of(3)), ("unfenced".to_owned(), "fenced".to_owned()));
    assert_eq!(
        log_dirs(&bench, "safe"),
        [(1, vec!["safe-0", "safe-1", "safe-2"]), (2, vec!["safe-0", "safe-1", "safe-2"])].map(owned)
    );

    bench.cluster.broker(3).start().await;
    for filter in FILTERS {
        bench.until_listed(filter, &[]).await;
    }
    bench.until_row("pair", 0, "has nobody left who is only eligible", |row| field(row, "Elr").is_empty()).await;
}

fn owned((broker, partitions): (u64, Vec<&str>)) -> (u64, Vec<String>) {
    (broker, partitions.into_iter().map(str::to_owned).collect())
}

/// Which partitions of a topic each broker that answers has on its disk.
fn log_dirs(bench: &Bench, topic: &str) -> Vec<(u64, Vec<String>)> {
    let text = bench.text(LOG_DIRS, &["--describe", "--topic-list", topic]);
    let json = text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no JSON in\n{text}"));
    let json: Value = serde_json::from_str(json).expect("JSON");
    let mut found = Vec::new();
    for broker in json["brokers"].as_array().expect("brokers") {
        let partitions = broker["logDirs"].as_array().expect("log dirs").iter().flat_map(|dir| {
            assert!(dir["error"].is_null(), "{text}");
            dir["partitions"].as_array().expect("partitions")
        });
        let mut names = Vec::new();
        for partition in partitions {
            assert!(partition["isFuture"] == false && partition["offsetLag"] == 0, "{partition}");
            names.push(partition["partition"].as_str().expect("a name").to_owned());
        }
        names.sort_unstable();
        found.push((broker["broker"].as_u64().expect("an id"), names));
    }
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_tool_names_the_cluster_and_forgets_a_broker_that_is_gone() {
    let mut bench = Bench::start_with(4, ClusterOptions::replicated()).await;
    let id = bench.command(CLUSTER, "cluster-id", &[]);
    assert!(id.trim().strip_prefix("Cluster ID: ").is_some_and(|id| id.len() == 22), "{id}");
    // Rows begin with the id of a broker. The tool may also print a warning when it asks the one that is gone first.
    let is_row = |line: &&str| line.split_whitespace().next().is_some_and(|id| id.parse::<u32>().is_ok());
    let rows = |text: &str| text.lines().filter(is_row).count();
    assert_eq!(rows(&bench.command(CLUSTER, "list-endpoints", &[])), 4);

    bench.cluster.broker(4).stop().await;
    let gone = bench.command(CLUSTER, "unregister", &["--id", "4"]);
    assert!(gone.contains("Broker 4 is no longer registered."), "{gone}");
    let all = bench.command(CLUSTER, "list-endpoints", &["--include-fenced-brokers"]);
    assert_eq!(rows(&all), 3, "{all}");
    let again = bench.kafka.run(CLUSTER, &["unregister", "--bootstrap-server", &bench.bootstrap, "--id", "4"]);
    let said = crate::bench::said(&again);
    assert!(!again.status.success() && said.contains("BrokerIdNotRegisteredException"), "{said}");
}
