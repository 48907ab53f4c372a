//! The transaction coordinator on the wire: both protocols, fencing, time, what administrators see, and what a restart
//! keeps.

mod support;

use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest, EndTxnResponse,
    FindCoordinatorRequest, GroupId, InitProducerIdRequest, ListTransactionsRequest, ProducerId, TransactionalId,
};
use support::records::{create_topic, text, topic_name};
use support::transactions::{produce_with_version, read_committed, transactional};
use support::{Client, TestBroker, free_port, wait_until};
use twinstream_model::ErrorCode;

const SETTINGS: &[(&str, &str)] = &[
    ("transaction.state.log.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "50"),
];
const NONE: i16 = ErrorCode::None as i16;
/// The last versions of clients that speak the first protocol.
const INIT_V1: i16 = 4;
const ADD_V1: i16 = 3;
const END_V1: i16 = 3;
const PRODUCE_V1: i16 = 11;
/// The versions with an epoch for each transaction.
const END_V2: i16 = 5;
const PRODUCE_V2: i16 = 12;

fn transactional_id(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

/// A producer as its client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Producer {
    id: i64,
    epoch: i16,
}

/// Whether a client that hears this is to ask the same again.
fn passes(code: i16) -> bool {
    let code = ErrorCode::from_code(code).unwrap();
    use ErrorCode as E;
    matches!(code, E::ConcurrentTransactions | E::CoordinatorLoadInProgress | E::CoordinatorNotAvailable)
        || code == E::NotCoordinator
}

async fn find_coordinator(client: &mut Client, id: &str) {
    let request = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text(id)]);
    wait_until("the transactional id has a coordinator", async || {
        client.call(request.clone(), 6).await.coordinators[0].error_code == NONE
    })
    .await;
}

fn init_request(id: &str, timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional_id(id)))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

/// What `initTransactions` does.
async fn init(client: &mut Client, id: &str) -> Producer {
    init_with(client, init_request(id, 60_000), id).await
}

async fn init_with(client: &mut Client, request: InitProducerIdRequest, id: &str) -> Producer {
    find_coordinator(client, id).await;
    let mut answer = client.call(request.clone(), INIT_V1).await;
    wait_until("the producer is initialized", async || {
        if passes(answer.error_code) {
            answer = client.call(request.clone(), INIT_V1).await;
        }
        !passes(answer.error_code)
    })
    .await;
    assert_eq!(answer.error_code, NONE, "{answer:?}");
    Producer { id: answer.producer_id.0, epoch: answer.producer_epoch }
}

fn add_topics(topic: &str, partitions: &[i32]) -> Vec<AddPartitionsToTxnTopic> {
    vec![AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(partitions.to_vec())]
}

fn add_request(id: &str, producer: Producer, topic: &str, partitions: &[i32]) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional_id(id))
        .with_v3_and_below_producer_id(ProducerId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(add_topics(topic, partitions))
}

/// Adds partitions in a version; the codes by partition.
async fn add(client: &mut Client, request: &AddPartitionsToTxnRequest, version: i16) -> Vec<i16> {
    let mut codes = Vec::new();
    wait_until("the partitions are added", async || {
        let answer = client.call(request.clone(), version).await;
        let results = answer.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
        codes = results.map(|partition| partition.partition_error_code).collect();
        !codes.iter().any(|code| passes(*code))
    })
    .await;
    codes
}

fn end_request(id: &str, producer: Producer, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(transactional_id(id))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(commit)
}

async fn end(client: &mut Client, id: &str, producer: Producer, commit: bool, version: i16) -> EndTxnResponse {
    let request = end_request(id, producer, commit);
    let mut answer = client.call(request.clone(), version).await;
    wait_until("the transaction ends", async || {
        if passes(answer.error_code) {
            answer = client.call(request.clone(), version).await;
        }
        !passes(answer.error_code)
    })
    .await;
    answer
}

/// Writes one record as a producer of the second protocol, which may have to wait for the transaction before.
async fn write_v2(client: &mut Client, id: &str, producer: Producer, sequence: i32, value: &str) -> i16 {
    let mut code = NONE;
    wait_until("the record is written", async || {
        let batch = transactional(producer.id, producer.epoch, sequence, &[value]);
        code = produce_with_version(client, PRODUCE_V2, id, "orders", 0, batch).await.error_code;
        !passes(code)
    })
    .await;
    code
}

async fn describe(client: &mut Client, id: &str) -> TransactionState {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional_id(id)]);
    client.call(request, 0).await.transaction_states.remove(0)
}

async fn wait_until_state(client: &mut Client, id: &str, state: &str) {
    wait_until(state, async || describe(client, id).await.transaction_state.as_str() == state).await;
}

async fn wait_until_committed(client: &mut Client, values: &[&str]) {
    let mut seen = Vec::new();
    let same = support::comes_true(support::PATIENCE, async || {
        seen = read_committed(client, "orders", 0).await.1;
        seen == values
    });
    assert!(same.await, "readers see {seen:?}, not {values:?}");
}

async fn start(dir: &std::path::Path) -> (TestBroker, Client) {
    let broker = TestBroker::start(dir, SETTINGS).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "orders", 2, &[]).await;
    (broker, client)
}

#[tokio::test]
async fn first_protocol_commits_and_aborts_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    let producer = init(&mut client, "t").await;
    let mut wanted = Vec::new();
    for (round, version) in (0..=ADD_V1).enumerate() {
        let value = format!("v{version}");
        assert_eq!(add(&mut client, &add_request("t", producer, "orders", &[0, 1]), version).await, [NONE, NONE]);
        let batch = transactional(producer.id, producer.epoch, round as i32, &[&value]);
        let produced = produce_with_version(&mut client, PRODUCE_V1, "t", "orders", 0, batch).await;
        assert_eq!(produced.error_code, NONE, "{produced:?}");
        let commit = version % 2 == 0;
        assert_eq!(end(&mut client, "t", producer, commit, version.min(END_V1)).await.error_code, NONE);
        if commit {
            wanted.push(value);
        }
        wait_until_state(&mut client, "t", if commit { "CompleteCommit" } else { "CompleteAbort" }).await;
    }
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    wait_until_committed(&mut client, &wanted).await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn second_protocol_adds_by_producing_and_goes_on_with_the_next_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    let mut producer = init(&mut client, "t").await;
    for value in ["a", "b", "c"] {
        assert_eq!(write_v2(&mut client, "t", producer, 0, value).await, NONE);
        let ended = end(&mut client, "t", producer, value != "b", END_V2).await;
        assert_eq!(
            (ended.error_code, ended.producer_id.0, ended.producer_epoch),
            (NONE, producer.id, producer.epoch + 1)
        );
        let repeated = end(&mut client, "t", producer, value != "b", END_V2).await;
        assert_eq!((repeated.error_code, repeated.producer_epoch), (NONE, producer.epoch + 1));
        producer.epoch = ended.producer_epoch;
    }
    wait_until_committed(&mut client, &["a", "c"]).await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn new_producer_fences_the_old_one_and_aborts_what_it_left() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    let old = init(&mut client, "t").await;
    assert_eq!(add(&mut client, &add_request("t", old, "orders", &[0]), ADD_V1).await, [NONE]);
    let batch = transactional(old.id, old.epoch, 0, &["lost"]);
    assert_eq!(produce_with_version(&mut client, PRODUCE_V1, "t", "orders", 0, batch).await.error_code, NONE);

    let new = init(&mut client, "t").await;
    assert!(new.id == old.id && new.epoch > old.epoch, "{old:?} {new:?}");
    assert_eq!(end(&mut client, "t", old, true, 1).await.error_code, ErrorCode::InvalidProducerEpoch as i16);
    assert_eq!(end(&mut client, "t", old, true, END_V1).await.error_code, ErrorCode::ProducerFenced as i16);
    let fenced = add(&mut client, &add_request("t", old, "orders", &[0]), ADD_V1).await;
    assert_eq!(fenced, [ErrorCode::ProducerFenced as i16]);
    let late = transactional(old.id, old.epoch, 1, &["late"]);
    let late = produce_with_version(&mut client, PRODUCE_V1, "t", "orders", 0, late).await;
    assert_eq!(late.error_code, ErrorCode::InvalidProducerEpoch as i16);
    wait_until("the lost record is aborted", async || read_committed(&mut client, "orders", 0).await == (2, vec![]))
        .await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn transaction_that_takes_too_long_is_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    let producer = init_with(&mut client, init_request("t", 100), "t").await;
    assert_eq!(write_v2(&mut client, "t", producer, 0, "late").await, NONE);
    wait_until_state(&mut client, "t", "CompleteAbort").await;
    let late = end(&mut client, "t", producer, true, END_V2).await.error_code;
    let refused = [ErrorCode::ProducerFenced as i16, ErrorCode::InvalidTxnState as i16];
    assert!(refused.contains(&late), "{late}");
    wait_until("the record is aborted", async || read_committed(&mut client, "orders", 0).await == (2, vec![])).await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn partitions_are_added_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    let producer = init(&mut client, "t").await;
    let codes = add(&mut client, &add_request("t", producer, "orders", &[0, 7]), ADD_V1).await;
    assert_eq!(codes, [ErrorCode::OperationNotAttempted as i16, ErrorCode::UnknownTopicOrPartition as i16]);
    let codes = add(&mut client, &add_request("t", producer, "__consumer_offsets", &[0]), ADD_V1).await;
    assert_eq!(codes, [ErrorCode::TopicAuthorizationFailed as i16]);
    assert_eq!(describe(&mut client, "t").await.transaction_state.as_str(), "Empty");
    let stranger = Producer { id: producer.id + 1, epoch: 0 };
    let codes = add(&mut client, &add_request("t", stranger, "orders", &[0]), ADD_V1).await;
    assert_eq!(codes, [ErrorCode::InvalidProducerIdMapping as i16]);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn broker_looks_up_what_belongs_to_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    let producer = init(&mut client, "t").await;
    assert_eq!(add(&mut client, &add_request("t", producer, "orders", &[0]), ADD_V1).await, [NONE]);
    let look_up = |id: &str| {
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(transactional_id(id))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_verify_only(true)
            .with_topics(add_topics("orders", &[0, 1]))
    };
    let request = AddPartitionsToTxnRequest::default().with_transactions(vec![look_up("t"), look_up("nobody")]);
    for version in 4..=5 {
        let answer = client.call(request.clone(), version).await;
        let of = |transaction: usize| -> Vec<i16> {
            let results = answer.results_by_transaction[transaction].topic_results.iter();
            results.flat_map(|topic| &topic.results_by_partition).map(|result| result.partition_error_code).collect()
        };
        assert_eq!(of(0), [NONE, ErrorCode::TransactionAbortable as i16]);
        let unknown = ErrorCode::InvalidProducerIdMapping as i16;
        let elsewhere = of(1);
        assert!(elsewhere == [unknown, unknown], "{elsewhere:?}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn offsets_partition_of_a_group_joins_the_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    let producer = init(&mut client, "t").await;
    for version in 0..=4 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(transactional_id("t"))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_group_id(GroupId(text("g")));
        wait_until("the group's partition is added", async || {
            let code = client.call(request.clone(), version).await.error_code;
            assert!(code == NONE || passes(code), "{code}");
            code == NONE
        })
        .await;
    }
    let described = describe(&mut client, "t").await;
    assert_eq!(described.transaction_state.as_str(), "Ongoing");
    assert_eq!(described.topics[0].topic.as_str(), "__consumer_offsets");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn administrators_find_transactions_by_state_producer_duration_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    let first = init(&mut client, "pay-1").await;
    init(&mut client, "pay-2").await;
    init(&mut client, "ship-1").await;
    assert_eq!(add(&mut client, &add_request("pay-1", first, "orders", &[1]), ADD_V1).await, [NONE]);

    let described = describe(&mut client, "pay-1").await;
    assert_eq!((described.error_code, described.transaction_state.as_str()), (NONE, "Ongoing"));
    assert_eq!((described.producer_id.0, described.producer_epoch), (first.id, first.epoch));
    assert_eq!((described.transaction_timeout_ms, described.topics[0].partitions.as_slice()), (60_000, &[1][..]));
    assert!(described.transaction_start_time_ms > 0);
    assert_eq!(describe(&mut client, "nobody").await.error_code, ErrorCode::TransactionalIdNotFound as i16);
    assert_eq!(describe(&mut client, "").await.error_code, ErrorCode::InvalidRequest as i16);

    let mut list = async |request: ListTransactionsRequest, version: i16| {
        let answer = client.call(request, version).await;
        assert_eq!(answer.error_code, NONE);
        let mut ids: Vec<String> =
            answer.transaction_states.iter().map(|found| found.transactional_id.to_string()).collect();
        ids.sort();
        (ids, answer.unknown_state_filters.len())
    };
    let all = ListTransactionsRequest::default();
    for version in 0..=2 {
        assert_eq!(list(all.clone(), version).await.0, ["pay-1", "pay-2", "ship-1"]);
    }
    let ongoing = all.clone().with_state_filters(vec![text("Ongoing"), text("Odd")]);
    assert_eq!(list(ongoing, 0).await, (vec!["pay-1".to_owned()], 1));
    assert_eq!(list(all.clone().with_state_filters(vec![text("Odd")]), 0).await, (vec![], 1));
    let of_first = all.clone().with_producer_id_filters(vec![ProducerId(first.id)]);
    assert_eq!(list(of_first, 0).await.0, ["pay-1"]);
    let long = all.clone().with_state_filters(vec![text("Ongoing")]).with_duration_filter(3_600_000);
    assert!(list(long, 1).await.0.is_empty());
    let pays = all.clone().with_transactional_id_pattern(Some(text("pay-.*")));
    assert_eq!(list(pays, 2).await.0, ["pay-1", "pay-2"]);
    let broken = all.with_transactional_id_pattern(Some(text("pay-(")));
    let broken = client.call(broken, 2).await.error_code;
    assert_eq!(broken, ErrorCode::InvalidRegularExpression as i16);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn restart_keeps_open_transactions_and_finishes_decided_ones() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let broker = TestBroker::start_node(dir.path(), 1, port, port, SETTINGS).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "orders", 2, &[]).await;
    let producer = init(&mut client, "t").await;
    assert_eq!(write_v2(&mut client, "t", producer, 0, "kept").await, NONE);
    broker.stop().await.unwrap();

    let broker = TestBroker::start_node(dir.path(), 1, port, port, SETTINGS).await;
    let mut client = broker.client().await;
    wait_until_state(&mut client, "t", "Ongoing").await;
    assert_eq!(end(&mut client, "t", producer, true, END_V2).await.error_code, NONE);
    broker.stop().await.unwrap();

    let broker = TestBroker::start_node(dir.path(), 1, port, port, SETTINGS).await;
    let mut client = broker.client().await;
    wait_until_state(&mut client, "t", "CompleteCommit").await;
    wait_until_committed(&mut client, &["kept"]).await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_as_in_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path()).await;
    find_coordinator(&mut client, "t").await;
    let mut refused = async |request: InitProducerIdRequest| {
        let mut answer = client.call(request.clone(), INIT_V1).await;
        wait_until("the coordinator has loaded", async || {
            if passes(answer.error_code) {
                answer = client.call(request.clone(), INIT_V1).await;
            }
            !passes(answer.error_code)
        })
        .await;
        assert_eq!((answer.producer_id.0, answer.producer_epoch), (-1, -1));
        ErrorCode::from_code(answer.error_code).unwrap()
    };
    assert_eq!(refused(init_request("", 60_000)).await, ErrorCode::InvalidRequest);
    assert_eq!(refused(init_request("t", 0)).await, ErrorCode::InvalidTransactionTimeout);
    assert_eq!(refused(init_request("t", 900_001)).await, ErrorCode::InvalidTransactionTimeout);
    assert_eq!(refused(init_request("t", 60_000).with_producer_epoch(3)).await, ErrorCode::InvalidRequest);
    let nobody = Producer { id: 5, epoch: 0 };
    let ended = end(&mut client, "t", nobody, true, END_V1).await;
    assert_eq!(ended.error_code, ErrorCode::InvalidProducerIdMapping as i16);
    broker.stop().await.unwrap();
}
