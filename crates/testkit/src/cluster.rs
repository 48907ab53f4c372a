//! A cluster of real broker processes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use twinstream_client::{Admin, ClientSettings};

use crate::folder::Folder;
use crate::nemesis::{Clock, Disk, Network, Proxy, Relay, Shim};
use crate::ports::free_port;
use crate::server::{Home, Server};
use crate::wait::wait_until;

const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// What the brokers are told beyond their addresses.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    voters: usize,
    replicas: usize,
    network: bool,
    clocks: bool,
    disk_mebibytes: Option<u64>,
    /// The disks are second log directories, or all that a broker has and soon full.
    disk_use: DiskUse,
    shims: bool,
    binary: Option<std::path::PathBuf>,
    settings: Vec<(String, String)>,
    own_settings: Vec<(usize, String, String)>,
}

/// What brokers have disks of their own for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskUse {
    Data,
    Second,
    Small,
}

fn second_dir(folder: &Folder, id: usize) -> std::path::PathBuf {
    folder.path().join(format!("{id}-second"))
}

impl Default for ClusterOptions {
    /// One voter, and one replica of everything.
    fn default() -> Self {
        Self {
            voters: 1,
            replicas: 1,
            network: false,
            clocks: false,
            disk_mebibytes: None,
            disk_use: DiskUse::Data,
            shims: false,
            binary: None,
            settings: Vec::new(),
            own_settings: Vec::new(),
        }
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

    /// Every broker lives in a network namespace of its own, and links between them can be cut.
    pub fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// Every broker has a wall clock of its own, which can be turned.
    pub fn clocks(mut self) -> Self {
        self.clocks = true;
        self
    }

    /// Brokers run this binary instead of the one that was built together with the test.
    pub fn binary(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Every broker keeps its data on a disk of its own, which can lose its power.
    pub fn disks(mut self, mebibytes: u64) -> Self {
        self.disk_mebibytes = Some(mebibytes);
        self
    }

    /// Every broker has a second log directory, on a disk of its own, which can lose its power.
    pub fn second_disks(mut self, mebibytes: u64) -> Self {
        self.disk_use = DiskUse::Second;
        self.disks(mebibytes)
    }

    /// Every broker keeps its data on a disk that is soon full.
    pub fn small_disks(mut self, mebibytes: u64) -> Self {
        self.disk_use = DiskUse::Small;
        self.disks(mebibytes)
    }

    /// Writes and flushes of every broker can be made to fail.
    pub fn shims(mut self) -> Self {
        self.shims = true;
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

    fn log_dirs(&self, folder: &Folder, id: usize) -> String {
        let data = folder.sub(&id.to_string());
        match (self.disk_use, self.disk_mebibytes) {
            (DiskUse::Second, Some(_)) => format!("{},{}", data.display(), second_dir(folder, id).display()),
            _ => data.display().to_string(),
        }
    }

    fn disk(&self, folder: &Folder, id: usize) -> Option<Disk> {
        let (mebibytes, data) = (self.disk_mebibytes?, folder.path().join(id.to_string()));
        Some(match self.disk_use {
            DiskUse::Data => Disk::ext4(&data, mebibytes),
            DiskUse::Second => Disk::ext4(&second_dir(folder, id), mebibytes),
            DiskUse::Small => Disk::tmpfs(&data, mebibytes),
        })
    }

    /// Defaults first, then what holds for all, then what holds for one: the last of a name wins.
    fn settings_of(&self, folder: &Folder, addresses: &[String], id: usize) -> Vec<(String, String)> {
        assert!(self.voters <= addresses.len(), "{} voters among {} brokers", self.voters, addresses.len());
        let voters = addresses[..self.voters].iter().enumerate();
        let voters: Vec<String> = voters.map(|(index, address)| format!("{}@{address}", index + 1)).collect();
        let roles = if id <= self.voters { "broker,controller" } else { "broker" };
        let replicas = self.replicas.to_string();
        let in_sync = self.replicas.saturating_sub(1).max(1).to_string();
        let defaults = [
            ("process.roles", roles.to_owned()),
            ("node.id", id.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            ("listeners", format!("PLAINTEXT://{}", addresses[id - 1])),
            ("log.dirs", self.log_dirs(folder, id)),
            ("metadata.log.dir", folder.sub(&id.to_string()).display().to_string()),
            ("default.replication.factor", replicas.clone()),
            ("min.insync.replicas", in_sync.clone()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("transaction.state.log.replication.factor", replicas),
            ("transaction.state.log.min.isr", in_sync),
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
    network: Option<Arc<Network>>,
    // After the brokers, which use them.
    disks: Vec<Disk>,
    folder: Folder,
}

impl Cluster {
    pub async fn start(brokers: usize) -> Self {
        Self::start_with(brokers, ClusterOptions::default()).await
    }

    pub async fn start_with(brokers: usize, options: ClusterOptions) -> Self {
        let ports: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        Self::start_on(&ports, options).await
    }

    /// A cluster whose clients all go through a proxy before each broker; so do brokers, where they are clients of others.
    pub async fn start_behind_proxies(brokers: usize, mut options: ClusterOptions) -> (Self, Vec<Proxy>) {
        let ports: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        let mut proxies = Vec::new();
        for (id, port) in (1..).zip(&ports) {
            let proxy = Proxy::before(&format!("127.0.0.1:{port}")).await;
            options = options.set_on(id, "advertised.listeners", format!("PLAINTEXT://{}", proxy.address()));
            proxies.push(proxy);
        }
        (Self::start_on(&ports, options).await, proxies)
    }

    /// A cluster with a second way in: a listener of each broker that is reached by a relay alone, so that who comes that way
    /// can be cut off while nobody else is.
    pub async fn start_with_side_door(brokers: usize, mut options: ClusterOptions) -> (Self, Vec<Relay>) {
        let ports: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        let mut relays = Vec::new();
        options = options.set("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,DOOR:PLAINTEXT");
        for (id, port) in (1..).zip(&ports) {
            let door = free_port();
            let relay = Relay::before(&format!("127.0.0.1:{door}")).await;
            let [bound, told] = [format!("127.0.0.1:{door}"), relay.address()]
                .map(|door| format!("PLAINTEXT://127.0.0.1:{port},DOOR://{door}"));
            options = options.set_on(id, "listeners", bound).set_on(id, "advertised.listeners", told);
            relays.push(relay);
        }
        (Self::start_on(&ports, options).await, relays)
    }

    async fn start_on(ports: &[u16], options: ClusterOptions) -> Self {
        let brokers = ports.len();
        let folder = Folder::new();
        let network = options.network.then(|| Arc::new(Network::new(brokers)));
        let disks = (1..=brokers).filter_map(|id| options.disk(&folder, id)).collect();
        let places: Vec<Place> = (1..=brokers).map(|id| Place::of(network.as_ref(), id, ports[id - 1])).collect();
        let addresses: Vec<String> = places.iter().map(Place::address).collect();
        let servers = (1..).zip(&places).map(|(id, place)| server(&folder, place, &addresses, id, &options));
        let mut cluster = Self { brokers: servers.collect(), options, network, disks, folder };
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
        if let Some(network) = &self.network {
            network.add_broker();
        }
        self.disks.extend(self.options.disk(&self.folder, id));
        let place = Place::of(self.network.as_ref(), id, free_port());
        let mut addresses: Vec<String> = self.brokers.iter().map(Server::address).collect();
        addresses.push(place.address());
        let mut server = server(&self.folder, &place, &addresses, id, &self.options);
        server.start().await;
        self.brokers.push(server);
        self.wait_ready().await;
        id
    }

    /// The network between the brokers; panics when the options did not ask for one.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a cluster with ClusterOptions::network")
    }

    pub fn has_network(&self) -> bool {
        self.network.is_some()
    }

    /// The wall clock of a broker; panics when the options did not ask for clocks.
    pub fn clock(&self, id: usize) -> &Clock {
        self.brokers[id - 1].clock()
    }

    /// The disk of a broker; panics when the options did not ask for disks.
    pub fn disk(&self, id: usize) -> &Disk {
        self.disks.get(id - 1).expect("a cluster with ClusterOptions::disks")
    }

    /// What can go wrong with a broker's files; panics when the options did not ask for shims.
    pub fn shim(&self, id: usize) -> &Shim {
        self.brokers[id - 1].shim()
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

    /// The log directories of a broker.
    pub fn log_dirs(&self, id: usize) -> Vec<std::path::PathBuf> {
        self.options.log_dirs(&self.folder, id).split(',').map(std::path::PathBuf::from).collect()
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

/// Where a broker listens.
struct Place {
    host: IpAddr,
    port: u16,
    home: Option<Home>,
}

impl Place {
    fn of(network: Option<&Arc<Network>>, broker: usize, port: u16) -> Self {
        let home = network.map(|network| Home { network: Arc::clone(network), broker });
        let host = home.as_ref().map_or(Ipv4Addr::LOCALHOST, |home| home.network.address(home.broker));
        Self { host: host.into(), port, home }
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn server(folder: &Folder, place: &Place, addresses: &[String], id: usize, options: &ClusterOptions) -> Server {
    let settings = options.settings_of(folder, addresses, id);
    let mut server = Server::with_settings(folder, &format!("broker-{id}"), "broker", place.port, &settings);
    if let Some(binary) = &options.binary {
        server = server.with_binary(binary.clone());
    }
    if options.clocks {
        server = server.with_clock(Clock::new(folder.path().join(format!("clock-{id}"))));
    }
    if options.shims {
        server = server.with_shim(Shim::new(&folder.sub(&format!("shim-{id}")), &folder.sub(&id.to_string())));
    }
    match &place.home {
        Some(home) => server.at_home(home.clone()),
        None => server,
    }
}

/// What one broker says; `None` while it does not answer.
async fn broker_count(address: &str) -> Option<usize> {
    let settings = ClientSettings::new(address).expect("an address is a valid bootstrap list");
    let admin = Admin::connect(&settings).await.ok()?;
    Some(admin.brokers().await.ok()?.len())
}
