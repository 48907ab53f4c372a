//! Ten thousand partitions on one broker: made, written to, stopped, started. Ours only: Kafka maps two index files for
//! each, and runs into the limits of an ordinary machine.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twinstream_client::NewTopic;
use twinstream_model::{PartitionIndex, TopicName};

use super::{Sample, Samples};
use crate::judge::report::RowReport;
use crate::judge::{Kind, Options, Side};
use crate::load::topics::Topics;
use crate::proc;
use crate::targets::Row;
use crate::wire::{Wire, now_ms, produce_frame};

const PARTITIONS: f64 = 10_000.0;
const PARTITIONS_PER_TOPIC: u64 = 1_000;
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(1);

/// One life is enough for a bound that is far from chance, so the pairs of other rows do not count here.
pub(super) async fn run(options: &Options) -> Result<RowReport> {
    let mut side = Side::start(&Kind::Ours(options.ours.clone()), 1).await;
    let address = side.bootstrap();
    let mut left = options.scaled(PARTITIONS, 20.0);
    let start = Instant::now();
    let mut names = Vec::new();
    tokio::task::block_in_place(|| -> Result<()> {
        let topics = Topics::connect(&side.settings()?)?;
        while left > 0 {
            let count = left.min(PARTITIONS_PER_TOPIC);
            left -= count;
            let name = TopicName::parse(&format!("many-{}", names.len()))?;
            let count = i32::try_from(count).context("number of partitions")?;
            topics.create(&NewTopic::new(name.clone(), count, 1))?;
            names.push((name, count));
        }
        Ok(())
    })?;
    tokio::task::block_in_place(|| acknowledge(&address, &names))?;
    let created = start.elapsed();
    let (resident, files) = taken(&mut side)?;
    side.stop().await;
    let start = Instant::now();
    side.spawn();
    tokio::task::block_in_place(|| acknowledge(&address, &names))?;
    let started = start.elapsed();
    let (resident_after, files_after) = taken(&mut side)?;
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    let values = vec![millis(created), resident, files, millis(started), resident_after, files_after];
    Ok(Samples { ours: vec![Sample { values, runs: Vec::new() }], theirs: Vec::new() }.report(Row::Partitions))
}

/// One record in every partition, so that each has been opened and has a file that is written to.
fn acknowledge(address: &str, names: &[(TopicName, i32)]) -> Result<()> {
    let mut open: Option<Wire> = None;
    for (name, partitions) in names {
        for partition in 0..*partitions {
            let frame = produce_frame(name, PartitionIndex(partition), -1, &[b"hello"], now_ms())?;
            open = Some(Wire::until_acknowledged_on(open.take(), address, &frame, PAUSE, ACKNOWLEDGED_WITHIN)?);
        }
    }
    Ok(())
}

/// Megabytes in memory, and open files.
fn taken(side: &mut Side) -> Result<(f64, f64)> {
    let pid = *side.pids().first().context("a broker")?;
    let memory = proc::memory(pid).context("memory of the broker")?;
    let files = proc::open_files(pid).context("open files of the broker")?;
    Ok((memory.resident as f64 / 1e6, files as f64))
}
