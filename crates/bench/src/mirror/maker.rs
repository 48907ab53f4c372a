//! Who mirrors: a Connect worker of ours, or Kafka's with MirrorMaker 2's connectors.
//!
//! Picture: one process beside the target, told by REST what to do. Both workers have the same settings, and both get the
//! same connector; only the names of their topics and groups differ, so that they can stand side by side.
//! Not here: what is copied ([`super::site`]), when it is there ([`super::copying`]).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use twinstream_testkit::{Answer, Folder, Process, Rest, Worker, WorkerOptions, free_port, peer, wait_until};

use super::site::{SOURCE_TOPIC, Site};
use crate::judge::HEAP;

const CONNECT: &str = "org.apache.kafka.connect.cli.ConnectDistributed";
pub(super) const CONNECTOR: &str = "org.apache.kafka.connect.mirror.MirrorSourceConnector";
/// The other connectors of a link: how we call them, their class, and how many replicas their topic gets.
const BESIDE: [(&str, &str, &str); 2] = [
    ("groups", "org.apache.kafka.connect.mirror.MirrorCheckpointConnector", "checkpoints.topic.replication.factor"),
    ("heartbeats", "org.apache.kafka.connect.mirror.MirrorHeartbeatConnector", "heartbeats.topic.replication.factor"),
];
const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";
const STARTED_WITHIN: Duration = Duration::from_secs(120);
/// A worker that rebalances, or has lost its coordinator, says so with a status; it does not last longer than this.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;
const SERVER_ERROR: u16 = 500;

/// Which mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours(PathBuf),
    MirrorMaker,
}

impl Kind {
    pub fn name(&self) -> String {
        match self {
            Self::Ours(path) => path.display().to_string(),
            Self::MirrorMaker => "MirrorMaker 2 of Apache Kafka 4.3.1".to_owned(),
        }
    }
}

/// What is asked of a worker.
#[derive(Clone, Copy)]
enum Verb<'a> {
    Get,
    Put(&'a Value),
    Delete,
}

/// A running worker.
pub(super) struct Maker {
    tag: &'static str,
    program: Program,
    rest: Rest,
    // After the process, whose settings and log it holds.
    _folder: Folder,
}

enum Program {
    Ours(Box<Worker>),
    Kafka(Process),
}

impl Maker {
    /// Starts a worker beside the target of a site. Two on one target have different tags.
    pub(super) async fn start(kind: &Kind, tag: &'static str, site: &Site) -> Self {
        let (folder, bootstrap) = (Folder::new(), site.target.bootstrap());
        match kind {
            Kind::Ours(binary) => {
                let options = settings(tag)
                    .into_iter()
                    .fold(WorkerOptions::default(), |options, (name, value)| options.set(name, value));
                let worker = Worker::start(&folder, &bootstrap, options.binary(binary)).await;
                let rest = worker.rest.clone();
                Self { tag, program: Program::Ours(Box::new(worker)), rest, _folder: folder }
            }
            Kind::MirrorMaker => Self::start_kafka(tag, &bootstrap, folder).await,
        }
    }

    async fn start_kafka(tag: &'static str, bootstrap: &str, folder: Folder) -> Self {
        let port = free_port();
        let mut text = format!(
            "bootstrap.servers={bootstrap}\nlisteners=http://127.0.0.1:{port}\nplugin.discovery=service_load\n"
        );
        for (name, value) in settings(tag) {
            text.push_str(&format!("{name}={value}\n"));
        }
        let file = folder.path().join("worker.properties");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        let command = peer::kafka().as_shipped(HEAP).server(CONNECT, &[&file.display().to_string()]);
        let process = Process::spawn("mirror-maker", command, &folder.path().join("worker.log"));
        let rest = Rest::new(format!("http://127.0.0.1:{port}"));
        wait_until("Kafka's Connect worker answers", STARTED_WITHIN, || async {
            rest.try_get("/connectors").await.is_some_and(|answer| answer.is_good())
        })
        .await;
        Self { tag, program: Program::Kafka(process), rest, _folder: folder }
    }

    pub(super) fn pid(&mut self) -> u32 {
        match &mut self.program {
            Program::Ours(worker) => worker.server.process().id(),
            Program::Kafka(process) => process.id(),
        }
    }

    /// The alias of the source in a run: a name of its own, so that it begins at the beginning.
    pub(super) fn alias(&self, run: usize) -> String {
        format!("{}{run}", self.tag)
    }

    /// Makes the connector that copies these topics, with more settings than all have.
    pub(super) async fn begin(&self, site: &Site, alias: &str, topics: &str, more: &[(&str, &str)]) -> Result<()> {
        self.make(alias, &connector(site, alias, topics, more)).await
    }

    /// Makes the connectors that let groups follow and give a sign of life, as a whole link has them.
    pub(super) async fn begin_beside(&self, site: &Site, alias: &str, topics: &str) -> Result<()> {
        for (name, class, replicas) in BESIDE {
            let more = [("connector.class", class), (replicas, "1")];
            self.make(&beside(alias, name), &connector(site, alias, topics, &more)).await?;
        }
        Ok(())
    }

    async fn make(&self, name: &str, config: &Value) -> Result<()> {
        let answer = self.ask(&path(name, "/config"), Verb::Put(config)).await?;
        if !answer.is_good() {
            bail!("the connector {name} was refused with {}: {}", answer.status, answer.body);
        }
        Ok(())
    }

    /// As [`Self::check`], of all connectors of a link.
    pub(super) async fn check_all(&self, alias: &str) -> Result<()> {
        self.check(alias).await?;
        for (name, ..) in BESIDE {
            self.check(&beside(alias, name)).await?;
        }
        Ok(())
    }

    /// Deletes the connector and waits until it is gone.
    pub(super) async fn end(&self, alias: &str) -> Result<()> {
        let deadline = Instant::now() + ANSWERED_WITHIN;
        self.ask(&path(alias, ""), Verb::Delete).await?;
        while self.ask(&path(alias, "/status"), Verb::Get).await?.status != NOT_FOUND {
            if Instant::now() >= deadline {
                bail!("the connector {alias} is not gone after {ANSWERED_WITHIN:?}");
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// An error where the connector or a task of it has failed.
    pub(super) async fn check(&self, alias: &str) -> Result<()> {
        let Some(answer) = self.rest.try_get(&path(alias, "/status")).await else { bail!("the worker is gone") };
        let tasks = answer.body["tasks"].as_array().into_iter().flatten();
        let states = tasks.chain([&answer.body["connector"]]);
        match states.into_iter().find(|state| state["state"] == "FAILED") {
            Some(failed) => bail!("{alias} has failed: {}", failed["trace"].as_str().unwrap_or("no trace")),
            None => Ok(()),
        }
    }

    /// The default of a setting of the connector, `None` when it has none of this name.
    pub(super) async fn default_of(&self, setting: &str) -> Result<Option<Value>> {
        let path = format!("/connector-plugins/{CONNECTOR}/config");
        let answer = self.ask(&path, Verb::Get).await?;
        let keys = answer.body.as_array().context("the settings of the connector")?;
        let found = keys.iter().find(|key| key["name"] == setting);
        Ok(found.map(|key| key["default_value"].clone()))
    }

    /// Asks until the worker is ready to answer.
    async fn ask(&self, path: &str, verb: Verb<'_>) -> Result<Answer> {
        let deadline = Instant::now() + ANSWERED_WITHIN;
        loop {
            let answer = match verb {
                Verb::Get => self.rest.get(path).await,
                Verb::Put(body) => self.rest.put(path, body).await,
                Verb::Delete => self.rest.delete(path).await,
            };
            if answer.status != CONFLICT && answer.status < SERVER_ERROR {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                bail!("the worker answers {} after {ANSWERED_WITHIN:?}: {}", answer.status, answer.body);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn beside(alias: &str, name: &str) -> String {
    format!("{alias}-{name}")
}

fn path(connector: &str, more: &str) -> String {
    format!("/connectors/{connector}{more}")
}

/// What both workers are told: as shipped, but for one broker's replicas.
fn settings(tag: &str) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("group.id", format!("connect-{tag}")),
        ("key.converter", BYTES.to_owned()),
        ("value.converter", BYTES.to_owned()),
    ];
    let stores = [
        ("config.storage.topic", "config.storage.replication.factor", "configs"),
        ("offset.storage.topic", "offset.storage.replication.factor", "offsets"),
        ("status.storage.topic", "status.storage.replication.factor", "status"),
    ];
    for (topic, replicas, name) in stores {
        settings.push((topic, format!("connect-{tag}-{name}")));
        settings.push((replicas, "1".to_owned()));
    }
    settings
}

/// MirrorMaker's settings as they are by default, but for one broker's replicas and two tasks.
fn connector(site: &Site, alias: &str, topics: &str, more: &[(&str, &str)]) -> Value {
    let config = json!({
        "connector.class": CONNECTOR,
        "tasks.max": "2",
        "source.cluster.alias": alias,
        "target.cluster.alias": "target",
        "source.cluster.bootstrap.servers": site.source.bootstrap(),
        "target.cluster.bootstrap.servers": site.target.bootstrap(),
        "topics": topics,
        "replication.factor": "1",
        "offset-syncs.topic.replication.factor": "1",
        "sync.topic.acls.enabled": "false",
    });
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
    config.as_object().cloned().unwrap_or_default().into_iter().chain(more).collect::<Map<_, _>>().into()
}

/// What a copy of the topic of a site is called.
pub(super) fn copy_name(alias: &str) -> String {
    format!("{alias}.{SOURCE_TOPIC}")
}
