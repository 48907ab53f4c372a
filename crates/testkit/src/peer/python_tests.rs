//! Test suites of Python clients, and an environment to run them in.
//!
//! Picture: kafka-python's tests come with its source distribution. Confluent's are in no package, only in its
//! repository; whoever has a checkout of it can name it ([`confluent_kafka_tests`]). What its tests ask for as a user of
//! the same client is asked once more by tests of ours (`judges/confluent-kafka/behaviours`), which run everywhere.
//!
//! Both suites can start brokers of their own, from archives that they download. A file of ours stands for that part
//! (`peers/python`) and tells them of brokers that run already.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::{self, ENVIRONMENT};
use super::{cache, java, missing};

const PYTEST: [&str; 3] = ["pytest==9.2.0", "pytest-timeout==2.4.0", "pytest-asyncio==1.5.0"];
const INSTALL: &str = "Python 3.9 or newer with venv (Debian: python3-venv), and a network for the first run";
/// Confluent's tests do not say that they are coroutines where they are.
const PYTEST_INI: &str = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n";
const REPORT: &str = include_str!("../../peers/python/twinstream_report.py");

const KAFKA_PYTHON: &str = "kafka-python's tests 3.0.12";
/// The client and what it needs for its codecs.
const KAFKA_PYTHON_PINS: [&str; 5] =
    ["kafka-python==3.0.12", "cramjam==2.14.0", "lz4==4.4.5", "python-snappy==0.7.3", "zstandard==0.25.0"];
/// The source distribution, as pip writes it into files of requirements.
const KAFKA_PYTHON_SOURCES: &str =
    "kafka-python==3.0.12 --hash=sha256:4ccda3616b9aa5c353d74a97f2770d6cd1b950890d77ab0e8890e09a48eeed65\n";
const KAFKA_PYTHON_ARCHIVE: &str = "kafka_python-3.0.12";
const KAFKA_PYTHON_SERVICE: &str = include_str!("../../peers/python/kafka_python_service.py");

const CONFLUENT: &str = "confluent-kafka's tests 2.15.0";
const CONFLUENT_VERSION: &str = "2.15.0";
const CONFLUENT_PINS: [&str; 1] = ["confluent-kafka[avro,schemaregistry,json,protobuf]==2.15.0"];
const TRIVUP: &str = include_str!("../../peers/python/trivup_cluster.py");

/// An interpreter with a client and pytest, and where the tests are.
#[derive(Clone, Debug)]
pub struct PythonTests {
    interpreter: PathBuf,
    /// Where pytest starts, so that tests find their own modules.
    sources: PathBuf,
    /// Modules of ours that the tests find first.
    ours: PathBuf,
}

/// kafka-python's own tests, or the end of the test.
pub fn kafka_python_tests() -> PythonTests {
    let name = entry_name("kafka-python-tests", &KAFKA_PYTHON_PINS, &[KAFKA_PYTHON_SOURCES, KAFKA_PYTHON_SERVICE]);
    match cache::entry(&name, install_kafka_python) {
        Ok(folder) => PythonTests::of(&folder, folder.join("sources")),
        Err(reason) => missing(KAFKA_PYTHON, &format!("{INSTALL}, tar; {reason}")),
    }
}

/// Tests that use Confluent's client, in this folder; or the end of the test.
pub fn confluent_kafka_tests(sources: &Path) -> PythonTests {
    let name = entry_name("confluent-kafka-tests", &CONFLUENT_PINS, &[TRIVUP]);
    match cache::entry(&name, install_confluent) {
        Ok(folder) => PythonTests::of(&folder, sources.to_path_buf()),
        Err(reason) => missing(CONFLUENT, &format!("{INSTALL}; {reason}")),
    }
}

/// Whether this folder is a checkout of Confluent's repository at the version whose tests the lists are about.
pub fn check_confluent_checkout(folder: &Path) -> Result<(), String> {
    let file = folder.join("pyproject.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let has_version = text.lines().any(|line| line.trim() == format!("version = \"{CONFLUENT_VERSION}\""));
    let has_tests = folder.join("tests/integration").is_dir();
    if has_version && has_tests {
        return Ok(());
    }
    Err(format!("{} is not a checkout of confluent-kafka-python v{CONFLUENT_VERSION}", folder.display()))
}

impl PythonTests {
    fn of(folder: &Path, sources: PathBuf) -> Self {
        let interpreter = folder.join(ENVIRONMENT).join("bin/python");
        Self { interpreter, sources, ours: folder.join("ours") }
    }

    /// pytest with nothing to run yet; it writes how tests ended into this file.
    pub fn pytest(&self, report: &Path) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.args(["-m", "pytest", "-p", "twinstream_report", "-p", "no:cacheprovider"]);
        command.arg("--rootdir").arg(&self.sources).arg("-c").arg(self.ours.join("pytest.ini"));
        command.current_dir(&self.sources).env("TWINSTREAM_REPORT", report);
        command.env("PYTHONPATH", &self.ours).env("PYTHONDONTWRITEBYTECODE", "1");
        // Tests hold texts from all over the world.
        command.env("PYTHONUTF8", "1");
        command
    }
}

/// A new pin or another file of ours makes a new entry.
fn entry_name(what: &str, pins: &[&str], files: &[&str]) -> String {
    let text = [pins, &PYTEST, files, &[REPORT, PYTEST_INI]].concat().join("\n");
    format!("{what}-{:08x}", java::fingerprint(&text))
}

fn install_kafka_python(folder: &Path) -> Result<(), String> {
    install(folder, &KAFKA_PYTHON_PINS)?;
    let sources = folder.join("sources");
    let requirements = folder.join("sources.txt");
    write(&requirements, KAFKA_PYTHON_SOURCES)?;
    create(&sources)?;
    let mut pip = Command::new(folder.join(ENVIRONMENT).join("bin/python"));
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
    pip.args(["--no-binary", "kafka-python", "--dest"]).arg(folder).arg("-r").arg(&requirements);
    python::run(&mut pip, "pip download")?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(folder.join(format!("{KAFKA_PYTHON_ARCHIVE}.tar.gz"))).arg("-C").arg(&sources);
    tar.args(["--strip-components=1", &format!("{KAFKA_PYTHON_ARCHIVE}/test")]);
    python::run(&mut tar, "tar")?;
    write(&sources.join("test/service.py"), KAFKA_PYTHON_SERVICE)?;
    // Without it Python takes its own package of this name.
    write(&sources.join("test/__init__.py"), "")
}

fn install_confluent(folder: &Path) -> Result<(), String> {
    install(folder, &CONFLUENT_PINS)?;
    let clusters = folder.join("ours/trivup/clusters");
    create(&clusters)?;
    write(&folder.join("ours/trivup/__init__.py"), "")?;
    write(&clusters.join("__init__.py"), "")?;
    write(&clusters.join("KafkaCluster.py"), TRIVUP)
}

fn install(folder: &Path, pins: &[&str]) -> Result<(), String> {
    python::install(folder, &[pins, &PYTEST].concat())?;
    let ours = folder.join("ours");
    create(&ours)?;
    write(&ours.join("twinstream_report.py"), REPORT)?;
    write(&ours.join("pytest.ini"), PYTEST_INI)
}

fn create(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("create {}: {error}", folder.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("write {}: {error}", file.display()))
}
