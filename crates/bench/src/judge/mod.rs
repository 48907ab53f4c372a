//! The judge of speed: runs every row on both brokers in turn and holds what came out against the targets.
//!
//! Picture: a row starts a cluster of each [`Side`], lets each run once to get warm, and then runs pairs, first ours and
//! then theirs, in the next pair the other way round. Clients are processes of their own ([`Client`]), so that what they
//! take is known. What a row leaves on the disk is deleted before the other side runs.
//!
//! Invariants: both sides get the same arguments from the same client; a warm-up run is never counted; a run that fails
//! fails the row.

mod client; // the process `load`
mod disk; // what lies on the disk, and what is in the page cache
pub mod report; // rows as text and JSON
mod rows; // what is run
mod side; // a broker under test

use std::path::PathBuf;

pub use client::Client;
use report::{Failure, Report, RowReport};
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

/// Runs all rows; tells each as soon as it is there. A row that fails does not keep the others from running.
pub async fn run(options: &Options, mut tell: impl FnMut(&RowReport)) -> Report {
    let mut report = Report::begin(options);
    for row in options.rows.iter().copied() {
        let own = options.clone();
        // A task of its own, because what goes wrong in a cluster under test panics.
        let found = tokio::spawn(async move { rows::run(row, &own).await }).await;
        match found {
            Ok(Ok(found)) => {
                let found = match options.rival {
                    Some(Kind::Ours(_)) => found.against_another_build(),
                    _ => found,
                };
                tell(&found);
                report.rows.push(found);
            }
            Ok(Err(error)) => report.failures.push(Failure { row: row.name(), reason: format!("{error:#}") }),
            Err(error) => report.failures.push(Failure { row: row.name(), reason: error.to_string() }),
        }
    }
    report
}
