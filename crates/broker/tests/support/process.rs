//! A broker as a process of its own, so that it can be killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Client, PATIENCE, comes_true, options, serves};

/// The example `broker`, which cargo builds next to the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(Path::parent).expect("tests live in target/<profile>/deps");
    let program = target.join("examples/broker");
    assert!(
        program.exists(),
        "{} is missing: run all targets, as in `cargo test -p twinstream-broker`",
        program.display()
    );
    program
}

/// One broker process. It is killed when dropped.
pub struct BrokerProcess {
    pub port: u16,
    child: Child,
    log: PathBuf,
}

impl BrokerProcess {
    /// Starts a node whose voter is node 1 on `voter_port`.
    pub fn launch(dir: &Path, node: i32, port: u16, voter_port: u16, more: &[(&str, &str)]) -> Self {
        let settings = options(dir, node, port, voter_port, more).overrides;
        let log = dir.join(format!("node-{node}.log"));
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(program())
            .args(settings.iter().map(|(name, value)| format!("{name}={value}")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { port, child, log }
    }

    pub async fn start(dir: &Path, node: i32, port: u16, voter_port: u16, more: &[(&str, &str)]) -> Self {
        let mut broker = Self::launch(dir, node, port, voter_port, more);
        broker.wait_until_it_serves().await;
        broker
    }

    pub async fn wait_until_it_serves(&mut self) {
        let serves = comes_true(PATIENCE, async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the broker ended with {status}:\n{}", self.log());
            }
            serves(self.port).await
        });
        assert!(serves.await, "the broker does not serve after {PATIENCE:?}:\n{}", self.log());
    }

    pub async fn client(&self) -> Client {
        Client::try_connect(self.port).await.unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGSTOP: it lives, and does nothing. On a busy machine threads run on until the signal was delivered to all.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
        while !self.is_stopped() {
            std::thread::yield_now();
        }
    }

    /// Whether all threads stand still.
    fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let state = |stat: String| stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        threads.map(Result::unwrap).all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat"));
            stat.is_ok_and(|stat| state(stat) == Some('T'))
        })
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, then its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal_to_stop();
        self.child.wait().unwrap().code()
    }

    /// SIGTERM, without waiting.
    pub fn signal_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// The exit code of a process that is expected to end by itself.
    pub async fn outcome(&mut self) -> Option<i32> {
        let mut status = None;
        let ends = comes_true(PATIENCE, async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ends.await, "the broker does not end within {PATIENCE:?}:\n{}", self.log());
        status.and_then(|status| status.code())
    }

    /// A number of `/proc/<pid>/status`: kilobytes for sizes.
    pub fn status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// What it logged, over all its runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
