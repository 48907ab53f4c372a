//! `cargo xtask bench broker` and `cargo xtask bench mirror`: builds release binaries of ours and of the crate `bench`, then
//! starts its program `bench`, which knows the rows, the targets and all arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::command::cargo;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Speed, cost, latency, memory and start of a broker, held against the targets; ends with 1 when one is missed.
    Broker(Table),
    /// Speed, cost, latency and memory of a worker that mirrors a cluster, likewise; beside MirrorMaker 2 with `--vs mm2`.
    Mirror(Table),
}

#[derive(Args)]
pub(crate) struct Table {
    /// Arguments of the program `bench`, for example `--vs kafka --rows fetch,latency`; `-- --help` tells all. With
    /// `--binary FILE` that one is measured and none is built.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

impl Bench {
    pub(crate) fn run(&self, root: &Path) -> Result<bool> {
        match self {
            Self::Broker(table) => table.run(root, "broker"),
            Self::Mirror(table) => table.run(root, "mirror"),
        }
    }
}

impl Table {
    fn run(&self, root: &Path, name: &str) -> Result<bool> {
        let mut build = cargo(root, &["build", "--quiet", "--release", "-p", "twinstream-bench"]);
        if !self.names_binary() {
            build.args(["-p", "twinstream"]);
        }
        if !build.status()?.success() {
            return Ok(false);
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let bench = target.join("release").join("bench");
        let status = std::process::Command::new(&bench).arg(name).args(&self.arguments).status();
        Ok(status.with_context(|| format!("start {}", bench.display()))?.success())
    }

    fn names_binary(&self) -> bool {
        let text = self.arguments.iter().filter_map(|argument| argument.to_str());
        text.into_iter().any(|argument| argument == "--binary" || argument.starts_with("--binary="))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        bench: Bench,
    }

    fn table(name: &str, line: &[&str]) -> Table {
        match Line::try_parse_from([&["xtask", name], line].concat()).unwrap().bench {
            Bench::Broker(table) | Bench::Mirror(table) => table,
        }
    }

    #[test]
    fn arguments_are_handed_on_as_they_are() {
        for line in [&["--vs", "kafka", "--rows", "fetch,latency"][..], &["--rows", "list"], &["--", "--help"], &[]] {
            let expected: Vec<&str> = line.iter().copied().filter(|argument| *argument != "--").collect();
            assert_eq!(table("broker", line).arguments, expected);
            assert_eq!(table("mirror", line).arguments, expected);
        }
    }

    #[test]
    fn nothing_is_built_where_a_binary_is_named() {
        assert!(table("broker", &["--pairs", "1", "--binary", "x"]).names_binary());
        assert!(table("mirror", &["--binary=x"]).names_binary());
        assert!(!table("broker", &["--vs", "../old/twinstream"]).names_binary());
    }
}
