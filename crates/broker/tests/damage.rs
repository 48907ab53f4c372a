//! Bytes that change on the disk: found, not served, and had back from another replica.

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use support::records::{batch, fetch, produce, records_of, text, values};
use support::replicas::{Trio, fetch_in_rack, produce_with, read_all};
use support::{Client, PATIENCE, comes_true, wait_until};

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

const EAGER_CLEANER: [(&str, &str); 2] =
    [("log.cleaner.backoff.ms", "50"), ("log.cleaner.min.cleanable.ratio", "0.01")];
const KEYS: usize = 4;

/// A compacted topic on nodes 2, which leads, and 3, of which one is compacted and `node` is not: it has batches that the
/// other one has no more.
async fn compacted_but_on(node: i32) -> Trio {
    let settings = |this: i32| {
        let mut settings = vec![FAST_SCRUB];
        match this == node {
            true => settings.push(("log.cleaner.enable", "false")),
            false => settings.extend(EAGER_CLEANER),
        }
        settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let trio = Trio::start_with(settings).await;
    trio.create("t", &[&[2, 3]], &[("segment.ms", "1")]).await;
    let mut client = trio.client(2).await;
    alter_topic(&mut client, "t", "cleanup.policy", "compact").await;
    for (i, value) in expected().into_iter().enumerate() {
        let key = format!("k{}", i % KEYS);
        // Each begins a segment of its own.
        let bytes = batch(1_700_000_000_000 + i as i64 * 100, &[(Some(&key), Some(&value))]);
        assert_eq!(produce_with(&mut client, "t", 0, ALL, 10_000, bytes).await.error_code, 0);
    }
    let other = 5 - node;
    wait_until("the other replica is compacted", async || !holds(trio.dir(), other, "value-0007")).await;
    trio
}

/// The hole is on `node`: it gives up its place, is cut there, and comes back with what the other replica has.
async fn gives_up_its_place(mut trio: Trio, node: i32) {
    let other = 5 - node;
    let (file, at) = find(trio.dir(), node, "value-0007");
    flip(&file, at);
    let copied = comes_true(PATIENCE, async || trio.node(node).log().contains("cut a log at a hole")).await;
    assert!(copied, "node {node} did not give up its place:\n{}", trio.node(node).log());
    assert!(trio.node(node).log().contains("stepping aside"));
    wait_until("the replica is in sync again", async || trio.states("t").await[0].isr == [2, 3]).await;
    let last = expected().len();
    wait_until("all records are on both", async || {
        [node, other].iter().all(|node| holds(trio.dir(), *node, &expected()[last - 1]))
    })
    .await;
    assert!(!holds(trio.dir(), node, "value-0007"));
    trio.node(other).kill();
    trio.wait_for_leader("t", &[node]).await;
    let mut client = trio.client(node).await;
    let seen = read_all(&mut client, "t").await;
    assert!(expected()[last - KEYS..].iter().all(|newest| seen.contains(newest)), "{seen:?}");
}

fn holds(dir: &Path, node: i32, text: &str) -> bool {
    let folder = dir.join(node.to_string()).join("t-0");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let logs = paths.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.filter_map(|path| std::fs::read(path).ok())
        .any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

async fn alter_topic(client: &mut Client, topic: &str, name: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let answer = client.call(IncrementalAlterConfigsRequest::default().with_resources(vec![resource]), 1).await;
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_whose_hole_nobody_can_fill_leaves_and_is_copied_anew_from_there_on() {
    let trio = compacted_but_on(3).await;
    gives_up_its_place(trio, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_whose_hole_nobody_can_fill_hands_over_and_is_copied_anew_from_there_on() {
    let trio = compacted_but_on(2).await;
    gives_up_its_place(trio, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_with_the_id_of_another_topic_is_put_aside_and_the_replica_is_copied_anew() {
    let mut trio = Trio::start(&[NO_SCRUB]).await;
    filled(&trio, &[2, 3]).await;
    assert_eq!(trio.node(3).terminate(), Some(0));
    let identity = trio.dir().join("3/t-0/partition.metadata");
    std::fs::write(&identity, "version: 0\ntopic_id: AbCdEfGhIjKlMnOpQrStUQ").unwrap();
    trio.restart(3).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    let mut client = trio.client(3).await;
    wait_until("node 3 serves all records", async || {
        let data = fetch_in_rack(&mut client, "t", 0, "here").await;
        records_of_ok(&data).len() == RECORDS + 1
    })
    .await;
    let names = || std::fs::read_dir(trio.dir().join("3")).unwrap().map(|entry| entry.unwrap().file_name());
    let stray = names().find(|name| name.to_string_lossy().ends_with("-stray")).expect("the folder is kept");
    assert!(stray.to_string_lossy().starts_with("t-0."), "{stray:?}");
    let kept = std::fs::read(trio.dir().join("3").join(stray).join("00000000000000000000.log")).unwrap();
    assert!(kept.windows(10).any(|window| window == b"value-0039"));
    assert!(trio.node(3).log().contains("was put aside"));
}

fn records_of_ok(data: &kafka_protocol::messages::fetch_response::PartitionData) -> Vec<(i64, String)> {
    if data.error_code == 0 { records_of(data) } else { Vec::new() }
}
