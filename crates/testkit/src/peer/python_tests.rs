//! Test suites of Python clients, and an environment to run them in.
//!
//! Picture: kafka-python's tests come with its source distribution. Confluent's are in no package, only in its
//! repository; whoever has a checkout of it can name it ([`confluent_kafka_tests`]), and it must be the one that the lists
//! are about, byte by byte ([`check_confluent_checkout`]). What its tests ask for as a user of
//! the same client is asked once more by tests of ours (`judges/confluent-kafka/behaviours`), which run everywhere.
//!
//! Both suites can start brokers of their own, from archives that they download. A file of ours stands for that part
//! (`peers/python`) and tells them of brokers that run already.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
/// What judges and what it calls.
const CONFLUENT_FOLDERS: [&str; 2] = ["tests/common", "tests/integration"];
/// `find tests/common tests/integration -type f -not -path '*/__pycache__/*' | LC_ALL=C sort | xargs sha256sum | sha256sum`
const CONFLUENT_DIGEST: &str = "a50985585bdf5de763d9cd094cffd51878748b1ebea5cc7b2814d4e49f2d7fb5";
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
    if !text.lines().any(|line| line.trim() == format!("version = \"{CONFLUENT_VERSION}\"")) {
        return Err(format!("{} is not a checkout of confluent-kafka-python v{CONFLUENT_VERSION}", folder.display()));
    }
    let found = digest(folder, &CONFLUENT_FOLDERS)?;
    if found == CONFLUENT_DIGEST {
        return Ok(());
    }
    let (folder, folders) = (folder.display(), CONFLUENT_FOLDERS.join(" and "));
    Err(format!("{folders} of {folder} are not as in v{CONFLUENT_VERSION}: {found}, not {CONFLUENT_DIGEST}"))
}

/// The digest of a list of the digests of all files below these folders, but for what Python leaves behind.
fn digest(home: &Path, folders: &[&str]) -> Result<String, String> {
    let mut files = Vec::new();
    for folder in folders {
        add_files(home, Path::new(folder), &mut files)?;
    }
    // By bytes, as `sort` does; paths compare by their parts.
    files.sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    let of_files = sha256sum(Command::new("sha256sum").arg("--").args(&files).current_dir(home), "")?;
    let of_list = sha256sum(&mut Command::new("sha256sum"), &of_files)?;
    Ok(of_list.split(' ').next().unwrap_or_default().to_owned())
}

fn add_files(home: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let tell = |error: std::io::Error| format!("{}: {error}", home.join(folder).display());
    for entry in std::fs::read_dir(home.join(folder)).map_err(tell)? {
        let entry = entry.map_err(tell)?;
        let path = folder.join(entry.file_name());
        match entry.file_type().map_err(tell)?.is_dir() {
            true if entry.file_name() == "__pycache__" => {}
            true => add_files(home, &path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn sha256sum(command: &mut Command, input: &str) -> Result<String, String> {
    let tell = |error: std::io::Error| format!("sha256sum: {error}");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(tell)?;
    // Closed at once, because the program reads it to its end.
    child.stdin.take().into_iter().try_for_each(|mut stdin| stdin.write_all(input.as_bytes())).map_err(tell)?;
    let output = child.wait_with_output().map_err(tell)?;
    if !output.status.success() {
        return Err(format!("sha256sum ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("sha256sum: {error}"))
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

#[cfg(test)]
mod tests;
