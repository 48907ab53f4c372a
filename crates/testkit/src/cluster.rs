//! A cluster of real broker processes.

use std::time::Duration;

use twinstream_client::{Admin, ClientSettings};

use crate::folder::Folder;
use crate::ports::free_port;
use crate::server::Server;
use crate::wait::wait_until;

const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// What the brokers are told beyond their addresses.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    settings: Vec<(String, String)>,
}

impl ClusterOptions {
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }
}

/// Brokers 1 to N; the first has the one vote of the metadata quorum.
#[derive(Debug)]
pub struct Cluster {
    brokers: Vec<Server>,
    folder: Folder,
}

impl Cluster {
    pub async fn start(brokers: usize) -> Self {
        Self::start_with(brokers, ClusterOptions::default()).await
    }

    pub async fn start_with(brokers: usize, options: ClusterOptions) -> Self {
        let folder = Folder::new();
        let ports: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        let servers = (0..brokers).map(|index| {
            let settings = settings(&folder, &ports, index, &options);
            Server::with_settings(&folder, &format!("broker-{}", index + 1), "broker", ports[index], &settings)
        });
        let mut cluster = Self { brokers: servers.collect(), folder };
        for broker in &mut cluster.brokers {
            broker.spawn();
        }
        for broker in &mut cluster.brokers {
            broker.wait_for_port().await;
        }
        cluster.wait_ready().await;
        cluster
    }

    /// Addresses of all brokers, for a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(Server::address).collect::<Vec<_>>().join(",")
    }

    /// A broker by its node id, from 1.
    pub fn broker(&mut self, id: usize) -> &mut Server {
        &mut self.brokers[id - 1]
    }

    /// Where logs and data are: `1/` .. `N/` hold the data, `broker-1.log` .. the output.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The data folder of a broker.
    pub fn data(&self, id: usize) -> std::path::PathBuf {
        self.folder.path().join(id.to_string())
    }

    /// Waits until every broker tells of every broker.
    pub async fn wait_ready(&self) {
        let count = self.brokers.len();
        for broker in &self.brokers {
            let address = broker.address();
            let what = format!("{address} tells of {count} brokers");
            wait_until(&what, READY_TIME_MAX, || async { broker_count(&address).await == Some(count) }).await;
        }
    }
}

fn settings(folder: &Folder, ports: &[u16], index: usize, options: &ClusterOptions) -> Vec<(String, String)> {
    let id = index + 1;
    let roles = if index == 0 { "broker,controller" } else { "broker" };
    let mut settings: Vec<(String, String)> = [
        ("process.roles", roles.to_owned()),
        ("node.id", id.to_string()),
        ("controller.quorum.voters", format!("1@127.0.0.1:{}", ports[0])),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{}", ports[index])),
        ("log.dirs", folder.sub(&id.to_string()).display().to_string()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    settings.retain(|(name, _)| !options.settings.iter().any(|(other, _)| other == name));
    settings.extend(options.settings.iter().cloned());
    settings
}

/// What one broker says; `None` while it does not answer.
async fn broker_count(address: &str) -> Option<usize> {
    let settings = ClientSettings::new(address).expect("an address is a valid bootstrap list");
    let admin = Admin::connect(&settings).await.ok()?;
    Some(admin.brokers().await.ok()?.len())
}
