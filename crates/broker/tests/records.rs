//! Produce, Fetch and ListOffsets as clients see them, with the traps that other implementations fell into.

mod support;

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::{ApiKey, DeleteTopicsRequest, FetchRequest};
use support::records::{
    batch, create_topic, fetch, fetch_request, list_offset, produce, produce_request, records_of, topic_name, values,
};
use support::{Client, TestBroker};
use twinstream_protocol::batch::BatchBuilder;

/// A fetch that waits so long is answered because it was woken, or the test fails.
const LONGER_THAN_ANY_CALL_MS: i32 = 600_000;

async fn broker_with(dir: &tempfile::TempDir, topic: &str, configs: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, topic, 1, configs).await;
    (broker, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_produced_is_fetched_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let first = produce(&mut client, "t", 0, values(&["a", "b"])).await;
    assert_eq!((first.error_code, first.base_offset), (0, 0));
    assert_eq!(produce(&mut client, "t", 0, values(&["c"])).await.base_offset, 2);
    let expected = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
    assert_eq!(records_of(&fetch(&mut client, "t", 0, 0).await), expected);
    broker.stop().await.unwrap();

    let again = TestBroker::start(dir.path(), &[]).await;
    let mut client = again.client().await;
    support::wait_until("the partition is led again", async || fetch(&mut client, "t", 0, 0).await.error_code == 0)
        .await;
    assert_eq!(records_of(&fetch(&mut client, "t", 0, 0).await), expected);
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_topics_take_no_records_of_clients() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "__consumer_offsets", &[]).await;
    let answer = produce(&mut client, "__consumer_offsets", 0, values(&["no record of a coordinator"])).await;
    assert_eq!(answer.error_code, 17, "INVALID_TOPIC_EXCEPTION");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_inside_a_batch_returns_the_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    produce(&mut client, "t", 0, values(&["a", "b", "c"])).await;
    let offsets: Vec<i64> =
        records_of(&fetch(&mut client, "t", 0, 2).await).iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_partition_has_zero_bytes_of_records_and_not_null() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    for version in [4, 7, 11, 12] {
        let mut request = fetch_request("t", 0, 0);
        if version < 7 {
            request.session_epoch = FetchRequest::default().session_epoch;
        }
        let answer = client.call(request, version).await;
        let data = &answer.responses[0].partitions[0];
        assert_eq!((data.error_code, data.high_watermark), (0, 0), "v{version}");
        assert_eq!(data.records, Some(Bytes::new()), "v{version}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_waits_for_records_and_is_woken_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut producer = broker.client().await;
    let waiting = fetch_request("t", 0, 0).with_max_wait_ms(LONGER_THAN_ANY_CALL_MS);
    let (answer, _) = tokio::join!(client.call(waiting, 11), produce(&mut producer, "t", 0, values(&["late"])));
    assert_eq!(records_of(&answer.responses[0].partitions[0]), [(0, "late".to_owned())]);
    let idle = fetch_request("t", 0, 1).with_max_wait_ms(50);
    let started = Instant::now();
    assert!(records_of(&client.call(idle, 11).await.responses[0].partitions[0]).is_empty());
    assert!(started.elapsed() >= Duration::from_millis(50));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_fetch_hears_at_once_that_its_topic_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut admin = broker.client().await;
    let waiting = fetch_request("t", 0, 0).with_max_wait_ms(LONGER_THAN_ANY_CALL_MS);
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]).with_timeout_ms(1_000);
    let (answer, deleted) = tokio::join!(client.call(waiting, 11), admin.call(delete, 4));
    assert_eq!(deleted.responses[0].error_code, 0);
    let code = answer.responses[0].partitions[0].error_code;
    assert!([3, 6].contains(&code), "unknown topic or not the leader, not {code}");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_outside_of_the_log_is_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    assert_eq!(fetch(&mut client, "t", 0, 7).await.error_code, 1);
    assert_eq!(fetch(&mut client, "t", 9, 0).await.error_code, 3);
    assert_eq!(fetch(&mut client, "nowhere", 0, 0).await.error_code, 3);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_fetch_comes_whole_when_it_is_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let large = "x".repeat(100_000);
    produce(&mut client, "t", 0, values(&[&large])).await;
    let mut small = fetch_request("t", 0, 0).with_max_bytes(10);
    small.topics[0].partitions[0].partition_max_bytes = 10;
    let answer = client.call(small, 11).await;
    assert_eq!(records_of(&answer.responses[0].partitions[0]), [(0, large)]);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_session_id_with_epoch_zero_opens_a_new_session() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let open = fetch_request("t", 0, 0).with_session_id(0).with_session_epoch(0);
    let first = client.call(open.clone(), 11).await;
    assert!(first.session_id > 0);
    let reset = open.clone().with_session_id(first.session_id);
    let second = client.call(reset, 11).await;
    assert_eq!(second.error_code, 0);
    assert!(second.session_id > 0 && second.session_id != first.session_id);
    // The incremental fetch of the new session names nothing and hears only what changed.
    let incremental = open.clone().with_topics(vec![]).with_session_id(second.session_id).with_session_epoch(1);
    let quiet = client.call(incremental.clone(), 11).await;
    assert_eq!((quiet.error_code, quiet.responses.len()), (0, 0));
    produce(&mut client, "t", 0, values(&["news"])).await;
    let news = client.call(incremental.with_session_epoch(2), 11).await;
    assert_eq!(records_of(&news.responses[0].partitions[0]), [(0, "news".to_owned())]);
    let unknown = client.call(open.clone().with_session_id(first.session_id).with_session_epoch(5), 11).await;
    assert_eq!(unknown.error_code, 70);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_by_time_find_the_first_record_at_or_after_it_even_inside_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let base = 1_700_000_000_000;
    produce(&mut client, "t", 0, batch(base, &[(None, Some("0")), (None, Some("1")), (None, Some("2"))])).await;
    let middle = list_offset(&mut client, "t", 0, base + 1).await;
    assert_eq!((middle.offset, middle.timestamp), (1, base + 1));
    assert_eq!(list_offset(&mut client, "t", 0, base + 10).await.offset, -1);
    assert_eq!(list_offset(&mut client, "t", 0, -2).await.offset, 0);
    assert_eq!(list_offset(&mut client, "t", 0, -1).await.offset, 3);
    let newest = list_offset(&mut client, "t", 0, -3).await;
    assert_eq!((newest.offset, newest.timestamp), (2, base + 2));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyless_record_on_a_compacted_topic_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "compacted", &[("cleanup.policy", "compact")]).await;
    create_topic(&mut client, "plain", 1, &[]).await;
    let mixed = batch(1_700_000_000_000, &[(Some("k"), Some("v")), (None, Some("keyless"))]);
    let mut request = produce_request("compacted", 0, -1, mixed);
    request.topic_data.extend(produce_request("plain", 0, -1, values(&["fine"])).topic_data);
    let answer = client.call(request, 9).await;
    let failed = &answer.responses[0].partition_responses[0];
    assert_eq!(failed.error_code, 87);
    assert_eq!(failed.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1]);
    assert!(failed.error_message.is_some());
    assert_eq!(answer.responses[1].partition_responses[0].error_code, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_the_limit_is_too_large_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[("max.message.bytes", "1000")]).await;
    assert_eq!(produce(&mut client, "t", 0, values(&[&"x".repeat(2000)])).await.error_code, 10);
    assert_eq!(produce(&mut client, "t", 0, values(&["small"])).await.error_code, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_is_corrupt_and_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut damaged = values(&["a"]).to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(produce(&mut client, "t", 0, damaged.into()).await.error_code, 2);
    assert_eq!(list_offset(&mut client, "t", 0, -1).await.offset, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_zero_has_no_answer_and_acks_two_is_invalid() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    client.send(&produce_request("t", 0, 0, values(&["silent"])), 9).await;
    // The next answer belongs to the next request.
    assert_eq!(records_of(&fetch(&mut client, "t", 0, 0).await), [(0, "silent".to_owned())]);
    let answer = client.call(produce_request("t", 0, 2, values(&["odd"])), 9).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 21);
    client.send(&produce_request("nowhere", 0, 0, values(&["lost"])), 9).await;
    assert!(client.is_closed().await, "a failed request with acks=0 closes the connection");
    broker.stop().await.unwrap();
}

/// Broker and test share one thread, so the test looks at the logs exactly when the request lets others have their turn.
#[tokio::test(flavor = "current_thread")]
async fn a_produce_of_many_partitions_lets_others_have_their_turn_between_them() {
    for (partitions, bytes, at_once) in [(24, 300_000, 4), (150, 10, 64)] {
        let dir = tempfile::tempdir().unwrap();
        let broker = TestBroker::start(dir.path(), &[]).await;
        let mut client = broker.client().await;
        create_topic(&mut client, "t", partitions, &[]).await;
        let value = "v".repeat(bytes);
        let part = |index| PartitionProduceData::default().with_index(index).with_records(Some(values(&[&value])));
        let mut request = produce_request("t", 0, 1, Bytes::new());
        request.topic_data[0].partition_data = (0..partitions).map(part).collect();
        let written = || {
            let log = |index: i32| dir.path().join(format!("1/t-{index}/{:020}.log", 0));
            (0..partitions).filter(|index| std::fs::metadata(log(*index)).unwrap().len() > 0).count()
        };

        let (mut before, mut most) = (0, 0);
        let mut call = pin!(client.call(request, 9));
        let answer = loop {
            let answer = tokio::select! {
                biased;
                answer = &mut call => Some(answer),
                () = tokio::task::yield_now() => None,
            };
            let now = written();
            most = most.max(now - before);
            before = now;
            if let Some(answer) = answer {
                break answer;
            }
        };
        let answered = &answer.responses[0].partition_responses;
        assert!(answered.iter().map(|answer| (answer.index, answer.error_code)).eq((0..partitions).map(|at| (at, 0))));
        assert_eq!(before, partitions as usize);
        assert!(most <= at_once, "{most} of {partitions} partitions in one turn");
        broker.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_stored_as_it_came() {
    use twinstream_protocol::compression::Compression;
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (index, codec) in codecs.into_iter().enumerate() {
        let mut builder = BatchBuilder::new().with_compression(codec);
        builder.append(1_700_000_000_000, None, Some(b"packed"), [(&b"h"[..], None)]);
        let answer = produce(&mut client, "t", 0, builder.build().unwrap().into()).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, index as i64), "{codec:?}");
    }
    let values: Vec<String> =
        records_of(&fetch(&mut client, "t", 0, 0).await).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, vec!["packed"; 5]);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_are_fetched_over_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 20, &[]).await;
    let mut all = fetch_request("t", 0, 0);
    for partition in 0..20 {
        produce(&mut client, "t", partition, values(&[&format!("p{partition}")])).await;
        if partition > 0 {
            let more = fetch_request("t", partition, 0).topics.remove(0).partitions.remove(0);
            all.topics[0].partitions.push(more);
        }
    }
    let answer = client.call(all, 11).await;
    for data in &answer.responses[0].partitions {
        assert_eq!(records_of(data), [(0, format!("p{}", data.partition_index))]);
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_of_the_newest_version_has_the_same_frame_length_as_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    produce(&mut client, "t", 0, values(&["a"])).await;
    client.send(&fetch_request("t", 0, 0), 12).await;
    let mut frame = client.next_frame().await.unwrap();
    assert!(frame.get_i32() > 0);
    // The connection is still in step.
    client.send_body(ApiKey::ApiVersions as i16, 0, &[]).await;
    assert!(client.answer_body(0).await.is_ok());
    broker.stop().await.unwrap();
}
