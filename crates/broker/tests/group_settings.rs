//! Settings of consumer groups (KIP-848): each is given another value than its default, and a group is asked.

mod support;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    FindCoordinatorRequest, GroupId, JoinGroupRequest,
};
use std::time::Duration;
use support::records::{create_topic, text, topic_name};
use support::{Client, TestBroker, holds_for, wait_until};
use twinstream_model::ErrorCode;

const NONE: i16 = 0;
const NEWEST: i16 = 1;
const GROUP: &str = "readers";

fn code(code: ErrorCode) -> i16 {
    code.code()
}

fn is_passing(code: i16) -> bool {
    (14..=16).contains(&code)
}

fn heartbeat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    let joins = epoch == 0;
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(if joins { 60_000 } else { -1 })
        .with_subscribed_topic_names(joins.then(|| vec![topic_name("orders")]))
        .with_topic_partitions(joins.then(Vec::new))
}

fn partitions(answer: &ConsumerGroupHeartbeatResponse) -> usize {
    let topics = answer.assignment.iter().flat_map(|assignment| &assignment.topic_partitions);
    topics.map(|topic| topic.partitions.len()).sum()
}

/// A broker with these settings, whose group has a coordinator, and a topic with two partitions.
async fn start(dir: &std::path::Path, more: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = TestBroker::start(dir, more).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "orders", 2, &[]).await;
    let find = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![text(GROUP)]);
    wait_until("the group has a coordinator", async || {
        client.call(find.clone(), 6).await.coordinators[0].error_code == NONE
    })
    .await;
    (broker, client)
}

/// Sends a request until the coordinator has loaded.
async fn send(client: &mut Client, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    let mut answer = None;
    wait_until("the coordinator has loaded", async || {
        let found = client.call(request.clone(), NEWEST).await;
        let is_settled = !is_passing(found.error_code);
        answer = Some(found);
        is_settled
    })
    .await;
    answer.unwrap()
}

async fn members(client: &mut Client) -> usize {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(GROUP))]);
    client.call(request, NEWEST).await.groups[0].members.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_keep_the_interval_and_the_session_of_the_broker_and_use_its_assignors() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.session.timeout.ms", "1500"),
        ("group.consumer.min.heartbeat.interval.ms", "500"),
        ("group.consumer.heartbeat.interval.ms", "700"),
        ("group.consumer.assignors", "range"),
    ];
    let (broker, mut client) = start(dir.path(), &settings).await;
    let uniform = heartbeat("a", 0).with_server_assignor(Some(text("uniform")));
    assert_eq!(send(&mut client, uniform).await.error_code, code(ErrorCode::UnsupportedAssignor));
    let joined = send(&mut client, heartbeat("a", 0).with_server_assignor(Some(text("range")))).await;
    assert_eq!((joined.error_code, joined.heartbeat_interval_ms), (NONE, 700));
    assert_eq!(members(&mut client).await, 1);
    wait_until("who is silent is out", async || members(&mut client).await == 0).await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn assignments_are_made_no_more_often_than_the_interval_says() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path(), &[("group.consumer.assignment.interval.ms", "15000")]).await;
    let first = send(&mut client, heartbeat("a", 0)).await;
    assert_eq!((first.error_code, partitions(&first)), (NONE, 2));
    let second = send(&mut client, heartbeat("b", 0)).await;
    assert_eq!((second.error_code, partitions(&second)), (NONE, 0));
    // The default would have given it a partition within two seconds.
    let mut epochs = (first.member_epoch, second.member_epoch);
    let waits = holds_for(Duration::from_millis(2_500), async || {
        let a = client.call(heartbeat("a", epochs.0), NEWEST).await;
        let b = client.call(heartbeat("b", epochs.1), NEWEST).await;
        assert_eq!((a.error_code, b.error_code), (NONE, NONE));
        epochs = (a.member_epoch, b.member_epoch);
        partitions(&b) == 0
    });
    assert!(waits.await);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_change_their_protocol_only_as_the_policy_says() {
    let join = |member: &str| {
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_member_id(text(member))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![
                JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(SUBSCRIPTION.into()),
            ])
    };
    for (policy, expected) in [("disabled", code(ErrorCode::GroupIdNotFound)), ("bidirectional", NONE)] {
        let dir = tempfile::tempdir().unwrap();
        let (broker, mut client) = start(dir.path(), &[("group.consumer.migration.policy", policy)]).await;
        let mut named = None;
        wait_until("the coordinator has loaded", async || {
            let answer = client.call(join(""), 5).await;
            let is_settled = !is_passing(answer.error_code);
            named = Some(answer);
            is_settled
        })
        .await;
        let member = named.unwrap().member_id;
        let joined = client.call(join(member.as_str()), 5).await;
        assert_eq!(joined.error_code, NONE, "{joined:?}");
        let assignment = kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(member.clone())
            .with_assignment(ASSIGNMENT.into());
        let sync = kafka_protocol::messages::SyncGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id(joined.generation_id)
            .with_member_id(member)
            .with_assignments(vec![assignment]);
        assert_eq!(client.call(sync, 4).await.error_code, NONE);
        assert_eq!(send(&mut client, heartbeat("b", 0)).await.error_code, expected, "{policy}");
        broker.stop().await.unwrap();
    }
}

/// Version 0 of a consumer's subscription to `orders`, and of an assignment of nothing.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x06orders\xff\xff\xff\xff";
const ASSIGNMENT: &[u8] = b"\0\0\0\0\0\0\xff\xff\xff\xff";

#[tokio::test(flavor = "multi_thread")]
async fn protocol_of_consumer_groups_is_served_if_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path(), &[("group.coordinator.rebalance.protocols", "classic")]).await;
    assert_eq!(send(&mut client, heartbeat("a", 0)).await.error_code, code(ErrorCode::UnsupportedVersion));
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(GROUP))]);
    let described = client.call(request, NEWEST).await;
    assert_eq!(described.groups[0].error_code, code(ErrorCode::UnsupportedVersion));
    broker.stop().await.unwrap();
}
