//! What each row runs.

mod cold; // a reader of old data beside a producer
mod groups; // fifteen thousand
mod memory; // resident memory
mod partitions; // ten thousand
mod start; // from a start to an acknowledged record
mod steady; // a load again and again on a running cluster

use anyhow::Result;

use super::Options;
use super::report::{RowReport, Sample};
use crate::targets::Row;

pub(in crate::judge) async fn run(row: Row, options: &Options) -> Result<RowReport> {
    match row {
        Row::Cold => cold::run(options).await,
        Row::Memory => memory::run(options).await,
        Row::Start | Row::Kill => start::run(row, options).await,
        Row::Partitions => partitions::run(options).await,
        Row::Groups => groups::run(options).await,
        steady => steady::run(steady, options).await,
    }
}

/// Samples of both sides.
#[derive(Default)]
struct Samples {
    ours: Vec<Sample>,
    theirs: Vec<Sample>,
}

impl Samples {
    fn report(self, row: Row) -> RowReport {
        RowReport::of(row, self.ours, self.theirs, Vec::new())
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Ours,
    Theirs,
}

/// Who goes first changes with each pair, so that what one leaves behind does not always hit the same other.
pub(crate) fn turns(pair: usize, with_rival: bool) -> &'static [Turn] {
    match (with_rival, pair % 2) {
        (false, _) => &[Turn::Ours],
        (true, 0) => &[Turn::Ours, Turn::Theirs],
        (true, _) => &[Turn::Theirs, Turn::Ours],
    }
}

pub(crate) fn strings<const N: usize>(mode: [&str; N]) -> Vec<String> {
    mode.map(str::to_owned).into()
}
