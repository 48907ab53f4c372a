//! Runs pytest, and reads how tests ended from what our plugin writes (`peers/python/twinstream_report.py`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::peer::PythonTests;
use crate::process::Process;
use crate::suites::list::Outcome;
use crate::suites::report::Outcomes;

/// The longest test takes some 15 s on an idle machine.
const TEST_SECONDS_MAX: u64 = 180;
/// A whole suite takes some 3 minutes; what takes longer hangs.
const PROCESS_TIME_MAX: Duration = Duration::from_secs(30 * 60);
const POLL: Duration = Duration::from_millis(50);

/// A broker, and how tests run against it.
pub(super) struct Course<'a> {
    pub tests: &'a PythonTests,
    /// Where the tests are below the folder in which pytest starts; names in lists begin behind it.
    pub home: &'a str,
    pub environment: Vec<(&'static str, String)>,
    /// Folders, files or tests.
    pub left_out: &'a [&'a str],
    /// What pytest prints and what the plugin writes.
    pub folder: &'a Path,
}

impl Course<'_> {
    /// How the tests of these files or functions ended; of all if there are none.
    pub(super) fn run(&self, only: &[String]) -> Outcomes {
        let began = Instant::now();
        let (log, report) = self.files();
        let mut process = Process::spawn("pytest", self.command(&report, only), &log);
        while process.is_running() && began.elapsed() < PROCESS_TIME_MAX {
            std::thread::sleep(POLL);
        }
        process.kill();
        let text = std::fs::read_to_string(&report).unwrap_or_default();
        let outcomes = read(&text, self.home);
        assert!(!outcomes.is_empty(), "pytest ran no test:\n{}", process.log_tail());
        eprintln!("  {} tests in {:.1} s, log {}", outcomes.len(), began.elapsed().as_secs_f64(), log.display());
        outcomes
    }

    /// New ones for each run.
    fn files(&self) -> (PathBuf, PathBuf) {
        let free = |number: &u32| !self.folder.join(format!("pytest-{number}.log")).exists();
        let number = (1..).find(free).unwrap_or_default();
        (self.folder.join(format!("pytest-{number}.log")), self.folder.join(format!("pytest-{number}.json")))
    }

    fn command(&self, report: &Path, only: &[String]) -> Command {
        let mut command = self.tests.pytest(report);
        command.args(["--tb=short", "-q", "--durations=10", &format!("--timeout={TEST_SECONDS_MAX}")]);
        for name in self.left_out {
            let option = if name.contains("::") { "--deselect" } else { "--ignore" };
            command.arg(format!("{option}={}{name}", self.home));
        }
        match only {
            [] => _ = command.arg(if self.home.is_empty() { "." } else { self.home }),
            only => _ = command.args(only.iter().map(|name| format!("{}{name}", self.home))),
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Clients look into these for brokers and proxies of somebody else.
        for variable in ["BROKERS", "BROKERS_7_0_1", "http_proxy", "HTTP_PROXY", "PYTEST_ADDOPTS"] {
            command.env_remove(variable);
        }
        command
    }
}

/// A line of the plugin.
#[derive(Deserialize)]
struct Line {
    test: String,
    outcome: String,
    reason: String,
}

/// Later lines of a test count; one that was collected and did not end took the process with it.
fn read(text: &str, home: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        // The process may have died while it wrote the last one.
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        let name = line.test.strip_prefix(home).unwrap_or(&line.test).to_owned();
        let outcome = match line.outcome.as_str() {
            "passed" => Outcome::Passed,
            "skipped" => Outcome::Skipped(line.reason),
            "collected" => Outcome::Failed("did not end".to_owned()),
            _ => Outcome::Failed(line.reason),
        };
        outcomes.insert(name, outcome);
    }
    outcomes
}

#[cfg(test)]
mod tests;
