//! Whole tasks against a server that follows a script: busy, broken, too small, slow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post, put as put_route};
use serde_json::{Value as Json, json};
use tokio::sync::Notify;
use twinstream_connect_api::{SinkTask, SinkTaskContext};

use super::{Worker, commit_all, committed, config, held, partition, put, record, started};
use crate::ElasticsearchSinkTask;

/// What the server does with one bulk request.
enum Step {
    /// Refuses the whole request.
    Whole(u16),
    /// Answers each item: the status for its id, 201 for the others.
    Items(&'static [(&'static str, u16)]),
    /// Waits for the test to let it go on.
    Hold(Arc<Notify>),
    /// Refuses requests of more than that many documents.
    AtMost(usize),
}

#[derive(Default)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    /// The ids of each bulk that came in.
    seen: Mutex<Vec<Vec<String>>>,
}

async fn bulk(State(script): State<Arc<Script>>, body: String) -> (StatusCode, String) {
    let ids: Vec<String> = body
        .lines()
        .step_by(2)
        .map(|line| {
            serde_json::from_str::<Json>(line).expect("action")["index"]["_id"].as_str().expect("id").to_owned()
        })
        .collect();
    held(&script.seen).push(ids.clone());
    let step = held(&script.steps).pop_front();
    let mut special: &[(&str, u16)] = &[];
    match step {
        Some(Step::Whole(status)) => {
            return (StatusCode::from_u16(status).expect("status"), json!({ "error": "scripted" }).to_string());
        }
        Some(Step::AtMost(limit)) if ids.len() > limit => {
            held(&script.steps).push_front(Step::AtMost(limit));
            return (StatusCode::PAYLOAD_TOO_LARGE, String::new());
        }
        Some(Step::AtMost(limit)) => held(&script.steps).push_front(Step::AtMost(limit)),
        Some(Step::Items(items)) => special = items,
        Some(Step::Hold(hold)) => hold.notified().await,
        None => {}
    }
    let status = |id: &str| special.iter().find(|(other, _)| *other == id).map_or(201, |(_, status)| *status);
    let item = |id: &String| match status(id) {
        201 => json!({ "index": { "_id": id, "status": 201 } }),
        status => {
            json!({ "index": { "_id": id, "status": status, "error": { "type": "es_rejected_execution_exception", "reason": "full" } } })
        }
    };
    (StatusCode::OK, json!({ "items": ids.iter().map(item).collect::<Vec<_>>() }).to_string())
}

async fn server(steps: Vec<Step>) -> (String, Arc<Script>) {
    let script = Arc::new(Script { steps: Mutex::new(steps.into()), ..Script::default() });
    let info = get(|| async { json!({ "version": { "number": "3.0.0", "distribution": "opensearch" } }).to_string() });
    let index = put_route(|| async { "{}" }).head(|| async { StatusCode::NOT_FOUND });
    let router = Router::new()
        .route("/", info)
        .route("/_bulk", post(bulk))
        .route("/{index}", index)
        .with_state(Arc::clone(&script));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, script)
}

fn documents(range: std::ops::Range<i64>) -> Vec<twinstream_connect_api::SinkRecord> {
    range.map(|n| record(n, n.to_string(), "{}")).collect()
}

const ONE_LANE: (&str, &str) = ("max.in.flight.requests", "1");

#[tokio::test]
async fn busy_items_are_sent_again_however_often_and_the_others_are_not() {
    let busy: fn() -> Step = || Step::Items(&[("1", 429), ("3", 503)]);
    let (url, script) = server((0..12).map(|_| busy()).collect()).await;
    let worker = Arc::new(Worker::default());
    let mut task = started(&worker, config(&url, &[ONE_LANE, ("max.retries", "0"), ("retry.backoff.ms", "1")])).await;
    put(&mut task, documents(0..5)).await.expect("put");
    commit_all(&mut task, 5).await.expect("pressure never fails");
    let seen = held(&script.seen).clone();
    assert_eq!(seen[0], ["0", "1", "2", "3", "4"]);
    assert!(seen[1..].iter().all(|ids| ids == &["1", "3"]), "{seen:?}");
    assert_eq!(seen.len(), 13);
}

#[tokio::test]
async fn unfinished_record_holds_back_the_commit() {
    let hold = Arc::new(Notify::new());
    let (url, _script) = server(vec![Step::Items(&[("2", 429)]), Step::Hold(Arc::clone(&hold))]).await;
    let worker = Arc::new(Worker::default());
    let mut task = started(&worker, config(&url, &[ONE_LANE])).await;
    put(&mut task, documents(0..5)).await.expect("put");
    while committed(&mut task, 5).await.expect("commit") != 2 {}
    hold.notify_one();
    commit_all(&mut task, 5).await.expect("written");
}

#[tokio::test]
async fn busy_server_as_a_whole_is_waited_for() {
    let (url, _script) = server(vec![Step::Whole(429), Step::Whole(503), Step::Whole(429)]).await;
    let worker = Arc::new(Worker::default());
    let mut task = started(&worker, config(&url, &[ONE_LANE, ("max.retries", "0")])).await;
    put(&mut task, documents(0..3)).await.expect("put");
    commit_all(&mut task, 3).await.expect("pressure never fails");
}

#[tokio::test]
async fn broken_server_fails_the_task_after_max_retries_with_the_address() {
    let (url, script) = server((0..10).map(|_| Step::Whole(500)).collect()).await;
    let worker = Arc::new(Worker::default());
    let mut task = started(&worker, config(&url, &[ONE_LANE, ("max.retries", "2")])).await;
    put(&mut task, documents(0..3)).await.expect("put");
    let error = commit_all(&mut task, 3).await.expect_err("the task fails");
    assert!(error.message().contains("failed 3 times") && error.message().contains(&url), "{error}");
    assert!(!error.is_retriable());
    assert_eq!(held(&script.seen).len(), 3);
}

#[tokio::test]
async fn refused_request_fails_at_once() {
    let (url, script) = server(vec![Step::Whole(403)]).await;
    let worker = Arc::new(Worker::default());
    let mut task = started(&worker, config(&url, &[ONE_LANE])).await;
    put(&mut task, documents(0..3)).await.expect("put");
    let error = commit_all(&mut task, 3).await.expect_err("the task fails");
    assert!(error.message().contains("403"), "{error}");
    assert_eq!(held(&script.seen).len(), 1);
}

#[tokio::test]
async fn too_large_request_is_halved_until_it_fits() {
    let (url, script) = server(vec![Step::AtMost(3)]).await;
    let worker = Arc::new(Worker::default());
    let mut task = started(&worker, config(&url, &[ONE_LANE])).await;
    put(&mut task, documents(0..10)).await.expect("put");
    commit_all(&mut task, 10).await.expect("written");
    let written: Vec<String> = held(&script.seen).iter().filter(|ids| ids.len() <= 3).flatten().cloned().collect();
    assert_eq!(written, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn full_buffer_pauses_refuses_more_and_resumes() {
    let hold = Arc::new(Notify::new());
    let (url, _script) = server(vec![Step::Hold(Arc::clone(&hold))]).await;
    let worker = Arc::new(Worker::default());
    let mut task =
        started(&worker, config(&url, &[ONE_LANE, ("max.buffered.records", "10"), ("read.timeout.ms", "20000")])).await;
    put(&mut task, documents(0..12)).await.expect("the first put fits");
    assert_eq!(*held(&worker.paused), [true]);
    let error = put(&mut task, documents(12..20)).await.expect_err("no room");
    assert!(error.is_retriable());
    hold.notify_one();
    commit_all(&mut task, 12).await.expect("written");
    put(&mut task, documents(12..20)).await.expect("room again");
    assert_eq!(*held(&worker.paused), [true, false]);
    commit_all(&mut task, 20).await.expect("written");
}

#[tokio::test]
async fn closed_partition_is_never_written_again() {
    let (url, script) = server((0..1000).map(|_| Step::Whole(429)).collect()).await;
    let worker = Arc::new(Worker::default());
    let mut task = started(&worker, config(&url, &[ONE_LANE, ("retry.backoff.ms", "1")])).await;
    put(&mut task, documents(0..3)).await.expect("put");
    while held(&script.seen).is_empty() {
        tokio::task::yield_now().await;
    }
    task.close(&[partition(0)]).await.expect("close");
    let sent = held(&script.seen).len();
    task.open(&[partition(0)]).await.expect("open");
    held(&script.steps).clear();
    put(&mut task, documents(50..52)).await.expect("put");
    commit_all(&mut task, 52).await.expect("written");
    let after: Vec<String> = held(&script.seen)[sent..].iter().flatten().cloned().collect();
    assert!(after.iter().all(|id| id == "50" || id == "51"), "{after:?}");
}

#[tokio::test]
async fn unreachable_server_fails_the_start_with_its_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    drop(listener);
    let worker: Arc<dyn SinkTaskContext> = Arc::new(Worker::default());
    let error = ElasticsearchSinkTask::default()
        .start(worker, config(&url, &[("max.retries", "1")]))
        .await
        .expect_err("nobody there");
    assert!(error.message().contains(&url) && error.message().contains("refused"), "{error}");
}
