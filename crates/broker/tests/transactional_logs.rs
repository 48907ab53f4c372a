//! Transactions as partitions see them, without a coordinator: the test writes the markers itself, and has the broker not
//! ask whether partitions belong to a transaction.

mod support;

use kafka_protocol::messages::TransactionalId;
use support::records::{create_topic, idempotent, list_offset, produce, produce_request, text, values};
use support::replicas::Trio;
use support::transactions::{
    End, describe_producers, end_transaction, marker_request, produce_in, read_committed, transactional,
};
use support::{Client, TestBroker, wait_until};

/// NOT_LEADER_OR_FOLLOWER.
const NOT_LEADER: i16 = 6;
const UNVERIFIED: (&str, &str) = ("transaction.partition.verification.enable", "false");

async fn broker_with(dir: &tempfile::TempDir, settings: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = TestBroker::start(dir.path(), settings).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 2, &[]).await;
    (broker, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_committed_records_see_what_markers_committed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, &[UNVERIFIED]).await;
    let write = async |client: &mut Client, id, sequence, values: &[&str]| {
        let answer = produce_in(client, "tx", "t", 0, transactional(id, 0, sequence, values)).await;
        assert_eq!(answer.error_code, 0, "{answer:?}");
    };
    write(&mut client, 1, 0, &["a", "b"]).await;
    write(&mut client, 2, 0, &["x"]).await;
    produce(&mut client, "t", 0, values(&["plain"])).await;
    assert_eq!(read_committed(&mut client, "t", 0).await, (0, vec![]));
    assert_eq!(end_transaction(&mut client, End::commit(1, 0), "t", 0).await, 0);
    assert_eq!(read_committed(&mut client, "t", 0).await, (2, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(end_transaction(&mut client, End::abort(2, 0), "t", 0).await, 0);
    assert_eq!(read_committed(&mut client, "t", 0).await.1, ["a", "b", "plain"]);
    assert_eq!(list_offset(&mut client, "t", 0, -1).await.offset, 6, "two markers");
    write(&mut client, 1, 2, &["c"]).await;
    broker.stop().await.unwrap();
    let broker = TestBroker::start(dir.path(), &[UNVERIFIED]).await;
    let mut client = broker.client().await;
    assert_eq!(read_committed(&mut client, "t", 0).await.0, 6, "the transaction is open after a restart");
    assert_eq!(end_transaction(&mut client, End::commit(1, 0), "t", 0).await, 0);
    assert_eq!(read_committed(&mut client, "t", 0).await.1, ["a", "b", "plain", "c"]);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_with_epochs_from_the_past_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, &[UNVERIFIED]).await;
    produce_in(&mut client, "tx", "t", 0, transactional(1, 5, 0, &["a"])).await;
    let end = End { coordinator_epoch: 3, ..End::commit(1, 5) };
    let mut answers = Vec::new();
    for end in [
        End { epoch: 4, ..end },
        End { version: 2, ..end },
        End { epoch: 6, version: 2, ..end },
        End { epoch: 6, version: 2, ..end },
        End { epoch: 6, coordinator_epoch: 2, ..end },
        End { id: 77, epoch: 0, ..end },
    ] {
        answers.push(end_transaction(&mut client, end, "t", 0).await);
    }
    assert_eq!(answers, [47, 47, 0, 0, 52, 0]);
    assert_eq!(end_transaction(&mut client, end, "nowhere", 0).await, 3);
    assert_eq!(end_transaction(&mut client, end, "t", 9).await, 3);
    let answer = client.call(marker_request(End::commit(8, 0), "t", &[0, 1, 2]), 1).await;
    let codes: Vec<i16> = answer.markers[0].topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, 0, 3]);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_are_described_with_their_open_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, &[UNVERIFIED]).await;
    produce(&mut client, "t", 0, idempotent(4, 1, 0, 3)).await;
    produce_in(&mut client, "tx", "t", 0, transactional(9, 2, 0, &["a"])).await;
    let seen = async |client: &mut Client| {
        let described = describe_producers(client, "t", 0).await;
        assert_eq!(described.error_code, 0);
        let producers = described.active_producers.iter();
        let view = |p: &kafka_protocol::messages::describe_producers_response::ProducerState| {
            (p.producer_id.0, p.producer_epoch, p.last_sequence, p.coordinator_epoch, p.current_txn_start_offset)
        };
        producers.map(view).collect::<Vec<_>>()
    };
    assert_eq!(seen(&mut client).await, [(4, 1, 2, -1, -1), (9, 2, 0, -1, 3)]);
    let end = End { coordinator_epoch: 6, ..End::abort(9, 2) };
    assert_eq!(end_transaction(&mut client, end, "t", 0).await, 0);
    assert_eq!(seen(&mut client).await, [(4, 1, 2, -1, -1), (9, 2, 0, 6, -1)]);
    assert_eq!(describe_producers(&mut client, "nowhere", 0).await.error_code, 3);
    assert_eq!(describe_producers(&mut client, "t", 5).await.error_code, 3);
    let invalid = describe_producers(&mut client, "no topic", 0).await;
    assert_eq!((invalid.error_code, invalid.error_message.is_some()), (17, true));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactional_records_need_a_transactional_id_and_one_producer() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, &[]).await;
    let answer = produce(&mut client, "t", 0, transactional(1, 0, 0, &["a"])).await;
    assert_eq!(answer.error_code, 53);
    let mut request = produce_request("t", 0, -1, transactional(1, 0, 0, &["a"]));
    let mut other = request.topic_data[0].partition_data[0].clone().with_index(1);
    other.records = Some(transactional(2, 0, 0, &["a"]));
    request.topic_data[0].partition_data.push(other);
    request.transactional_id = Some(TransactionalId(text("tx")));
    let answer = client.call(request, 9).await;
    let codes: Vec<i16> = answer.responses[0].partition_responses.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [49, 49]);
    // Nobody coordinates this transaction yet: that may pass, so the producer is to send again.
    let answer = produce_in(&mut client, "tx", "t", 0, transactional(1, 0, 0, &["a"])).await;
    assert_eq!(answer.error_code, 19, "{answer:?}");
    assert_eq!(list_offset(&mut client, "t", 0, -1).await.offset, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_outside_of_an_open_transaction_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = broker_with(&dir, &[UNVERIFIED]).await;
    produce_in(&mut client, "tx", "t", 0, transactional(1, 0, 0, &["a"])).await;
    let answer = produce(&mut client, "t", 0, idempotent(1, 0, 1, 1)).await;
    assert_eq!(answer.error_code, 48);
    assert!(answer.error_message.unwrap().contains("must be transactional"));
    let again = produce_in(&mut client, "tx", "t", 0, transactional(1, 0, 0, &["a"])).await;
    assert_eq!((again.error_code, again.base_offset), (0, 0), "a repetition gets its old offset");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_leader_knows_the_open_transactions_and_their_aborted_ones() {
    let settings = [UNVERIFIED, ("min.insync.replicas", "1")];
    let mut trio = Trio::start(&settings).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    let mut client = trio.client(2).await;
    produce_in(&mut client, "tx", "t", 0, transactional(1, 0, 0, &["gone"])).await;
    assert_eq!(end_transaction(&mut client, End::abort(1, 0), "t", 0).await, 0);
    produce_in(&mut client, "tx", "t", 0, transactional(2, 0, 0, &["kept"])).await;
    produce_in(&mut client, "tx", "t", 0, transactional(3, 0, 0, &["open"])).await;
    assert_eq!(end_transaction(&mut client, End::commit(2, 0), "t", 0).await, 0);
    let described = describe_producers(&mut trio.client(3).await, "t", 0).await;
    assert_eq!(described.active_producers.len(), 3, "a follower knows what it has");
    trio.node(2).kill();
    assert_eq!(trio.wait_for_leader("t", &[3]).await, 3);
    let mut client = trio.client(3).await;
    wait_until("the new leader has its high watermark", async || {
        read_committed(&mut client, "t", 0).await.1 == ["first", "kept"]
    })
    .await;
    let mut code = 0;
    wait_until("the new leader knows that it leads, which readers do not ask of a replica", async || {
        let wrong = End { epoch: 1, version: 2, ..End::commit(3, 0) };
        code = end_transaction(&mut client, wrong, "t", 0).await;
        code != NOT_LEADER
    })
    .await;
    assert_eq!(code, 0);
    assert_eq!(read_committed(&mut client, "t", 0).await.1, ["first", "kept", "open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn marker_waits_for_the_replicas_in_sync() {
    let settings = [UNVERIFIED, ("min.insync.replicas", "2"), ("request.timeout.ms", "2000")];
    let mut trio = Trio::start(&settings).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    let mut client = trio.client(2).await;
    produce_in(&mut client, "tx", "t", 0, transactional(1, 0, 0, &["a"])).await;
    trio.node(3).kill();
    trio.wait_for_isr("t", &[2]).await;
    // Refused, or appended in vain by a leader that hears of the loss only now.
    let code = end_transaction(&mut client, End::commit(1, 0), "t", 0).await;
    assert!([7, 19, 20].contains(&code), "{code}");
    trio.restart(3).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    assert_eq!(end_transaction(&mut client, End::commit(1, 0), "t", 0).await, 0);
    assert_eq!(read_committed(&mut client, "t", 0).await.1, ["first", "a"]);
}
