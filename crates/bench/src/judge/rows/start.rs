//! From the start of a process to acknowledged records, after a clean stop and after SIGKILL.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twinstream_client::NewTopic;
use twinstream_model::{PartitionIndex, TopicName};

use super::{Sample, Samples, Turn, strings, turns};
use crate::judge::client::{Client, Topic};
use crate::judge::report::RowReport;
use crate::judge::{Kind, Options, Side};
use crate::load::topics::Topics;
use crate::targets::Row;
use crate::wire::{Wire, now_ms, produce_frame};

/// 3 GB of records of 1 KiB.
const RECORDS: f64 = 3_000_000.0;
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(180);
/// Between two tries; short against what is measured.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) async fn run(row: Row, options: &Options) -> Result<RowReport> {
    let mut ours = Side::start(&Kind::Ours(options.ours.clone()), 1).await;
    let mut theirs = match &options.rival {
        Some(kind) => Some(Side::start(kind, 1).await),
        None => None,
    };
    let mut samples = Samples::default();
    for pair in 0..options.pairs {
        for turn in turns(pair, theirs.is_some()) {
            let (side, samples) = match turn {
                Turn::Ours => (&mut ours, &mut samples.ours),
                Turn::Theirs => (theirs.as_mut().context("a rival")?, &mut samples.theirs),
            };
            samples.push(match row {
                Row::Kill => after_kill(side, options).await?,
                _ => after_stop(side).await?,
            });
        }
    }
    Ok(samples.report(row))
}

/// A formatted broker with one topic.
async fn after_stop(side: &mut Side) -> Result<Sample> {
    let topic = TopicName::parse("start")?;
    let address = side.bootstrap();
    tokio::task::block_in_place(|| {
        let topics = Topics::connect(&side.settings()?)?;
        topics.ensure(&NewTopic::new(topic.clone(), 1, 1))?;
        acknowledge(&address, &topic, 1)
    })?;
    side.stop().await;
    let took = restart(side, &address, &topic, 1)?;
    Ok(Sample { values: vec![millis(took)], runs: Vec::new() })
}

/// 3 GB in six partitions, most of them not flushed yet.
async fn after_kill(side: &mut Side, options: &Options) -> Result<Sample> {
    let client = Client::new(options.load.clone());
    let name = format!("kill-{}", now_ms());
    let topic = Topic::kept(&name);
    let records = options.scaled(RECORDS, 20_000.0).to_string();
    let run = tokio::task::block_in_place(|| {
        client.run(side, &topic, &strings(["produce", "--records", &records, "--clients", "3"]))
    })?;
    side.kill();
    let name = TopicName::parse(&name)?;
    let address = side.bootstrap();
    let took = restart(side, &address, &name, topic.partitions)?;
    tokio::task::block_in_place(|| Topics::connect(&side.settings()?)?.delete(&name))?;
    side.wait_deleted().await?;
    Ok(Sample { values: vec![millis(took)], runs: vec![run] })
}

/// The time until all these partitions have acknowledged a record.
fn restart(side: &mut Side, address: &str, topic: &TopicName, partitions: i32) -> Result<Duration> {
    let start = Instant::now();
    side.spawn();
    tokio::task::block_in_place(|| acknowledge(address, topic, partitions))?;
    Ok(start.elapsed())
}

fn acknowledge(address: &str, topic: &TopicName, partitions: i32) -> Result<()> {
    for partition in 0..partitions {
        let frame = produce_frame(topic, PartitionIndex(partition), -1, &[b"hello"], now_ms())?;
        Wire::until_acknowledged(address, &frame, PAUSE, ACKNOWLEDGED_WITHIN)?;
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
