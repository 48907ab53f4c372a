//! Sink connectors in a worker against Apache Kafka: converters, retries, dead letters, commits, rebalances, pause.

use std::sync::atomic::Ordering;

use crate::support::memory::{self, Memory};
use crate::support::{SOON, TestWorker};
use bytes::Bytes;
use serde_json::json;
use twinstream_client::ProducerRecord;
use twinstream_testkit::{free_port, peer, records, wait_until};

fn record(topic: &str, key: &str, value: &str) -> ProducerRecord {
    let bytes = |text: &str| Some(Bytes::from(text.to_owned()));
    ProducerRecord::new(records::topic_name(topic), bytes(key), bytes(value))
}

async fn wait_values(memory: &Memory, wanted: &[&str]) {
    wait_until(&format!("the sink has {wanted:?}"), SOON, || async { memory.values() == wanted }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_delivers_each_record_and_deals_with_bad_ones() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    let port = free_port();
    let memory = Memory::default();
    let worker = TestWorker::start(&bootstrap, "sinks", port, vec![memory.plugin()]).await;
    records::create_topic(&bootstrap, "in", 2).await;
    let produce = |values: &[(&str, &str)]| {
        let records: Vec<ProducerRecord> = values.iter().map(|(k, v)| record("in", k, v)).collect();
        let bootstrap = bootstrap.clone();
        async move { records::produce(&bootstrap, &[], &records).await }
    };

    // A put that may pass is repeated with the same records.
    memory.refuse.store(2, Ordering::Release);
    produce(&[("a", r#"{"n":1}"#), ("b", r#"{"n":2}"#)]).await;
    worker.put("keep", &[("connector.class", memory::CLASS), ("topics", "in"), ("tasks.max", "2")]).await;
    worker.wait_states("keep", &["RUNNING", "RUNNING", "RUNNING"]).await;
    wait_values(&memory, &[r#"{"n":1}"#, r#"{"n":2}"#]).await;

    // Committed offsets are those after the last record; a killed worker delivers again only what was not committed.
    wait_until("offsets are committed", SOON, || async {
        let offsets = worker.rest.get("/connectors/keep/offsets").await.good();
        let offset = |entry: &serde_json::Value| entry["offset"]["kafka_offset"].as_i64().unwrap_or(0);
        offsets["offsets"].as_array().unwrap().iter().map(offset).sum::<i64>() == 2
    })
    .await;
    worker.kill();
    let worker = TestWorker::start(&bootstrap, "sinks", port, vec![memory.plugin()]).await;
    produce(&[("a", "3")]).await;
    wait_values(&memory, &["3", r#"{"n":1}"#, r#"{"n":2}"#]).await;

    // Paused, nothing comes; resumed, it does.
    worker.rest.put("/connectors/keep/pause", &json!({})).await.good();
    worker.wait_states("keep", &["PAUSED", "PAUSED", "PAUSED"]).await;
    produce(&[("a", "4"), ("b", "5")]).await;
    let ends = records::read_all(&bootstrap, "in").await.len();
    assert_eq!((ends, memory.count()), (5, 3));
    worker.rest.put("/connectors/keep/resume", &json!({})).await.good();
    wait_until("the rest is delivered", SOON, || async { memory.count() == 5 }).await;

    // A record that is no JSON fails its task, with a plain first line.
    produce(&[("a", "{bad")]).await;
    let failed = wait_until_failed(&worker, "keep").await;
    assert!(failed.starts_with("cannot convert the value of in-"), "{failed}");
    assert!(failed.contains("\nCaused by: "), "{failed}");

    // With tolerance it goes to the dead letters, and what the task itself reports as well.
    let tolerant = [
        ("connector.class", memory::CLASS),
        ("topics", "in"),
        ("tasks.max", "2"),
        ("poison", "666"),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", "dead"),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
    ];
    worker.put("keep", &tolerant).await;
    produce(&[("a", "666"), ("b", "7")]).await;
    wait_until("the good record is delivered", SOON, || async { memory.values().contains(&"7".to_owned()) }).await;
    wait_until("both bad records are dead letters", SOON, || async {
        records::read_all(&bootstrap, "dead").await.len() == 2
    })
    .await;
    let dead = records::read_all(&bootstrap, "dead").await;
    let header = |record: &twinstream_client::ConsumerRecord, name: &str| {
        let name = format!("__connect.errors.{name}");
        let header = record.headers.iter().find(|header| header.key == name).unwrap_or_else(|| panic!("{name}"));
        String::from_utf8(header.value.clone().unwrap().to_vec()).unwrap()
    };
    let unreadable = dead.iter().find(|record| record.value.as_deref() == Some(b"{bad")).unwrap();
    assert_eq!(header(unreadable, "stage"), "VALUE_CONVERTER");
    assert_eq!(header(unreadable, "class.name"), "org.apache.kafka.connect.json.JsonConverter");
    assert_eq!(header(unreadable, "exception.class.name"), "org.apache.kafka.connect.errors.DataException");
    assert_eq!((header(unreadable, "topic"), header(unreadable, "connector.name")), ("in".into(), "keep".into()));
    let poisonous = dead.iter().find(|record| record.value.as_deref() == Some(b"666")).unwrap();
    assert_eq!(header(poisonous, "stage"), "TASK_PUT");
    assert_eq!(header(poisonous, "exception.message"), "poisonous");
    worker.wait_states("keep", &["RUNNING", "RUNNING", "RUNNING"]).await;
    let metrics = worker.rest.get("/metrics").await.body.to_string();
    assert!(metrics.contains("kafka_connect_task_error_metrics_deadletterqueue_produce_requests"), "{metrics}");

    // One task less: its partition moves to the other one after it was closed.
    memory.closed.lock().clear();
    worker.put("keep", &[tolerant.as_slice(), &[("tasks.max", "1")]].concat()).await;
    worker.wait_states("keep", &["RUNNING", "RUNNING"]).await;
    assert!(!memory.closed.lock().is_empty());
    produce(&[("a", "8"), ("b", "9")]).await;
    wait_until("the one task has both", SOON, || async {
        ["8", "9"].iter().all(|wanted| memory.values().contains(&(*wanted).to_owned()))
    })
    .await;
    worker.stop().await;
}

async fn wait_until_failed(worker: &TestWorker, name: &str) -> String {
    twinstream_testkit::wait_until_some("a task fails", SOON, || async {
        let status = worker.rest.get(&format!("/connectors/{name}/status")).await.body;
        let tasks = status["tasks"].as_array()?.clone();
        tasks.iter().find_map(|task| task["trace"].as_str().map(str::to_owned))
    })
    .await
}
