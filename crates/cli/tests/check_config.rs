//! What the binary says of itself and of settings files, without a server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use twinstream_testkit::Folder;

/// Exit code, stdout, stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_twinstream")).args(arguments).output().expect("the command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn file(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.path().join("server.properties");
    fs::write(&path, text).expect("a settings file");
    path
}

fn check(server: &str, text: &str) -> (i32, String, String) {
    let folder = Folder::new();
    let file = file(&folder, text);
    let (code, stdout, stderr) = run(&["check-config", server, "-c", &file.display().to_string()]);
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing but the file is there: {left:?}");
    (code, stdout, stderr)
}

#[test]
fn settings_that_a_server_starts_with_are_fine() {
    for (server, text) in [
        (
            "broker",
            "node.id=1\nprocess.roles=broker,controller\ncontroller.quorum.voters=1@localhost:9093\n\
            listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER\nlog.dirs=data\n",
        ),
        ("registry", "listeners=http://0.0.0.0:8081\nkafkastore.bootstrap.servers=PLAINTEXT://kafka01:9092\n"),
        (
            "worker",
            "bootstrap.servers=kafka01:9092\ngroup.id=connect\nkey.converter=org.apache.kafka.connect.converters.ByteArrayConverter\n\
            value.converter=org.apache.kafka.connect.converters.ByteArrayConverter\nconfig.storage.topic=c\noffset.storage.topic=o\nstatus.storage.topic=s\n",
        ),
    ] {
        let (code, stdout, stderr) = check(server, text);
        assert_eq!(code, 0, "{server}: {stdout}{stderr}");
        assert!(stdout.ends_with(&format!("a {server} starts with these settings\n")), "{stdout}");
    }
}

#[test]
fn servers_start_with_the_examples_of_the_package() {
    for server in ["broker", "registry", "worker"] {
        let file = format!("{}/../xtask/dist/examples/{server}.properties", env!("CARGO_MANIFEST_DIR"));
        let (code, stdout, stderr) = run(&["check-config", server, "-c", &file]);
        assert_eq!(code, 0, "{stderr}");
        assert!(!stdout.contains("no effect"), "{stdout}");
    }
}

#[test]
fn what_keeps_a_server_from_starting_is_named_with_the_way_out() {
    for (server, text, named) in [
        ("broker", "node.id=1\nlog.retention.hour=3\n", "log.retention.hours"),
        ("registry", "listeners=http://0.0.0.0:8081\n", "kafkastore.bootstrap.servers"),
        ("worker", "bootstrap.servers=a:1\n", "group.id"),
    ] {
        let (code, stdout, stderr) = check(server, text);
        assert_eq!(code, 1, "{server}: {stdout}");
        assert!(stderr.contains(named) && stdout.is_empty(), "{server}: {stderr}");
    }
}

#[test]
fn settings_without_effect_are_told_as_data() {
    let folder = Folder::new();
    let file = file(&folder, "kafkastore.bootstrap.servers=a:1\ncompression.enable=true\n");
    let (code, stdout, stderr) = run(&["check-config", "registry", "-c", &file.display().to_string(), "-o", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let told: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&told["server"], &told["ok"]), (&json!("registry"), &json!(true)), "{told}");
    assert!(
        told["without_effect"][0].as_str().is_some_and(|text| text.starts_with("compression.enable has no effect")),
        "{told}"
    );
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, stderr) = run(&["completion", shell]);
        assert_eq!(code, 0, "{stderr}");
        assert!(script.contains("COMPLETE") && script.contains("twinstream"), "{shell}: {script}");
    }
    let folder = Folder::new();
    let (code, _, stderr) = run(&["man", &folder.path().display().to_string()]);
    assert_eq!(code, 0, "{stderr}");
    let page = fs::read_to_string(folder.path().join("twinstream-link-failover.1")).expect("a page");
    assert!(page.contains("failover") && page.contains("--dry-run") | page.contains("\\-\\-dry\\-run"), "{page}");
    let (code, page, _) = run(&["man"]);
    assert!(code == 0 && page.starts_with(".ie"), "{page}");
}
