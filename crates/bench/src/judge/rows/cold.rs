//! A producer alone, and beside a consumer of old data that has to come from the disk.

use anyhow::{Context, Result};

use super::{Sample, Samples, strings};
use crate::judge::client::{Client, Topic};
use crate::judge::disk::evict;
use crate::judge::report::RowReport;
use crate::judge::{Kind, Options, Side};
use crate::load::Run;
use crate::targets::Row;

/// 5 GB of records of 1 KiB.
const RECORDS: f64 = 5_000_000.0;
const ALONE_SECONDS: f64 = 10.0;
/// No disk takes longer for what is read.
const BESIDE_SECONDS_MAX: f64 = 300.0;

/// One side after the other, so that the disk holds the old data only once.
pub(super) async fn run(options: &Options) -> Result<RowReport> {
    let ours = side(&Kind::Ours(options.ours.clone()), options).await?;
    let theirs = match &options.rival {
        Some(kind) => side(kind, options).await?,
        None => Vec::new(),
    };
    Ok(Samples { ours, theirs }.report(Row::Cold))
}

async fn side(kind: &Kind, options: &Options) -> Result<Vec<Sample>> {
    let client = Client::new(options.load.clone());
    let mut side = Side::start(kind, 1).await;
    let records = options.scaled(RECORDS, 50_000.0).to_string();
    tokio::task::block_in_place(|| {
        client.run(&mut side, &Topic::kept("old"), &strings(["produce", "--records", &records]))?;
        trickle(&mut side, &client, options)?; // warm
        (0..options.pairs).map(|_| sample(&mut side, &client, options)).collect()
    })
}

fn sample(side: &mut Side, client: &Client, options: &Options) -> Result<Sample> {
    let alone = trickle(side, client, options)?;
    evict(&side.data(1))?;
    let (cold, read) = beside(side, client)?;
    // The same once more, and nothing has to come from the disk: what the reader takes of the processors is left.
    let (cached, _) = beside(side, client)?;
    let p99 = |run: &Run| Ok::<f64, anyhow::Error>(run.acknowledged.context("latencies")?.p99);
    let (quiet, loud) = (p99(&alone)?, p99(&cold)?);
    let values = vec![quiet, loud, p99(&cached)?, loud / quiet, read.megabytes_per_second()];
    Ok(Sample { values, runs: vec![read, alone, cold, cached] })
}

/// A producer beside a consumer of all the old data; how both went.
fn beside(side: &mut Side, client: &Client) -> Result<(Run, Run)> {
    let seconds = BESIDE_SECONDS_MAX.to_string();
    let mode = ["trickle", "--rate", "1000", "--seconds", &seconds, "--no-consumer", "--on-orders"];
    let mut producer = client.start(side, &Topic::fresh("new"), &strings(mode))?;
    producer.wait_ready()?;
    let read = client.run(side, &Topic::kept("old"), &strings(["fetch"]))?;
    producer.stop();
    Ok((producer.finish()?, read))
}

fn trickle(side: &mut Side, client: &Client, options: &Options) -> Result<Run> {
    let seconds = (ALONE_SECONDS * options.scale).max(1.0).to_string();
    let mode = strings(["trickle", "--rate", "1000", "--seconds", &seconds, "--no-consumer"]);
    client.run(side, &Topic::fresh("new"), &mode)
}
