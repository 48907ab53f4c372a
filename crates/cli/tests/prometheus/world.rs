//! Two sites, what runs between and beside them, and the Prometheus that scrapes all.
//!
//! Picture: `west` has three brokers. `east` has one, a registry, an index, a worker named `connect` with two sinks, and one
//! named `mirror` with a mirror whose connectors are named as Strimzi names them. Every target has the labels of our
//! `prometheus.yml` and those that Strimzi's relabelling adds.

use std::time::Duration;

use serde_json::{Value, json};
use twinstream_client::RawClient;
use twinstream_client::raw::NewTopic;
use twinstream_testkit::peer::{self, Prometheus};
use twinstream_testkit::records::{client_settings, create_topic, topic_name};
use twinstream_testkit::{
    Cluster, ClusterOptions, Folder, Registry, Search, Worker, WorkerOptions, free_port, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(90);
/// Topics of `west`, with their partitions. All but `fetched` are mirrored.
const TOPICS: [(&str, i32); 5] = [("orders", 2), ("counted", 6), ("broken", 1), ("old", 1), ("fetched", 1)];
pub(crate) const REPLICAS: i16 = 3;

pub(crate) struct World {
    pub west: Cluster,
    pub east: Cluster,
    pub registry: Registry,
    pub connect: Worker,
    pub search: Search,
    pub upstream: RawClient,
    pub prometheus: Prometheus,
    mirror: Worker,
    /// Where the metrics of the broker of `east` are.
    only_broker: String,
    _folder: Folder,
}

/// A process to scrape.
struct Target {
    job: &'static str,
    site: &'static str,
    address: String,
    /// What Strimzi would say that it is.
    kind: &'static str,
    cluster: &'static str,
    pod: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
        let listener = |at: usize| format!("127.0.0.1:{}", ports[at]);
        let options = (1..=3).fold(ClusterOptions::replicated(), |options, id| {
            options.set_on(id, "twinstream.metrics.listener", listener(id - 1))
        });
        let options = options.set("log.flush.interval.messages", "10");
        let one = ClusterOptions::default().set("twinstream.metrics.listener", listener(3));
        let (west, east) = tokio::join!(Cluster::start_with(3, options), Cluster::start_with(1, one));
        let folder = Folder::new();
        let bootstrap = east.bootstrap();
        let worker = |name: &str| {
            let topics =
                ["config", "offset", "status"].map(|kind| (format!("{kind}.storage.topic"), format!("{name}-{kind}")));
            let options = WorkerOptions::default().set("group.id", name).set("offset.flush.interval.ms", "1000");
            topics.iter().fold(options, |options, (setting, topic)| options.set(setting, topic.clone()))
        };
        let (registry, search) = tokio::join!(Registry::start(&folder, &bootstrap), Search::start(&folder));
        let (connect, mirror) = tokio::join!(
            Worker::start(&folder, &bootstrap, worker("connect")),
            Worker::start(&folder, &bootstrap, worker("mirror"))
        );
        let mut targets: Vec<Target> = (0..3).map(|at| broker("west", listener(at), at + 1)).collect();
        targets.push(broker("east", listener(3), 1));
        for (worker, kind, cluster) in [(&connect, "KafkaConnect", "connect"), (&mirror, "KafkaMirrorMaker2", "mirror")]
        {
            let pod = format!("{cluster}-{cluster}-0");
            targets.push(Target { job: "worker", site: "east", address: bare(worker.rest.base()), kind, cluster, pod });
        }
        let (address, pod) = (bare(registry.rest.base()), "registry-0".to_owned());
        targets.push(Target { job: "registry", site: "east", address, kind: "Registry", cluster: "registry", pod });
        let prometheus = peer::prometheus(&configuration(&targets)).await;
        let upstream = RawClient::connect(&client_settings(&west.bootstrap(), &[])).await.expect("a client of west");
        let world = Self {
            west,
            east,
            registry,
            connect,
            search,
            upstream,
            prometheus,
            mirror,
            only_broker: listener(3),
            _folder: folder,
        };
        world.make_topics().await;
        world.make_connectors().await;
        wait_until("all targets are scraped", PATIENCE, || async {
            world.prometheus.query("sum(up)").await == Ok(vec![targets.len() as f64])
        })
        .await;
        world
    }

    /// What a variable of this board stands for here.
    pub(crate) fn variable(&self, board: &str, name: &str) -> String {
        let value = match name {
            // The end of a regular expression.
            "" => "$",
            // It reads one kafka_exporter, which tells of a whole cluster; here that is the only broker of a site.
            "instance" if board == "grafana-7589" => &self.only_broker,
            "__rate_interval" => "30s",
            "__range" => "1m",
            "site" => ".*",
            "kubernetes_namespace" => "here",
            "strimzi_cluster_name" => "west",
            "strimzi_connect_cluster_name" => "connect",
            "strimzi_mirror_maker_cluster_name" => "mirror",
            "kafka_broker" | "kraft_node" => "kafka-[0-9]+",
            _ => ".+",
        };
        value.to_owned()
    }

    async fn make_topics(&self) {
        let topics: Vec<NewTopic> = TOPICS.map(|(name, count)| NewTopic::new(topic_name(name), count, REPLICAS)).into();
        for (topic, made) in self.upstream.create_topics(&topics, false).await.expect("topics") {
            made.unwrap_or_else(|error| panic!("{topic}: {error}"));
        }
        create_topic(&self.east.bootstrap(), "dead", 1).await;
    }

    async fn make_connectors(&self) {
        for class in ["MirrorSourceConnector", "MirrorCheckpointConnector"] {
            let path = format!("/connectors/src-%3Edst.{class}/config");
            self.mirror.rest.put(&path, &self.mirror(class)).await.good();
        }
        for (name, topics) in [("search", "src.orders"), ("counter", "src.counted,src.broken")] {
            self.connect.rest.put(&format!("/connectors/{name}/config"), &self.sink(topics)).await.good();
        }
    }

    fn mirror(&self, class: &str) -> Value {
        json!({
            "connector.class": format!("org.apache.kafka.connect.mirror.{class}"),
            "tasks.max": "2",
            "source.cluster.alias": "src",
            "target.cluster.alias": "dst",
            "source.cluster.bootstrap.servers": self.west.bootstrap(),
            "target.cluster.bootstrap.servers": self.east.bootstrap(),
            "replication.factor": "1",
            "topics": "orders,counted,broken,old",
            "groups": "readers",
            "sync.group.offsets.enabled": "true",
            "sync.group.offsets.interval.seconds": "1",
            "emit.checkpoints.interval.seconds": "1",
            "refresh.groups.interval.seconds": "1",
        })
    }

    fn sink(&self, topics: &str) -> Value {
        json!({
            "connector.class": "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector",
            "topics": topics,
            "connection.url": self.search.rest.base(),
            "key.ignore": "true",
            "schema.ignore": "true",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "consumer.override.metadata.max.age.ms": "1000",
            "errors.tolerance": "all",
            "errors.deadletterqueue.topic.name": "dead",
            "errors.deadletterqueue.topic.replication.factor": "1",
        })
    }
}

fn broker(site: &'static str, address: String, id: usize) -> Target {
    Target { job: "broker", site, address, kind: "Kafka", cluster: site, pod: format!("{site}-kafka-{id}") }
}

fn bare(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

/// JSON is YAML.
fn configuration(targets: &[Target]) -> String {
    let job = |job: &str| {
        let of_job = targets.iter().filter(|target| target.job == job);
        let configs: Vec<Value> = of_job
            .map(|target| {
                let labels = json!({
                    "site": target.site,
                    "namespace": "here",
                    "strimzi_io_kind": target.kind,
                    "strimzi_io_cluster": target.cluster,
                    "strimzi_io_name": format!("{}-kafka", target.cluster),
                    "kubernetes_pod_name": target.pod,
                    "container": "kafka",
                });
                json!({ "targets": [target.address], "labels": labels })
            })
            .collect();
        json!({ "job_name": job, "static_configs": configs })
    };
    let jobs = ["broker", "worker", "registry"].map(job);
    json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
        "scrape_configs": jobs,
    })
    .to_string()
}
