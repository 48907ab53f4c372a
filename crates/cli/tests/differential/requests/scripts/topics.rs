//! Making, growing and deleting topics.

use twinstream_client::raw::kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use twinstream_client::raw::kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use twinstream_client::raw::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use twinstream_client::raw::kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use twinstream_client::raw::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use twinstream_client::raw::kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, MetadataRequest,
};
use uuid::Uuid;

use super::{NOWHERE, TOPIC, no_id, s, topic};
use crate::requests::side::Side;

const WITHIN_MS: i32 = 30_000;

pub(super) fn run(side: &mut Side) {
    refused(side);
    created(side);
    grown(side);
    shortened(side);
    deleted(side);
}

fn new(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(topic(name)).with_num_partitions(partitions).with_replication_factor(replicas)
}

fn placed(name: &str, replicas: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = replicas.iter().map(|(partition, brokers)| {
        let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
        CreatableReplicaAssignment::default().with_partition_index(*partition).with_broker_ids(brokers)
    });
    new(name, -1, -1).with_assignments(assignments.collect())
}

fn with(topic: CreatableTopic, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let configs =
        configs.iter().map(|(name, value)| CreatableTopicConfig::default().with_name(s(name)).with_value(value.map(s)));
    topic.with_configs(configs.collect())
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(WITHIN_MS)
}

fn refused(side: &mut Side) {
    let long = "n".repeat(250);
    let cases = [
        ("no topics", vec![]),
        ("an illegal name", vec![new("not a name!", 1, 1)]),
        ("an empty name", vec![new("", 1, 1)]),
        ("dots", vec![new(".", 1, 1), new("..", 1, 1)]),
        ("a name that is too long", vec![new(&long, 1, 1)]),
        ("a topic that is there", vec![new(TOPIC, 1, 1)]),
        ("an internal topic that is there", vec![new("__consumer_offsets", 1, 1)]),
        ("no partitions", vec![new("a", 0, 1)]),
        ("fewer than no partitions", vec![new("a", -2, 1)]),
        ("too many partitions", vec![new("a", 100_000, 1)]),
        ("no replicas", vec![new("a", 1, 0)]),
        ("fewer than no replicas", vec![new("a", 1, -2)]),
        ("more replicas than brokers", vec![new("a", 1, 2)]),
        ("one topic twice", vec![new("a", 1, 1), new("a", 1, 1)]),
        ("replicas and a count", vec![placed("a", &[(0, &[1])]).with_num_partitions(1)]),
        ("replicas and a factor", vec![placed("a", &[(0, &[1])]).with_replication_factor(1)]),
        ("replicas on an unknown broker", vec![placed("a", &[(0, &[7])])]),
        ("two replicas on one broker", vec![placed("a", &[(0, &[1, 1])])]),
        ("a partition without replicas", vec![placed("a", &[(0, &[])])]),
        ("a gap between partitions", vec![placed("a", &[(0, &[1]), (2, &[1])])]),
        ("partitions that begin at 1", vec![placed("a", &[(1, &[1])])]),
        ("one partition twice", vec![placed("a", &[(0, &[1]), (0, &[1])])]),
        ("a negative partition", vec![placed("a", &[(-1, &[1])])]),
        ("an unknown config", vec![with(new("a", 1, 1), &[("no.such.config", Some("1"))])]),
        ("a config that is no number", vec![with(new("a", 1, 1), &[("retention.ms", Some("long"))])]),
        ("a config out of its range", vec![with(new("a", 1, 1), &[("segment.bytes", Some("1"))])]),
        ("a config of another list", vec![with(new("a", 1, 1), &[("cleanup.policy", Some("keep"))])]),
        ("a config without a value", vec![with(new("a", 1, 1), &[("retention.ms", None)])]),
        ("a config without a name", vec![with(new("a", 1, 1), &[("", Some("1"))])]),
        (
            "a local retention above the whole",
            vec![with(new("a", 1, 1), &[("retention.ms", Some("10")), ("local.retention.ms", Some("20"))])],
        ),
        ("one refused, one good", vec![new("not a name!", 1, 1), new(TOPIC, 1, 1)]),
    ];
    for (label, topics) in cases {
        let request = create(topics);
        side.ask(label, &request);
        side.ask(&format!("{label}, only validated"), &request.with_validate_only(true));
    }
    side.ask("a good one, only validated", &create(vec![new("valid", 3, 1)]).with_validate_only(true));
    let configured =
        with(new("valid", 3, 1), &[("retention.ms", Some("5")), ("cleanup.policy", Some("compact,delete"))]);
    side.ask("configs, only validated", &create(vec![configured]).with_validate_only(true));
    let placed = create(vec![placed("valid", &[(0, &[1]), (1, &[1])])]);
    side.ask("replicas, only validated", &placed.with_validate_only(true));
    side.ask("defaults, only validated", &create(vec![new("valid", -1, -1)]).with_validate_only(true));
}

fn created(side: &mut Side) {
    for version in side.versions_of::<CreateTopicsRequest>() {
        let name = format!("made-{version}");
        let topic = with(new(&name, 2, 1), &[("retention.ms", Some("7200000")), ("max.message.bytes", Some("2000"))]);
        side.ask_in(version, "two partitions and configs", &create(vec![topic]));
        side.ask_in(version, "defaults", &create(vec![new(&format!("plain-{version}"), -1, -1)]));
    }
    // Dots and underscores are one in the names of metrics.
    side.ask_once("a name with a dot", &create(vec![new("col.lision", 1, 1)]));
    side.ask("a name that collides with it", &create(vec![new("col_lision", 1, 1)]));
    side.ask_once("two replicas lists", &create(vec![placed("placed", &[(0, &[1]), (1, &[1])])]));
}

fn grown(side: &mut Side) {
    let to = |name: &str, count| CreatePartitionsTopic::default().with_name(topic(name)).with_count(count);
    let on = |count: usize, broker: i32| {
        let one = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(broker)]);
        Some(vec![one; count])
    };
    let empty = Some(vec![CreatePartitionsAssignment::default()]);
    let cases = [
        ("no topics", vec![]),
        ("an unknown topic", vec![to(NOWHERE, 3)]),
        ("as many as there are", vec![to("placed", 2)]),
        ("fewer", vec![to("placed", 1)]),
        ("none", vec![to("placed", 0)]),
        ("fewer than none", vec![to("placed", -1)]),
        ("too many", vec![to("placed", 100_000)]),
        ("one topic twice", vec![to("placed", 3), to("placed", 4)]),
        ("too few replica lists", vec![to("placed", 4).with_assignments(on(1, 1))]),
        ("too many replica lists", vec![to("placed", 3).with_assignments(on(2, 1))]),
        ("an unknown broker", vec![to("placed", 3).with_assignments(on(1, 7))]),
        ("a list without replicas", vec![to("placed", 3).with_assignments(empty)]),
        ("an illegal name", vec![to("not a name!", 3)]),
    ];
    for (label, topics) in cases {
        let request = CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(WITHIN_MS);
        side.ask(label, &request);
        side.ask(&format!("{label}, only validated"), &request.with_validate_only(true));
    }
    let good = CreatePartitionsRequest::default().with_topics(vec![to("placed", 3)]).with_timeout_ms(WITHIN_MS);
    side.ask("one more, only validated", &good.clone().with_validate_only(true));
    side.ask_once("one more", &good);
}

fn shortened(side: &mut Side) {
    let to = |name: &str, partition, offset| {
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![partition])
    };
    let led = DeleteRecordsRequest::default().with_topics(vec![to("placed", 0, 0)]).with_timeout_ms(WITHIN_MS);
    side.settle("a new topic is led", &led, |answer| {
        answer.topics.iter().all(|topic| topic.partitions.iter().all(|partition| partition.error_code == 0))
    });
    for (label, topics) in [
        ("no topics", vec![]),
        ("an unknown topic", vec![to(NOWHERE, 0, 0)]),
        ("an unknown partition", vec![to(TOPIC, 9, 0)]),
        ("a negative partition", vec![to(TOPIC, -1, 0)]),
        ("behind the end", vec![to(TOPIC, 0, 1_000)]),
        ("up to the start", vec![to(TOPIC, 0, 0)]),
        ("up to the high watermark", vec![to("placed", 0, -1)]),
        ("a negative offset", vec![to(TOPIC, 0, -2)]),
        ("an internal topic", vec![to("__consumer_offsets", 0, 0)]),
        ("one topic twice", vec![to(TOPIC, 0, 0), to(TOPIC, 0, 1_000)]),
        ("one topic twice, the last is good", vec![to(TOPIC, 0, 1_000), to(TOPIC, 0, 0)]),
        ("one topic twice, other partitions", vec![to(TOPIC, 0, 0), to(NOWHERE, 0, 0), to(TOPIC, 9, 0)]),
    ] {
        let request = DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(WITHIN_MS);
        side.ask(label, &request);
    }
}

fn deleted(side: &mut Side) {
    let named = |name: &str| DeleteTopicState::default().with_name(Some(topic(name)));
    let lookup = MetadataRequestTopic::default().with_name(Some(topic("placed")));
    let lookup = MetadataRequest::default().with_topics(Some(vec![lookup]));
    let known = side.settle("the topic is known", &lookup, |answer| answer.topics[0].error_code == 0);
    let placed = known.expect("every broker serves Metadata").topics[0].topic_id;
    let with_id = |id: Uuid| DeleteTopicState::default().with_name(None).with_topic_id(id);
    for (label, names) in [
        ("a topic twice by its name", vec!["placed", "placed"]),
        ("no names", vec![]),
        ("an unknown name", vec![NOWHERE]),
        ("an illegal name", vec!["a b"]),
    ] {
        let names = names.into_iter().map(topic).collect();
        side.ask(label, &DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(WITHIN_MS));
    }
    for (label, topics) in [
        ("an unknown name by state", vec![named(NOWHERE)]),
        ("an unknown name twice", vec![named(NOWHERE), named(NOWHERE)]),
        ("an unknown id", vec![with_id(no_id())]),
        ("an unknown id twice", vec![with_id(no_id()), with_id(no_id())]),
        ("neither name nor id", vec![with_id(Uuid::nil())]),
        ("a name with an id", vec![named(NOWHERE).with_topic_id(no_id())]),
        ("an empty name", vec![named("")]),
        ("a topic twice", vec![named("placed"), named("placed")]),
        ("a topic by its name and by its id", vec![named("placed"), with_id(placed)]),
        ("a topic by its id twice", vec![with_id(placed), with_id(placed)]),
        ("a topic twice beside an unknown one", vec![named("placed"), named(NOWHERE), named("placed")]),
    ] {
        side.ask(label, &DeleteTopicsRequest::default().with_topics(topics).with_timeout_ms(WITHIN_MS));
    }
    for version in side.versions_of::<DeleteTopicsRequest>() {
        let name = format!("plain-{version}");
        let mut request = DeleteTopicsRequest::default().with_timeout_ms(WITHIN_MS);
        match version {
            ..=5 => request.topic_names = vec![topic(&name)],
            _ => request.topics = vec![named(&name)],
        }
        side.ask_in(version, "a topic", &request);
        side.ask_in(version, "a topic that was deleted", &request);
    }
}
