//! Late requests: EndTxn and AddPartitionsToTxn that the network held, and that arrive when their client is elsewhere.
//!
//! Picture: a client that hears nothing gives up its connection and asks again on another one; the first request is still
//! on its way. [`scenes`] plays the ways in which that hurts one step at a time, with what each promises; [`storm`] lets
//! many producers work through [`Proxy`](crate::nemesis::Proxy)s that hold requests by chance, and holds what readers of
//! committed records see against what the producers were told ([`ledger`]).
//!
//! Both run in both protocols of transactions (KIP-98, KIP-890), against our brokers and Apache Kafka's, because the first
//! protocol cannot tell a late request from one for the present transaction: there a server can only see on which
//! connection it comes. Jepsen described what follows (Bufstream 0.1.0, 2024): aborted reads, lost writes, torn
//! transactions.

mod ledger; // what producers were told, what readers saw
mod rows; // the table, and what it means
mod scenes; // one late request after the other
mod storm; // many, by chance

use std::time::Duration;

use twinstream_model::{PartitionIndex, TopicPartition};

use super::Subject;
use crate::apart::apart;
use crate::cluster::{Cluster, ClusterOptions};
use crate::nemesis::Proxy;
use crate::peer;
use crate::records::topic_name;

pub use crate::load::Protocol;
pub use ledger::{Anomaly, Ledger, Outcome, Seen};
pub use rows::{Row, compare};
pub use scenes::{SCENES, Scene};
pub use storm::Storm;

/// How long the first answer to a request may take before it is asked again over another connection.
const TRY_WITHIN: Duration = Duration::from_millis(400);
/// Transactions that nobody ends are aborted soon.
const SETTINGS: [(&str, &str); 4] = [
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "100"),
    ("transaction.state.log.num.partitions", "3"),
    ("auto.create.topics.enable", "false"),
    ("group.initial.rebalance.delay.ms", "0"),
];

/// Whose brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Ours,
    Kafka,
}

impl Of {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => Subject::OURS,
            Self::Kafka => Subject::KAFKA,
        }
    }
}

/// A cluster whose clients all go through proxies.
pub struct Stage {
    pub subject: Subject,
    pub proxies: Vec<Proxy>,
}

impl Stage {
    pub async fn start(of: Of, brokers: usize) -> Self {
        let (subject, proxies) = match of {
            Of::Ours => {
                let options = if brokers < 3 { ClusterOptions::default() } else { ClusterOptions::replicated() };
                let options = SETTINGS.iter().fold(options, |options, (name, value)| options.set(name, *value));
                let (cluster, proxies) = Cluster::start_behind_proxies(brokers, options).await;
                (Subject::Ours(cluster), proxies)
            }
            Of::Kafka => {
                let (cluster, proxies) = peer::kafka().cluster_behind_proxies(brokers, &SETTINGS).await;
                (Subject::Kafka(cluster), proxies)
            }
        };
        Self { subject, proxies }
    }

    pub(in crate::faults) async fn create_topic(&self, name: &str, partitions: i32) {
        let operator = crate::Operator::connect(&self.subject.bootstrap(), self.subject.size()).await;
        let replicas = self.subject.size().min(3) as i16;
        operator.create_topic(name, partitions, replicas, &[]).await;
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub of: Vec<Of>,
    /// How long producers work through proxies, in each protocol.
    pub storm: Duration,
    pub seed: u64,
}

/// Every scene and a storm in both protocols, and the table; whether what is promised of our brokers holds, and where
/// nothing is, whether ours are no worse than Kafka's.
pub async fn run(options: &Options) -> bool {
    let mut rows = Vec::new();
    for of in &options.of {
        let of = *of;
        let broken = |why: &str| Protocol::ALL.map(|protocol| Row::broken(of, protocol, "scenes", why)).to_vec();
        rows.extend(apart(play(of)).await.unwrap_or_else(|why| broken(&why)));
        for protocol in Protocol::ALL {
            let storm = Storm { of, protocol, brokers: 3, time: options.storm, seed: options.seed };
            rows.push(apart(storm.run()).await.unwrap_or_else(|why| Row::broken(of, protocol, "storm", &why)));
        }
    }
    compare(&mut rows);
    eprintln!("\nlate requests of transactions");
    for row in &rows {
        eprintln!("  {row}");
    }
    rows.iter().filter(|row| row.of == Of::Ours).all(Row::is_good)
}

fn partition(topic: &str, index: i32) -> TopicPartition {
    TopicPartition::new(topic_name(topic), PartitionIndex(index))
}

/// All scenes in both protocols.
pub async fn play(of: Of) -> Vec<Row> {
    let stage = Stage::start(of, 1).await;
    let mut rows = Vec::new();
    for protocol in Protocol::ALL {
        for scene in SCENES {
            rows.push(scene.play(&stage, of, protocol).await);
        }
    }
    rows
}
