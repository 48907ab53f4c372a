//! Compaction in a whole broker: keyed topics, the groups' own topic, and settings that change meanwhile.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::*;
use support::process::BrokerProcess;
use support::records::{batch, create_topic, fetch, list_offset, produce, text, topic_name};
use support::{Client, TestBroker, free_port, holds_for, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twinstream_protocol::batch::batches;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Every batch begins a new segment, if its time is later than that of the one before.
const ONE_SEGMENT_EACH: (&str, &str) = ("segment.ms", "1");
const EAGER: [(&str, &str); 2] = [("log.cleaner.backoff.ms", "50"), ("log.cleaner.min.cleanable.ratio", "0.01")];

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Produces records whose keys repeat after `keys`; the value of each is its number.
async fn fill(client: &mut Client, topic: &str, records: std::ops::Range<i64>, keys: i64) {
    let began = now_ms() - 1_000_000;
    for i in records {
        let (key, value) = (format!("k{}", i % keys), i.to_string());
        let bytes = batch(began + i * 100, &[(Some(&key), Some(&value))]);
        let answer = produce(client, topic, 0, bytes).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, i));
    }
}

/// Offsets, keys and values of all that is there, by offset.
async fn read_all(client: &mut Client, topic: &str) -> BTreeMap<i64, (String, String)> {
    let end = list_offset(client, topic, 0, -1).await.offset;
    let mut found = BTreeMap::new();
    let mut next = 0;
    while next < end {
        let data = fetch(client, topic, 0, next).await;
        assert_eq!(data.error_code, 0);
        for batch in batches(&data.records.unwrap_or_default()) {
            let Ok(batch) = batch else { break };
            batch.check_crc().unwrap();
            next = batch.header().next_offset().0;
            for record in &batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let utf8 = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
                found.insert(record.offset.0, (utf8(record.key), utf8(record.value)));
            }
        }
    }
    found
}

fn segments(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".log")).count()
}

async fn alter(client: &mut Client, kind: i8, resource: &str, configs: &[(&str, &str)]) {
    let configs = configs
        .iter()
        .map(|(name, value)| AlterableConfig::default().with_name(text(name)).with_value(Some(text(value))))
        .collect();
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(configs);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(request, 1).await;
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_topic_keeps_the_newest_record_of_each_key_at_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let broker = TestBroker::start_node(dir.path(), 1, port, port, &EAGER).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "kv", 1, &[("cleanup.policy", "compact"), ONE_SEGMENT_EACH]).await;
    fill(&mut client, "kv", 0..60, 6).await;
    wait_until("the log is compacted", async || read_all(&mut client, "kv").await.len() <= 7).await;
    let found = read_all(&mut client, "kv").await;
    for (offset, (key, value)) in &found {
        assert_eq!((key.clone(), value.clone()), (format!("k{}", offset % 6), offset.to_string()));
    }
    assert!((54..60).all(|newest| found.contains_key(&newest)), "{found:?}");
    assert_eq!(list_offset(&mut client, "kv", 0, -1).await.offset, 60);
    assert_eq!(list_offset(&mut client, "kv", 0, -2).await.offset, 0);
    broker.stop().await.unwrap();

    let checkpoint = std::fs::read_to_string(dir.path().join("1/cleaner-offset-checkpoint")).unwrap();
    assert!(checkpoint.lines().any(|line| line == "kv 0 59"), "{checkpoint}");
    let broker = TestBroker::start_node(dir.path(), 1, port, port, &EAGER).await;
    let mut client = broker.client().await;
    wait_until("the partition is led", async || list_offset(&mut client, "kv", 0, -1).await.error_code == 0).await;
    assert_eq!(read_all(&mut client, "kv").await, found);
    fill(&mut client, "kv", 60..66, 6).await;
    wait_until("it is compacted again", async || read_all(&mut client, "kv").await.len() <= 7).await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaner_obeys_settings_that_change_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let more = [EAGER[0], EAGER[1], ("log.cleaner.threads", "0")];
    let broker = TestBroker::start(dir.path(), &more).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "kv", 1, &[("cleanup.policy", "compact"), ONE_SEGMENT_EACH]).await;
    fill(&mut client, "kv", 0..20, 2).await;
    assert_eq!(segments(&dir.path().join("1/kv-0")), 20, "without threads nothing is compacted");
    alter(&mut client, BROKER, "", &[("log.cleaner.threads", "2")]).await;
    wait_until("the log is compacted", async || read_all(&mut client, "kv").await.len() <= 3).await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaner_keeps_to_its_rate() {
    let dir = tempfile::tempdir().unwrap();
    let more = [EAGER[0], EAGER[1], ("log.cleaner.io.max.bytes.per.second", "1")];
    let broker = TestBroker::start(dir.path(), &more).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "kv", 1, &[("cleanup.policy", "compact"), ONE_SEGMENT_EACH]).await;
    fill(&mut client, "kv", 0..20, 2).await;
    // Without a rate this takes some hundredths of a second.
    let keeps = holds_for(Duration::from_secs(2), async || read_all(&mut client, "kv").await.len() > 3);
    assert!(keeps.await);
    broker.stop().await.unwrap();
}

fn commit(offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name("orders")).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text("kept")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

async fn committed(client: &mut Client) -> (i16, i64) {
    let topic = OffsetFetchRequestTopics::default().with_name(topic_name("orders")).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("kept"))).with_topics(Some(vec![topic]));
    let answer = client.call(OffsetFetchRequest::default().with_groups(vec![group]), 8).await;
    let group = &answer.groups[0];
    (group.error_code, group.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset))
}

/// The folder of the groups' topic that has anything.
fn offsets_folder(dir: &Path) -> PathBuf {
    let folders = std::fs::read_dir(dir.join("1")).unwrap().map(|entry| entry.unwrap().path());
    let of_offsets =
        folders.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("__consumer_offsets-"));
    of_offsets.max_by_key(|path| segments(path)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_are_compacted_and_groups_load_from_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let more = [EAGER[0], EAGER[1], ("log.cleaner.threads", "0")];
    let broker = TestBroker::start_node(dir.path(), 1, port, port, &more).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "orders", 1, &[]).await;
    let find = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![text("kept")]);
    wait_until("the group has a coordinator", async || {
        client.call(find.clone(), 6).await.coordinators[0].error_code == 0 && committed(&mut client).await.0 == 0
    })
    .await;
    alter(&mut client, TOPIC, "__consumer_offsets", &[ONE_SEGMENT_EACH]).await;
    for offset in 0..40 {
        let answer = client.call(commit(offset), 8).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0, "{answer:?}");
    }
    // Commits of the same millisecond share a segment.
    let folder = offsets_folder(dir.path());
    wait_until("there are several segments", async || {
        client.call(commit(40), 8).await;
        segments(&folder) > 5
    })
    .await;
    alter(&mut client, BROKER, "", &[("log.cleaner.threads", "1")]).await;
    wait_until("the offsets are compacted", async || segments(&folder) <= 2).await;
    assert_eq!(committed(&mut client).await, (0, 40));
    broker.stop().await.unwrap();

    let broker = TestBroker::start_node(dir.path(), 1, port, port, &more).await;
    let mut client = broker.client().await;
    wait_until("the group is loaded", async || committed(&mut client).await.0 == 0).await;
    assert_eq!(committed(&mut client).await, (0, 40));
    assert_eq!(client.call(commit(41), 8).await.topics[0].partitions[0].error_code, 0);
    broker.stop().await.unwrap();
}

/// The value of a series whose name and labels begin so.
async fn metric(port: u16, series: &str) -> Option<f64> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit_once(' ').unwrap().1.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_that_cannot_be_compacted_is_set_aside_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let broker = TestBroker::start_node(dir.path(), 1, port, port, &[("log.cleaner.threads", "0")]).await;
    let mut client = broker.client().await;
    for name in ["bad", "good"] {
        create_topic(&mut client, name, 1, &[("cleanup.policy", "compact"), ONE_SEGMENT_EACH]).await;
        fill(&mut client, name, 0..10, 2).await;
    }
    broker.stop().await.unwrap();
    let damaged = dir.path().join("1/bad-0/00000000000000000004.log");
    let mut bytes = std::fs::read(&damaged).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();

    let (metrics, listener) = (free_port(), "twinstream.metrics.listener");
    let address = format!("127.0.0.1:{metrics}");
    let more = [EAGER[0], EAGER[1], (listener, address.as_str())];
    let broker = TestBroker::start_node(dir.path(), 1, port, port, &more).await;
    let mut client = broker.client().await;
    wait_until("the other log is compacted", async || segments(&dir.path().join("1/good-0")) <= 2).await;
    let count = "kafka_log_logcleanermanager_uncleanable_partitions_count{logDirectory=";
    wait_until("the damaged log is told of", async || metric(metrics, count).await == Some(1.0)).await;
    let bytes = metric(metrics, "kafka_log_logcleanermanager_uncleanable_bytes{").await;
    assert!(bytes.is_some_and(|bytes| bytes > 0.0), "{bytes:?}");
    assert_eq!(segments(&dir.path().join("1/bad-0")), 10, "it is as it was");
    assert_eq!(fetch(&mut client, "bad", 0, 0).await.error_code, 0, "what is not damaged is served");
    // The files have their places before the cleaning has counted what it did.
    let recopied = "kafka_log_logcleaner_cleaner_recopy_percent";
    wait_until("the cleaning is counted", async || {
        metric(metrics, recopied).await.is_some_and(|percent| percent > 0.0)
    })
    .await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_kills_while_they_are_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let more = [("log.cleaner.backoff.ms", "50"), ("log.cleaner.min.cleanable.ratio", "0.01")];
    let mut broker = BrokerProcess::start(dir.path(), 1, port, port, &more).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "kv", 1, &[("cleanup.policy", "compact"), ONE_SEGMENT_EACH]).await;
    let mut written = 0;
    for _ in 0..5 {
        fill(&mut client, "kv", written..written + 30, 7).await;
        written += 30;
        broker.kill();
        broker = BrokerProcess::start(dir.path(), 1, port, port, &more).await;
        client = broker.client().await;
        wait_until("the partition is led", async || list_offset(&mut client, "kv", 0, -1).await.error_code == 0).await;
        let found = read_all(&mut client, "kv").await;
        let newest: BTreeMap<&String, &i64> = found.iter().map(|(offset, (key, _))| (key, offset)).collect();
        let expected: BTreeMap<String, i64> = (written - 7..written).map(|i| (format!("k{}", i % 7), i)).collect();
        assert_eq!(newest, expected.iter().collect(), "of each key the newest record is there");
        assert!(found.iter().all(|(offset, (_, value))| *value == offset.to_string()));
    }
    wait_until("all is compacted", async || read_all(&mut client, "kv").await.len() <= 8).await;
    assert_eq!(broker.terminate(), Some(0));
}
