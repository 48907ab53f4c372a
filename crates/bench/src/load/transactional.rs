//! Transactions of some records each, one after the other from each of several librdkafka producers.
//!
//! Picture: a producer begins a transaction, queues its records, and commits, which waits for their acknowledgements and for the
//! coordinator's answer. The next transaction begins at once, so it also waits for the coordinator where that still ends
//! the one before. Transactional ids are the same in every run: what a coordinator keeps of them does not grow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use twinstream_client::bulk::BulkProducer;
use twinstream_model::PartitionIndex;

use super::produce::Failures;
use super::topics::{Topics, between};
use super::{Run, Target, together};
use crate::payload::{Content, Payloads};
use crate::stats::Latency;

/// Each call about a transaction is done within this time, or the run has failed.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// A transactional id is refused for users of the client, who could not end a transaction with it.
const TRANSACTIONAL_ID: &str = "librdkafka.transactional.id";
/// librdkafka wants it to be no shorter than a record may take (`delivery.timeout.ms`).
const TRANSACTION_TIMEOUT: (&str, &str) = ("librdkafka.transaction.timeout.ms", "120000");

#[derive(Clone, Copy, Debug)]
pub struct Transactional {
    /// Of all producers together.
    pub transactions: u64,
    /// Of each transaction.
    pub records: u64,
    pub size: usize,
    /// Each has its own librdkafka, and its own transactional id.
    pub producers: usize,
    /// Over so many partitions the records of a transaction are spread; over all if nothing is said.
    pub partitions: Option<i32>,
}

/// What all producers send.
#[derive(Clone, Copy)]
struct Plan {
    /// Of the topic.
    partitions: i32,
    /// Of each transaction.
    each: i32,
    records: u64,
    payloads: Payloads,
}

impl Transactional {
    /// Every transaction is committed, and every record is found in the topic afterwards.
    pub fn run(&self, target: &Target, brokers: &[u32]) -> Result<Run> {
        let topics = Topics::connect(&target.settings)?;
        let partitions = i32::try_from(topics.leaders(&target.topic, 1)?.len()).context("number of partitions")?;
        let each = self.partitions.unwrap_or(partitions).clamp(1, partitions);
        let payloads = Payloads::new(Content::Random, self.size);
        let plan = Plan { partitions, each, records: self.records.max(1), payloads };
        let failures = Arc::new(Failures::default());
        let producers: Vec<BulkProducer> =
            (0..self.producers.max(1)).map(|number| warm(target, number, &failures, plan)).collect::<Result<_>>()?;
        let before = topics.ends(&target.topic)?;
        let share = self.transactions / producers.len() as u64;
        let job = |(number, producer)| move || go_on(producer, number as u64 * share, share, plan);
        let (latencies, took) = together("send", producers.into_iter().enumerate().map(job).collect(), brokers)?;
        failures.check()?;
        let latencies: Vec<f64> = latencies.into_iter().flat_map(|(latencies, _)| latencies).collect();
        let records = latencies.len() as u64 * plan.records;
        let found = between(&before, &topics.ends(&target.topic)?);
        if found < records {
            bail!("{records} records were committed, but {} holds {found} more", target.topic);
        }
        Ok(Run {
            records,
            bytes: records * self.size as u64,
            took,
            acknowledged: Latency::of(latencies),
            end_to_end: None,
            relayed: None,
            sent: None,
        })
    }
}

/// A producer that has its id, and whose first transaction has opened all its connections.
fn warm(target: &Target, number: usize, failures: &Arc<Failures>, plan: Plan) -> Result<BulkProducer> {
    let mut target = target.clone();
    target.settings.set(TRANSACTIONAL_ID, &format!("load-{number}"))?;
    target.settings.set(TRANSACTION_TIMEOUT.0, TRANSACTION_TIMEOUT.1)?;
    let producer = failures.producer(&target)?;
    producer.init_transactions(CALL_WITHIN)?;
    let everywhere = u64::from(plan.partitions.unsigned_abs());
    transaction(&producer, 0, Plan { each: plan.partitions, records: everywhere, ..plan })?;
    Ok(producer)
}

/// How long each took, in microseconds. Gives the producer back, so that it is closed when nobody measures any more.
fn go_on(producer: BulkProducer, first: u64, share: u64, plan: Plan) -> Result<(Vec<f64>, BulkProducer)> {
    let mut latencies = Vec::with_capacity(usize::try_from(share).unwrap_or(0));
    for number in first..first + share {
        let begun = Instant::now();
        transaction(&producer, number, plan)?;
        latencies.push(begun.elapsed().as_nanos() as f64 / 1_000.0);
    }
    Ok((latencies, producer))
}

fn transaction(producer: &BulkProducer, number: u64, plan: Plan) -> Result<()> {
    producer.begin_transaction()?;
    for record in 0..plan.records {
        producer.send(plan.partition(number, record), plan.payloads.record(number * plan.records + record), 0)?;
    }
    Ok(producer.commit_transaction(CALL_WITHIN)?)
}

impl Plan {
    /// The first partition changes with each transaction, so that all partitions get their share.
    fn partition(self, transaction: u64, record: u64) -> PartitionIndex {
        let (each, partitions) = (u64::from(self.each.unsigned_abs()), u64::from(self.partitions.unsigned_abs()));
        let index = (transaction % partitions + record % each) % partitions;
        PartitionIndex(i32::try_from(index).unwrap_or(0)) // it is below a number that fits
    }
}

#[cfg(test)]
mod tests;
