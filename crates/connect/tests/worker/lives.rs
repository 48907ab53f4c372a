//! Source tasks that are told of changes while they run, and that start afresh after what passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use twinstream_testkit::nemesis::Act;
use twinstream_testkit::{free_port, peer, records, wait_until};

use crate::support::batches::Told;
use crate::support::tuned::{self, Tuned};
use crate::support::{SOON, TestWorker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_hears_of_live_keys_without_a_restart_and_starts_afresh_if_it_cannot_take_them_in() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    let tuned = Tuned::default();
    let worker = TestWorker::start(&bootstrap, "tuned", free_port(), vec![tuned.plugin()]).await;
    worker.put("c", &[("connector.class", tuned::CLASS)]).await;
    worker.wait_states("c", &["RUNNING", "RUNNING"]).await;
    wait_until("the task has started", SOON, || async { tuned.starts() == 1 }).await;
    assert_eq!(tuned.target(), Some(bootstrap.clone()));

    let heard = |parts: &'static str| {
        let tuned = tuned.clone();
        async move {
            wait_until(&format!("the task hears {parts}"), SOON, || async {
                tuned.last_heard().as_deref() == Some(parts)
            })
            .await;
        }
    };
    for parts in ["1", "1,2", "2"] {
        tuned.set(parts);
        heard(parts).await;
    }
    assert_eq!(tuned.starts(), 1, "it was told and not restarted");

    // What the task is told is what is stored: a restart has it.
    worker.rest.post("/connectors/c/tasks/0/restart", &serde_json::json!({})).await;
    wait_until("the task has started again", SOON, || async { tuned.starts() == 2 }).await;
    heard("2").await;

    // A pause does not keep the news away, and a task that cannot take them in starts with them.
    tuned.set("refuse-away");
    wait_until("it shows why it does not run", SOON, || async {
        let status = worker.rest.get("/connectors/c/status").await.body;
        let trace = status["tasks"][0]["trace"].as_str().unwrap_or_default().to_owned();
        status["tasks"][0]["state"] == "RESTARTING" && trace.starts_with("the outside is away")
    })
    .await;
    heard("refuse-away").await;
    assert_eq!(tuned.starts(), 5, "each try is a fresh task");
    tuned.set("refuse-2");
    heard("refuse-2").await;
    assert_eq!(tuned.starts(), 6);

    // What it breaks on fails it, and the next change starts it again.
    tuned.set("fail");
    worker.wait_states("c", &["RUNNING", "FAILED"]).await;
    assert!(worker.wait_trace("c").await.starts_with("cannot work with these parts"));
    tuned.set("3");
    heard("3").await;
    worker.wait_states("c", &["RUNNING", "RUNNING"]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_away_for_longer_than_a_delivery_may_take_fails_no_task() {
    const PRODUCE: i16 = 0;
    const PARTITIONS: i32 = 4;
    let (_kafka, proxies) = peer::kafka().cluster_behind_proxies(1, &[]).await;
    let bootstrap = proxies[0].address();
    records::create_topic(&bootstrap, "copy", PARTITIONS).await;
    let told = Told::default();
    told.pass_on_timeouts.store(true, Ordering::Release);
    let worker = TestWorker::start(&bootstrap, "patient", free_port(), vec![told.plugin()]).await;
    let away = Arc::new(AtomicBool::new(false));
    proxies[0].rule({
        let away = Arc::clone(&away);
        move |asked| {
            if asked.key == PRODUCE && away.load(Ordering::Acquire) { Act::CutAnswer(0) } else { Act::Pass }
        }
    });
    let config = [
        ("connector.class", crate::support::batches::CLASS),
        ("topic", "copy"),
        ("partitions", "4"),
        ("batches", "100000"),
        ("bytes.per.record", "1000"),
        ("producer.override.delivery.timeout.ms", "1500"),
    ];
    worker.put("batches", &config).await;
    wait_until("it copies", SOON, || async { told.of(0).len() > 50 }).await;
    away.store(true, Ordering::Release);
    wait_until("it says why it does not copy", SOON, || async {
        let status = worker.rest.get("/connectors/batches/status").await.body;
        let trace = status["tasks"][0]["trace"].as_str().unwrap_or_default().to_owned();
        status["tasks"][0]["state"] == "RESTARTING" && trace.starts_with("cannot produce to copy-")
    })
    .await;
    let refusals = told.refusals();
    wait_until("it has tried again and found the target away", SOON, || async { told.refusals() > refusals }).await;
    assert_eq!(worker.states("batches").await, ["RUNNING", "RESTARTING"], "it is not running before records arrive");
    away.store(false, Ordering::Release);
    worker.wait_states("batches", &["RUNNING", "RUNNING"]).await;
    let before = told.of(0).len();
    wait_until("it copies again", SOON, || async { told.of(0).len() > before + 50 }).await;
    worker.stop().await;

    // It went back to what was stored, so nothing is missing; what was not stored is there again.
    for partition in 0..PARTITIONS {
        let mut reached = 0;
        for (next, _) in told.of(partition) {
            assert!(next <= reached + 5, "{next} follows {reached}: something is missing");
            reached = reached.max(next);
        }
    }
}
