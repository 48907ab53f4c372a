//! Transactions of many producers, each with some records in one partition, over plain sockets.
//!
//! Picture: each producer has a thread, which writes the records of a transaction as one batch and ends the transaction, one
//! request after the other, in the second protocol (KIP-890): two requests for each transaction. It begins the next one at
//! once, so what the coordinator still has to do for the one before counts: it hears CONCURRENT_TRANSACTIONS until then.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::protocol::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use twinstream_client::protocol::kafka_protocol::messages::{
    EndTxnRequest, InitProducerIdRequest, ProduceRequest, ProducerId as WireProducerId, TransactionalId,
};
use twinstream_client::protocol::kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId, TopicName};

use super::coordinator::{self, Kind, Refused, accepted};
use super::topics::{Topics, between};
use super::{Run, Target, together};
use crate::payload::{Content, Payloads};
use crate::wire::{Wire, frame, now_ms};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long one request may be refused for a reason that passes.
const BUSY_WITHIN: Duration = Duration::from_secs(30);
/// A coordinator that is not done yet is asked again after this time; clients wait longer, and would be the limit.
const PAUSE: Duration = Duration::from_micros(500);
const TIMEOUT_MS: i32 = 60_000;
const INIT_VERSION: i16 = 4;
/// The first versions of the second protocol.
const PRODUCE_VERSION: i16 = 12;
const END_VERSION: i16 = 5;

#[derive(Clone, Copy, Debug)]
pub struct Transactions {
    /// Of all producers together.
    pub transactions: u64,
    pub producers: usize,
    /// Of each transaction.
    pub records: usize,
    pub size: usize,
}

struct Producer {
    transactional_id: StrBytes,
    topic: TopicName,
    partition: i32,
    leader: Wire,
    coordinator: Wire,
    id: ProducerId,
    epoch: ProducerEpoch,
}

impl Transactions {
    pub fn run(&self, target: &Target, brokers: &[u32]) -> Result<Run> {
        let topics = Topics::connect(&target.settings)?;
        let leaders = topics.leaders(&target.topic, 1)?;
        let payloads = Payloads::new(Content::Random, self.size);
        let records: Vec<&[u8]> = (0..self.records.max(1)).map(|number| payloads.record(number as u64)).collect();
        let mut producers = Vec::new();
        for number in 0..self.producers.max(1) {
            let mut producer = Producer::start(&leaders, number, &target.topic)?;
            producer.transact(&records)?;
            producers.push(producer);
        }
        let before = topics.ends(&target.topic)?;
        let share = self.transactions / producers.len() as u64;
        let jobs = producers.into_iter().map(|producer| {
            let records = &records;
            move || producer.run(share, records)
        });
        let (latencies, took) = together("producer", jobs.collect(), brokers)?;
        let latencies: Vec<f64> = latencies.into_iter().flatten().collect();
        let count = (latencies.len() * records.len()) as u64;
        let found = between(&before, &topics.ends(&target.topic)?);
        if found < count {
            bail!("{count} records were committed, but {} holds {found} more", target.topic);
        }
        let bytes = count * self.size as u64;
        Ok(Run::of_requests(count, bytes, took, latencies))
    }
}

impl Producer {
    fn start(leaders: &[String], number: usize, topic: &TopicName) -> Result<Producer> {
        let transactional_id = StrBytes::from_string(format!("load-{}-{number}", std::process::id()));
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(transactional_id.clone())))
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id(WireProducerId(-1))
            .with_producer_epoch(-1);
        let init = frame(&init, INIT_VERSION)?;
        let (coordinator, answer) = coordinator::ask(&leaders[0], Kind::Transaction, &transactional_id, |wire| {
            wire.send(&init)?;
            let answer = wire.answer::<InitProducerIdRequest>(INIT_VERSION)?;
            accepted(answer.error_code).map(|()| answer)
        })?;
        let index = number % leaders.len();
        Ok(Producer {
            transactional_id,
            topic: topic.clone(),
            partition: i32::try_from(index).context("number of partitions")?,
            leader: Wire::connect(&leaders[index], CONNECT_WITHIN)?,
            coordinator,
            id: ProducerId(answer.producer_id.0),
            epoch: ProducerEpoch(answer.producer_epoch),
        })
    }

    /// How long each transaction took, in microseconds.
    fn run(mut self, transactions: u64, records: &[&[u8]]) -> Result<Vec<f64>> {
        let mut latencies = Vec::with_capacity(usize::try_from(transactions).unwrap_or(0));
        for _ in 0..transactions {
            let began = Instant::now();
            self.transact(records)?;
            latencies.push(began.elapsed().as_nanos() as f64 / 1_000.0);
        }
        Ok(latencies)
    }

    fn transact(&mut self, records: &[&[u8]]) -> Result<()> {
        let produce = frame(&self.produce(records)?, PRODUCE_VERSION)?;
        patiently(|| {
            self.leader.send(&produce)?;
            let answer = self.leader.answer::<ProduceRequest>(PRODUCE_VERSION)?;
            let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            partitions.try_for_each(|partition| accepted(partition.error_code))
        })?;
        let end = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(self.transactional_id.clone()))
            .with_producer_id(WireProducerId(self.id.0))
            .with_producer_epoch(self.epoch.0)
            .with_committed(true);
        let end = frame(&end, END_VERSION)?;
        let next = patiently(|| {
            self.coordinator.send(&end)?;
            let answer = self.coordinator.answer::<EndTxnRequest>(END_VERSION)?;
            accepted(answer.error_code)?;
            Ok((ProducerId(answer.producer_id.0), ProducerEpoch(answer.producer_epoch)))
        })?;
        (self.id, self.epoch) = next;
        Ok(())
    }

    /// Each transaction has an epoch of its own, so sequences begin at 0.
    fn produce(&self, records: &[&[u8]]) -> Result<ProduceRequest> {
        let stamp = ProducerStamp { id: self.id, epoch: self.epoch, base_sequence: 0 };
        let mut batch = BatchBuilder::new().with_producer(stamp).with_transactional();
        let timestamp = now_ms();
        for record in records {
            batch.append(timestamp, None, Some(record), []);
        }
        let data =
            PartitionProduceData::default().with_index(self.partition).with_records(Some(Bytes::from(batch.build()?)));
        let name = StrBytes::from_string(self.topic.as_str().to_owned());
        let topic = TopicProduceData::default().with_name(name.into()).with_partition_data(vec![data]);
        Ok(ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(self.transactional_id.clone())))
            .with_acks(-1)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(vec![topic]))
    }
}

/// Asks again while the transaction before is being ended, or while the leader of a new topic does not know that it leads.
fn patiently<T>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + BUSY_WITHIN;
    loop {
        match ask() {
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    const BUSY: [ErrorCode; 5] = [
        ErrorCode::ConcurrentTransactions,
        ErrorCode::NotEnoughReplicas,
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::UnknownTopicOrPartition,
    ];
    error.downcast_ref::<Refused>().is_some_and(|Refused(code)| BUSY.contains(code))
}
