//! Load: producers and readers that keep a history while things break around them.
//!
//! Picture: a [`Load`] is a handful of tasks that run until it is stopped. Two kinds of producers and of readers, so that
//! no mistake of one client hides a mistake of the cluster: librdkafka ([`native`]) and our raw client ([`raw`], [`reader`]),
//! which numbers, retries and filters its batches itself. All producers are idempotent and keep their order; every value is
//! sent once. With a [`TransactionLoad`] there are producers of transactions in both protocols ([`transactions`]), readers of
//! both isolation levels, and groups of both protocols ([`member`]). When all is healed, [`last_reading`] reads everything
//! once more with both clients.
//!
//! Invariants: what is in flight is bounded; a producer that gives up notes "unknown" unless it is certain; one whose
//! identity is used up goes on as a new worker, because order is promised per worker.

mod author; // of transactions, noted
mod filler; // until the disk is full
mod last_reading; // after all is healed
mod member; // of a group
mod native; // librdkafka
mod probe; // is it writable?
mod raw; // our own client
mod reader; // our own client reads
mod rival; // a producer of transactions in a process of its own
mod transactions; // many, one after the other
mod transactor; // one, step by step

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use twinstream_client::protocol::batch::Record;
use twinstream_model::{PartitionIndex, TopicPartition};

use crate::checker::Counts;
use crate::history::{Recorder, Value, What, Worker};
use crate::records::topic_name;

pub use author::Author;
pub use filler::Filler;
pub use last_reading::last_reading;
pub use probe::{probe, probe_all};
pub use rival::{Rival, RivalEnd, Rivalry, be_rival_if_told};
pub use transactor::{Fence, Identity, Line, Protocol, Refusal, Transactor};

/// How long producers get for what they have in flight when the load is stopped.
const DRAIN_WITHIN: Duration = Duration::from_secs(130);

/// What runs against a topic.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    pub topic: String,
    pub partitions: i32,
    /// Records per second of librdkafka's producer, over all partitions; 0 for none.
    pub native_rate: u32,
    /// Settings of librdkafka's producer.
    pub native_settings: Vec<(String, String)>,
    /// Whether our raw client produces, too: one producer a partition, one batch in flight each.
    pub raw: bool,
    /// Whether readers of both kinds run along.
    pub readers: bool,
    /// Producers and readers of transactions, if there are any.
    pub transactions: Option<TransactionLoad>,
}

/// Producers of transactions.
#[derive(Clone, Copy, Debug)]
pub struct TransactionLoad {
    /// So many in each protocol.
    pub producers: usize,
    /// After which their coordinator ends a transaction.
    pub timeout: Duration,
    /// Of each of two groups, one in each protocol of groups.
    pub members: usize,
}

impl TransactionLoad {
    /// With fewer committed or aborted ones there is no verdict.
    pub(crate) const COMMITTED_MIN: usize = 20;
    pub(crate) const ABORTED_MIN: usize = 3;

    /// Of both protocols.
    pub(crate) fn all_producers(&self) -> usize {
        2 * self.producers
    }

    /// One in each protocol of groups, if there are members.
    pub(crate) fn groups(&self) -> usize {
        if self.members == 0 { 0 } else { 2 }
    }

    /// What has not happened, and without which there is no verdict.
    pub(crate) fn missing(&self, counts: &Counts) -> Vec<String> {
        let Counts { committed, aborted, group_commits, .. } = *counts;
        let mut missing = Vec::new();
        if committed < Self::COMMITTED_MIN || aborted < Self::ABORTED_MIN {
            missing.push(format!("too few transactions for a verdict: {committed} committed, {aborted} aborted"));
        }
        if self.groups() > 0 && group_commits == 0 {
            missing.push("no group committed anything: nothing is known of what they skip".to_owned());
        }
        missing
    }
}

/// What readers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    Committed,
    Uncommitted,
}

impl Isolation {
    fn note(self, recorder: &Recorder, reader: Worker) {
        if self == Self::Uncommitted {
            recorder.note(reader, What::ReadsUncommitted);
        }
    }

    /// As `isolation.level`.
    fn name(self) -> &'static str {
        if self == Self::Committed { "read_committed" } else { "read_uncommitted" }
    }
}

/// How members talk to their coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupProtocol {
    Classic,
    Consumer,
}

impl GroupProtocol {
    /// As `group.protocol`.
    fn name(self) -> &'static str {
        if self == Self::Classic { "classic" } else { "consumer" }
    }

    /// The group of this load that speaks it.
    fn group(self, topic: &str) -> String {
        format!("{topic}-{}", self.name())
    }
}

impl LoadOptions {
    pub fn new(topic: &str, partitions: i32) -> Self {
        let native_settings = quick_settings().map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let topic = topic.to_owned();
        Self { topic, partitions, native_rate: 300, native_settings, raw: true, readers: true, transactions: None }
    }

    /// Mostly transactions, with a few records between them that belong to none.
    pub fn transactional(topic: &str, partitions: i32) -> Self {
        let transactions = TransactionLoad { producers: 2, timeout: Duration::from_secs(10), members: 2 };
        let transactions = Some(transactions);
        Self { native_rate: 20, raw: false, transactions, ..Self::new(topic, partitions) }
    }
}

impl LoadOptions {
    /// Where nothing is uncommitted, all readers see the same.
    fn isolations(&self) -> &'static [Isolation] {
        match self.transactions {
            None => &[Isolation::Committed],
            Some(_) => &[Isolation::Committed, Isolation::Uncommitted],
        }
    }
}

/// Settings with which librdkafka finds a new leader as fast as it can.
pub fn quick_settings() -> [(&'static str, &'static str); 7] {
    [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("linger.ms", "1"),
        ("librdkafka.retry.backoff.ms", "20"),
        ("librdkafka.reconnect.backoff.ms", "20"),
        ("librdkafka.reconnect.backoff.max.ms", "100"),
        ("librdkafka.topic.metadata.refresh.interval.ms", "1000"),
    ]
}

/// Running producers and readers.
#[derive(Debug)]
pub struct Load {
    producing: watch::Sender<bool>,
    producers: JoinSet<()>,
    reading: watch::Sender<bool>,
    readers: JoinSet<()>,
}

impl Load {
    pub fn start(bootstrap: &str, recorder: &Recorder, options: &LoadOptions) -> Self {
        let (producing, stop_producing) = watch::channel(true);
        let (reading, stop_reading) = watch::channel(true);
        let (mut producers, mut readers) = (JoinSet::new(), JoinSet::new());
        let recorder = || recorder.clone();
        let place = || Place { bootstrap: bootstrap.to_owned(), options: options.clone() };
        if options.native_rate > 0 {
            producers.spawn(native::produce(place(), recorder(), stop_producing.clone()));
        }
        if options.raw {
            for partition in 0..options.partitions {
                producers.spawn(raw::produce(place(), partition, recorder(), stop_producing.clone()));
            }
        }
        if options.readers {
            for isolation in options.isolations() {
                readers.spawn(native::read(place(), *isolation, recorder(), stop_reading.clone()));
                readers.spawn(reader::read(place(), *isolation, recorder(), stop_reading.clone()));
            }
        }
        if let Some(load) = options.transactions {
            for number in 0..load.all_producers() {
                let (protocol, running) = (Protocol::ALL[number % 2], stop_producing.clone());
                producers.spawn(transactions::produce(place(), load, number, protocol, recorder(), running));
            }
            for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer].repeat(load.members) {
                readers.spawn(member::read(place(), protocol, recorder(), stop_reading.clone()));
            }
        }
        Self { producing, producers, reading, readers }
    }

    /// Ends producers first, and waits until each knows as much as it ever will; then ends readers.
    pub async fn stop(mut self) {
        self.producing.send_replace(false);
        let drained = tokio::time::timeout(DRAIN_WITHIN, end(&mut self.producers)).await;
        assert!(drained.is_ok(), "producers still have records in flight after {DRAIN_WITHIN:?}");
        self.reading.send_replace(false);
        let ended = tokio::time::timeout(DRAIN_WITHIN, end(&mut self.readers)).await;
        assert!(ended.is_ok(), "readers do not end within {DRAIN_WITHIN:?}");
    }
}

/// Panics with the panic of a task.
async fn end(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Where load goes.
#[derive(Clone, Debug)]
struct Place {
    bootstrap: String,
    options: LoadOptions,
}

impl Place {
    fn partition(&self, index: i32) -> TopicPartition {
        TopicPartition::new(topic_name(&self.options.topic), PartitionIndex(index))
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        (0..self.options.partitions).map(|index| self.partition(index)).collect()
    }
}

/// Numbers the values of one worker.
#[derive(Debug)]
struct Values {
    worker: Worker,
    next: u64,
}

impl Values {
    fn new(recorder: &Recorder) -> Self {
        Self { worker: recorder.worker(), next: 0 }
    }

    fn next(&mut self) -> Value {
        let value = Value { worker: self.worker, number: self.next };
        self.next += 1;
        value
    }
}

fn payload(value: Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// For the timestamps of records, which nobody judges.
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Whether the load goes on.
fn goes_on(running: &watch::Receiver<bool>) -> bool {
    *running.borrow()
}

/// Gathers what a reader got, so that records of one partition that came together are one poll.
#[derive(Default)]
struct Polls {
    partition: i32,
    records: Vec<(i64, Value)>,
}

impl Polls {
    fn take(&mut self, recorder: &Recorder, reader: Worker, partition: i32, offset: i64, bytes: Option<&[u8]>) {
        let text = String::from_utf8_lossy(bytes.unwrap_or_default());
        if self.partition != partition {
            self.note(recorder, reader);
            self.partition = partition;
        }
        match text.parse() {
            Ok(value) => self.records.push((offset, value)),
            Err(_) => {
                self.note(recorder, reader);
                recorder.note(reader, What::Garbage { partition, offset, text: text.into_owned() });
            }
        }
    }

    fn take_record(&mut self, recorder: &Recorder, reader: Worker, partition: i32, record: &Record<'_>) {
        self.take(recorder, reader, partition, record.offset.0, record.value);
    }

    fn note(&mut self, recorder: &Recorder, reader: Worker) {
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            recorder.note(reader, What::Polled { partition: self.partition, records });
        }
    }
}
