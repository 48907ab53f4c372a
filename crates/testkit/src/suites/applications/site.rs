//! A cluster that applications run on: three brokers that survive the loss of one, or one broker.

use twinstream_client::Admin;
use twinstream_model::{NodeId, PartitionIndex, TopicPartition};

use crate::cluster::{Cluster, ClusterOptions};
use crate::faults::Subject;
use crate::operator::{Operator, SETTLES_WITHIN};
use crate::peer::{self, KafkaTools};
use crate::records::{client_settings, topic_name};
use crate::wait::wait_until;

/// Of the internal topics: enough for several coordinators, and soon loaded.
const PARTITIONS: &str = "6";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";

/// Whose brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Kafka,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "Twinstream",
            Self::Kafka => "Apache Kafka 4.3.1",
        }
    }

    async fn cluster(self, brokers: usize) -> Subject {
        let replicas = brokers.min(3);
        match self {
            Self::Ours => {
                let options = ClusterOptions::default().voters(replicas).replicas(replicas);
                let options = options.set("offsets.topic.num.partitions", PARTITIONS);
                let options = options.set("transaction.state.log.num.partitions", PARTITIONS);
                Subject::Ours(Cluster::start_with(brokers, options).await)
            }
            Self::Kafka => {
                let (count, in_sync) = (replicas.to_string(), replicas.saturating_sub(1).max(1).to_string());
                let settings = [
                    ("default.replication.factor", count.as_str()),
                    ("min.insync.replicas", &in_sync),
                    ("transaction.state.log.min.isr", &in_sync),
                    ("offsets.topic.num.partitions", PARTITIONS),
                    ("transaction.state.log.num.partitions", PARTITIONS),
                ];
                Subject::Kafka(peer::kafka().cluster(brokers, &settings).await)
            }
        }
    }
}

pub(super) struct Site {
    pub subject: Subject,
    pub bootstrap: String,
    pub admin: Admin,
    operator: Operator,
    /// The next broker to be killed.
    victim: usize,
}

impl Site {
    pub(super) async fn start(side: Side, brokers: usize) -> Self {
        let subject = side.cluster(brokers).await;
        let bootstrap = subject.bootstrap();
        let operator = Operator::connect(&bootstrap, brokers).await;
        let admin = Admin::connect(&client_settings(&bootstrap, &[])).await.expect("an admin client");
        Self { subject, bootstrap, admin, operator, victim: 0 }
    }

    /// How many replicas everything has.
    pub(super) fn replicas(&self) -> i16 {
        i16::try_from(self.subject.size().min(3)).expect("few brokers")
    }

    pub(super) async fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        self.operator.create_topic(name, partitions, self.replicas(), configs).await;
    }

    pub(super) async fn set_topic_config(&self, topic: &str, name: &str, value: &str) {
        self.operator.set_topic_config(topic, name, value).await;
    }

    pub(super) fn add_partitions(&self, tools: &mut KafkaTools, topic: &str, partitions: i32) {
        let count = partitions.to_string();
        let arguments = ["--alter", "--topic", topic, "--partitions", &count];
        let printed = tools.run(TOPICS, &[&["--bootstrap-server", &self.bootstrap], &arguments[..]].concat());
        assert_eq!(printed.code, 0, "{}", printed.text);
    }

    /// How many partitions a topic has; 0 if it is not there.
    pub(super) async fn partitions(&self, topic: &str) -> usize {
        let topic = self.admin.topic(&topic_name(topic)).await.ok().flatten();
        topic.map_or(0, |topic| topic.partitions.len())
    }

    /// What Kafka's tool says of a topic and its configs.
    pub(super) fn described(&self, tools: &mut KafkaTools, topic: &str) -> String {
        tools.run(TOPICS, &["--bootstrap-server", &self.bootstrap, "--describe", "--topic", topic]).text
    }

    /// Kills one broker after the other, each when everything is in sync, and starts it again when the others have taken
    /// over. A broker that is alone is left alone.
    pub(super) async fn lose_a_broker(&mut self) {
        if self.subject.size() == 1 {
            return;
        }
        self.until_in_sync().await;
        self.victim = self.victim % self.subject.size() + 1;
        eprintln!("killing broker {}", self.victim);
        self.subject.kill(self.victim);
        self.until_without(self.victim).await;
        self.subject.spawn(self.victim);
        self.subject.wait_for_port(self.victim).await;
    }

    async fn until_without(&self, id: usize) {
        let id = NodeId(i32::try_from(id).expect("a node id"));
        wait_until("the others have taken over", SETTLES_WITHIN, || async {
            let Ok(topics) = self.admin.topics().await else { return false };
            let mut partitions = topics.values().flat_map(|topic| topic.partitions.values());
            partitions.all(|partition| partition.leader.is_some_and(|leader| leader != id))
        })
        .await;
    }

    pub(super) async fn until_in_sync(&self) {
        wait_until("everything is in sync", SETTLES_WITHIN, || async {
            let Ok(topics) = self.admin.topics().await else { return false };
            let mut partitions = topics.values().flat_map(|topic| topic.partitions.values());
            partitions.all(|partition| partition.leader.is_some() && partition.isr.len() == partition.replicas.len())
        })
        .await;
    }

    /// No broker leads a partition with a transaction that its coordinator does not know.
    pub(super) fn assert_no_transaction_hangs(&self, tools: &mut KafkaTools) {
        for broker in 1..=self.subject.size() {
            let broker = broker.to_string();
            let arguments = ["find-hanging", "--broker-id", &broker, "--max-transaction-timeout", "1"];
            let printed = tools.run(TRANSACTIONS, &[&["--bootstrap-server", &self.bootstrap], &arguments[..]].concat());
            // A client that has just lost a broker says so among the rows.
            let is_row = |line: &&str| !line.trim().is_empty() && !line.contains(" WARN ");
            let rows = printed.text.lines().filter(is_row).count();
            assert_eq!((printed.code, rows), (0, 1), "only the header:\n{}", printed.text);
        }
    }
}

pub(super) fn partition(topic: &str, index: i32) -> TopicPartition {
    TopicPartition::new(topic_name(topic), PartitionIndex(index))
}
