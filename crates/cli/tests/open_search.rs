//! A real OpenSearch takes what the quick start indexes.

use std::process::Command;

use serde_json::Value;
use twinstream_testkit::{Folder, die_with_test, free_port_range, peer, twinstream};

/// Ports that the quick start takes, one after the other.
const QUICKSTART_PORTS: u16 = 23;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_search_holds_every_event_after_the_quick_start() {
    let node = peer::open_search().start().await;
    let folder = Folder::new();
    let mut command = Command::new(twinstream());
    command.args(["quickstart", "--once", "-o", "json", "--search", &node.url, "--data-dir"]);
    command.arg(folder.path().join("data"));
    command.args(["--port-base", &free_port_range(QUICKSTART_PORTS).to_string()]);
    die_with_test(&mut command);
    let output = command.output().expect("start the quick start");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "quickstart ended with {}:\n{stderr}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object on stdout");
    assert_eq!(report["documents"], 1_707, "{report}");
    node.rest.post("/src.earthquakes/_refresh", &Value::Null).await.good();
    let count = node.rest.get("/src.earthquakes/_count").await.good();
    assert_eq!(count["count"], 1_707, "OpenSearch's own count");
    let strongest = node.rest.get("/src.earthquakes/_search?size=1&sort=magnitude:desc").await.good();
    let event = &strongest["hits"]["hits"][0];
    assert_eq!(event["_source"]["id"], event["_id"], "the id of a document is the record's key: {strongest}");
}
