//! A cluster of real broker processes.

use std::time::Duration;

use twinstream_client::{Admin, ClientSettings};

use crate::folder::Folder;
use crate::ports::free_port;
use crate::server::Server;
use crate::wait::wait_until;

const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// What the brokers are told beyond their addresses.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    voters: usize,
    replicas: usize,
    settings: Vec<(String, String)>,
    own_settings: Vec<(usize, String, String)>,
}

impl Default for ClusterOptions {
    /// One voter, and one replica of everything.
    fn default() -> Self {
        Self { voters: 1, replicas: 1, settings: Vec::new(), own_settings: Vec::new() }
    }
}

impl ClusterOptions {
    /// A cluster that survives the loss of one broker: three voters, and three replicas of which two must be in sync.
    pub fn replicated() -> Self {
        Self::default().voters(3).replicas(3)
    }

    /// How many brokers, from the first on, vote in the metadata quorum.
    pub fn voters(mut self, count: usize) -> Self {
        self.voters = count;
        self
    }

    /// Replicas of topics and of committed offsets; all but one of them must be in sync.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// A setting of one broker only, as its rack.
    pub fn set_on(mut self, id: usize, name: &str, value: impl Into<String>) -> Self {
        self.own_settings.push((id, name.to_owned(), value.into()));
        self
    }

    /// Defaults first, then what holds for all, then what holds for one: the last of a name wins.
    fn settings_of(&self, folder: &Folder, ports: &[u16], id: usize) -> Vec<(String, String)> {
        assert!(self.voters <= ports.len(), "{} voters among {} brokers", self.voters, ports.len());
        let voters = ports[..self.voters].iter().enumerate();
        let voters: Vec<String> = voters.map(|(index, port)| format!("{}@127.0.0.1:{port}", index + 1)).collect();
        let roles = if id <= self.voters { "broker,controller" } else { "broker" };
        let replicas = self.replicas.to_string();
        let in_sync = self.replicas.saturating_sub(1).max(1).to_string();
        let defaults = [
            ("process.roles", roles.to_owned()),
            ("node.id", id.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{}", ports[id - 1])),
            ("log.dirs", folder.sub(&id.to_string()).display().to_string()),
            ("default.replication.factor", replicas.clone()),
            ("min.insync.replicas", in_sync),
            ("offsets.topic.replication.factor", replicas),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ];
        let mut settings: Vec<(String, String)> =
            defaults.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let own = self.own_settings.iter().filter(|(of, ..)| *of == id);
        let own = own.map(|(_, name, value)| (name.clone(), value.clone()));
        for (name, value) in self.settings.iter().cloned().chain(own) {
            settings.retain(|(other, _)| *other != name);
            settings.push((name, value));
        }
        settings
    }
}

/// Brokers 1 to N; the first ones vote in the metadata quorum.
#[derive(Debug)]
pub struct Cluster {
    brokers: Vec<Server>,
    options: ClusterOptions,
    folder: Folder,
}

impl Cluster {
    pub async fn start(brokers: usize) -> Self {
        Self::start_with(brokers, ClusterOptions::default()).await
    }

    pub async fn start_with(brokers: usize, options: ClusterOptions) -> Self {
        let folder = Folder::new();
        let ports: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        let servers = (1..=brokers).map(|id| server(&folder, &ports, id, &options));
        let mut cluster = Self { brokers: servers.collect(), options, folder };
        for broker in &mut cluster.brokers {
            broker.spawn();
        }
        for broker in &mut cluster.brokers {
            broker.wait_for_port().await;
        }
        cluster.wait_ready().await;
        cluster
    }

    /// Starts one broker more, without a vote, and waits until all know it; its node id.
    pub async fn add_broker(&mut self) -> usize {
        let id = self.brokers.len() + 1;
        let mut ports: Vec<u16> = self.brokers.iter().map(Server::port).collect();
        ports.push(free_port());
        let mut server = server(&self.folder, &ports, id, &self.options);
        server.start().await;
        self.brokers.push(server);
        self.wait_ready().await;
        id
    }

    /// How many brokers there are, running or not.
    pub fn size(&self) -> usize {
        self.brokers.len()
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

fn server(folder: &Folder, ports: &[u16], id: usize, options: &ClusterOptions) -> Server {
    let settings = options.settings_of(folder, ports, id);
    Server::with_settings(folder, &format!("broker-{id}"), "broker", ports[id - 1], &settings)
}

/// What one broker says; `None` while it does not answer.
async fn broker_count(address: &str) -> Option<usize> {
    let settings = ClientSettings::new(address).expect("an address is a valid bootstrap list");
    let admin = Admin::connect(&settings).await.ok()?;
    Some(admin.brokers().await.ok()?.len())
}
