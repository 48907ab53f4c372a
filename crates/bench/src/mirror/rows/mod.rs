//! What each row runs.

mod copy; // a topic that is there already
mod latency; // records as they come
mod many; // ten thousand partitions

use anyhow::Result;

use super::Options;
use super::table::Row;
use crate::judge::Outcome;
use crate::judge::report::RowReport;

pub(super) async fn run(row: Row, options: &Options) -> Result<Outcome> {
    match row {
        Row::Latency => latency::run(options).await,
        Row::Many => many::run(options).await,
        Row::Records | Row::Json | Row::FewJson | Row::Single | Row::Aligned => copy::run(row, options).await,
    }
}

fn measured(report: RowReport) -> Outcome {
    Outcome::Measured(Box::new(report))
}
