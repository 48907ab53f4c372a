//! Resident memory: of a broker that nobody has asked anything, of connections that do nothing, and at most under load.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use twinstream_client::NewTopic;
use twinstream_model::{PartitionIndex, TopicName};

use super::{Sample, Samples, Turn, strings, turns};
use crate::judge::client::{Client, Topic};
use crate::judge::report::RowReport;
use crate::judge::{Kind, Options, Side};
use crate::load::topics::Topics;
use crate::proc;
use crate::targets::Row;
use crate::wire::{Wire, now_ms, produce_frame};

/// A broker that has just started still allocates and gives back.
const SETTLE: Duration = Duration::from_secs(3);
const CONNECTIONS: f64 = 5_000.0;
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// Fresh processes for each pair.
pub(super) async fn run(options: &Options) -> Result<RowReport> {
    let mut samples = Samples::default();
    for pair in 0..options.pairs {
        for turn in turns(pair, options.rival.is_some()) {
            match turn {
                Turn::Ours => samples.ours.push(sample(&Kind::Ours(options.ours.clone()), options).await?),
                Turn::Theirs => {
                    samples.theirs.push(sample(options.rival.as_ref().context("a rival")?, options).await?);
                }
            }
        }
    }
    Ok(samples.report(Row::Memory))
}

async fn sample(kind: &Kind, options: &Options) -> Result<Sample> {
    let client = Client::new(options.load.clone());
    let mut side = Side::start(kind, 1).await;
    tokio::time::sleep(SETTLE).await;
    let idle = resident(&mut side)?;
    tokio::task::block_in_place(|| {
        // Before the load, or connections would live in memory that it left behind.
        let connection = idle_connections(&mut side, options.scaled(CONNECTIONS, 50.0))?;
        let topic = Topic::kept("bench");
        let records = options.scaled(1_000_000.0, 20_000.0).to_string();
        let requests = options.scaled(50_000.0, 1_000.0).to_string();
        let runs = vec![
            client.run(&mut side, &topic, &strings(["produce", "--records", &records, "--clients", "3"]))?,
            client.run(&mut side, &topic, &strings(["fetch"]))?,
            client.run(&mut side, &topic, &strings(["requests", "--requests", &requests]))?,
        ];
        let peaks = runs.iter().filter_map(|run| run.took.brokers.as_ref()).map(|brokers| brokers.peak_bytes);
        let loaded = peaks.max().context("memory of the broker")?;
        Ok(Sample { values: vec![idle as f64 / 1e6, loaded as f64 / 1e6, connection / 1e3], runs })
    })
}

fn resident(side: &mut Side) -> Result<u64> {
    let pid = *side.pids().first().context("a broker")?;
    Ok(proc::memory(pid).with_context(|| format!("memory of process {pid}"))?.resident)
}

/// Bytes for each of so many connections that have produced once and then do nothing.
fn idle_connections(side: &mut Side, count: u64) -> Result<f64> {
    allow_files(count + 1_000)?;
    let topic = TopicName::parse("idle")?;
    let topics = Topics::connect(&side.settings()?)?;
    topics.ensure(&NewTopic::new(topic.clone(), 1, 1))?;
    let address = topics.leaders(&topic, 1)?.remove(0);
    let frame = produce_frame(&topic, PartitionIndex(0), 1, &[b"hello"], now_ms())?;
    let connect = || Wire::until_acknowledged(&address, &frame, PAUSE, CONNECT_WITHIN);
    let _first = connect()?; // what only the first one needs is not counted
    let before = resident(side)?;
    let open: Vec<Wire> = (0..count).map(|_| connect()).collect::<Result<_>>()?;
    let after = resident(side)?;
    let each = after.saturating_sub(before) as f64 / open.len() as f64;
    Ok(each)
}

/// Raises the soft limit of open files as far as needed.
fn allow_files(count: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < count) {
        bail!("{count} open files are needed, the hard limit is {maximum:?}; raise it with `ulimit -Hn`");
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })?)
}
