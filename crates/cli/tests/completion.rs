//! Completion as a shell asks for it: the binary with `COMPLETE` and the words of the command line.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use twinstream_testkit::{Cluster, Folder, Registry, Worker, WorkerOptions, die_with_test, twinstream};

/// The candidates for the last word.
fn complete(words: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let mut command = Command::new(twinstream());
    command.args(["--", "twinstream"]).args(words).envs(environment.iter().copied());
    command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
    for name in ["TWINSTREAM_BOOTSTRAP", "TWINSTREAM_WORKER", "TWINSTREAM_REGISTRY", "TWINSTREAM_CONTEXT"] {
        command.env_remove(name);
    }
    die_with_test(&mut command);
    let output = command.output().expect("run the completer");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn run(arguments: &[&str], input: &str) {
    use std::io::Write;
    let mut command = Command::new(twinstream());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
    die_with_test(&mut command);
    let mut child = command.spawn().expect("start a command");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).ok();
    assert!(child.wait().expect("an end").success(), "{arguments:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_come_from_the_servers_that_the_command_would_ask() {
    let (cluster, folder) = (Cluster::start(1).await, Folder::new());
    let b = cluster.bootstrap();
    run(&["topic", "create", "orders", "-p", "1", "-b", &b], "");
    run(&["topic", "create", "payments", "-p", "1", "-b", &b], "");
    run(&["produce", "orders", "-b", &b], "1\n");
    run(&["consume", "orders", "--from-beginning", "--group", "readers", "--max", "1", "-b", &b], "");
    assert_eq!(complete(&["topic", "describe", "-b", &b, "or"], &[]), ["orders"]);
    assert_eq!(complete(&["group", "lag", &format!("--bootstrap-server={b}"), ""], &[])[0], "readers");
    let registry = Registry::start(&folder, &b).await;
    let r = registry.rest.base().to_owned();
    let schema = folder.path().join("s.avsc");
    std::fs::write(&schema, r#""string""#).expect("a schema");
    let schema = schema.display().to_string();
    run(&["schema", "register", "orders-value", "-f", &schema, "--registry", &r], "");
    assert_eq!(complete(&["schema", "get", "--registry", &r, "o"], &[]), ["orders-value"]);

    let worker = Worker::start(&folder, &b, WorkerOptions::default()).await;
    let w = worker.rest.base().to_owned();
    let heartbeat = folder.path().join("c.yaml");
    let class = "org.apache.kafka.connect.mirror.MirrorHeartbeatConnector";
    let settings = format!(
        "name: pulse\nconnector.class: {class}\nsource.cluster.alias: a\ntarget.cluster.alias: b\n\
         source.cluster.bootstrap.servers: {b}\ntarget.cluster.bootstrap.servers: {b}\n\
         heartbeats.topic.replication.factor: 1\n"
    );
    std::fs::write(&heartbeat, settings).expect("a connector");
    run(&["connect", "apply", "-f", &heartbeat.display().to_string(), "-w", &w], "");
    assert_eq!(complete(&["connect", "pause", "-w", &w, "p"], &[]), ["pulse"]);

    let contexts = folder.path().join("contexts.yaml");
    std::fs::write(&contexts, format!("contexts:\n  here:\n    bootstrap_servers: {b}\n")).expect("contexts");
    let contexts = contexts.display().to_string();
    let environment = [("TWINSTREAM_CONTEXTS", contexts.as_str())];
    assert_eq!(complete(&["context", "use", ""], &environment)[0], "here");
    assert_eq!(complete(&["topic", "list", "--context", "h"], &environment), ["here"]);
    assert_eq!(complete(&["topic", "purge", "--context", "here", "pay"], &environment), ["payments"]);
}

#[test]
fn commands_and_flags_are_completed_and_a_silent_server_costs_a_moment_and_no_words() {
    assert_eq!(complete(&["clu"], &[]), ["cluster"]);
    assert_eq!(complete(&["cluster", "move-leaders", "--res"], &[]), ["--restore"]);
    // It takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let start = Instant::now();
    assert_eq!(complete(&["topic", "describe", "-b", &address, "or"], &[]), Vec::<String>::new());
    assert!(start.elapsed() < Duration::from_secs(10), "whoever presses Tab does not wait for a timeout of clients");
    let wrong = [("TWINSTREAM_CONTEXTS", "/proc/self/cmdline")];
    assert_eq!(complete(&["context", "use", "x"], &wrong), Vec::<String>::new());
}
