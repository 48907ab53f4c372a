//! Records as they come: from when the source has acknowledged one to when a consumer has its copy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Outcome, measured};
use crate::judge::client::{Client, Topic};
use crate::judge::report::{RowReport, Sample};
use crate::judge::rows::{Turn, strings, turns};
use crate::mirror::Options;
use crate::mirror::maker::{Kind, Maker, copy_name};
use crate::mirror::site::{PARTITIONS, SOURCE_TOPIC, Site};
use crate::mirror::table::Row;
use crate::stats::Latency;

const SECONDS: f64 = 20.0;
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn run(options: &Options) -> Result<Outcome> {
    let client = Client::new(options.load.clone());
    let mut site = Site::start(&options.brokers).await?;
    let mut ours = Maker::start(&Kind::Ours(options.ours.clone()), "ours", &site).await;
    let mut theirs = match &options.rival {
        Some(kind) => Some(Maker::start(kind, "theirs", &site).await),
        None => None,
    };
    site.create(SOURCE_TOPIC, PARTITIONS).await?;
    let seconds = (SECONDS * options.scale).max(1.0);
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for pair in 0..=options.pairs {
        for turn in turns(pair, theirs.is_some()) {
            let (maker, samples) = match turn {
                Turn::Ours => (&mut ours, &mut own),
                Turn::Theirs => (theirs.as_mut().context("a rival")?, &mut other),
            };
            let sample = once(&mut site, maker, &client, pair, seconds).await?;
            if pair > 0 {
                samples.push(sample); // the one before has warmed everything
            }
        }
    }
    Ok(measured(RowReport::of(Row::Latency, own, other, Vec::new())))
}

async fn once(site: &mut Site, maker: &mut Maker, client: &Client, run: usize, seconds: f64) -> Result<Sample> {
    let alias = maker.alias(run);
    let copy = copy_name(&alias);
    maker.begin(site, &alias, SOURCE_TOPIC, &[]).await?;
    until_caught_up(site, maker, &alias).await?;
    let (seconds, downstream, pid) = (seconds.to_string(), site.target.bootstrap(), maker.pid().to_string());
    let mode =
        strings(["trickle", "--rate", "1000", "--seconds", &seconds, "--downstream", &downstream, "--copy", &copy]);
    let topic = Topic { partitions: PARTITIONS, ..Topic::kept(SOURCE_TOPIC) };
    let run =
        tokio::task::block_in_place(|| client.start_at(&site.source.bootstrap(), &[pid], &topic, &mode)?.finish())?;
    maker.end(&alias).await?;
    site.forget(&copy).await?;
    let relayed = run.relayed.context("latencies of copies")?;
    let cpu = run.took.brokers.as_ref().context("processor time of the worker")?.cpu_seconds / run.took.seconds;
    let Latency { p50, p99, p999, .. } = relayed;
    Ok(Sample { values: vec![p50 / 1e3, p99 / 1e3, p999 / 1e3, cpu], runs: vec![run] })
}

async fn until_caught_up(site: &Site, maker: &Maker, alias: &str) -> Result<()> {
    let wanted = site.records_at_source().await?;
    let deadline = Instant::now() + CAUGHT_UP_WITHIN;
    while site.records_in_copy(&copy_name(alias)).await?.is_none_or(|records| records < wanted) {
        if Instant::now() >= deadline {
            maker.check(alias).await?;
            bail!("{} has not all {wanted} records after {CAUGHT_UP_WITHIN:?}", copy_name(alias));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
