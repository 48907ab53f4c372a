//! The index over real HTTP: what a client sends and what it gets back.

mod documents; // bulk, versions, single documents
mod durability; // restarts, locks, layouts
mod searching; // queries, sort, answers

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{SearchError, SearchOptions, bind};

struct Server {
    url: String,
    client: reqwest::Client,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), SearchError>>,
    folder: Option<TempDir>,
}

struct Answer {
    status: u16,
    body: Value,
    text: String,
    headers: reqwest::header::HeaderMap,
}

impl Server {
    async fn start() -> Server {
        let folder = TempDir::new().expect("temporary folder");
        let mut server = Server::start_in(folder.path()).await;
        server.folder = Some(folder);
        server
    }

    async fn start_in(path: &Path) -> Server {
        let server = bind(SearchOptions { listen: "127.0.0.1:0".parse().expect("address"), data_dir: path.to_owned() })
            .await
            .expect("server binds");
        let url = format!("http://{}", server.address().expect("bound address"));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(server.serve(stopped));
        Server { url, client: reqwest::Client::new(), stop, task, folder: None }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.as_ref().expect("own folder").path().to_owned()
    }

    async fn stop(mut self) -> Option<TempDir> {
        self.stop.send(true).expect("server listens for the end");
        (&mut self.task).await.expect("server task").expect("clean end");
        self.folder.take()
    }

    async fn call(&self, method: &str, path: &str, body: impl Into<String>) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("method");
        let request = self
            .client
            .request(method, format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body.into());
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), text, headers }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    async fn bulk(&self, lines: &[Value]) -> Answer {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.call("POST", "/_bulk", body).await
    }

    async fn search(&self, index: &str, body: Value) -> Value {
        let answer = self.call("POST", &format!("/{index}/_search"), body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body
    }

    async fn found(&self, index: &str, query: Value) -> Vec<String> {
        let body = self.search(index, json!({ "query": query, "size": 100, "sort": ["id.keyword"] })).await;
        ids(&body)
    }
}

fn ids(body: &Value) -> Vec<String> {
    body["hits"]["hits"]
        .as_array()
        .expect("hits")
        .iter()
        .map(|hit| hit["_id"].as_str().expect("id").to_owned())
        .collect()
}

fn put(index: &str, id: &str, source: Value) -> [Value; 2] {
    [json!({ "index": { "_index": index, "_id": id } }), source]
}

/// Five earthquakes with every kind of field.
async fn with_quakes() -> Server {
    let server = Server::start().await;
    let mapping = json!({ "mappings": { "properties": { "time": { "type": "date" } } } });
    assert_eq!(server.call("PUT", "/quakes", mapping.to_string()).await.status, 200);
    let rows = [
        ("a", 1_517_363_399_650_i64, 0.31, "37km NNE of Amboy, Washington", json!(null), true),
        ("b", 1_517_364_015_660, 1.35, "20km NNE of Lima, Montana", json!(2), false),
        ("c", 1_517_364_031_800, 5.3, "50km NNW of Sangiang, Indonesia", json!(4), true),
        ("d", 1_517_364_466_860, 2.0, "33km W of Raton, New Mexico", json!(null), false),
        ("e", 1_517_365_017_350, 4.7, "232km ENE of Raoul Island, New Zealand", json!(9_007_199_254_740_993_i64), true),
    ];
    let mut lines = Vec::new();
    for (id, time, magnitude, place, felt, big) in rows {
        let source = json!({ "id": id, "time": time, "magnitude": magnitude, "place": place, "felt": felt, "big": big, "net": { "code": id.repeat(2) } });
        lines.extend(put("quakes", id, source));
    }
    let answer = server.bulk(&lines).await;
    assert_eq!(answer.body["errors"], false, "{}", answer.text);
    server
}
