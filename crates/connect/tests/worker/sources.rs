//! Source connectors in a worker against Apache Kafka: resume after a kill, pause, failure, restart, stop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{SOON, TestWorker, counter};
use serde_json::json;
use twinstream_client::ConsumerRecord;
use twinstream_testkit::{free_port, peer, records, wait_until};

fn numbers(records: &[ConsumerRecord], key: &str) -> Vec<i64> {
    let of_key = |record: &&ConsumerRecord| record.key.as_deref() == Some(key.as_bytes());
    let number = |record: &ConsumerRecord| serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
    records.iter().filter(of_key).map(number).collect()
}

async fn wait_count(bootstrap: &str, topic: &str, key: &str, count: usize) {
    wait_until(&format!("{count} numbers of counter {key}"), SOON, || async {
        let distinct: BTreeSet<i64> = numbers(&records::read_all(bootstrap, topic).await, key).into_iter().collect();
        distinct.len() == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_goes_on_where_it_was_after_kills_pauses_failures_and_stops() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    let port = free_port();
    let healed = Arc::new(AtomicBool::new(false));
    let start = || TestWorker::start(&bootstrap, "sources", port, vec![counter::plugin(Arc::clone(&healed))]);
    records::create_topic(&bootstrap, "numbers", 1).await;
    let worker = start().await;

    // Two tasks count.
    let config = [("connector.class", "CounterSource"), ("topic", "numbers"), ("count", "300"), ("tasks.max", "2")];
    worker.put("count", &config).await;
    worker.wait_states("count", &["RUNNING", "RUNNING", "RUNNING"]).await;
    wait_until("some offsets are stored", SOON, || async {
        let offsets = worker.rest.get("/connectors/count/offsets").await.good();
        offsets["offsets"].as_array().unwrap().len() == 2
    })
    .await;

    // Killed half way, the next one goes on: nothing is missing, and what was stored is not read again.
    worker.kill();
    let worker = start().await;
    worker.wait_states("count", &["RUNNING", "RUNNING", "RUNNING"]).await;
    for key in ["0", "1"] {
        wait_count(&bootstrap, "numbers", key, 300).await;
        let seen = numbers(&records::read_all(&bootstrap, "numbers").await, key);
        assert!(seen.len() < 600, "counter {key} began again: {} records", seen.len());
    }

    // Paused, a higher goal changes nothing; resumed, it is reached.
    worker.rest.put("/connectors/count/pause", &json!({})).await.good();
    worker.wait_states("count", &["PAUSED", "PAUSED", "PAUSED"]).await;
    worker.rest.put("/connectors/count/config", &with(&config, "count", "310")).await.good();
    worker.wait_states("count", &["PAUSED", "PAUSED", "PAUSED"]).await;
    worker.rest.put("/connectors/count/resume", &json!({})).await.good();
    wait_count(&bootstrap, "numbers", "0", 310).await;

    // A failure shows its cause; the other task goes on; a restart goes on behind what was stored.
    let mut failing = with(&config, "count", "330");
    failing["fail.at"] = json!(320);
    failing["tasks.max"] = json!(1);
    worker.rest.put("/connectors/count/config", &failing).await.good();
    let trace = worker.wait_trace("count").await;
    assert_eq!(trace, "cannot count beyond 320\nCaused by: the dog ate it");
    worker.wait_states("count", &["RUNNING", "FAILED"]).await;
    healed.store(true, Ordering::Release);
    let restarted = worker.rest.post("/connectors/count/restart?includeTasks=true&onlyFailed=true", &json!({})).await;
    assert_eq!(restarted.status, 202);
    assert_eq!(restarted.body["tasks"][0]["state"], "RESTARTING");
    assert_eq!(restarted.body["connector"]["state"], "RUNNING");
    wait_count(&bootstrap, "numbers", "0", 330).await;
    let last: Vec<i64> =
        numbers(&records::read_all(&bootstrap, "numbers").await, "0").into_iter().rev().take(10).collect();
    assert_eq!(last, (320..330).rev().collect::<Vec<i64>>());

    // Stopped: no tasks, the offsets stay. Orderly ends store everything: nothing is counted twice.
    worker.rest.put("/connectors/count/stop", &json!({})).await.good();
    worker.wait_states("count", &["STOPPED"]).await;
    worker.stop().await;
    let worker = start().await;
    worker.wait_states("count", &["STOPPED"]).await;
    let before = records::read_all(&bootstrap, "numbers").await.len();
    worker.rest.put("/connectors/count/resume", &json!({})).await.good();
    worker.wait_states("count", &["RUNNING", "RUNNING"]).await;
    failing["count"] = json!(335);
    worker.rest.put("/connectors/count/config", &failing).await.good();
    wait_count(&bootstrap, "numbers", "0", 335).await;
    assert_eq!(records::read_all(&bootstrap, "numbers").await.len(), before + 5);

    assert_eq!(worker.rest.delete("/connectors/count").await.status, 204);
    assert_eq!(worker.rest.get("/connectors/count/status").await.status, 404);
    worker.stop().await;
}

fn with(config: &[(&str, &str)], key: &str, value: &str) -> serde_json::Value {
    let mut body = json!({});
    for (k, v) in config {
        body[*k] = json!(v);
    }
    body[key] = json!(value);
    body
}
