//! The APIs over partitions in every version that we serve, and what idempotent producers and cleaners rely on.

mod support;

use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeLogDirsRequest,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, TransactionalId,
};
use support::records::{
    create_topic, fetch, fetch_request, idempotent, list_offset, produce, produce_request, records_of, text,
    topic_name, values,
};
use support::{Client, TestBroker};
use twinstream_protocol::batch::BatchMut;
use uuid::Uuid;

async fn broker_with(dir: &tempfile::TempDir, topic: &str, configs: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, topic, 1, configs).await;
    (broker, client)
}

async fn topic_id(client: &mut Client, topic: &str) -> Uuid {
    let request = MetadataRequest::default().with_topics(None);
    let answer = client.call(request, 12).await;
    let found = answer.topics.iter().find(|found| found.name.as_ref().is_some_and(|name| name.as_str() == topic));
    found.unwrap().topic_id
}

#[tokio::test(flavor = "multi_thread")]
async fn produce_and_fetch_work_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let id = topic_id(&mut client, "t").await;
    for (offset, version) in (3..=13).enumerate() {
        let mut request = produce_request("t", 0, -1, values(&[&format!("v{version}")]));
        if version >= 13 {
            request.topic_data[0].name = topic_name("");
            request.topic_data[0].topic_id = id;
        }
        let answer = client.call(request, version).await;
        let produced = &answer.responses[0].partition_responses[0];
        assert_eq!((produced.error_code, produced.base_offset), (0, offset as i64), "v{version}");
    }
    for version in 4..=18 {
        let mut request = fetch_request("t", 0, 5);
        if version >= 13 {
            request.topics[0].topic = topic_name("");
            request.topics[0].topic_id = id;
        }
        if version >= 15 {
            request.replica_state.replica_id = BrokerId(-1);
        }
        let answer = client.call(request, version).await;
        let data = &answer.responses[0].partitions[0];
        let found = records_of(data);
        assert_eq!((found[0].clone(), found.len()), ((5, "v8".to_owned()), 6), "v{version}");
        assert_eq!((data.high_watermark, data.last_stable_offset), (11, 11));
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_metadata_tells_of_answers_at_once() {
    const TOPICS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    for number in 0..TOPICS {
        let name = format!("new-{number}");
        let topic = CreatableTopic::default().with_name(topic_name(&name));
        let topic = topic.with_num_partitions(2).with_replication_factor(1);
        let create = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        client.send(&create, 7).await;
        // Of the two connections one creates, and the other one looks for the topic all the time.
        let mut other = broker.client().await;
        let until = Instant::now() + Duration::from_secs(30);
        // Without a pause, since the leader takes its role soon.
        loop {
            let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(&name)));
            let asked = MetadataRequest::default().with_topics(Some(vec![wanted]));
            let told = other.call(asked.with_allow_auto_topic_creation(false), 12).await;
            if told.topics[0].partitions.iter().any(|partition| partition.leader_id == BrokerId(1)) {
                break;
            }
            assert!(Instant::now() < until, "{name} has no leader: {told:?}");
        }
        // A failure without acknowledgements closes the connection.
        other.send(&produce_request(&name, 0, 0, values(&["x"])), 9).await;
        assert_eq!(list_offset(&mut other, &name, 1, -1).await.error_code, 0, "{name}");
        assert_eq!(list_offset(&mut other, &name, 0, -1).await.offset, 1, "{name}");
        client.answer_body(1).await.unwrap();
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_topic_ids_are_told_from_unknown_names() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut request = produce_request("", 0, -1, values(&["x"]));
    request.topic_data[0].topic_id = Uuid::from_u128(77);
    assert_eq!(client.call(request, 13).await.responses[0].partition_responses[0].error_code, 100);
    let mut request = fetch_request("", 0, 0);
    request.topics[0].topic_id = Uuid::from_u128(77);
    let answer = client.call(request, 13).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 100);
    assert_eq!(answer.responses[0].topic_id, Uuid::from_u128(77));
    assert_eq!(fetch(&mut client, "nowhere", 0, 0).await.error_code, 3);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_the_offset_apis_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    produce(&mut client, "t", 0, values(&["a", "b"])).await;
    for version in 1..=10 {
        let asked = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = client.call(request, version).await;
        let found = &answer.topics[0].partitions[0];
        assert_eq!((found.error_code, found.offset), (0, 2), "v{version}");
    }
    for version in 2..=4 {
        for (epoch, expected) in [(0, (0, 0, 2)), (9, (0, -1, -1))] {
            let asked = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(epoch);
            let topic = OffsetForLeaderTopic::default().with_topic(topic_name("t")).with_partitions(vec![asked]);
            let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1));
            let answer = client.call(request.with_topics(vec![topic]), version).await;
            let end = &answer.topics[0].partitions[0];
            assert_eq!((end.error_code, end.leader_epoch, end.end_offset), expected, "v{version}");
        }
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_or_future_leader_epoch_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut request = fetch_request("t", 0, 0);
    request.topics[0].partitions[0].current_leader_epoch = 1_000;
    let answer = client.call(request, 11).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 75);
    broker.stop().await.unwrap();
}

fn delete_records(topic: &str, offset: i64) -> DeleteRecordsRequest {
    let asked = DeleteRecordsPartition::default().with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    produce(&mut client, "t", 0, values(&["a", "b", "c", "d"])).await;
    let mut results = Vec::new();
    for (version, before) in [(0, 1), (1, 2), (2, 9), (2, -1)] {
        let answer = client.call(delete_records("t", before), version).await;
        let result = &answer.topics[0].partitions[0];
        results.push((result.error_code, result.low_watermark));
    }
    assert_eq!(results, [(0, 1), (0, 2), (1, -1), (0, 4)]);
    assert_eq!(fetch(&mut client, "t", 0, 3).await.error_code, 1);
    assert_eq!(list_offset(&mut client, "t", 0, -2).await.offset, 4);
    create_topic(&mut client, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    let refused = client.call(delete_records("compacted", 0), 2).await;
    assert_eq!(refused.topics[0].partitions[0].error_code, 44);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_directories_tell_sizes_and_free_space() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let records = values(&["a", "b"]);
    produce(&mut client, "t", 0, records.clone()).await;
    for version in 1..=4 {
        let answer = client.call(DescribeLogDirsRequest::default().with_topics(None), version).await;
        let found = answer.results.iter().flat_map(|result| &result.topics).find(|t| t.name.as_str() == "t").unwrap();
        assert_eq!(found.partitions[0].partition_size, records.len() as i64, "v{version}");
        if version >= 4 {
            assert!(answer.results[0].total_bytes > 0 && answer.results[0].usable_bytes > 0);
        }
    }
    broker.stop().await.unwrap();
}

fn init_producer_id(transactional_id: Option<&str>, timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
        .with_transaction_timeout_ms(timeout_ms)
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_producers_get_ids_and_their_repetitions_the_old_offset() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut ids = Vec::new();
    for version in 0..=5 {
        let answer = client.call(init_producer_id(None, i32::MAX), version).await;
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "v{version}");
        ids.push(answer.producer_id.0);
    }
    ids.dedup();
    assert_eq!(ids.len(), 6);
    let id = ids[0];
    let mut answers = Vec::new();
    for (epoch, sequence, count) in [(0, 0, 2), (0, 2, 3), (0, 0, 2), (0, 9, 1), (1, 0, 1), (0, 5, 1)] {
        let answer = produce(&mut client, "t", 0, idempotent(id, epoch, sequence, count)).await;
        answers.push((answer.error_code, answer.base_offset));
    }
    assert_eq!(answers, [(0, 0), (0, 2), (0, 0), (45, -1), (0, 5), (47, -1)]);
    assert_eq!(list_offset(&mut client, "t", 0, -1).await.offset, 6);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_a_shape_that_is_not_served_are_refused_with_the_right_code() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut old_format = values(&["x"]).to_vec();
    old_format[16] = 1;
    let two_batches = [values(&["x"]), values(&["y"])].concat();
    for (records, code) in [(old_format, 87), (two_batches, 87), (Vec::new(), 87), (b"garbage".to_vec(), 87)] {
        let answer = produce(&mut client, "t", 0, records.into()).await;
        assert_eq!((answer.error_code, answer.base_offset), (code, -1), "{answer:?}");
        assert!(answer.error_message.is_some());
    }
    assert_eq!(list_offset(&mut client, "t", 0, -1).await.offset, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_names_a_later_time_than_its_records_is_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut future = values(&["x"]).to_vec();
    BatchMut::parse(&mut future).unwrap().set_max_timestamp(i64::MAX);
    assert_eq!(produce(&mut client, "t", 0, future.into()).await.error_code, 0);
    let latest = list_offset(&mut client, "t", 0, -3).await;
    assert_eq!((latest.offset, latest.timestamp), (0, 1_700_000_000_000));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_fetch_asks_for_enough_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    let mut producer = broker.client().await;
    let one = values(&["x"]).len() as i32;
    let waiting = fetch_request("t", 0, 0).with_max_wait_ms(20_000).with_min_bytes(2 * one);
    let (answer, _) = tokio::join!(client.call(waiting, 11), async {
        produce(&mut producer, "t", 0, values(&["x"])).await;
        produce(&mut producer, "t", 0, values(&["y"])).await;
    });
    assert_eq!(records_of(&answer.responses[0].partitions[0]).len(), 2);
    broker.stop().await.unwrap();
}

async fn create_without_waiting(client: &mut Client, name: &str, partitions: i32) -> Uuid {
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = client.call(request, 7).await;
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    answer.topics[0].topic_id
}

/// Clients of librdkafka do not know INCONSISTENT_TOPIC_ID and hand it to their applications.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_is_read_from_its_own_logs_by_name_and_by_id() {
    const MAY_COME_LATER: [i16; 2] = [5, 6]; // LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, "t", &[]).await;
    for round in 0..3 {
        assert_eq!(produce(&mut client, "t", 0, values(&["old"])).await.error_code, 0);
        // The broker is busy with its logs while the topic goes and comes again.
        create_without_waiting(&mut client, &format!("wide{round}"), 200).await;
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]).with_timeout_ms(10_000);
        assert_eq!(client.call(request, 5).await.responses[0].error_code, 0);
        let id = create_without_waiting(&mut client, "t", 1).await;
        let deadline = Instant::now() + support::PATIENCE;
        loop {
            let mut request = fetch_request("", 0, 0);
            request.topics[0].topic_id = id;
            let by_id = client.call(request, 13).await.responses.remove(0).partitions.remove(0);
            let by_name = fetch(&mut client, "t", 0, 0).await;
            for data in [&by_id, &by_name] {
                assert!(data.error_code == 0 || MAY_COME_LATER.contains(&data.error_code), "round {round}: {data:?}");
                assert_eq!(records_of(data), [], "round {round}: records of the topic that was deleted");
            }
            if by_id.error_code == 0 && by_name.error_code == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "round {round}: the new log does not come");
        }
    }
    broker.stop().await.unwrap();
}
