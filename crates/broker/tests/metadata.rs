//! What clients learn about the cluster: Metadata, DescribeCluster, DescribeTopicPartitions.

mod support;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeClusterRequest, DescribeTopicPartitionsRequest, MetadataRequest, MetadataResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use support::{Client, TestBroker};

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn by_name(text: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(name(text)))
}

async fn create(client: &mut Client, topics: &[(&str, i32)]) {
    let topics = topics.iter().map(|(topic, partitions)| {
        CreatableTopic::default().with_name(name(topic)).with_num_partitions(*partitions).with_replication_factor(1)
    });
    let request = CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(10_000);
    let answer = client.call(request, 7).await;
    assert!(answer.topics.iter().all(|topic| topic.error_code == 0), "{answer:?}");
}

async fn ask(client: &mut Client, version: i16, topics: Option<Vec<MetadataRequestTopic>>) -> MetadataResponse {
    let request = MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(version < 4);
    client.call(request, version).await
}

fn names(answer: &MetadataResponse) -> Vec<&str> {
    answer.topics.iter().map(|topic| topic.name.as_ref().map_or("", |name| name.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_topics_are_null_and_in_v0_an_empty_list() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create(&mut client, &[("b", 2), ("a", 1)]).await;
    assert_eq!(names(&ask(&mut client, 0, Some(vec![])).await), ["a", "b"]);
    for version in 1..=13 {
        let all = ask(&mut client, version, None).await;
        assert_eq!(names(&all), ["a", "b"], "v{version}");
        assert_eq!(all.topics[1].partitions.len(), 2);
        assert!(all.topics[1].partitions.iter().all(|p| p.leader_id.0 == 1 && p.error_code == 0));
        assert_eq!(all.controller_id.0, 1);
        assert_eq!(all.brokers[0].port, i32::from(broker.port));
        assert_eq!(all.brokers[0].host.as_str(), "127.0.0.1");
        assert!(ask(&mut client, version, Some(vec![])).await.topics.is_empty(), "v{version}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_topic_comes_into_being_when_client_and_broker_allow_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("num.partitions", "3")]).await;
    let mut client = broker.client().await;
    let forbidden =
        MetadataRequest::default().with_topics(Some(vec![by_name("wanted")])).with_allow_auto_topic_creation(false);
    assert_eq!(client.call(forbidden.clone(), 9).await.topics[0].error_code, 3);
    let allowed = forbidden.with_allow_auto_topic_creation(true);
    let created = client.call(allowed.clone(), 9).await;
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    assert_eq!(created.topics[0].partitions.len(), 3);
    assert!(created.topics[0].partitions.iter().all(|partition| partition.leader_id.0 == 1));
    let mixed = allowed.with_topics(Some(vec![by_name("bad name"), by_name("another")]));
    let mixed = client.call(mixed, 9).await;
    assert_eq!((mixed.topics[0].error_code, mixed.topics[1].error_code), (17, 0));
    broker.stop().await.unwrap();

    let broker = TestBroker::start(dir.path(), &[("auto.create.topics.enable", "false")]).await;
    let mut client = broker.client().await;
    let refused =
        MetadataRequest::default().with_topics(Some(vec![by_name("third")])).with_allow_auto_topic_creation(true);
    assert_eq!(client.call(refused, 9).await.topics[0].error_code, 3);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_found_by_their_id() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create(&mut client, &[("a", 1)]).await;
    let id = ask(&mut client, 10, Some(vec![by_name("a")])).await.topics[0].topic_id;
    assert!(!id.is_nil());
    let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let found = ask(&mut client, 12, Some(vec![by_id(id)])).await;
    assert_eq!(names(&found), ["a"]);
    let unknown = ask(&mut client, 12, Some(vec![by_id(uuid::Uuid::from_u128(1))])).await;
    let MetadataResponseTopic { error_code, name, .. } = &unknown.topics[0];
    assert_eq!((*error_code, name), (100, &None));
    let neither = ask(&mut client, 13, Some(vec![by_id(uuid::Uuid::nil())])).await;
    assert_eq!(neither.error_code, 42);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn authorized_operations_are_told_to_who_asks() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create(&mut client, &[("a", 1)]).await;
    let request = MetadataRequest::default().with_topics(Some(vec![by_name("a")]));
    let silent = client.call(request.clone(), 8).await;
    assert_eq!(
        (silent.cluster_authorized_operations, silent.topics[0].topic_authorized_operations),
        (i32::MIN, i32::MIN)
    );
    let asked = request.with_include_cluster_authorized_operations(true).with_include_topic_authorized_operations(true);
    let told = client.call(asked, 8).await;
    // READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS
    assert_eq!(told.topics[0].topic_authorized_operations, 0b1101_1111_1000);
    // CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE
    assert_eq!(told.cluster_authorized_operations, 0b1_1111_1010_0000);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_has_the_id_that_it_was_given_and_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let id = "q1Sh-9_ISia_zwGINzRvyQ";
    let broker = TestBroker::start(dir.path(), &[("twinstream.cluster.id", id), ("broker.rack", "r1")]).await;
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    for version in 0..=2 {
        let answer = broker.client().await.call(request.clone(), version).await;
        assert_eq!(answer.cluster_id.as_str(), id);
        assert_eq!(answer.brokers.len(), 1);
        assert_eq!(answer.brokers[0].rack.as_ref().map(|rack| rack.as_str()), Some("r1"));
    }
    let controllers = broker.client().await.call(request.clone().with_endpoint_type(2), 1).await;
    assert_eq!(controllers.error_code, 114);
    let unknown = broker.client().await.call(request.clone().with_endpoint_type(9), 1).await;
    assert_eq!(unknown.error_code, 115);
    broker.stop().await.unwrap();

    let again = TestBroker::start(dir.path(), &[]).await;
    assert_eq!(again.client().await.call(request, 1).await.cluster_id.as_str(), id);
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_partitions_come_in_pages_with_a_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create(&mut client, &[("a", 2), ("b", 3), ("c", 1)]).await;
    let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(2);
    let mut pages: Vec<Vec<(String, Vec<i32>)>> = Vec::new();
    loop {
        let page = client.call(request.clone(), 0).await;
        let topics = page.topics.iter().map(|topic| {
            assert_eq!(topic.error_code, 0);
            let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            (topic.name.as_ref().unwrap().to_string(), partitions)
        });
        pages.push(topics.collect());
        let Some(next) = page.next_cursor else { break };
        let cursor = Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
        request.cursor = Some(cursor);
    }
    let expected = [
        vec![("a".to_owned(), vec![0, 1])],
        vec![("b".to_owned(), vec![0, 1])],
        vec![("b".to_owned(), vec![2]), ("c".to_owned(), vec![0])],
    ];
    assert_eq!(pages, expected);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_topics_are_described_only_when_they_were_named() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    let named = |topic: &str| TopicRequest::default().with_name(name(topic));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![named("nowhere"), named("not/legal")])
        .with_response_partition_limit(10);
    let answer = client.call(request.clone(), 0).await;
    assert_eq!(answer.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [17, 3]);
    assert!(client.call(request.clone().with_topics(vec![]), 0).await.topics.is_empty());
    // No partition at all is no page; one is, as in Kafka.
    let shortest = client.call(request.with_response_partition_limit(0), 0).await;
    assert_eq!(shortest.topics.first().map(|topic| topic.error_code), Some(17));
    broker.stop().await.unwrap();
}
