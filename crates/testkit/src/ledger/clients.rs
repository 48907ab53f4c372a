//! Programs that keep books (`peers/ledger`): one in Python on librdkafka, one in Java on Kafka's own client.

use std::path::PathBuf;
use std::time::Duration;

use super::scene::Scene;
use crate::peer::{self, Kafka, Python};
use crate::process::Process;
use crate::wait::wait_until;

const PYTHON: &str = include_str!("../../peers/ledger/ledger.py");
const JAVA: &str = include_str!("../../peers/ledger/Ledger.java");
const JAVA_CLASS: &str = "Ledger";
/// What programs do after they were told to stop: read to the end, say goodbye.
const ENDS_WITHIN: Duration = Duration::from_secs(240);
/// Some hundred lines.
const RECENT_BYTES: usize = 64 * 1024;

/// Whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Librdkafka,
    Java,
}

/// The programs, and Kafka's own.
pub(super) struct Clients {
    python: Python,
    pub kafka: Kafka,
}

/// A program that runs.
pub(super) struct Client {
    pub name: String,
    process: Process,
}

impl Clients {
    /// Both, or the end of the test.
    pub(super) fn new() -> Self {
        Self { python: peer::python(), kafka: peer::kafka() }
    }

    /// A role with its arguments; the first argument of every role, the brokers, is added.
    pub(super) fn start(&self, scene: &Scene, name: &str, by: By, role: &str, arguments: &[&str]) -> Client {
        let arguments = [&[role, &scene.bootstrap], arguments].concat();
        let mut command = match by {
            By::Librdkafka => self.python.command(PYTHON),
            By::Java => self.kafka.program(JAVA_CLASS, JAVA),
        };
        command.args(arguments);
        Client::spawn(scene, name, command)
    }

    /// One of Kafka's own programs.
    pub(super) fn start_tool(&self, scene: &Scene, name: &str, class: &str, arguments: &[&str]) -> Client {
        let arguments = [&["--bootstrap-server", &scene.bootstrap], arguments].concat();
        Client::spawn(scene, name, self.kafka.command(class, &arguments))
    }
}

impl Client {
    fn spawn(scene: &Scene, name: &str, command: std::process::Command) -> Self {
        let log = scene.subject.folder().path().join(format!("{name}.log"));
        Self { name: name.to_owned(), process: Process::spawn(name, command, &log) }
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// All that it has printed so far, whole lines only.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&std::fs::read(self.process.log()).unwrap_or_default()).into_owned();
        text.rfind('\n').map_or_else(String::new, |end| text[..=end].to_owned())
    }

    /// The end of it, whole lines only: what it printed in the last seconds.
    pub(super) fn recent_text(&self) -> String {
        let bytes = std::fs::read(self.process.log()).unwrap_or_default();
        let from = bytes.len().saturating_sub(RECENT_BYTES);
        let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
        let begin = if from == 0 { 0 } else { text.find('\n').map_or(0, |end| end + 1) };
        text.rfind('\n').map_or_else(String::new, |end| text[begin.min(end)..=end].to_owned())
    }

    /// `kill -9`; what is wrong with it, if it had ended before.
    pub(super) fn kill(&mut self) -> Option<String> {
        let early = self.ended_early();
        self.process.kill();
        early
    }

    /// SIGTERM, and waits for the end; what is wrong with it, if it had ended before.
    pub(super) async fn stop(&mut self) -> Option<String> {
        let early = self.ended_early();
        if early.is_none() {
            self.process.stop().await;
        }
        early
    }

    /// Programs that are stopped have no end of their own: one that is not there any more gave up.
    fn ended_early(&mut self) -> Option<String> {
        let early = !self.is_running();
        early.then(|| format!("{} ended before it was told to:\n{}", self.name, self.process.log_tail()))
    }

    /// Waits for the end that it comes to by itself; what is wrong with it, if anything.
    pub(super) async fn ended(&mut self) -> Option<String> {
        let process = &mut self.process;
        wait_until(&format!("{} ends", self.name), ENDS_WITHIN, || {
            let runs = process.is_running();
            async move { !runs }
        })
        .await;
        let text = self.text();
        let is_whole = text.lines().last() == Some("end");
        (!is_whole).then(|| format!("{} failed:\n{}", self.name, self.process.log_tail()))
    }
}

/// A file whose presence tells programs to come to their end.
pub(super) struct Stop(PathBuf);

impl Stop {
    pub(super) fn new(scene: &Scene, name: &str) -> Self {
        Self(scene.subject.folder().path().join(format!("stop-{name}")))
    }

    pub(super) fn path(&self) -> &str {
        self.0.to_str().expect("a path of plain characters")
    }

    pub(super) fn give(&self) {
        std::fs::write(&self.0, "").unwrap_or_else(|error| panic!("write {}: {error}", self.0.display()));
    }

    /// Tells the programs that end by this file to do something once, by a file beside it with a number that is new.
    pub(super) fn ask(&self, what: &str, number: i32) {
        let (file, new) = (format!("{}-{what}", self.path()), format!("{}-{what}.new", self.path()));
        // At once: they may look at any time.
        let written = std::fs::write(&new, number.to_string()).and_then(|()| std::fs::rename(&new, &file));
        written.unwrap_or_else(|error| panic!("write {file}: {error}"));
    }
}
