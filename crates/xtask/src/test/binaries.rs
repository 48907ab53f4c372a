//! Builds all test binaries in one go and runs them one after the other.
//!
//! Why not plain `cargo test`: a binary of ours is run with a time limit, a crash is told from a failed test, and the
//! output of a good run is one line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::{cargo, say};
use crate::test::Counts;
use crate::test::judges::Judges;
use crate::test::outcome::Outcome;

/// The slowest binary fetches its judges and starts clusters of Java processes; what takes longer hangs.
const BINARY_TIME_MAX: Duration = Duration::from_secs(12 * 60);
const POLL: Duration = Duration::from_millis(20);

pub(super) struct Binary {
    pub name: String,
    executable: PathBuf,
    folder: PathBuf,
}

/// The part of cargo's JSON messages that we need.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// `None` when it does not compile; cargo has said why.
pub(super) fn build(root: &Path) -> Result<Option<Vec<Binary>>> {
    let start = Instant::now();
    let arguments = ["test", "--workspace", "--no-run", "--quiet", "--message-format", "json-render-diagnostics"];
    let mut child = cargo(root, &arguments).stdout(Stdio::piped()).spawn().context("start cargo")?;
    let messages = BufReader::new(child.stdout.take().context("stdout of cargo")?);
    let mut binaries = Vec::new();
    for line in messages.lines() {
        // Lines that are no JSON come from build scripts and are none of our business.
        if let Ok(message) = serde_json::from_str::<Message>(&line?) {
            binaries.extend(Binary::of(message));
        }
    }
    let good = child.wait()?.success();
    say(format!("{} build ({:.1} s)", if good { "ok    " } else { "FAILED" }, start.elapsed().as_secs_f64()));
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(good.then_some(binaries))
}

/// The examples in doc comments.
pub(super) fn documentation(root: &Path, filter: Option<&str>) -> Result<Counts> {
    let mut command = cargo(root, &["test", "--workspace", "--doc", "--quiet", "--no-fail-fast", "--"]);
    let output = command.args(filter).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut counts = Outcome::parse(&text).counts(&[]);
    if !output.status.success() {
        say(&*text);
        counts.failed = counts.failed.max(1);
    }
    say(format!("{} examples in the documentation: {} passed", mark(counts), counts.passed));
    Ok(counts)
}

impl Binary {
    fn of(message: Message) -> Option<Self> {
        if message.reason != "compiler-artifact" || !message.profile?.test {
            return None;
        }
        let folder = message.manifest_path?.parent()?.to_path_buf();
        let target = message.target?;
        let of = folder.file_name()?.to_string_lossy().into_owned();
        let name = if target.kind.iter().any(|kind| kind == "test") { format!("{of}/{}", target.name) } else { of };
        Some(Self { name, executable: message.executable?, folder })
    }

    pub(super) fn run(&self, filter: Option<&str>, judges: &Judges) -> Result<Counts> {
        let start = Instant::now();
        let log = judges.folder().join(format!("{}.log", self.name.replace('/', "-")));
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut command = Command::new(&self.executable);
        command.args(filter).current_dir(&self.folder);
        judges.announce(&mut command);
        let mut child = command.stdout(file.try_clone()?).stderr(file).spawn()?;
        let status = wait(&mut child, start)?;
        let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        let missing = judges.missing_in(&self.executable)?;
        let outcome = Outcome::parse(&text);
        let mut counts = outcome.counts(&missing);
        let complete = text.lines().any(|line| line.starts_with("test result: "));
        let trouble = match status {
            None => ", stopped: it took too long".to_owned(),
            Some(_) if !complete => ", died without a result".to_owned(),
            // All tests passed, and then a destructor or a thread that was left brought the process down.
            Some(status) if !status.success() && !outcome.has_failures() => format!(", ended with {status}"),
            Some(_) => String::new(),
        };
        if !trouble.is_empty() {
            counts.failed += 1;
        }
        if counts.failed > 0 {
            say(&text);
        }
        let seconds = start.elapsed().as_secs_f64();
        if counts != Counts::default() {
            say(format!(
                "{} {}: {} passed, {} failed, {} skipped{trouble} ({seconds:.1} s)",
                mark(counts),
                self.name,
                counts.passed,
                counts.failed,
                counts.skipped
            ));
        }
        Ok(counts)
    }
}

/// How the child ended, `None` when it had to be stopped. What its tests have started dies with it.
fn wait(child: &mut Child, start: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > BINARY_TIME_MAX {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn mark(counts: Counts) -> &'static str {
    if counts.failed == 0 { "ok    " } else { "FAILED" }
}
