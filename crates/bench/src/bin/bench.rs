//! `bench`: what `cargo xtask bench broker` and `cargo xtask bench mirror` start. It runs a table of targets on a build of
//! ours, in turn with a rival if there is one, prints the table and ends with 1 when a target was missed.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use twinstream_bench::judge::report::{Report, RowReport};
use twinstream_bench::targets::Row;
use twinstream_bench::{judge, mirror};

#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    table: Table,
}

#[derive(Subcommand)]
enum Table {
    /// Speed, cost, latency, memory and start of a broker; the rival is `kafka`.
    Broker(TableArguments),
    /// Speed, cost, latency and memory of a worker that mirrors a cluster; the rival is `mm2`.
    Mirror(TableArguments),
}

#[derive(Args)]
struct TableArguments {
    /// The binary of ours to measure; `twinstream` beside this one if nothing is said.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Whom to compare with: the rival by its name, or another binary of ours, which need not meet any target.
    #[arg(long, value_name = "RIVAL|FILE")]
    vs: Option<String>,
    /// Rows to run; all if nothing is said. `list` names them.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Runs of each row on each side; 5 of a broker, 3 of a mirror if nothing is said.
    #[arg(long)]
    pairs: Option<usize>,
    /// Factor on all sizes, for a look in between; verdicts are meant for 1.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where to keep all that was measured; `bench.json` (`bench-mirror.json`) beside this program if nothing is said.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The client program; `load` beside this one if nothing is said.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().table {
        Table::Broker(arguments) => broker(&arguments).await,
        Table::Mirror(arguments) => mirror(&arguments).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            writeln!(std::io::stderr(), "bench: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn broker(arguments: &TableArguments) -> Result<bool> {
    if arguments.asks_for_names() {
        return Ok(list(Row::ALL.map(|row| (row.name(), row.what()))));
    }
    let options = judge::Options {
        rows: arguments.rows(&Row::ALL, Row::name)?,
        pairs: arguments.pairs(judge::PAIRS)?,
        scale: arguments.scale()?,
        ours: arguments.ours()?,
        rival: arguments.rival("kafka", || judge::Kind::Kafka, judge::Kind::Ours)?,
        load: arguments.load()?,
    };
    let report = finished(async move { judge::run(&options, told).await }).await?;
    arguments.keep(&report, "bench.json")
}

async fn mirror(arguments: &TableArguments) -> Result<bool> {
    if arguments.asks_for_names() {
        return Ok(list(mirror::Row::ALL.map(|row| (row.name(), row.what()))));
    }
    let options = mirror::Options {
        rows: arguments.rows(&mirror::Row::ALL, mirror::Row::name)?,
        pairs: arguments.pairs(mirror::PAIRS)?,
        scale: arguments.scale()?,
        ours: arguments.ours()?,
        rival: arguments.rival("mm2", || mirror::Kind::MirrorMaker, mirror::Kind::Ours)?,
        brokers: judge::Kind::Kafka,
        load: arguments.load()?,
    };
    let report = finished(async move { mirror::run(&options, told).await }).await?;
    arguments.keep(&report, "bench-mirror.json")
}

/// Without a terminal nobody looks on.
fn told(row: &RowReport) {
    writeln!(std::io::stderr(), "{}", row.text()).ok();
}

/// In a task of its own, so that an interrupted run still takes brokers and data with it.
async fn finished(run: impl Future<Output = Report> + Send + 'static) -> Result<Report> {
    let mut measuring = tokio::spawn(run);
    tokio::select! {
        report = &mut measuring => report.context("the judge panicked"),
        _ = tokio::signal::ctrl_c() => {
            measuring.abort();
            bail!("interrupted");
        }
    }
}

fn list<const N: usize>(rows: [(&str, &str); N]) -> bool {
    for (name, what) in rows {
        println!("{name:<15} {what}");
    }
    true
}

impl TableArguments {
    fn asks_for_names(&self) -> bool {
        self.rows == ["list"]
    }

    fn rows<R: Copy>(&self, all: &[R], name: impl Fn(R) -> &'static str) -> Result<Vec<R>> {
        let by_name = |wanted: &String| {
            let names = || all.iter().map(|row| name(*row)).collect::<Vec<_>>().join(", ");
            let found = all.iter().copied().find(|row| name(*row) == wanted.as_str());
            found.with_context(|| format!("no row `{wanted}`; there are {}", names()))
        };
        match self.rows.is_empty() {
            true => Ok(all.into()),
            false => self.rows.iter().map(by_name).collect(),
        }
    }

    fn pairs(&self, default: usize) -> Result<usize> {
        match self.pairs.unwrap_or(default) {
            0 => bail!("--pairs must be larger than 0"),
            pairs => Ok(pairs),
        }
    }

    fn scale(&self) -> Result<f64> {
        if !(self.scale.is_finite() && self.scale > 0.0) {
            bail!("--scale must be larger than 0");
        }
        Ok(self.scale)
    }

    fn ours(&self) -> Result<PathBuf> {
        given_or_beside(self.binary.as_deref(), "twinstream")
    }

    fn load(&self) -> Result<PathBuf> {
        given_or_beside(self.load.as_deref(), "load")
    }

    fn rival<K>(&self, name: &str, named: impl Fn() -> K, ours: impl Fn(PathBuf) -> K) -> Result<Option<K>> {
        match self.vs.as_deref() {
            None => Ok(None),
            Some(given) if given == name => Ok(Some(named())),
            Some(path) => Ok(Some(ours(existing(Path::new(path))?))),
        }
    }

    /// Prints the table and keeps all of it; whether it is good.
    fn keep(&self, report: &Report, name: &str) -> Result<bool> {
        println!("{}", report.text());
        let kept = match &self.json {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name(name),
        };
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(&kept, text).with_context(|| format!("write {}", kept.display()))?;
        println!("all that was measured: {}", kept.display());
        Ok(report.is_good())
    }
}

fn given_or_beside(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    match given {
        Some(path) => existing(path),
        None => existing(&std::env::current_exe()?.with_file_name(name)),
    }
}

/// Brokers are started in folders of their own, so a path has to be absolute.
fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| path.display().to_string())
}
