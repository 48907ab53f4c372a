//! Records on their way out: those that are on the disk only, those that an earlier run wrote, and readers that take
//! their time.

mod support;

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use support::process::BrokerProcess;
use support::records::{create_topic, fetch_request, produce, produce_request, records_of, topic_name, values};
use support::replicas::{Trio, read_all};
use support::{Client, TestBroker, free_port, wait_until};

const LEADER: i16 = 1;
const READ_COMMITTED: i8 = 1;
/// Segments of one mebibyte, so that there are several.
const SMALL_SEGMENTS: (&str, &str) = ("log.segment.bytes", "1048576");

/// Takes the record and index files of a topic out of the page cache, as far as the file system can do that.
fn evict(dir: &Path, topic: &str) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            evict(&path, topic);
        } else if dir.file_name().unwrap().to_string_lossy().starts_with(&format!("{topic}-")) {
            let file = File::open(&path).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
}

fn value(partition: i32, number: usize) -> String {
    format!("{partition}/{number}/{}", "x".repeat(60_000))
}

/// Writes `count` records of 60 KB to each partition, a batch each.
async fn fill(client: &mut Client, topic: &str, partitions: i32, count: usize) {
    for number in 0..count {
        for partition in 0..partitions {
            let produced = produce(client, topic, partition, values(&[&value(partition, number)])).await;
            assert_eq!(produced.error_code, 0);
        }
    }
}

fn fetch_of_all(topic: &str, offsets: &[i64], isolation: i8) -> FetchRequest {
    let partitions = offsets.iter().enumerate().map(|(index, offset)| {
        FetchPartition::default()
            .with_partition(index as i32)
            .with_fetch_offset(*offset)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions.collect());
    fetch_request("", 0, 0).with_topics(vec![topic]).with_max_bytes(50 << 20).with_isolation_level(isolation)
}

/// Reads all partitions together, without waiting for anything but the disk; `count` records of each.
async fn read_whole(client: &mut Client, topic: &str, partitions: usize, count: usize, isolation: i8) {
    let mut offsets = vec![0; partitions];
    while offsets.iter().any(|offset| *offset < count as i64) {
        let before: i64 = offsets.iter().sum();
        let answer = client.call(fetch_of_all(topic, &offsets, isolation), 11).await;
        for data in &answer.responses[0].partitions {
            assert_eq!((data.error_code, data.high_watermark), (0, count as i64));
            for (offset, found) in records_of(data) {
                let next = &mut offsets[data.partition_index as usize];
                assert_eq!(offset, *next, "a record is missing");
                assert!(found == value(data.partition_index, offset as usize), "record {offset} is another");
                *next += 1;
            }
        }
        assert!(offsets.iter().sum::<i64>() > before, "an answer brought nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_left_memory_are_served_whole() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[SMALL_SEGMENTS]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 3, &[]).await;
    fill(&mut client, "t", 3, 60).await;
    for isolation in [0, READ_COMMITTED] {
        evict(dir.path(), "t");
        read_whole(&mut client, "t", 3, 60, isolation).await;
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_old_records_all_come_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[SMALL_SEGMENTS]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 2, &[]).await;
    fill(&mut client, "t", 2, 40).await;
    evict(dir.path(), "t");
    let mut readers = Vec::new();
    for _ in 0..40 {
        let mut client = broker.client().await;
        readers.push(tokio::spawn(async move { read_whole(&mut client, "t", 2, 40, 0).await }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_an_earlier_run_are_served_whole() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[SMALL_SEGMENTS]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 2, &[]).await;
    fill(&mut client, "t", 2, 40).await;
    broker.stop().await.unwrap();
    evict(dir.path(), "t");

    let again = TestBroker::start(dir.path(), &[SMALL_SEGMENTS]).await;
    let mut client = again.client().await;
    wait_until("the partitions are led again", async || {
        let answer = client.call(fetch_of_all("t", &[0, 0], 0), 11).await;
        answer.responses[0].partitions.iter().all(|data| data.error_code == 0)
    })
    .await;
    read_whole(&mut client, "t", 2, 40, 0).await;
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_away_gets_records_that_left_memory() {
    let small = (SMALL_SEGMENTS.0.to_owned(), SMALL_SEGMENTS.1.to_owned());
    let mut trio = Trio::start_with(|_| vec![small.clone()]).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    trio.node(3).kill();
    trio.wait_for_isr("t", &[2]).await;
    let mut leader = trio.client(2).await;
    let written: Vec<String> = (0..40).map(|number| value(0, number)).collect();
    for value in &written {
        assert_eq!(produce(&mut leader, "t", 0, values(&[value])).await.error_code, 0);
    }
    evict(trio.dir(), "t");
    trio.restart(3).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    assert!(read_all(&mut leader, "t").await == written, "the leader's records are others");
    trio.node(2).kill();
    trio.wait_for_leader("t", &[3]).await;
    assert!(trio.read(3, "t", written.len()).await == written, "the replica's records are others");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_hold_neither_memory_nor_threads() {
    const READERS: usize = 100;
    const RECORDS: usize = 500; // 30 MB, which each reader asks for
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let broker = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    for number in 0..RECORDS {
        let request = produce_request("t", 0, LEADER, values(&[&value(0, number)]));
        assert_eq!(client.call(request, 9).await.responses[0].partition_responses[0].error_code, 0);
    }
    let (memory, threads) = (broker.status("VmRSS"), broker.status("Threads"));

    let mut all = fetch_request("t", 0, 0).with_max_bytes(64 << 20);
    all.topics[0].partitions[0].partition_max_bytes = 64 << 20;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = broker.client().await;
        reader.send(&all, 11).await;
        readers.push(reader);
    }
    for reader in &readers {
        reader.answer_begins().await;
    }
    let held = broker.status("VmRSS").saturating_sub(memory);
    assert!(held < 32 * 1024, "{READERS} readers of 30 MB each hold {held} kB");
    let busy = broker.status("Threads").saturating_sub(threads);
    assert!(busy < READERS as u64 / 4, "{READERS} readers hold {busy} threads");

    // Others are served meanwhile, and whoever goes on reading gets all of it.
    assert_eq!(produce(&mut client, "t", 0, values(&["last"])).await.error_code, 0);
    for reader in &mut readers[..3] {
        let answer = reader.answer_body(0).await.unwrap();
        let found = records_in(answer);
        assert_eq!(found.len(), RECORDS);
        assert!(found.iter().enumerate().all(|(at, found)| *found == (at as i64, value(0, at))));
    }
}

fn records_in(mut answer: Bytes) -> Vec<(i64, String)> {
    use kafka_protocol::messages::FetchResponse;
    use kafka_protocol::protocol::Decodable;
    let response = FetchResponse::decode(&mut answer, 11).unwrap();
    records_of(&response.responses[0].partitions[0])
}
