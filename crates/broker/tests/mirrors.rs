//! Topics that are mirrors of another cluster's: a link appends at the offsets of the source, nobody else writes, and a
//! promotion makes them topics like any other.

mod support;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteRecordsRequest,
    OffsetForLeaderEpochRequest, TransactionalId,
};
use support::mirrors::{
    LINK, create_mirror, from, mirror, mirror_over, mirror_request, open, plain, promote, set_config, shown_mark,
    stored,
};
use support::records::{create_topic, fetch, list_offset, produce, records_of, text, topic_name, values};
use support::transactions::{End, end_transaction, produce_in, read_committed, transactional};
use support::{Client, TestBroker, wait_until};
use twinstream_model::Offset;
use twinstream_protocol::mirror::SourceRange;
use uuid::Uuid;

const OUT_OF_ORDER: i16 = 45;
const POLICY_VIOLATION: i16 = 44;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNVERIFIED: (&str, &str) = ("transaction.partition.verification.enable", "false");

/// A broker with a mirror `m`.
async fn with_mirror(dir: &tempfile::TempDir) -> (TestBroker, Client) {
    let broker = TestBroker::start(dir.path(), &[UNVERIFIED]).await;
    let mut client = broker.client().await;
    create_mirror(&mut client, "m", &[1]).await;
    (broker, client)
}

async fn read(client: &mut Client, offset: i64) -> Vec<(i64, String)> {
    records_of(&fetch(client, "m", 0, offset).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_sees_the_ability_in_the_finalized_features() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let request =
        ApiVersionsRequest::default().with_client_software_name(text("link")).with_client_software_version(text("1"));
    let answer = broker.client().await.call(request, 4).await;
    let found = answer.finalized_features.iter().find(|feature| feature.name.as_str() == "twinstream.mirror");
    assert_eq!(found.map(|feature| feature.max_version_level), Some(1));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_to_the_offsets_of_the_source_once_and_the_log_end_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_mirror(&dir).await;
    let first = stored(0, 0, plain(&["a", "b"]));
    let run = [first.clone(), stored(2, 0, plain(&["c"])), stored(7, 0, plain(&["d"]))].concat();
    assert_eq!(mirror_over(&mut client, LINK, "m", from(0, 0), bytes::Bytes::new()).await.1, Some(0), "a question");
    for from_offset in [0, 0, 3] {
        let (answer, log_end) = mirror_over(&mut client, LINK, "m", from(from_offset, 0), run.clone().into()).await;
        assert_eq!((answer.error_code, answer.base_offset, log_end), (0, from_offset, Some(8)), "{answer:?}");
    }
    let expected = [(0, "a"), (1, "b"), (2, "c"), (7, "d")].map(|(offset, value)| (offset, value.to_owned()));
    assert_eq!(read(&mut client, 0).await, expected);
    let (answer, log_end) = mirror_over(&mut client, LINK, "m", from(9, 0), stored(9, 0, plain(&["x"]))).await;
    assert_eq!((answer.error_code, log_end), (OUT_OF_ORDER, Some(8)));
    broker.stop().await.unwrap();
    let broker = TestBroker::start(dir.path(), &[UNVERIFIED]).await;
    let mut client = broker.client().await;
    assert_eq!(mirror(&mut client, "m", from(8, 0), stored(8, 0, plain(&["e"]))).await, 9, "the mark is kept");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_its_link_writes_to_a_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_mirror(&dir).await;
    mirror(&mut client, "m", from(0, 0), stored(0, 0, plain(&["a"]))).await;
    let refused = produce(&mut client, "m", 0, values(&["x"])).await;
    assert_eq!(refused.error_code, POLICY_VIOLATION);
    let text_of = |message: &Option<kafka_protocol::protocol::StrBytes>| message.as_ref().unwrap().to_string();
    let expected = format!("topic m is a mirror of orders over link {LINK}, promote it first");
    assert_eq!(text_of(&refused.error_message), expected);
    let refused = produce_in(&mut client, "tx", "m", 0, transactional(1, 0, 0, &["x"])).await;
    assert_eq!(refused.error_code, POLICY_VIOLATION, "{refused:?}");
    assert_eq!(end_transaction(&mut client, End::abort(1, 0), "m", 0).await, POLICY_VIOLATION);
    let (answer, _) = mirror_over(&mut client, Uuid::from_u128(9), "m", from(1, 0), stored(1, 0, plain(&["x"]))).await;
    assert_eq!(
        (answer.error_code, text_of(&answer.error_message)),
        (POLICY_VIOLATION, format!("topic m is no mirror of link {}", Uuid::from_u128(9)),)
    );
    create_topic(&mut client, "plain", 1, &[]).await;
    let (answer, _) = mirror_over(&mut client, LINK, "plain", from(0, 0), stored(0, 0, plain(&["x"]))).await;
    assert_eq!(answer.error_code, POLICY_VIOLATION);
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(1);
    let topic = DeleteRecordsTopic::default().with_name(topic_name("m")).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1_000);
    assert_eq!(client.call(request, 2).await.topics[0].partitions[0].error_code, POLICY_VIOLATION);
    let topic = AddPartitionsToTxnTopic::default().with_name(topic_name("m")).with_partitions(vec![0]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(TransactionalId(text("tx")))
        .with_v3_and_below_topics(vec![topic]);
    let answer = client.call(request, 3).await;
    let code = answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
    assert_eq!(code, POLICY_VIOLATION);
    assert_eq!(list_offset(&mut client, "m", 0, -1).await.offset, 1);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_there_cannot_be_marked() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    let answer = client.call(mirror_request("t", &[&[1]]), 7).await;
    assert_eq!(answer.topics[0].error_code, 36, "TOPIC_ALREADY_EXISTS");
    let mut request: CreateTopicsRequest = mirror_request("n", &[&[1]]);
    request.topics[0].unknown_tagged_fields.insert(20_000, bytes::Bytes::from_static(b"garbage"));
    assert_eq!(client.call(request, 7).await.topics[0].error_code, 42, "INVALID_REQUEST");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_topic_is_a_mirror_of_is_shown_and_for_reading_only() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_mirror(&dir).await;
    let (shown, are_read_only) = shown_mark(&mut client, "m").await;
    let source_id = twinstream_model::TopicId(Uuid::from_u128(0x22)).to_string();
    let expected = [
        ("twinstream.mirror.link", LINK.to_string()),
        ("twinstream.mirror.source.cluster", "upstream".to_owned()),
        ("twinstream.mirror.source.topic", "orders".to_owned()),
        ("twinstream.mirror.source.topic.id", source_id),
        ("twinstream.mirror.state", "mirroring".to_owned()),
    ];
    assert_eq!(shown, expected.map(|(name, value)| (name.to_owned(), value)));
    assert!(are_read_only);
    assert_eq!(set_config(&mut client, "m", "twinstream.mirror.link", "x").await.0, 40);
    create_topic(&mut client, "plain", 1, &[]).await;
    assert_eq!(shown_mark(&mut client, "plain").await.0, []);
    assert_eq!(
        set_config(&mut client, "plain", "twinstream.mirror.state", "promoted").await.1,
        "topic plain is no mirror"
    );
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_epoch_of_the_source_raises_that_of_the_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_mirror(&dir).await;
    mirror(&mut client, "m", from(0, 0), stored(0, 0, plain(&["a"]))).await;
    let newer = stored(1, 7, plain(&["b"]));
    let (answer, log_end) = mirror_over(&mut client, LINK, "m", from(1, 8), newer.clone()).await;
    assert_eq!((answer.error_code, log_end), (UNKNOWN_LEADER_EPOCH, Some(1)), "{answer:?}");
    assert_eq!(mirror(&mut client, "m", from(1, 8), newer).await, 2);
    let fetched = fetch(&mut client, "m", 0, 0).await;
    let epochs: Vec<i32> = twinstream_protocol::batch::batches(&fetched.records.unwrap())
        .map(|batch| batch.unwrap().header().leader_epoch.0)
        .collect();
    assert_eq!(epochs, [0, 7], "batches keep their epochs");
    assert_eq!(end_of_epoch(&mut client, 0).await, (0, 1));
    assert_eq!(end_of_epoch(&mut client, 8).await, (7, 2), "leading a mirror leaves no trace in its epochs");
    let (answer, _) = mirror_over(&mut client, LINK, "m", from(2, i32::MAX), stored(2, i32::MAX, plain(&["c"]))).await;
    assert_eq!(answer.error_code, 87, "INVALID_RECORD: that many epochs no source has had");
    broker.stop().await.unwrap();
}

/// Epoch and end offset that OffsetForLeaderEpoch tells.
async fn end_of_epoch(client: &mut Client, epoch: i32) -> (i32, i64) {
    let partition = OffsetForLeaderPartition::default().with_leader_epoch(epoch).with_current_leader_epoch(-1);
    let topic = OffsetForLeaderTopic::default().with_topic(topic_name("m")).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = client.call(request, 4).await;
    let found = &answer.topics[0].partitions[0];
    (found.leader_epoch, found.end_offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_begins_where_its_source_does() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_mirror(&dir).await;
    let start = |start: i64, range: SourceRange| SourceRange { log_start: Offset(start), ..range };
    let end = mirror(&mut client, "m", start(100, from(100, 0)), stored(98, 0, plain(&["x", "y", "a", "b"]))).await;
    assert_eq!(end, 102, "what the source has no more leaves no hole");
    assert_eq!(list_offset(&mut client, "m", 0, -2).await.offset, 100);
    let found = read(&mut client, 100).await;
    let visible: Vec<_> = found.into_iter().filter(|(offset, _)| *offset >= 100).collect();
    assert_eq!(visible, [(100, "a".to_owned()), (101, "b".to_owned())], "the batch is whole, as at the source");
    assert_eq!(mirror(&mut client, "m", start(101, from(102, 0)), bytes::Bytes::new()).await, 102);
    assert_eq!(list_offset(&mut client, "m", 0, -2).await.offset, 101, "a question takes the start along");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn promotion_aborts_what_is_open_and_lets_producers_in_and_the_link_out() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_mirror(&dir).await;
    let run = [stored(0, 3, open(70, &["t1"])), stored(1, 3, plain(&["a"]))].concat();
    mirror(&mut client, "m", from(0, 3), run.into()).await;
    assert_eq!(read_committed(&mut client, "m", 0).await, (0, vec![]), "nobody knows how it ends");
    promote(&mut client, "m").await;
    wait_until("a producer is let in", async || produce(&mut client, "m", 0, values(&["b"])).await.error_code == 0)
        .await;
    assert_eq!(read_committed(&mut client, "m", 0).await, (4, vec!["a".to_owned(), "b".to_owned()]));
    let here = async |client: &mut Client, offset: i64| read(client, offset).await.first().map(|(offset, _)| *offset);
    assert_eq!([here(&mut client, 0).await, here(&mut client, 1).await], [Some(0), Some(1)], "nothing is cut");
    assert_eq!(here(&mut client, 3).await, Some(3), "the marker stands before the first record of a producer");
    assert_eq!(end_of_epoch(&mut client, 3).await, (3, 2), "where the logs part");
    let (answer, _) = mirror_over(&mut client, LINK, "m", from(2, 3), stored(2, 3, plain(&["late"]))).await;
    assert_eq!(answer.error_code, POLICY_VIOLATION, "{answer:?}");
    assert_eq!(shown_mark(&mut client, "m").await.0[4].1, "promoted");
    promote(&mut client, "m").await;
    let begun = produce_in(&mut client, "tx", "m", 0, transactional(80, 0, 0, &["own"])).await;
    assert_eq!(begun.error_code, 0, "{begun:?}");
    broker.stop().await.unwrap();
    let broker = TestBroker::start(dir.path(), &[UNVERIFIED]).await;
    let mut client = broker.client().await;
    wait_until("its own transaction goes on", async || {
        end_transaction(&mut client, End::commit(80, 0), "m", 0).await == 0
    })
    .await;
    assert_eq!(read_committed(&mut client, "m", 0).await.1, ["a", "b", "own"]);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_keeps_what_its_source_keeps_however_short_its_cluster_keeps_topics_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("log.retention.ms", "1"), ("log.retention.check.interval.ms", "50")];
    let broker = TestBroker::start(dir.path(), &settings).await;
    let mut client = broker.client().await;
    create_mirror(&mut client, "m", &[1]).await;
    assert_eq!(mirror(&mut client, "m", from(0, 2), stored(0, 2, plain(&["a", "b"]))).await, 2);
    // Time goes by for a topic of its own.
    create_topic(&mut client, "own", 1, &[]).await;
    let produced = produce(&mut client, "own", 0, values(&["x"])).await;
    assert_eq!(produced.error_code, 0, "{produced:?}");
    wait_until("retention has been there", async || list_offset(&mut client, "own", 0, -2).await.offset == 1).await;
    assert_eq!(list_offset(&mut client, "m", 0, -2).await.offset, 0, "it begins where its source does");
    promote(&mut client, "m").await;
    wait_until("it is a topic like any other", async || list_offset(&mut client, "m", 0, -2).await.offset == 2).await;
    broker.stop().await.unwrap();
}
