//! Runs tests of the suite, one process for each number, and reads how they ended from what the program prints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Protocol;
use crate::peer::LibrdkafkaTests;
use crate::process::Process;
use crate::suites::list::Outcome;
use crate::suites::report::Outcomes;

/// What takes longer hangs; the program limits its tests itself, by seconds to minutes.
const PROCESS_TIME_MAX: Duration = Duration::from_secs(20 * 60);
const POLL: Duration = Duration::from_millis(50);
/// The version that tests expect features of.
const KAFKA_VERSION: &str = "4.3.1";

/// A cluster, and how tests run against it.
pub(super) struct Course<'a> {
    pub suite: &'a LibrdkafkaTests,
    pub bootstrap: &'a str,
    pub protocol: Protocol,
    pub scenario: &'a str,
    /// The folder whose `bin` has Kafka's scripts, which some tests call.
    pub scripts: &'a Path,
    /// What the program prints, its settings and what it leaves behind.
    pub folder: PathBuf,
    /// By what the program multiplies its time limits.
    pub patience: f64,
}

impl Course<'_> {
    /// How every one of these tests ended; `jobs` numbers run at the same time.
    pub(super) fn run(&self, names: &[&str], jobs: usize) -> Outcomes {
        let mut by_number: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in names {
            by_number.entry(name.split('_').next().unwrap_or(name)).or_default().push(name);
        }
        let waiting = Mutex::new(by_number.into_iter());
        let outcomes = Mutex::new(Outcomes::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().expect("numbers that wait").next();
                        let Some((number, names)) = next else { return };
                        let ended = self.run_number(number, &names);
                        outcomes.lock().expect("outcomes").extend(ended);
                    }
                });
            }
        });
        outcomes.into_inner().expect("outcomes")
    }

    fn run_number(&self, number: &str, names: &[&str]) -> Outcomes {
        let began = Instant::now();
        let home = self.home(number);
        let log = home.join("output.log");
        let mut process = Process::spawn(&format!("test-runner {number}"), self.command(number, &home), &log);
        while process.is_running() && began.elapsed() < PROCESS_TIME_MAX {
            std::thread::sleep(POLL);
        }
        process.kill();
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
        let outcomes = read(&text, names);
        for (name, outcome) in &outcomes {
            eprintln!("  {:>6.1} s  {name} {outcome}", began.elapsed().as_secs_f64());
        }
        outcomes
    }

    /// A folder for one process; the second try of a number gets another one.
    fn home(&self, number: &str) -> PathBuf {
        let mut home = self.folder.join(number);
        while home.exists() {
            home.as_mut_os_string().push("-again");
        }
        std::fs::create_dir_all(&home).unwrap_or_else(|error| panic!("create {}: {error}", home.display()));
        home
    }

    fn command(&self, number: &str, home: &Path) -> std::process::Command {
        let settings = home.join("test.conf");
        // Random names keep tests apart that run at the same time, or once more.
        let text = format!(
            "bootstrap.servers={}\nbroker.address.family=v4\ntest.topic.random=true\ntest.timeout.multiplier={}\n",
            self.bootstrap, self.patience
        );
        std::fs::write(&settings, text).unwrap_or_else(|error| panic!("write {}: {error}", settings.display()));
        let mut command = self.suite.command();
        command.args(["-p1", "-L", "-Q", "-s", self.scenario]).current_dir(home);
        command.env("TESTS", number).env("RDKAFKA_TEST_CONF", &settings);
        command.env("TEST_KAFKA_VERSION", KAFKA_VERSION).env("TEST_CONSUMER_GROUP_PROTOCOL", self.protocol.name());
        command.env("KAFKA_PATH", self.scripts).env("BROKERS", self.bootstrap);
        // On a CI machine the program would run several tests at once, which we do.
        command.env_remove("CI");
        command
    }
}

/// The rows of the last summary, `| name | STATE | seconds | reason`; a test without a row took the process with it.
fn read(text: &str, names: &[&str]) -> Outcomes {
    let text = without_colors(text);
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.splitn(5, '|').map(str::trim).collect();
        let ["", name, state, _, reason] = cells[..] else { continue };
        if !names.contains(&name) {
            continue;
        }
        let outcome = match state {
            "PASSED" => Outcome::Passed,
            "SKIPPED" => Outcome::Skipped(reason.to_owned()),
            _ => Outcome::Failed(if reason.is_empty() { last_words(&text) } else { reason.to_owned() }),
        };
        outcomes.insert(name.to_owned(), outcome);
    }
    let is_complete = text.contains("SUMMARY");
    for name in names.iter().filter(|name| !outcomes.contains_key(**name)).collect::<Vec<_>>() {
        // A program that came to its end left the test out by itself, as for another scenario.
        let outcome = match is_complete {
            true => Outcome::Skipped("left out".to_owned()),
            false => Outcome::Failed(format!("died: {}", last_words(&text))),
        };
        outcomes.insert((*name).to_owned(), outcome);
    }
    outcomes
}

/// What the program said of its first failure, else its last line.
fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let failure = lines.iter().position(|line| line.starts_with("### Test \""));
    let words = failure.and_then(|at| lines.get(at + 1)).or(lines.last());
    words.map(|line| (*line).to_owned()).unwrap_or_default()
}

fn without_colors(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, code)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = code.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests;
