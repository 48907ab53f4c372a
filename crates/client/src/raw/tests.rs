//! Whole batches, offsets and groups over the wire, and what a broken peer does to us.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
use kafka_protocol::protocol::Encodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use twinstream_model::{ErrorCode, GroupId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicName};
use twinstream_protocol::batch::{BatchBuilder, BatchView, ProducerStamp, batches};

use super::*;
use crate::test_support::{PATIENCE, TestCluster, commit_of, fill, partition};

fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(1_517_363_399_650, None, Some(value.as_bytes()), []);
    }
    Bytes::from(builder.build().unwrap())
}

/// One fetch, repeated while the partition of a topic that was just made has no leader yet.
async fn settled_fetch(raw: &RawClient, from: &FetchFrom, options: &FetchOptions) -> FetchedPartition {
    let once = || async {
        let leader = raw.leader(&from.partition).await?;
        let mut fetched = raw.fetch_batches(leader, std::slice::from_ref(from), options).await?;
        let found = fetched.remove(0);
        if found.error.is_retriable() { Err(ClientError::broker("fetch", found.error)) } else { Ok(found) }
    };
    raw.retry(once).await.unwrap()
}

#[tokio::test]
async fn fetched_batches_can_be_produced_elsewhere_as_they_are() {
    let cluster = TestCluster::start();
    let (from, to) = (cluster.topic("from", 1).await, cluster.topic("to", 1).await);
    let (from, to) = (partition(&from, 0), partition(&to, 0));
    let raw = RawClient::connect(&cluster.settings()).await.unwrap();
    raw.produce_batch(&from, batch(&["a", "b", "c"])).await.unwrap();
    let second = raw.produce_batch(&from, batch(&["d"])).await.unwrap();
    assert_eq!(second.base_offset, Offset(3));

    let fetched = settled_fetch(&raw, &FetchFrom::new(from, Offset(0)), &FetchOptions::default()).await;
    assert_eq!((fetched.error, fetched.high_watermark), (ErrorCode::None, Offset(4)));
    for found in batches(&fetched.batches) {
        let found = found.unwrap();
        found.check_crc().unwrap();
        raw.produce_batch(&to, ready_to_append(found.bytes()).unwrap().unwrap()).await.unwrap();
    }
    let ends = raw.list_offsets(std::slice::from_ref(&to), OffsetAt::Latest).await.unwrap();
    // The mock brokers count one batch less than they were given records.
    let least = if matches!(cluster, TestCluster::Mock(_)) { 2 } else { 4 };
    assert!(ends[&to].as_ref().unwrap().0 >= least);
}

#[tokio::test]
async fn fetch_at_the_end_waits_no_longer_than_asked_and_answers_empty() {
    let cluster = TestCluster::start();
    let at = partition(&cluster.topic("empty", 1).await, 0);
    let raw = RawClient::connect(&cluster.settings()).await.unwrap();
    let options = FetchOptions { wait_max: Duration::from_millis(100), ..FetchOptions::default() };
    let fetched = settled_fetch(&raw, &FetchFrom::new(at, Offset(0)), &options).await;
    assert_eq!((fetched.error, fetched.batches.len()), (ErrorCode::None, 0));
}

#[tokio::test]
async fn offset_beyond_the_log_is_an_error_of_its_partition_only() {
    let cluster = TestCluster::start();
    let at = partition(&cluster.topic("beyond", 1).await, 0);
    let raw = RawClient::connect(&cluster.settings()).await.unwrap();
    let fetched = settled_fetch(&raw, &FetchFrom::new(at, Offset(99)), &FetchOptions::default()).await;
    assert_eq!(fetched.error, ErrorCode::OffsetOutOfRange);
}

#[tokio::test]
async fn missing_topics_are_not_in_the_view_and_are_never_created() {
    let cluster = TestCluster::start();
    let topic = TopicName::parse(&format!("missing-{}", uuid::Uuid::new_v4())).unwrap();
    let raw = RawClient::connect(&cluster.settings()).await.unwrap();
    for _ in 0..2 {
        let view = raw.refresh(std::slice::from_ref(&topic)).await.unwrap();
        assert!(!view.topics.contains_key(&topic));
    }
    let error = raw.leader(&partition(&topic, 0)).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test(flavor = "multi_thread")]
async fn group_offsets_are_committed_and_read_without_joining() {
    let cluster = TestCluster::start();
    let at = partition(&cluster.topic("offsets", 1).await, 0);
    fill(&cluster, &at, 8).await;
    let raw = RawClient::connect(&cluster.settings()).await.unwrap();
    let group = GroupId::from(format!("group-{}", uuid::Uuid::new_v4()).as_str());
    // The mock brokers do not list a group's topics by themselves, a real cluster does.
    if matches!(cluster, TestCluster::Mock(_)) {
        raw.find_coordinator(&group).await.unwrap();
        return;
    }
    raw.commit_offsets(&group, &commit_of(&at, 5, "n")).await.unwrap();
    assert_eq!(raw.committed_offsets(&group).await.unwrap(), commit_of(&at, 5, "n"));
    assert!(raw.list_groups().await.unwrap().iter().any(|listed| listed.group == group));
    let described = raw.describe_group(&group).await.unwrap();
    assert_eq!((described.state.as_str(), described.members.len()), ("Empty", 0));
    let unknown = raw.describe_group(&GroupId::from("nobody-knows-this-group")).await.unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::GroupIdNotFound));
}

#[test]
fn batches_of_idempotent_producers_lose_their_marks_and_keep_a_good_checksum() {
    let stamp = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(1), base_sequence: 40 };
    let mut builder = BatchBuilder::new().with_base_offset(Offset(900)).with_producer(stamp).with_transactional();
    builder.append(5, Some(b"k"), Some(b"v"), []);
    let ready = ready_to_append(&builder.build().unwrap()).unwrap().unwrap();
    let view = BatchView::parse(&ready).unwrap();
    view.check_crc().unwrap();
    assert_eq!(view.base_offset(), Offset(0));
    assert!(!view.header().is_idempotent() && !view.attributes().is_transactional());

    let mut marker = BatchBuilder::new().with_control();
    marker.append(5, Some(&[0, 0, 0, 1]), Some(&[0; 6]), []);
    assert_eq!(ready_to_append(&marker.build().unwrap()).unwrap(), None);
    assert!(ready_to_append(&[0; 70]).is_err());
}

/// A server that answers every frame with the same bytes.
async fn parrot(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut question = [0; 4096];
                while matches!(socket.read(&mut question).await, Ok(read) if read > 0) {
                    if socket.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_is_no_broker_is_one_clear_error() {
    for (answer, reason) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "closed"), // its first bytes are a length far over the bound
        (vec![0xff; 8], "closed"),
        (vec![0, 0, 0, 2, 1, 1], "closed"),
        (vec![0, 0, 0, 4, 0, 0, 0, 9], "closed"), // nobody asked question 9
        (vec![0, 0, 0, 6, 0, 0, 0, 0, 0, 0], "cannot be read"),
        (vec![0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f], "the body ends early"),
    ] {
        let address = parrot(answer.clone()).await;
        let error = RawClient::connect(&ClientSettings::new(&address).unwrap()).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains(&address) && text.contains(reason), "{answer:?}: {text}");
    }
}

/// A broker that answers the first question with its versions and every later one with `body`, behind a sound header.
async fn broker_that_lies(body: Vec<u8>) -> String {
    let api_key = ApiVersion::default().with_api_key(MetadataRequest::KEY).with_max_version(12);
    let mut versions = BytesMut::new();
    ApiVersionsResponse::default().with_api_keys(vec![api_key]).encode(&mut versions, 3).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            for answer in [&versions[..], &[&[0], &body[..]].concat()].into_iter().cycle() {
                let Ok(length) = socket.read_u32().await else { break };
                let mut question = vec![0; length as usize];
                if socket.read_exact(&mut question).await.is_err() {
                    break;
                }
                let frame = [&(answer.len() as u32 + 4).to_be_bytes(), &question[4..8], answer].concat();
                socket.write_all(&frame).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn an_answer_that_claims_more_than_it_has_costs_an_error_and_no_memory() {
    let four_billion = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for (body, reason) in [
        ([&[0; 4][..], &four_billion].concat(), "the body ends early"), // brokers
        ([&[0; 4][..], &[1, 0, 0, 0, 0, 0], &four_billion].concat(), "the body ends early"), // topics
        ([&[0; 4][..], &[1, 0, 0, 0, 0, 0, 1], &four_billion].concat(), "the body ends early"), // tags
    ] {
        let address = broker_that_lies(body.clone()).await;
        let error = RawClient::connect(&ClientSettings::new(&address).unwrap()).await.err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, ClientError::Malformed { .. }), "{body:?}: {text}");
        assert!(text.contains("Metadata") && text.contains(reason), "{body:?}: {text}");
    }
}

#[tokio::test]
async fn a_silent_server_does_not_hold_anybody_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let opened = Connection::open(&address, "test", Duration::from_millis(200)).await;
    let error = opened.err().unwrap();
    assert!(error.to_string().contains("200 ms"), "{error}");
}

/// A broker that serves Metadata, and answers it with an answer of 34 bytes of which this many come, one every 50 ms.
async fn broker_behind_a_slow_link(bytes: usize) -> String {
    let api_key = ApiVersion::default().with_api_key(MetadataRequest::KEY).with_max_version(12);
    let mut versions = BytesMut::new();
    ApiVersionsResponse::default().with_api_keys(vec![api_key]).encode(&mut versions, 3).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let length = socket.read_u32().await.unwrap();
            let mut question = vec![0; length as usize];
            socket.read_exact(&mut question).await.unwrap();
            ids.extend_from_slice(&question[4..8]);
            if ids.len() == 4 {
                let frame = [&(versions.len() as u32 + 4).to_be_bytes(), &ids[..], &versions[..]].concat();
                socket.write_all(&frame).await.unwrap();
            }
        }
        socket.write_all(&[&34u32.to_be_bytes(), &ids[4..]].concat()).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        for _ in 0..bytes {
            pace.tick().await;
            socket.write_all(&[0]).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    address
}

#[tokio::test]
async fn an_answer_that_still_comes_is_waited_for_and_one_that_stopped_is_not() {
    let within = Duration::from_secs(1);
    for (bytes, is_whole) in [(30, true), (10, false)] {
        let address = broker_behind_a_slow_link(bytes).await;
        let connection = Connection::open(&address, "test", PATIENCE).await.unwrap();
        let answer = connection.call(&MetadataRequest::default(), i16::MAX, within).await;
        match answer {
            Ok(_) | Err(ClientError::Malformed { .. }) => assert!(is_whole, "{bytes} bytes"),
            Err(ClientError::Timeout { .. }) => assert!(!is_whole, "{bytes} bytes"),
            Err(error) => panic!("{bytes} bytes: {error}"),
        }
        assert!(is_whole || !connection.is_open(), "what was late once is not asked again");
    }
}

#[test]
fn a_reader_goes_back_to_where_the_logs_part_and_not_further() {
    let end = |epoch, end| EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) };
    let parted = |found: EpochEnd| found.parted(LeaderEpoch(4), Offset(100));
    assert_eq!(parted(end(4, 100)), None);
    assert_eq!(parted(end(4, 200)), None, "the epoch went on");
    assert_eq!(parted(end(4, 90)), Some(Offset(90)), "the epoch ended before");
    assert_eq!(parted(end(3, 60)), Some(Offset(60)), "there is no such epoch");
    assert_eq!(parted(end(3, 300)), Some(Offset(100)), "another epoch is where the reader stands");
}

#[tokio::test]
async fn a_version_that_the_broker_does_not_serve_is_not_sent() {
    let cluster = TestCluster::start();
    let raw = RawClient::connect(&cluster.settings()).await.unwrap();
    let error = raw.request_capped(Node::Any, &ApiVersionsRequest::default(), -1).await.unwrap_err();
    assert!(matches!(error, ClientError::UnsupportedVersion { .. }), "{error}");
}

#[test]
fn pauses_grow_to_their_bound_and_never_beyond() {
    let mut backoff = Backoff::default();
    let pauses: Vec<Duration> = (0..50).map(|_| backoff.next_pause()).collect();
    assert!(pauses[0] <= BACKOFF_FIRST && pauses[0] >= BACKOFF_FIRST.mul_f64(0.75));
    assert!(pauses.iter().all(|pause| *pause <= BACKOFF_MAX));
    assert!(pauses[49] >= BACKOFF_MAX.mul_f64(0.75));
}

#[test]
fn assignments_of_any_bytes_do_not_panic() {
    let good = [0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3];
    let read = groups::read_assignment(&good);
    assert_eq!(read.iter().map(|at| at.to_string()).collect::<Vec<_>>(), ["t-0", "t-3"]);
    for cut in 0..good.len() {
        assert!(groups::read_assignment(&good[..cut]).is_empty());
    }
    assert!(groups::read_assignment(&[0xff; 64]).is_empty());
}
