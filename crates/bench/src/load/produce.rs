//! As many records as librdkafka can send: closed by its queue, open by nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use twinstream_client::bulk::{Acknowledged, BulkProducer, Tells};
use twinstream_model::PartitionIndex;

use super::topics::{Topics, between};
use super::{Run, Target, together};
use crate::payload::{Content, Payloads};

/// Everything is acknowledged within this time after the last record was queued, or the run has failed.
const FINISH_WITHIN: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
pub struct Produce {
    /// Of all clients together.
    pub records: u64,
    pub size: usize,
    pub content: Content,
    /// Each has its own librdkafka, so its own connections and threads.
    pub clients: usize,
}

impl Produce {
    /// Sends round robin over all partitions and waits for every acknowledgement.
    pub fn run(&self, target: &Target, brokers: &[u32]) -> Result<Run> {
        let topics = Topics::connect(&target.settings)?;
        let partitions = i32::try_from(topics.leaders(&target.topic, 1)?.len()).context("number of partitions")?;
        let payloads = Payloads::new(self.content, self.size);
        let failures = Arc::new(Failures::default());
        let clients: Vec<BulkProducer> =
            (0..self.clients.max(1)).map(|_| failures.producer(target)).collect::<Result<_>>()?;
        for client in &clients {
            warm_up(client, partitions, payloads)?;
        }
        let before = topics.ends(&target.topic)?;
        let count = clients.len() as u64;
        let share = self.records / count;
        let job = |(index, client): (usize, BulkProducer)| {
            move || send(client, index as u64 * share, share, partitions, payloads)
        };
        let (clients, took) = together("send", clients.into_iter().enumerate().map(job).collect(), brokers)?;
        failures.check()?;
        let sent = share * count;
        let found = between(&before, &topics.ends(&target.topic)?);
        if found < sent {
            bail!("{sent} records were acknowledged, but {} holds {found} more", target.topic);
        }
        Ok(Run {
            records: sent,
            bytes: clients.iter().map(|(_, bytes)| bytes).sum(),
            took,
            acknowledged: None,
            end_to_end: None,
            relayed: None,
            sent: None,
        })
    }
}

/// Opens connections, and lets an idempotent producer get its id.
fn warm_up(client: &BulkProducer, partitions: i32, payloads: Payloads) -> Result<()> {
    for partition in 0..partitions {
        client.send(PartitionIndex(partition), payloads.record(0), 0)?;
    }
    Ok(client.finish(FINISH_WITHIN)?)
}

/// Gives the producer back, so that it is closed when nobody measures any more, and how many bytes it has sent.
fn send(
    client: BulkProducer,
    first: u64,
    share: u64,
    partitions: i32,
    payloads: Payloads,
) -> Result<(BulkProducer, u64)> {
    let (mut partition, mut bytes) = (0, 0);
    for number in first..first + share {
        let record = payloads.record(number);
        client.send(PartitionIndex(partition), record, 0)?;
        bytes += record.len() as u64;
        partition = if partition + 1 == partitions { 0 } else { partition + 1 };
    }
    client.finish(FINISH_WITHIN)?;
    Ok((client, bytes))
}

/// Records that librdkafka gave up.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: AtomicU64,
    first: std::sync::OnceLock<String>,
}

impl Failures {
    pub(super) fn producer(self: &Arc<Self>, target: &Target) -> Result<BulkProducer> {
        let failures = Arc::clone(self);
        let tell = move |acknowledged: Acknowledged| {
            if let Some(error) = acknowledged.error {
                failures.count.fetch_add(1, Ordering::Relaxed);
                failures.first.get_or_init(|| error.to_string());
            }
        };
        Ok(BulkProducer::new(&target.settings, &target.topic, Tells::Failures, tell)?)
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.first.get() {
            None => Ok(()),
            Some(first) => {
                bail!("{} records were not acknowledged; the first: {first}", self.count.load(Ordering::Relaxed))
            }
        }
    }
}
