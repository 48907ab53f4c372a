//! The operator's commands against a real cluster, as scripts call them.

use std::process::{Command, Output, Stdio};
use std::{fs, io::Write};

use serde_json::{Value, json};
use std::time::Duration;
use twinstream_testkit::{Cluster, Folder, Registry, Worker, WorkerOptions, die_with_test, twinstream, wait_until};

fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(twinstream());
    command.args(arguments).env_remove("TWINSTREAM_BOOTSTRAP").env_remove("TWINSTREAM_REGISTRY");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_test(&mut command);
    let mut child = command.spawn().expect("start a command");
    // A command that refuses its arguments does not read; the pipe is closed then.
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).ok();
    child.wait_with_output().expect("end of a command")
}

/// The stdout of a command that must succeed.
fn text(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("text on stdout")
}

/// Exit code and stderr of a command that must fail, with nothing on stdout.
fn failure(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments, "");
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().expect("an exit code"), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_is_created_listed_described_and_deleted() {
    let cluster = Cluster::start(2).await;
    let b = cluster.bootstrap();
    let created = text(&["topic", "create", "orders", "-p", "4", "-c", "retention.ms=60000", "-b", &b], "");
    assert_eq!(created, "created topic orders with 4 partitions, 1 replica each\n");
    let listed = parsed(&text(&["topic", "list", "-o", "json", "-b", &b], ""));
    assert_eq!(listed, json!([{"topic": "orders", "partitions": 4, "replicas": 1, "internal": false}]));

    let described = parsed(&text(&["topic", "describe", "orders", "-o", "json", "-b", &b], ""));
    let partitions = described[0]["partitions"].as_array().expect("partitions");
    let mut leaders: Vec<i64> = partitions.iter().map(|partition| partition["leader"].as_i64().unwrap()).collect();
    leaders.sort_unstable();
    assert_eq!(leaders, [1, 1, 2, 2], "partitions are spread over the brokers");
    assert!(partitions.iter().all(|partition| partition["end_offset"] == 0), "{described}");

    assert_eq!(described[0]["configs"], json!({"retention.ms": "60000"}), "what was given and nothing else");

    let (code, told) = failure(&["topic", "create", "orders", "-b", &b]);
    assert!(code == 1 && told.contains("orders") && told.contains("--if-not-exists"), "{told}");
    text(&["topic", "create", "orders", "--if-not-exists", "-b", &b], "");
    let (code, told) = failure(&["topic", "create", "many", "-r", "3", "-b", &b]);
    assert!(code == 1 && told.contains("INVALID_REPLICATION_FACTOR"), "{told}");
    let (code, told) = failure(&["topic", "delete", "orders", "-b", &b]);
    assert!(code == 2 && told.contains("--yes"), "{told}");

    text(&["topic", "delete", "orders", "--yes", "-b", &b], "");
    let (code, told) = failure(&["topic", "describe", "orders", "-b", &b]);
    assert!(code == 3 && told.contains("topic orders does not exist"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_go_in_and_come_out_as_asked() {
    let cluster = Cluster::start(1).await;
    let b = cluster.bootstrap();
    text(&["topic", "create", "t", "-p", "1", "-b", &b], "");
    let input = "a:one\nb:two:more\nc:\n";
    text(&["produce", "t", "-K", ":", "-Z", "-H", "h=1", "-z", "zstd", "-b", &b], input);

    let consume = ["consume", "t", "--from-beginning", "--exit", "-b", &b];
    let shown = text(&[&consume[..], &["-f", "%p/%o %k=%s (%S) %h\\n"]].concat(), "");
    assert_eq!(shown, "0/0 a=one (3) h=1\n0/1 b=two:more (8) h=1\n0/2 c= (-1) h=1\n");
    assert_eq!(text(&[&consume[..], &["--max", "1"]].concat(), ""), "one\n");
    let lines = text(&[&consume[..], &["-o", "json"]].concat(), "");
    let last = parsed(lines.lines().last().expect("a line"));
    assert_eq!((&last["key"], &last["value"], &last["offset"]), (&json!("c"), &Value::Null, &json!(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_goes_on_where_it_committed() {
    let cluster = Cluster::start(1).await;
    let b = cluster.bootstrap();
    text(&["topic", "create", "t", "-p", "1", "-b", &b], "");
    text(&["produce", "t", "-b", &b], "1\n2\n3\n");
    let consume = ["consume", "t", "--from-beginning", "--group", "readers", "-b", &b];
    assert_eq!(text(&[&consume[..], &["--max", "2"]].concat(), ""), "1\n2\n");
    let described = parsed(&text(&["group", "describe", "readers", "-o", "json", "-b", &b], ""));
    assert_eq!(described[0]["partitions"][0]["committed"], 2, "{described}");
    assert_eq!(described[0]["partitions"][0]["lag"], 1, "{described}");
    assert_eq!(text(&[&consume[..], &["--exit"]].concat(), ""), "3\n");
    assert!(text(&["group", "list", "-b", &b], "").contains("readers"));
    let (code, told) = failure(&["group", "describe", "nobody", "-b", &b]);
    assert!(code == 3 && told.contains("group nobody does not exist"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn avro_goes_in_as_json_and_comes_out_as_json() {
    let cluster = Cluster::start(1).await;
    let b = cluster.bootstrap();
    let folder = Folder::new();
    let registry = Registry::start(&folder, &b).await;
    let url = registry.rest.base().to_owned();
    let schema = folder.path().join("point.avsc");
    let text_of_schema = r#"{"type":"record","name":"Point","fields":[{"name":"x","type":"int"}]}"#;
    fs::write(&schema, text_of_schema).expect("write a schema");
    let schema = schema.display().to_string();
    text(&["topic", "create", "points", "-p", "1", "-b", &b], "");
    let produce = ["produce", "points", "--schema", &schema, "--registry", &url, "-b", &b];
    text(&produce, "{\"x\":1}\n{\"x\":2}\n");
    let consume = ["consume", "points", "--from-beginning", "--exit", "--registry", &url, "-b", &b];
    assert_eq!(text(&consume, ""), "{\"x\":1}\n{\"x\":2}\n");

    let output = run(&produce, "{\"x\":3}\n{\"y\":4}\n");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("line 2 of stdin"), "{told}");
    let three = "{\"x\":1}\n{\"x\":2}\n{\"x\":3}\n";
    assert_eq!(text(&consume, ""), three, "what is said to be sent is there");
    fs::write(&schema, "{\"type\":\"recor\"}").expect("write a broken schema");
    let (code, told) = failure(&produce);
    assert!(code == 1 && told.contains("point.avsc") && told.contains("not an avro schema"), "{told}");
}

#[test]
fn unreachable_cluster_is_one_clear_error() {
    for command in [&["topic", "list"][..], &["consume", "t"], &["produce", "t"], &["group", "list"]] {
        let (code, told) = failure(&[command, &["-b", "127.0.0.1:1"]].concat());
        assert_eq!(code, 1, "{told}");
        assert!(told.contains("127.0.0.1:1") && told.contains("next:"), "{command:?}: {told}");
        assert!(!told.contains("panicked"), "{told}");
    }
}

#[test]
fn wrong_command_lines_exit_with_2_and_name_what_is_wrong() {
    for (arguments, named) in [
        (&["topic", "lst"][..], "list"),
        (&["topic", "create", "a/b", "-b", "127.0.0.1:1"], "a/b"),
        (&["consume", "t", "-f", "%q", "-b", "127.0.0.1:1"], "%q"),
        (&["topic", "list", "-X", "bootstrap.server=x"], "bootstrap.servers"),
        (&["quickstart", "--brokers", "0"], "--brokers"),
    ] {
        let (code, told) = failure(arguments);
        assert_eq!(code, 2, "{arguments:?}: {told}");
        assert!(told.contains(named), "{arguments:?}: {told}");
    }
}

#[test]
fn server_without_its_settings_says_which_one_is_missing() {
    let (code, told) = failure(&["broker", "--override", "node.id=1", "--override", "lisners=PLAINTEXT://:9092"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("lisners") && told.contains("listeners"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_is_made_watched_paused_and_deleted() {
    let (folder, east, west) = (Folder::new(), Cluster::start(1).await, Cluster::start(1).await);
    let (source, target) = (east.bootstrap(), west.bootstrap());
    let worker = Worker::start(&folder, &target, WorkerOptions::default()).await;
    let w = worker.rest.base().to_owned();
    assert_eq!(text(&["link", "list", "-o", "json", "-w", &w], ""), "[]\n");
    let (code, told) = failure(&["link", "describe", "east:west", "-w", &w]);
    assert!(code == 3 && told.contains("link east->west does not exist") && told.contains("link list"), "{told}");
    let (code, told) = failure(&["link", "lag", "east", "-w", &w]);
    assert!(code == 1 && told.contains("give two aliases"), "{told}");

    text(&["topic", "create", "orders", "-p", "2", "-b", &source], "");
    text(&["produce", "orders", "-b", &source], "one\ntwo\nthree\n");
    let clusters = ["--source", &source, "--target", &target, "-c", "topics=orders", "-c", "replication.factor=1"];
    let internal = ["-c", "offset-syncs.topic.replication.factor=1", "-c", "checkpoints.topic.replication.factor=1"];
    let heartbeats = ["-c", "heartbeats.topic.replication.factor=1", "-c", "tasks.max=2", "-w", &w];
    let create = |flags: &[&'static str]| -> Vec<String> {
        let all = [&["link", "create", "east:west"], flags, &clusters, &internal, &heartbeats].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let words = |command: &[String]| text(&command.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let planned = words(&create(&["--dry-run"]));
    assert!(planned.starts_with("would be stored: east->west.MirrorSourceConnector"), "{planned}");
    assert_eq!(text(&["link", "list", "-o", "json", "-w", &w], ""), "[]\n", "a dry run makes nothing");
    assert_eq!(words(&create(&[])), "link east:west stored\n");

    let state = || async {
        let listed = parsed(&text(&["link", "list", "-o", "json", "-w", &w], ""));
        listed[0]["state"].as_str().unwrap_or_default().to_owned()
    };
    let soon = Duration::from_secs(60);
    wait_until("the link runs", soon, || async { state().await == "RUNNING" }).await;
    // What is copied is stored as a position within the worker's flush interval, which is a minute unless it is set.
    let copied = || async { text(&["topic", "describe", "east.orders", "-o", "json", "-b", &target], "") };
    wait_until("all is copied", soon, || async {
        let ends = parsed(&copied().await)[0]["partitions"].as_array().cloned().unwrap_or_default();
        ends.iter().filter_map(|partition| partition["end_offset"].as_i64()).sum::<i64>() == 3
    })
    .await;
    // What the producer's library leaves of the broker's refusal is a code; whose the topic is says its mark.
    let refused = run(&["produce", "east.orders", "-b", &target], "mine\n");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && told.contains("POLICY_VIOLATION"), "{told}");
    assert!(told.contains("east.orders is a mirror of topic orders") && told.contains("link promote A:B"), "{told}");
    assert_eq!(text(&["link", "pause", "east->west", "-w", &w], ""), "link east->west paused\n");
    wait_until("the link is paused", soon, || async { state().await == "PAUSED" }).await;
    text(&["produce", "orders", "-b", &source], "four\n");
    let lag = parsed(&text(&["link", "lag", "east:west", "-o", "json", "-w", &w], ""));
    assert!(lag["records"].as_i64().is_some_and(|records| (1..=4).contains(&records)), "{lag}");
    assert_eq!((&lag["unknown"], lag["partitions"].as_array().map(Vec::len)), (&json!(0), Some(2)), "{lag}");

    let page = worker.rest.get("/links/ui").await.good();
    assert!(page.as_str().is_some_and(|page| page.contains("<title>Links</title>")), "{page}");
    let described = text(&["link", "describe", "east:west", "-w", &w], "");
    assert!(described.starts_with("link east->west: PAUSED\n") && described.contains("topics=orders"), "{described}");
    text(&["link", "resume", "east:west", "-w", &w], "");
    wait_until("the link runs again", soon, || async { state().await == "RUNNING" }).await;
    let (code, told) = failure(&["link", "delete", "east:west", "-w", &w]);
    assert!(code == 2 && told.contains("--yes"), "{told}");
    let deleted = text(&["link", "delete", "east:west", "--yes", "-w", &w], "");
    let (first, rest) = deleted.split_once('\n').expect("two lines");
    assert_eq!(first, "link east:west deleted");
    assert!(rest.starts_with("east.orders: these topics stay mirrors, which take records from nobody else"), "{rest}");
    assert_eq!(text(&["link", "list", "-o", "json", "-w", &w], ""), "[]\n");
    let (code, told) = failure(&["link", "list", "-w", "http://127.0.0.1:1"]);
    assert!(code == 1 && told.contains("TWINSTREAM_WORKER"), "{told}");
}
