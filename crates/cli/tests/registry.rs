//! The schema registry as a process: over our own brokers, killed and started again, two at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use twinstream_client::raw::kafka_protocol::messages::IncrementalAlterConfigsRequest;
use twinstream_client::raw::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{MirrorSource, NewTopic, Node, RawClient};
use twinstream_model::TopicId;
use twinstream_testkit::{Answer, Cluster, Folder, Registry, peer, records, twinstream, wait_until};
use uuid::Uuid;

const ALIKE_TIME_MAX: Duration = Duration::from_secs(30);

fn record(fields: &str) -> Value {
    json!({"schema": format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)})
}

async fn register(registry: &Registry, subject: &str, schema: &Value) -> Answer {
    registry.rest.post(&format!("/subjects/{subject}/versions"), schema).await
}

fn code(answer: &Answer) -> (u16, i64) {
    let body = answer.body.as_object().unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!(body.len(), 2, "error bodies have two members: {answer:?}");
    (answer.status, body["error_code"].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_was_answered_is_there_after_a_kill() {
    let cluster = Cluster::start(1).await;
    let mut registry = Registry::start(cluster.folder(), &cluster.bootstrap()).await;
    let (a, ab) = (
        record(r#"{"name":"a","type":"int"}"#),
        record(r#"{"name":"a","type":"int"},{"name":"b","type":"int","default":0}"#),
    );
    let incompatible = record(r#"{"name":"a","type":"string"}"#);

    let first = register(&registry, "s-value", &a).await.good();
    assert_eq!(register(&registry, "other-value", &a).await.good(), first);
    assert_ne!(register(&registry, "s-value", &ab).await.good(), first);
    assert_eq!(code(&register(&registry, "s-value", &incompatible).await), (409, 409));
    registry.rest.put("/config/s-value", &json!({"compatibility": "FULL_TRANSITIVE"})).await.good();
    registry.rest.put("/mode/other-value", &json!({"mode": "READONLY"})).await.good();
    register(&registry, "gone", &a).await.good();
    assert_eq!(registry.rest.delete("/subjects/gone").await.good(), json!([1]));
    assert_eq!(registry.rest.delete("/subjects/gone?permanent=true").await.good(), json!([1]));
    assert_eq!(registry.rest.delete("/subjects/s-value/versions/1").await.good(), json!(1));
    let questions = [
        "/subjects",
        "/subjects?deleted=true",
        "/schemas?deleted=true",
        "/schemas/ids/1",
        "/schemas/ids/1/versions?deleted=true",
        "/subjects/s-value/versions",
        "/subjects/s-value/versions/latest",
        "/subjects/gone/versions",
        "/config/s-value",
        "/mode/other-value",
    ];
    let before = answers(&registry, &questions).await;
    assert_eq!(before["/subjects"].body, json!(["other-value", "s-value"]));
    assert_eq!(before["/subjects/gone/versions"].status, 404);

    registry.server.crash_and_restart().await;
    assert_eq!(answers(&registry, &questions).await, before);
    assert_eq!(code(&register(&registry, "other-value", &ab).await), (422, 42205));
    registry.server.stop().await;
}

async fn answers<'q>(registry: &Registry, questions: &[&'q str]) -> BTreeMap<&'q str, Answer> {
    let mut answers = BTreeMap::new();
    for question in questions {
        answers.insert(*question, registry.rest.get(question).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_registries_on_one_topic_never_give_an_id_twice() {
    let cluster = Cluster::start(1).await;
    let one = Registry::start(cluster.folder(), &cluster.bootstrap()).await;
    let two = Registry::start(cluster.folder(), &cluster.bootstrap()).await;
    let mut ids = BTreeSet::new();
    for round in 0..10 {
        let schema = |side: &str| record(&format!(r#"{{"name":"{side}{round}","type":"int","default":0}}"#));
        let (left, right) = (schema("left"), schema("right"));
        let subject = format!("race-{}", round % 3);
        let (left, right) = tokio::join!(register(&one, &subject, &left), register(&two, &subject, &right));
        for answer in [left, right] {
            let id = answer.good()["id"].as_i64().unwrap();
            assert!(ids.insert(id), "id {id} was given twice");
        }
    }
    // Each has read its own writes; the other's may take a moment.
    wait_until("both registries know the same", ALIKE_TIME_MAX, || async {
        let (left, right) = (one.rest.get("/schemas").await.good(), two.rest.get("/schemas").await.good());
        left == right && left.as_array().unwrap().len() == 20
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_schemas_keep_their_ids_over_a_kill() {
    let cluster = Cluster::start(1).await;
    let mut registry = Registry::start(cluster.folder(), &cluster.bootstrap()).await;
    let a = record(r#"{"name":"a","type":"int"}"#);
    let with = |id: i64, version: i64| {
        let mut body = a.clone();
        (body["id"], body["version"]) = (json!(id), json!(version));
        body
    };
    assert_eq!(code(&register(&registry, "s-value", &with(700, 9)).await), (422, 42205));
    register(&registry, "gone", &a).await.good();
    assert_eq!(code(&registry.rest.put("/mode", &json!({"mode": "IMPORT"})).await), (422, 42205));
    registry.rest.delete("/subjects/gone").await.good();
    registry.rest.put("/mode", &json!({"mode": "IMPORT"})).await.good();
    assert_eq!(register(&registry, "s-value", &with(700, 9)).await.good(), json!({"id": 700}));
    assert_eq!(code(&register(&registry, "t-value", &a).await), (422, 42205));

    registry.server.crash_and_restart().await;
    assert_eq!(registry.rest.get("/mode").await.good(), json!({"mode": "IMPORT"}));
    let latest = registry.rest.get("/subjects/s-value/versions/latest").await.good();
    assert_eq!((&latest["id"], &latest["version"]), (&json!(700), &json!(9)));
    assert_eq!(registry.rest.get("/subjects?deleted=true").await.good(), json!(["s-value"]));
    assert_eq!(registry.rest.delete("/mode").await.good(), json!({"mode": "IMPORT"}));
    let next = register(&registry, "u-value", &json!({"schema": "\"int\""})).await.good();
    assert_eq!(next, json!({"id": 701}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_of_a_mirrored_topic_serves_what_arrives_and_writes_nothing() {
    let cluster = Cluster::start(1).await;
    let writer = Registry::start(cluster.folder(), &cluster.bootstrap()).await;
    let a = record(r#"{"name":"a","type":"int"}"#);
    let id = register(&writer, "s-value", &a).await.good();
    // What arrives in the topic looks the same whether a link or a registry writes it.
    let mirrored = [("twinstream.kafkastore.mirrored", "true")];
    let reader = Registry::start_with(cluster.folder(), &cluster.bootstrap(), &mirrored).await;
    assert_eq!(register(&reader, "s-value", &a).await.good(), id, "what is there already is answered");
    let refused = register(&reader, "t-value", &a).await;
    assert_eq!(code(&refused), (422, 42205));
    assert!(refused.body["message"].as_str().unwrap().contains("_schemas is a mirror"), "{refused:?}");
    assert_eq!(code(&reader.rest.put("/mode", &json!({"mode": "READWRITE"})).await), (422, 42205));
    assert_eq!(reader.rest.get("/mode").await.good(), json!({"mode": "READONLY"}));
    assert_eq!(reader.rest.get("/master_available").await.good(), json!({"master_available": false}));

    register(&writer, "t-value", &a).await.good();
    wait_until("the mirror's registry has the new subject", ALIKE_TIME_MAX, || async {
        reader.rest.get("/subjects").await.good() == json!(["s-value", "t-value"])
    })
    .await;
    let elsewhere = [("twinstream.kafkastore.mirrored", "true"), ("kafkastore.topic", "a._schemas")];
    let told = Command::new(twinstream())
        .args(["registry", "--override", "listeners=http://127.0.0.1:0"])
        .args(["--override", &format!("kafkastore.bootstrap.servers={}", cluster.bootstrap())])
        .args(elsewhere.iter().flat_map(|(name, value)| ["--override".to_owned(), format!("{name}={value}")]))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("start the link first"), "{told:?}");
}

/// An aligned copy of another cluster's `_schemas`, with nothing in it yet.
async fn mirror_of_schemas(client: &RawClient) {
    let topic = records::topic_name("_schemas");
    let (link, cluster, topic_id) = (Uuid::from_u128(7), "elsewhere".to_owned(), TopicId(Uuid::from_u128(8)));
    let of = MirrorSource { link, cluster, topic: topic.clone(), topic_id };
    let new = NewTopic::new(topic.clone(), 1, 1).with_config("cleanup.policy", "compact").mirroring(of);
    client.create_topics(&[new], false).await.expect("an answer")[&topic].as_ref().expect("a mirror");
}

async fn promote(client: &RawClient) {
    let state = AlterableConfig::default()
        .with_name(StrBytes::from_static_str("twinstream.mirror.state"))
        .with_value(Some(StrBytes::from_static_str("promoted")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2) // a topic
        .with_resource_name(StrBytes::from_static_str("_schemas"))
        .with_configs(vec![state]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.request(Node::Any, &request).await.expect("an answer");
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirror_in_our_brokers_is_noticed_and_taken_over_once_it_is_promoted() {
    let cluster = Cluster::start(1).await;
    let client = RawClient::connect(&records::client_settings(&cluster.bootstrap(), &[])).await.expect("a client");
    mirror_of_schemas(&client).await;
    let registry = Registry::start(cluster.folder(), &cluster.bootstrap()).await;
    let a = record(r#"{"name":"a","type":"int"}"#);
    assert_eq!(registry.rest.get("/mode").await.good(), json!({"mode": "READONLY"}));
    assert_eq!(code(&register(&registry, "s-value", &a).await), (422, 42205));
    assert_eq!(registry.rest.get("/subjects").await.good(), json!([]));

    promote(&client).await;
    wait_until("the registry says that it writes", ALIKE_TIME_MAX, || async {
        registry.rest.get("/mode").await.good() == json!({"mode": "READWRITE"})
    })
    .await;
    assert_eq!(register(&registry, "s-value", &a).await.good(), json!({"id": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confluents_python_client_finds_what_it_expects() {
    let python = peer::python();
    let cluster = Cluster::start(1).await;
    let registry = Registry::start(cluster.folder(), &cluster.bootstrap()).await;
    let claims = python.text(include_str!("judges/registry.py"), &[registry.rest.base()]);
    assert_eq!(claims.lines().filter(|line| line.starts_with("ok ")).count(), 21, "{claims}");
}

#[test]
fn bad_settings_are_one_clear_error_each() {
    for (setting, said) in [
        ("kafkastore.bootstrap.servers=127.0.0.1:1", "127.0.0.1:1 (Connection refused"),
        ("kafkastore.topik=x", "did you mean `kafkastore.topic`?"),
        ("kafkastore.security.protocol=SSL", "built without TLS"),
    ] {
        let folder = Folder::new();
        let file = folder.path().join("registry.properties");
        let text = format!("listeners=http://127.0.0.1:0\nkafkastore.bootstrap.servers=127.0.0.1:1\n{setting}\n");
        std::fs::write(&file, text).unwrap();
        let output = Command::new(twinstream()).args(["registry", "-c"]).arg(&file).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(said), "{setting}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}
