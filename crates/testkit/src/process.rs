//! A child process that dies with the test.
//!
//! The kernel's parent-death signal belongs to the *thread* that forked, and a test runs in a thread that ends with it
//! while helpers of an async runtime come and go. So one thread, which lives as long as the process, forks for all.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use crate::wait::wait_until_some;

/// A server flushes and says goodbye within this time, or something hangs.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
const TAIL_LINES: usize = 40;

/// A running child with its output in a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command; stdout and stderr are appended to the log.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let file = open_log(log);
        let copy = file.try_clone().expect("second handle of a log file");
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = fork(command).unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_path_buf() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("state of a child")
    }

    /// `kill -9`: no goodbye, no flush.
    pub fn kill(&mut self) {
        // An error means that it is dead already, which is what we want.
        self.child.kill().ok();
        self.child.wait().unwrap_or_else(|error| panic!("wait for {}: {error}", self.name));
    }

    /// SIGTERM, then waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let (name, tail) = (self.name.clone(), self.log_tail());
        let what = format!("{name} ends after SIGTERM; its last log lines:\n{tail}");
        let child = &mut self.child;
        wait_until_some(&what, STOP_TIME_MAX, || {
            let ended = child.try_wait().expect("state of a child");
            async move { ended }
        })
        .await
    }

    /// SIGSTOP: the process hangs, its sockets stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGSTOP, and waits until none of its threads runs any more. One that waits for a disk in the kernel does not come
    /// back from there.
    pub fn freeze(&self) {
        const FROZEN_WITHIN: Duration = Duration::from_secs(10);
        self.pause();
        let began = Instant::now();
        while !self.is_frozen() {
            assert!(began.elapsed() < FROZEN_WITHIN, "process {} runs on though it was stopped", self.id());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_frozen(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten().flatten();
        let states = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        // The state stands behind the name, which may have any characters.
        states.into_iter().all(|stat| stat.rsplit(") ").next().is_none_or(|rest| !rest.starts_with(['R', 'S'])))
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Memory that is held in RAM, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        kilobytes * 1024
    }

    /// The last lines of its output.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("send {signal:?} to {}: {error}", self.name));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- last log lines of {} ({})\n{}", self.name, self.log.display(), self.log_tail());
        }
        self.kill();
    }
}

/// Lets a command die with this process. Also for commands that a test runs to their end.
pub fn die_with_test(command: &mut Command) {
    apart_from_users_contexts(command);
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

/// A test neither follows nor changes the contexts of whoever runs it.
fn apart_from_users_contexts(command: &mut Command) {
    let file = OsStr::new("TWINSTREAM_CONTEXTS");
    if !command.get_envs().any(|(name, _)| name == file) {
        let folder = std::env::temp_dir().join(format!("twinstream-contexts-{}", std::process::id()));
        command.env(file, folder.join("contexts.yaml"));
    }
}

type Order = (Command, SyncSender<io::Result<Child>>);

fn fork(mut command: Command) -> io::Result<Child> {
    static FORKER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (orders, queue) = sync_channel::<Order>(16);
        let serve = move || {
            for (mut command, answer) in queue {
                // Nobody waits any more when the test that asked has panicked.
                answer.send(command.spawn()).ok();
            }
        };
        std::thread::Builder::new().name("forker".to_owned()).spawn(serve).expect("thread that forks");
        orders
    });
    die_with_test(&mut command);
    let (answer, child) = sync_channel(1);
    forker.send((command, answer)).expect("the forker lives as long as the process");
    child.recv().expect("the forker answers each order")
}

fn open_log(log: &Path) -> File {
    let opened = OpenOptions::new().create(true).append(true).open(log);
    opened.unwrap_or_else(|error| panic!("open {}: {error}", log.display()))
}

fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
