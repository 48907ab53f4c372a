//! Writes and flushes of one broker that fail, by a small library that is loaded before the C library.
//!
//! Picture: the library looks for files in a folder of rules whenever the process writes or flushes; the test makes and
//! removes them while the broker runs. It is written in C (`shim.c`), and built by the test with the machine's compiler.
//!
//! Invariants: only files below the broker's data folder are concerned; without a rule nothing differs but the time of a
//! look at a folder.
//!
//! Needs a C compiler; without it the test ends as it does for want of a judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peer::missing;

/// What the judge is called when it cannot run.
const JUDGE: &str = "write faults";
const INSTALL: &str = "a C compiler (Debian: apt-get install gcc libc6-dev)";
const SOURCE: &str = include_str!("shim.c");

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Every flush fails with EIO.
    FsyncFails,
    /// Flushes of some files do not come to an end; see [`Shim::hold_flushes`].
    FlushHangs,
    /// Writes take half of their bytes, and are interrupted now and then.
    WritesShort,
    /// Writes take half of their bytes, and then there is no room.
    WritesFull,
}

impl Rule {
    fn file(self) -> &'static str {
        match self {
            Self::FsyncFails => "fsync-fails",
            Self::FlushHangs => "flush-hangs",
            Self::WritesShort => "writes-short",
            Self::WritesFull => "writes-full",
        }
    }

    /// The file with a byte for each time.
    fn count_file(self) -> &'static str {
        match self {
            Self::FsyncFails => "fsync-failed",
            Self::FlushHangs => "flush-held",
            Self::WritesShort => "write-halved",
            Self::WritesFull => "write-refused",
        }
    }
}

/// The faults of one broker.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    rules: PathBuf,
    below: PathBuf,
}

impl Shim {
    /// Builds the library into `folder`, for files below `below`; or the end of the test.
    pub(crate) fn new(folder: &Path, below: &Path) -> Self {
        let shim = Self { library: folder.join("shim.so"), rules: folder.join("rules"), below: below.to_owned() };
        fs::create_dir_all(&shim.rules).unwrap_or_else(|error| panic!("create {}: {error}", shim.rules.display()));
        let source = folder.join("shim.c");
        fs::write(&source, SOURCE).unwrap_or_else(|error| panic!("write {}: {error}", source.display()));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&shim.library)
            .arg(&source)
            .arg("-ldl")
            .output();
        match built {
            Ok(output) if output.status.success() => shim,
            Ok(output) => missing(JUDGE, &format!("{INSTALL}; cc: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => missing(JUDGE, &format!("{INSTALL}; cc: {error}")),
        }
    }

    /// Lets a process be concerned from its start on.
    pub(crate) fn govern(&self, command: &mut Command) {
        let below = fs::canonicalize(&self.below).unwrap_or_else(|_| self.below.clone());
        command.env("LD_PRELOAD", &self.library).env("SHIM_RULES", &self.rules).env("SHIM_BELOW", below);
    }

    /// From now on this goes wrong.
    pub fn begin(&self, rule: Rule) {
        self.write(rule, "");
    }

    /// From now on flushes hang, of files whose path holds `part`; until [`Rule::FlushHangs`] ends.
    pub fn hold_flushes(&self, part: &str) {
        self.write(Rule::FlushHangs, part);
    }

    /// In one step, so that no half of it is read.
    fn write(&self, rule: Rule, text: &str) {
        let (file, new) = (self.rules.join(rule.file()), self.rules.join("new"));
        fs::write(&new, text).unwrap_or_else(|error| panic!("write {}: {error}", new.display()));
        fs::rename(&new, &file).unwrap_or_else(|error| panic!("rename {}: {error}", new.display()));
    }

    /// Does not go wrong any more.
    pub fn end(&self, rule: Rule) {
        let file = self.rules.join(rule.file());
        fs::remove_file(&file).unwrap_or_else(|error| panic!("remove {}: {error}", file.display()));
    }

    /// How often it went wrong.
    pub fn count(&self, rule: Rule) -> u64 {
        fs::metadata(self.rules.join(rule.count_file())).map_or(0, |file| file.len())
    }
}
