//! The schema registry as a process: over our own brokers, killed and started again, two at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use twinstream_testkit::{Answer, Cluster, Folder, Registry, peer, twinstream, wait_until};

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
async fn confluents_python_client_finds_what_it_expects() {
    let python = peer::python();
    let cluster = Cluster::start(1).await;
    let registry = Registry::start(cluster.folder(), &cluster.bootstrap()).await;
    let claims = python.text(include_str!("judges/registry.py"), &[registry.rest.base()]);
    assert_eq!(claims.lines().filter(|line| line.starts_with("ok ")).count(), 16, "{claims}");
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
