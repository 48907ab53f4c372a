//! Brokers that come, go, crash and are not who they say.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, MetadataRequest, TopicName,
    UnregisterBrokerRequest,
};
use kafka_protocol::protocol::StrBytes;
use support::process::BrokerProcess;
use support::{Client, TestBroker, free_port, wait_until};
use twinstream_metadata::{ConfigResource, Record, encode_batch};
use twinstream_model::NodeId;
use twinstream_quorum::{Outgoing, QuorumOptions, Transport, Undeliverable};

const LEADER_NOT_AVAILABLE: i16 = 5;
const RAFT_KEY: i16 = 30_000;
const REGISTER_KEY: i16 = 30_001;
/// The versions of all requests between nodes, by their keys.
const VERSIONS: [i16; 8] = [1, 2, 0, 0, 0, 1, 0, 0];

async fn create(client: &mut Client, topic: &str, partitions: i32) {
    create_replicated(client, topic, partitions, 1).await;
}

async fn create_replicated(client: &mut Client, topic: &str, partitions: i32, replicas: i16) {
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas);
    let answer = client.call(CreateTopicsRequest::default().with_topics(vec![topic]), 7).await;
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
}

/// Leader and error by partition.
async fn leaders(client: &mut Client, topic: &str) -> BTreeMap<i32, (i32, i16)> {
    let topic = TopicName(StrBytes::from_string(topic.to_owned()));
    let asked = MetadataRequestTopic::default().with_name(Some(topic));
    let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    let answer = client.call(request, 9).await;
    let partitions = answer.topics[0].partitions.iter();
    partitions.map(|partition| (partition.partition_index, (partition.leader_id.0, partition.error_code))).collect()
}

async fn brokers(client: &mut Client) -> Vec<i32> {
    let answer = client.call(DescribeClusterRequest::default().with_endpoint_type(1), 1).await;
    let mut nodes: Vec<i32> = answer.brokers.iter().map(|broker| broker.broker_id.0).collect();
    nodes.sort_unstable();
    nodes
}

/// Also those that are fenced.
async fn registered(client: &mut Client) -> Vec<i32> {
    let request = DescribeClusterRequest::default().with_endpoint_type(1).with_include_fenced_brokers(true);
    let mut nodes: Vec<i32> = client.call(request, 2).await.brokers.iter().map(|broker| broker.broker_id.0).collect();
    nodes.sort_unstable();
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_cluster_id_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    create(&mut broker.client().await, "kept", 3).await;
    let id = |client: Client| async move {
        let mut client = client;
        client.call(DescribeClusterRequest::default().with_endpoint_type(1), 1).await.cluster_id.to_string()
    };
    let before = id(broker.client().await).await;
    assert_eq!(before.len(), 22, "{before}");
    broker.stop().await.unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    assert_eq!(id(broker.client().await).await, before);
    let leaders = leaders(&mut broker.client().await, "kept").await;
    assert_eq!(leaders, BTreeMap::from([(0, (1, 0)), (1, (1, 0)), (2, (1, 0))]));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_hands_over_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let voter_port = free_port();
    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &[]).await;
    let second_port = free_port();
    let second = TestBroker::start_node(dir.path(), 2, second_port, voter_port, &[]).await;
    let mut client = first.client().await;
    assert_eq!(brokers(&mut client).await, [1, 2]);
    create(&mut client, "shared", 2).await;
    let whole = BTreeMap::from([(0, (1, 0)), (1, (2, 0))]);
    assert_eq!(leaders(&mut client, "shared").await, whole);
    second.stop().await.unwrap();
    assert_eq!(leaders(&mut client, "shared").await[&1], (-1, LEADER_NOT_AVAILABLE));
    assert_eq!(brokers(&mut client).await, [1]);
    let second = TestBroker::start_node(dir.path(), 2, second_port, voter_port, &[]).await;
    wait_until("the second broker leads again", async || leaders(&mut client, "shared").await == whole).await;
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_leaves_no_partition_without_a_leader() {
    let dir = tempfile::tempdir().unwrap();
    let voter_port = free_port();
    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &[]).await;
    let second = TestBroker::start_node(dir.path(), 2, free_port(), voter_port, &[]).await;
    let mut client = first.client().await;
    create_replicated(&mut client, "shared", 6, 2).await;
    let led = leaders(&mut client, "shared").await;
    assert_eq!(led.values().filter(|leader| **leader == (2, 0)).count(), 3, "{led:?}");
    let stopping = tokio::spawn(second.stop());
    while !stopping.is_finished() {
        let led = leaders(&mut client, "shared").await;
        assert!(led.values().all(|(leader, error)| *leader > 0 && *error == 0), "{led:?}");
    }
    stopping.await.unwrap().unwrap();
    assert!(leaders(&mut client, "shared").await.values().all(|leader| *leader == (1, 0)));
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_left_for_good_is_unregistered() {
    let dir = tempfile::tempdir().unwrap();
    let voter_port = free_port();
    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &[]).await;
    let second = TestBroker::start_node(dir.path(), 2, free_port(), voter_port, &[]).await;
    let mut client = first.client().await;
    let unregister = |node: i32| UnregisterBrokerRequest::default().with_broker_id(node.into());
    let serving = client.call(unregister(2), 0).await.error_message.unwrap_or_default();
    assert!(serving.contains("broker 2 serves clients; stop it"), "{serving}");
    let voter = client.call(unregister(1), 0).await.error_message.unwrap_or_default();
    assert!(voter.contains("node 1 votes in the metadata quorum; remove it there first"), "{voter}");
    second.stop().await.unwrap();
    assert_eq!(registered(&mut client).await, [1, 2], "it is known and fenced");
    assert_eq!(client.call(unregister(2), 0).await.error_code, 0);
    assert_eq!(registered(&mut client).await, [1]);
    let unknown = client.call(unregister(2), 0).await.error_message.unwrap_or_default();
    assert!(unknown.contains("node 2 is not registered"), "{unknown}");
    // Somebody changed his mind.
    let second = TestBroker::start_node(dir.path(), 2, free_port(), voter_port, &[]).await;
    assert_eq!(brokers(&mut client).await, [1, 2]);
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_its_disk_may_come_back_empty() {
    let dir = tempfile::tempdir().unwrap();
    let voter_port = free_port();
    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &[]).await;
    let second = TestBroker::start_node(dir.path(), 2, free_port(), voter_port, &[]).await;
    create(&mut first.client().await, "shared", 2).await;
    second.stop().await.unwrap();
    std::fs::remove_dir_all(dir.path().join("2")).unwrap();
    let second = TestBroker::start_node(dir.path(), 2, free_port(), voter_port, &[]).await;
    let mut client = second.client().await;
    wait_until("it knows the topic again", async || leaders(&mut client, "shared").await.len() == 2).await;
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_waits_for_its_controller() {
    let dir = tempfile::tempdir().unwrap();
    let voter_port = free_port();
    let second = TestBroker::launch(dir.path(), 2, free_port(), voter_port, &[]);
    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &[]).await;
    let mut client = first.client().await;
    wait_until("both are there", async || brokers(&mut client).await == [1, 2]).await;
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_node_id_ends_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let voter_port = free_port();
    let quick = [("broker.session.timeout.ms", "1000"), ("broker.heartbeat.interval.ms", "200")];
    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &quick).await;
    let second = TestBroker::start_node(dir.path(), 2, free_port(), voter_port, &quick).await;
    let namesake = TestBroker::launch(elsewhere.path(), 2, free_port(), voter_port, &quick);
    let error = namesake.outcome().await.expect_err("the node id is taken").to_string();
    assert!(error.contains("node 2 is in use by another broker process"), "{error}");
    assert_eq!(brokers(&mut first.client().await).await, [1, 2], "the first holder is undisturbed");
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_another_cluster_ends_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (port, other_port) = (free_port(), free_port());
    let first = TestBroker::start_node(dir.path(), 1, port, port, &[]).await;
    let other_first = TestBroker::start_node(elsewhere.path(), 1, other_port, other_port, &[]).await;
    let second = TestBroker::start_node(dir.path(), 2, free_port(), port, &[]).await;
    second.stop().await.unwrap();
    let strayed = TestBroker::launch(dir.path(), 2, free_port(), other_port, &[]);
    let error = strayed.outcome().await.expect_err("another cluster").to_string();
    assert!(error.contains("node 2 holds data of cluster"), "{error}");
    other_first.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_between_nodes_are_refused_from_strangers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut stranger = broker.client().await;
    // No cluster id, from node 7 to node 1, and then bytes that are no Raft messages.
    let envelope = [&[0][..], &7i32.to_be_bytes(), &1i32.to_be_bytes(), &[0xff; 8]].concat();
    for body in [&envelope[..], &[0xff; 40], &[0; 0]] {
        for (key, version) in (RAFT_KEY..).zip(VERSIONS) {
            // The client writes the header of an unknown key without the empty list of tagged fields.
            stranger.send_body(key, version, &[&[0], body].concat()).await;
            let answer = stranger.answer_body(1).await.expect("a refusal");
            assert_ne!(answer[..2], [0, 0], "key {key} with {body:?}");
        }
    }
    assert_eq!(brokers(&mut broker.client().await).await, [1]);
    stranger.send_body(REGISTER_KEY, VERSIONS[1] + 1, &envelope).await;
    assert!(stranger.is_closed().await, "an unknown version closes the connection");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_no_timer() {
    let dir = tempfile::tempdir().unwrap();
    // Each is far longer than the patience of a test, so a start that waits for one of them is not seen to end.
    let timers = [
        ("controller.quorum.election.timeout.ms", "600000"),
        ("controller.quorum.fetch.timeout.ms", "600000"),
        ("broker.heartbeat.interval.ms", "600000"),
        ("broker.session.timeout.ms", "1200000"),
    ];
    let broker = TestBroker::start(dir.path(), &timers).await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_broker_is_noticed_at_once_and_let_in_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let voter_port = free_port();
    // A session so long that only the broken connection can tell.
    let slow = [("broker.session.timeout.ms", "60000")];
    let mut first = BrokerProcess::start(dir.path(), 1, voter_port, voter_port, &slow).await;
    let second_port = free_port();
    let mut second = BrokerProcess::start(dir.path(), 2, second_port, voter_port, &slow).await;
    let mut client = first.client().await;
    create(&mut client, "shared", 2).await;
    let whole = BTreeMap::from([(0, (1, 0)), (1, (2, 0))]);
    assert_eq!(leaders(&mut client, "shared").await, whole);

    second.kill();
    let gone = BTreeMap::from([(0, (1, 0)), (1, (-1, LEADER_NOT_AVAILABLE))]);
    wait_until("the crash is noticed", async || leaders(&mut client, "shared").await == gone).await;
    let mut second = BrokerProcess::start(dir.path(), 2, second_port, voter_port, &slow).await;
    wait_until("the second broker leads again", async || leaders(&mut client, "shared").await == whole).await;

    // The whole cluster crashes, and nobody waits for the sessions of the dead.
    first.kill();
    second.kill();
    let first = BrokerProcess::start(dir.path(), 1, voter_port, voter_port, &slow).await;
    let _second = BrokerProcess::start(dir.path(), 2, second_port, voter_port, &slow).await;
    let mut client = first.client().await;
    wait_until("both lead again", async || leaders(&mut client, "shared").await == whole).await;
}

const MIN_ISR: &str = "min.insync.replicas";

/// A quorum of one has nobody to talk to.
struct NoPeers;

impl Transport for NoPeers {
    fn send(&self, _: Outgoing) -> Result<(), Undeliverable> {
        Err(Undeliverable::NoAddress)
    }
}

/// Takes the cluster's default of `min.insync.replicas` out of the metadata, as an older release leaves it.
async fn become_older(dir_of_voter: &Path) {
    let options = QuorumOptions::new(NodeId(1), dir_of_voter.join("metadata-quorum"));
    let (quorum, mut events) = twinstream_quorum::start(options, Arc::new(NoPeers)).unwrap();
    let reading = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let gone = Record::Config { resource: ConfigResource::BrokerDefault, name: MIN_ISR.to_owned(), value: None };
    let batch = encode_batch(&[gone]);
    wait_until("the voter leads alone", async || match quorum.propose(batch.clone()) {
        Ok(proposal) => proposal.await.is_ok(),
        Err(_) => false,
    })
    .await;
    quorum.stop().await;
    reading.await.unwrap();
}

/// The cluster's default, if it has one.
async fn default_min_isr(client: &mut Client) -> Option<String> {
    const BROKER: i8 = 4;
    let resource = DescribeConfigsResource::default().with_resource_type(BROKER).with_configuration_keys(None);
    let described = client.call(DescribeConfigsRequest::default().with_resources(vec![resource]), 4).await;
    let config = described.results[0].configs.iter().find(|config| &*config.name == MIN_ISR)?;
    config.value.as_ref().map(ToString::to_string)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_an_older_release_keeps_the_most_that_any_broker_was_set_to_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let (voter_port, second_port) = (free_port(), free_port());
    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &[]).await;
    let second = TestBroker::start_node(dir.path(), 2, second_port, voter_port, &[]).await;
    assert_eq!(default_min_isr(&mut first.client().await).await.as_deref(), Some("1"));
    second.stop().await.unwrap();
    first.stop().await.unwrap();
    become_older(&dir.path().join("1")).await;

    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &[]).await;
    let mut client = first.client().await;
    create(&mut client, "later", 1).await;
    assert_eq!(default_min_isr(&mut client).await, None, "broker 2 may wait for more");
    let second = TestBroker::start_node(dir.path(), 2, second_port, voter_port, &[(MIN_ISR, "2")]).await;
    wait_until("the default is what broker 2 waits for", async || {
        default_min_isr(&mut client).await.as_deref() == Some("2")
    })
    .await;
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}
