//! Python with the two Kafka clients that its users have.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{cache, missing};
use crate::process::die_with_test;

/// The clients, and what kafka-python needs for its codecs; confluent-kafka with its schema registry client.
const PINS: [&str; 6] = [
    "confluent-kafka[avro,schemaregistry]==2.16.0",
    "kafka-python==3.0.12",
    "cramjam==2.14.0",
    "lz4==4.4.5",
    "python-snappy==0.7.3",
    "zstandard==0.25.0",
];
const JUDGE: &str = "Python clients (confluent-kafka 2.16.0, kafka-python 3.0.12)";
const INSTALL: &str = "Python 3.9 or newer with venv (Debian: python3-venv), and a network for the first run";

/// The virtual environment in a cache entry.
pub(super) const ENVIRONMENT: &str = "venv";

#[derive(Clone, Debug)]
pub struct Python {
    interpreter: PathBuf,
}

/// A Python that has both clients, or the end of the test.
pub fn python() -> Python {
    let name = format!("python-{}", PINS.join("-").replace("==", "-").replace(['[', ']', ','], "-"));
    match cache::entry(&name, |folder| install(folder, &PINS)) {
        Ok(folder) => Python { interpreter: folder.join(ENVIRONMENT).join("bin/python") },
        Err(reason) => missing(JUDGE, &format!("{INSTALL}; {reason}")),
    }
}

impl Python {
    /// Runs a script to its end.
    pub fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(script);
        command.args(arguments);
        die_with_test(&mut command);
        command.output().unwrap_or_else(|error| panic!("start {}: {error}", self.interpreter.display()))
    }

    /// A script that waits for its arguments.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg("-c").arg(script);
        command
    }

    /// Runs a script that must succeed; its stdout.
    pub fn text(&self, script: &str, arguments: &[&str]) -> String {
        let output = self.run(script, arguments);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "python: {}\n{stdout}\n{stderr}", output.status);
        stdout
    }
}

/// Makes a virtual environment with these packages.
pub(super) fn install(folder: &Path, pins: &[&str]) -> Result<(), String> {
    let environment = folder.join(ENVIRONMENT);
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment), "python3 -m venv")?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(environment.join("bin/python")).args(pip).args(pins), "pip install")
}

/// Where the packages of an environment lie.
pub(super) fn packages(folder: &Path) -> Option<PathBuf> {
    let mut versions = std::fs::read_dir(folder.join(ENVIRONMENT).join("lib")).ok()?;
    Some(versions.next()?.ok()?.path().join("site-packages"))
}

pub(super) fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{what} does not start ({error})"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{what} failed: {}", cache::last_lines(&output))) }
}
