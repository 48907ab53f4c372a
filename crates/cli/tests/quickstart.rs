//! The quick start as its users run it: once as JSON, again on the same data, killed, on a port that is taken.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use twinstream_client::raw::TopicInfo;
use twinstream_client::{Admin, ClientSettings, ProducerRecord};
use twinstream_model::{TopicName, TopicPartition};
use twinstream_testkit::records::{produce, read_all, topic_name};
use twinstream_testkit::{Folder, Process, die_with_test, free_port_range, twinstream, wait_until};

const EVENTS: i64 = 1_707;
/// Ports that the quick start takes, in a row.
const PORTS: u16 = 23;
const DOWNSTREAM: u16 = 10;
const SHOWN_WITHIN: Duration = Duration::from_secs(120);
const GONE_WITHIN: Duration = Duration::from_secs(10);

fn quickstart(data: &Path, base: u16, more: &[&str]) -> Command {
    let mut command = Command::new(twinstream());
    command.arg("quickstart").arg("--data-dir").arg(data).args(["--port-base", &base.to_string()]).args(more);
    die_with_test(&mut command);
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("start the quick start")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The sum of the ends of a topic: every record that was ever written to it.
async fn records(port: u16, topic: &str) -> i64 {
    let settings = ClientSettings::new(&format!("127.0.0.1:{port}")).expect("a valid address");
    let admin = Admin::connect(&settings).await.expect("a broker");
    let topic = TopicName::parse(topic).expect("a valid name");
    let info = admin.topic(&topic).await.expect("metadata").expect("the topic");
    let partitions: Vec<_> = info.partitions.keys().map(|index| TopicPartition::new(topic.clone(), *index)).collect();
    let ends = admin.end_offsets(&partitions).await.expect("end offsets");
    ends.values().map(|offset| offset.0).sum()
}

/// The processes that this one has started.
fn children(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).expect("threads of the quick start");
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect::<Vec<_>>()).collect()
}

fn is_alive(pid: u32) -> bool {
    // A zombie whose parent is gone is a matter of whoever adopted it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_data_directory_goes_on_and_children_die_with_a_killed_parent() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let base = free_port_range(PORTS);
    let first = run(quickstart(&data, base, &["--once", "-o", "json"]));
    assert!(first.status.success(), "ended with {}:\n{}", first.status, stderr(&first));
    let report: Value = serde_json::from_slice(&first.stdout).expect("one JSON object on stdout");
    for count in ["upstream_records", "downstream_records", "documents"] {
        assert_eq!(report[count], EVENTS, "{count} of {report}");
    }
    let times = ["ready_ms", "mirrored_ms", "indexed_ms"].map(|name| report[name].as_u64().expect("a time"));
    assert!(times.is_sorted(), "{report}");

    let log = folder.path().join("second.log");
    let mut second = Process::spawn("quickstart", quickstart(&data, base, &[]), &log);
    wait_until("the second start shows its commands", SHOWN_WITHIN, || {
        assert!(second.is_running(), "it ended:\n{}", second.log_tail());
        let shown = fs::read_to_string(&log).unwrap_or_default().contains("Ctrl-C stops everything");
        async move { shown }
    })
    .await;
    assert_eq!(records(base, "earthquakes").await, EVENTS, "nothing is produced twice");
    assert_eq!(records(base + DOWNSTREAM, "src.earthquakes").await, EVENTS, "nothing is mirrored twice");

    let pids = children(second.id());
    assert_eq!(pids.len(), 3 + 3 + 3, "two sites, registry, worker, search");
    second.kill();
    wait_until("all children are gone", GONE_WITHIN, || async { !pids.iter().any(|pid| is_alive(*pid)) }).await;
}

/// All topics of a site: how many replicas each partition has, and how many of them are in sync.
async fn replicas(port: u16) -> BTreeMap<String, Vec<(usize, usize)>> {
    let settings = ClientSettings::new(&format!("127.0.0.1:{port}")).expect("a valid address");
    let topics = Admin::connect(&settings).await.expect("a broker").topics().await.expect("metadata");
    let counts = |topic: &TopicInfo| {
        topic.partitions.values().map(|partition| (partition.replicas.len(), partition.isr.len())).collect()
    };
    topics.iter().map(|(name, topic)| (name.to_string(), counts(topic))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_has_three_copies_and_a_killed_broker_is_not_missed() {
    let folder = Folder::new();
    let (data, log, base) = (folder.path().join("data"), folder.path().join("quickstart.log"), free_port_range(PORTS));
    let mut quickstart = Process::spawn("quickstart", quickstart(&data, base, &[]), &log);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the commands are shown", SHOWN_WITHIN, || async { said().contains("Ctrl-C stops everything") }).await;
    for (port, topics) in [
        (base, &["earthquakes", "_schemas"][..]),
        (
            base + DOWNSTREAM,
            &["src.earthquakes", "connect-configs", "connect-offsets", "connect-status", "__consumer_offsets"],
        ),
    ] {
        let found = replicas(port).await;
        assert!(topics.iter().all(|topic| found.contains_key(*topic)), "{found:?}");
        for (topic, partitions) in found {
            assert!(partitions.iter().all(|counts| *counts == (3, 3)), "{topic}: {partitions:?}");
        }
    }

    let settings = data.join("config/upstream-2.properties").display().to_string();
    let is_second =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&settings));
    let second = children(quickstart.id()).into_iter().find(is_second).expect("the second broker upstream");
    let killed = Command::new("kill").args(["-9", &second.to_string()]).status().expect("run kill");
    assert!(killed.success());
    let command = format!("broker -c {settings}");
    wait_until("the command that starts it again is shown", GONE_WITHIN, || async { said().contains(&command) }).await;
    let bootstrap = format!("127.0.0.1:{base}");
    let record = |n: u8| ProducerRecord::new(topic_name("numbers"), Some(vec![n].into()), Some(vec![n].into()));
    produce(&bootstrap, &[], &(0..100).map(record).collect::<Vec<_>>()).await;
    assert_eq!(read_all(&bootstrap, "numbers").await.len(), 100);

    let mut again = Command::new(twinstream());
    again.args(["broker", "-c", &settings]);
    die_with_test(&mut again);
    let mut again = Process::spawn("upstream-2", again, &folder.path().join("again.log"));
    wait_until("all copies are in sync again", SHOWN_WITHIN, || async {
        replicas(base).await.values().flatten().all(|counts| *counts == (3, 3))
    })
    .await;
    assert!(quickstart.is_running() && again.is_running());
    assert!(again.stop().await.success(), "{}", again.log_tail());
    assert!(quickstart.stop().await.success(), "{}", quickstart.log_tail());
}

#[test]
fn same_data_directory_moves_to_other_ports() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    for _ in 0..2 {
        let output = run(quickstart(&data, free_port_range(PORTS), &["--brokers", "2", "--once", "-o", "json"]));
        assert!(output.status.success(), "ended with {}:\n{}", output.status, stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_stops_all_servers_cleanly() {
    let folder = Folder::new();
    let log = folder.path().join("quickstart.log");
    let contexts = folder.path().join("contexts.yaml");
    fs::write(&contexts, "current: mine\ncontexts:\n  mine:\n    bootstrap_servers: mine:9092\n").expect("a file");
    let mut command = quickstart(&folder.path().join("data"), free_port_range(PORTS), &["--brokers", "1"]);
    command.env("TWINSTREAM_CONTEXTS", &contexts);
    let mut process = Process::spawn("quickstart", command, &log);
    wait_until("the commands are shown", SHOWN_WITHIN, || {
        assert!(process.is_running(), "it ended:\n{}", process.log_tail());
        let shown = fs::read_to_string(&log).unwrap_or_default().contains("Ctrl-C stops everything");
        async move { shown }
    })
    .await;
    let pids = children(process.id());
    let topics = |more: &[&str]| {
        let mut list = Command::new(twinstream());
        list.args(["topic", "list", "-o", "name"]).args(more).env("TWINSTREAM_CONTEXTS", &contexts);
        die_with_test(&mut list);
        let output = run(list);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(topics(&[]).lines().any(|name| name == "earthquakes"), "commands need no flags");
    let downstream = topics(&["--context", "quickstart-downstream"]);
    assert!(downstream.lines().any(|name| name == "src.earthquakes"), "{downstream}");
    let status = process.stop().await;
    let left = fs::read_to_string(&contexts).expect("contexts");
    assert!(left.starts_with("current: mine\n"), "the context from before is current again: {left}");
    assert!(status.success(), "{status}: {}", process.log_tail());
    assert!(!process.log_tail().contains("killed"), "{}", process.log_tail());
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "children are left");
}

#[test]
fn port_in_use_is_named_with_the_flag_that_moves_it() {
    let folder = Folder::new();
    let base = free_port_range(PORTS);
    let _holder = TcpListener::bind(("127.0.0.1", base + 20)).expect("a free port");
    let output = run(quickstart(&folder.path().join("data"), base, &["--once"]));
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let named = format!("port {}, meant for registry, is in use by ", base + 20);
    assert!(text.contains(&named) && text.contains("--port-base"), "{text}");
    assert!(!folder.path().join("data").exists(), "nothing is left behind");
}

#[test]
fn search_server_that_does_not_answer_is_named() {
    let folder = Folder::new();
    let base = free_port_range(PORTS);
    let more = ["--once", "--brokers", "1", "--search", "http://127.0.0.1:1"];
    let output = run(quickstart(&folder.path().join("data"), base, &more));
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("search server does not answer") && text.contains("--search"), "{text}");
}
