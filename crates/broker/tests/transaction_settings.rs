//! Settings of transactions and producers that no other test shows: each is given another value than its default.

mod support;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeTransactionsRequest, FindCoordinatorRequest, InitProducerIdRequest,
    MetadataRequest, ProducerId, TransactionalId,
};
use support::records::{create_topic, idempotent, produce, text, topic_name};
use support::transactions::describe_producers;
use support::{Client, TestBroker, wait_until};
use twinstream_model::ErrorCode;

const NONE: i16 = 0;
const TOPIC: i8 = 2;
const STATE: &str = "__transaction_state";

async fn init(client: &mut Client, id: &str) {
    let find = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text(id)]);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(id))))
        .with_transaction_timeout_ms(10_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    wait_until("the producer is initialized", async || {
        client.call(find.clone(), 6).await.coordinators[0].error_code == NONE
            && client.call(request.clone(), 4).await.error_code == NONE
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_of_transactions_is_made_as_the_broker_says_and_forgets_ids_when_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("transaction.state.log.num.partitions", "3"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "3"), // a topic has 1 by default, this one 2
        ("transactional.id.expiration.ms", "300"),
        ("transaction.remove.expired.transaction.cleanup.interval.ms", "50"),
    ];
    let broker = TestBroker::start(dir.path(), &settings).await;
    let mut client = broker.client().await;
    init(&mut client, "pay").await;
    let metadata = client.call(MetadataRequest::default().with_topics(None), 12).await;
    let state = metadata.topics.iter().find(|topic| topic.name == Some(topic_name(STATE))).unwrap();
    assert_eq!(state.partitions.len(), 3);
    assert!(state.partitions.iter().all(|partition| partition.replica_nodes.len() == 1));
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(STATE))
        .with_configuration_keys(Some(vec![text("min.insync.replicas")]));
    let described = client.call(DescribeConfigsRequest::default().with_resources(vec![resource]), 4).await;
    let told = described.results[0].configs[0].value.as_ref().map(|value| value.to_string());
    assert_eq!(told.as_deref(), Some("3"));
    let describe = DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text("pay"))]);
    wait_until("an id that nobody uses is forgotten", async || {
        let answer = client.call(describe.clone(), 0).await;
        answer.transaction_states[0].error_code == ErrorCode::TransactionalIdNotFound.code()
    })
    .await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn producer_that_is_silent_is_forgotten_when_the_broker_says() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("producer.id.expiration.ms", "300"), ("producer.id.expiration.check.interval.ms", "50")];
    let broker = TestBroker::start(dir.path(), &settings).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    assert_eq!(produce(&mut client, "t", 0, idempotent(7, 0, 0, 1)).await.error_code, NONE);
    wait_until("the producer is forgotten", async || {
        describe_producers(&mut client, "t", 0).await.active_producers.is_empty()
    })
    .await;
    broker.stop().await.unwrap();
}
