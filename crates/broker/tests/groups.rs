//! The group APIs on the wire, in every version that we advertise, against a whole broker.

mod support;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use support::{Client, TestBroker, wait_until};
use twinstream_model::ErrorCode;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A subscription to `orders` in the consumer protocol.
fn subscription() -> Bytes {
    Bytes::from_static(b"\x00\x00\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff")
}

async fn create_orders(client: &mut Client) {
    let orders = CreatableTopic::default().with_name(topic("orders")).with_num_partitions(2).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![orders]).with_timeout_ms(10_000);
    let answer = client.call(request, 7).await;
    assert!(answer.topics.iter().all(|topic| topic.error_code == 0), "{answer:?}");
}

/// Asks until `name` has a coordinator that has loaded.
async fn find(client: &mut Client, name: &str) {
    let request = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![text(name)]);
    wait_until("the group has a coordinator", async || {
        client.call(request.clone(), 6).await.coordinators[0].error_code == 0
            && !matches!(describe(client, name, 6).await.0, 14..=16)
    })
    .await;
}

/// Error and state.
async fn describe(client: &mut Client, name: &str, version: i16) -> (i16, String) {
    let request = DescribeGroupsRequest::default().with_groups(vec![group(name)]);
    let answer = client.call(request, version).await;
    (answer.groups[0].error_code, answer.groups[0].group_state.to_string())
}

fn join(name: &str, member: &str) -> JoinGroupRequest {
    let range = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(subscription());
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![range])
}

/// In versions without a rebalance timeout the field must be left alone.
fn join_at(name: &str, member: &str, version: i16) -> JoinGroupRequest {
    let request = join(name, member);
    if version == 0 { request.with_rebalance_timeout_ms(-1) } else { request }
}

/// Joins in the version's way and becomes the only member; returns id and generation.
async fn join_alone(client: &mut Client, name: &str, version: i16) -> (StrBytes, i32) {
    let mut answer = client.call(join_at(name, "", version), version).await;
    if version >= 4 {
        assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code(), "v{version}");
        answer = client.call(join_at(name, &answer.member_id, version), version).await;
    }
    assert_eq!(answer.error_code, 0, "v{version}: {answer:?}");
    assert_eq!(answer.leader, answer.member_id);
    assert_eq!(answer.members.len(), 1);
    assert_eq!(answer.members[0].metadata, subscription());
    assert_eq!(answer.protocol_name, Some(text("range")));
    assert_eq!(answer.protocol_type, (version >= 7).then(|| text("consumer")));
    (answer.member_id, answer.generation_id)
}

async fn sync_alone(client: &mut Client, name: &str, member: &StrBytes, generation: i32, version: i16) -> Bytes {
    let share = SyncGroupRequestAssignment::default()
        .with_member_id(member.clone())
        .with_assignment(Bytes::from_static(b"everything"));
    let mut request = SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_assignments(vec![share]);
    if version >= 5 {
        request = request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")));
    }
    let answer = client.call(request, version).await;
    assert_eq!(answer.error_code, 0, "v{version}");
    answer.assignment
}

fn commit(name: &str, member: &StrBytes, generation: i32, offset: i64) -> OffsetCommitRequest {
    let partition = |index: i32| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("note")))
    };
    let of = |name: &str, indexes: &[i32]| {
        OffsetCommitRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(indexes.iter().map(|index| partition(*index)).collect())
    };
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member.clone())
        .with_topics(vec![of("orders", &[0, 9]), of("nowhere", &[0])])
}

fn commit_codes(answer: &OffsetCommitResponse) -> Vec<i16> {
    answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.error_code)).collect()
}

/// Top-level error, then offset and metadata of `orders` 0 and 1.
async fn fetch(client: &mut Client, name: &str, version: i16) -> (i16, Vec<(i64, String)>) {
    if version >= 8 {
        let orders = OffsetFetchRequestTopics::default().with_name(topic("orders")).with_partition_indexes(vec![0, 1]);
        let wanted = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(Some(vec![orders]));
        let answer = client.call(OffsetFetchRequest::default().with_groups(vec![wanted]), version).await;
        let found = answer.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
        let found = found.map(|p| (p.committed_offset, p.metadata.clone().unwrap_or_default().to_string()));
        return (answer.groups[0].error_code, found.collect());
    }
    let orders = OffsetFetchRequestTopic::default().with_name(topic("orders")).with_partition_indexes(vec![0, 1]);
    let request = OffsetFetchRequest::default().with_group_id(group(name)).with_topics(Some(vec![orders]));
    let answer = client.call(request, version).await;
    let found = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let found = found.map(|p| (p.committed_offset, p.metadata.clone().unwrap_or_default().to_string()));
    (answer.error_code, found.collect())
}

async fn leave(client: &mut Client, name: &str, member: &StrBytes, version: i16) -> i16 {
    let request = LeaveGroupRequest::default().with_group_id(group(name));
    if version < 3 {
        return client.call(request.with_member_id(member.clone()), version).await.error_code;
    }
    let leaving = MemberIdentity::default().with_member_id(member.clone());
    let answer = client.call(request.with_members(vec![leaving]), version).await;
    assert_eq!(answer.error_code, 0);
    answer.members[0].error_code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_lives_through_a_generation_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_orders(&mut client).await;
    for version in 0..=9 {
        let name = format!("versions-{version}");
        find(&mut client, &name).await;
        let (member, generation) = join_alone(&mut client, &name, version).await;
        assert_eq!(generation, 1);
        let share = sync_alone(&mut client, &name, &member, generation, version.min(5)).await;
        assert_eq!(&share[..], b"everything");
        let heartbeat = HeartbeatRequest::default()
            .with_group_id(group(&name))
            .with_generation_id(generation)
            .with_member_id(member.clone());
        assert_eq!(client.call(heartbeat.clone(), version.min(4)).await.error_code, 0);
        let stale = heartbeat.clone().with_generation_id(generation + 1);
        assert_eq!(client.call(stale, version.min(4)).await.error_code, ErrorCode::IllegalGeneration.code());

        let commit_version = version.clamp(2, 9);
        let committed = client.call(commit(&name, &member, generation, 5), commit_version).await;
        assert_eq!(commit_codes(&committed), [0, 3, 3], "unknown partitions and topics fail for themselves");
        let fenced = client.call(commit(&name, &member, generation + 1, 6), commit_version).await;
        assert_eq!(commit_codes(&fenced)[0], ErrorCode::IllegalGeneration.code());
        let expected = vec![(5, "note".to_owned()), (-1, String::new())];
        assert_eq!(fetch(&mut client, &name, version.max(1)).await, (0, expected));

        assert_eq!(describe(&mut client, &name, version.min(6)).await, (0, "Stable".to_owned()));
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(&name)]);
        let refused = client.call(delete.clone(), version.min(2)).await;
        assert_eq!(refused.results[0].error_code, ErrorCode::NonEmptyGroup.code());

        assert_eq!(leave(&mut client, &name, &member, version.min(5)).await, 0);
        assert_eq!(
            leave(&mut client, &name, &member, version.min(5)).await,
            ErrorCode::UnknownMemberId.code(),
            "v{version}"
        );
        let list = ListGroupsRequest::default();
        let list = if version.min(5) >= 4 { list.with_states_filter(vec![text("empty")]) } else { list };
        let listed = client.call(list, version.min(5)).await;
        assert!(listed.groups.iter().any(|g| g.group_id == group(&name)), "v{version}: {listed:?}");

        assert_eq!(client.call(delete, version.min(2)).await.results[0].error_code, 0);
        let gone = describe(&mut client, &name, version.min(6)).await;
        let code = if version >= 6 { ErrorCode::GroupIdNotFound.code() } else { 0 };
        assert_eq!(gone, (code, "Dead".to_owned()));
        assert_eq!(fetch(&mut client, &name, version.max(1)).await.1[0].0, -1);
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_question_for_a_coordinator_creates_the_offsets_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    for version in 0..=6 {
        let request = FindCoordinatorRequest::default();
        let (code, node, port) = if version >= 4 {
            let answer = client.call(request.with_coordinator_keys(vec![text("a"), text("b")]), version).await;
            assert_eq!(answer.coordinators.len(), 2);
            let first = &answer.coordinators[0];
            (first.error_code, first.node_id.0, first.port)
        } else {
            let answer = client.call(request.with_key(text("a")), version).await;
            (answer.error_code, answer.node_id.0, answer.port)
        };
        assert_eq!((code, node, port), (0, 1, i32::from(broker.port)), "v{version}");
    }
    let metadata = client.call(MetadataRequest::default().with_topics(None), 9).await;
    let offsets = metadata.topics.iter().find(|t| t.name == Some(topic("__consumer_offsets"))).unwrap();
    assert!(offsets.is_internal);
    assert_eq!(offsets.partitions.len(), 4, "offsets.topic.num.partitions");

    let of_share_group = FindCoordinatorRequest::default().with_key_type(2).with_coordinator_keys(vec![text("s")]);
    let answer = client.call(of_share_group, 6).await;
    assert_eq!(answer.coordinators[0].error_code, ErrorCode::InvalidRequest.code());
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_offsets_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_orders(&mut client).await;
    find(&mut client, "kept").await;
    let (member, generation) = join_alone(&mut client, "kept", 9).await;
    sync_alone(&mut client, "kept", &member, generation, 5).await;
    client.call(commit("kept", &member, generation, 5), 9).await;
    broker.stop().await.unwrap();

    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    find(&mut client, "kept").await;
    let heartbeat = HeartbeatRequest::default()
        .with_group_id(group("kept"))
        .with_generation_id(generation)
        .with_member_id(member.clone());
    assert_eq!(client.call(heartbeat, 4).await.error_code, 0, "the member goes on as if nothing happened");
    assert_eq!(&sync_alone(&mut client, "kept", &member, generation, 5).await[..], b"everything");
    assert_eq!(fetch(&mut client, "kept", 9).await.1[0], (5, "note".to_owned()));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_meet_and_a_parked_join_ends_with_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("group.initial.rebalance.delay.ms", "300")]).await;
    let (mut a, mut b) = (broker.client().await, broker.client().await);
    find(&mut a, "pair").await;
    let join_three = |client| async move {
        let client: &mut Client = client;
        client.call(join("pair", ""), 3).await
    };
    let (first, second) = tokio::join!(join_three(&mut a), join_three(&mut b));
    assert_eq!((first.error_code, second.error_code), (0, 0));
    assert_eq!((first.generation_id, first.leader.clone()), (second.generation_id, second.leader.clone()));
    assert_eq!(first.members.len() + second.members.len(), 2, "only the leader hears of members");

    // A third joins and waits for the others, which do not come before the broker stops.
    let mut c = broker.client().await;
    c.send(&join("pair", ""), 3).await;
    let describing = DescribeGroupsRequest::default().with_groups(vec![group("pair")]);
    wait_until("the third is in", async || a.call(describing.clone(), 4).await.groups[0].members.len() == 3).await;
    let stopping = tokio::spawn(broker.stop());
    let answer = c.answer_body(0).await;
    if let Ok(mut body) = answer {
        let answer = <JoinGroupResponse as kafka_protocol::protocol::Decodable>::decode(&mut body, 3).unwrap();
        assert_eq!(answer.error_code, ErrorCode::NotCoordinator.code(), "{answer:?}");
    }
    stopping.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_deleted_topic_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_orders(&mut client).await;
    find(&mut client, "simple").await;
    let committed = client.call(commit("simple", &text(""), -1, 5), 9).await;
    assert_eq!(commit_codes(&committed)[0], 0);
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic("orders")]).with_timeout_ms(10_000);
    assert_eq!(client.call(delete, 5).await.responses[0].error_code, 0);
    wait_until("the offset is gone", async || fetch(&mut client, "simple", 9).await.1[0].0 == -1).await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_go_on_after_the_offsets_topic_was_deleted_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_orders(&mut client).await;
    for _ in 0..3 {
        find(&mut client, "simple").await;
        // The coordinator of before may answer until this broker has looked at the metadata.
        let nothing = (0, vec![(-1, String::new()); 2]);
        wait_until("nothing is committed", async || fetch(&mut client, "simple", 9).await == nothing).await;
        wait_until("the commit is taken", async || {
            commit_codes(&client.call(commit("simple", &text(""), -1, 5), 9).await)[0] == 0
        })
        .await;
        let offsets = DeleteTopicsRequest::default().with_topic_names(vec![topic("__consumer_offsets")]);
        assert_eq!(client.call(offsets.with_timeout_ms(10_000), 5).await.responses[0].error_code, 0);
        // Made again at once, before anybody has had to look.
        client.call(FindCoordinatorRequest::default().with_key(text("simple")), 3).await;
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_deleted_unless_subscribed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_orders(&mut client).await;
    find(&mut client, "g").await;
    let partitions = vec![
        OffsetDeleteRequestPartition::default().with_partition_index(0),
        OffsetDeleteRequestPartition::default().with_partition_index(7),
    ];
    let orders = OffsetDeleteRequestTopic::default().with_name(topic("orders")).with_partitions(partitions);
    let delete = OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(vec![orders]);
    assert_eq!(client.call(delete.clone(), 0).await.error_code, ErrorCode::GroupIdNotFound.code());

    let (member, generation) = join_alone(&mut client, "g", 9).await;
    sync_alone(&mut client, "g", &member, generation, 5).await;
    client.call(commit("g", &member, generation, 5), 9).await;
    let codes = |answer: OffsetDeleteResponse| -> Vec<i16> {
        answer.topics[0].partitions.iter().map(|p| p.error_code).collect()
    };
    let subscribed = codes(client.call(delete.clone(), 0).await);
    assert_eq!(subscribed, [ErrorCode::GroupSubscribedToTopic.code(), ErrorCode::UnknownTopicOrPartition.code()]);
    leave(&mut client, "g", &member, 5).await;
    assert_eq!(codes(client.call(delete, 0).await), [0, ErrorCode::UnknownTopicOrPartition.code()]);
    assert_eq!(fetch(&mut client, "g", 9).await.1[0].0, -1);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_are_fetched_at_once_and_null_means_every_offset() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_orders(&mut client).await;
    for name in ["one", "two"] {
        find(&mut client, name).await;
        client.call(commit(name, &text(""), -1, 8), 8).await;
    }
    let of = |name: &str| OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![of("one"), of("nobody"), of("two")]);
    let answer = client.call(request.with_require_stable(true), 8).await;
    let found: Vec<(String, usize)> = answer.groups.iter().map(|g| (g.group_id.to_string(), g.topics.len())).collect();
    assert_eq!(found, [("one".to_owned(), 1), ("nobody".to_owned(), 0), ("two".to_owned(), 1)]);
    assert!(answer.groups.iter().all(|g| g.error_code == 0));
    let single = OffsetFetchRequest::default().with_group_id(group("one")).with_topics(None);
    assert_eq!(client.call(single, 7).await.topics[0].partitions[0].committed_offset, 8);
    broker.stop().await.unwrap();
}
