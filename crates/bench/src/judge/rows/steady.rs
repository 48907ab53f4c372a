//! Rows that put the same load on a running cluster again and again.

use anyhow::{Context, Result};

use super::{Sample, Samples, Turn, strings, turns};
use crate::judge::client::{Client, Topic};
use crate::judge::report::RowReport;
use crate::judge::{Kind, Options, Side};
use crate::load::Run;
use crate::sink::Sink;
use crate::targets::Row;

const READ_TOPIC: &str = "filled";

/// What one row does.
struct Plan {
    row: Row,
    brokers: usize,
    topic: Topic,
    /// What fills the topic before the first run.
    fill: Option<Vec<String>>,
    mode: Vec<String>,
    /// Whether the same client can run against a broker that does nothing, to tell how far it could go.
    ceiling: bool,
}

fn plan(row: Row, options: &Options) -> Plan {
    let kib = options.scaled(2_000_000.0, 20_000.0);
    let produce = |records: u64, more: &[&str]| {
        let mut mode = vec!["produce".to_owned(), "--records".to_owned(), records.to_string()];
        mode.extend(more.iter().map(|text| (*text).to_owned()));
        mode
    };
    let fresh = Topic::fresh("bench");
    let base = |mode: Vec<String>| Plan { row, brokers: 1, topic: fresh.clone(), fill: None, mode, ceiling: true };
    match row {
        Row::Produce3 => base(produce(kib, &["--clients", "3"])),
        Row::Small => base(produce(options.scaled(10_000_000.0, 200_000.0), &["--size", "100"])),
        Row::Lz4 => base(produce(kib, &["--compression", "lz4", "--idempotence"])),
        Row::Requests => {
            let requests = options.scaled(200_000.0, 2_000.0).to_string();
            base(strings(["requests", "--requests", &requests]))
        }
        Row::Commits => {
            let commits = options.scaled(200_000.0, 2_000.0).to_string();
            Plan { ceiling: false, ..base(strings(["commits", "--commits", &commits])) }
        }
        Row::Transactions => {
            let transactions = options.scaled(20_000.0, 500.0).to_string();
            Plan { ceiling: false, ..base(strings(["transactions", "--transactions", &transactions])) }
        }
        Row::Transactional => {
            let transactions = options.scaled(10_000.0, 200.0).to_string();
            base(strings(["transactional", "--transactions", &transactions]))
        }
        Row::Fetch => Plan {
            topic: Topic::kept(READ_TOPIC),
            fill: Some(produce(kib, &[])),
            ceiling: false,
            ..base(strings(["fetch"]))
        },
        Row::Latency => {
            let seconds = (20.0 * options.scale).max(1.0).to_string();
            Plan { ceiling: false, ..base(strings(["trickle", "--rate", "1000", "--seconds", &seconds])) }
        }
        Row::Rf3 => Plan {
            brokers: 3,
            topic: fresh.clone().replicas(3),
            ceiling: false,
            ..base(produce(options.scaled(1_000_000.0, 20_000.0), &["--acks", "all"]))
        },
        _ => base(produce(kib, &[])),
    }
}

pub(super) async fn run(row: Row, options: &Options) -> Result<RowReport> {
    let plan = plan(row, options);
    let client = Client::new(options.load.clone());
    let mut ours = plan.side(&Kind::Ours(options.ours.clone()), &client).await?;
    let mut theirs = match &options.rival {
        Some(kind) => Some(plan.side(kind, &client).await?),
        None => None,
    };
    let mut samples = Samples::default();
    let mut ceiling = Vec::new();
    for pair in 0..options.pairs {
        for turn in turns(pair, theirs.is_some()) {
            let (side, samples) = match turn {
                Turn::Ours => (&mut ours, &mut samples.ours),
                Turn::Theirs => (theirs.as_mut().context("a rival")?, &mut samples.theirs),
            };
            let run = plan.once(side, &client).await?;
            samples.push(Sample { values: values(row, &run)?, runs: vec![run] });
        }
        if plan.ceiling {
            ceiling.push(plan.against_nobody(&client)?);
        }
    }
    Ok(RowReport::of(row, samples.ours, samples.theirs, ceiling))
}

impl Plan {
    /// A cluster that is filled and warm.
    async fn side(&self, kind: &Kind, client: &Client) -> Result<Side> {
        let mut side = Side::start(kind, self.brokers).await;
        if let Some(fill) = &self.fill {
            tokio::task::block_in_place(|| client.run(&mut side, &self.topic, fill))?;
        }
        self.once(&mut side, client).await?;
        Ok(side)
    }

    async fn once(&self, side: &mut Side, client: &Client) -> Result<Run> {
        let run = tokio::task::block_in_place(|| client.run(side, &self.topic, &self.mode))
            .with_context(|| format!("row {}", self.row.name()))?;
        if !self.topic.keep {
            side.wait_deleted().await?;
        }
        Ok(run)
    }

    fn against_nobody(&self, client: &Client) -> Result<Run> {
        tokio::task::block_in_place(|| {
            let sink = Sink::start(self.topic.partitions)?;
            client.start_at(&sink.address(), &[], &self.topic, &self.mode)?.finish()
        })
    }
}

/// In the order of the row's metrics.
fn values(row: Row, run: &Run) -> Result<Vec<f64>> {
    let cpu = run.took.brokers.as_ref().context("processor time of the brokers")?.cpu_seconds;
    Ok(match row {
        Row::Small => vec![cpu / run.million_records(), run.records_per_second()],
        Row::Requests | Row::Commits => {
            let latency = run.acknowledged.context("latencies of requests")?;
            vec![cpu / run.million_records(), run.records_per_second(), latency.p99]
        }
        Row::Transactions | Row::Transactional => {
            let latency = run.acknowledged.context("latencies of transactions")?;
            let (transactions, records) = (latency.count as f64, run.records_per_second());
            let (per_thousand, per_second) = (cpu / (transactions / 1_000.0), transactions / run.took.seconds);
            match row {
                Row::Transactional => vec![per_thousand, records, per_second, latency.p99],
                _ => vec![per_thousand, per_second, latency.p99],
            }
        }
        Row::Latency => {
            let latency = run.end_to_end.context("latencies end to end")?;
            let sent = run.sent.context("latencies of the client's own timer")?;
            vec![latency.p50, latency.p99, latency.p999, sent.p999]
        }
        _ => vec![cpu / run.gigabytes(), run.megabytes_per_second()],
    })
}
