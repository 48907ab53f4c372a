//! The cluster and its versions.

use bytes::{BufMut, BytesMut};
use twinstream_client::raw::kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use twinstream_client::raw::kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use twinstream_client::raw::kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use twinstream_client::raw::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use twinstream_client::raw::kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, DescribeLogDirsRequest, DescribeQuorumRequest,
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, MetadataRequest, SaslAuthenticateRequest,
    SaslHandshakeRequest,
};
use uuid::Uuid;

use super::{NOWHERE, TOPIC, no_id, s, topic};
use crate::requests::side::Side;

pub(super) fn run(side: &mut Side, id: Uuid) {
    versions(side);
    metadata(side, id);
    described(side);
    topic_partitions(side);
    coordinators(side);
    quorum(side);
    sasl(side);
    log_dirs(side);
}

fn versions(side: &mut Side) {
    for (name, version) in
        [("", "1"), ("with space", "1"), ("-dash", "1"), ("ok", "1.0-x_y"), ("ok", "1 0"), ("ok", "")]
    {
        let request = ApiVersionsRequest::default().with_client_software_name(s(name));
        let request = request.with_client_software_version(s(version));
        // What is served is compared as a table of its own; here it is about the names.
        for number in side.versions_of::<ApiVersionsRequest>() {
            side.ask_code(number, &format!("software `{name}` `{version}`"), &request, |answer| answer.error_code);
        }
    }
    // KIP-511: a version that nobody knows is answered with error 35 in version 0, with ranges behind it.
    let mut unknown = header(18, 99);
    unknown.put_u8(0); // no tagged fields: the header is of the newest form
    side.ask_raw_code("ApiVersions v99", &unknown);
    for (what, key, version) in [
        ("an API that nobody knows", 999, 0),
        ("an API that is gone", 4, 0),
        ("an API of controllers", 53, 0),
        ("Metadata v99", 3, 99),
        ("Fetch v3, which is gone", 1, 3),
        ("a negative version", 3, -1),
    ] {
        side.ask_raw(what, &header(key, version));
    }
    side.ask_raw("no header at all", &[]);
    side.ask_raw("half a header", &header(3, 1)[..5]);
}

/// A request header with no client and no body.
fn header(key: i16, version: i16) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_i16(key);
    bytes.put_i16(version);
    bytes.put_i32(7);
    bytes.put_i16(-1);
    bytes
}

fn metadata(side: &mut Side, id: Uuid) {
    let named = |name: &str| MetadataRequestTopic::default().with_name(Some(topic(name)));
    let with_id = |id: Uuid| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let long = "n".repeat(250);
    let cases = [
        ("no topics", vec![]),
        ("one topic", vec![named(TOPIC)]),
        ("one topic twice", vec![named(TOPIC), named(TOPIC)]),
        ("an unknown topic", vec![named(NOWHERE)]),
        ("an illegal name", vec![named("not a name!")]),
        ("an empty name", vec![named("")]),
        ("a name that is too long", vec![named(&long)]),
        ("dots", vec![named("."), named("..")]),
        ("an id", vec![with_id(id)]),
        ("one id twice", vec![with_id(id), with_id(id)]),
        ("an unknown topic twice", vec![named(NOWHERE), named(NOWHERE)]),
        ("an unknown id", vec![with_id(no_id())]),
        ("neither name nor id", vec![with_id(Uuid::nil())]),
        ("a known and an unknown topic", vec![named(TOPIC), named(NOWHERE)]),
    ];
    for (label, topics) in cases {
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        for version in side.versions_of::<MetadataRequest>() {
            // Below version 4 the question itself would make the topic.
            if version >= 4 || !(label.contains("unknown") || label.contains("name") || label.contains("dots")) {
                side.ask_in(version, label, &request);
            }
        }
    }
    let both = named(TOPIC).with_topic_id(id);
    side.ask("a name with an id", &MetadataRequest::default().with_topics(Some(vec![both])));
    let wide = MetadataRequest::default().with_topics(Some(vec![named(TOPIC)]));
    side.ask("operations of the topic", &wide.clone().with_include_topic_authorized_operations(true));
    side.ask("operations of the cluster", &wide.with_include_cluster_authorized_operations(true));
}

fn described(side: &mut Side) {
    for endpoint in [0, 1, 2, 3] {
        let request = DescribeClusterRequest::default().with_endpoint_type(endpoint);
        side.ask(&format!("endpoint type {endpoint}"), &request);
    }
    let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    side.ask("with operations", &request);
    side.ask("with fenced brokers", &DescribeClusterRequest::default().with_include_fenced_brokers(true));
}

fn topic_partitions(side: &mut Side) {
    let named = |name: &str| TopicRequest::default().with_name(topic(name));
    let cursor =
        |name: &str, partition| Some(Cursor::default().with_topic_name(topic(name)).with_partition_index(partition));
    let cases = [
        ("one topic", vec![named(TOPIC)], 2_000, None),
        ("an unknown topic", vec![named(NOWHERE)], 2_000, None),
        ("an illegal name", vec![named("not a name!")], 2_000, None),
        ("one topic twice", vec![named(TOPIC), named(TOPIC)], 2_000, None),
        ("internal topic, two of its partitions", vec![named("__consumer_offsets")], 2, None),
        ("no partitions", vec![named(TOPIC)], 0, None),
        ("fewer than no partitions", vec![named(TOPIC)], -1, None),
        ("a cursor", vec![named("__consumer_offsets")], 2_000, cursor("__consumer_offsets", 3)),
        ("a cursor behind the end", vec![named("__consumer_offsets")], 2_000, cursor("__consumer_offsets", 99)),
        ("a cursor before the start", vec![named("__consumer_offsets")], 2_000, cursor("__consumer_offsets", -1)),
        ("a cursor behind all topics", vec![named(TOPIC)], 2_000, cursor("zzz", 0)),
        ("a cursor at an unknown topic", vec![named(TOPIC)], 2_000, cursor("aaa", 0)),
    ];
    for (label, topics, limit, cursor) in cases {
        let request =
            DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(limit);
        side.ask(label, &request.with_cursor(cursor));
    }
}

fn coordinators(side: &mut Side) {
    for key_type in [0, 1, 2, 9, -1] {
        for key in ["some", ""] {
            let one = FindCoordinatorRequest::default().with_key(s(key)).with_key_type(key_type);
            side.ask(&format!("key `{key}` of type {key_type}"), &one);
            let many = vec![s(key), s("other"), s(key)];
            let many = FindCoordinatorRequest::default().with_coordinator_keys(many).with_key_type(key_type);
            side.ask(&format!("keys `{key}` and another of type {key_type}"), &many);
        }
    }
    side.ask("no keys", &FindCoordinatorRequest::default().with_coordinator_keys(Vec::new()));
}

fn quorum(side: &mut Side) {
    let of = |name: &str, partition| {
        let partition = PartitionData::default().with_partition_index(partition);
        TopicData::default().with_topic_name(topic(name)).with_partitions(vec![partition])
    };
    for (label, topics) in [
        ("another topic", vec![of(TOPIC, 0)]),
        ("another partition", vec![of("__cluster_metadata", 1)]),
        ("no topics", vec![]),
        ("two topics", vec![of("__cluster_metadata", 0), of(TOPIC, 0)]),
    ] {
        side.ask(label, &DescribeQuorumRequest::default().with_topics(topics));
    }
}

fn sasl(side: &mut Side) {
    side.ask("on a listener without SASL", &SaslHandshakeRequest::default().with_mechanism(s("PLAIN")));
    side.ask("an unknown mechanism", &SaslHandshakeRequest::default().with_mechanism(s("NONE")));
    side.ask("without a handshake", &SaslAuthenticateRequest::default().with_auth_bytes("\0a\0b".into()));
}

fn log_dirs(side: &mut Side) {
    let of =
        |name: &str, partitions| DescribableLogDirTopic::default().with_topic(topic(name)).with_partitions(partitions);
    for (label, topics) in [
        ("no topics", vec![]),
        ("one topic", vec![of(TOPIC, vec![0])]),
        ("an unknown topic", vec![of(NOWHERE, vec![0])]),
        ("an unknown partition", vec![of(TOPIC, vec![9])]),
        ("a topic without partitions", vec![of(TOPIC, vec![])]),
    ] {
        side.ask(label, &DescribeLogDirsRequest::default().with_topics(Some(topics)));
    }
}
