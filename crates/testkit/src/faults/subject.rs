//! The cluster that suffers: ours, or Apache Kafka's, so that the same script runs against both.

use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::folder::Folder;
use crate::nemesis::{Clock, Disk, Network, Shim};
use crate::peer::KafkaCluster;
use crate::process::Process;

#[derive(Debug)]
pub enum Subject {
    Ours(Cluster),
    Kafka(KafkaCluster),
}

impl Subject {
    /// Our brokers, as tables name them. Their rows decide; those of others are there to be compared with.
    pub const OURS: &'static str = "Twinstream";
    pub const KAFKA: &'static str = "Apache Kafka 4.3.1";

    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => Self::OURS,
            Self::Kafka(_) => Self::KAFKA,
        }
    }

    pub fn bootstrap(&self) -> String {
        match self {
            Self::Ours(cluster) => cluster.bootstrap(),
            Self::Kafka(cluster) => cluster.bootstrap(),
        }
    }

    pub fn size(&self) -> usize {
        match self {
            Self::Ours(cluster) => cluster.size(),
            Self::Kafka(cluster) => cluster.size(),
        }
    }

    pub fn folder(&self) -> &Folder {
        match self {
            Self::Ours(cluster) => cluster.folder(),
            Self::Kafka(cluster) => cluster.folder(),
        }
    }

    /// The data folder of a broker.
    pub fn data(&self, id: usize) -> PathBuf {
        match self {
            Self::Ours(cluster) => cluster.data(id),
            Self::Kafka(cluster) => cluster.data(id),
        }
    }

    /// The log directory of a broker that has this partition, the first one if none has.
    pub fn log_dir(&self, id: usize, topic: &str, partition: i32) -> PathBuf {
        let dirs = match self {
            Self::Ours(cluster) => cluster.log_dirs(id),
            Self::Kafka(cluster) => vec![cluster.data(id)],
        };
        let holds = |dir: &&PathBuf| dir.join(format!("{topic}-{partition}")).exists();
        dirs.iter().find(holds).unwrap_or(&dirs[0]).clone()
    }

    pub fn network(&self) -> &Network {
        match self {
            Self::Ours(cluster) => cluster.network(),
            Self::Kafka(_) => panic!("Kafka's brokers share one network here"),
        }
    }

    pub fn clock(&self, id: usize) -> &Clock {
        match self {
            Self::Ours(cluster) => cluster.clock(id),
            Self::Kafka(_) => panic!("Kafka's brokers share one clock here"),
        }
    }

    pub fn disk(&self, id: usize) -> &Disk {
        match self {
            Self::Ours(cluster) => cluster.disk(id),
            Self::Kafka(_) => panic!("Kafka's brokers share one disk here"),
        }
    }

    pub fn shim(&self, id: usize) -> &Shim {
        match self {
            Self::Ours(cluster) => cluster.shim(id),
            Self::Kafka(_) => panic!("writes of Kafka's brokers do not fail here"),
        }
    }

    pub fn process(&mut self, id: usize) -> &mut Process {
        match self {
            Self::Ours(cluster) => cluster.broker(id).process(),
            Self::Kafka(cluster) => cluster.process(id),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: usize) {
        match self {
            Self::Ours(cluster) => cluster.broker(id).kill(),
            Self::Kafka(cluster) => cluster.kill(id),
        }
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self, id: usize) {
        match self {
            Self::Ours(cluster) => cluster.broker(id).stop().await,
            Self::Kafka(cluster) => cluster.stop(id).await,
        }
    }

    /// Starts a broker on its port and data, without waiting.
    pub fn spawn(&mut self, id: usize) {
        match self {
            Self::Ours(cluster) => cluster.broker(id).spawn(),
            Self::Kafka(cluster) => cluster.spawn(id),
        }
    }

    /// Whether a broker accepts connections now.
    pub async fn listens(&self, id: usize) -> bool {
        let bootstrap = self.bootstrap();
        let address = bootstrap.split(',').nth(id - 1).expect("one address a broker");
        tokio::net::TcpStream::connect(address).await.is_ok()
    }

    pub async fn wait_for_port(&mut self, id: usize) {
        match self {
            Self::Ours(cluster) => cluster.broker(id).wait_for_port().await,
            Self::Kafka(cluster) => cluster.wait_for_port(id).await,
        }
    }
}
