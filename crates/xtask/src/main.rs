//! The dev loop, one word each: `cargo xtask test`, `fmt`, `tidy`, `faults`, `judge`, `bench`, `dashboards`, `dist`,
//! `test-ansible`.
//!
//! Picture: `test` is all that CI runs, in the order in which it costs least to fail: formatting, tidy, clippy, one
//! build, every test, the judges. It ends with one line, `N passed, N failed, N skipped`.
//!
//! A *judge* is a test whose verdict comes from software that is not ours (Apache Kafka, OpenSearch, Python clients,
//! kcat). Where its prerequisite is missing the test says so through the file named by `TWINSTREAM_JUDGES_FILE` and
//! fails; `xtask` counts it as skipped and lists what to install, unless `CI=true`, where it stays a failure.
//!
//! `faults` and every `judge` run for longer than CI would wait: clusters of real processes that are
//! broken on purpose, and a suite of tests that somebody else wrote for Kafka.
//! `judge transactions`, `judge coordinators` and `judge verifiable` hold the books of clients against what brokers have.
//! `judge links` holds the target of a link against its source.
//! `judge applications` runs what Kafka ships as applications (Streams, MirrorMaker 2, Connect).
//! A short selection of the faults is a test of the cli. `bench broker` and `bench mirror` measure a release build against the targets; what
//! is measured inside one process are the `benches/` of single crates (`cargo bench -p twinstream-log`).
//!
//! Not here: what is tested. A rule about the source tree is a file under `tidy/`; everything else is a test of a crate.

mod bench; // speed, beside Apache Kafka
mod command; // running cargo
mod dashboards; // Grafana's boards
mod dist; // packages
mod fuzz; // decoders and bytes that nobody meant
mod test; // the whole loop
mod tidy; // rules about the source tree
mod trials; // faults and measurements on real clusters

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, tidy, clippy, one build, all tests, the judges; ends with one line of counts.
    Test {
        /// Run only tests whose name contains this.
        filter: Option<String>,
    },
    /// Format everything.
    Fmt {
        /// Only tell.
        #[arg(long)]
        check: bool,
    },
    /// The rules about the source tree.
    Tidy,
    /// Breaks clusters under load in ways that the seed chooses, and judges what clients saw.
    Faults(trials::Faults),
    /// Throws bytes at every decoder, as libFuzzer finds them.
    Fuzz(fuzz::Fuzz),
    /// Writes Grafana's boards of `monitoring/dashboards/`.
    Dashboards(dashboards::Dashboards),
    /// Makes a Debian package and a tarball of a release build.
    Dist(dist::Dist),
    /// The playbooks on eight booted hosts, with the time of each step.
    TestAnsible,
    /// Measures, beside Apache Kafka.
    #[command(subcommand)]
    Judge(trials::Judge),
    /// How fast and how lean it is, beside Apache Kafka and MirrorMaker 2.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> anyhow::Result<ExitCode> {
    let root = root();
    let good = match Arguments::parse().task {
        Task::Test { filter } => test::run(&root, filter.as_deref())?,
        Task::Fmt { check } => {
            command::cargo(&root, &["fmt", "--all"]).args(check.then_some("--check")).status()?.success()
        }
        Task::Tidy => tidy::run(&root)?.failed == 0,
        Task::Faults(faults) => faults.run(&root)?,
        Task::Fuzz(fuzz) => fuzz.run(&root)?,
        Task::Dashboards(dashboards) => dashboards.run(&root)?,
        Task::Dist(dist) => dist.run(&root)?,
        Task::TestAnsible => {
            let built = command::cargo(&root, &["build", "-p", "twinstream"]).status()?.success();
            let test = ["test", "-p", "twinstream", "--test", "ansible", "--", "--nocapture", "--test-threads", "1"];
            built && command::cargo(&root, &test).status()?.success()
        }
        Task::Judge(judge) => judge.run(&root)?,
        Task::Bench(bench) => bench.run(&root)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn root() -> PathBuf {
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().and_then(|crates| crates.parent()).map(PathBuf::from).unwrap_or(crate_folder)
}
