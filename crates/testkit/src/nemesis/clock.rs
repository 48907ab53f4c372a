//! The wall clock of one broker, which can be turned while the broker runs.
//!
//! Picture: libfaketime is loaded before the C library and answers for it when the process asks for the time of day. What
//! it adds stands in a file, which it reads each time, so whoever writes the file turns the clock. The monotonic clock and
//! the times of files stay true: an operator who sets the time of a machine does not turn those either.
//!
//! Invariants: the file is replaced and never half written; what libfaketime leaves in shared memory when its process is
//! killed goes with the clock.
//!
//! Needs libfaketime; without it the test ends as it does for want of a judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::peer::missing;

/// What the judge is called when it cannot run.
const JUDGE: &str = "clock faults";
const INSTALL: &str = "libfaketime (Debian: apt-get install libfaketime)";
/// Debian has a folder for each architecture in the first one.
const LIBRARIES: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// The one for processes with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Where shared memory and semaphores have their names, and those of libfaketime, which end in a process id.
const SHARED: &str = "/dev/shm";
const LEFT_OVERS: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];
/// Between turning the clock of the probe and reading it, on a busy machine.
const PROBE_SLACK_S: u64 = 60;

/// Runs true until it is turned.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A true clock, or the end of the test.
    pub(crate) fn new(file: PathBuf) -> Self {
        let library = library().unwrap_or_else(|| missing(JUDGE, INSTALL));
        let clock = Self { file, library };
        remove_left_overs();
        if let Err(reason) = clock.probe() {
            missing(JUDGE, &format!("{INSTALL}; {reason}"));
        }
        clock.set_true();
        clock
    }

    /// From now on it is so many seconds ahead of the true time, or behind it.
    pub fn turn(&self, seconds: i64) {
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+}\n")).unwrap_or_else(|error| panic!("write {}: {error}", next.display()));
        fs::rename(&next, &self.file).unwrap_or_else(|error| panic!("rename {}: {error}", next.display()));
    }

    pub fn set_true(&self) {
        self.turn(0);
    }

    /// Lets a process live by this clock from its start on.
    pub(crate) fn govern(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// Whether a process believes it.
    fn probe(&self) -> Result<(), String> {
        const AHEAD_S: u64 = 86_400;
        self.turn(i64::try_from(AHEAD_S).expect("a day"));
        let mut command = Command::new("date");
        self.govern(command.arg("+%s"));
        let output = command.output().map_err(|error| format!("date does not start ({error})"))?;
        let told = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().unwrap_or(0);
        let expected = now().as_secs() + AHEAD_S;
        if expected.abs_diff(told) < PROBE_SLACK_S {
            Ok(())
        } else {
            Err(format!("{} is not obeyed: date tells {told}, not {expected}", self.library.display()))
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        remove_left_overs();
    }
}

/// The true time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970")
}

fn library() -> Option<PathBuf> {
    LIBRARIES.into_iter().find_map(|folder| {
        let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(PathBuf::from(folder))
            .chain(below)
            .map(|folder| folder.join(LIBRARY))
            .find(|file| file.exists())
    })
}

/// Removes what belongs to processes that are no more.
fn remove_left_overs() {
    for entry in fs::read_dir(SHARED).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner =
            LEFT_OVERS.iter().find_map(|prefix| name.strip_prefix(prefix)).and_then(|id| id.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            // Another test may have been faster.
            fs::remove_file(entry.path()).ok();
        }
    }
}
