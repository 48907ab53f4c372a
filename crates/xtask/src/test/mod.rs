//! `cargo xtask test`: what CI runs, and what a person runs before a push.
//!
//! Invariants: every step runs even when an earlier one failed, except that nothing is run that could not be built; the
//! last line is the sum of all checks and tests; a test binary that dies without a result counts as a failure.

mod binaries; // one build, and what came out of it
mod judges; // who could not judge, and why
mod outcome; // what libtest printed, as counts

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::command::{cargo, say};
use crate::test::judges::Judges;
use crate::tidy;

/// Checks and tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Counts {
    pub(crate) fn of(good: bool) -> Self {
        Self { passed: good.into(), failed: (!good).into(), skipped: 0 }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

pub(crate) fn run(root: &Path, filter: Option<&str>) -> Result<bool> {
    let mut counts = Counts::default();
    counts.add(step("formatting", || Ok(cargo(root, &["fmt", "--all", "--check"]).status()?.success()))?);
    counts.add(tidy::run(root)?);
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
    counts.add(step("clippy", || Ok(cargo(root, &clippy).status()?.success()))?);

    let judges = Judges::new(root)?;
    match binaries::build(root)? {
        None => counts.add(Counts::of(false)),
        Some(binaries) => {
            for binary in &binaries {
                counts.add(binary.run(filter, &judges)?);
            }
            counts.add(binaries::documentation(root, filter)?);
        }
    }
    judges.list()?;
    say(format!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped));
    Ok(counts.failed == 0)
}

fn step(name: &str, check: impl FnOnce() -> Result<bool>) -> Result<Counts> {
    let start = Instant::now();
    let good = check()?;
    say(format!("{} {name} ({:.1} s)", if good { "ok    " } else { "FAILED" }, start.elapsed().as_secs_f64()));
    Ok(Counts::of(good))
}
