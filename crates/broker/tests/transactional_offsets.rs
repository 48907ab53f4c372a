//! Offsets of transactions on the wire: both protocols, what readers see before and after the marker, who is refused.

mod support;

use std::path::Path;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, DeleteGroupsRequest, EndTxnRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest,
    JoinGroupRequest, OffsetCommitRequest, OffsetFetchRequest, ProducerId, TransactionalId, TxnOffsetCommitRequest,
};
use support::records::{create_topic, text, topic_name};
use support::transactions::{End, end_transaction};
use support::{Client, TestBroker, wait_until};
use twinstream_model::ErrorCode;

const NONE: i16 = ErrorCode::None as i16;
const UNSTABLE: i16 = ErrorCode::UnstableOffsetCommit as i16;
const OFFSETS: &str = "__consumer_offsets";
/// One partition, so that every group is in it.
const ONE_PARTITION: (&str, &str) = ("offsets.topic.num.partitions", "1");
const UNVERIFIED: (&str, &str) = ("transaction.partition.verification.enable", "false");
const TRANSACTIONS: &[(&str, &str)] = &[
    ONE_PARTITION,
    ("transaction.state.log.num.partitions", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
];
/// Versions of TxnOffsetCommit: the first that names members, the last of the first protocol, the first of the second one.
const NAMES_MEMBERS: i16 = 3;
const V1: i16 = 4;
const V2: i16 = 5;

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A producer as its client knows it.
#[derive(Clone, Copy, Debug)]
struct Producer {
    id: i64,
    epoch: i16,
}

async fn start(dir: &Path, settings: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = TestBroker::start(dir, settings).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "orders", 2, &[]).await;
    find(&mut client, 0, "g").await;
    (broker, client)
}

/// Asks until there is a coordinator for the key.
async fn find(client: &mut Client, kind: i8, key: &str) {
    let request = FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(vec![text(key)]);
    wait_until("there is a coordinator", async || {
        client.call(request.clone(), 6).await.coordinators[0].error_code == NONE
    })
    .await;
}

/// Whether a client that hears this is to ask the same again.
fn passes(code: i16) -> bool {
    use ErrorCode as E;
    let passing =
        [E::ConcurrentTransactions, E::CoordinatorLoadInProgress, E::CoordinatorNotAvailable, E::NotCoordinator];
    passing.into_iter().any(|error| error as i16 == code)
}

fn commit_request(name: &str, producer: Producer, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("note")));
    let topic = TxnOffsetCommitRequestTopic::default().with_name(topic_name("orders")).with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(text("tx")))
        .with_group_id(group(name))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_topics(vec![topic])
}

/// Commits an offset of `orders` 0 in a transaction, as often as it takes; the error code.
async fn commit(client: &mut Client, request: &TxnOffsetCommitRequest, version: i16) -> i16 {
    let mut code = NONE;
    wait_until("the commit is decided", async || {
        let answer = client.call(request.clone(), version).await;
        code = answer.topics[0].partitions[0].error_code;
        !passes(code)
    })
    .await;
    code
}

async fn commit_plainly(client: &mut Client, name: &str, offset: i64) {
    let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name("orders")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = client.call(request, 8).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, NONE);
}

/// Error code and offset of `orders` 0.
async fn fetch(client: &mut Client, name: &str, require_stable: bool) -> (i16, i64) {
    let orders = OffsetFetchRequestTopics::default().with_name(topic_name("orders")).with_partition_indexes(vec![0]);
    let wanted = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(Some(vec![orders]));
    let request = OffsetFetchRequest::default().with_groups(vec![wanted]).with_require_stable(require_stable);
    let mut found = (NONE, -1);
    wait_until("the group's coordinator answers", async || {
        let answer = client.call(request.clone(), 9).await;
        let of_group = &answer.groups[0];
        if of_group.error_code != NONE {
            assert!(passes(of_group.error_code), "{answer:?}");
            return false;
        }
        let partition = &of_group.topics[0].partitions[0];
        found = (partition.error_code, partition.committed_offset);
        true
    })
    .await;
    found
}

/// What `initTransactions` does.
async fn init(client: &mut Client) -> Producer {
    find(client, 1, "tx").await;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text("tx"))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let mut producer = Producer { id: -1, epoch: -1 };
    wait_until("the producer is initialized", async || {
        let answer = client.call(request.clone(), 4).await;
        producer = Producer { id: answer.producer_id.0, epoch: answer.producer_epoch };
        assert!(answer.error_code == NONE || passes(answer.error_code), "{answer:?}");
        answer.error_code == NONE
    })
    .await;
    producer
}

async fn add_offsets(client: &mut Client, name: &str, producer: Producer) {
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(TransactionalId(text("tx")))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_group_id(group(name));
    wait_until("the group's partition is added", async || {
        let code = client.call(request.clone(), 3).await.error_code;
        assert!(code == NONE || passes(code), "{code}");
        code == NONE
    })
    .await;
}

/// Ends the transaction; the producer as it goes on.
async fn end(client: &mut Client, producer: Producer, committed: bool, version: i16) -> Producer {
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text("tx")))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(committed);
    let mut next = producer;
    wait_until("the transaction ends", async || {
        let answer = client.call(request.clone(), version).await;
        assert!(answer.error_code == NONE || passes(answer.error_code), "{answer:?}");
        if version >= 5 {
            next = Producer { id: answer.producer_id.0, epoch: answer.producer_epoch };
        }
        answer.error_code == NONE
    })
    .await;
    next
}

#[tokio::test]
async fn offset_of_a_transaction_counts_from_its_marker_on_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [ONE_PARTITION, UNVERIFIED];
    let (broker, mut client) = start(dir.path(), &settings).await;
    for version in 0..=V1 {
        let name = format!("g{version}");
        let producer = Producer { id: 100 + i64::from(version), epoch: 0 };
        commit_plainly(&mut client, &name, 5).await;
        assert_eq!(commit(&mut client, &commit_request(&name, producer, 9), version).await, NONE, "v{version}");
        assert_eq!(fetch(&mut client, &name, false).await, (NONE, 5), "v{version}");
        assert_eq!(fetch(&mut client, &name, true).await, (UNSTABLE, -1), "v{version}");
    }
    assert_eq!(end_transaction(&mut client, End::commit(100, 0), OFFSETS, 0).await, NONE);
    assert_eq!(end_transaction(&mut client, End::abort(101, 0), OFFSETS, 0).await, NONE);
    broker.stop().await.unwrap();
    let broker = TestBroker::start(dir.path(), &settings).await;
    let mut client = broker.client().await;
    assert_eq!(fetch(&mut client, "g0", true).await, (NONE, 9), "committed");
    assert_eq!(fetch(&mut client, "g1", true).await, (NONE, 5), "aborted");
    assert_eq!(fetch(&mut client, "g2", true).await, (UNSTABLE, -1), "open after a restart");
    assert_eq!(end_transaction(&mut client, End::commit(102, 0), OFFSETS, 0).await, NONE);
    assert_eq!(fetch(&mut client, "g2", true).await, (NONE, 9));
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn producers_and_markers_of_the_past_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path(), &[ONE_PARTITION, UNVERIFIED]).await;
    let fenced = ErrorCode::InvalidProducerEpoch as i16;
    let old = Producer { id: 7, epoch: 0 };
    assert_eq!(commit(&mut client, &commit_request("g", old, 1), V1).await, NONE);
    assert_eq!(end_transaction(&mut client, End { version: 2, ..End::commit(7, 0) }, OFFSETS, 0).await, fenced);
    let end = End { version: 2, coordinator_epoch: 5, ..End::commit(7, 1) };
    assert_eq!(end_transaction(&mut client, end, OFFSETS, 0).await, NONE);
    assert_eq!(end_transaction(&mut client, end, OFFSETS, 0).await, NONE, "the answer was lost");
    assert_eq!(commit(&mut client, &commit_request("g", old, 2), V1).await, fenced, "of an epoch that has ended");
    let of_old_coordinator = End { coordinator_epoch: 4, ..end };
    let code = end_transaction(&mut client, of_old_coordinator, OFFSETS, 0).await;
    assert_eq!(code, ErrorCode::TransactionCoordinatorFenced as i16);
    assert_eq!(fetch(&mut client, "g", true).await, (NONE, 1));
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn member_that_commits_in_a_transaction_must_be_of_this_generation() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path(), &[ONE_PARTITION, UNVERIFIED]).await;
    let range = JoinGroupRequestProtocol::default().with_name(text("range"));
    let join = JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![range]);
    let joined = client.call(join, 3).await;
    assert_eq!(joined.error_code, NONE);
    let producer = Producer { id: 7, epoch: 0 };
    let by = |member: &str, generation: i32| {
        let request = commit_request("g", producer, 1);
        request.with_member_id(text(member)).with_generation_id(generation)
    };
    let mut codes = Vec::new();
    for request in [by("nobody", 1), by(&joined.member_id, 0), by(&joined.member_id, 1)] {
        codes.push(commit(&mut client, &request, NAMES_MEMBERS).await);
    }
    assert_eq!(codes, [ErrorCode::UnknownMemberId as i16, ErrorCode::IllegalGeneration as i16, NONE]);
    assert_eq!(commit(&mut client, &commit_request("g", producer, 2), 2).await, NONE, "older clients name no member");
    assert_eq!(commit(&mut client, &commit_request("", producer, 2), V1).await, ErrorCode::InvalidGroupId as i16);
    let mut elsewhere = commit_request("g", producer, 2);
    elsewhere.topics[0].name = topic_name("nowhere");
    assert_eq!(commit(&mut client, &elsewhere, V1).await, ErrorCode::UnknownTopicOrPartition as i16);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn deleted_group_does_not_come_back_with_a_marker() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path(), &[ONE_PARTITION, UNVERIFIED]).await;
    assert_eq!(commit(&mut client, &commit_request("g", Producer { id: 7, epoch: 0 }, 1), V1).await, NONE);
    let answer = client.call(DeleteGroupsRequest::default().with_groups_names(vec![group("g")]), 2).await;
    assert_eq!(answer.results[0].error_code, NONE);
    assert_eq!(end_transaction(&mut client, End::commit(7, 0), OFFSETS, 0).await, NONE);
    assert_eq!(fetch(&mut client, "g", true).await, (NONE, -1));
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn first_protocol_commits_offsets_of_a_group_that_was_added() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path(), TRANSACTIONS).await;
    let producer = init(&mut client).await;
    let request = commit_request("g", producer, 3);
    assert_eq!(commit(&mut client, &request, 3).await, ErrorCode::InvalidTxnState as i16, "not added");
    assert_eq!(commit(&mut client, &request, V1).await, ErrorCode::TransactionAbortable as i16, "not added");
    for (offset, is_committed) in [(3, true), (4, false)] {
        add_offsets(&mut client, "g", producer).await;
        assert_eq!(commit(&mut client, &commit_request("g", producer, offset), V1).await, NONE);
        assert_eq!(fetch(&mut client, "g", true).await.0, UNSTABLE);
        end(&mut client, producer, is_committed, 3).await;
        wait_until("the marker is written", async || fetch(&mut client, "g", true).await == (NONE, 3)).await;
    }
    let successor = init(&mut client).await;
    assert!(successor.epoch > producer.epoch);
    let late = commit(&mut client, &commit_request("g", producer, 5), V1).await;
    assert!([ErrorCode::InvalidProducerEpoch as i16, ErrorCode::ProducerFenced as i16].contains(&late), "{late}");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn second_protocol_adds_the_group_with_its_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path(), TRANSACTIONS).await;
    let mut producer = init(&mut client).await;
    for (offset, is_committed, then) in [(3, true, 3), (4, false, 3), (5, true, 5)] {
        assert_eq!(commit(&mut client, &commit_request("g", producer, offset), V2).await, NONE);
        let last = producer;
        producer = end(&mut client, producer, is_committed, 5).await;
        assert_eq!(producer.epoch, last.epoch + 1);
        wait_until("the marker is written", async || fetch(&mut client, "g", true).await == (NONE, then)).await;
        let late = commit(&mut client, &commit_request("g", last, 99), V2).await;
        assert_eq!(late, ErrorCode::InvalidProducerEpoch as i16, "its transaction is over");
    }
    broker.stop().await.unwrap();
}
