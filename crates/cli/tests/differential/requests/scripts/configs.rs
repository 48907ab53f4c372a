//! Settings of topics, brokers, groups, loggers and client metrics.

use twinstream_client::raw::kafka_protocol::messages::alter_configs_request::{self as whole};
use twinstream_client::raw::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinstream_client::raw::kafka_protocol::messages::incremental_alter_configs_request::{self as incremental};
use twinstream_client::raw::kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use super::{NOWHERE, TOPIC, s};
use crate::requests::side::Side;

/// The numbers of kinds of resources.
const TOPICS: i8 = 2;
const BROKERS: i8 = 4;
const LOGGERS: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUPS: i8 = 32;
const UNKNOWN: i8 = 77;

/// What can be done to one setting.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Settings of brokers whose values do not belong to one process.
const SHARED: [&str; 24] = [
    "auto.create.topics.enable",
    "background.threads",
    "compression.type",
    "default.replication.factor",
    "delete.topic.enable",
    "group.initial.rebalance.delay.ms",
    "group.max.session.timeout.ms",
    "group.min.session.timeout.ms",
    "log.cleaner.threads",
    "log.cleanup.policy",
    "log.flush.interval.messages",
    "log.message.timestamp.type",
    "log.retention.bytes",
    "log.retention.hours",
    "log.retention.ms",
    "log.segment.bytes",
    "max.connections",
    "message.max.bytes",
    "min.insync.replicas",
    "num.io.threads",
    "num.partitions",
    "offsets.retention.minutes",
    "transaction.max.timeout.ms",
    "unclean.leader.election.enable",
];

pub(super) fn run(side: &mut Side) {
    described(side);
    altered_by_step(side);
    altered_whole(side);
    described_again(side);
    listed(side);
}

fn of(kind: i8, name: &str) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(s(name))
        .with_configuration_keys(None)
}

fn keys(resource: DescribeConfigsResource, keys: &[&str]) -> DescribeConfigsResource {
    resource.with_configuration_keys(Some(keys.iter().map(|key| s(key)).collect()))
}

fn described(side: &mut Side) {
    let cases = [
        ("nothing", vec![]),
        ("a topic", vec![of(TOPICS, TOPIC)]),
        ("a topic that has configs", vec![of(TOPICS, "made-7")]),
        ("an internal topic", vec![keys(of(TOPICS, "__consumer_offsets"), &["cleanup.policy", "segment.bytes"])]),
        (
            "one topic twice",
            vec![keys(of(TOPICS, TOPIC), &["retention.ms"]), keys(of(TOPICS, TOPIC), &["retention.ms"])],
        ),
        ("an unknown topic", vec![of(TOPICS, NOWHERE)]),
        ("an illegal topic", vec![of(TOPICS, "not a name!")]),
        ("an empty topic", vec![of(TOPICS, "")]),
        ("one key of a topic", vec![keys(of(TOPICS, TOPIC), &["retention.ms"])]),
        ("an unknown key", vec![keys(of(TOPICS, TOPIC), &["no.such.key"])]),
        ("no keys", vec![keys(of(TOPICS, TOPIC), &[])]),
        ("keys of a broker", vec![keys(of(BROKERS, "1"), &SHARED)]),
        ("the cluster's defaults", vec![of(BROKERS, "")]),
        ("another broker", vec![of(BROKERS, "99")]),
        ("a broker by name", vec![of(BROKERS, "one")]),
        ("a negative broker", vec![of(BROKERS, "-1")]),
        ("loggers of another broker", vec![of(LOGGERS, "99")]),
        ("loggers without a broker", vec![of(LOGGERS, "")]),
        ("client metrics that nobody set", vec![of(CLIENT_METRICS, "none")]),
        ("client metrics without a name", vec![of(CLIENT_METRICS, "")]),
        ("a group", vec![of(GROUPS, "any")]),
        ("a group without a name", vec![of(GROUPS, "")]),
        ("an unknown kind", vec![of(UNKNOWN, "x")]),
        ("a known and an unknown topic", vec![keys(of(TOPICS, TOPIC), &["retention.ms"]), of(TOPICS, NOWHERE)]),
    ];
    for (label, resources) in cases {
        let request = DescribeConfigsRequest::default().with_resources(resources);
        side.ask(label, &request);
        side.ask(&format!("{label}, with synonyms"), &request.with_include_synonyms(true));
    }
    let request = DescribeConfigsRequest::default().with_resources(vec![of(TOPICS, TOPIC)]);
    side.ask("a topic, with documentation", &request.with_include_documentation(true));
}

fn step(name: &str, operation: i8, value: Option<&str>) -> incremental::AlterableConfig {
    let config = incremental::AlterableConfig::default().with_name(s(name)).with_config_operation(operation);
    config.with_value(value.map(s))
}

fn steps(kind: i8, name: &str, configs: Vec<incremental::AlterableConfig>) -> incremental::AlterConfigsResource {
    let resource = incremental::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name));
    resource.with_configs(configs)
}

fn altered_by_step(side: &mut Side) {
    let topic = |configs| vec![steps(TOPICS, "altered", configs)];
    let retention = || step("retention.ms", SET, Some("1000"));
    make(side, "altered");
    let cases = [
        ("nothing", vec![]),
        ("no configs", topic(vec![])),
        ("an unknown topic", vec![steps(TOPICS, NOWHERE, vec![retention()])]),
        ("an illegal topic", vec![steps(TOPICS, "not a name!", vec![retention()])]),
        ("a topic without a name", vec![steps(TOPICS, "", vec![retention()])]),
        ("an unknown key", topic(vec![step("no.such.key", SET, Some("1"))])),
        ("an unknown key, deleted", topic(vec![step("no.such.key", DELETE, None)])),
        ("an unknown key of a group, deleted", vec![steps(GROUPS, "g", vec![step("no.such.key", DELETE, None)])]),
        (
            "an unknown key of metrics, deleted",
            vec![steps(CLIENT_METRICS, "m", vec![step("no.such.key", DELETE, None)])],
        ),
        ("an unknown key of all brokers, deleted", vec![steps(BROKERS, "", vec![step("no.such.key", DELETE, None)])]),
        ("an empty key", topic(vec![step("", SET, Some("1"))])),
        ("a minimum of one broker", vec![steps(BROKERS, "1", vec![step("min.insync.replicas", SET, Some("1"))])]),
        (
            "a minimum that no broker has, deleted",
            vec![steps(BROKERS, "1", vec![step("min.insync.replicas", DELETE, None)])],
        ),
        (
            "the minimum of all brokers, deleted",
            vec![steps(BROKERS, "", vec![step("min.insync.replicas", DELETE, None)])],
        ),
        ("a minimum of none", vec![steps(BROKERS, "", vec![step("min.insync.replicas", SET, Some("0"))])]),
        ("the minimum that is", vec![steps(BROKERS, "", vec![step("min.insync.replicas", SET, Some("1"))])]),
        ("hours of retention", vec![steps(BROKERS, "", vec![step("log.retention.hours", SET, Some("1"))])]),
        ("an unknown operation", topic(vec![step("retention.ms", 9, Some("1"))])),
        ("no value to set", topic(vec![step("retention.ms", SET, None)])),
        ("no value to append", topic(vec![step("cleanup.policy", APPEND, None)])),
        ("appended to what is no list", topic(vec![step("retention.ms", APPEND, Some("1"))])),
        ("taken from what is no list", topic(vec![step("retention.ms", SUBTRACT, Some("1"))])),
        ("a value out of its range", topic(vec![step("segment.bytes", SET, Some("1"))])),
        ("a value that is no number", topic(vec![step("retention.ms", SET, Some("long"))])),
        ("one key twice", topic(vec![retention(), step("retention.ms", DELETE, None)])),
        ("one topic twice", [topic(vec![retention()]), topic(vec![retention()])].concat()),
        ("a policy that does not exist", topic(vec![step("cleanup.policy", APPEND, Some("keep"))])),
        ("all policies taken", topic(vec![step("cleanup.policy", SUBTRACT, Some("delete"))])),
        ("a deletion of what was not set", topic(vec![step("retention.ms", DELETE, None)])),
        ("an unknown kind", vec![steps(UNKNOWN, "x", vec![retention()])]),
        ("a broker that is not there", vec![steps(BROKERS, "99", vec![step("log.cleaner.threads", SET, Some("1"))])]),
        ("a broker by name", vec![steps(BROKERS, "one", vec![step("log.cleaner.threads", SET, Some("1"))])]),
        ("a static setting of a broker", vec![steps(BROKERS, "1", vec![step("broker.id", SET, Some("4"))])]),
        ("a static setting of all", vec![steps(BROKERS, "", vec![step("num.partitions", SET, Some("4"))])]),
        ("a logger that is not there", vec![steps(LOGGERS, "1", vec![step("no.such.logger", SET, Some("INFO"))])]),
        ("a level that is none", vec![steps(LOGGERS, "1", vec![step("root", SET, Some("LOUD"))])]),
        ("an unknown setting of a group", vec![steps(GROUPS, "g", vec![step("no.such.key", SET, Some("1"))])]),
        (
            "a session of a group out of its range",
            vec![steps(GROUPS, "g", vec![step("consumer.session.timeout.ms", SET, Some("1"))])],
        ),
        (
            "a group without a name",
            vec![steps(GROUPS, "", vec![step("consumer.session.timeout.ms", SET, Some("50000"))])],
        ),
        ("an unknown setting of metrics", vec![steps(CLIENT_METRICS, "m", vec![step("no.such.key", SET, Some("1"))])]),
        ("metrics without a name", vec![steps(CLIENT_METRICS, "", vec![step("interval.ms", SET, Some("1000"))])]),
        ("an interval out of its range", vec![steps(CLIENT_METRICS, "m", vec![step("interval.ms", SET, Some("1"))])]),
    ];
    for (label, resources) in cases {
        let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
        side.ask(&format!("{label}, only validated"), &request.clone().with_validate_only(true));
        side.ask(label, &request);
    }
    for (label, resources) in [
        ("a list that grows", topic(vec![step("cleanup.policy", APPEND, Some("compact"))])),
        ("a list that shrinks", topic(vec![step("cleanup.policy", SUBTRACT, Some("delete"))])),
        ("a value", topic(vec![retention()])),
        (
            "settings of a group",
            vec![steps(
                GROUPS,
                "tuned",
                vec![
                    step("consumer.session.timeout.ms", SET, Some("50000")),
                    step("consumer.heartbeat.interval.ms", SET, Some("6000")),
                ],
            )],
        ),
        (
            "settings of metrics",
            vec![steps(
                CLIENT_METRICS,
                "tuned",
                vec![
                    step("interval.ms", SET, Some("10000")),
                    step("metrics", SET, Some("org.apache.kafka.consumer.")),
                    step("match", SET, Some("client_id=a.*")),
                ],
            )],
        ),
        ("a setting of all brokers", vec![steps(BROKERS, "", vec![step("log.retention.ms", SET, Some("3600000"))])]),
        ("a setting of one broker", vec![steps(BROKERS, "1", vec![step("log.cleaner.threads", SET, Some("2"))])]),
    ] {
        side.ask_once(label, &IncrementalAlterConfigsRequest::default().with_resources(resources));
    }
}

fn value(name: &str, value: Option<&str>) -> whole::AlterableConfig {
    whole::AlterableConfig::default().with_name(s(name)).with_value(value.map(s))
}

fn values(kind: i8, name: &str, configs: Vec<whole::AlterableConfig>) -> whole::AlterConfigsResource {
    let resource = whole::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name));
    resource.with_configs(configs)
}

fn altered_whole(side: &mut Side) {
    make(side, "replaced");
    let topic = |configs| vec![values(TOPICS, "replaced", configs)];
    for (label, resources) in [
        ("nothing", vec![]),
        ("an unknown topic", vec![values(TOPICS, NOWHERE, vec![value("retention.ms", Some("1"))])]),
        ("an unknown key", topic(vec![value("no.such.key", Some("1"))])),
        ("no value", topic(vec![value("retention.ms", None)])),
        ("a value out of its range", topic(vec![value("segment.bytes", Some("1"))])),
        ("one key twice", topic(vec![value("retention.ms", Some("1")), value("retention.ms", Some("2"))])),
        ("an unknown kind", vec![values(UNKNOWN, "x", vec![])]),
        ("nothing of a topic that has nothing", topic(vec![])),
        ("nothing of all brokers", vec![values(BROKERS, "", vec![])]),
        ("a topic without a name", vec![values(TOPICS, "", vec![value("retention.ms", Some("1"))])]),
        ("a group without a value", vec![values(GROUPS, "g", vec![value("consumer.session.timeout.ms", None)])]),
        ("loggers", vec![values(LOGGERS, "1", vec![value("root", Some("INFO"))])]),
        ("two values", topic(vec![value("retention.ms", Some("1000")), value("cleanup.policy", Some("compact"))])),
        ("one value, the other goes", topic(vec![value("retention.ms", Some("2000"))])),
    ] {
        let request = AlterConfigsRequest::default().with_resources(resources);
        side.ask(&format!("{label}, only validated"), &request.clone().with_validate_only(true));
        side.ask(label, &request);
    }
}

fn described_again(side: &mut Side) {
    for (label, resource, config) in [
        ("the altered topic", of(TOPICS, "altered"), "retention.ms"),
        ("the replaced topic", of(TOPICS, "replaced"), "retention.ms"),
        ("the tuned group", of(GROUPS, "tuned"), "consumer.session.timeout.ms"),
        ("the tuned metrics", of(CLIENT_METRICS, "tuned"), "interval.ms"),
    ] {
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
        // The change is committed, but each broker sees it when it gets there.
        side.settle(label, &request, |answer| {
            let configs = answer.results.iter().flat_map(|result| &result.configs);
            let mut named = configs.filter(|found| found.name.as_str() == config);
            answer.results.iter().any(|result| result.error_code != 0) || named.any(|found| found.config_source != 5)
        });
        side.ask(label, &request);
    }
    let all = DescribeConfigsRequest::default().with_include_synonyms(true);
    let broker = keys(of(BROKERS, "1"), &["log.retention.ms", "log.cleaner.threads", "log.retention.hours"]);
    side.ask("settings of the broker, after", &all.clone().with_resources(vec![broker]));
    side.ask("settings of all brokers, after", &all.with_resources(vec![of(BROKERS, "")]));
}

fn listed(side: &mut Side) {
    for types in [vec![], vec![TOPICS], vec![BROKERS], vec![LOGGERS], vec![CLIENT_METRICS], vec![GROUPS], vec![UNKNOWN]]
    {
        let label = format!("kinds {types:?}");
        side.ask(&label, &ListConfigResourcesRequest::default().with_resource_types(types));
    }
}

fn make(side: &mut Side, name: &str) {
    use twinstream_client::raw::kafka_protocol::messages::CreateTopicsRequest;
    use twinstream_client::raw::kafka_protocol::messages::create_topics_request::CreatableTopic;
    let new = CreatableTopic::default().with_name(super::topic(name)).with_num_partitions(1).with_replication_factor(1);
    side.ask_once("a topic to alter", &CreateTopicsRequest::default().with_topics(vec![new]).with_timeout_ms(30_000));
}
