//! The servers as child processes of this same binary.
//!
//! Invariants: a child dies with this process, also when that is killed with SIGKILL: it asks the kernel for that right
//! after the fork, and looks whether its parent is still there. The kernel ties this to the *thread* that forked, so only
//! the main thread may call [`Children::spawn`]. A child has its own process group, so that Ctrl-C reaches this process
//! alone and everything stops in order.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use super::plan::Server;
use crate::failure::Failure;
use crate::output;

/// A stage that takes longer to stop is killed; its logs recover at the next start.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
const TAIL_LINES: usize = 12;

/// All children, in the order of their start.
#[derive(Default)]
pub(super) struct Children {
    list: RefCell<Vec<Child>>,
}

struct Child {
    name: String,
    arguments: Vec<String>,
    log: std::path::PathBuf,
    stop_stage: u8,
    is_spare: bool,
    process: std::process::Child,
}

/// The end of a child that nobody asked for.
pub(super) struct Death {
    pub failure: Failure,
    /// For one that the others can do without: what happened, and the arguments that start it again.
    pub spare: Option<(String, Vec<String>)>,
}

impl Children {
    pub(super) fn spawn(&self, server: &Server) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot start {}: {error}", server.name));
        let log = OpenOptions::new().create(true).append(true).open(&server.log).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(&server.arguments).stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        command.process_group(0);
        die_with_parent(&mut command);
        let process = command.spawn().map_err(failed)?;
        self.list.borrow_mut().push(Child {
            name: server.name.clone(),
            arguments: server.arguments.clone(),
            log: server.log.clone(),
            stop_stage: server.stop_stage,
            is_spare: server.is_spare,
            process,
        });
        Ok(())
    }

    /// Waits until some child ends, which none should while this process works. It is no child any more then.
    pub(super) async fn next_death(&self) -> Death {
        loop {
            if let Some(death) = self.find_death() {
                return death;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn find_death(&self) -> Option<Death> {
        let mut list = self.list.borrow_mut();
        let (at, status) = list.iter_mut().enumerate().find_map(|(at, child)| {
            let status = child.process.try_wait().ok().flatten()?;
            Some((at, status))
        })?;
        let child = list.remove(at);
        let how = how(status);
        let spare = child.is_spare.then(|| (format!("{} {how}", child.name), child.arguments.clone()));
        Some(Death { failure: failure(&child.name, &child.log, &how), spare })
    }

    /// Stops all children cleanly, stage by stage.
    pub(super) async fn stop(&self) {
        let mut children = std::mem::take(&mut *self.list.borrow_mut());
        children.sort_by_key(|child| child.stop_stage);
        for stage in children.chunk_by_mut(|one, other| one.stop_stage == other.stop_stage) {
            for child in &mut *stage {
                // It may have ended by itself; then there is nobody to tell.
                kill_process(Pid::from_child(&child.process), Signal::TERM).ok();
            }
            let start = Instant::now();
            while stage.iter_mut().any(|child| child.is_alive()) && start.elapsed() < STOP_TIME_MAX {
                tokio::time::sleep(POLL).await;
            }
            for child in stage.iter_mut().filter_map(|child| child.is_alive().then_some(child)) {
                output::talk(&format!("{} did not stop within {} s; killed", child.name, STOP_TIME_MAX.as_secs()));
            }
        }
    }
}

impl Child {
    fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error means that it is dead already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Server {
    /// An error about this server, with what it said last.
    pub(super) fn failure(&self, what: &str) -> Failure {
        failure(&self.name, &self.log, what)
    }
}

fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn failure(name: &str, log: &std::path::Path, what: &str) -> Failure {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
    Failure::new(format!("{name} {what}; its last lines were\n    {tail}")).next(format!("read {}", log.display()))
}
