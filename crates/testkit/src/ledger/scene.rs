//! Three brokers, ours or Kafka's, that are killed one after the other.

use std::time::{Duration, Instant};

use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::FindCoordinatorRequest;
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::{Admin, NewTopic, RawClient};
use twinstream_model::{NodeId, PartitionIndex};

use crate::cluster::{Cluster, ClusterOptions};
use crate::faults::Subject;
use crate::operator::SETTLES_WITHIN;
use crate::peer;
use crate::records::{client_settings, topic_name};
use crate::wait::{wait_until, wait_until_some};

pub(super) const BROKERS: usize = 3;
/// Few, so that each of these logs has something to do.
const INTERNAL_PARTITIONS: i32 = 6;
/// Long enough for Kafka's brokers, which are missed after nine seconds, on a machine that has other things to do.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// Whose brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Kafka,
}

impl Side {
    pub const ALL: [Self; 2] = [Self::Ours, Self::Kafka];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Kafka => "kafka",
        }
    }

    /// Of names with commas between them. Panics at one that nobody has: a judge of nobody is not green.
    pub fn named(names: &str) -> Vec<Self> {
        let side = |name: &str| {
            let found = Self::ALL.into_iter().find(|side| side.name() == name);
            found.unwrap_or_else(|| panic!("no brokers `{name}`; there are {}", Self::ALL.map(Self::name).join(", ")))
        };
        names.split(',').map(side).collect()
    }
}

/// Whom a kill is meant for.
#[derive(Clone, Debug)]
pub(super) enum Victim {
    /// The coordinator of a group.
    GroupCoordinator(String),
    /// The coordinator of a transactional id.
    TransactionCoordinator(String),
    /// The leader of a partition.
    Leader(String, i32),
}

/// What happens to a broker between its death and its return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// At once: nobody may have noticed.
    AtOnce,
    /// When the others have taken over all that it led.
    WhenMissed,
}

pub(super) struct Scene {
    pub subject: Subject,
    pub bootstrap: String,
    pub admin: Admin,
    pub raw: RawClient,
    pub kills: usize,
}

impl Scene {
    pub(super) async fn start(side: Side) -> Self {
        let count = INTERNAL_PARTITIONS.to_string();
        let settings = [
            ("min.insync.replicas", "2"),
            ("default.replication.factor", "3"),
            ("offsets.topic.num.partitions", &count),
            ("transaction.state.log.num.partitions", &count),
            ("transaction.state.log.replication.factor", "3"),
            ("transaction.state.log.min.isr", "2"),
            // A member of the consumer protocol that is killed is missed as soon as one of the other.
            ("group.consumer.min.session.timeout.ms", "6000"),
            ("group.consumer.session.timeout.ms", "10000"),
            ("group.consumer.min.heartbeat.interval.ms", "500"),
            ("group.consumer.heartbeat.interval.ms", "1000"),
        ];
        let subject = match side {
            Side::Ours => {
                let options = ClusterOptions::replicated();
                let options = settings.iter().fold(options, |options, (name, value)| options.set(name, *value));
                Subject::Ours(Cluster::start_with(BROKERS, options).await)
            }
            Side::Kafka => Subject::Kafka(peer::kafka().cluster(BROKERS, &settings).await),
        };
        let bootstrap = subject.bootstrap();
        let settings = client_settings(&bootstrap, &[]);
        let admin = wait_until_some("a broker answers", SETTLES_WITHIN, || async {
            let admin = Admin::connect(&settings).await.ok()?;
            (admin.brokers().await.ok()?.len() == BROKERS).then_some(admin)
        })
        .await;
        let raw = wait_until_some("a broker answers", SETTLES_WITHIN, || async {
            RawClient::connect(&settings).await.ok() //
        });
        let raw = raw.await;
        Self { subject, bootstrap, admin, raw, kills: 0 }
    }

    pub(super) async fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic_name(topic), partitions, 3);
        self.admin.create_topic(&topic).await.expect("a topic with three replicas");
    }

    /// Kills a broker as soon as everything is in sync, and lets it return; when it was killed.
    pub(super) async fn kill(&mut self, victim: &Victim, back: Return) -> Instant {
        self.until_in_sync().await;
        let id = self.find(victim).await;
        self.kills += 1;
        eprintln!("kill {}: broker {id}, {victim:?}, back {back:?}", self.kills);
        let killed = Instant::now();
        self.subject.kill(id);
        if back == Return::WhenMissed {
            self.until_missed(id).await;
        }
        self.bring_back(id).await;
        killed
    }

    /// Only kills; the broker.
    pub(super) async fn kill_and_leave(&mut self, victim: &Victim) -> usize {
        self.until_in_sync().await;
        let id = self.find(victim).await;
        self.kills += 1;
        eprintln!("kill {}: broker {id}, {victim:?}", self.kills);
        self.subject.kill(id);
        id
    }

    pub(super) async fn bring_back(&mut self, id: usize) {
        self.subject.spawn(id);
        self.subject.wait_for_port(id).await;
    }

    async fn find(&self, victim: &Victim) -> usize {
        let what = format!("{victim:?} is somewhere");
        wait_until_some(&what, SETTLES_WITHIN, || async {
            let id = match victim {
                Victim::GroupCoordinator(group) => self.coordinator(group, 0).await,
                Victim::TransactionCoordinator(id) => self.coordinator(id, 1).await,
                Victim::Leader(topic, partition) => {
                    let topic = self.admin.topic(&topic_name(topic)).await.ok()??;
                    topic.partitions.get(&PartitionIndex(*partition))?.leader
                }
            };
            usize::try_from(id?.0).ok()
        })
        .await
    }

    async fn coordinator(&self, key: &str, key_type: i8) -> Option<NodeId> {
        let key = StrBytes::from_string(key.to_owned());
        let request = FindCoordinatorRequest::default().with_key_type(key_type).with_coordinator_keys(vec![key]);
        let answer = self.raw.request(Node::Any, &request).await.ok()?;
        let found = answer.coordinators.first().filter(|found| found.error_code == 0)?;
        Some(NodeId(found.node_id.0))
    }

    /// Waits until the others have taken over, and go on without the one that was killed.
    async fn until_missed(&self, id: usize) {
        let id = NodeId(i32::try_from(id).expect("a node id"));
        wait_until("the others have taken over", BACK_WITHIN, || async {
            let Ok(topics) = self.admin.topics().await else { return false };
            let mut partitions = topics.values().flat_map(|topic| topic.partitions.values());
            partitions.all(|partition| partition.leader.is_some() && !partition.isr.contains(&id))
        })
        .await;
    }

    pub(super) async fn until_in_sync(&self) {
        wait_until("everything is in sync", BACK_WITHIN, || async {
            let Ok(topics) = self.admin.topics().await else { return false };
            let mut partitions = topics.values().flat_map(|topic| topic.partitions.values());
            partitions.all(|partition| partition.leader.is_some() && partition.isr.len() == partition.replicas.len())
        })
        .await;
    }
}

/// A group of this beginning that is coordinated together with all others that were made so: Kafka chooses the partition
/// of `__consumer_offsets` by the hash that Java has for strings.
pub(super) fn group_of_first_partition(beginning: &str) -> String {
    let hash =
        |name: &str| name.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let names = (0..).map(|number: u32| format!("{beginning}-{number}"));
    let mut fitting = names.filter(|name| hash(name).wrapping_abs() % INTERNAL_PARTITIONS == 0);
    fitting.next().expect("one in six fits")
}

#[cfg(test)]
mod tests;
