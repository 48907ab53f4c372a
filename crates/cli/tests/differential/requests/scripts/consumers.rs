//! Groups of the new protocol (KIP-848).

use twinstream_client::raw::kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use twinstream_client::raw::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use twinstream_client::raw::kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    HeartbeatRequest, ListGroupsRequest, OffsetCommitRequest,
};
use uuid::Uuid;

use super::{NOWHERE, TOPIC, group, no_id, s, topic};
use crate::requests::side::Side;

const GROUP: &str = "modern";
/// Members choose their ids since version 1.
const MEMBER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

pub(super) fn run(side: &mut Side, id: Uuid) {
    refused(side, id);
    lived(side, id);
}

fn beat(name: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    let request = ConsumerGroupHeartbeatRequest::default().with_group_id(group(name)).with_member_id(s(member));
    request.with_member_epoch(epoch).with_rebalance_timeout_ms(-1)
}

/// Whoever joins says everything.
fn join(name: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    let request = beat(name, member, 0).with_rebalance_timeout_ms(60_000);
    request.with_subscribed_topic_names(Some(vec![topic(TOPIC)])).with_topic_partitions(Some(vec![]))
}

fn owned(id: Uuid, partitions: Vec<i32>) -> Option<Vec<TopicPartitions>> {
    Some(vec![TopicPartitions::default().with_topic_id(id).with_partitions(partitions)])
}

fn refused(side: &mut Side, id: Uuid) {
    let cases = [
        ("no group", join("", MEMBER)),
        ("no member", join("r1", "")),
        ("a negative epoch", beat("r2", MEMBER, -3)),
        ("an unknown group", beat("r3", MEMBER, 5)),
        ("an unknown group is left", beat("r4", MEMBER, -1)),
        ("an unknown group is left for a while", beat("r5", MEMBER, -2)),
        ("left for a while with an instance", beat("r5", MEMBER, -2).with_instance_id(Some(s("i")))),
        ("an instance without a name", join("r6", MEMBER).with_instance_id(Some(s("")))),
        ("no time to rebalance", join("r7", MEMBER).with_rebalance_timeout_ms(-1)),
        ("nothing to rebalance in", join("r7", MEMBER).with_rebalance_timeout_ms(0)),
        ("no subscription", join("r8", MEMBER).with_subscribed_topic_names(None)),
        ("partitions at the start", join("r9", MEMBER).with_topic_partitions(owned(id, vec![0]))),
        ("no partitions at the start", join("r10", MEMBER).with_topic_partitions(None)),
        ("an unknown assignor", join("r11", MEMBER).with_server_assignor(Some(s("nosuch")))),
        ("an assignor without a name", join("r12", MEMBER).with_server_assignor(Some(s("")))),
        ("a rack without a name", join("r13", MEMBER).with_rack_id(Some(s("")))),
        ("an expression that is none", join("r14", MEMBER).with_subscribed_topic_regex(Some(s("(")))),
        ("a group of the classic protocol", join("asked", MEMBER)),
    ];
    for (label, request) in cases {
        side.ask(label, &request);
    }
    for (label, names) in [
        ("no groups", vec![]),
        ("an unknown group", vec!["never"]),
        ("a group without a name", vec![""]),
        ("one group twice", vec!["never", "never"]),
        ("groups that nobody could join", vec!["r8", "r11"]),
    ] {
        let names: Vec<_> = names.into_iter().map(group).collect();
        side.ask(label, &ConsumerGroupDescribeRequest::default().with_group_ids(names));
    }
}

fn lived(side: &mut Side, id: Uuid) {
    let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(GROUP)]);
    let Some(first) = side.ask_once("a first time", &join(GROUP, MEMBER)) else { return };
    let epoch = first.member_epoch;
    side.ask_once("a first time again", &join(GROUP, MEMBER));
    // The assignment may come with any heartbeat; from then on nothing changes.
    let owns = |epoch: i32| beat(GROUP, MEMBER, epoch).with_topic_partitions(owned(id, vec![0]));
    side.settle("the member is settled", &describe, |answer| {
        answer.groups.iter().all(|group| group.members.iter().all(|member| member.member_epoch >= epoch))
    });
    side.ask_once("what it owns", &owns(epoch));
    side.ask_once("described", &describe);
    side.ask_once("described with operations", &describe.clone().with_include_authorized_operations(true));
    for (label, request) in [
        ("nothing new", beat(GROUP, MEMBER, epoch)),
        ("an older epoch", beat(GROUP, MEMBER, epoch - 1)),
        ("a newer epoch", beat(GROUP, MEMBER, epoch + 5)),
        ("an unknown member", beat(GROUP, "BBBBBBBBBBBBBBBBBBBBBB", epoch)),
        ("an unknown topic is owned", beat(GROUP, MEMBER, epoch).with_topic_partitions(owned(no_id(), vec![0]))),
        ("an instance that is not there", beat(GROUP, MEMBER, epoch).with_instance_id(Some(s("i")))),
    ] {
        side.ask_once(label, &request);
    }
    let of_members = |member: &str, epoch| {
        let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(1);
        let topic = OffsetCommitRequestTopic::default().with_name(topic(TOPIC)).with_topic_id(id);
        let request = OffsetCommitRequest::default().with_group_id(group(GROUP)).with_member_id(s(member));
        let request = request.with_topics(vec![topic.with_partitions(vec![partition])]);
        request.with_generation_id_or_member_epoch(epoch)
    };
    for (label, member, epoch) in [
        ("by the member", MEMBER, epoch),
        ("by an older epoch", MEMBER, epoch - 1),
        ("by a newer epoch", MEMBER, epoch + 5),
        ("by an unknown member", "BBBBBBBBBBBBBBBBBBBBBB", epoch),
        ("by nobody", "", -1),
    ] {
        side.ask(&format!("of a consumer group {label}"), &of_members(member, epoch));
    }
    let classic = HeartbeatRequest::default().with_group_id(group(GROUP)).with_member_id(s(MEMBER));
    side.ask("of a consumer group", &classic.with_generation_id(epoch));
    side.ask("a consumer group", &DescribeGroupsRequest::default().with_groups(vec![group(GROUP)]));
    side.ask("a consumer group that lives", &DeleteGroupsRequest::default().with_groups_names(vec![group(GROUP)]));
    side.ask("consumer groups", &ListGroupsRequest::default().with_types_filter(vec![s("consumer")]));
    side.ask_once("another topic", &beat(GROUP, MEMBER, epoch).with_subscribed_topic_names(Some(vec![topic(NOWHERE)])));
    side.ask_once("left", &beat(GROUP, MEMBER, -1));
    side.ask_once("left again", &beat(GROUP, MEMBER, -1));
    side.ask_once("described without members", &describe);
    side.ask_once(
        "a consumer group without members",
        &DeleteGroupsRequest::default().with_groups_names(vec![group(GROUP)]),
    );
}
