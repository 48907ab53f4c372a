use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use twinstream_connect_api::{
    ApiAnswer, ApiRefusal, ApiRequest, Extension, Method, OffsetMap, Wanted, WorkerApi, async_trait,
};

use super::*;

/// A worker whose connectors are entries of a map.
#[derive(Default)]
pub(super) struct Worker {
    connectors: Mutex<BTreeMap<String, (RawConfig, Wanted)>>,
    statuses: Mutex<BTreeMap<String, Json>>,
}

impl Worker {
    pub(super) fn with(connectors: &[(&str, &[(&str, &str)])]) -> Arc<Self> {
        let worker = Self::default();
        for (name, config) in connectors {
            let config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            worker.connectors.lock().unwrap().insert((*name).to_owned(), (config, Wanted::Running));
        }
        Arc::new(worker)
    }

    pub(super) fn reports(&self, connector: &str, state: &str, tasks: &[&str]) {
        let tasks: Vec<Json> =
            tasks.iter().enumerate().map(|(id, state)| json!({"id": id, "state": state, "trace": "why"})).collect();
        let status = json!({"connector": {"state": state}, "tasks": tasks});
        self.statuses.lock().unwrap().insert(connector.to_owned(), status);
    }

    fn names(&self) -> Vec<String> {
        self.connectors.lock().unwrap().keys().cloned().collect()
    }
}

#[async_trait]
impl WorkerApi for Worker {
    fn connectors(&self) -> Vec<String> {
        self.names()
    }

    fn config(&self, connector: &str) -> Option<RawConfig> {
        self.connectors.lock().unwrap().get(connector).map(|(config, _)| config.clone())
    }

    fn shown_config(&self, connector: &str) -> Option<RawConfig> {
        self.config(connector)
    }

    fn wanted(&self, connector: &str) -> Option<Wanted> {
        self.connectors.lock().unwrap().get(connector).map(|(_, wanted)| *wanted)
    }

    fn status(&self, connector: &str) -> Option<Json> {
        self.statuses.lock().unwrap().get(connector).cloned()
    }

    fn producer_servers(&self) -> Option<String> {
        Some("w:1".to_owned())
    }

    fn offsets(&self, _: &str) -> Vec<(OffsetMap, OffsetMap)> {
        Vec::new()
    }

    async fn check(&self, config: &RawConfig) -> Result<(), ApiRefusal> {
        let is_bad = config.get("connector.class").is_some_and(|class| class.ends_with("MirrorHeartbeatConnector"))
            && config.contains_key("bad");
        if is_bad { Err(ApiRefusal::bad_request("bad is bad")) } else { Ok(()) }
    }

    async fn put(&self, connector: &str, config: RawConfig) -> Result<bool, ApiRefusal> {
        let mut connectors = self.connectors.lock().unwrap();
        Ok(connectors.insert(connector.to_owned(), (config, Wanted::Running)).is_none())
    }

    async fn delete(&self, connector: &str) -> Result<(), ApiRefusal> {
        self.connectors.lock().unwrap().remove(connector);
        Ok(())
    }

    async fn want(&self, connector: &str, wanted: Wanted) -> Result<(), ApiRefusal> {
        if let Some((_, now)) = self.connectors.lock().unwrap().get_mut(connector) {
            *now = wanted;
        }
        Ok(())
    }
}

pub(super) async fn ask(worker: &Arc<Worker>, method: Method, path: &str, body: Json) -> Result<ApiAnswer, ApiRefusal> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let query = query.split('&').filter(|part| !part.is_empty()).map(|part| (part.to_owned(), String::new())).collect();
    let request = ApiRequest { method, path, query, body };
    Links.answer(Arc::clone(worker) as Arc<dyn WorkerApi>, request).await
}

pub(super) async fn body(worker: &Arc<Worker>, path: &str) -> Json {
    ask(worker, Method::Get, path, Json::Null).await.unwrap().body.unwrap()
}

const EAST_WEST: &[(&str, &str)] =
    &[("connector.class", "MirrorSource"), ("source.cluster.alias", "east"), ("target.cluster.alias", "west")];

#[test]
fn name_of_a_link_is_two_aliases_with_an_arrow_or_a_colon() {
    let east_west = LinkName { source: "east".to_owned(), target: "west".to_owned() };
    for text in ["east->west", "east:west", " east -> west "] {
        assert_eq!(LinkName::parse(text), Ok(east_west.clone()), "{text}");
    }
    assert_eq!(LinkName::parse(&east_west.to_string()), Ok(east_west));
    for text in ["east", "->", "east->", "a b->c", "east->east", ""] {
        assert!(LinkName::parse(text).is_err(), "{text}");
    }
}

#[tokio::test]
async fn connectors_of_the_same_two_aliases_are_one_link() {
    let check: &[(&str, &str)] = &[
        ("connector.class", "org.apache.kafka.connect.mirror.MirrorCheckpointConnector"),
        ("source.cluster.alias", "east"),
        ("target.cluster.alias", "west"),
    ];
    let worker = Worker::with(&[
        ("a", EAST_WEST),
        ("b", check),
        ("c", &[("connector.class", "MirrorHeartbeatConnector")]),
        ("d", &[("connector.class", "com.example.MirrorSourceConnector")]),
        ("e", &[("connector.class", "ElasticsearchSinkConnector")]),
    ]);
    let links = body(&worker, "").await;
    let names = |link: &Json| -> Vec<String> {
        link["connectors"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(links.as_array().unwrap().len(), 2, "{links}");
    assert_eq!((&links[0]["link"], names(&links[0])), (&json!("east->west"), vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((&links[1]["link"], names(&links[1])), (&json!("source->target"), vec!["c".to_owned()]));
}

#[tokio::test]
async fn link_runs_only_when_all_of_it_runs_and_tells_what_failed() {
    let worker = Worker::with(&[("a", EAST_WEST), ("b", EAST_WEST)]);
    let state = async || body(&worker, "east:west").await["state"].as_str().unwrap().to_owned();
    assert_eq!(state().await, "STARTING");
    worker.reports("a", "RUNNING", &["RUNNING", "RUNNING"]);
    worker.reports("b", "RUNNING", &["UNASSIGNED"]);
    assert_eq!(state().await, "STARTING");
    worker.reports("b", "RUNNING", &["RUNNING", "FAILED"]);
    let link = body(&worker, "east->west").await;
    assert_eq!(link["state"], "FAILED");
    assert_eq!(link["connectors"][1]["failures"], json!(["task 1: why"]));
    assert_eq!(link["configs"]["source"]["source.cluster.alias"], "east");
    worker.reports("b", "RUNNING", &["RUNNING"]);
    assert_eq!(state().await, "RUNNING");
    let paused = ask(&worker, Method::Put, "east:west/pause?dry-run", Json::Null).await.unwrap();
    assert_eq!(paused.body.unwrap()["changes"][0]["to"], "PAUSED");
    assert_eq!(state().await, "RUNNING", "a dry run changes nothing");
    assert_eq!(ask(&worker, Method::Put, "east:west/pause", Json::Null).await.unwrap().status, 202);
    assert_eq!(state().await, "PAUSED");
}

#[tokio::test]
async fn put_makes_all_connectors_or_none() {
    let worker = Worker::with(&[("mine", EAST_WEST)]);
    let bad = ask(&worker, Method::Put, "east->west", json!({"bad": 1})).await.unwrap_err();
    assert_eq!((bad.status, bad.message.as_str()), (400, "MirrorHeartbeatConnector of the link: bad is bad"));
    for key in FROM_NAME_OR_NO_TEXT {
        let refused = ask(&worker, Method::Put, "east->west", json!({*key: {}})).await.unwrap_err();
        assert!(refused.message.starts_with(key), "{refused}");
    }
    let dry = ask(&worker, Method::Put, "east->west?dry-run", json!({"topics": "t"})).await.unwrap();
    assert_eq!((dry.status, worker.names()), (200, vec!["mine".to_owned()]));

    let made = ask(&worker, Method::Put, "east->west", json!({"topics": "t", "tasks.max": 2})).await.unwrap();
    assert_eq!(made.status, 201);
    let names = ["east->west.MirrorCheckpointConnector", "east->west.MirrorHeartbeatConnector", "mine"];
    assert_eq!(worker.names(), names, "the connector that was there belongs to the link");
    let config = worker.config("mine").unwrap();
    assert_eq!((config["topics"].as_str(), config["tasks.max"].as_str()), ("t", "2"));
    assert_eq!(ask(&worker, Method::Put, "east->west", json!({"topics": "u"})).await.unwrap().status, 200);

    assert_eq!(ask(&worker, Method::Delete, "east->west", Json::Null).await.unwrap().status, 204);
    assert!(worker.names().is_empty());
    assert_eq!(ask(&worker, Method::Delete, "east->west", Json::Null).await.unwrap_err().status, 404);
}

const FROM_NAME_OR_NO_TEXT: &[&str] =
    &["name", "connector.class", "source.cluster.alias", "target.cluster.alias", "topics"];

#[tokio::test]
async fn settings_for_two_connectors_of_one_class_are_refused() {
    let worker = Worker::with(&[("a", EAST_WEST), ("b", EAST_WEST)]);
    let refused = ask(&worker, Method::Put, "east->west", json!({"topics": "t"})).await.unwrap_err();
    assert_eq!(refused.status, 409);
    assert!(refused.message.contains("(a, b)"), "{refused}");
}

#[tokio::test]
async fn unknown_verbs_and_methods_are_refused_by_name() {
    let worker = Worker::with(&[("a", EAST_WEST)]);
    let refusal = async |method, path| ask(&worker, method, path, Json::Null).await.unwrap_err().status;
    assert_eq!(refusal(Method::Get, "nonsense").await, 400);
    assert_eq!(refusal(Method::Get, "north->south").await, 404);
    assert_eq!(refusal(Method::Put, "east:west/fly").await, 404);
    assert_eq!(refusal(Method::Get, "east:west/pause").await, 405);
    assert_eq!(refusal(Method::Post, "").await, 405);
}
