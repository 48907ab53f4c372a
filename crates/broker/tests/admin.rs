//! What administrators ask: topics, partitions, configs. On one broker, and through a broker that is not the controller.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::alter_configs_request as alter;
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use support::{Client, TestBroker, free_port, wait_until};
use twinstream_telemetry::{LogOptions, logging};
use uuid::Uuid;

const NONE: i16 = 0;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const TOPIC_DELETION_DISABLED: i16 = 73;
const UNKNOWN_TOPIC_ID: i16 = 100;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn topic(topic: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(name(topic)).with_num_partitions(partitions).with_replication_factor(replicas)
}

fn with_config(topic: CreatableTopic, config: &str, value: &str) -> CreatableTopic {
    let config = CreatableTopicConfig::default().with_name(text(config)).with_value(Some(text(value)));
    topic.with_configs(vec![config])
}

async fn create(client: &mut Client, version: i16, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
    client.call(request, version).await.topics
}

async fn create_one(client: &mut Client, topic: CreatableTopic) -> CreatableTopicResult {
    create(client, 7, vec![topic]).await.remove(0)
}

fn codes(results: &[CreatableTopicResult]) -> Vec<i16> {
    results.iter().map(|result| result.error_code).collect()
}

async fn describe(client: &mut Client, kind: i8, resource: &str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(resource));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource.with_configuration_keys(None)])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    client.call(request, 4).await.results.remove(0)
}

fn by_name(result: &DescribeConfigsResult) -> BTreeMap<String, DescribeConfigsResourceResult> {
    assert_eq!(result.error_code, NONE, "{result:?}");
    result.configs.iter().map(|config| (config.name.to_string(), config.clone())).collect()
}

async fn value(client: &mut Client, kind: i8, resource: &str, config: &str) -> (String, i8) {
    let configs = by_name(&describe(client, kind, resource).await);
    let config = &configs[config];
    (config.value.as_ref().map(ToString::to_string).unwrap_or_default(), config.config_source)
}

/// One change of one resource; answers code and message.
async fn change(client: &mut Client, kind: i8, resource: &str, changes: &[(&str, i8, Option<&str>)]) -> (i16, String) {
    let configs = changes.iter().map(|(config, operation, value)| {
        incremental::AlterableConfig::default()
            .with_name(text(config))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = client.call(request, 1).await.responses.remove(0);
    (response.error_code, response.error_message.map(|message| message.to_string()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn created_topics_are_answered_in_full_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    for version in 2..=7 {
        let made = create(&mut client, version, vec![topic(&format!("t{version}"), 2, 1)]).await;
        assert_eq!(made.len(), 1, "v{version}");
        assert_eq!((made[0].error_code, made[0].name.as_str()), (NONE, format!("t{version}").as_str()));
        if version >= 5 {
            assert_eq!((made[0].num_partitions, made[0].replication_factor), (2, 1), "v{version}");
            let configs = made[0].configs.as_ref().expect("configs since v5");
            assert!(configs.iter().any(|config| config.name.as_str() == "retention.ms"), "v{version}");
        }
        assert_eq!(made[0].topic_id.is_nil(), version < 7, "v{version}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn default_partitions_and_replication_work_as_kafka_topics_sends_them() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("num.partitions", "3")]).await;
    let mut client = broker.client().await;
    let made = create_one(&mut client, topic("defaults", -1, -1)).await;
    assert_eq!((made.error_code, made.num_partitions, made.replication_factor), (NONE, 3, 1), "{made:?}");
    let old = create(&mut client, 3, vec![topic("old", -1, 1)]).await;
    assert_eq!(codes(&old), [NONE], "as Kafka takes it in the versions before v4, too");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_topic_gets_its_own_error_and_the_good_ones_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(create_one(&mut client, topic("there", 1, 1)).await.error_code, NONE);
    let assigned = |nodes: &[i32]| {
        let nodes = nodes.iter().copied().map(BrokerId).collect();
        let assignment = CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(nodes);
        topic("assigned", -1, -1).with_assignments(vec![assignment])
    };
    let asked = vec![
        (topic("there", 1, 1), TOPIC_ALREADY_EXISTS),
        (topic("bad name", 1, 1), INVALID_TOPIC),
        (topic("none", 0, 1), INVALID_PARTITIONS),
        (topic("three", 1, 3), INVALID_REPLICATION_FACTOR),
        (topic("twice", 1, 1), INVALID_REQUEST),
        (with_config(topic("mistyped", 1, 1), "retention.mss", "1"), INVALID_CONFIG),
        (with_config(topic("small", 1, 1), "segment.bytes", "1"), INVALID_CONFIG),
        (assigned(&[9]), INVALID_REPLICA_ASSIGNMENT),
        (topic("good", 1, 1), NONE),
    ];
    let (mut topics, expected): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    topics.push(topic("twice", 1, 1));
    let made = create(&mut client, 7, topics).await;
    assert_eq!(codes(&made), expected, "{made:#?}");
    let message = |at: usize| made[at].error_message.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(message(3).contains("replication factor 3 needs 3 brokers and 1 are registered"), "{}", message(3));
    assert!(message(5).contains("did you mean retention.ms?"), "{}", message(5));
    assert!(message(8).is_empty());
    assert_eq!(create_one(&mut client, assigned(&[1])).await.error_code, NONE);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_only_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    let request = CreateTopicsRequest::default().with_topics(vec![topic("tried", 2, 1)]).with_validate_only(true);
    let tried = client.call(request, 7).await.topics.remove(0);
    assert_eq!((tried.error_code, tried.num_partitions), (NONE, 2));
    assert!(!tried.topic_id.is_nil(), "it would have one");
    assert_eq!(create_one(&mut client, topic("tried", 1, 1)).await.error_code, NONE, "it was not there");
    let more = CreatePartitionsTopic::default().with_name(name("tried")).with_count(5).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]).with_validate_only(true);
    assert_eq!(client.call(request, 3).await.results[0].error_code, NONE);
    let asked = MetadataRequestTopic::default().with_name(Some(name("tried")));
    let metadata = client.call(MetadataRequest::default().with_topics(Some(vec![asked])), 9).await;
    assert_eq!(metadata.topics[0].partitions.len(), 1);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_deleted_by_name_and_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    let made = create(&mut client, 7, vec![topic("a", 1, 1), topic("b", 1, 1), topic("c", 1, 1)]).await;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("a"), name("gone")]).with_timeout_ms(1000);
    for_all_old_versions(&mut client, request).await;
    let state = DeleteTopicState::default;
    let request = DeleteTopicsRequest::default().with_topics(vec![
        state().with_topic_id(made[1].topic_id),
        state().with_name(Some(name("c"))),
        state().with_topic_id(Uuid::from_u128(5)),
        state(),
        state().with_name(Some(name("c"))).with_topic_id(made[2].topic_id),
    ]);
    let deleted = client.call(request, 6).await.responses;
    let codes: Vec<i16> = deleted.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [NONE, NONE, UNKNOWN_TOPIC_ID, INVALID_REQUEST, INVALID_REQUEST]);
    assert_eq!(deleted[0].name.as_ref().map(|name| name.as_str()), Some("b"));
    assert_eq!(deleted[1].topic_id, made[2].topic_id);
    assert_eq!(create_one(&mut client, topic("a", 1, 1)).await.error_code, NONE, "the name is free again");
    broker.stop().await.unwrap();
}

/// The first call deletes "a"; in all versions both topics are answered.
async fn for_all_old_versions(client: &mut Client, request: DeleteTopicsRequest) {
    for version in 1..=5 {
        let deleted = client.call(request.clone(), version).await.responses;
        let codes: Vec<i16> = deleted.iter().map(|result| result.error_code).collect();
        let first = if version == 1 { NONE } else { UNKNOWN_TOPIC_OR_PARTITION };
        assert_eq!(codes, [first, UNKNOWN_TOPIC_OR_PARTITION], "v{version}");
        assert_eq!(deleted[1].name.as_ref().map(|name| name.as_str()), Some("gone"), "v{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("delete.topic.enable", "false")]).await;
    let mut client = broker.client().await;
    create_one(&mut client, topic("a", 1, 1)).await;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("a")]);
    assert_eq!(client.call(request, 5).await.responses[0].error_code, TOPIC_DELETION_DISABLED);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn create_partitions_answers_every_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create(&mut client, 7, vec![topic("a", 1, 1), topic("b", 2, 1)]).await;
    let more = |topic: &str, count| {
        CreatePartitionsTopic::default().with_name(name(topic)).with_count(count).with_assignments(None)
    };
    let assignment = |node| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(node)]);
    for (version, count) in (0..=3).zip(3..) {
        let wrong = more("a", count).with_assignments(Some(vec![]));
        let request = CreatePartitionsRequest::default().with_topics(vec![more("b", count), more("gone", 3), wrong]);
        let results = client.call(request, version).await.results;
        let answered: BTreeMap<&str, i16> = results.iter().map(|r| (r.name.as_str(), r.error_code)).collect();
        let expected = [("a", INVALID_REPLICA_ASSIGNMENT), ("b", NONE), ("gone", UNKNOWN_TOPIC_OR_PARTITION)]
            .into_iter()
            .collect();
        assert_eq!(answered, expected, "v{version}");
    }
    let good = more("a", 2).with_assignments(Some(vec![assignment(1)]));
    let fewer = more("b", 1);
    let request = CreatePartitionsRequest::default().with_topics(vec![good, fewer]);
    let results = client.call(request, 3).await.results;
    assert_eq!((results[0].error_code, results[1].error_code), (NONE, INVALID_PARTITIONS));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_topic_config_is_described_with_default_source_type_and_text() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("log.retention.hours", "2")]).await;
    let mut client = broker.client().await;
    create_one(&mut client, with_config(topic("a", 1, 1), "cleanup.policy", "compact")).await;
    let configs = by_name(&describe(&mut client, TOPIC, "a").await);
    assert!(configs.len() >= 36, "{} configs", configs.len());
    assert!(configs.values().all(|config| config.value.is_some() && config.config_type > 0));
    assert!(configs.values().all(|config| config.documentation.as_ref().is_some_and(|doc| !doc.is_empty())));
    // Some have no setting of brokers behind them; of others only what stands in for it has a default.
    for (config, synonyms) in [("leader.replication.throttled.replicas", 0), ("segment.ms", 0), ("segment.bytes", 1)] {
        assert_eq!(configs[config].synonyms.len(), synonyms, "{config}");
    }
    let shown =
        |config: &str| (configs[config].value.as_ref().map(|value| value.as_str()), configs[config].config_source);
    assert_eq!(shown("cleanup.policy"), (Some("compact"), 1));
    assert_eq!(shown("retention.ms"), (Some("7200000"), 4), "the broker's hours, as milliseconds");
    assert_eq!(shown("segment.bytes"), (Some("1073741824"), 5));
    let sources: Vec<i8> = configs["cleanup.policy"].synonyms.iter().map(|synonym| synonym.source).collect();
    assert_eq!(sources, [1, 5]);
    for version in 1..=4 {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text("a"))
            .with_configuration_keys(Some(vec![text("retention.ms"), text("no.such.config")]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let result = client.call(request, version).await.results.remove(0);
        assert_eq!(result.configs.len(), 1, "v{version}");
        assert!(result.configs[0].synonyms.is_empty(), "v{version}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broker_setting_is_described_and_static_ones_are_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    let configs = by_name(&describe(&mut client, BROKER, "1").await);
    assert!(configs.len() > 200, "{} configs", configs.len());
    assert_eq!(configs["node.id"].value.as_ref().map(|value| value.as_str()), Some("1"));
    assert_eq!((configs["node.id"].config_source, configs["node.id"].read_only), (4, true));
    assert_eq!((configs["num.partitions"].config_source, configs["num.partitions"].read_only), (5, true));
    assert!(!configs["log.retention.ms"].read_only);
    assert!(configs.values().filter(|config| config.is_sensitive).all(|config| config.value.is_none()));
    let of_all = describe(&mut client, BROKER, "").await.configs;
    let of_all: Vec<&str> = of_all.iter().map(|config| &*config.name).collect();
    assert_eq!(of_all, ["min.insync.replicas"], "nothing else was set for all brokers");
    let loggers = by_name(&describe(&mut client, BROKER_LOGGER, "1").await);
    assert!(loggers.contains_key("root"), "{loggers:?}");
    for (kind, resource, code) in [
        (BROKER, "2", INVALID_REQUEST),
        (BROKER, "one", INVALID_REQUEST),
        (TOPIC, "gone", UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "bad name", INVALID_TOPIC),
        (32, "", INVALID_REQUEST),
        (16, "", INVALID_REQUEST),
        (3, "nothing", INVALID_REQUEST),
    ] {
        assert_eq!(describe(&mut client, kind, resource).await.error_code, code, "{kind} {resource}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_are_set_deleted_appended_and_subtracted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_one(&mut client, topic("a", 1, 1)).await;
    let ok = (NONE, String::new());
    assert_eq!(change(&mut client, TOPIC, "a", &[("retention.ms", SET, Some("5"))]).await, ok);
    assert_eq!(value(&mut client, TOPIC, "a", "retention.ms").await, ("5".to_owned(), 1));
    assert_eq!(change(&mut client, TOPIC, "a", &[("retention.ms", DELETE, None)]).await, ok);
    assert_eq!(value(&mut client, TOPIC, "a", "retention.ms").await, ("604800000".to_owned(), 5));
    assert_eq!(change(&mut client, TOPIC, "a", &[("cleanup.policy", APPEND, Some("compact"))]).await, ok);
    assert_eq!(value(&mut client, TOPIC, "a", "cleanup.policy").await, ("delete,compact".to_owned(), 1));
    assert_eq!(change(&mut client, TOPIC, "a", &[("cleanup.policy", SUBTRACT, Some("delete"))]).await, ok);
    assert_eq!(value(&mut client, TOPIC, "a", "cleanup.policy").await, ("compact".to_owned(), 1));
    for (changes, code, hint) in [
        (&[("retention.mss", SET, Some("1"))][..], INVALID_CONFIG, "did you mean retention.ms?"),
        (&[("segment.bytes", SET, Some("1"))], INVALID_CONFIG, "at least 1048576"),
        (&[("remote.storage.enable", SET, Some("true"))], INVALID_CONFIG, "not served by this release"),
        (&[("retention.ms", APPEND, Some("1"))], INVALID_CONFIG, "is no list"),
        (&[("retention.ms", 9, Some("1"))], INVALID_REQUEST, "operation 9"),
        (&[("retention.ms", SET, None)], INVALID_REQUEST, "no value"),
    ] {
        let (found, message) = change(&mut client, TOPIC, "a", changes).await;
        assert_eq!(found, code, "{changes:?}");
        assert!(message.contains(hint), "{changes:?}: {message}");
    }
    assert_eq!(
        change(&mut client, TOPIC, "gone", &[("retention.ms", SET, Some("1"))]).await.0,
        UNKNOWN_TOPIC_OR_PARTITION
    );
    broker.stop().await.unwrap();

    let broker = TestBroker::start(dir.path(), &[]).await;
    let kept = value(&mut broker.client().await, TOPIC, "a", "cleanup.policy").await;
    assert_eq!(kept, ("compact".to_owned(), 1), "configs survive a restart");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_settings_change_only_where_they_take_effect() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_one(&mut client, topic("a", 1, 1)).await;
    let ok = (NONE, String::new());
    assert_eq!(change(&mut client, BROKER, "", &[("log.retention.ms", SET, Some("7"))]).await, ok);
    assert_eq!(value(&mut client, TOPIC, "a", "retention.ms").await, ("7".to_owned(), 3));
    assert_eq!(change(&mut client, BROKER, "1", &[("log.retention.ms", SET, Some("8"))]).await, ok);
    assert_eq!(value(&mut client, TOPIC, "a", "retention.ms").await, ("8".to_owned(), 2));
    assert_eq!(value(&mut client, BROKER, "1", "log.retention.ms").await, ("8".to_owned(), 2));
    assert_eq!(value(&mut client, BROKER, "", "log.retention.ms").await, ("7".to_owned(), 3));
    let without_part = change(&mut client, BROKER, "1", &[("num.network.threads", SET, Some("4"))]).await;
    assert_eq!(without_part, ok, "Kafka takes it at run time, too");
    for (setting, value, hint) in [
        ("socket.receive.buffer.bytes", "1", "nothing to change"),
        ("listeners", "1", "restart"),
        ("no.such.setting", "1", "unknown broker setting"),
        ("max.connections", "many", "a whole number"),
        ("max.connections.per.ip.overrides", "somewhere:1", "a list of address:limit"),
    ] {
        let (code, message) = change(&mut client, BROKER, "1", &[(setting, SET, Some(value))]).await;
        assert_eq!(code, INVALID_REQUEST, "{setting}");
        assert!(message.contains(hint), "{setting}: {message}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_connections_changes_while_the_broker_runs() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    let ok = (NONE, String::new());
    assert_eq!(change(&mut client, BROKER, "", &[("max.connections.per.ip", SET, Some("1"))]).await, ok);
    let refused = async || broker.client().await.try_call(MetadataRequest::default(), 9).await.is_err();
    wait_until("the second connection is closed", refused).await;
    assert_eq!(change(&mut client, BROKER, "", &[("max.connections.per.ip", DELETE, None)]).await, ok);
    wait_until("connections are taken again", async || !refused().await).await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_levels_of_the_asked_broker_change_until_it_stops() {
    let options = LogOptions { filter: Some("error,twinstream_log=warn".to_owned()), ..LogOptions::default() };
    logging::init(&options).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(value(&mut client, BROKER_LOGGER, "1", "root").await, ("ERROR".to_owned(), 6));
    let ok = (NONE, String::new());
    let changes = [("root", SET, Some("WARN")), ("twinstream_log", SET, Some("INFO"))];
    assert_eq!(change(&mut client, BROKER_LOGGER, "1", &changes).await, ok);
    assert_eq!(value(&mut client, BROKER_LOGGER, "1", "root").await.0, "WARN");
    assert_eq!(value(&mut client, BROKER_LOGGER, "1", "twinstream_broker::server").await.0, "WARN", "it is listed");
    assert_eq!(value(&mut client, BROKER_LOGGER, "1", "twinstream_log").await.0, "INFO");
    assert_eq!(change(&mut client, BROKER_LOGGER, "1", &[("twinstream_log", DELETE, None)]).await, ok);
    assert_eq!(value(&mut client, BROKER_LOGGER, "1", "twinstream_log").await.0, "WARN", "as it was started");
    for (resource, change_of, code, hint) in [
        ("1", ("root", SET, Some("LOUD")), INVALID_CONFIG, "use FATAL, ERROR, WARN"),
        ("1", ("a=b,c", SET, Some("INFO")), INVALID_CONFIG, "cannot exist"),
        ("1", ("root", DELETE, None), INVALID_REQUEST, "cannot be removed"),
        ("1", ("root", APPEND, Some("INFO")), INVALID_REQUEST, "is no list"),
        ("2", ("root", SET, Some("INFO")), INVALID_REQUEST, "ask broker 2 itself"),
    ] {
        let (found, message) = change(&mut client, BROKER_LOGGER, resource, &[change_of]).await;
        assert_eq!(found, code, "{change_of:?}");
        assert!(message.contains(hint), "{change_of:?}: {message}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn synonyms_show_values_as_they_were_given_and_what_else_could_count() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("log.retention.hours", "2")]).await;
    let mut client = broker.client().await;
    create_one(&mut client, with_config(topic("a", 1, 1), "retention.ms", "5")).await;
    assert_eq!(change(&mut client, BROKER, "", &[("log.retention.ms", SET, Some("7"))]).await.0, NONE);
    let synonyms = async |client: &mut Client, kind, resource, config| {
        let configs = by_name(&describe(client, kind, resource).await);
        let shown =
            |s: &DescribeConfigsSynonym| format!("{}:{}={}", s.source, &*s.name, s.value.as_deref().unwrap_or("null"));
        configs[config].synonyms.iter().map(shown).collect::<Vec<_>>()
    };
    let of_topic = synonyms(&mut client, TOPIC, "a", "retention.ms").await;
    let expected = ["1:retention.ms=5", "3:log.retention.ms=7", "4:log.retention.hours=2", "5:log.retention.hours=168"];
    assert_eq!(of_topic, expected);
    let of_broker = synonyms(&mut client, BROKER, "1", "log.retention.hours").await;
    assert_eq!(of_broker, ["4:log.retention.hours=2", "5:log.retention.hours=168"], "itself and what is weaker");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn alter_configs_puts_everything_else_back_to_its_default() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_one(&mut client, with_config(topic("a", 1, 1), "retention.ms", "5")).await;
    for version in 0..=2 {
        let config = alter::AlterableConfig::default().with_name(text("retention.bytes")).with_value(Some(text("6")));
        let resource = alter::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text("a"))
            .with_configs(vec![config]);
        let request = AlterConfigsRequest::default().with_resources(vec![resource]);
        let response = client.call(request, version).await.responses.remove(0);
        assert_eq!(response.error_code, NONE, "v{version}");
    }
    assert_eq!(value(&mut client, TOPIC, "a", "retention.ms").await.1, 5);
    assert_eq!(value(&mut client, TOPIC, "a", "retention.bytes").await, ("6".to_owned(), 1));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn any_broker_takes_administrative_requests_and_shows_their_effect() {
    let dir = tempfile::tempdir().unwrap();
    let voter_port = free_port();
    let first = TestBroker::start_node(dir.path(), 1, voter_port, voter_port, &[]).await;
    let second = TestBroker::start_node(dir.path(), 2, free_port(), voter_port, &[]).await;
    let third = TestBroker::start_node(dir.path(), 3, free_port(), voter_port, &[]).await;
    let mut client = second.client().await;
    let made = create_one(&mut client, topic("spread", 6, 1)).await;
    assert_eq!((made.error_code, made.num_partitions), (NONE, 6), "{made:?}");
    let asked = || MetadataRequestTopic::default().with_name(Some(name("spread")));
    let metadata = client.call(MetadataRequest::default().with_topics(Some(vec![asked()])), 9).await;
    let leaders: BTreeSet<i32> = metadata.topics[0].partitions.iter().map(|partition| partition.leader_id.0).collect();
    assert_eq!(leaders, BTreeSet::from([1, 2, 3]), "{metadata:?}");
    assert_eq!(change(&mut client, TOPIC, "spread", &[("retention.ms", SET, Some("5"))]).await.0, NONE);
    assert_eq!(value(&mut client, TOPIC, "spread", "retention.ms").await.0, "5");
    assert_eq!(create_one(&mut client, topic("spread", 1, 1)).await.error_code, TOPIC_ALREADY_EXISTS);
    wait_until("the third broker knows the topic, too", async || {
        let metadata = third.client().await.call(MetadataRequest::default().with_topics(Some(vec![asked()])), 9).await;
        metadata.topics[0].partitions.len() == 6
    })
    .await;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("spread")]);
    assert_eq!(client.call(request, 5).await.responses[0].error_code, NONE);
    for broker in [third, second, first] {
        broker.stop().await.unwrap();
    }
}
