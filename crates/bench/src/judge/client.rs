//! The client process: `load`, started once for each run.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};
use twinstream_testkit::die_with_test;

use super::Side;
use crate::load::Run;

/// How to start `load`.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
}

/// The topic of a run.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub name: String,
    pub partitions: i32,
    pub replicas: i16,
    pub keep: bool,
}

impl Topic {
    /// Made for one run, deleted with it.
    pub(crate) fn fresh(name: &str) -> Self {
        Self { name: name.to_owned(), partitions: 6, replicas: 1, keep: false }
    }

    pub(crate) fn kept(name: &str) -> Self {
        Self { keep: true, ..Self::fresh(name) }
    }

    pub(crate) fn replicas(self, replicas: i16) -> Self {
        Self { replicas, ..self }
    }
}

impl Client {
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, side: &mut Side, topic: &Topic, mode: &[String]) -> Result<Run> {
        self.start(side, topic, mode)?.finish()
    }

    pub(crate) fn start(&self, side: &mut Side, topic: &Topic, mode: &[String]) -> Result<Running> {
        let pids: Vec<String> = side.pids().iter().map(u32::to_string).collect();
        self.start_at(&side.bootstrap(), &pids, topic, mode)
    }

    pub(crate) fn start_at(&self, bootstrap: &str, pids: &[String], topic: &Topic, mode: &[String]) -> Result<Running> {
        let mut command = Command::new(&self.program);
        command.args(["-b", bootstrap, "--json", "--topic", &topic.name]);
        command.args(["--partitions", &topic.partitions.to_string(), "--replicas", &topic.replicas.to_string()]);
        if !pids.is_empty() {
            command.args(["--pid", &pids.join(",")]);
        }
        command.args(topic.keep.then_some("--keep")).args(mode);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        die_with_test(&mut command);
        let mut child = command.spawn().with_context(|| format!("start {}", self.program.display()))?;
        let output = BufReader::new(child.stdout.take().context("output of the client")?);
        let orders = child.stdin.take();
        Ok(Running { child, orders, output, what: mode.join(" ") })
    }
}

/// A client at work; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    orders: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
    what: String,
}

impl Running {
    /// Waits until a client that was told to wait is ready, then lets it begin.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("client `{}` ended before it was ready", self.what);
        }
        let orders = self.orders.as_mut().context("a client that takes orders")?;
        Ok(orders.write_all(b"go\n")?)
    }

    /// Ends a client that goes on until it is told to stop.
    pub(crate) fn stop(&mut self) {
        self.orders = None;
    }

    /// Waits for its report.
    pub(crate) fn finish(mut self) -> Result<Run> {
        let mut text = String::new();
        self.output.read_line(&mut text)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("client `{}` ended with {status}; what it said is above", self.what);
        }
        serde_json::from_str(&text).with_context(|| format!("report of client `{}`: {text}", self.what))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail on a client that has ended, as it should have.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
