//! `bench`: what `cargo xtask bench broker` starts. It runs the table of targets on a broker of ours, in turn with a rival
//! if there is one, prints the table and ends with 1 when a target was missed.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use twinstream_bench::judge::{self, Kind, Options};
use twinstream_bench::targets::Row;

#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    /// The binary of ours to measure; `twinstream` beside this one if nothing is said.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Whom to compare with: `kafka`, or another binary of ours, which need not meet any target.
    #[arg(long, value_name = "kafka|FILE")]
    vs: Option<String>,
    /// Rows to run; all if nothing is said. `list` names them.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Runs of each row on each side.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Factor on all sizes, for a look in between; verdicts are meant for 1.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where to keep all that was measured; `bench.json` beside this program if nothing is said.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The client program; `load` beside this one if nothing is said.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            writeln!(std::io::stderr(), "bench: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool> {
    if arguments.rows == ["list"] {
        for row in Row::ALL {
            println!("{:<15} {}", row.name(), row.what());
        }
        return Ok(true);
    }
    let options = options(&arguments)?;
    let told = |row: &judge::report::RowReport| {
        // Without a terminal nobody looks on.
        writeln!(std::io::stderr(), "{}", row.text()).ok();
    };
    // A task of its own, so that an interrupted run still takes brokers and data with it.
    let mut measuring = tokio::spawn(async move { judge::run(&options, told).await });
    let report = tokio::select! {
        report = &mut measuring => report.context("the judge panicked")?,
        _ = tokio::signal::ctrl_c() => {
            measuring.abort();
            bail!("interrupted");
        }
    };
    println!("{}", report.text());
    let kept = match &arguments.json {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("bench.json"),
    };
    let text = serde_json::to_string_pretty(&report)?;
    std::fs::write(&kept, text).with_context(|| format!("write {}", kept.display()))?;
    println!("all that was measured: {}", kept.display());
    Ok(report.is_good())
}

fn options(arguments: &Arguments) -> Result<Options> {
    if arguments.pairs == 0 || !(arguments.scale.is_finite() && arguments.scale > 0.0) {
        bail!("--pairs and --scale must be larger than 0");
    }
    let rows: Vec<Row> = match arguments.rows.is_empty() {
        true => Row::ALL.into(),
        false => arguments.rows.iter().map(|name| row(name)).collect::<Result<_>>()?,
    };
    let rival = match arguments.vs.as_deref() {
        None => None,
        Some("kafka") => Some(Kind::Kafka),
        Some(path) => Some(Kind::Ours(existing(Path::new(path))?)),
    };
    Ok(Options {
        rows,
        pairs: arguments.pairs,
        scale: arguments.scale,
        ours: given_or_beside(arguments.binary.as_deref(), "twinstream")?,
        rival,
        load: given_or_beside(arguments.load.as_deref(), "load")?,
    })
}

fn given_or_beside(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    match given {
        Some(path) => existing(path),
        None => existing(&std::env::current_exe()?.with_file_name(name)),
    }
}

fn row(name: &str) -> Result<Row> {
    let all = || Row::ALL.map(Row::name).join(", ");
    Row::by_name(name).with_context(|| format!("no row `{name}`; there are {}", all()))
}

/// Brokers are started in folders of their own, so a path has to be absolute.
fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| path.display().to_string())
}
