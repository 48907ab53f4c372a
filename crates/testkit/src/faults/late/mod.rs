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
mod producer; // a transactional producer that says exactly what it is told
mod scenes; // one late request after the other
mod storm; // many, by chance

use std::fmt;
use std::time::Duration;

use super::Subject;
use crate::cluster::{Cluster, ClusterOptions};
use crate::nemesis::Proxy;
use crate::peer;

pub use ledger::{Anomaly, Ledger, Outcome};
pub use producer::Protocol;
pub(in crate::faults) use producer::{Line, Producer, Trouble};
pub use scenes::{SCENES, Scene};
pub use storm::Storm;

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

/// One line of the judge's table.
#[derive(Clone, Debug)]
pub struct Row {
    pub subject: &'static str,
    pub protocol: Protocol,
    pub what: String,
    /// What went wrong, by Jepsen's names where it has one.
    pub anomalies: Vec<Anomaly>,
    /// Whether readers are promised that nothing does.
    pub promised: bool,
    pub note: String,
}

impl Row {
    pub fn is_good(&self) -> bool {
        !self.promised || self.anomalies.is_empty()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_good() { "ok    " } else { "FAILED" };
        write!(f, "{mark} {:<18} {:<7} {:<62} ", self.subject, self.protocol.name(), self.what)?;
        match ledger::summary(&self.anomalies) {
            summary if summary.is_empty() => write!(f, "clean")?,
            summary => write!(f, "{summary}")?,
        }
        if self.note.is_empty() { Ok(()) } else { write!(f, "; {}", self.note) }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub of: Vec<Of>,
    /// How long producers work through proxies, in each protocol.
    pub storm: Duration,
    pub seed: u64,
}

/// Every scene and a storm in both protocols, and the table; whether what is promised of our brokers holds, and whether
/// Kafka's do not do better where nothing is promised.
pub async fn run(options: &Options) -> bool {
    let mut rows = Vec::new();
    for of in &options.of {
        rows.extend(play(*of).await);
        for protocol in Protocol::ALL {
            let storm = Storm { of: *of, protocol, brokers: 3, time: options.storm, seed: options.seed };
            rows.push(storm.run().await);
        }
    }
    eprintln!("\nlate requests of transactions");
    for row in &rows {
        eprintln!("  {row}");
    }
    rows.iter().all(Row::is_good)
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
