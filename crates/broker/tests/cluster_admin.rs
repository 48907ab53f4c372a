//! What administrators ask of the cluster as a whole: features, quotas, credentials, ACLs, SASL, lists of config resources.
//!
//! Each question is put to a broker that is not the controller, so that it is sent on where it must be.

mod support;

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::alter_client_quotas_request as quotas;
use kafka_protocol::messages::alter_configs_request as whole;
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterConfigsRequest, AlterUserScramCredentialsRequest, ApiVersionsRequest,
    ApiVersionsResponse, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeConfigsRequest, DescribeUserScramCredentialsRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    ListConfigResourcesRequest, SaslAuthenticateRequest, SaslHandshakeRequest, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;
use support::{Client, TestBroker, free_port, wait_until};

const NONE: i16 = 0;
const ILLEGAL_SASL_STATE: i16 = 34;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const SECURITY_DISABLED: i16 = 54;
const RESOURCE_NOT_FOUND: i16 = 91;
const DUPLICATE_RESOURCE: i16 = 92;
const UNACCEPTABLE_CREDENTIAL: i16 = 93;
const INVALID_UPDATE_VERSION: i16 = 95;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const DYNAMIC_BROKER: i8 = 2;
const DEFAULT: i8 = 5;
const DYNAMIC_CLIENT_METRICS: i8 = 7;
const DYNAMIC_GROUP: i8 = 8;

const SET: i8 = 0;
const APPEND: i8 = 2;

const UPGRADE: i8 = 1;
const SHA_512: i8 = 2;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Two brokers, and a client of the one that is not the controller.
async fn two_brokers(dir: &std::path::Path) -> (TestBroker, TestBroker, Client) {
    let port = free_port();
    let first = TestBroker::start_node(dir, 1, port, port, &[]).await;
    let second = TestBroker::start_node(dir, 2, free_port(), port, &[]).await;
    let client = second.client().await;
    (first, second, client)
}

async fn versions(client: &mut Client, version: i16) -> ApiVersionsResponse {
    let request =
        ApiVersionsRequest::default().with_client_software_name(text("test")).with_client_software_version(text("1"));
    client.call(request, version).await
}

#[tokio::test(flavor = "multi_thread")]
async fn features_are_advertised_with_the_levels_of_the_cluster_and_cannot_go_beyond_them() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second, mut client) = two_brokers(dir.path()).await;
    let answer = versions(&mut client, 4).await;
    let level = |name: &str| {
        let found = answer.finalized_features.iter().find(|feature| feature.name.as_str() == name);
        found.map(|feature| feature.max_version_level)
    };
    assert_eq!(level("metadata.version"), Some(30));
    assert_eq!(level("kraft.version"), Some(1));
    assert_eq!(level("eligible.leader.replicas.version"), Some(1));
    assert_eq!(level("share.version"), None, "share groups are not served");
    assert!(answer.finalized_features_epoch > 0);
    for feature in &answer.supported_features {
        assert_eq!(level(feature.name.as_str()), Some(feature.max_version), "a new cluster has the newest levels");
    }
    let old = versions(&mut client, 3).await;
    assert!(old.supported_features.iter().all(|feature| feature.min_version > 0), "0 breaks clients before v4");

    let update = |name: &str, level| {
        let update = FeatureUpdateKey::default().with_feature(text(name)).with_max_version_level(level);
        UpdateFeaturesRequest::default()
            .with_timeout_ms(10_000)
            .with_feature_updates(vec![update.with_upgrade_type(UPGRADE)])
    };
    let same = client.call(update("metadata.version", 30), 1).await;
    assert_eq!((same.error_code, same.results.len()), (NONE, 1), "v1 answers for each feature");
    let beyond = client.call(update("metadata.version", 31), 2).await;
    assert_eq!((beyond.error_code, beyond.results.len()), (INVALID_UPDATE_VERSION, 0));
    let message = beyond.error_message.unwrap();
    assert!(message.contains("Local controller 1 only supports versions 30-30"), "{message}");
    let unknown = client.call(update("no.such.feature", 1), 2).await;
    assert_eq!(unknown.error_code, INVALID_UPDATE_VERSION);
    drop((first, second));
}

fn entity(parts: &[(&str, Option<&str>)], changes: &[(&str, Option<f64>)]) -> quotas::EntryData {
    let parts = parts.iter().map(|(kind, name)| {
        quotas::EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
    });
    let changes = changes.iter().map(|(key, value)| {
        quotas::OpData::default().with_key(text(key)).with_value(value.unwrap_or_default()).with_remove(value.is_none())
    });
    quotas::EntryData::default().with_entity(parts.collect()).with_ops(changes.collect())
}

/// What is stored for users, as `user: key=value`.
async fn stored_quotas(client: &mut Client) -> Vec<String> {
    let component = ComponentData::default().with_entity_type(text("user")).with_match_type(2).with_match(None);
    let request = DescribeClientQuotasRequest::default().with_components(vec![component]).with_strict(true);
    let answer = client.call(request, 1).await;
    assert_eq!(answer.error_code, NONE);
    let line = |entry: &kafka_protocol::messages::describe_client_quotas_response::EntryData| {
        let user = entry.entity[0].entity_name.as_deref().unwrap_or("<default>").to_owned();
        entry.values.iter().map(move |value| format!("{user}: {}={}", value.key, value.value)).collect::<Vec<_>>()
    };
    answer.entries.unwrap().iter().flat_map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_stored_and_shown_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let broker = TestBroker::start_node(dir.path(), 1, port, port, &[]).await;
    let mut client = broker.client().await;
    let alter = |entries, validate_only| {
        AlterClientQuotasRequest::default().with_entries(entries).with_validate_only(validate_only)
    };
    let entries = vec![
        entity(&[("user", Some("alice"))], &[("producer_byte_rate", Some(1000.0))]),
        entity(&[("user", None)], &[("request_percentage", Some(12.5))]),
        entity(&[("user", Some("bob"))], &[("producer_byte_rate", Some(0.0))]),
        entity(&[("ip", Some("no-such-host.invalid"))], &[("connection_creation_rate", Some(1.0))]),
    ];
    let tried = client.call(alter(entries.clone(), true), 1).await;
    let codes = |answer: &kafka_protocol::messages::AlterClientQuotasResponse| {
        answer.entries.iter().map(|entry| entry.error_code).collect::<Vec<_>>()
    };
    let expected = [NONE, NONE, INVALID_REQUEST, INVALID_REQUEST];
    assert_eq!(codes(&tried), expected);
    assert!(stored_quotas(&mut client).await.is_empty(), "it was only tried out");
    assert_eq!(codes(&client.call(alter(entries, false), 0).await), expected);
    let stored = ["<default>: request_percentage=12.5", "alice: producer_byte_rate=1000"];
    assert_eq!(stored_quotas(&mut client).await, stored);
    broker.stop().await.unwrap();
    let broker = TestBroker::start_node(dir.path(), 1, port, port, &[]).await;
    let mut client = broker.client().await;
    assert_eq!(stored_quotas(&mut client).await, stored);
    let gone = entity(&[("user", Some("alice"))], &[("producer_byte_rate", None)]);
    assert_eq!(codes(&client.call(alter(vec![gone], false), 1).await), [NONE]);
    assert_eq!(stored_quotas(&mut client).await.len(), 1);

    let wrong = ComponentData::default().with_entity_type(text("team")).with_match_type(2);
    let answer = client.call(DescribeClientQuotasRequest::default().with_components(vec![wrong]), 0).await;
    assert_eq!((answer.error_code, answer.entries), (UNSUPPORTED_VERSION, None));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_stored_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second, mut client) = two_brokers(dir.path()).await;
    let upsertion = |user: &str, iterations| {
        ScramCredentialUpsertion::default()
            .with_name(text(user))
            .with_mechanism(SHA_512)
            .with_iterations(iterations)
            .with_salt(Bytes::from_static(b"salt"))
            .with_salted_password(Bytes::from_static(b"salted password"))
    };
    let request = AlterUserScramCredentialsRequest::default()
        .with_upsertions(vec![upsertion("alice", 8192), upsertion("bob", 1), upsertion("carol", 4096)])
        .with_deletions(vec![ScramCredentialDeletion::default().with_name(text("dave")).with_mechanism(SHA_512)]);
    let answer = client.call(request, 0).await;
    let codes: Vec<(&str, i16)> =
        answer.results.iter().map(|result| (result.user.as_str(), result.error_code)).collect();
    let expected = [("alice", NONE), ("bob", UNACCEPTABLE_CREDENTIAL), ("carol", NONE), ("dave", RESOURCE_NOT_FOUND)];
    assert_eq!(codes, expected);

    let all = client.call(DescribeUserScramCredentialsRequest::default().with_users(None), 0).await;
    let users: Vec<&str> = all.results.iter().map(|result| result.user.as_str()).collect();
    assert_eq!(users, ["alice", "carol"], "through the broker that sent the request on");
    let info = &all.results[0].credential_infos;
    assert_eq!((info.len(), info[0].mechanism, info[0].iterations), (1, SHA_512, 8192));
    let some = ["alice", "nobody", "carol", "carol"].map(|name| UserName::default().with_name(text(name)));
    let some = DescribeUserScramCredentialsRequest::default().with_users(Some(some.to_vec()));
    let answer = client.call(some, 0).await;
    let codes: Vec<i16> = answer.results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [NONE, RESOURCE_NOT_FOUND, DUPLICATE_RESOURCE]);
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn acls_and_sasl_answer_as_a_cluster_without_an_authorizer_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    for version in 1..=3 {
        let described = client.call(DescribeAclsRequest::default(), version).await;
        assert_eq!((described.error_code, described.resources.len()), (SECURITY_DISABLED, 0), "v{version}");
        let creations = vec![AclCreation::default(), AclCreation::default()];
        let created = client.call(CreateAclsRequest::default().with_creations(creations), version).await;
        let codes: Vec<i16> = created.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [SECURITY_DISABLED; 2], "v{version}");
        let filters = vec![DeleteAclsFilter::default()];
        let deleted = client.call(DeleteAclsRequest::default().with_filters(filters), version).await;
        let codes: Vec<i16> = deleted.filter_results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [SECURITY_DISABLED], "v{version}");
    }
    for version in 0..=1 {
        let request = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
        let answer = client.call(request, version).await;
        assert_eq!((answer.error_code, answer.mechanisms.len()), (ILLEGAL_SASL_STATE, 0), "v{version}");
    }
    for version in 0..=2 {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(b"\0alice\0secret"));
        assert_eq!(client.call(request, version).await.error_code, ILLEGAL_SASL_STATE, "v{version}");
    }
    broker.stop().await.unwrap();
}

async fn set(client: &mut Client, kind: i8, resource: &str, config: &str, value: &str) -> i16 {
    let config = incremental::AlterableConfig::default().with_name(text(config)).with_value(Some(text(value)));
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.call(request, 1).await.responses[0].error_code
}

async fn shown(client: &mut Client, kind: i8, resource: &str, config: &str) -> Option<(String, i8)> {
    let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(resource));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(None)]);
    let answer = client.call(request, 4).await;
    assert_eq!(answer.results[0].error_code, NONE);
    let found = answer.results[0].configs.iter().find(|found| found.name.as_str() == config)?;
    Some((found.value.as_ref().map(ToString::to_string).unwrap_or_default(), found.config_source))
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_subscriptions_have_configs_of_their_own_and_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second, mut client) = two_brokers(dir.path()).await;
    let session = "consumer.session.timeout.ms";
    assert_eq!(shown(&mut client, GROUP, "readers", session).await, Some(("45000".to_owned(), 5)));
    assert_eq!(set(&mut client, GROUP, "readers", session, "50000").await, NONE);
    assert_eq!(shown(&mut client, GROUP, "readers", session).await, Some(("50000".to_owned(), DYNAMIC_GROUP)));
    assert_eq!(set(&mut client, GROUP, "readers", session, "70000").await, INVALID_CONFIG);
    assert_eq!(set(&mut client, GROUP, "", session, "50000").await, INVALID_REQUEST);
    assert_eq!(set(&mut client, CLIENT_METRICS, "basic", "interval.ms", "5000").await, NONE);
    assert_eq!(set(&mut client, CLIENT_METRICS, "basic", "interval.ms", "1").await, INVALID_REQUEST);
    let interval = shown(&mut client, CLIENT_METRICS, "basic", "interval.ms").await;
    assert_eq!(interval, Some(("5000".to_owned(), DYNAMIC_CLIENT_METRICS)));

    let list = |kinds: &[i8]| ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec());
    let answer = client.call(list(&[]), 1).await;
    let all: Vec<(i8, &str)> =
        answer.config_resources.iter().map(|found| (found.resource_type, found.resource_name.as_str())).collect();
    let loggers_and_brokers = [(BROKER_LOGGER, "1"), (BROKER_LOGGER, "2"), (BROKER, "1"), (BROKER, "2")];
    assert_eq!(all, [&[(GROUP, "readers"), (CLIENT_METRICS, "basic")][..], &loggers_and_brokers].concat());
    let answer = client.call(list(&[TOPIC, GROUP]), 1).await;
    assert_eq!(answer.config_resources.len(), 1);
    assert_eq!(client.call(list(&[3]), 1).await.error_code, UNSUPPORTED_VERSION);
    let old = client.call(ListConfigResourcesRequest::default(), 0).await;
    let names: Vec<&str> = old.config_resources.iter().map(|found| found.resource_name.as_str()).collect();
    assert_eq!(names, ["basic"], "v0 knows of nothing else");
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn producer_ids_come_from_a_range_of_the_cluster() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ranges = Vec::new();
    for dir in [&a, &b] {
        let broker = TestBroker::start(dir.path(), &[]).await;
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1000);
        let answer = broker.client().await.call(request, 4).await;
        assert_eq!(answer.error_code, NONE);
        ranges.push(answer.producer_id.0 >> 40);
        broker.stop().await.unwrap();
    }
    assert!(ranges[0] > 0 && ranges[1] > 0, "Kafka counts from 0: {ranges:?}");
    assert_ne!(ranges[0], ranges[1], "two clusters");
}

#[tokio::test(flavor = "multi_thread")]
async fn cordoned_directories_get_no_new_partitions_from_the_moment_on() {
    use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
    use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, DescribeLogDirsRequest, TopicName};
    let dir = tempfile::tempdir().unwrap();
    let dirs: Vec<String> = ["a", "b"].map(|name| dir.path().join(name).display().to_string()).to_vec();
    let broker = TestBroker::start(dir.path(), &[("log.dirs", &dirs.join(","))]).await;
    let mut client = broker.client().await;
    assert_eq!(set(&mut client, BROKER, "1", "cordoned.log.dirs", &dirs[0]).await, NONE);
    let topic = CreatableTopic::default().with_name(TopicName(text("t"))).with_num_partitions(6);
    let request = CreateTopicsRequest::default().with_topics(vec![topic.with_replication_factor(1)]);
    assert_eq!(client.call(request.with_timeout_ms(10_000), 7).await.topics[0].error_code, NONE);
    wait_until("all partitions have a folder, in the other directory", async || {
        let answer = client.call(DescribeLogDirsRequest::default().with_topics(None), 4).await;
        let partitions = |dir: &str| {
            let found = answer.results.iter().filter(|result| result.log_dir.as_str() == dir);
            found.flat_map(|result| &result.topics).map(|topic| topic.partitions.len()).sum::<usize>()
        };
        assert_eq!(partitions(&dirs[0]), 0);
        partitions(&dirs[1]) == 6
    })
    .await;
    assert_eq!(set(&mut client, BROKER, "1", "cordoned.log.dirs", "/nowhere").await, INVALID_REQUEST);
    assert_eq!(set(&mut client, BROKER, "", "cordoned.log.dirs", &dirs[0]).await, INVALID_REQUEST);
    // With all directories cordoned the controller places nothing here, and takes partitions that are placed by name.
    assert_eq!(set(&mut client, BROKER, "1", "cordoned.log.dirs", "*").await, NONE);
    let create = |name: &str, factor: i16, nodes: &[i32]| {
        let assignment = |node: &i32| CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(*node)]);
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(-1)
            .with_replication_factor(factor)
            .with_assignments(nodes.iter().map(assignment).collect());
        CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(nodes.is_empty())
    };
    wait_until("the controller knows", async || {
        client.call(create("u", 1, &[]), 7).await.topics[0].error_code == INVALID_REPLICATION_FACTOR
    })
    .await;
    assert_eq!(client.call(create("v", -1, &[1]), 7).await.topics[0].error_code, NONE);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_broker_are_checked_and_changed_by_that_broker_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dirs: Vec<String> = ["a", "b"].map(|name| dir.path().join(name).display().to_string()).to_vec();
    let port = free_port();
    let first = TestBroker::start_node(dir.path(), 1, port, port, &[("log.cleanup.policy", "compact")]).await;
    let second = TestBroker::start_node(dir.path(), 2, free_port(), port, &[("log.dirs", &dirs.join(","))]).await;
    let (mut controller, mut client) = (first.client().await, second.client().await);
    // The controller does not know the directories of the other.
    assert_eq!(set(&mut client, BROKER, "2", "cordoned.log.dirs", "/nowhere").await, INVALID_REQUEST);
    assert_eq!(set(&mut client, BROKER, "2", "cordoned.log.dirs", &dirs[0]).await, NONE);
    assert_eq!(set(&mut controller, BROKER, "2", "cordoned.log.dirs", &dirs[1]).await, INVALID_REQUEST);
    let cordoned = shown(&mut client, BROKER, "2", "cordoned.log.dirs").await;
    assert_eq!(cordoned, Some((dirs[0].clone(), DYNAMIC_BROKER)));

    let change = |kind, resource: &str, name: &str, operation: i8, value: &str| {
        let config = incremental::AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
        incremental::AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(resource))
            .with_configs(vec![config.with_config_operation(operation)])
    };
    let changes = vec![
        change(BROKER, "1", "log.cleaner.threads", SET, "2"),
        change(BROKER, "", "log.cleaner.threads", SET, "2"),
        change(BROKER_LOGGER, "1", "root", SET, "INFO"),
        change(BROKER, "2", "log.cleanup.policy", APPEND, "compact"),
    ];
    let answer = client.call(IncrementalAlterConfigsRequest::default().with_resources(changes), 1).await;
    let codes = answer.responses.iter().map(|response| (response.resource_name.as_str(), response.error_code));
    let expected = [("1", INVALID_REQUEST), ("", NONE), ("1", INVALID_REQUEST), ("2", NONE)];
    assert_eq!(codes.collect::<Vec<_>>(), expected, "{answer:?}");
    let message = answer.responses[0].error_message.as_ref().unwrap();
    assert_eq!(message.as_str(), "Unexpected broker id, expected 2, but received 1");
    let policy = shown(&mut client, BROKER, "2", "log.cleanup.policy").await;
    assert_eq!(policy, Some(("delete,compact".to_owned(), DYNAMIC_BROKER)), "what the controller was given is its own");

    let replaced = ["1", "2"].map(|broker| {
        whole::AlterConfigsResource::default().with_resource_type(BROKER).with_resource_name(text(broker))
    });
    let request = AlterConfigsRequest::default().with_resources(replaced.to_vec());
    let answer = client.call(request, 2).await;
    let codes: Vec<i16> = answer.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, NONE]);
    let cordoned = shown(&mut client, BROKER, "2", "cordoned.log.dirs").await;
    assert_eq!(cordoned, Some((String::new(), DEFAULT)), "everything is as it was");
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_creation_rate_wait_to_be_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(set(&mut client, BROKER, "", "max.connection.creation.rate", "0").await, NONE);
    let request = || kafka_protocol::messages::DescribeClusterRequest::default().with_endpoint_type(1);
    // The change reaches the listener with the next image; a connection that came before is served.
    wait_until("a new connection is not served", async || {
        let mut late = broker.client().await;
        tokio::time::timeout(Duration::from_millis(700), late.try_call(request(), 1)).await.is_err()
    })
    .await;
    assert_eq!(client.call(request(), 1).await.error_code, NONE, "open connections go on");
    assert_eq!(set(&mut client, BROKER, "", "max.connection.creation.rate", "1000").await, NONE);
    assert_eq!(broker.client().await.call(request(), 1).await.error_code, NONE, "and new ones, once they may");
    broker.stop().await.unwrap();
}
