//! Source tasks that hand over whole batches, in a worker against Apache Kafka.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::support::batches::Told;
use crate::support::{SOON, TestWorker, settings};
use serde_json::json;
use twinstream_testkit::nemesis::Act;
use twinstream_testkit::{free_port, peer, records, wait_until};

const PARTITIONS: usize = 4;

/// The numbers of each partition, in the order of the log.
async fn numbers(bootstrap: &str, topic: &str) -> Vec<Vec<i64>> {
    let mut by_partition = vec![Vec::new(); PARTITIONS];
    for record in records::read_all(bootstrap, topic).await {
        let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        by_partition[usize::try_from(record.partition.0).unwrap()].push(text.parse().unwrap());
    }
    by_partition
}

async fn wait_stored(worker: &TestWorker, name: &str, last: i64) {
    wait_until(&format!("{name} has stored {last} for each partition"), SOON, || async {
        let offsets = worker.rest.get(&format!("/connectors/{name}/offsets")).await.good();
        let offsets = offsets["offsets"].as_array().unwrap().clone();
        offsets.len() == PARTITIONS && offsets.iter().all(|one| one["offset"]["n"] == last)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_batches_arrive_in_order_are_told_and_go_on_after_a_kill() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    records::create_topic(&bootstrap, "copy", PARTITIONS as i32).await;
    let told = Told::default();
    let port = free_port();
    let worker = TestWorker::start(&bootstrap, "raw", port, vec![told.plugin()]).await;
    let config = [
        ("connector.class", crate::support::batches::CLASS),
        ("topic", "copy"),
        ("partitions", "4"),
        ("batches", "200"),
    ];
    worker.put("batches", &config).await;
    wait_stored(&worker, "batches", 999).await;

    // Each record once and in order, although each batch carried the marks of its own producer and transaction.
    assert_eq!(numbers(&bootstrap, "copy").await, vec![Vec::from_iter(0..1000); PARTITIONS]);
    for partition in 0..PARTITIONS as i32 {
        let expected: Vec<(i64, i64)> = (0..200).map(|batch| (batch * 5 + 5, batch * 5)).collect();
        assert_eq!(told.of(partition), expected, "what the observer was told of partition {partition}");
    }

    // Killed while it copies, the next worker goes on where the last store was.
    let mut more = BTreeMap::from(config);
    more.insert("batches", "4000");
    worker.rest.put("/connectors/batches/config", &json!(more)).await.good();
    wait_until("some of the rest is there", SOON, || async { told.of(0).len() > 400 }).await;
    worker.kill();
    let end = told.of(0).last().unwrap().0 + 500;
    let worker = TestWorker::start(&bootstrap, "raw", port, vec![told.plugin()]).await;
    let batches = (end / 5).to_string();
    more.insert("batches", &batches);
    worker.rest.put("/connectors/batches/config", &json!(more)).await.good();
    wait_until("every partition has reached the end", SOON, || async {
        (0..PARTITIONS as i32).all(|partition| told.of(partition).last().is_some_and(|(next, _)| *next >= end))
    })
    .await;
    for numbers in numbers(&bootstrap, "copy").await {
        let mut reached = -1;
        for number in numbers {
            assert!(number <= reached + 1, "{number} follows {reached}: something is missing");
            reached = reached.max(number);
        }
        assert!(reached >= end - 1);
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_polls_no_more_than_its_share_of_the_workers_memory() {
    const BYTES_MAX: usize = 1024 * 1024;
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    records::create_topic(&bootstrap, "copy", PARTITIONS as i32).await;
    let told = Told::default();
    let port = free_port();
    let mut settings = settings(&bootstrap, "memory", port);
    settings.push(("twinstream.source.in.flight.max.bytes".to_owned(), BYTES_MAX.to_string()));
    let mut worker = TestWorker::spawn(settings, port, vec![told.plugin()]);
    worker.wait_ready().await;
    let config = [
        ("connector.class", crate::support::batches::CLASS),
        ("topic", "copy"),
        ("partitions", "4"),
        ("batches", "500"),
        ("bytes.per.record", "5000"),
    ];
    worker.put("batches", &config).await;
    wait_stored(&worker, "batches", 2499).await;
    // Alone, a task gets half of the whole; the last poll may bring one batch for each partition beyond that.
    let most = told.most_under_way() * told.bytes_per_batch();
    assert!(most <= BYTES_MAX / 2 + PARTITIONS * told.bytes_per_batch(), "{most} bytes were under way");
    assert!(told.most_under_way() > PARTITIONS, "it polls again before everything has arrived");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_batch_fails_its_task_or_only_closes_its_lane() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    records::create_topic(&bootstrap, "copy", PARTITIONS as i32).await;
    let told = Told::default();
    let port = free_port();
    let worker = TestWorker::start(&bootstrap, "refused", port, vec![told.plugin()]).await;
    let config = [
        ("connector.class", crate::support::batches::CLASS),
        ("topic", "copy"),
        ("partitions", "4"),
        ("batches", "200"),
        ("too.large.at", "300"),
    ];
    worker.put("batches", &config).await;
    let trace = worker.wait_trace("batches").await;
    assert!(trace.starts_with("cannot produce to copy-0"), "{trace}");
    assert!(trace.contains("MESSAGE_TOO_LARGE"), "{trace}");
    assert_eq!(told.of(0).last().unwrap().0, 300, "what stood before it was told, nothing behind it");

    // The task goes on behind the last delivery; what it had read ahead of the refusal leaves neither gap nor copy.
    worker.stop().await;
    records::create_topic(&bootstrap, "again", PARTITIONS as i32).await;
    let told = Told::default();
    told.close_lanes.store(true, Ordering::Release);
    let worker = TestWorker::start(&bootstrap, "again", port, vec![told.plugin()]).await;
    let mut again = BTreeMap::from(config);
    again.insert("topic", "again");
    worker.rest.put("/connectors/again/config", &json!(again)).await.good();
    wait_stored(&worker, "again", 999).await;
    assert_eq!(numbers(&bootstrap, "again").await, vec![Vec::from_iter(0..1000); PARTITIONS]);
    assert_eq!(told.refusals(), 1);
    assert_eq!(worker.states("again").await, ["RUNNING", "RUNNING"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_of_the_target_neither_double_nor_reorder_whole_batches() {
    const PRODUCE: i16 = 0;
    let (_kafka, proxies) = peer::kafka().cluster_behind_proxies(1, &[]).await;
    let bootstrap = proxies[0].address();
    records::create_topic(&bootstrap, "copy", PARTITIONS as i32).await;
    let told = Told::default();
    let port = free_port();
    let worker = TestWorker::start(&bootstrap, "cuts", port, vec![told.plugin()]).await;
    let mut produced = 0;
    proxies[0].rule(move |asked| {
        produced += i32::from(asked.key == PRODUCE);
        // Nothing of the answer arrives: the batches are in the log, and nobody knows.
        if asked.key == PRODUCE && produced % 4 == 0 { Act::CutAnswer(0) } else { Act::Pass }
    });
    let config = [
        ("connector.class", crate::support::batches::CLASS),
        ("topic", "copy"),
        ("partitions", "4"),
        ("batches", "400"),
    ];
    worker.put("batches", &config).await;
    wait_until("everything has arrived", SOON, || async {
        (0..PARTITIONS as i32).all(|partition| told.of(partition).last().is_some_and(|(next, _)| *next == 2000))
    })
    .await;
    assert!(proxies[0].acts() >= 3, "{} answers were lost", proxies[0].acts());
    proxies[0].calm().await;
    assert_eq!(numbers(&bootstrap, "copy").await, vec![Vec::from_iter(0..2000); PARTITIONS]);
    wait_stored(&worker, "batches", 1999).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_does_not_answer_at_first_is_waited_for() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    records::create_topic(&bootstrap, "copy", PARTITIONS as i32).await;
    let told = Told::default();
    let port = free_port();
    let worker = TestWorker::start(&bootstrap, "away", port, vec![told.plugin()]).await;
    let door = format!("127.0.0.1:{}", free_port());
    let config = [
        ("connector.class", crate::support::batches::CLASS),
        ("topic", "copy"),
        ("partitions", "4"),
        ("batches", "200"),
        ("producer.override.bootstrap.servers", &door),
    ];
    worker.put("batches", &config).await;
    wait_until("the task has handed over its first batches", SOON, || async { told.most_under_way() > 0 }).await;
    assert_eq!(worker.states("batches").await, ["RUNNING", "RUNNING"]);

    let listener = tokio::net::TcpListener::bind(&door).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut broker = tokio::net::TcpStream::connect(&bootstrap).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut broker).await });
        }
    });
    wait_stored(&worker, "batches", 999).await;
    assert_eq!(numbers(&kafka.bootstrap(), "copy").await, vec![Vec::from_iter(0..1000); PARTITIONS]);
    worker.stop().await;
}
