//! The table of links: how fast, how lean and how prompt a worker of ours mirrors a cluster, beside MirrorMaker 2.
//!
//! Picture: a row starts two clusters ([`site`]) and a worker of each kind ([`maker`]) that mirror from the one to the other, lets
//! each copy once to get warm, and then runs pairs as the table of brokers does. A full topic is copied against the clock
//! ([`copying`]); latencies come from one client process that produces upstream and consumes downstream.
//!
//! Invariants: both workers get the same connector, and copy the same topic; a copy that is not complete, or has a record
//! too many, fails the row; a row that our worker has not what it takes for is told, and no success.
//!
//! Not here: whether what is copied is right (tests of the cli do that).

mod copying; // the clock of a copy
mod maker; // a worker
mod rows; // what is run
mod site; // source and target
mod table; // what is good enough

use std::path::PathBuf;

pub use copying::Copied;
pub use maker::Kind;
pub use table::Row;

use crate::judge::report::{About, Report, RowReport};
use crate::judge::{Kind as Brokers, note};

/// Runs of each row on each side, unless told otherwise.
pub const PAIRS: usize = 3;

#[derive(Clone, Debug)]
pub struct Options {
    pub rows: Vec<Row>,
    pub pairs: usize,
    /// Factor on all sizes, for a look in between; verdicts are meant for 1.
    pub scale: f64,
    pub ours: PathBuf,
    /// MirrorMaker 2, or another binary of ours.
    pub rival: Option<Kind>,
    /// Whose clusters rows copy between that MirrorMaker runs too: Apache Kafka's, but in tests.
    pub brokers: Brokers,
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
        let is_other_build = matches!(options.rival, Some(Kind::Ours(_)));
        note(&mut report, row.name(), is_other_build, async move { rows::run(row, &own).await }, &mut tell).await;
    }
    report
}
