//! What runs where: ports, folders and settings of all servers, as data.
//!
//! Ports, from the base B: upstream brokers B, B+1, ..; downstream brokers B+10, ..; registry B+20, worker B+21, search
//! B+22. Folders: `upstream/1..N`, `downstream/1..N`, `search`, `logs`, `config`.
//!
//! Copies: every topic of a site has min(3, brokers) replicas; with three brokers or more, three of them vote in the
//! metadata quorum and two replicas must be in sync for a write, so a site goes on without any one of its brokers.
//!
//! Invariants: a plan depends on its options only; the data directory remembers in `quickstart.json` (versioned) how many
//! brokers it was made for, since partitions lie on them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::arguments::Quickstart;
use crate::failure::Failure;

const DOWNSTREAM: u16 = 10;
const REGISTRY: u16 = 20;
const WORKER: u16 = 21;
const SEARCH: u16 = 22;

/// Beyond this, more copies cost more than they save.
const REPLICAS_MAX: u16 = 3;
/// Fewer cannot outvote a voter that is gone.
const VOTERS: u16 = 3;

/// After the worker (0), the registry and the index (1).
const BROKERS_STOP: u8 = 2;

const STATE_FILE: &str = "quickstart.json";
/// Version 2: several replicas and voters. The topics of version 1 had one replica, its quorum one voter.
const STATE_VERSION: u32 = 2;

/// A process of this binary.
#[derive(Debug)]
pub(super) struct Server {
    pub name: String,
    pub port: u16,
    pub arguments: Vec<String>,
    pub log: PathBuf,
    /// Servers stop in this order: whoever needs others goes before them.
    pub stop_stage: u8,
    /// Whether everything goes on when it is killed.
    pub is_spare: bool,
    /// The settings file to write, for roles that read one.
    settings: Option<(PathBuf, String)>,
    /// Folders that must be there.
    folders: Vec<PathBuf>,
}

impl Server {
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

#[derive(Debug)]
pub(super) struct Site {
    pub name: &'static str,
    pub brokers: Vec<Server>,
    /// Addresses of all brokers.
    pub bootstrap: String,
}

impl Site {
    /// Copies of every partition.
    pub(super) fn replicas(&self) -> i16 {
        replicas(self.brokers.len() as u16)
    }
}

fn replicas(brokers: u16) -> i16 {
    brokers.min(REPLICAS_MAX) as i16
}

#[derive(Debug)]
pub(super) struct Service {
    pub server: Server,
    pub url: String,
}

#[derive(Debug)]
pub(super) struct Search {
    pub embedded: Option<Service>,
    /// Without user and password, so it can be shown.
    pub url: String,
    pub credentials: Option<(String, String)>,
}

impl Search {
    /// The address for requests.
    pub(super) fn request_url(&self) -> String {
        match (&self.credentials, self.url.split_once("://")) {
            (Some((user, password)), Some((scheme, rest))) => format!("{scheme}://{user}:{password}@{rest}"),
            _ => self.url.clone(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    pub data_dir: PathBuf,
    pub upstream: Site,
    pub downstream: Site,
    pub registry: Service,
    pub worker: Service,
    pub search: Search,
}

/// What the data directory says about itself.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct State {
    version: u32,
    brokers: u16,
}

impl Plan {
    pub(super) fn new(options: &Quickstart) -> Result<Self, Failure> {
        let data_dir = std::path::absolute(&options.data_dir)
            .map_err(|error| Failure::usage(format!("--data-dir {}: {error}", options.data_dir.display())))?;
        let (base, brokers) = (options.port_base, options.brokers);
        let upstream = site(&data_dir, "upstream", base, brokers);
        let downstream = site(&data_dir, "downstream", base + DOWNSTREAM, brokers);
        Ok(Self {
            registry: registry(&data_dir, base + REGISTRY, &upstream),
            worker: worker(&data_dir, base + WORKER, &downstream),
            search: search(&data_dir, base + SEARCH, options.search.as_deref())?,
            upstream,
            downstream,
            data_dir,
        })
    }

    /// Every server that is going to be a child.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Server> {
        let brokers = self.upstream.brokers.iter().chain(&self.downstream.brokers);
        let search = self.search.embedded.iter().map(|service| &service.server);
        brokers.chain([&self.registry.server, &self.worker.server]).chain(search)
    }

    /// Makes folders and settings files, and takes the data directory for this process.
    pub(super) fn prepare(&self) -> Result<File, Failure> {
        let logs = self.data_dir.join("logs");
        let config = self.data_dir.join("config");
        let folders = self.servers().flat_map(|server| &server.folders).chain([&logs, &config]);
        for folder in folders {
            fs::create_dir_all(folder).map_err(|error| cannot("create", folder, &error))?;
        }
        let lock = self.lock()?;
        self.check_state()?;
        for (file, text) in self.servers().filter_map(|server| server.settings.as_ref()) {
            fs::write(file, text).map_err(|error| cannot("write", file, &error))?;
        }
        let schema = self.schema_file();
        fs::write(&schema, super::dataset::SCHEMA).map_err(|error| cannot("write", &schema, &error))?;
        Ok(lock)
    }

    /// A copy of the schema of the events, for the commands that are shown at the end.
    pub(super) fn schema_file(&self) -> PathBuf {
        self.data_dir.join("config/earthquake.avsc")
    }

    fn lock(&self) -> Result<File, Failure> {
        let path = self.data_dir.join("quickstart.lock");
        let file = File::create(&path).map_err(|error| cannot("create", &path, &error))?;
        file.try_lock().map_err(|_| {
            Failure::new(format!("another quick start runs on {}", self.data_dir.display()))
                .tried(format!("to lock {}", path.display()))
                .next("stop it, or choose another directory with --data-dir")
        })?;
        Ok(file)
    }

    fn check_state(&self) -> Result<(), Failure> {
        let path = self.data_dir.join(STATE_FILE);
        let wanted = State { version: STATE_VERSION, brokers: self.upstream.brokers.len() as u16 };
        if !path.exists() {
            let text = serde_json::to_string(&wanted).map_err(Failure::new)?;
            return fs::write(&path, text + "\n").map_err(|error| cannot("write", &path, &error));
        }
        let text = fs::read_to_string(&path).map_err(|error| cannot("read", &path, &error))?;
        compare(&path, &text, &wanted)
    }
}

fn compare(path: &Path, text: &str, wanted: &State) -> Result<(), Failure> {
    let other = "choose another directory with --data-dir";
    let found: State = serde_json::from_str(text)
        .map_err(|error| Failure::new(format!("{} is not ours: {error}", path.display())).next(other))?;
    if found.version > wanted.version {
        return Err(Failure::new(format!(
            "{} has version {}, this binary knows {} at most",
            path.display(),
            found.version,
            wanted.version
        ))
        .next(format!("use the newer binary, or {other}")));
    }
    if found.version < wanted.version {
        return Err(Failure::new(format!(
            "the data directory was made by an earlier release, whose topics have one replica ({})",
            path.display()
        ))
        .next(format!("remove it, or {other}")));
    }
    if found.brokers != wanted.brokers {
        return Err(Failure::new(format!(
            "the data directory was made for {} brokers per site, not {}",
            found.brokers, wanted.brokers
        ))
        .tried(format!("{}", path.display()))
        .next(format!("add --brokers {}, or {other}", found.brokers)));
    }
    Ok(())
}

fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {verb} {}: {error}", path.display())).next("choose another directory with --data-dir")
}

fn site(data_dir: &Path, name: &'static str, base: u16, count: u16) -> Site {
    let brokers: Vec<Server> = (0..count).map(|index| broker(data_dir, name, base, index, count)).collect();
    let bootstrap = brokers.iter().map(Server::address).collect::<Vec<_>>().join(",");
    Site { name, brokers, bootstrap }
}

fn broker(data_dir: &Path, site: &str, base: u16, index: u16, count: u16) -> Server {
    let id = index + 1;
    let port = base + index;
    let data = data_dir.join(site).join(id.to_string());
    let voter_count = if count >= VOTERS { VOTERS } else { 1 };
    let voters: Vec<String> =
        (0..voter_count).map(|voter| format!("{}@127.0.0.1:{}", voter + 1, base + voter)).collect();
    let replicas = replicas(count);
    let settings = [
        ("process.roles", if index < voter_count { "broker,controller" } else { "broker" }.to_owned()),
        ("node.id", id.to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("log.dirs", data.display().to_string()),
        ("num.partitions", "3".to_owned()),
        ("default.replication.factor", replicas.to_string()),
        ("min.insync.replicas", (replicas - 1).max(1).to_string()),
        ("offsets.topic.replication.factor", replicas.to_string()),
        ("offsets.topic.num.partitions", "3".to_owned()),
        ("transaction.state.log.replication.factor", replicas.to_string()),
        ("transaction.state.log.min.isr", (replicas - 1).max(1).to_string()),
        ("transaction.state.log.num.partitions", "3".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ];
    // All brokers at once: whoever stopped last would wait for a majority of voters to say goodbye to.
    let server = with_settings(data_dir, "broker", &format!("{site}-{id}"), port, BROKERS_STOP, &settings);
    Server { folders: vec![data], is_spare: count >= VOTERS, ..server }
}

fn registry(data_dir: &Path, port: u16, site: &Site) -> Service {
    let url = format!("http://127.0.0.1:{port}");
    let settings = [
        ("listeners", url.clone()),
        ("kafkastore.bootstrap.servers", site.bootstrap.clone()),
        ("kafkastore.topic.replication.factor", site.replicas().to_string()),
    ];
    Service { server: with_settings(data_dir, "registry", "registry", port, 1, &settings), url }
}

fn worker(data_dir: &Path, port: u16, site: &Site) -> Service {
    let url = format!("http://127.0.0.1:{port}");
    let replicas = site.replicas().to_string();
    let bytes = "org.apache.kafka.connect.converters.ByteArrayConverter";
    let settings = [
        ("bootstrap.servers", site.bootstrap.clone()),
        ("group.id", "quickstart".to_owned()),
        ("listeners", url.clone()),
        ("key.converter", bytes.to_owned()),
        ("value.converter", bytes.to_owned()),
        ("config.storage.topic", "connect-configs".to_owned()),
        ("config.storage.replication.factor", replicas.clone()),
        ("offset.storage.topic", "connect-offsets".to_owned()),
        ("offset.storage.replication.factor", replicas.clone()),
        ("offset.storage.partitions", "3".to_owned()),
        ("status.storage.topic", "connect-status".to_owned()),
        ("status.storage.replication.factor", replicas),
        ("status.storage.partitions", "3".to_owned()),
        // A position that is stored often makes a copy after a crash short.
        ("offset.flush.interval.ms", "1000".to_owned()),
    ];
    Service { server: with_settings(data_dir, "worker", "worker", port, 0, &settings), url }
}

fn search(data_dir: &Path, port: u16, given: Option<&str>) -> Result<Search, Failure> {
    if let Some(url) = given {
        return own_search(url);
    }
    let url = format!("http://127.0.0.1:{port}");
    let data = data_dir.join("search");
    let arguments = ["search", "--listen", &format!("127.0.0.1:{port}"), "--data-dir", &data.display().to_string()];
    let server = Server {
        name: "search".to_owned(),
        port,
        arguments: arguments.map(str::to_owned).into(),
        log: data_dir.join("logs/search.log"),
        stop_stage: 1,
        is_spare: false,
        settings: None,
        folders: vec![data],
    };
    Ok(Search { embedded: Some(Service { server, url: url.clone() }), url, credentials: None })
}

fn own_search(given: &str) -> Result<Search, Failure> {
    let wrong = |reason: &str| {
        Failure::usage(format!("--search {given}: {reason}")).next("give an address such as http://127.0.0.1:9200")
    };
    let url = reqwest::Url::parse(given).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("is not an http or https address"));
    }
    // User and password stay as they are written, so that they can be put back into an address.
    let credentials = url.password().map(|password| (url.username().to_owned(), password.to_owned()));
    let text = given.trim_end_matches('/');
    let url = match (text.split_once("://"), &credentials) {
        (Some((scheme, rest)), Some(_)) => {
            format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
        }
        _ => text.to_owned(),
    };
    Ok(Search { embedded: None, url, credentials })
}

fn with_settings(
    data_dir: &Path,
    role: &str,
    name: &str,
    port: u16,
    stop_stage: u8,
    settings: &[(&str, String)],
) -> Server {
    let file = data_dir.join(format!("config/{name}.properties"));
    let text = settings.iter().map(|(name, value)| format!("{name}={}\n", escaped(value))).collect();
    Server {
        name: name.to_owned(),
        port,
        arguments: vec![role.to_owned(), "-c".to_owned(), file.display().to_string()],
        log: data_dir.join(format!("logs/{name}.log")),
        stop_stage,
        is_spare: false,
        settings: Some((file, text)),
        folders: Vec::new(),
    }
}

/// A backslash begins an escape in a properties file.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\")
}

#[cfg(test)]
mod tests;
