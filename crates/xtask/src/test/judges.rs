//! Judges that could not run.
//!
//! The contract with `testkit::peer`: `TWINSTREAM_JUDGES_FILE` names a file to which a test appends one line
//! `executable<TAB>test<TAB>judge<TAB>what to install` before it fails for want of a judge. The test fails in any case,
//! so a plain `cargo test` never passes silently; only here, and only without `CI=true`, it becomes "skipped".

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::say;

const VARIABLE: &str = "TWINSTREAM_JUDGES_FILE";

pub(super) struct Judges {
    folder: PathBuf,
    file: PathBuf,
    strict: bool,
}

impl Judges {
    pub(super) fn new(root: &Path) -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = target.join("xtask-test");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let file = folder.join("judges-missing.tsv");
        fs::write(&file, "").with_context(|| format!("write {}", file.display()))?;
        let strict = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        Ok(Self { folder, file, strict })
    }

    /// Where the output of test binaries is kept.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn announce(&self, command: &mut Command) {
        command.env(VARIABLE, &self.file);
    }

    /// Tests of one binary that are excused.
    pub(super) fn missing_in(&self, executable: &Path) -> Result<Vec<String>> {
        if self.strict {
            return Ok(Vec::new());
        }
        let executable = executable.to_string_lossy();
        let mut tests: Vec<String> =
            self.rows()?.into_iter().filter(|row| row[0] == executable).map(|row| row[1].clone()).collect();
        tests.sort();
        tests.dedup();
        Ok(tests)
    }

    /// Prints each judge that did not run, once, with what to install.
    pub(super) fn list(&self) -> Result<()> {
        let judges: BTreeMap<String, String> =
            self.rows()?.into_iter().map(|[_, _, judge, install]| (judge, install)).collect();
        if !judges.is_empty() {
            say("\njudges that did not run:");
        }
        for (judge, install) in &judges {
            say(format!("  {judge}: {install}"));
        }
        if self.strict && !judges.is_empty() {
            say("with CI=true that is a failure; .ci/run installs what is missing on Debian");
        }
        Ok(())
    }

    fn rows(&self) -> Result<Vec<[String; 4]>> {
        let text = fs::read_to_string(&self.file).with_context(|| format!("read {}", self.file.display()))?;
        let rows = text.lines().filter_map(|line| {
            let columns: Vec<String> = line.split('\t').map(str::to_owned).collect();
            columns.try_into().ok()
        });
        Ok(rows.collect())
    }
}
