//! Compaction, transactions and tombstones under restarts, held against a model.
//!
//! Picture: producers of transactions write keys, values and tombstones into a compacted topic whose cleaner never rests;
//! brokers are killed and stopped meanwhile. The [`model::Model`] knows of every record where it was acknowledged and whether its
//! transaction was committed. Every replica is read again and again, all records and committed ones, and
//! [`model::Model::judge`] says what may not be.
//!
//! What must hold: of each key the last committed record is there, with its value and at its offset; a tombstone stays at
//! least `delete.retention.ms`; what was aborted is never seen by readers of committed records, before and after it was
//! cleaned; no record ever changes its offset, its key or its value.
//!
//! Against our brokers and Apache Kafka's, by the same script.

mod model; // what was written, and what may be read
mod writer; // transactions of keys

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use twinstream_client::RawClient;
use twinstream_model::{NodeId, PartitionIndex, TopicPartition};

use model::Shared;

use super::late::{Of, Protocol};
use super::{Dice, Subject};
use crate::cluster::{Cluster, ClusterOptions};
use crate::operator::{Operator, SETTLES_WITHIN};
use crate::peer;
use crate::reading::{Isolation, Reading, read_partition};
use crate::records::{client_settings, topic_name};

const TOPIC: &str = "compacted";
const PARTITIONS: i32 = 2;
const WRITERS: usize = 4;
/// How long a tombstone stays.
const RETENTION: Duration = Duration::from_secs(4);
const BROKER_SETTINGS: [(&str, &str); 6] = [
    ("log.cleaner.backoff.ms", "100"),
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("log.segment.delete.delay.ms", "100"),
    ("transaction.state.log.num.partitions", "3"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200"),
    ("offsets.topic.num.partitions", "1"),
];
/// A segment a second, and each is cleaned as soon as it is closed.
const TOPIC_SETTINGS: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "1000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("min.compaction.lag.ms", "0"),
    ("delete.retention.ms", "4000"),
];

#[derive(Clone, Debug)]
pub struct Options {
    pub of: Vec<Of>,
    pub size: Size,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub brokers: usize,
    /// Brokers that are killed or stopped, one after the other.
    pub restarts: usize,
    /// Of load before each.
    pub pause: Duration,
}

impl Size {
    pub const SHORT: Self = Self { brokers: 1, restarts: 3, pause: Duration::from_millis(2_500) };
    pub const LONG: Self = Self { brokers: 3, restarts: 20, pause: Duration::from_secs(5) };
}

/// One line of the judge's table.
#[derive(Clone, Debug)]
pub struct Row {
    pub subject: &'static str,
    pub note: String,
    pub faults: Vec<String>,
}

impl Row {
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:<18} {}", if self.is_good() { "ok    " } else { "FAILED" }, self.subject, self.note)?;
        for fault in self.faults.iter().take(20) {
            write!(f, "\n         {fault}")?;
        }
        Ok(())
    }
}

/// One run on each side; whether all that is promised holds.
pub async fn run(options: &Options) -> bool {
    let mut rows = Vec::new();
    for of in &options.of {
        rows.push(compact(*of, options.size, options.seed).await);
    }
    eprintln!("\ncompaction of transactions and tombstones under restarts");
    for row in &rows {
        eprintln!("  {row}");
    }
    rows.iter().all(Row::is_good)
}

/// One run.
pub async fn compact(of: Of, size: Size, seed: u64) -> Row {
    let mut bench = Bench::start(of, size, seed).await;
    let writers = bench.writers();
    for restart in 0..size.restarts {
        tokio::time::sleep(size.pause).await;
        bench.restart(restart).await;
        bench.read_all().await;
    }
    tokio::time::sleep(size.pause).await;
    writers.stop().await;
    bench.finish().await
}

struct Bench {
    subject: Subject,
    operator: Operator,
    client: RawClient,
    model: Shared,
    dice: Dice,
    readings: usize,
    faults: Vec<String>,
}

impl Bench {
    async fn start(of: Of, size: Size, seed: u64) -> Self {
        let subject = match of {
            Of::Ours => {
                let cluster = if size.brokers < 3 { ClusterOptions::default() } else { ClusterOptions::replicated() };
                let cluster = BROKER_SETTINGS.iter().fold(cluster, |options, (name, value)| options.set(name, *value));
                Subject::Ours(Cluster::start_with(size.brokers, cluster).await)
            }
            Of::Kafka => Subject::Kafka(peer::kafka().cluster(size.brokers, &BROKER_SETTINGS).await),
        };
        let bootstrap = subject.bootstrap();
        let operator = Operator::connect(&bootstrap, size.brokers).await;
        let replicas = i16::try_from(size.brokers.min(3)).expect("few brokers");
        operator.create_topic(TOPIC, PARTITIONS, replicas, &TOPIC_SETTINGS).await;
        let client = RawClient::connect(&client_settings(&bootstrap, &[])).await.expect("a broker that answers");
        let (model, dice) = (Shared::default(), Dice::new(seed));
        Self { subject, operator, client, model, dice, readings: 0, faults: Vec::new() }
    }

    fn writers(&mut self) -> writer::Writers {
        let bootstrap = self.subject.bootstrap();
        let seeds = (0..WRITERS).map(|_| self.dice.between(1, u64::MAX - 1)).collect::<Vec<_>>();
        let protocol = |index: usize| if index.is_multiple_of(2) { Protocol::First } else { Protocol::Second };
        let start = |(index, seed): (usize, u64)| (format!("writer-{index}"), protocol(index), Dice::new(seed));
        writer::Writers::start(&bootstrap, TOPIC, PARTITIONS, &self.model, seeds.into_iter().enumerate().map(start))
    }

    /// The leader of a partition dies, or stops in good order.
    async fn restart(&mut self, number: usize) {
        let partition = i32::try_from(number).expect("few restarts") % PARTITIONS;
        let leader = self.operator.leader(TOPIC, partition).await;
        if number.is_multiple_of(2) {
            self.subject.kill(leader);
        } else {
            self.subject.stop(leader).await;
        }
        self.subject.spawn(leader);
        self.subject.wait_for_port(leader).await;
        self.operator.wait_whole(TOPIC, PARTITIONS).await;
    }

    /// Every replica of every partition, in both ways, held against the model as it was before and is after.
    async fn read_all(&mut self) {
        for index in 0..PARTITIONS {
            let replicas = self.operator.partition(TOPIC, index).await.replicas;
            for replica in replicas {
                for isolation in [Isolation::All, Isolation::Committed] {
                    let asked_at = Instant::now();
                    let known = self.model.copy();
                    let reading = self.read(replica, index, isolation).await;
                    let now = self.model.copy();
                    self.readings += 1;
                    let found = now.judge(&known, index, isolation, &reading, asked_at, RETENTION);
                    let place = format!("broker {replica}, partition {index}, {isolation:?}");
                    self.faults.extend(found.into_iter().map(|fault| format!("{place}: {fault}")));
                    // What one replica has shown every other must show, too.
                    self.model.saw(index, &reading).into_iter().for_each(|fault| {
                        self.faults.push(format!("{place}: {fault}"));
                    });
                }
            }
        }
    }

    async fn read(&mut self, replica: usize, index: i32, isolation: Isolation) -> Reading {
        let node = NodeId(i32::try_from(replica).expect("a node"));
        let partition = TopicPartition::new(topic_name(TOPIC), PartitionIndex(index));
        let deadline = Instant::now() + SETTLES_WITHIN;
        loop {
            match read_partition(&self.client, node, &partition, isolation).await {
                Ok(reading) => return reading,
                Err(error) => {
                    assert!(Instant::now() < deadline, "read {partition} from broker {replica}: {error}");
                    if let Ok(client) = RawClient::connect(&client_settings(&self.subject.bootstrap(), &[])).await {
                        self.client = client;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Nobody writes any more: all ends are stable, the logs are clean, and tombstones go when their time is over.
    async fn finish(mut self) -> Row {
        self.operator.wait_whole(TOPIC, PARTITIONS).await;
        self.until_stable().await;
        self.read_all().await;
        self.model.end();
        let (before, after) = self.until_clean().await;
        self.read_all().await;
        let (committed, aborted, tombstones) = self.model.copy().counts();
        let note = format!(
            "{committed} committed records, {tombstones} of them tombstones, {aborted} aborted; {before} left when the \
             writers ended, {after} at last; {} readings",
            self.readings
        );
        if !self.faults.is_empty() {
            self.subject.folder().keep();
        }
        let faults: BTreeSet<String> = self.faults.into_iter().collect();
        Row { subject: self.subject.name(), note, faults: faults.into_iter().collect() }
    }

    async fn until_stable(&mut self) {
        let deadline = Instant::now() + SETTLES_WITHIN;
        for index in 0..PARTITIONS {
            let leader = self.operator.leader(TOPIC, index).await;
            loop {
                let reading = self.read(leader, index, Isolation::Committed).await;
                if reading.last_stable == reading.high_watermark {
                    break;
                }
                if Instant::now() > deadline {
                    let (stable, end) = (reading.last_stable, reading.high_watermark);
                    self.faults.push(format!("partition {index} stays stable up to {stable} of {end}"));
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Writes now and then, since an active segment is never cleaned, until few records are left that are not the last of
    /// their key; how many there were and are.
    async fn until_clean(&mut self) -> (usize, usize) {
        let deadline = Instant::now() + SETTLES_WITHIN;
        let mut first = None;
        let mut rolls = 0;
        loop {
            let mut left = 0;
            let mut surplus = 0;
            for index in 0..PARTITIONS {
                let leader = self.operator.leader(TOPIC, index).await;
                let reading = self.read(leader, index, Isolation::All).await;
                left += reading.records.len();
                surplus += self.model.copy().surplus(index, &reading);
            }
            let before = *first.get_or_insert(left);
            if surplus == 0 {
                return (before, left);
            }
            if Instant::now() > deadline {
                self.faults.push(format!("{surplus} records are still there that were replaced, aborted or deleted"));
                return (before, left);
            }
            rolls += 1;
            let bootstrap = self.subject.bootstrap();
            writer::roll(&bootstrap, TOPIC, PARTITIONS, &self.model, rolls).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }
}
