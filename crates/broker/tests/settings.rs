//! Settings whose effect no other test shows: each is given another value than its default, and the broker is asked.

mod support;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeConfigsRequest, DescribeTopicPartitionsRequest, GroupId, JoinGroupRequest,
    JoinGroupResponse, MetadataRequest, OffsetCommitRequest,
};
use support::records::{create_topic, fetch_request, produce_request, text, topic_name, values};
use support::replicas::Trio;
use support::{Client, TestBroker, free_port, wait_until};

const NONE: i16 = 0;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const MEMBER_ID_REQUIRED: i16 = 79;
const GROUP_MAX_SIZE_REACHED: i16 = 81;
const TOPIC: i8 = 2;

async fn join(client: &mut Client, member: &str, session_ms: i32) -> JoinGroupResponse {
    let range = JoinGroupRequestProtocol::default().with_name(text("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(text("readers")))
        .with_session_timeout_ms(session_ms)
        .with_rebalance_timeout_ms(20_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![range]);
    client.call(request, 5).await
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_their_offsets_keep_to_the_bounds_of_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("group.max.size", "1"),
        ("group.min.session.timeout.ms", "1000"),
        ("group.max.session.timeout.ms", "60000"),
        ("offset.metadata.max.bytes", "3"),
        ("offsets.topic.segment.bytes", "2097152"),
        ("offsets.topic.num.partitions", "3"),
    ];
    let broker = TestBroker::start(dir.path(), &settings).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "orders", 1, &[]).await;
    let find = kafka_protocol::messages::FindCoordinatorRequest::default()
        .with_key_type(0)
        .with_coordinator_keys(vec![text("readers")]);
    wait_until("the group has a coordinator that has loaded", async || {
        client.call(find.clone(), 6).await.coordinators[0].error_code == NONE
            && !(14..=16).contains(&join(&mut client, "", 999).await.error_code)
    })
    .await;

    assert_eq!(join(&mut client, "", 999).await.error_code, INVALID_SESSION_TIMEOUT);
    assert_eq!(join(&mut client, "", 60_001).await.error_code, INVALID_SESSION_TIMEOUT);
    let named = join(&mut client, "", 60_000).await;
    assert_eq!(named.error_code, MEMBER_ID_REQUIRED);
    let joined = join(&mut client, named.member_id.as_str(), 60_000).await;
    assert_eq!(joined.error_code, NONE);
    assert_eq!(join(&mut client, "", 60_000).await.error_code, GROUP_MAX_SIZE_REACHED);

    let commit = |metadata: &str| {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(1)
            .with_committed_metadata(Some(text(metadata)));
        let orders = OffsetCommitRequestTopic::default().with_name(topic_name("orders"));
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text("alone")))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![orders.with_partitions(vec![partition])])
    };
    let code = async |client: &mut Client, metadata: &str| {
        client.call(commit(metadata), 8).await.topics[0].partitions[0].error_code
    };
    wait_until("a commit is taken", async || code(&mut client, "abc").await == NONE).await;
    assert_eq!(code(&mut client, "abcd").await, OFFSET_METADATA_TOO_LARGE);

    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("__consumer_offsets"))
        .with_configuration_keys(Some(vec![text("segment.bytes")]));
    let described = client.call(DescribeConfigsRequest::default().with_resources(vec![resource]), 4).await;
    assert_eq!(described.results[0].configs[0].value.as_ref().map(|value| value.as_str()), Some("2097152"));
    let metadata = client.call(MetadataRequest::default().with_topics(None), 12).await;
    let offsets = metadata.topics.iter().find(|topic| topic.name == Some(topic_name("__consumer_offsets")));
    assert_eq!(offsets.map(|topic| topic.partitions.len()), Some(3));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_keep_to_the_bounds_of_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("fetch.max.bytes", "1024"),
        ("max.incremental.fetch.session.cache.slots", "0"),
        ("max.request.partition.size.limit", "2"),
    ];
    let broker = TestBroker::start(dir.path(), &settings).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "wide", 5, &[]).await;
    for _ in 0..4 {
        let large = "x".repeat(400);
        client.call(produce_request("wide", 0, -1, values(&[&large])), 9).await;
    }
    let session = fetch_request("wide", 0, 0).with_session_epoch(0);
    let fetched = client.call(session, 11).await;
    let partition = &fetched.responses[0].partitions[0];
    let bytes = partition.records.as_ref().map_or(0, |records| records.len());
    assert!((400..=1024).contains(&bytes), "{bytes} bytes");
    assert_eq!(fetched.session_id, 0, "there is no room for a session");

    let wide = TopicRequest::default().with_name(topic_name("wide"));
    let request = DescribeTopicPartitionsRequest::default().with_topics(vec![wide]).with_response_partition_limit(100);
    let page = client.call(request, 0).await;
    assert_eq!(page.topics[0].partitions.len(), 2);
    assert_eq!(page.next_cursor.map(|cursor| cursor.partition_index), Some(2));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_the_advertised_address_and_the_rack() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let advertised = format!("PLAINTEXT://localhost:{port}");
    let settings = [("advertised.listeners", advertised.as_str()), ("broker.rack", "here")];
    let broker = TestBroker::start_node(dir.path(), 1, port, port, &settings).await;
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    let answer = broker.client().await.call(request, 1).await;
    let told = &answer.brokers[0];
    assert_eq!((told.host.as_str(), told.port), ("localhost", i32::from(port)));
    assert_eq!(told.rack.as_ref().map(|rack| rack.as_str()), Some("here"));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_get_the_replicas_that_the_broker_says() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let settings = [("default.replication.factor", "2"), ("num.partitions", "2")];
    let first = TestBroker::start_node(dir.path(), 1, port, port, &settings).await;
    let second = TestBroker::start_node(dir.path(), 2, free_port(), port, &settings).await;
    let mut client = first.client().await;
    let topic = kafka_protocol::messages::create_topics_request::CreatableTopic::default()
        .with_name(topic_name("copied"))
        .with_num_partitions(-1)
        .with_replication_factor(-1);
    let request = kafka_protocol::messages::CreateTopicsRequest::default().with_topics(vec![topic]);
    let made = client.call(request.with_timeout_ms(10_000), 7).await;
    let made = &made.topics[0];
    assert_eq!((made.error_code, made.num_partitions, made.replication_factor), (NONE, 2, 2));
    drop((first, second));
}

/// Two nodes, of which the first has the vote, and a topic with one partition in each of the second's two directories.
async fn two_directories(dir: &std::path::Path, settings: &[(&str, &str)]) -> (TestBroker, TestBroker, Vec<String>) {
    let dirs: Vec<String> = ["a", "b"].map(|name| dir.join(name).display().to_string()).to_vec();
    let (port, joined) = (free_port(), dirs.join(","));
    let first = TestBroker::start_node(dir, 1, port, port, settings).await;
    let more: Vec<(&str, &str)> = settings.iter().copied().chain([("log.dirs", joined.as_str())]).collect();
    let second = TestBroker::start_node(dir, 2, free_port(), port, &more).await;
    let mut client = first.client().await;
    let assignment = |index: i32| {
        kafka_protocol::messages::create_topics_request::CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(vec![kafka_protocol::messages::BrokerId(2)])
    };
    let topic = kafka_protocol::messages::create_topics_request::CreatableTopic::default()
        .with_name(topic_name("t"))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments((0..2).map(assignment).collect());
    let request = kafka_protocol::messages::CreateTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(client.call(request.with_timeout_ms(10_000), 7).await.topics[0].error_code, NONE);
    for dir in &dirs {
        let holds = || (0..2).any(|partition| std::path::Path::new(dir).join(format!("t-{partition}")).exists());
        wait_until("each directory has a partition", async || holds()).await;
    }
    (first, second, dirs)
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_cannot_tell_of_a_failed_directory_stops_in_time() {
    let dir = tempfile::tempdir().unwrap();
    // Kafka's 30 s would be longer than the test waits.
    let (first, second, dirs) = two_directories(dir.path(), &[("log.dir.failure.timeout.ms", "500")]).await;
    drop(first);
    std::fs::rename(&dirs[1], dir.path().join("elsewhere")).unwrap();
    std::fs::create_dir(&dirs[1]).unwrap();
    assert!(second.outcome().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_go_home_as_often_as_the_broker_says() {
    // Kafka's 300 s would be longer than the test waits.
    let mut trio = Trio::start(&[("leader.imbalance.check.interval.seconds", "1")]).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    trio.node(2).kill();
    wait_until("another broker leads", async || trio.states("t").await[0].leader == 3).await;
    trio.restart(2).await;
    wait_until("the preferred leader leads again", async || trio.states("t").await[0].leader == 2).await;
}
