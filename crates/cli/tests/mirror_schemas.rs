//! Schemas travel as their topic does: a registry at each site, and a link between that copies `_schemas`.

use std::time::Duration;

use serde_json::{Value, json};
use twinstream_client::RawClient;
use twinstream_client::raw::OffsetAt;
use twinstream_testkit::records::{client_settings, first_partition, topic_name};
use twinstream_testkit::{Answer, Cluster, Folder, Registry, Worker, WorkerOptions, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// What both registries are asked, and answer alike.
const QUESTIONS: [&str; 8] = [
    "/subjects",
    "/subjects?deleted=true",
    "/schemas?deleted=true",
    "/schemas/types",
    "/config",
    "/config/orders-value",
    "/subjects/orders-value/versions",
    "/subjects/invoices-value/versions/latest",
];

async fn register(registry: &Registry, subject: &str, schema: &Value) -> Answer {
    registry.rest.post(&format!("/subjects/{subject}/versions"), schema).await
}

async fn id_of(registry: &Registry, subject: &str, schema: &Value) -> i64 {
    register(registry, subject, schema).await.good()["id"].as_i64().expect("an id")
}

async fn say_the_same(left: &Registry, right: &Registry) -> bool {
    for question in QUESTIONS {
        let (left, right) = (left.rest.get(question).await, right.rest.get(question).await);
        if (left.status, &left.body) != (right.status, &right.body) {
            return false;
        }
    }
    true
}

fn avro(fields: &str) -> Value {
    json!({"schema": format!(r#"{{"type":"record","name":"Order","fields":[{fields}]}}"#)})
}

/// A link that copies everything, with the topics that are left out by default: the registry's is none of them.
async fn link(worker: &Worker, east: &Cluster, west: &Cluster) {
    let link = json!({
        "source.cluster.bootstrap.servers": east.bootstrap(),
        "target.cluster.bootstrap.servers": west.bootstrap(),
        "tasks.max": "1",
        "topics": ".*",
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "replication.factor": "1",
    });
    worker.rest.put("/links/east->west", &link).await.good();
    let client = client(west).await;
    let copy = topic_name("_schemas");
    wait_until("the link has made the copy", PATIENCE, || async {
        let view = client.refresh(std::slice::from_ref(&copy)).await;
        view.is_ok_and(|view| view.topics.contains_key(&copy))
    })
    .await;
}

async fn client(cluster: &Cluster) -> RawClient {
    RawClient::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("a client")
}

async fn end_of_schemas(client: &RawClient) -> i64 {
    let partition = first_partition("_schemas");
    let ends = client.list_offsets_now(std::slice::from_ref(&partition), OffsetAt::Latest).await.expect("an answer");
    ends[&partition].clone().expect("an end").0
}

async fn says_mode(registry: &Registry, mode: &str) -> bool {
    registry.rest.get("/mode").await.body == json!({"mode": mode})
}

/// Versions, a reference, a setting, and something that was deleted.
async fn fill(registry: &Registry) -> Vec<i64> {
    let number = r#"{"name":"number","type":"int"}"#;
    let note = r#"{"name":"note","type":["null","string"],"default":null}"#;
    registry.rest.put("/config/orders-value", &json!({"compatibility": "FULL"})).await.good();
    let customer = json!({"schema": r#"{"type":"record","name":"Customer","fields":[{"name":"id","type":"long"}]}"#});
    let invoice = json!({
        "schema": r#"{"type":"record","name":"Invoice","fields":[{"name":"customer","type":"Customer"}]}"#,
        "references": [{"name": "Customer", "subject": "customer", "version": 1}],
    });
    let mut ids = Vec::new();
    for (subject, schema) in [
        ("orders-value", avro(number)),
        ("orders-value", avro(&format!("{number},{note}"))),
        ("customer", customer),
        ("invoices-value", invoice),
        ("gone-value", json!({"schema": "\"bytes\""})),
    ] {
        ids.push(id_of(registry, subject, &schema).await);
    }
    registry.rest.delete("/subjects/gone-value").await.good();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registries_serve_what_a_link_brings_under_the_same_ids_and_follow_a_promotion_and_a_fail_back() {
    let folder = Folder::new();
    let (east, west) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let worker = Worker::start(&folder, &west.bootstrap(), WorkerOptions::default()).await;
    let there = Registry::start(east.folder(), &east.bootstrap()).await;
    let ids = fill(&there).await;

    link(&worker, &east, &west).await;
    let here = Registry::start(west.folder(), &west.bootstrap()).await;
    wait_until("both registries say the same", PATIENCE, || say_the_same(&there, &here)).await;
    for id in &ids {
        let question = format!("/schemas/ids/{id}");
        assert_eq!(here.rest.get(&question).await.good(), there.rest.get(&question).await.good());
    }

    // It reads only, and says so; what is registered in the east arrives.
    assert_eq!(here.rest.get("/mode").await.good(), json!({"mode": "READONLY"}));
    let own = json!({"schema": "\"double\""});
    let refused = register(&here, "own-value", &own).await;
    assert_eq!((refused.status, &refused.body["error_code"]), (422, &json!(42205)), "{refused:?}");
    let later = id_of(&there, "later-value", &json!({"schema": "\"float\""})).await;
    wait_until("what was registered later is there", PATIENCE, || say_the_same(&there, &here)).await;

    // The west leads.
    let report = worker.rest.put("/links/east->west/promote?timeout=60", &json!({})).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    wait_until("the registry of the west writes", PATIENCE, || async {
        here.rest.get("/mode").await.good() == json!({"mode": "READWRITE"})
    })
    .await;
    register(&there, "not-copied-value", &json!({"schema": "\"long\""})).await.good();
    let next = id_of(&here, "own-value", &own).await;
    assert!(next > later && ids.iter().all(|id| *id < next), "{next} after {later} and {ids:?}");
    let subjects = here.rest.get("/subjects").await.good();
    let expected = ["customer", "invoices-value", "later-value", "orders-value", "own-value"];
    assert_eq!(subjects, json!(expected));

    // The east leads again: what was registered only there is cut out of its topic, and its registry forgets it.
    assert_eq!(there.rest.get(&format!("/schemas/ids/{next}")).await.good()["schema"], json!("\"long\""));
    let report = worker.rest.put("/links/east->west/failback?timeout=60", &json!({})).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    wait_until("both registries say the same again", PATIENCE, || say_the_same(&there, &here)).await;
    assert_eq!(there.rest.get("/subjects").await.good(), json!(expected));
    assert_eq!(there.rest.get(&format!("/schemas/ids/{next}")).await.good()["schema"], json!("\"double\""));
    wait_until("the registry of the east writes", PATIENCE, || async {
        there.rest.get("/mode").await.good() == json!({"mode": "READWRITE"})
    })
    .await;
    assert!(id_of(&there, "home-value", &json!({"schema": "\"boolean\""})).await > next);
    wait_until("what was registered at home is in the west", PATIENCE, || say_the_same(&there, &here)).await;
    let refused = register(&here, "late-value", &own).await;
    assert_eq!((refused.status, &refused.body["error_code"]), (422, &json!(42205)), "{refused:?}");
    assert_eq!(here.rest.get("/mode").await.good(), json!({"mode": "READONLY"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_hung_while_its_topic_was_cut_and_grew_beyond_what_it_had_read_forgets_what_is_gone() {
    let folder = Folder::new();
    let (east, west) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let worker = Worker::start(&folder, &west.bootstrap(), WorkerOptions::default()).await;
    let mut there = Registry::start(east.folder(), &east.bootstrap()).await;
    let ids = fill(&there).await;
    link(&worker, &east, &west).await;
    let here = Registry::start(west.folder(), &west.bootstrap()).await;
    wait_until("both registries say the same", PATIENCE, || say_the_same(&there, &here)).await;
    let report = worker.rest.put("/links/east->west/promote?timeout=60", &json!({})).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    wait_until("the registry of the west writes", PATIENCE, || says_mode(&here, "READWRITE")).await;

    // The same ids, versions and offsets are of one schema in the east, and of another in the west.
    let lost = id_of(&there, "orders-value-lost", &json!({"schema": "\"long\""})).await;
    let in_east = client(&east).await;
    let read = end_of_schemas(&in_east).await;
    there.server.process().freeze();
    let mut ours = Vec::new();
    for size in 1..=10 {
        let schema = json!({"schema": format!(r#"{{"type":"fixed","name":"Of{size}","size":{size}}}"#)});
        ours.push(id_of(&here, &format!("west-{size}-value"), &schema).await);
    }
    assert!(ours.contains(&lost) && !ids.contains(&lost), "{lost} among {ours:?}");
    let report = worker.rest.put("/links/east->west/failback?timeout=60", &json!({})).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    let end = end_of_schemas(&in_east).await;
    assert!(end > read, "the log ends at {end}, and the registry that hung had read up to {read}");
    there.server.process().resume();

    wait_until("both registries say the same again", PATIENCE, || say_the_same(&there, &here)).await;
    for id in ids.iter().chain(&ours) {
        let question = format!("/schemas/ids/{id}");
        assert_eq!(there.rest.get(&question).await.good(), here.rest.get(&question).await.good(), "{question}");
    }
    wait_until("the registry of the east writes", PATIENCE, || says_mode(&there, "READWRITE")).await;
    let next = id_of(&there, "home-value", &json!({"schema": "\"boolean\""})).await;
    assert!(ours.iter().all(|id| *id < next), "{next} behind {ours:?}");
    wait_until("what was registered at home is in the west", PATIENCE, || say_the_same(&there, &here)).await;
}
