//! Bytes that change on the disk: found, not served, and had back from another replica.

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use support::records::{fetch, produce, records_of, values};
use support::replicas::{Trio, fetch_in_rack, produce_with, read_all};
use support::{PATIENCE, comes_true, wait_until};

const ALL: i16 = -1;
const STORAGE_ERROR: i16 = 56;
const RECORDS: usize = 40;
/// No scrub meddles.
const NO_SCRUB: (&str, &str) = ("twinstream.scrub.bytes.per.second", "0");
const FAST_SCRUB: (&str, &str) = ("twinstream.scrub.bytes.per.second", "1000000000");

fn expected() -> Vec<String> {
    (0..RECORDS).map(|i| format!("value-{i:04}")).collect()
}

/// A topic with two replicas, the first of which leads, and records in it.
async fn filled(trio: &Trio, replicas: &[i32]) {
    trio.create("t", &[replicas], &[]).await;
    let mut client = trio.client(replicas[0]).await;
    for value in expected() {
        let answer = produce_with(&mut client, "t", 0, ALL, 10_000, values(&[&value])).await;
        assert_eq!(answer.error_code, 0);
    }
}

/// The segment file of a node that holds a text, and where.
fn find(dir: &Path, node: i32, text: &str) -> (PathBuf, u64) {
    let folder = dir.join(node.to_string()).join("t-0");
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
            return (path, at as u64);
        }
    }
    panic!("no file of node {node} holds {text:?}");
}

fn flip(file: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

async fn wait_for_repair(trio: &mut Trio, node: i32) {
    let repaired = comes_true(PATIENCE, async || trio.node(node).log().contains("repaired damaged records")).await;
    assert!(repaired, "node {node} repaired nothing:\n{}", trio.node(node).log());
}

/// Bytes of the file as they were, whatever happened in between.
async fn wait_for_bytes(file: &Path, whole: &[u8]) {
    wait_until("the file is as it was", async || std::fs::read(file).unwrap() == whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_repairs_what_changed_while_it_was_down() {
    let mut trio = Trio::start(&[NO_SCRUB]).await;
    filled(&trio, &[2, 3]).await;
    let (file, at) = find(trio.dir(), 2, "value-0007");
    assert_eq!(trio.node(2).terminate(), Some(0));
    let whole = std::fs::read(&file).unwrap();
    flip(&file, at);
    trio.restart(2).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    // Whoever leads now: node 2 is asked, as a follower if need be. What it hands out is never wrong.
    let mut client = trio.client(2).await;
    wait_until("node 2 serves all records again", async || {
        let mut seen = Vec::new();
        let mut offset = 0;
        loop {
            let data = fetch_in_rack(&mut client, "t", offset, "here").await;
            let found = records_of(&data);
            let Some((last, _)) = found.last() else { break };
            offset = last + 1;
            seen.extend(found.into_iter().map(|(_, value)| value).filter(|value| value != "first"));
        }
        assert!(seen.iter().all(|value| expected().contains(value)), "{seen:?}");
        seen == expected()
    })
    .await;
    wait_for_repair(&mut trio, 2).await;
    wait_for_bytes(&file, &whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrub_finds_what_changes_under_running_brokers_and_both_repair_it() {
    let mut trio = Trio::start(&[FAST_SCRUB]).await;
    filled(&trio, &[2, 3]).await;
    for node in [2, 3] {
        let (file, at) = find(trio.dir(), node, "value-0020");
        let whole = std::fs::read(&file).unwrap();
        flip(&file, at);
        wait_for_repair(&mut trio, node).await;
        wait_for_bytes(&file, &whole).await;
    }
    let mut client = trio.client(2).await;
    assert_eq!(read_all(&mut client, "t").await, expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_nobody_can_repair_is_fenced_and_all_else_is_served() {
    let mut trio = Trio::start(&[NO_SCRUB]).await;
    filled(&trio, &[2]).await;
    let (file, at) = find(trio.dir(), 2, "value-0007");
    assert_eq!(trio.node(2).terminate(), Some(0));
    flip(&file, at);
    trio.restart(2).await;
    trio.wait_for_leader("t", &[2]).await;
    let mut client = trio.client(2).await;
    // "first" has offset 0, so value-0007 has offset 8.
    let mut damaged = 0;
    wait_until("the damaged record is refused", async || {
        let data = fetch(&mut client, "t", 0, 8).await;
        assert!(records_of_ok(&data).iter().all(|(offset, _)| *offset != 8));
        damaged = data.error_code;
        damaged == STORAGE_ERROR
    })
    .await;
    let before = fetch(&mut client, "t", 0, 1).await;
    let seen: Vec<String> = records_of(&before).into_iter().map(|(_, value)| value).collect();
    assert_eq!(seen, expected()[..7]);
    let behind = fetch(&mut client, "t", 0, 9).await;
    assert_eq!(behind.error_code, 0);
    assert_eq!(records_of(&behind).first().map(|(_, value)| value.clone()), Some("value-0008".to_owned()));
    assert_eq!(produce(&mut client, "t", 0, values(&["more"])).await.error_code, 0);
    wait_until("the log says so", async || {
        let log = trio.node(2).log();
        log.contains("records on the disk are damaged") && log.contains("cannot be repaired now")
    })
    .await;
}

fn records_of_ok(data: &kafka_protocol::messages::fetch_response::PartitionData) -> Vec<(i64, String)> {
    if data.error_code == 0 { records_of(data) } else { Vec::new() }
}
