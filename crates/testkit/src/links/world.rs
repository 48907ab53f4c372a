//! Two clusters and a worker that mirrors from the one to the other, all of which can be killed, and both ways cut.
//!
//! ```text
//!   load ──▶ source 1..3 ◀── relays ── worker ── relays ──▶ target 1..3 ◀── readers, judge
//! ```
//!
//! The worker lives by the target, as one should, so a cut between them also cuts it off from its own group and topics.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twinstream_client::{Admin, NewTopic, RawClient};
use twinstream_model::{NodeId, PartitionIndex, TopicPartition};

use super::trouble::{Draw, Trouble};
use super::{Of, PARTITIONS};
use crate::cluster::{Cluster, ClusterOptions};
use crate::faults::{Dice, Subject};
use crate::folder::Folder;
use crate::nemesis::Relay;
use crate::operator::{Operator, SETTLES_WITHIN};
use crate::peer;
use crate::records::{client_settings, topic_name};
use crate::server::{Worker, WorkerOptions};
use crate::wait::{wait_until, wait_until_some};

pub(super) const BROKERS: usize = 3;
/// Kafka's brokers are missed after nine seconds, on a machine that has other things to do.
const BACK_WITHIN: Duration = Duration::from_secs(120);
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Few, so that each of these logs has something to do.
const INTERNAL_PARTITIONS: &str = "6";
const CONNECTOR: &str = "links";

/// One cluster.
pub(super) struct Site {
    pub subject: Subject,
    /// For everybody but the worker.
    pub bootstrap: String,
    /// For the worker.
    doors: Vec<Relay>,
    pub operator: Operator,
    pub raw: RawClient,
    admin: Admin,
    down: BTreeSet<usize>,
}

impl Site {
    async fn start(of: Of) -> Self {
        let settings = [
            ("min.insync.replicas", "2"),
            ("default.replication.factor", "3"),
            ("offsets.topic.num.partitions", INTERNAL_PARTITIONS),
            ("transaction.state.log.num.partitions", INTERNAL_PARTITIONS),
            ("transaction.state.log.replication.factor", "3"),
            ("transaction.state.log.min.isr", "2"),
        ];
        let (subject, doors) = match of {
            Of::Ours => {
                let options = ClusterOptions::replicated();
                let options = settings.iter().fold(options, |options, (name, value)| options.set(name, *value));
                let (cluster, doors) = Cluster::start_with_side_door(BROKERS, options).await;
                (Subject::Ours(cluster), doors)
            }
            Of::Generic => {
                let (cluster, doors) = peer::kafka().cluster_with_side_door(BROKERS, &settings).await;
                (Subject::Kafka(cluster), doors)
            }
        };
        let bootstrap = subject.bootstrap();
        let settings = client_settings(&bootstrap, &[]);
        let (admin, raw) = wait_until_some("all brokers answer", SETTLES_WITHIN, || async {
            let admin = Admin::connect(&settings).await.ok()?;
            let raw = RawClient::connect(&settings).await.ok()?;
            (admin.brokers().await.ok()?.len() == BROKERS).then_some((admin, raw))
        })
        .await;
        let operator = Operator::connect(&bootstrap, BROKERS).await;
        Self { subject, bootstrap, doors, operator, raw, admin, down: BTreeSet::new() }
    }

    fn door(&self) -> String {
        self.doors.iter().map(Relay::address).collect::<Vec<_>>().join(",")
    }

    pub(super) async fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic_name(topic), partitions, 3);
        self.admin.create_topic(&topic).await.expect("a topic with three replicas");
        self.until_in_sync().await;
    }

    /// Whether a topic is there with all its partitions.
    pub(super) async fn has(&self, topic: &str, partitions: i32) -> bool {
        let found = self.admin.topic(&topic_name(topic)).await.ok().flatten();
        found.is_some_and(|found| found.partitions.len() == usize::try_from(partitions).unwrap_or(0))
    }

    pub(super) async fn until_in_sync(&self) {
        wait_until("everything is in sync", BACK_WITHIN, || async {
            let Ok(topics) = self.admin.topics().await else { return false };
            let mut partitions = topics.values().flat_map(|topic| topic.partitions.values());
            partitions.all(|partition| partition.leader.is_some() && partition.isr.len() == partition.replicas.len())
        })
        .await;
    }

    pub(super) async fn leader(&self, partition: &TopicPartition) -> NodeId {
        let what = format!("{partition} has a leader");
        wait_until_some(&what, SETTLES_WITHIN, || async {
            let topic = self.admin.topic(&partition.topic).await.ok()??;
            topic.partitions.get(&PartitionIndex(partition.partition.0))?.leader
        })
        .await
    }

    fn kill(&mut self, id: usize) {
        self.subject.kill(id);
        self.down.insert(id);
    }

    async fn bring_back(&mut self) {
        for id in std::mem::take(&mut self.down) {
            self.subject.spawn(id);
            self.subject.wait_for_port(id).await;
        }
    }

    fn mend(&self) {
        self.doors.iter().for_each(Relay::mend);
    }
}

pub(super) struct World {
    // Before the clusters that it lives by.
    worker: Worker,
    worker_is_down: bool,
    pub source: Site,
    pub target: Site,
    folder: Folder,
    began: Instant,
}

impl World {
    pub(super) async fn start(of: Of) -> Self {
        let (source, target) = (Site::start(of).await, Site::start(of).await);
        let folder = Folder::new();
        let options = ["config", "offset", "status"].iter().fold(WorkerOptions::default(), |options, store| {
            options.set(&format!("{store}.storage.replication.factor"), "3") //
        });
        let options = options.set("offset.storage.partitions", INTERNAL_PARTITIONS);
        let worker = Worker::start(&folder, &target.door(), options).await;
        Self { worker, worker_is_down: false, source, target, folder, began: Instant::now() }
    }

    /// Where the histories of loads and the log of the worker are.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Nothing of all this is removed, for whoever looks into what went wrong.
    pub(super) fn keep(&self) {
        for folder in [&self.folder, self.source.subject.folder(), self.target.subject.folder()] {
            folder.keep();
        }
    }

    /// Starts mirroring topics of this pattern under their own names.
    pub(super) async fn link(&self, topics: &str, more: &[(&str, &str)]) {
        let mut config = json!({
            "name": CONNECTOR,
            "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
            "tasks.max": "2",
            "source.cluster.alias": "west",
            "target.cluster.alias": "east",
            "source.cluster.bootstrap.servers": self.source.door(),
            "target.cluster.bootstrap.servers": self.target.door(),
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "replication.factor": "3",
            "sync.topic.acls.enabled": "false",
            "topics": topics,
        });
        for (name, value) in more {
            config[*name] = Value::from(*value);
        }
        wait_until("the worker takes the link", READY_WITHIN, || async {
            let answer = self.worker.rest.put(&format!("/connectors/{CONNECTOR}/config"), &config).await;
            // While it joins its group, or starts a connector, it says so with these.
            answer.is_good() || {
                assert!(matches!(answer.status, 409 | 500..), "HTTP {}: {}", answer.status, answer.body);
                false
            }
        })
        .await;
    }

    /// Waits until the target has a topic of the source.
    pub(super) async fn until_made(&self, topic: &str) {
        let what = format!("the target has {topic}");
        wait_until(&what, READY_WITHIN, || async {
            if let Some(trace) = self.failure().await {
                panic!("the link has failed: {trace}");
            }
            self.target.has(topic, PARTITIONS).await
        })
        .await;
    }

    /// What of the link has failed, by the worker's own account; `None` while all runs, or nobody answers.
    pub(super) async fn failure(&self) -> Option<String> {
        let answer = self.worker.rest.try_get(&format!("/connectors/{CONNECTOR}/status")).await?;
        let tasks = answer.body["tasks"].as_array().into_iter().flatten();
        let states = tasks.chain([&answer.body["connector"]]);
        let failed = states.into_iter().find(|state| state["state"] == "FAILED")?;
        Some(failed["trace"].as_str().unwrap_or("no trace").to_owned())
    }

    /// Lets trouble begin; what it was, for whoever looks on.
    pub(super) fn strike(&mut self, draw: &Draw, dice: &mut Dice) -> String {
        let told: Vec<String> = draw.troubles.iter().map(|trouble| self.strike_one(*trouble, dice)).collect();
        let text = format!("{} for {:.1} s", told.join(" and "), draw.lasts.as_secs_f64());
        self.tell(&text);
        text
    }

    fn strike_one(&mut self, trouble: Trouble, dice: &mut Dice) -> String {
        let any = |dice: &mut Dice| usize::try_from(dice.between(1, BROKERS as u64)).expect("a node");
        match trouble {
            Trouble::WorkerKilled => {
                self.worker.server.kill();
                self.worker_is_down = true;
                "SIGKILL of the worker".to_owned()
            }
            Trouble::SourceKilled | Trouble::TargetKilled => {
                let id = any(dice);
                let (site, name) = self.site(trouble == Trouble::SourceKilled);
                site.kill(id);
                format!("SIGKILL of {name} broker {id}")
            }
            Trouble::SourceCut | Trouble::TargetCut => {
                let (is_silent, of_all, id) = (dice.coin(), dice.coin(), any(dice));
                let (site, name) = self.site(trouble == Trouble::SourceCut);
                let doors = if of_all { &site.doors[..] } else { &site.doors[id - 1..id] };
                doors.iter().for_each(|door| if is_silent { door.silence() } else { door.take_down() });
                let which = if of_all { "all brokers".to_owned() } else { format!("broker {id}") };
                let how = if is_silent { "silent" } else { "down" };
                format!("the way to {which} of the {name} {how}")
            }
        }
    }

    fn site(&mut self, is_source: bool) -> (&mut Site, &'static str) {
        if is_source { (&mut self.source, "source") } else { (&mut self.target, "target") }
    }

    /// Ends all trouble, and waits until every broker is in sync and the worker answers.
    pub(super) async fn heal(&mut self) {
        self.source.mend();
        self.target.mend();
        self.source.bring_back().await;
        self.target.bring_back().await;
        if std::mem::take(&mut self.worker_is_down) {
            self.worker.server.start().await;
        }
        self.source.until_in_sync().await;
        self.target.until_in_sync().await;
        assert!(self.worker.server.is_running(), "the worker has ended by itself:\n{}", self.worker_tail());
        self.worker.wait_ready().await;
        self.tell("all is whole again");
    }

    fn worker_tail(&mut self) -> String {
        self.worker.server.process().log_tail()
    }

    /// For whoever looks on.
    pub(super) fn tell(&self, text: &str) {
        eprintln!("{:8.2} s    {text}", self.began.elapsed().as_secs_f64());
    }
}
