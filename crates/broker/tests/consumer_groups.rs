//! The APIs of consumer groups (KIP-848) on the wire, in every version that we advertise, against a whole broker.

mod support;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use support::{Client, TestBroker, wait_until};
use twinstream_model::ErrorCode;

const NEWEST: i16 = 1;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

async fn create(client: &mut Client, name: &str, partitions: i32) {
    let new =
        CreatableTopic::default().with_name(topic(name)).with_num_partitions(partitions).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![new]).with_timeout_ms(10_000);
    let answer = client.call(request, 7).await;
    assert!(answer.topics.iter().all(|topic| topic.error_code == 0), "{answer:?}");
}

/// Asks until `name` has a coordinator that has loaded.
async fn find(client: &mut Client, name: &str) {
    let request = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![text(name)]);
    wait_until("the group has a coordinator", async || {
        let found = client.call(request.clone(), 6).await.coordinators[0].error_code == 0;
        found && !matches!(describe(client, name, NEWEST).await.groups[0].error_code, 14..=16)
    })
    .await;
}

async fn describe(client: &mut Client, name: &str, version: i16) -> ConsumerGroupDescribeResponse {
    client.call(ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(name)]), version).await
}

fn join(name: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| topic(name)).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

fn stay(name: &str, member: &StrBytes, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(member.clone())
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

fn count(answer: &ConsumerGroupHeartbeatResponse) -> Option<usize> {
    let topics = &answer.assignment.as_ref()?.topic_partitions;
    Some(topics.iter().map(|topic| topic.partitions.len()).sum())
}

fn commit(name: &str, member: &StrBytes, epoch: i32) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(5);
    let orders = OffsetCommitRequestTopic::default().with_name(topic("orders")).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(epoch)
        .with_member_id(member.clone())
        .with_topics(vec![orders])
}

async fn list(client: &mut Client, types: &[&str]) -> Vec<(String, String, String)> {
    let request = ListGroupsRequest::default().with_types_filter(types.iter().map(|word| text(word)).collect());
    let groups = client.call(request, 5).await.groups;
    let shown = groups
        .iter()
        .map(|group| (group.group_id.to_string(), group.group_type.to_string(), group.group_state.to_string()));
    shown.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_lives_and_leaves_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create(&mut client, "orders", 2).await;
    for version in 0..=NEWEST {
        let name = format!("g{version}");
        find(&mut client, &name).await;
        let own_id = if version == 0 { "" } else { "a" };
        let joined = client.call(join(&name, own_id, &["orders"]), version).await;
        assert_eq!((joined.error_code, count(&joined)), (0, Some(2)), "v{version}");
        assert_eq!(joined.heartbeat_interval_ms, 5_000);
        let member = joined.member_id.clone().unwrap();
        assert!(!member.is_empty());

        let again = client.call(stay(&name, &member, joined.member_epoch), version).await;
        assert_eq!((again.error_code, count(&again)), (0, None), "v{version}: nothing is new");
        let stale = client.call(stay(&name, &member, joined.member_epoch + 1), version).await;
        assert_eq!(stale.error_code, ErrorCode::FencedMemberEpoch.code());
        assert!(stale.error_message.is_some());

        let described = describe(&mut client, &name, version).await.groups.remove(0);
        assert_eq!((described.error_code, &*described.group_state), (0, "Stable"));
        let shown = &described.members[0];
        assert_eq!(shown.assignment.topic_partitions[0].topic_name, topic("orders"));
        assert_eq!(shown.assignment, shown.target_assignment);
        assert_eq!(shown.member_type, if version == 0 { -1 } else { 1 });

        let left = client.call(stay(&name, &member, -1), version).await;
        assert_eq!((left.error_code, left.member_epoch), (0, -1));
        assert_eq!(&*describe(&mut client, &name, version).await.groups[0].group_state, "Empty");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_members_carry_their_epochs_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create(&mut client, "orders", 2).await;
    find(&mut client, "g").await;
    let joined = client.call(join("g", "a", &["orders"]), NEWEST).await;
    let (member, epoch) = (text("a"), joined.member_epoch);
    let codes = async |client: &mut Client, epoch: i32, version: i16| {
        client.call(commit("g", &text("a"), epoch), version).await.topics[0].partitions[0].error_code
    };
    assert_eq!(codes(&mut client, epoch, 9).await, 0);
    assert_eq!(codes(&mut client, epoch + 1, 9).await, ErrorCode::StaleMemberEpoch.code());
    assert_eq!(codes(&mut client, epoch, 8).await, ErrorCode::UnsupportedVersion.code());
    drop(client);
    broker.stop().await.unwrap();

    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    find(&mut client, "g").await;
    let orders = OffsetFetchRequestTopics::default().with_name(topic("orders")).with_partition_indexes(vec![0]);
    let wanted = OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(Some(vec![orders]));
    for (epoch, error) in [(epoch, ErrorCode::None), (epoch + 1, ErrorCode::StaleMemberEpoch)] {
        let of_member = wanted.clone().with_member_id(Some(member.clone())).with_member_epoch(epoch);
        let answer = client.call(OffsetFetchRequest::default().with_groups(vec![of_member]), 9).await;
        assert_eq!(answer.groups[0].error_code, error.code());
        let offsets = answer.groups[0].topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.committed_offset);
        assert_eq!(offsets.collect::<Vec<_>>(), if error.is_error() { vec![] } else { vec![5] });
    }
    let stayed = client.call(stay("g", &member, epoch), NEWEST).await;
    assert_eq!(stayed.error_code, 0, "the member is in the group that was loaded");
    let everything = join("g", "a", &["orders"]).with_member_epoch(epoch).with_topic_partitions(Some(Vec::new()));
    assert_eq!(count(&client.call(everything, NEWEST).await), Some(2), "told again when it tells everything");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_come_by_name_and_by_expression_while_members_are_in() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    find(&mut client, "g").await;
    let joined = client.call(join("g", "a", &["orders"]), NEWEST).await;
    assert_eq!((joined.error_code, count(&joined)), (0, Some(0)));
    create(&mut client, "orders", 3).await;
    let mut epoch = joined.member_epoch;
    wait_until("the new topic is assigned", async || {
        let answer = client.call(stay("g", &text("a"), epoch), NEWEST).await;
        assert_eq!(answer.error_code, 0, "{answer:?}");
        epoch = answer.member_epoch;
        count(&answer) == Some(3)
    })
    .await;

    let by_expression =
        join("h", "b", &[]).with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(text("ord.*")));
    find(&mut client, "h").await;
    let joined = client.call(by_expression.clone(), NEWEST).await;
    assert_eq!((joined.error_code, count(&joined)), (0, Some(3)));
    let broken = by_expression.with_subscribed_topic_regex(Some(text("ord(")));
    let answer = client.call(broken, NEWEST).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidRegularExpression.code());
    let odd = join("h", "c", &[]).with_topic_partitions(Some(vec![TopicPartitions::default()]));
    let odd = client.call(odd.with_subscribed_topic_names(None), NEWEST).await;
    assert_eq!(odd.error_code, ErrorCode::InvalidRequest.code());
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_tell_the_two_protocols_apart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create(&mut client, "orders", 1).await;
    find(&mut client, "new").await;
    client.call(join("new", "a", &["orders"]), NEWEST).await;
    find(&mut client, "simple").await;
    let by_hand = commit("simple", &text(""), -1);
    assert_eq!(client.call(by_hand, 9).await.topics[0].partitions[0].error_code, 0);
    let shown = |name: &str, kind: &str, state: &str| (name.to_owned(), kind.to_owned(), state.to_owned());
    assert_eq!(list(&mut client, &["consumer"]).await, [shown("new", "consumer", "Stable")]);
    assert_eq!(list(&mut client, &["Classic"]).await, [shown("simple", "classic", "Empty")]);
    assert_eq!(list(&mut client, &[]).await.len(), 2);
    let not_one = describe(&mut client, "simple", NEWEST).await.groups.remove(0);
    assert_eq!(not_one.error_code, ErrorCode::GroupIdNotFound.code());
    broker.stop().await.unwrap();
}
