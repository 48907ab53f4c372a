//! The judge of speed: runs every row on both brokers in turn and holds what came out against the targets.
//!
//! Picture: a row starts a cluster of each [`Side`], lets each run once to get warm, and then runs pairs, first ours and
//! then theirs, in the next pair the other way round. Clients are processes of their own ([`Client`]), so that what they
//! take is known. What a row leaves on the disk is deleted before the other side runs.
//!
//! Invariants: both sides get the same arguments from the same client; a warm-up run is never counted; a run that fails
//! fails the row.

pub(crate) mod client; // the process `load`
pub(crate) mod disk; // what lies on the disk, and what is in the page cache
pub mod report; // rows as text and JSON
pub(crate) mod rows; // what is run
mod side; // a broker under test

use std::path::PathBuf;

pub use client::Client;
use report::{About, Failure, Report, RowReport};
pub(crate) use side::HEAP;
pub use side::{Kind, Side};

use crate::targets::Row;

#[derive(Clone, Debug)]
pub struct Options {
    pub rows: Vec<Row>,
    pub pairs: usize,
    /// Factor on all sizes, for a look in between; verdicts are meant for 1.
    pub scale: f64,
    pub ours: PathBuf,
    /// Apache Kafka, or another binary of ours.
    pub rival: Option<Kind>,
    /// The client program.
    pub load: PathBuf,
}

impl Options {
    /// So many of something, scaled, but at least this many.
    fn scaled(&self, count: f64, at_least: f64) -> u64 {
        (count * self.scale).max(at_least) as u64
    }
}

/// Runs of each row on each side, unless told otherwise.
pub const PAIRS: usize = 5;

/// Runs all rows; tells each as soon as it is there. A row that fails does not keep the others from running.
pub async fn run(options: &Options, mut tell: impl FnMut(&RowReport)) -> Report {
    let mut report = Report::begin(About {
        ours: options.ours.display().to_string(),
        rival: options.rival.as_ref().map(Kind::name),
        pairs: options.pairs,
        scale: options.scale,
        rows_in_all: Row::ALL.len(),
        pairs_wanted: PAIRS,
    });
    for row in options.rows.iter().copied() {
        let own = options.clone();
        let measured = async move { rows::run(row, &own).await.map(|found| Outcome::Measured(Box::new(found))) };
        let is_other_build = matches!(options.rival, Some(Kind::Ours(_)));
        note(&mut report, row.name(), is_other_build, measured, &mut tell).await;
    }
    report
}

/// What a row came to.
pub(crate) enum Outcome {
    Measured(Box<RowReport>),
    /// What is tried cannot do yet what the row asks for; what is missing.
    NotRun(String),
}

/// Runs one row and writes down what it came to; targets hold beside the rival that they are for, and not beside another
/// build of ours.
pub(crate) async fn note(
    report: &mut Report,
    row: &'static str,
    is_other_build: bool,
    measured: impl Future<Output = anyhow::Result<Outcome>> + Send + 'static,
    tell: &mut impl FnMut(&RowReport),
) {
    let failure = |reason| Failure { row, reason };
    // A task of its own, because what goes wrong in a cluster under test panics.
    match tokio::spawn(measured).await {
        Ok(Ok(Outcome::Measured(found))) => {
            let found = if is_other_build { found.against_another_build() } else { *found };
            tell(&found);
            report.rows.push(found);
        }
        Ok(Ok(Outcome::NotRun(reason))) => report.not_run.push(failure(reason)),
        Ok(Err(error)) => report.failures.push(failure(format!("{error:#}"))),
        Err(error) => report.failures.push(failure(error.to_string())),
    }
}
