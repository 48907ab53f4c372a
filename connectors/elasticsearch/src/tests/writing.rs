//! Whole tasks against the embedded index.

use std::sync::Arc;

use elasticsearch::http::Method;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::sync::watch;
use twinstream_connect_api::{Schema, SchemaAndValue, SinkTask, Struct, Value};
use twinstream_search::SearchOptions;

use super::{INDEX, Worker, commit_all, committed, config, held, partition, put, record, started};

struct Index {
    url: String,
    _stop: watch::Sender<bool>,
    _folder: TempDir,
}

async fn index() -> Index {
    let folder = TempDir::new().expect("folder");
    let options = SearchOptions { listen: "127.0.0.1:0".parse().expect("address"), data_dir: folder.path().to_owned() };
    let server = twinstream_search::bind(options).await.expect("server");
    let url = format!("http://{}", server.address().expect("address"));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.serve(stopped));
    Index { url, _stop: stop, _folder: folder }
}

impl Index {
    async fn get(&self, path: &str) -> Json {
        let transport = Transport::single_node(&self.url).expect("transport");
        let response =
            transport.send(Method::Get, path, HeaderMap::new(), None::<&()>, None::<()>, None).await.expect("answer");
        response.json().await.expect("json")
    }

    async fn source(&self, id: &str) -> Json {
        self.get(&format!("/{INDEX}/_doc/{id}")).await["_source"].take()
    }
}

#[tokio::test]
async fn records_become_documents_and_repeats_change_nothing() {
    let (index, worker) = (index().await, Arc::new(Worker::default()));
    let mut task = started(&worker, config(&index.url, &[])).await;
    let batch = || (0..500).map(|n| record(n, format!("id-{}", n % 100), format!("{{\"n\":{n}}}"))).collect::<Vec<_>>();
    put(&mut task, batch()).await.expect("put");
    commit_all(&mut task, 500).await.expect("written");
    put(&mut task, batch()).await.expect("put again");
    commit_all(&mut task, 500).await.expect("written again");
    assert_eq!(index.get(&format!("/{INDEX}/_count")).await["count"], 100);
    assert_eq!(index.source("id-7").await["n"], 407);
    assert_eq!(index.get(&format!("/{INDEX}/_doc/id-7")).await["_version"], 407);
    task.close(&[partition(0)]).await.expect("close");
    task.stop().await;
}

#[tokio::test]
async fn compressed_bulks_with_many_lanes_and_small_batches_arrive() {
    let (index, worker) = (index().await, Arc::new(Worker::default()));
    let extra = [
        ("connection.compression", "true"),
        ("max.in.flight.requests", "3"),
        ("batch.size", "7"),
        ("bulk.size.bytes", "200"),
    ];
    let mut task = started(&worker, config(&index.url, &extra)).await;
    put(&mut task, (0..100).map(|n| record(n, n, format!("{{\"n\":{n}}}"))).collect()).await.expect("put");
    commit_all(&mut task, 100).await.expect("written");
    assert_eq!(index.get(&format!("/{INDEX}/_count")).await["count"], 100);
}

#[tokio::test]
async fn tombstone_deletes_and_an_older_record_does_not_bring_it_back() {
    let (index, worker) = (index().await, Arc::new(Worker::default()));
    let mut task = started(&worker, config(&index.url, &[("behavior.on.null.values", "delete")])).await;
    put(&mut task, vec![record(0, "a", "{}"), record(1, "a", Value::Null), record(2, "never", Value::Null)])
        .await
        .expect("put");
    commit_all(&mut task, 3).await.expect("written");
    put(&mut task, vec![record(0, "a", "{}")]).await.expect("put");
    commit_all(&mut task, 3).await.expect("written");
    assert_eq!(index.source("a").await, Json::Null);
}

#[tokio::test]
async fn upserts_of_one_document_merge_in_order() {
    let (index, worker) = (index().await, Arc::new(Worker::default()));
    let mut task = started(&worker, config(&index.url, &[("write.method", "upsert"), ("batch.size", "3")])).await;
    put(&mut task, (0..50).map(|n| record(n, "a", format!("{{\"last\":{n},\"n{}\":1}}", n % 5))).collect())
        .await
        .expect("put");
    commit_all(&mut task, 50).await.expect("written");
    let document = index.source("a").await;
    assert_eq!((&document["last"], document.as_object().expect("object").len()), (&Json::from(49), 6));
}

#[tokio::test]
async fn bad_document_goes_to_the_reporter_and_the_others_arrive() {
    let (index, worker) = (index().await, Arc::new(Worker { tolerant: true, ..Worker::default() }));
    let mut task = started(&worker, config(&index.url, &[])).await;
    put(&mut task, vec![record(0, "a", "{\"n\":1}")]).await.expect("put");
    commit_all(&mut task, 1).await.expect("written");
    put(&mut task, vec![record(1, "b", "{\"n\":\"many\"}"), record(2, "c", "no json"), record(3, "d", "{\"n\":2}")])
        .await
        .expect("put");
    commit_all(&mut task, 4).await.expect("written");
    let mut reported = held(&worker.reported).clone();
    reported.sort();
    assert_eq!(reported.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2]);
    assert!(reported[0].1.contains("mapper_parsing_exception") && reported[0].1.contains("[n]"), "{reported:?}");
    assert_eq!(index.get(&format!("/{INDEX}/_count")).await["count"], 2);
}

#[tokio::test]
async fn bad_document_fails_the_task_with_its_cause_when_nothing_is_tolerated() {
    let (index, worker) = (index().await, Arc::new(Worker::default()));
    let mut task = started(&worker, config(&index.url, &[])).await;
    put(&mut task, vec![record(0, "a", "{\"n\":1}")]).await.expect("put");
    commit_all(&mut task, 1).await.expect("written");
    put(&mut task, vec![record(1, "b", "{\"n\":\"many\"}")]).await.expect("put");
    let error = commit_all(&mut task, 2).await.expect_err("the task fails");
    let trace = error.trace();
    for part in ["src.quakes", "'b'", "offset 1", "mapper_parsing_exception", "'many'"] {
        assert!(trace.contains(part), "{trace}");
    }
    assert!(put(&mut task, vec![]).await.is_err(), "a failed task stays failed");
}

#[tokio::test]
async fn malformed_documents_may_be_warned_about_or_ignored() {
    for behavior in ["warn", "ignore"] {
        let (index, worker) = (index().await, Arc::new(Worker::default()));
        let mut task = started(
            &worker,
            config(&index.url, &[("behavior.on.malformed.documents", behavior), ("drop.invalid.message", "true")]),
        )
        .await;
        put(&mut task, vec![record(0, "a", "{\"n\":1}")]).await.expect("put");
        commit_all(&mut task, 1).await.expect("written");
        put(&mut task, vec![record(1, "b", "{\"n\":\"many\"}"), record(2, Value::Null, "{}")]).await.expect("put");
        commit_all(&mut task, 3).await.expect("goes on");
        assert_eq!(committed(&mut task, 3).await.expect("commit"), 3);
    }
}

#[tokio::test]
async fn new_index_is_mapped_by_the_schema_of_its_first_record() {
    let (index, worker) = (index().await, Arc::new(Worker::default()));
    let mut task = started(&worker, config(&index.url, &[])).await;
    let schema = Arc::new(Schema::record([
        ("time".to_owned(), Arc::new(Schema::timestamp())),
        ("place".to_owned(), Arc::new(Schema::string())),
    ]));
    let value =
        Struct::new(Arc::clone(&schema), vec![Value::Int64(1_517_363_399_650), Value::from("Amboy")]).expect("struct");
    let mut first = record(0, "a", Value::Null);
    first.value = SchemaAndValue::new(schema, Value::Struct(value));
    put(&mut task, vec![first]).await.expect("put");
    commit_all(&mut task, 1).await.expect("written");
    let mapping = index.get(&format!("/{INDEX}/_mapping")).await;
    let properties = &mapping[INDEX]["mappings"]["properties"];
    assert_eq!(
        (&properties["time"]["type"], &properties["place"]["fields"]["keyword"]["type"]),
        (&Json::from("date"), &Json::from("keyword"))
    );
    assert_eq!(index.source("a").await["time"], 1_517_363_399_650_i64);
}
