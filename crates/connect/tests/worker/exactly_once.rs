//! Sources whose records and offsets are one transaction, in a worker against Apache Kafka that is killed again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::json;
use twinstream_client::RawClient;
use twinstream_client::raw::sender::fence;
use twinstream_connect_api::Plugin;
use twinstream_testkit::{free_port, peer, records, wait_until};

use crate::support::batches::{self, Told};
use crate::support::{SOON, TestWorker, counter, settings};

const KILLS: usize = 6;

async fn start(bootstrap: &str, group: &str, plugins: Vec<Plugin>) -> TestWorker {
    let port = free_port();
    let mut settings = settings(bootstrap, group, port);
    settings.push(("exactly.once.source.support".to_owned(), "enabled".to_owned()));
    let mut worker = TestWorker::spawn(settings, port, plugins);
    worker.wait_ready().await;
    worker
}

async fn committed(bootstrap: &str, topic: &str) -> usize {
    records::read_committed(bootstrap, topic).await.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_batches_are_there_once_however_often_the_worker_is_killed() {
    const PARTITIONS: usize = 4;
    const BATCHES: i64 = 400;
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    records::create_topic(&bootstrap, "copy", PARTITIONS as i32).await;
    let told = Told::default();
    let mut worker = start(&bootstrap, "once", vec![told.plugin()]).await;
    let batches = BATCHES.to_string();
    let config = [
        ("connector.class", batches::CLASS),
        ("topic", "copy"),
        ("partitions", "4"),
        ("batches", batches.as_str()),
        ("bytes.per.record", "200"),
    ];
    worker.put("batches", &config).await;
    for kill in 1..=KILLS {
        let before = told.of(0).len();
        wait_until(&format!("something is committed before kill {kill}"), SOON, || async {
            told.of(0).len() > before + 30
        })
        .await;
        worker.kill();
        worker = start(&bootstrap, "once", vec![told.plugin()]).await;
    }
    // A commit for each poll takes its time: as long as it goes on, all is well.
    while told.of(0).last().is_none_or(|(next, _)| *next < 5 * BATCHES) {
        let before = told.of(0).len();
        wait_until("more is committed", SOON, || async {
            let status = worker.rest.get("/connectors/batches/status").await.body;
            assert_ne!(status["tasks"][0]["state"], "FAILED", "{status}");
            told.of(0).len() > before
        })
        .await;
    }
    worker.stop().await;
    let mut numbers = vec![Vec::new(); PARTITIONS];
    for record in records::read_committed(&bootstrap, "copy").await {
        let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        numbers[record.partition.0 as usize].push(text.trim_start_matches('0').parse::<i64>().unwrap_or(0));
    }
    for (partition, numbers) in numbers.iter().enumerate() {
        let wrong = numbers.iter().copied().zip(0..5 * BATCHES).find(|(found, wanted)| found != wanted);
        assert_eq!(
            (wrong, numbers.len() as i64),
            (None, 5 * BATCHES),
            "partition {partition}: each record once, in order"
        );
    }
    let all = records::read_all(&bootstrap, "copy").await.len();
    assert!(all >= PARTITIONS * 5 * BATCHES as usize);
    // What the observer was told is what is committed: offsets of it never came back in another transaction.
    for partition in 0..PARTITIONS as i32 {
        let told: Vec<i64> = told.of(partition).iter().map(|(next, _)| *next).collect();
        assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "partition {partition} was told twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_records_are_there_once_through_kills_and_changing_numbers_of_tasks() {
    const COUNT: usize = 1_500;
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    records::create_topic(&bootstrap, "counted", 3).await;
    let plugin = || vec![counter::plugin(Arc::new(AtomicBool::new(false)))];
    let mut worker = start(&bootstrap, "count-once", plugin()).await;
    let count = COUNT.to_string();
    let mut config = BTreeMap::from([
        ("connector.class", counter::CLASS),
        ("topic", "counted"),
        ("count", count.as_str()),
        ("tasks.max", "3"),
        ("transaction.boundary", "interval"),
        ("transaction.boundary.interval.ms", "200"),
    ]);
    for (round, tasks) in ["3", "1", "3"].into_iter().enumerate() {
        config.insert("tasks.max", tasks);
        worker.rest.put("/connectors/c/config", &json!(config)).await.good();
        let before = committed(&bootstrap, "counted").await;
        wait_until(&format!("round {round} has committed something"), SOON, || async {
            committed(&bootstrap, "counted").await > before + 50
        })
        .await;
        worker.kill();
        worker = start(&bootstrap, "count-once", plugin()).await;
    }
    wait_until("all is committed", SOON, || async { committed(&bootstrap, "counted").await >= 3 * COUNT }).await;
    worker.stop().await;
    let mut by_task: BTreeMap<Vec<u8>, Vec<i64>> = BTreeMap::new();
    for record in records::read_committed(&bootstrap, "counted").await {
        let number = String::from_utf8(record.value.unwrap().to_vec()).unwrap().parse().unwrap();
        by_task.entry(record.key.unwrap().to_vec()).or_default().push(number);
    }
    assert_eq!(by_task.len(), 3);
    for (task, numbers) in by_task {
        assert!(numbers.into_iter().eq(0..COUNT as i64), "task {task:?} has counted each number once, in order");
    }
}

/// As a worker would that had lost its place without knowing, or a transaction that took too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_somebody_else_took_are_taken_back_by_the_worker_that_has_its_place() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    records::create_topic(&bootstrap, "counted", 1).await;
    let worker = start(&bootstrap, "stray", vec![counter::plugin(Arc::default())]).await;
    let mut config = BTreeMap::from([
        ("connector.class", counter::CLASS),
        ("topic", "counted"),
        ("count", "1000000"), // it does not get there
        ("transaction.boundary", "interval"),
        ("transaction.boundary.interval.ms", "100"),
    ]);
    worker.rest.put("/connectors/c/config", &json!(config)).await.good();
    // By what is stored, which is committed with the records: a reader of a log that grows all the time finds no end.
    let stored = async || worker.rest.get("/connectors/c/offsets").await.body["offsets"][0]["offset"]["n"].as_i64();
    let more = async || {
        let before = stored().await;
        wait_until("more is committed", SOON, || async { stored().await > before.map_or(Some(0), |n| Some(n + 50)) })
            .await;
    };
    more().await;
    let client = RawClient::connect(&records::client_settings(&bootstrap, &[])).await.unwrap();
    for id in ["stray-c-0", "connect-cluster-stray"] {
        fence(&client, id, SOON, SOON).await.unwrap();
    }
    more().await; // by nobody who had the id before
    worker.wait_states("c", &["RUNNING", "RUNNING"]).await;
    config.insert("fail.at", "-2");
    worker.rest.put("/connectors/c/config", &json!(config)).await.good();
    more().await;
    worker.stop().await;
    let number =
        |value: Option<bytes::Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap().parse::<i64>().unwrap();
    let found = records::read_committed(&bootstrap, "counted").await.into_iter().map(|record| number(record.value));
    assert!(found.zip(0..).all(|(found, wanted)| found == wanted), "each number once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_exactly_once_cannot_do_is_refused_by_name() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    let worker = start(&bootstrap, "refusals", vec![counter::plugin(Arc::default())]).await;
    let base = [("connector.class", counter::CLASS), ("topic", "counted")];
    for (name, value, expected) in [
        ("exactly.once.support", "required", "does not say whether it brings each record once"),
        ("producer.override.bootstrap.servers", "127.0.0.1:1", "the cluster of their worker"),
        ("producer.override.enable.idempotence", "false", "transactions need enable.idempotence=true"),
        ("transaction.boundary", "connector", "transaction.boundary"),
        ("transaction.boundary.interval.ms", "0", "use 1 to 450000"),
    ] {
        let mut config = BTreeMap::from(base);
        config.insert(name, value);
        let answer = worker.rest.put("/connectors/c/config", &json!(config)).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.body.to_string().contains(expected), "{name}: {}", answer.body);
    }
    worker.stop().await;
}
