//! The REST API and the worker's place in its group, against Apache Kafka.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::support::{TestWorker, counter, settings};
use serde_json::{Value, json};
use twinstream_testkit::{free_port, peer, records};

fn plugins() -> Vec<twinstream_connect_api::Plugin> {
    vec![counter::plugin(Arc::new(AtomicBool::new(false))), crate::support::memory::Memory::default().plugin()]
}

fn message(status: u16, text: &str) -> (u16, Value) {
    (status, json!({"error_code": status, "message": text}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_kafka_connect() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let bootstrap = kafka.bootstrap();
    let port = free_port();
    let worker = TestWorker::start(&bootstrap, "rest", port, plugins()).await;
    let rest = &worker.rest;
    let get = |path: &'static str| async move {
        let answer = rest.get(path).await;
        (answer.status, answer.body)
    };
    records::create_topic(&bootstrap, "t", 1).await;

    // What is not there.
    assert_eq!(get("/connectors").await, (200, json!([])));
    assert_eq!(get("/connectors/").await, (200, json!([])));
    assert_eq!(get("/connectors/x").await, message(404, "Connector x not found"));
    assert_eq!(get("/connectors/x/config/").await, message(404, "Connector x not found"));
    assert_eq!(get("/connectors/x/status").await, message(404, "No status found for connector x"));
    assert_eq!(get("/connectors/x/tasks/0/status").await, message(404, "No status found for task x-0"));
    assert_eq!(get("/connectors/x/tasks/zz/status").await, message(404, "HTTP 404 Not Found"));
    assert_eq!(get("/nope").await, message(404, "HTTP 404 Not Found"));
    assert_eq!(get("/connector-plugins/nope/config").await, message(404, "Unknown plugin nope."));
    let put = |path: &'static str| async move {
        let answer = rest.put(path, &json!({})).await;
        (answer.status, answer.body)
    };
    assert_eq!(put("/connectors/x/pause").await, message(404, "Unknown connector x"));
    assert_eq!(put("/connectors/x/stop").await, message(404, "Unknown connector x"));
    assert_eq!(put("/connectors").await, message(405, "HTTP 405 Method Not Allowed"));
    let (status, body) = get("/connectors/%ff").await;
    assert_eq!((status, &body["error_code"]), (400, &json!(400)), "{body}");
    let restart = rest.post("/connectors/x/restart", &json!({})).await;
    assert_eq!((restart.status, restart.body), message(404, "Unknown connector: x"));

    // What is refused.
    let create = |body: Value| async move {
        let answer = rest.post("/connectors", &body).await;
        (answer.status, answer.body["message"].as_str().unwrap_or_default().to_owned())
    };
    let (status, text) = create(json!({"name": "a", "config": {}})).await;
    assert_eq!(status, 400);
    assert!(text.ends_with("contains no connector type"), "{text}");
    let (status, text) = create(json!({"name": "a", "config": {"connector.class": "Nope"}})).await;
    assert_eq!(status, 400);
    assert!(
        text.starts_with("Failed to find any class that implements Connector and which name matches Nope"),
        "{text}"
    );
    let config = json!({"connector.class": "CounterSource", "tasks.max": "x", "topci": "t"});
    let (status, text) = create(json!({"name": "a", "config": config})).await;
    assert_eq!(status, 400);
    assert_eq!(
        text,
        "Connector configuration is invalid and contains the following 3 error(s):\n\
         Invalid value x for configuration tasks.max: Not a number of type INT\n\
         Missing required configuration \"topic\" which has no default value.\n\
         Unknown configuration 'topci': did you mean 'topic'?\n\
         You can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`"
    );
    for (key, value) in [
        ("transforms", "a"),
        ("transforms.a.type", "X"),
        ("exactly.once.support", "required"),
        ("topic.creation.default.partitions", "1"),
        ("producer.override.lingr.ms", "1"),
        ("key.converter", "com.example.Nope"),
        ("topic", "${file:/x:y}"),
    ] {
        let mut config = json!({"connector.class": "CounterSource", "topic": "t"});
        config[key] = json!(value);
        let (status, text) = create(json!({"name": "a", "config": config})).await;
        assert_eq!(status, 400, "{key}");
        assert!(text.contains(key), "{key}: {text}");
        assert!(text.contains("following 1 error(s)"), "{key}: {text}");
    }
    let answer = rest.put("/connectors/a/config", &json!({"name": "b", "connector.class": "CounterSource"})).await;
    let text = "Connector name configuration (b) doesn't match connector name in the URL (a)";
    assert_eq!((answer.status, answer.body), message(400, text));

    // Validate always answers 200, with each key.
    let path = "/connector-plugins/CounterSource/config/validate";
    let validated =
        rest.put(path, &json!({"connector.class": counter::CLASS, "name": "a", "count": "many"})).await.good();
    assert_eq!((&validated["name"], &validated["error_count"]), (&json!("CounterSource"), &json!(2)));
    assert_eq!(validated["configs"][0]["definition"]["name"], "name");
    let answer = rest.put(path, &json!({"connector.class": "MemorySink"})).await;
    assert_eq!(
        (answer.status, answer.body),
        message(400, "Included connector type MemorySink does not match request type CounterSource")
    );
    let listed = rest.get("/connector-plugins").await.good();
    assert_eq!(listed[0], json!({"class": counter::CLASS, "type": "source", "version": env!("CARGO_PKG_VERSION")}));

    // A name with a slash and a space, numbers in the configuration, a secret, born stopped.
    let config = json!({"connector.class": counter::CLASS, "topic": "t", "count": 5, "secret": "s3cret"});
    let body = json!({"name": "a/b c", "config": config, "initial_state": "STOPPED"});
    let created = rest.post("/connectors", &body).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.body["config"]["count"], "5");
    assert_eq!(created.body["config"]["secret"], "[hidden]");
    assert_eq!((&created.body["type"], &created.body["tasks"]), (&json!("source"), &json!([])));
    worker.wait_states("a%2Fb%20c", &["STOPPED"]).await;
    let again = rest.post("/connectors", &body).await;
    assert_eq!((again.status, again.body), message(409, "Connector a/b c already exists"));

    // What was shown may be written back without harm to the secret, and the connector counts.
    let mut shown = rest.get("/connectors/a%2Fb%20c/config").await.good();
    shown["count"] = json!(6);
    rest.put("/connectors/a%2Fb%20c/config", &shown).await.good();
    assert_eq!(rest.put("/connectors/a%2Fb%20c/resume", &json!({})).await.status, 202);
    worker.wait_states("a%2Fb%20c", &["RUNNING", "RUNNING"]).await;
    let expanded = rest.get("/connectors?expand=status&expand=info&expand=nope").await.good();
    assert_eq!(expanded["a/b c"]["status"]["tasks"][0]["state"], "RUNNING");
    assert_eq!(expanded["a/b c"]["info"]["tasks"], json!([{"connector": "a/b c", "task": 0}]));
    let tasks = rest.get("/connectors/a%2Fb%20c/tasks").await.good();
    assert_eq!(tasks[0]["config"]["task.class"], "test.CounterSourceTask");
    assert_eq!(tasks[0]["config"]["secret"], "[hidden]");
    assert!(stored_text(&bootstrap, "rest-configs").await.contains("s3cret"));
    let unknown = rest.post("/connectors/a%2Fb%20c/tasks/5/restart", &json!({})).await;
    assert_eq!((unknown.status, unknown.body), message(404, "Unknown task: a/b c-5"));
    assert_eq!(rest.post("/connectors/a%2Fb%20c/tasks/0/restart", &json!({})).await.status, 204);

    // A connector that hangs delays nobody.
    worker.put("hung", &[("connector.class", counter::CLASS), ("topic", "t"), ("hang", "true")]).await;
    assert_eq!(get("/health").await.0, 200);
    assert_eq!(worker.states("hung").await, ["UNASSIGNED"]);
    assert_eq!(rest.delete("/connectors/hung").await.status, 204);
    assert_eq!(get("/connectors").await, (200, json!(["a/b c"])));
    worker.stop().await;
}

async fn stored_text(bootstrap: &str, topic: &str) -> String {
    let records = records::read_all(bootstrap, topic).await;
    let text = |record: &twinstream_client::ConsumerRecord| {
        String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
    };
    records.iter().map(text).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_has_one_worker_and_a_restarted_one_takes_its_own_place_at_once() {
    let kafka = peer::kafka();
    let cluster = kafka.cluster(1, &[]).await;
    let bootstrap = cluster.bootstrap();
    let (port, other_port) = (free_port(), free_port());
    let worker = TestWorker::start(&bootstrap, "one", port, plugins()).await;

    let second = TestWorker::spawn(settings(&bootstrap, "one", other_port), other_port, plugins());
    let refusal = second.error().await.to_string();
    assert!(refusal.contains(&format!("already has a worker at http://127.0.0.1:{port}/")), "{refusal}");
    assert_eq!(worker.rest.get("/").await.status, 200);
    let arguments = ["--bootstrap-server", &bootstrap, "--list"];
    let groups = kafka.text("org.apache.kafka.tools.GroupsCommand", &arguments);
    let line = groups.lines().find(|line| line.starts_with("one ")).unwrap_or_else(|| panic!("{groups}"));
    assert!(line.contains("connect"), "{line}");

    worker.kill();
    let worker = TestWorker::start(&bootstrap, "one", port, plugins()).await;
    worker.stop().await;
    let successor = TestWorker::start(&bootstrap, "one", other_port, plugins()).await;
    successor.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_cluster_is_one_clear_error() {
    let (port, nobody) = (free_port(), free_port());
    let bootstrap = format!("127.0.0.1:{nobody}");
    let error = TestWorker::spawn(settings(&bootstrap, "g", port), port, plugins()).error().await;
    let text = twinstream_connect_api::error::trace_of(&error);
    assert!(text.contains(&bootstrap), "{text}");
    assert!(text.starts_with("cannot reach the cluster of the worker"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extension_answers_below_its_path_and_does_to_connectors_what_the_api_does() {
    let kafka = peer::kafka().cluster(1, &[]).await;
    let port = free_port();
    let worker = TestWorker::start(&kafka.bootstrap(), "extended", port, plugins()).await;
    let rest = &worker.rest;
    let get = |path: &'static str| async move {
        let answer = rest.get(path).await;
        (answer.status, answer.body)
    };
    assert_eq!(get("/mirror").await, message(404, "nothing at []"));
    assert_eq!(get("/mirror/a%20b/c?x=1").await, message(404, "nothing at [\"a b\", \"c\"]"));
    assert_eq!(get("/mirror/connectors").await, (200, json!([])));

    let refused = rest.put("/mirror/count", &json!({})).await;
    assert_eq!(refused.status, 400, "checked as PUT is: {}", refused.body);
    let config = json!({"connector.class": counter::CLASS, "topic": "counted", "count": "3"});
    assert_eq!(rest.put("/mirror/count", &config).await.status, 201);
    worker.wait_states("count", &["RUNNING", "RUNNING"]).await;
    assert_eq!(get("/mirror/connectors").await, (200, json!(["count"])));
    let (_, seen) = get("/mirror/count?loud").await;
    assert_eq!((&seen["wanted"], &seen["loud"]), (&json!("RUNNING"), &json!(true)), "{seen}");
    assert_eq!(seen["status"], get("/connectors/count/status").await.1);
    assert_eq!(seen["config"]["topic"], "counted");

    assert_eq!(rest.post("/mirror/count/pause", &json!({})).await.status, 202);
    worker.wait_states("count", &["PAUSED", "PAUSED"]).await;
    assert_eq!(rest.patch("/mirror/count", &json!({})).await.status, 500, "a panic is an answer");
    assert_eq!(rest.post("/mirror/nobody/pause", &json!({})).await.status, 404);
    assert_eq!(rest.delete("/mirror/count").await.status, 204);
    assert_eq!(get("/connectors/count").await, message(404, "Connector count not found"));
    worker.stop().await;
}
