//! `cargo xtask bench broker`: builds release binaries of the broker and of the crate `bench`, then starts its program
//! `bench`, which knows the rows and the targets. Nothing is decided here but names and defaults.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::command::cargo;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Speed, cost, latency, memory and start of a broker, held against the targets; ends with 1 when one is missed.
    Broker(Broker),
}

#[derive(Args)]
pub(crate) struct Broker {
    /// Whom to take turns with: `kafka`, or another binary of ours, to see what a change did.
    #[arg(long, value_name = "kafka|FILE")]
    vs: Option<String>,
    /// Only these rows; `--rows list` names them.
    #[arg(long)]
    rows: Option<String>,
    /// Runs of each row on each side.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Factor on all sizes, for a look in between; verdicts are meant for 1.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Keep all that was measured in this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn run(&self, root: &Path) -> Result<bool> {
        let Self::Broker(broker) = self;
        broker.run(root)
    }
}

impl Broker {
    fn run(&self, root: &Path) -> Result<bool> {
        let mut build = cargo(root, &["build", "--quiet", "--release", "-p", "twinstream-bench"]);
        if self.binary.is_none() {
            build.args(["-p", "twinstream"]);
        }
        if !build.status()?.success() {
            return Ok(false);
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let release = target.join("release");
        let mut run = std::process::Command::new(release.join("bench"));
        run.arg("--binary").arg(self.binary.clone().unwrap_or_else(|| release.join("twinstream")));
        run.args(["--pairs", &self.pairs.to_string(), "--scale", &self.scale.to_string()]);
        if let Some(vs) = &self.vs {
            run.args(["--vs", vs]);
        }
        match self.rows.as_deref() {
            Some("list") => _ = run.arg("--list"),
            Some(rows) => _ = run.args(["--rows", rows]),
            None => {}
        }
        if let Some(json) = &self.json {
            run.arg("--json").arg(json);
        }
        let status = run.status().with_context(|| format!("start {}", release.join("bench").display()))?;
        Ok(status.success())
    }
}
