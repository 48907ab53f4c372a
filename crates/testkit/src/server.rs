//! One server process of ours: started, killed, stopped, hung, started again on the same port and data.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::binary::twinstream;
use crate::folder::Folder;
use crate::nemesis::{Clock, Network, Shim};
use crate::ports::free_port;
use crate::process::Process;
use crate::rest::Rest;
use crate::wait::wait_until;

/// A debug build on a busy machine may take its time.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// The namespace of a broker in a network whose links can be cut.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub network: Arc<Network>,
    pub broker: usize,
}

/// A role of the binary with its arguments; the process behind it may come and go.
#[derive(Debug)]
pub struct Server {
    name: String,
    /// Another one than [`twinstream`].
    binary: Option<PathBuf>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    host: IpAddr,
    port: u16,
    log: PathBuf,
    process: Option<Process>,
    home: Option<Home>,
    // After the process, which lives by it.
    clock: Option<Clock>,
    shim: Option<Shim>,
    // Last, so that the process is dead before its folder goes.
    _folder: Folder,
}

impl Server {
    /// A role that reads a settings file, which is written into the folder.
    pub fn with_settings(folder: &Folder, name: &str, role: &str, port: u16, settings: &[(String, String)]) -> Self {
        let file = folder.path().join(format!("{name}.properties"));
        let text: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        let arguments = vec![role.to_owned(), "-c".to_owned(), file.display().to_string()];
        Self::new(folder, name, port, arguments)
    }

    pub fn new(folder: &Folder, name: &str, port: u16, arguments: Vec<String>) -> Self {
        let log = folder.path().join(format!("{name}.log"));
        let (name, host) = (name.to_owned(), Ipv4Addr::LOCALHOST.into());
        Self {
            name,
            binary: None,
            arguments,
            environment: Vec::new(),
            host,
            port,
            log,
            process: None,
            home: None,
            clock: None,
            shim: None,
            _folder: folder.clone(),
        }
    }

    /// Lets it run this binary from its next start on.
    pub(crate) fn with_binary(mut self, binary: PathBuf) -> Self {
        self.binary = Some(binary);
        self
    }

    /// Lets it live in a namespace of its own from its next start on.
    pub(crate) fn at_home(mut self, home: Home) -> Self {
        self.host = home.network.address(home.broker).into();
        self.home = Some(home);
        self
    }

    /// Lets it live by a clock of its own from its next start on.
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Lets its writes and flushes fail on demand from its next start on.
    pub(crate) fn with_shim(mut self, shim: Shim) -> Self {
        self.shim = Some(shim);
        self
    }

    /// What can go wrong with its files; panics when that was not asked for.
    pub fn shim(&self) -> &Shim {
        self.shim.as_ref().unwrap_or_else(|| panic!("{} has no shim", self.name))
    }

    /// Its own clock; panics when it goes by everybody's.
    pub fn clock(&self) -> &Clock {
        self.clock.as_ref().unwrap_or_else(|| panic!("{} has no clock of its own", self.name))
    }

    /// A variable that it gets with its next start.
    pub fn set_environment(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Starts the process without waiting.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = Command::new(self.binary.clone().unwrap_or_else(twinstream));
        command.args(&self.arguments).env("NO_COLOR", "1").envs(self.environment.iter().cloned());
        if let Some(home) = &self.home {
            home.network.move_into(home.broker, &mut command);
        }
        if let Some(clock) = &self.clock {
            clock.govern(&mut command);
        }
        if let Some(shim) = &self.shim {
            shim.govern(&mut command);
        }
        self.process = Some(Process::spawn(&self.name, command, &self.log));
    }

    /// Starts the process and waits until its port answers.
    pub async fn start(&mut self) {
        self.spawn();
        self.wait_for_port().await;
    }

    /// Waits until the port answers; panics with the log when the process ends instead.
    pub async fn wait_for_port(&mut self) {
        let (name, host, port) = (self.name.clone(), self.host, self.port);
        let process = self.process.as_mut().expect("a started process");
        let what = format!("{name} listens on {port}");
        wait_until(&what, START_TIME_MAX, || {
            assert!(process.is_running(), "{name} ended while it started:\n{}", process.log_tail());
            async move { TcpStream::connect((host, port)).await.is_ok() }
        })
        .await;
    }

    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn process(&mut self) -> &mut Process {
        let name = &self.name;
        self.process.as_mut().unwrap_or_else(|| panic!("{name} is not running"))
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// SIGTERM; the exit status must be good.
    pub async fn stop(&mut self) {
        let status = self.process().stop().await;
        let tail = self.process().log_tail();
        assert!(status.success(), "{} ended with {status}:\n{tail}", self.name);
        self.process = None;
    }

    /// `kill -9` and a new start on the same port and data.
    pub async fn crash_and_restart(&mut self) {
        self.kill();
        self.start().await;
    }
}

/// A schema registry.
#[derive(Debug)]
pub struct Registry {
    pub server: Server,
    pub rest: Rest,
}

impl Registry {
    pub async fn start(folder: &Folder, bootstrap: &str) -> Self {
        Self::start_with(folder, bootstrap, &[]).await
    }

    pub async fn start_with(folder: &Folder, bootstrap: &str, more: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut settings: Vec<(String, String)> = [
            ("listeners", format!("http://127.0.0.1:{port}")),
            ("kafkastore.bootstrap.servers", bootstrap.to_owned()),
            ("kafkastore.topic.replication.factor", "1".to_owned()),
        ]
        .map(owned)
        .into();
        settings.extend(more.iter().map(|(name, value)| owned((*name, (*value).to_owned()))));
        let mut server = Server::with_settings(folder, &format!("registry-{port}"), "registry", port, &settings);
        server.start().await;
        let rest = Rest::new(format!("http://127.0.0.1:{port}"));
        wait_for_rest(&rest, "/subjects").await;
        Self { server, rest }
    }
}

/// A Connect worker.
#[derive(Debug)]
pub struct Worker {
    pub server: Server,
    pub rest: Rest,
}

/// What a worker is told beyond its address and group.
#[derive(Clone, Debug, Default)]
pub struct WorkerOptions {
    pub settings: Vec<(String, String)>,
    /// Another one than the binary that was built together with the test.
    pub binary: Option<PathBuf>,
}

impl WorkerOptions {
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// The worker runs this binary.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }
}

impl Worker {
    pub async fn start(folder: &Folder, bootstrap: &str, options: WorkerOptions) -> Self {
        let port = free_port();
        let mut settings: Vec<(String, String)> = [
            ("bootstrap.servers", bootstrap.to_owned()),
            ("group.id", "connect".to_owned()),
            ("listeners", format!("http://127.0.0.1:{port}")),
            ("key.converter", "org.apache.kafka.connect.storage.StringConverter".to_owned()),
            ("value.converter", "org.apache.kafka.connect.converters.ByteArrayConverter".to_owned()),
            ("config.storage.topic", "connect-configs".to_owned()),
            ("offset.storage.topic", "connect-offsets".to_owned()),
            ("status.storage.topic", "connect-status".to_owned()),
            ("config.storage.replication.factor", "1".to_owned()),
            ("offset.storage.replication.factor", "1".to_owned()),
            ("status.storage.replication.factor", "1".to_owned()),
        ]
        .map(owned)
        .into();
        settings.retain(|(name, _)| !options.settings.iter().any(|(other, _)| other == name));
        settings.extend(options.settings);
        let mut server = Server::with_settings(folder, &format!("worker-{port}"), "worker", port, &settings);
        if let Some(binary) = options.binary {
            server = server.with_binary(binary);
        }
        server.start().await;
        let rest = Rest::new(format!("http://127.0.0.1:{port}"));
        let worker = Self { server, rest };
        worker.wait_ready().await;
        worker
    }

    /// Waits until connectors can be asked for.
    pub async fn wait_ready(&self) {
        wait_for_rest(&self.rest, "/connectors").await;
    }

    /// `kill -9`, a new start, and REST answers again.
    pub async fn crash_and_restart(&mut self) {
        self.server.crash_and_restart().await;
        self.wait_ready().await;
    }
}

/// The embedded search index.
#[derive(Debug)]
pub struct Search {
    pub server: Server,
    pub rest: Rest,
}

impl Search {
    pub async fn start(folder: &Folder) -> Self {
        let port = free_port();
        let data = folder.sub(&format!("search-{port}"));
        let arguments = ["search", "--listen", &format!("127.0.0.1:{port}"), "--data-dir", &data.display().to_string()];
        let arguments = arguments.map(str::to_owned).into();
        let mut server = Server::new(folder, &format!("search-{port}"), port, arguments);
        server.start().await;
        Self { server, rest: Rest::new(format!("http://127.0.0.1:{port}")) }
    }
}

async fn wait_for_rest(rest: &Rest, path: &str) {
    let what = format!("GET {}{path} answers 200", rest.base());
    wait_until(&what, START_TIME_MAX, || async { rest.try_get(path).await.is_some_and(|answer| answer.is_good()) })
        .await;
}

fn owned((name, value): (&str, String)) -> (String, String) {
    (name.to_owned(), value)
}
