//! A topic that is full when the link begins, copied as fast as it goes.

use anyhow::{Context, Result};

use super::{Outcome, measured};
use crate::judge::Kind as Brokers;
use crate::judge::client::Client;
use crate::judge::report::{RowReport, Sample};
use crate::judge::rows::{Turn, turns};
use crate::mirror::Options;
use crate::mirror::copying::{Copied, copy};
use crate::mirror::maker::{Kind, Maker};
use crate::mirror::site::{Site, Stored};
use crate::mirror::table::Row;
use crate::stats::Spread;

/// 2 GB.
const RECORDS: f64 = 2_000_000.0;
/// Half a GB of lz4.
const EVENTS: f64 = 5_000_000.0;
/// In as many requests as the records of the row with one each.
const FEW_EVENTS: f64 = 900_000.0;
/// One request each to fill the source with, so not more than this.
const SINGLE_RECORDS: f64 = 300_000.0;
/// Fewer are copied before anybody has looked twice.
const RECORDS_MIN: f64 = 20_000.0;
/// What clients in Java make by default; theirs are the batches that links meet.
const BATCH: &str = "batch.size=16384";
const ONE_RECORD: &str = "librdkafka.batch.num.messages=1";
const THREE_RECORDS: &str = "librdkafka.batch.num.messages=3";
/// The setting that makes a link aligned.
const MODE: &str = "twinstream.link.mode";

struct Plan {
    brokers: Brokers,
    fill: Vec<String>,
    more: &'static [(&'static str, &'static str)],
}

fn plan(row: Row, options: &Options) -> Plan {
    let fill = |set: &str, count: f64, more: &[&str]| {
        let records = options.scaled(count, RECORDS_MIN).to_string();
        let mode = ["-X", set, "produce", "--clients", "2", "--records", &records];
        mode.iter().chain(more).map(|text| (*text).to_owned()).collect()
    };
    let plan = |fill| Plan { brokers: options.brokers.clone(), fill, more: &[] };
    match row {
        Row::Json => plan(fill(BATCH, EVENTS, &["--compression", "lz4", "--content", "events"])),
        Row::FewJson => plan(fill(THREE_RECORDS, FEW_EVENTS, &["--compression", "lz4", "--content", "events"])),
        Row::Single => plan(fill(ONE_RECORD, SINGLE_RECORDS, &[])),
        Row::Aligned => Plan {
            brokers: Brokers::Ours(options.ours.clone()),
            fill: fill(BATCH, RECORDS, &[]),
            more: &[(MODE, "aligned")],
        },
        _ => plan(fill(BATCH, RECORDS, &[])),
    }
}

pub(super) async fn run(row: Row, options: &Options) -> Result<Outcome> {
    let plan = plan(row, options);
    let mut bench = Bench::start(row, &plan, options).await?;
    if row == Row::Aligned && bench.ours.default_of(MODE).await?.is_none() {
        return Ok(Outcome::NotRun(format!("the worker has no setting {MODE}")));
    }
    bench.fill(&Client::new(options.load.clone()), &plan).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..=options.pairs {
        for turn in turns(pair, bench.theirs.is_some()) {
            let copied = bench.once(*turn, pair, plan.more).await?;
            if pair == 0 {
                continue; // nobody is warm yet
            }
            match turn {
                Turn::Ours => ours.push(copied),
                Turn::Theirs => theirs.push(copied),
            }
        }
    }
    Ok(measured(report(row, ours, theirs)))
}

struct Bench {
    // Before the clusters that they live by.
    ours: Maker,
    theirs: Option<Maker>,
    site: Site,
    stored: Stored,
}

impl Bench {
    async fn start(row: Row, plan: &Plan, options: &Options) -> Result<Self> {
        let site = Site::start(&plan.brokers).await?;
        let ours = Maker::start(&Kind::Ours(options.ours.clone()), "ours", &site).await;
        let theirs = match options.rival.as_ref().filter(|_| row.is_compared()) {
            Some(kind) => Some(Maker::start(kind, "theirs", &site).await),
            None => None,
        };
        Ok(Self { ours, theirs, site, stored: Stored { records: 0, bytes: 0 } })
    }

    async fn fill(&mut self, client: &Client, plan: &Plan) -> Result<()> {
        self.stored = self.site.fill(client, &plan.fill).await?;
        Ok(())
    }

    async fn once(&mut self, turn: Turn, run: usize, more: &[(&str, &str)]) -> Result<Copied> {
        let maker = match turn {
            Turn::Ours => &mut self.ours,
            Turn::Theirs => self.theirs.as_mut().context("a rival")?,
        };
        let copied = copy(&mut self.site, maker, run, self.stored, more).await;
        copied.with_context(|| format!("copy {} of {turn:?}", run))
    }
}

fn report(row: Row, ours: Vec<Copied>, theirs: Vec<Copied>) -> RowReport {
    let sample = |copied: &Copied| Sample {
        values: vec![
            copied.megabytes_per_second(),
            copied.cpu_per_gigabyte(),
            copied.records_per_second(),
            copied.worker_peak_bytes as f64 / 1e6,
            copied.stored_downstream as f64 / copied.stored_upstream as f64,
            copied.cpu_per_gigabyte(), // held against a bound where a row has one
        ],
        runs: Vec::new(),
    };
    let samples = |copies: &[Copied]| copies.iter().map(sample).collect();
    let mut report = RowReport::of(row, samples(&ours), samples(&theirs), Vec::new());
    for (name, copies) in [("ours", &ours), ("rival", &theirs)] {
        // The one in the middle by its time.
        let mut by_time: Vec<&Copied> = copies.iter().collect();
        by_time.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        if let Some(middle) = by_time.get(by_time.len() / 2) {
            report.notes.push(format!("{name}: {}", middle.note()));
        }
    }
    report.copies = ours.into_iter().chain(theirs).collect();
    let others: Vec<f64> = report.copies.iter().map(Copied::others).collect();
    report.others = Spread::of(&others).map_or(0.0, |others| others.median);
    report
}
