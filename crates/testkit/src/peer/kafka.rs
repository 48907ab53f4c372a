//! Apache Kafka: its tools, its applications (Streams, Connect, MirrorMaker 2), and clusters of its brokers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use super::{java, missing};
use crate::folder::Folder;
use crate::nemesis::{Proxy, Relay};
use crate::ports::free_port;
use crate::process::{Process, die_with_test};
use crate::wait::wait_until;

const POM: &str = include_str!("../../peers/kafka/pom.xml");
const LOG4J: &str = include_str!("../../peers/kafka/log4j2.xml");
const JUDGE: &str = "Apache Kafka 4.3.1";
const JAVA_AT_LEAST: u32 = 17;
const START_TIME_MAX: Duration = Duration::from_secs(90);
/// How a tool or a broker of a test is run: little memory, and up soon.
const SMALL: [&str; 1] = ["-XX:TieredStopAtLevel=1"];
/// How Kafka's own start script runs a broker.
const AS_SHIPPED: [&str; 5] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// Kafka's jars and a Java to run them.
#[derive(Clone, Debug)]
pub struct Kafka {
    java: PathBuf,
    libs: PathBuf,
    /// Options of the JVM that brokers run in.
    broker_jvm: Vec<String>,
}

/// Kafka, or the end of the test.
pub fn kafka() -> Kafka {
    let Some(java) = java::java(JAVA_AT_LEAST) else { missing(JUDGE, "a JDK of version 17 or newer, and Maven") };
    match java::jars("kafka", POM, &java) {
        Ok(libs) => Kafka {
            java,
            libs,
            broker_jvm: [&["-Xmx512m"][..], &SMALL].concat().into_iter().map(str::to_owned).collect(),
        },
        Err(reason) => missing(JUDGE, &format!("Maven, and a network for the first run; {reason}")),
    }
}

impl Kafka {
    /// One of Kafka's programs, by class.
    pub fn command(&self, class: &str, arguments: &[&str]) -> Command {
        self.java(["-Xmx384m"].into_iter().chain(SMALL), class, arguments)
    }

    /// A server that is none of the brokers, in a JVM like theirs.
    pub fn server(&self, class: &str, arguments: &[&str]) -> Command {
        self.java(self.broker_jvm.iter().map(String::as_str), class, arguments)
    }

    /// A program that may be killed and that unpacks libraries of its own: what it would leave behind is in this folder.
    pub fn application(&self, folder: &Path, class: &str, arguments: &[&str]) -> Command {
        let temporary = format!("-Djava.io.tmpdir={}", folder.display());
        self.java(["-Xmx384m", &temporary].into_iter().chain(SMALL), class, arguments)
    }

    /// Runs a program to its end.
    pub fn run(&self, class: &str, arguments: &[&str]) -> Output {
        self.run_with_input(class, arguments, "")
    }

    /// Runs a program to its end with this text on its stdin.
    pub fn run_with_input(&self, class: &str, arguments: &[&str], input: &str) -> Output {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("stdin");
        std::fs::write(&file, input).expect("write the input of a tool");
        let mut command = self.command(class, arguments);
        command.stdin(std::fs::File::open(&file).expect("open the input of a tool"));
        command.output().unwrap_or_else(|error| panic!("start {class}: {error}"))
    }

    /// Runs a program that must succeed; its stdout.
    pub fn text(&self, class: &str, arguments: &[&str]) -> String {
        let output = self.run(class, arguments);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class} {arguments:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout
    }

    /// Writes a program, by class, as a script that can be started without us.
    pub fn write_script(&self, file: &Path, class: &str) {
        let command = self.command(class, &[]);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        // In single quotes nothing has a meaning to a shell but the quote itself.
        let words = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")));
        let text = format!("#!/bin/sh\nexec {} \"$@\"\n", words.collect::<Vec<_>>().join(" "));
        std::fs::write(file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        let may_run = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(file, may_run).unwrap_or_else(|error| panic!("chmod {}: {error}", file.display()));
    }

    /// Starts a KRaft cluster of Kafka's own brokers; `{id}` in a value stands for the node id, `{controller}` for the port
    /// of the node's controller.
    pub async fn cluster(&self, brokers: usize, settings: &[(&str, &str)]) -> KafkaCluster {
        KafkaCluster::start(self, brokers, settings).await
    }

    /// The same with a proxy before each broker, through which all clients go, and brokers where they are clients.
    pub async fn cluster_behind_proxies(
        &self,
        brokers: usize,
        settings: &[(&str, &str)],
    ) -> (KafkaCluster, Vec<Proxy>) {
        let mut proxies = Vec::new();
        let ports: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        for port in &ports {
            proxies.push(Proxy::before(&format!("127.0.0.1:{port}")).await);
        }
        let line = |proxy: &Proxy| format!("advertised.listeners=PLAINTEXT://{}\n", proxy.address());
        let lines: Vec<String> = proxies.iter().map(line).collect();
        (KafkaCluster::start_on(self, &ports, &lines, settings).await, proxies)
    }

    /// The same with a second way in, as [`crate::Cluster::start_with_side_door`] has it.
    pub async fn cluster_with_side_door(
        &self,
        brokers: usize,
        settings: &[(&str, &str)],
    ) -> (KafkaCluster, Vec<Relay>) {
        let ports: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        let (mut relays, mut lines) = (Vec::new(), Vec::new());
        for port in &ports {
            let door = free_port();
            let relay = Relay::before(&format!("127.0.0.1:{door}")).await;
            let (main, told) = (format!("PLAINTEXT://127.0.0.1:{port}"), relay.address());
            lines.push(format!(
                "listeners={main},DOOR://127.0.0.1:{door},CONTROLLER://127.0.0.1:{{controller}}\n\
                 advertised.listeners={main},DOOR://{told}\ninter.broker.listener.name=PLAINTEXT\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,DOOR:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            ));
            relays.push(relay);
        }
        (KafkaCluster::start_on(self, &ports, &lines, settings).await, relays)
    }

    /// Lets brokers run as Kafka ships them, with a heap whose memory is there from the start: for measurements.
    pub fn as_shipped(mut self, heap: &str) -> Self {
        let heap = [format!("-Xms{heap}"), format!("-Xmx{heap}"), "-XX:+AlwaysPreTouch".to_owned()];
        self.broker_jvm = heap.into_iter().chain(AS_SHIPPED.map(str::to_owned)).collect();
        self
    }

    pub(super) fn java_binary(&self) -> &Path {
        &self.java
    }

    pub(super) fn class_path(&self) -> String {
        format!("{}/*", self.libs.display())
    }

    /// A class of ours in this folder that uses Kafka's.
    pub(super) fn command_beside(&self, folder: &Path, class: &str) -> Command {
        self.java_of(
            &format!("{}:{}", folder.display(), self.class_path()),
            ["-Xmx384m"].into_iter().chain(SMALL),
            class,
            &[],
        )
    }

    fn java<'a>(&self, options: impl IntoIterator<Item = &'a str>, class: &str, arguments: &[&str]) -> Command {
        self.java_of(&self.class_path(), options, class, arguments)
    }

    fn java_of<'a>(
        &self,
        class_path: &str,
        options: impl IntoIterator<Item = &'a str>,
        class: &str,
        arguments: &[&str],
    ) -> Command {
        let log4j = self.libs.with_file_name("log4j2.xml");
        if !log4j.exists() {
            std::fs::write(&log4j, LOG4J).unwrap_or_else(|error| panic!("write {}: {error}", log4j.display()));
        }
        let mut command = Command::new(&self.java);
        command.args(options).args(["-cp", class_path]);
        command.arg(format!("-Dlog4j2.configurationFile={}", log4j.display()));
        command.arg(class).args(arguments).stdin(Stdio::null());
        die_with_test(&mut command);
        command
    }
}

/// Kafka's brokers, each also a controller.
#[derive(Debug)]
pub struct KafkaCluster {
    kafka: Kafka,
    nodes: Vec<KafkaNode>,
    // Last, so that the brokers are dead before their folder goes.
    folder: Folder,
}

/// One broker; the process behind it may come and go.
#[derive(Debug)]
struct KafkaNode {
    name: String,
    port: u16,
    home: PathBuf,
    process: Option<Process>,
}

impl KafkaCluster {
    async fn start(kafka: &Kafka, brokers: usize, settings: &[(&str, &str)]) -> Self {
        let ports: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        Self::start_on(kafka, &ports, &[], settings).await
    }

    /// With lines of settings of each broker's own, which win.
    async fn start_on(kafka: &Kafka, ports: &[u16], lines: &[String], settings: &[(&str, &str)]) -> Self {
        let (folder, brokers) = (Folder::new(), ports.len());
        let controllers: Vec<u16> = (0..brokers).map(|_| free_port()).collect();
        let id = kafka.text("kafka.tools.StorageTool", &["random-uuid"]).trim().to_owned();
        let mut nodes = Vec::new();
        for (index, port) in ports.iter().copied().enumerate() {
            let name = format!("kafka-{}", index + 1);
            let home = folder.sub(&name);
            let node = KafkaNode { name, port, home, process: None };
            let mut text = properties(&node.home, ports, &controllers, index, settings);
            if let Some(lines) = lines.get(index) {
                // The last line of a name counts.
                text.push_str(&lines.replace("{controller}", &controllers[index].to_string()));
            }
            std::fs::write(node.settings(), text).expect("write the settings of a Kafka broker");
            kafka.text("kafka.tools.StorageTool", &["format", "-t", &id, "-c", &node.settings().display().to_string()]);
            nodes.push(node);
        }
        let mut cluster = Self { kafka: kafka.clone(), nodes, folder };
        for id in 1..=brokers {
            cluster.spawn(id);
        }
        for id in 1..=brokers {
            cluster.wait_for_port(id).await;
        }
        cluster
    }

    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The process of a broker by its node id, from 1.
    pub fn process(&mut self, id: usize) -> &mut Process {
        let node = &mut self.nodes[id - 1];
        node.process.as_mut().unwrap_or_else(|| panic!("{} is not running", node.name))
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: usize) {
        self.process(id).kill();
        self.nodes[id - 1].process = None;
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self, id: usize) {
        self.process(id).stop().await;
        self.nodes[id - 1].process = None;
    }

    /// Starts a broker on its port and data, without waiting.
    pub fn spawn(&mut self, id: usize) {
        let node = &mut self.nodes[id - 1];
        assert!(node.process.is_none(), "{} runs already", node.name);
        let command = {
            let jvm = self.kafka.broker_jvm.iter().map(String::as_str);
            self.kafka.java(jvm, "kafka.Kafka", &[&node.settings().display().to_string()])
        };
        node.process = Some(Process::spawn(&node.name, command, &node.home.join("server.log")));
    }

    pub async fn wait_for_port(&self, id: usize) {
        let port = self.nodes[id - 1].port;
        let what = format!("Kafka listens on {port}");
        wait_until(&what, START_TIME_MAX, || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
    }

    /// Where logs and data are.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The data folder of a broker.
    pub fn data(&self, id: usize) -> PathBuf {
        self.nodes[id - 1].home.join("data")
    }
}

impl KafkaNode {
    fn settings(&self) -> PathBuf {
        self.home.join("server.properties")
    }
}

fn properties(home: &Path, ports: &[u16], controllers: &[u16], index: usize, more: &[(&str, &str)]) -> String {
    let replicas = ports.len().min(3);
    let voters: Vec<String> =
        controllers.iter().enumerate().map(|(index, port)| format!("{}@127.0.0.1:{port}", index + 1)).collect();
    let (port, controller) = (ports[index], controllers[index]);
    let mut text = format!(
        "process.roles=broker,controller\nnode.id={}\ncontroller.quorum.voters={}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor={replicas}\noffsets.topic.num.partitions=5\n\
         transaction.state.log.replication.factor={replicas}\ntransaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor={replicas}\nshare.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n",
        index + 1,
        voters.join(","),
        home.join("data").display(),
    );
    for (name, value) in more {
        let value = value.replace("{id}", &(index + 1).to_string()).replace("{controller}", &controller.to_string());
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}
