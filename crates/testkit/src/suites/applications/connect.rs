//! Kafka Connect: two distributed workers in one group, with the connectors for files that Kafka ships, and exactly-once
//! sources.
//!
//! A source follows a file, a sink writes the topic into another one. The worker that runs the task of the source is
//! killed in every round; the other one fences it, takes over, and every line is in the topic once. The sink promises each
//! line at least once, and at most the last ones twice. Then whatever a user does through REST: pause, resume, restart,
//! stop, look at offsets, change them, forget them, delete.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use twinstream_model::GroupId;

use super::follower::Follower;
use super::program::Program;
use super::site::{Side, Site};
use super::{Effort, WORKS_WITHIN};
use crate::folder::Folder;
use crate::peer::{self, Kafka, KafkaTools};
use crate::ports::free_port;
use crate::records;
use crate::rest::{Answer, Rest};
use crate::wait::{wait_until, wait_until_some};

const CLASS: &str = "org.apache.kafka.connect.cli.ConnectDistributed";
const TOPIC: &str = "lines";
const LINES: usize = 500;
/// Of the group, with the number of their partitions.
const STORES: [(&str, usize); 3] = [("connect-configs", 1), ("connect-offsets", 25), ("connect-status", 5)];
/// HTTP status while the group rebalances: ask again.
const CONFLICT: u16 = 409;

pub(super) async fn run(side: Side, effort: Effort) -> String {
    let (kafka, folder) = (peer::kafka(), Folder::new());
    let mut bench = Bench::start(&kafka, &folder, side, effort.brokers).await;
    bench.connect("source", &bench.source()).await;
    bench.connect("sink", &bench.sink()).await;
    bench.append(LINES);
    bench.site.create_topic(TOPIC, 1, &[]).await;
    let follower = Follower::start(&bench.site.bootstrap, TOPIC, 1).await;
    follower.until(bench.lines).await;
    for _ in 0..effort.kills {
        bench.append(LINES);
        bench.site.lose_a_broker().await;
        follower.until(bench.lines).await;
        let victim = bench.worker_of("source").await;
        bench.append(LINES);
        bench.workers[victim].program.kill();
        bench.append(LINES);
        follower.until(bench.lines).await;
        let now = bench.worker_of("source").await;
        assert_ne!(now, victim, "the other worker runs the task");
        bench.workers[victim].program.start();
        bench.workers[victim].until_ready().await;
    }
    bench.assert_in_the_topic(1).await;
    bench.until_sink_has_all().await;
    bench.assert_stores(&mut kafka.tools()).await;
    bench.does_what_rest_asks_for(&follower).await;
    for worker in &mut bench.workers {
        worker.program.stop().await;
    }
    bench.site.assert_no_transaction_hangs(&mut kafka.tools());
    format!("{} lines, each once in the topic and all in the sink", bench.lines)
}

struct Worker {
    program: Program,
    /// As it stands in the status of a task.
    id: String,
    rest: Rest,
}

impl Worker {
    async fn is_ready(&self) -> bool {
        self.rest.try_get("/connectors").await.is_some_and(|answer| answer.is_good())
    }

    async fn until_ready(&self) {
        wait_until(&format!("the worker {} answers", self.id), WORKS_WITHIN, || self.is_ready()).await;
    }
}

struct Bench {
    site: Site,
    workers: Vec<Worker>,
    from: PathBuf,
    to: PathBuf,
    /// In the file that the source follows.
    lines: usize,
}

impl Bench {
    async fn start(kafka: &Kafka, folder: &Folder, side: Side, brokers: usize) -> Self {
        let site = Site::start(side, brokers).await;
        let mut workers: Vec<Worker> = (1..=2).map(|number| worker(kafka, folder, &site, number)).collect();
        for worker in &mut workers {
            worker.program.start();
        }
        let (from, to) = (folder.path().join("from.txt"), folder.path().join("to.txt"));
        let bench = Self { site, workers, from, to, lines: 0 };
        for worker in &bench.workers {
            worker.until_ready().await;
        }
        bench
    }

    fn source(&self) -> Value {
        json!({
            "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
            "file": self.from.display().to_string(),
            "topic": TOPIC,
            "tasks.max": "1",
            // More than there are: lines beyond it stay in the reader until the file grows again.
            "batch.size": "1000000",
            "exactly.once.support": "required",
        })
    }

    fn sink(&self) -> Value {
        json!({
            "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
            "file": self.to.display().to_string(),
            "topics": TOPIC,
            "tasks.max": "1",
            "consumer.override.isolation.level": "read_committed",
            "consumer.override.metadata.max.age.ms": "1000",
        })
    }

    fn append(&mut self, lines: usize) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.from).expect("the file of the source");
        let text: String = (self.lines..self.lines + lines).map(|number| format!("line {number}\n")).collect();
        file.write_all(text.as_bytes()).expect("room for lines");
        self.lines += lines;
    }

    /// Asks the workers until one of them can answer.
    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let what = format!("{method} {path}");
        let answer = wait_until_some(&what, WORKS_WITHIN, || async {
            for worker in &self.workers {
                // One that starts has no paths yet; one that is up may send the request on to a leader that is gone.
                if !worker.is_ready().await {
                    continue;
                }
                let answer: Answer = match method {
                    "PUT" => worker.rest.put(path, body).await,
                    "POST" => worker.rest.post(path, body).await,
                    "PATCH" => worker.rest.patch(path, body).await,
                    "DELETE" => worker.rest.delete(path).await,
                    _ => worker.rest.get(path).await,
                };
                if answer.status != CONFLICT && answer.status < 500 {
                    return Some(answer);
                }
            }
            None
        })
        .await;
        answer.good()
    }

    async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null).await
    }

    async fn connect(&self, name: &str, config: &Value) {
        self.ask("PUT", &format!("/connectors/{name}/config"), config).await;
        self.until_state(name, "RUNNING", &["RUNNING"]).await;
    }

    async fn until_state(&self, name: &str, connector: &str, tasks: &[&str]) {
        wait_until(&format!("{name} is {connector}"), WORKS_WITHIN, || async {
            let Some(status) = self.status(name).await else { return false };
            let found = status["tasks"].as_array().into_iter().flatten().filter_map(|task| task["state"].as_str());
            let found: Vec<&str> = found.collect();
            assert!(!found.contains(&"FAILED"), "{status}");
            status["connector"]["state"] == connector && found == tasks
        })
        .await;
    }

    /// `None` while there is none.
    async fn status(&self, name: &str) -> Option<Value> {
        for worker in &self.workers {
            let answer = worker.rest.try_get(&format!("/connectors/{name}/status")).await;
            if let Some(answer) = answer.filter(Answer::is_good) {
                return Some(answer.body);
            }
        }
        None
    }

    /// Which worker runs the task of a connector.
    async fn worker_of(&self, name: &str) -> usize {
        self.until_state(name, "RUNNING", &["RUNNING"]).await;
        let status = self.get(&format!("/connectors/{name}/status")).await;
        let id = status["tasks"][0]["worker_id"].as_str().expect("a worker").to_owned();
        self.workers.iter().position(|worker| worker.id == id).expect("one of the workers")
    }

    /// Every line, in order, so often.
    async fn assert_in_the_topic(&self, times: usize) {
        let found = records::read_committed(&self.site.bootstrap, TOPIC).await;
        let found = found.iter().map(|record| record.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default());
        let wanted = std::iter::repeat_n(0..self.lines, times).flatten().map(|number| format!("line {number}"));
        let (found, wanted): (Vec<_>, Vec<_>) = (found.collect(), wanted.collect());
        let different = found.iter().zip(&wanted).enumerate().find(|(_, (found, wanted))| found != wanted);
        assert_eq!(different, None, "the first line that is not in its place");
        assert_eq!(found.len(), wanted.len(), "lines in the topic");
    }

    async fn until_sink_has_all(&self) {
        let wanted: BTreeSet<String> = (0..self.lines).map(|number| format!("line {number}")).collect();
        wait_until("the sink has every line", WORKS_WITHIN, || async { distinct(&self.to) == wanted }).await;
    }

    /// The topics in which the group keeps what it must not lose.
    async fn assert_stores(&self, tools: &mut KafkaTools) {
        for (topic, partitions) in STORES {
            assert_eq!(self.site.partitions(topic).await, partitions, "{topic}");
            let text = self.site.described(tools, topic);
            assert!(text.contains("cleanup.policy=compact"), "{text}");
        }
    }

    async fn does_what_rest_asks_for(&mut self, follower: &Follower) {
        let none = Value::Null;
        let topics = self.get("/connectors/source/topics").await;
        assert_eq!(topics["source"]["topics"], json!([TOPIC]));
        for name in ["source", "sink"] {
            let path = |verb: &str| format!("/connectors/{name}/{verb}");
            self.ask("PUT", &path("pause"), &none).await;
            self.until_state(name, "PAUSED", &["PAUSED"]).await;
            self.ask("PUT", &path("resume"), &none).await;
            self.until_state(name, "RUNNING", &["RUNNING"]).await;
            self.ask("POST", &path("restart?includeTasks=true"), &none).await;
            self.until_state(name, "RUNNING", &["RUNNING"]).await;
        }
        self.append(LINES);
        follower.until(self.lines).await;
        self.until_sink_has_all().await;
        self.source_goes_back(follower).await;
        self.sink_goes_back().await;
        for name in ["source", "sink"] {
            self.ask("DELETE", &format!("/connectors/{name}"), &none).await;
        }
        wait_until("no connector is left", WORKS_WITHIN, || async { self.get("/connectors").await == json!([]) }).await;
    }

    /// Its offset is forgotten, so it reads its file once more.
    async fn source_goes_back(&mut self, follower: &Follower) {
        let length = std::fs::metadata(&self.from).expect("the file of the source").len();
        self.ask("PUT", "/connectors/source/stop", &Value::Null).await;
        self.until_state("source", "STOPPED", &[]).await;
        let offsets = self.get("/connectors/source/offsets").await;
        let name = self.from.display().to_string();
        let at =
            |position: u64| json!({"offsets": [{"partition": {"filename": name}, "offset": {"position": position}}]});
        assert_eq!(offsets, at(length));
        self.ask("PATCH", "/connectors/source/offsets", &at(7)).await;
        assert_eq!(self.get("/connectors/source/offsets").await, at(7));
        self.ask("DELETE", "/connectors/source/offsets", &Value::Null).await;
        assert_eq!(self.get("/connectors/source/offsets").await, json!({"offsets": []}));
        self.ask("PUT", "/connectors/source/resume", &Value::Null).await;
        follower.until(2 * self.lines).await;
        self.assert_in_the_topic(2).await;
    }

    /// Its group begins anew, so it writes everything once more.
    async fn sink_goes_back(&self) {
        let group = GroupId::from("connect-sink");
        let end = super::site::partition(TOPIC, 0);
        wait_until("the sink has committed all", WORKS_WITHIN, || async {
            let lag = self.site.admin.group_lag(&group).await.ok();
            // The last record of a topic of transactions is a marker, which a consumer may or may not have passed.
            lag.and_then(|lag| lag.get(&end)?.lag()).is_some_and(|lag| lag <= 1)
        })
        .await;
        self.ask("PUT", "/connectors/sink/stop", &Value::Null).await;
        self.until_state("sink", "STOPPED", &[]).await;
        let at = |offset: i64| {
            let partition = json!({"kafka_topic": TOPIC, "kafka_partition": 0});
            json!({"offsets": [{"partition": partition, "offset": {"kafka_offset": offset}}]})
        };
        self.ask("PATCH", "/connectors/sink/offsets", &at(3)).await;
        assert_eq!(self.get("/connectors/sink/offsets").await, at(3));
        self.ask("DELETE", "/connectors/sink/offsets", &Value::Null).await;
        assert_eq!(self.get("/connectors/sink/offsets").await, json!({"offsets": []}));
        std::fs::remove_file(&self.to).expect("the file of the sink");
        self.ask("PUT", "/connectors/sink/resume", &Value::Null).await;
        self.until_sink_has_all().await;
    }
}

fn worker(kafka: &Kafka, folder: &Folder, site: &Site, number: usize) -> Worker {
    let port = free_port();
    let (listener, replicas) = (format!("http://127.0.0.1:{port}"), site.replicas().to_string());
    let settings = [
        ("bootstrap.servers", site.bootstrap.as_str()),
        ("group.id", "connect"),
        ("listeners", &listener),
        ("exactly.once.source.support", "enabled"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("config.storage.topic", STORES[0].0),
        ("offset.storage.topic", STORES[1].0),
        ("status.storage.topic", STORES[2].0),
        ("config.storage.replication.factor", &replicas),
        ("offset.storage.replication.factor", &replicas),
        ("status.storage.replication.factor", &replicas),
        ("plugin.discovery", "service_load"),
        ("offset.flush.interval.ms", "1000"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "1000"),
        ("scheduled.rebalance.max.delay.ms", "0"),
        ("metadata.max.age.ms", "2000"),
    ];
    let program = Program::new(kafka, folder, &format!("worker-{number}"), CLASS, &settings);
    Worker { program, id: format!("127.0.0.1:{port}"), rest: Rest::new(listener) }
}

fn distinct(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
