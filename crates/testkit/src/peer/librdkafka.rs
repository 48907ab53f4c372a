//! librdkafka's own test suite, built from the sources that come with the crate `rdkafka-sys`.
//!
//! Picture: the sources are copied into the cache, because neither cargo's registry may change nor librdkafka builds
//! outside of its tree; then its own `configure` and `make`. What comes out is one program, `test-runner`, that knows
//! every test by name ([`LibrdkafkaTests::tests`] reads the names where the program has them from, its `test.c`).
//!
//! Without TLS, SASL and HTTP: what the brokers have no part in needs no library here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use super::{cache, java, missing};

const JUDGE: &str = "librdkafka's test suite";
const INSTALL: &str = "a C and a C++ compiler, make, bash and python3 (Debian: build-essential python3)";
const CONFIGURE: [&str; 4] = ["--disable-ssl", "--disable-gssapi", "--disable-curl", "--disable-lz4-ext"];
/// Where the table of tests begins, and what begins each row of it.
const TABLE: &str = "struct test tests[]";
const ROW: &str = "_TEST(";

/// The program, and the tests that it knows.
#[derive(Clone, Debug)]
pub struct LibrdkafkaTests {
    folder: PathBuf,
    pub tests: Vec<LibrdkafkaTest>,
}

/// A row of the suite's own table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibrdkafkaTest {
    /// As `0030_offset_commit`.
    pub name: String,
    /// Needs no broker.
    pub is_local: bool,
    /// Left out unless it is asked for: it waits for a person, or is known to fail everywhere.
    pub is_left_out: bool,
    /// Needs brokers that do not make topics by themselves.
    pub without_auto_create: bool,
}

impl LibrdkafkaTest {
    /// By which the program selects; several tests may share it.
    pub fn number(&self) -> &str {
        self.name.split('_').next().unwrap_or(&self.name)
    }
}

/// The suite of these sources (a folder `librdkafka`), built once; or the end of the test.
pub fn librdkafka_tests(sources: &Path) -> LibrdkafkaTests {
    let version = match version(sources) {
        Ok(version) => version,
        Err(reason) => missing(JUDGE, &format!("the sources of librdkafka; {reason}")),
    };
    match cache::entry(&entry_name(&version, &CONFIGURE), |folder| build(sources, folder)) {
        Ok(folder) => LibrdkafkaTests::of(folder),
        Err(reason) => missing(JUDGE, &format!("{INSTALL}; {reason}")),
    }
}

impl LibrdkafkaTests {
    fn of(folder: PathBuf) -> Self {
        let file = folder.join("tests/test.c");
        let table = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
        Self { folder, tests: parse_table(&table) }
    }

    /// The program with the libraries that it was built with.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.folder.join("tests/test-runner"));
        let libraries = format!("{}:{}", self.folder.join("src").display(), self.folder.join("src-cpp").display());
        command.env("LD_LIBRARY_PATH", libraries);
        command
    }
}

/// Another version or another way to build it makes a new entry.
fn entry_name(version: &str, configure: &[&str]) -> String {
    format!("librdkafka-{version}-{:08x}", java::fingerprint(&configure.join(" ")))
}

/// `2.12.1` of `#define RD_KAFKA_VERSION 0x020c01ff`.
fn version(sources: &Path) -> Result<String, String> {
    let header = sources.join("src/rdkafka.h");
    let text = std::fs::read_to_string(&header).map_err(|error| format!("{}: {error}", header.display()))?;
    let digits = text.lines().find_map(|line| line.strip_prefix("#define RD_KAFKA_VERSION")?.trim().strip_prefix("0x"));
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let [major, minor, revision, _] =
        number.ok_or_else(|| format!("{}: no RD_KAFKA_VERSION", header.display()))?.to_be_bytes();
    Ok(format!("{major}.{minor}.{revision}"))
}

fn build(sources: &Path, folder: &Path) -> Result<(), String> {
    let threads = format!("-j{}", available_parallelism().map_or(1, usize::from));
    let contents = sources.join(".");
    run(Command::new("cp").arg("-R").arg(contents).arg(folder), "cp")?;
    run(Command::new("./configure").args(CONFIGURE).current_dir(folder), "configure")?;
    run(Command::new("make").arg(&threads).arg("libs").current_dir(folder), "make libs")?;
    run(Command::new("make").arg(&threads).args(["-C", "tests", "test-runner"]).current_dir(folder), "make test-runner")
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    // Flags of the build that we are part of are not for this one.
    for variable in ["MAKEFLAGS", "MFLAGS", "CFLAGS", "CXXFLAGS", "LDFLAGS"] {
        command.env_remove(variable);
    }
    let output = command.output().map_err(|error| format!("{what} does not start ({error})"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{what} failed: {}", cache::last_lines(&output))) }
}

fn parse_table(source: &str) -> Vec<LibrdkafkaTest> {
    let Some((_, table)) = source.split_once(TABLE) else { return Vec::new() };
    let table = table.split_once("{NULL}").map_or(table, |(rows, _)| rows);
    let mut seen = BTreeSet::new();
    let rows = table.split(ROW).skip(1).filter_map(|row| {
        let name = row.split([',', ')']).next()?.trim().to_owned();
        let is_left_out = row.contains("TEST_F_MANUAL") || row.split([',', ')']).nth(1)?.trim() == "TEST_F_KNOWN_ISSUE";
        let without_auto_create = row.contains("\"noautocreate\"");
        Some(LibrdkafkaTest { name, is_local: row.contains("TEST_F_LOCAL"), is_left_out, without_auto_create })
    });
    rows.filter(|test| seen.insert(test.name.clone())).collect()
}

#[cfg(test)]
mod tests;
