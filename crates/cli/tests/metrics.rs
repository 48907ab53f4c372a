//! What the roles tell on `/metrics`: the page of the documentation is theirs, existing dashboards find what they read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use twinstream_client::raw::RawClient;
use twinstream_client::{CommitOffset, ProducerRecord};
use twinstream_model::{GroupId, Offset, PartitionIndex, TopicPartition};
use twinstream_testkit::records::{self, client_settings, topic_name};
use twinstream_testkit::{
    Cluster, ClusterOptions, Folder, Registry, Search, Worker, WorkerOptions, free_port, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: &str = "book/src/reference/metrics.md";
const QUERIES: &str = "../../monitoring/well-known-queries.yml";

/// The body behind an address.
async fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("ask");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("the answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{address}{path}: {head}");
    body.to_owned()
}

/// A broker, a worker and a registry, with where their metrics are.
struct Roles {
    folder: Folder,
    source: Cluster,
    target: Cluster,
    worker: Worker,
    registry: Registry,
    brokers: [String; 2],
}

impl Roles {
    async fn start() -> Self {
        let folder = Folder::new();
        let brokers = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let options = |at: usize| ClusterOptions::default().set("twinstream.metrics.listener", brokers[at].clone());
        let (source, target) = tokio::join!(Cluster::start_with(1, options(0)), Cluster::start_with(1, options(1)));
        let registry = Registry::start(&folder, &target.bootstrap()).await;
        let worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
        Self { folder, source, target, worker, registry, brokers }
    }

    /// Name of the role and where its metrics are.
    fn addresses(&self) -> [(&'static str, String); 3] {
        let at = |base: &str| base.trim_start_matches("http://").to_owned();
        [
            ("broker", self.brokers[1].clone()),
            ("worker", at(self.worker.rest.base())),
            ("registry", at(self.registry.rest.base())),
        ]
    }

    /// Names of all metrics that have a series now, on any role of either side.
    async fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let addresses = self.addresses().map(|(_, address)| address);
        for address in addresses.iter().chain([&self.brokers[0]]) {
            let page = get(address, "/metrics").await;
            let series = page.lines().filter(|line| !line.starts_with('#'));
            names.extend(series.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())));
        }
        names
    }
}

/// A line of `/metrics/reference`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    kind: String,
    labels: String,
    help: String,
}

async fn reference(address: &str) -> BTreeSet<Entry> {
    let page = get(address, "/metrics/reference").await;
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, kind, labels, help] = fields[..] else { panic!("{address}: {line}") };
        let labels = labels.replace(',', ", ");
        Entry { name: name.to_owned(), kind: kind.to_owned(), labels, help: help.to_owned() }
    };
    page.lines().map(entry).collect()
}

/// The page that users read.
async fn page(roles: &Roles) -> String {
    let mut by_role: BTreeMap<&str, BTreeSet<Entry>> = BTreeMap::new();
    for (role, address) in roles.addresses() {
        by_role.insert(role, reference(&address).await);
    }
    let shared: BTreeSet<Entry> =
        by_role.values().cloned().reduce(|all, of_role| &all & &of_role).expect("there are roles");
    let mut page = String::from(
        "# Metrics\n\n\
         Each role serves `/metrics` for Prometheus: brokers on `twinstream.metrics.listener`, worker and registry on their REST \
         ports.\nA metric has series only while there is something to tell. Names that begin with `kafka_` are those that \
         dashboards of\nKafka, Kafka Connect, MirrorMaker 2 and kafka_exporter read; `twinstream_` are our own.\n\n\
         This page is made from what running roles say on `/metrics/reference`:\n\
         `UPDATE_DOCS=1 cargo test -p twinstream --test metrics page`.\n",
    );
    for (title, entries) in [("Every role", &shared)].into_iter().chain([
        ("Broker", &by_role["broker"]),
        ("Worker", &by_role["worker"]),
        ("Registry", &by_role["registry"]),
    ]) {
        page += &format!("\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n");
        let of_role = entries.iter().filter(|entry| title == "Every role" || !shared.contains(*entry));
        for Entry { name, kind, labels, help } in of_role {
            page += &format!("| `{name}` | {kind} | {labels} | {} |\n", help.replace('|', "\\|"));
        }
    }
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_metrics_is_what_the_roles_say() {
    let roles = Roles::start().await;
    let page = page(&roles).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for the page");
        fs::write(&path, &page).expect("the page is written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let stale: Vec<&str> = page.lines().filter(|line| !written.contains(line)).collect();
    assert!(
        written == page,
        "{PAGE} is stale, run UPDATE_DOCS=1 cargo test -p twinstream --test metrics page: {stale:#?}"
    );
}

/// Names that the well-known boards read, without what needs a state that a healthy system is not in, or Kubernetes.
fn names_of_boards() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(QUERIES)).expect("the list of queries");
    let mut names = BTreeSet::new();
    for query in text.split("\n  - board: ").skip(1) {
        if query.contains("needs: kubernetes") {
            continue;
        }
        let expression =
            query.lines().find_map(|line| line.trim().strip_prefix("expression: ")).expect("an expression");
        // A metric stands before its braces.
        let before_braces = expression
            .split('{')
            .filter_map(|part| part.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().map(str::to_owned));
        let known = |name: &String| ["kafka_", "jvm_", "process_"].iter().any(|prefix| name.starts_with(prefix));
        names.extend(before_braces.filter(known));
    }
    assert!(names.len() > 60, "{names:?}");
    names
}

/// A mirror with its checkpoints as Strimzi names them, a sink and its index, and a group that is behind.
async fn work(roles: &Roles) -> Search {
    let (source, target) = (roles.source.bootstrap(), roles.target.bootstrap());
    let search = Search::start(&roles.folder).await;
    records::create_topic(&source, "orders", 2).await;
    let connector = |class: &str| {
        json!({
            "connector.class": format!("org.apache.kafka.connect.mirror.{class}"),
            "tasks.max": "1",
            "source.cluster.alias": "src",
            "target.cluster.alias": "dst",
            "source.cluster.bootstrap.servers": source,
            "target.cluster.bootstrap.servers": target,
            "replication.factor": "1",
            "topics": "orders",
            "groups": "readers",
            "sync.group.offsets.enabled": "true",
            "sync.group.offsets.interval.seconds": "1",
            "emit.checkpoints.interval.seconds": "1",
            "refresh.groups.interval.seconds": "1",
        })
    };
    for class in ["MirrorSourceConnector", "MirrorCheckpointConnector"] {
        let path = format!("/connectors/src-%3Edst.{class}/config");
        roles.worker.rest.put(&path, &connector(class)).await.good();
    }
    let sink = json!({
        "connector.class": "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector",
        "topics": "src.orders",
        "connection.url": search.rest.base(),
        "key.ignore": "true",
        "schema.ignore": "true",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "consumer.override.metadata.max.age.ms": "1000",
    });
    roles.worker.rest.put("/connectors/search/config", &sink).await.good();
    let order =
        |number: usize| ProducerRecord::new(topic_name("orders"), None, Some(format!("{{\"n\":{number}}}").into()));
    records::produce(&source, &[], &(0..100).map(order).collect::<Vec<_>>()).await;
    let client = RawClient::connect(&client_settings(&source, &[])).await.expect("a client");
    let at = |partition| {
        (TopicPartition::new(topic_name("orders"), PartitionIndex(partition)), CommitOffset::from(Offset(1)))
    };
    client
        .commit_offsets(&GroupId::from("readers"), &BTreeMap::from([at(0), at(1)]))
        .await
        .expect("offsets are committed");
    let indexed = || async { search.rest.try_get("/src.orders/_count").await.is_some_and(|answer| answer.is_good()) };
    wait_until("orders are indexed", PATIENCE, indexed).await;
    search
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boards_find_a_series_for_every_name_that_they_read() {
    let roles = Roles::start().await;
    let _search = work(&roles).await;
    for name in names_of_boards() {
        let is_there = || async { roles.names().await.contains(&name) };
        wait_until(&format!("{name} has a series"), PATIENCE, is_there).await;
    }
    let page = get(&roles.addresses()[1].1, "/metrics").await;
    for series in [
        r#"kafka_connect_connector_status{connector="\"src->dst.MirrorSourceConnector\"",status="running"} 1"#,
        r#"kafka_connect_connector_task_status{connector="search",status="running",task="0"} 1"#,
        r#"kafka_connect_connector_connector_type{connector="search",connector_type="sink"} 1"#,
        r#"kafka_connect_worker_connector_running_task_count{connector="search"} 1"#,
    ] {
        assert!(page.contains(series), "{series} is not in\n{page}");
    }
    let lag = r#"kafka_consumer_fetch_manager_records_lag{clientid="\"src->dst|replication-consumer\"",partition="0",topic="orders"} "#;
    assert!(page.contains(lag), "{lag} is not in\n{page}");
}
