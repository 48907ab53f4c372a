//! Classic groups, and offsets with and without members.

use bytes::Bytes;
use twinstream_client::raw::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use twinstream_client::raw::kafka_protocol::messages::leave_group_request::MemberIdentity;
use twinstream_client::raw::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use twinstream_client::raw::kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use twinstream_client::raw::kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use twinstream_client::raw::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use twinstream_client::raw::kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{NOWHERE, TOPIC, group, no_id, s, topic};
use crate::requests::side::Side;

/// A group with a member, and one without.
const LIVE: &str = "live";
const SIMPLE: &str = "simple";
/// From here on versions of OffsetFetch name several groups.
const FETCH_OF_GROUPS: i16 = 8;
/// From here on it can ask for all offsets.
const FETCH_OF_ALL: i16 = 2;

pub(super) fn run(side: &mut Side, id: Uuid) {
    joined_wrongly(side);
    let member = joined(side);
    synced(side, &member);
    beaten(side, &member);
    committed(side, id, &member);
    fetched(side, id);
    described(side);
    deleted_while_live(side);
    left(side, &member);
    deleted(side);
}

fn join(name: &str, member: &StrBytes) -> JoinGroupRequest {
    // A subscription of version 0 to the topic.
    let mut metadata = vec![0, 0, 0, 0, 0, 1, 0, TOPIC.len() as u8];
    metadata.extend(TOPIC.as_bytes());
    metadata.extend([0xff; 4]);
    let protocol = JoinGroupRequestProtocol::default().with_name(s("range")).with_metadata(metadata.into());
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(member.clone())
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![protocol])
}

fn joined_wrongly(side: &mut Side) {
    let fresh = StrBytes::default();
    let cases = [
        ("no group", join("", &fresh)),
        ("an unknown member", join("new", &s("nobody"))),
        ("a session that is too short", join("new", &fresh).with_session_timeout_ms(1)),
        ("a session that is too long", join("new", &fresh).with_session_timeout_ms(i32::MAX)),
        ("a negative session", join("new", &fresh).with_session_timeout_ms(-1)),
        ("no protocols", join("new", &s("nobody")).with_protocols(vec![])),
        ("no protocol type", join("new", &s("nobody")).with_protocol_type(s(""))),
        ("an instance of an unknown member", join("new", &s("nobody")).with_group_instance_id(Some(s("i")))),
        ("an instance with an illegal name", join("new", &s("nobody")).with_group_instance_id(Some(s("not a name!")))),
        ("an instance without a name", join("new", &s("nobody")).with_group_instance_id(Some(s("")))),
    ];
    for (label, request) in cases {
        side.ask(label, &request);
    }
    for version in side.versions_of::<JoinGroupRequest>().filter(|version| *version >= 4) {
        side.ask_in(version, "a first time, which asks for an id", &join("asked", &fresh));
    }
}

/// The member of the live group; alone, so it leads.
fn joined(side: &mut Side) -> StrBytes {
    let first = side.ask_once("a first time", &join(LIVE, &StrBytes::default())).expect("an answer to JoinGroup");
    let member = first.member_id;
    side.ask_once("with the id", &join(LIVE, &member));
    side.ask("another type of protocol", &join(LIVE, &s("nobody")).with_protocol_type(s("other")));
    let other = JoinGroupRequestProtocol::default().with_name(s("other")).with_metadata(Bytes::new());
    side.ask("another protocol", &join(LIVE, &s("nobody")).with_protocols(vec![other]));
    side.ask("an unknown member of a live group", &join(LIVE, &s("nobody")));
    member
}

fn sync(member: &StrBytes, generation: i32) -> SyncGroupRequest {
    let request = SyncGroupRequest::default().with_group_id(group(LIVE)).with_member_id(member.clone());
    request.with_generation_id(generation).with_protocol_type(Some(s("consumer"))).with_protocol_name(Some(s("range")))
}

fn synced(side: &mut Side, member: &StrBytes) {
    let cases = [
        ("no group", sync(member, 1).with_group_id(group(""))),
        ("an unknown group", sync(member, 1).with_group_id(group(NOWHERE))),
        ("an unknown member", sync(&s("nobody"), 1)),
        ("an older generation", sync(member, 0)),
        ("a newer generation", sync(member, 7)),
        ("an instance that is not there", sync(member, 1).with_group_instance_id(Some(s("i")))),
    ];
    for (label, request) in cases {
        side.ask(label, &request);
    }
    for version in side.versions_of::<SyncGroupRequest>().filter(|version| *version >= 5) {
        side.ask_in(version, "another protocol", &sync(member, 1).with_protocol_name(Some(s("other"))));
        side.ask_in(version, "another type", &sync(member, 1).with_protocol_type(Some(s("other"))));
        side.ask_in(version, "no protocol", &sync(member, 1).with_protocol_name(None));
    }
    beaten_before(side, member);
    let assignment = SyncGroupRequestAssignment::default().with_member_id(member.clone());
    let assignment = assignment.with_assignment(Bytes::from_static(b"yours"));
    side.ask_once("an assignment", &sync(member, 1).with_assignments(vec![assignment]));
    side.ask("the assignment again", &sync(member, 1));
}

fn beat(name: &str, member: &StrBytes, generation: i32) -> HeartbeatRequest {
    let request = HeartbeatRequest::default().with_group_id(group(name)).with_member_id(member.clone());
    request.with_generation_id(generation)
}

fn beaten_before(side: &mut Side, member: &StrBytes) {
    side.ask("before the assignment", &beat(LIVE, member, 1));
}

fn beaten(side: &mut Side, member: &StrBytes) {
    for (label, request) in [
        ("no group", beat("", member, 1)),
        ("an unknown group", beat(NOWHERE, member, 1)),
        ("an unknown member", beat(LIVE, &s("nobody"), 1)),
        ("no member", beat(LIVE, &s(""), 1)),
        ("an older generation", beat(LIVE, member, 0)),
        ("a newer generation", beat(LIVE, member, 7)),
        ("the generation", beat(LIVE, member, 1)),
        ("an instance that is not there", beat(LIVE, member, 1).with_group_instance_id(Some(s("i")))),
    ] {
        side.ask(label, &request);
    }
}

fn commit(name: &str, topics: Vec<OffsetCommitRequestTopic>) -> OffsetCommitRequest {
    let request = OffsetCommitRequest::default().with_group_id(group(name)).with_topics(topics);
    request.with_generation_id_or_member_epoch(-1)
}

fn at(name: &str, id: Uuid, partition: i32, offset: i64) -> OffsetCommitRequestTopic {
    let partition =
        OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset);
    let partition = partition.with_committed_metadata(Some(s("note")));
    OffsetCommitRequestTopic::default().with_name(topic(name)).with_topic_id(id).with_partitions(vec![partition])
}

fn committed(side: &mut Side, id: Uuid, member: &StrBytes) {
    let long = |mut topic: OffsetCommitRequestTopic| {
        topic.partitions[0].committed_metadata = Some(s(&"m".repeat(4_097)));
        topic
    };
    let unnamed = |mut topic: OffsetCommitRequestTopic| {
        topic.partitions[0].committed_metadata = None;
        topic
    };
    let here = || vec![at(TOPIC, id, 0, 2)];
    let cases = [
        ("no group", commit("", here())),
        ("nothing", commit(SIMPLE, vec![])),
        ("an offset", commit(SIMPLE, here())),
        ("an offset without metadata", commit(SIMPLE, vec![unnamed(at(TOPIC, id, 0, 2))])),
        ("a negative offset", commit(SIMPLE, vec![at(TOPIC, id, 0, -3)])),
        ("an unknown topic", commit(SIMPLE, vec![at(NOWHERE, no_id(), 0, 2)])),
        ("an unknown partition", commit(SIMPLE, vec![at(TOPIC, id, 9, 2)])),
        ("a negative partition", commit(SIMPLE, vec![at(TOPIC, id, -1, 2)])),
        ("too much metadata", commit(SIMPLE, vec![long(at(TOPIC, id, 0, 2))])),
        ("some good, some bad", commit(SIMPLE, vec![at(TOPIC, id, 0, 2), at(NOWHERE, no_id(), 0, 2)])),
        ("a generation of a group without members", commit(SIMPLE, here()).with_generation_id_or_member_epoch(3)),
        ("a member of a group without members", commit(SIMPLE, here()).with_member_id(s("nobody"))),
        ("a generation of no group", commit("never", here()).with_generation_id_or_member_epoch(3)),
        ("no member of a live group", commit(LIVE, here())),
        ("an unknown member", commit(LIVE, here()).with_member_id(s("nobody")).with_generation_id_or_member_epoch(1)),
        (
            "an older generation",
            commit(LIVE, here()).with_member_id(member.clone()).with_generation_id_or_member_epoch(0),
        ),
        (
            "a newer generation",
            commit(LIVE, here()).with_member_id(member.clone()).with_generation_id_or_member_epoch(9),
        ),
        ("a member", commit(LIVE, here()).with_member_id(member.clone()).with_generation_id_or_member_epoch(1)),
    ];
    for (label, request) in cases {
        side.ask(label, &request);
    }
    let instance = commit(SIMPLE, here()).with_group_instance_id(Some(s("i")));
    side.ask("an instance of no member", &instance);
}

fn fetched(side: &mut Side, id: Uuid) {
    let named = |name: &str, partitions| {
        OffsetFetchRequestTopic::default().with_name(topic(name)).with_partition_indexes(partitions)
    };
    let single = |name: &str, topics| OffsetFetchRequest::default().with_group_id(group(name)).with_topics(topics);
    for (label, name, topics) in [
        ("an offset", SIMPLE, Some(vec![named(TOPIC, vec![0])])),
        ("all offsets", SIMPLE, None),
        ("no topics", SIMPLE, Some(vec![])),
        ("what nobody committed", SIMPLE, Some(vec![named(TOPIC, vec![9]), named(NOWHERE, vec![0])])),
        ("an unknown group", "never", Some(vec![named(TOPIC, vec![0])])),
        ("all of an unknown group", "never", None),
        ("no group", "", None),
    ] {
        for version in side.versions_of::<OffsetFetchRequest>().filter(|version| *version < FETCH_OF_GROUPS) {
            if topics.is_none() && version < FETCH_OF_ALL {
                continue; // a null that the version does not have
            }
            side.ask_in(version, label, &single(name, topics.clone()));
        }
        side.ask_in(7, &format!("{label}, stable"), &single(name, topics).with_require_stable(true));
    }
    let of = |name: &str, topics: Option<Vec<(&str, Uuid, i32)>>| {
        let topics = topics.map(|topics| {
            topics
                .into_iter()
                .map(|(name, id, partition)| {
                    let topic = OffsetFetchRequestTopics::default().with_name(topic(name)).with_topic_id(id);
                    topic.with_partition_indexes(vec![partition])
                })
                .collect()
        });
        OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(topics)
    };
    for (label, groups) in [
        ("no groups", vec![]),
        ("a group", vec![of(SIMPLE, Some(vec![(TOPIC, id, 0)]))]),
        ("all of a group", vec![of(SIMPLE, None)]),
        ("one group twice", vec![of(SIMPLE, None), of(SIMPLE, None)]),
        ("two groups", vec![of(SIMPLE, None), of(LIVE, None)]),
        ("an unknown group of several", vec![of(SIMPLE, None), of("never", None)]),
        ("what nobody committed", vec![of(SIMPLE, Some(vec![(TOPIC, id, 9), (NOWHERE, no_id(), 0)]))]),
        ("a group without a name", vec![of("", None)]),
        ("a member of a classic group", vec![of(LIVE, None).with_member_id(Some(s("nobody"))).with_member_epoch(1)]),
        ("an epoch without a member", vec![of(SIMPLE, None).with_member_epoch(4)]),
    ] {
        side.ask(label, &OffsetFetchRequest::default().with_groups(groups.clone()));
        side.ask(
            &format!("{label}, stable"),
            &OffsetFetchRequest::default().with_groups(groups).with_require_stable(true),
        );
    }
}

fn described(side: &mut Side) {
    for (label, names) in [
        ("no groups", vec![]),
        ("a live group", vec![LIVE]),
        ("a group without members", vec![SIMPLE]),
        ("an unknown group", vec!["never"]),
        ("a group without a name", vec![""]),
        ("one group twice", vec![SIMPLE, SIMPLE]),
        ("several", vec![LIVE, SIMPLE, "never"]),
    ] {
        let groups: Vec<_> = names.into_iter().map(group).collect();
        let request = DescribeGroupsRequest::default().with_groups(groups);
        side.ask(label, &request);
        side.ask(&format!("{label}, with operations"), &request.with_include_authorized_operations(true));
    }
    for states in [vec![], vec!["Stable"], vec!["stable", "Empty"], vec!["Dead"], vec!["NoSuchState"], vec![""]] {
        let label = format!("states {states:?}");
        let request = ListGroupsRequest::default().with_states_filter(states.iter().map(|state| s(state)).collect());
        side.ask(&label, &request);
    }
    for types in [vec!["classic"], vec!["Consumer"], vec!["share"], vec!["streams"], vec!["nosuchtype"], vec![""]] {
        let label = format!("types {types:?}");
        let request = ListGroupsRequest::default().with_types_filter(types.iter().map(|kind| s(kind)).collect());
        side.ask(&label, &request);
    }
}

fn forget(name: &str, topics: Vec<(&str, i32)>) -> OffsetDeleteRequest {
    let topics = topics.into_iter().map(|(name, partition)| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition])
    });
    OffsetDeleteRequest::default().with_group_id(group(name)).with_topics(topics.collect())
}

fn deleted_while_live(side: &mut Side) {
    side.ask("a live group", &DeleteGroupsRequest::default().with_groups_names(vec![group(LIVE)]));
    side.ask("offsets of a topic that members read", &forget(LIVE, vec![(TOPIC, 0)]));
    side.ask("offsets of another topic", &forget(LIVE, vec![("placed", 0)]));
}

fn left(side: &mut Side, member: &StrBytes) {
    let leave = |name: &str, member: &StrBytes| {
        LeaveGroupRequest::default().with_group_id(group(name)).with_member_id(member.clone())
    };
    for (label, request) in [
        ("no group", leave("", member)),
        ("an unknown group", leave(NOWHERE, member)),
        ("an unknown member", leave(LIVE, &s("nobody"))),
    ] {
        side.ask(label, &request);
    }
    let named = |member: &str, instance: Option<&str>| {
        MemberIdentity::default().with_member_id(s(member)).with_group_instance_id(instance.map(s))
    };
    for (label, name, members) in [
        ("nobody", LIVE, vec![]),
        ("an unknown member of several", LIVE, vec![named("nobody", None), named("nobody else", None)]),
        ("an unknown instance", LIVE, vec![named("", Some("i"))]),
        ("an unknown instance of a member", LIVE, vec![named("nobody", Some("i"))]),
        ("members of an unknown group", NOWHERE, vec![named("nobody", None)]),
        ("members of no group", "", vec![named("nobody", None)]),
    ] {
        side.ask(label, &LeaveGroupRequest::default().with_group_id(group(name)).with_members(members));
    }
    let leaver = MemberIdentity::default().with_member_id(member.clone());
    let good = LeaveGroupRequest::default().with_group_id(group(LIVE)).with_members(vec![leaver]);
    side.ask_once("the member", &good);
    side.ask_once("the member again", &good);
    side.ask("the group afterwards", &DescribeGroupsRequest::default().with_groups(vec![group(LIVE)]));
    side.ask("after leaving", &beat(LIVE, member, 1));
}

fn deleted(side: &mut Side) {
    for (label, request) in [
        ("no topics", forget(SIMPLE, vec![])),
        ("no group", forget("", vec![(TOPIC, 0)])),
        ("an unknown group", forget("never", vec![(TOPIC, 0)])),
        ("an unknown topic", forget(SIMPLE, vec![(NOWHERE, 0)])),
        ("an unknown partition", forget(SIMPLE, vec![(TOPIC, 9)])),
        ("what is there", forget(SIMPLE, vec![(TOPIC, 0)])),
        ("what was there", forget(SIMPLE, vec![(TOPIC, 0)])),
    ] {
        side.ask(label, &request);
    }
    for (label, names) in [
        ("no groups", vec![]),
        ("an unknown group", vec!["never"]),
        ("a group without a name", vec![""]),
        ("one group twice", vec!["never", "never"]),
    ] {
        let names = names.into_iter().map(group).collect();
        side.ask(label, &DeleteGroupsRequest::default().with_groups_names(names));
    }
    let gone = DeleteGroupsRequest::default().with_groups_names(vec![group(LIVE), group(SIMPLE)]);
    side.ask_once("groups without members", &gone);
    side.ask_once("groups that are gone", &gone);
    side.ask("no groups any more", &ListGroupsRequest::default());
}
