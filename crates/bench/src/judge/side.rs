//! A broker under test: a cluster of ours, or of Apache Kafka's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use twinstream_client::ClientSettings;
use twinstream_testkit::faults::Subject;
use twinstream_testkit::{Cluster, ClusterOptions, peer};

use super::disk;

/// What Kafka's documentation recommends for a small machine, and what the targets were set against.
pub(crate) const HEAP: &str = "1g";
/// Deleted topics leave the disk within this time: they are told to go after one second, and Kafka's deleter sleeps.
const DELETED_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
/// How long the files of deleted topics stay; Kafka goes by the broker's setting even where the topic has its own.
const DELETE_DELAY: (&str, &str) = ("log.segment.delete.delay.ms", "1000");
/// What may be left after topics were deleted: metadata, checkpoints, a log of the quorum.
const LEFT_BYTES_MAX: u64 = 64 << 20;

/// Which broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours(PathBuf),
    Kafka,
}

impl Kind {
    pub fn name(&self) -> String {
        match self {
            Self::Ours(path) => path.display().to_string(),
            Self::Kafka => "Apache Kafka 4.3.1".to_owned(),
        }
    }
}

/// A running cluster.
pub struct Side {
    subject: Subject,
}

impl Side {
    /// Starts so many brokers on a fresh folder.
    pub async fn start(kind: &Kind, brokers: usize) -> Self {
        let subject = match kind {
            Kind::Ours(path) => {
                let options = if brokers > 1 { ClusterOptions::replicated() } else { ClusterOptions::default() };
                let options = options.binary(path).set(DELETE_DELAY.0, DELETE_DELAY.1);
                Subject::Ours(Cluster::start_with(brokers, options).await)
            }
            Kind::Kafka => {
                let in_sync = brokers.saturating_sub(1).max(1).to_string();
                let settings = [("min.insync.replicas", in_sync.as_str()), DELETE_DELAY];
                Subject::Kafka(peer::kafka().as_shipped(HEAP).cluster(brokers, &settings).await)
            }
        };
        Self { subject }
    }

    pub fn bootstrap(&self) -> String {
        self.subject.bootstrap()
    }

    pub fn settings(&self) -> Result<ClientSettings> {
        Ok(ClientSettings::new(&self.bootstrap())?)
    }

    pub fn pids(&mut self) -> Vec<u32> {
        (1..=self.subject.size()).map(|id| self.subject.process(id).id()).collect()
    }

    pub fn data(&self, id: usize) -> PathBuf {
        self.subject.data(id)
    }

    pub async fn stop(&mut self) {
        for id in 1..=self.subject.size() {
            self.subject.stop(id).await;
        }
    }

    pub fn kill(&mut self) {
        for id in 1..=self.subject.size() {
            self.subject.kill(id);
        }
    }

    /// Starts the processes without waiting.
    pub fn spawn(&mut self) {
        for id in 1..=self.subject.size() {
            self.subject.spawn(id);
        }
    }

    /// Waits until what was deleted has left the disk, so that no deletion disturbs the next run.
    pub async fn wait_deleted(&self) -> Result<()> {
        let deadline = Instant::now() + DELETED_WITHIN;
        for id in 1..=self.subject.size() {
            let folder = self.data(id);
            while disk::bytes_below(&folder) > LEFT_BYTES_MAX {
                if Instant::now() >= deadline {
                    bail!("deleted topics are still in {} after {DELETED_WITHIN:?}", folder.display());
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }
}
