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

use model::{Asked, Shared};

use super::late::Of;
use super::{Dice, Subject};
use crate::apart::apart;
use crate::cluster::{Cluster, ClusterOptions};
use crate::load::Protocol;
use crate::operator::{Operator, SETTLES_WITHIN};
use crate::peer;
use crate::reading::{Isolation, Reading, read_partition};
use crate::records::{client_settings, topic_name};
use crate::wait::wait_until;

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
    /// So many have ended before each, and at last.
    pub transactions: usize,
}

impl Size {
    pub const SHORT: Self = Self { brokers: 1, restarts: 3, transactions: 150 };
    pub const LONG: Self = Self { brokers: 3, restarts: 20, transactions: 400 };
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

/// One run on each side; whether all that is promised holds of ours. Kafka's is there to be looked at.
pub async fn run(options: &Options) -> bool {
    let mut rows = Vec::new();
    for of in &options.of {
        let broken = |fault| Row { subject: of.name(), note: String::new(), faults: vec![fault] };
        rows.push(apart(compact(*of, options.size, options.seed)).await.unwrap_or_else(broken));
    }
    eprintln!("\ncompaction of transactions and tombstones under restarts");
    for row in &rows {
        eprintln!("  {row}");
    }
    rows.iter().filter(|row| row.subject == Subject::OURS).all(Row::is_good)
}

/// One run.
pub async fn compact(of: Of, size: Size, seed: u64) -> Row {
    let mut bench = Bench::start(of, size, seed).await;
    let writers = bench.writers();
    for restart in 0..size.restarts {
        bench.transactions_end(size.transactions).await;
        bench.restart(restart).await;
        bench.read_all(false).await;
    }
    bench.transactions_end(size.transactions).await;
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

    /// Waits until so many more of them have been committed or aborted.
    async fn transactions_end(&self, count: usize) {
        let wanted = self.model.count_ended() + count;
        let what = format!("{count} more transactions end");
        wait_until(&what, SETTLES_WITHIN, || async { self.model.count_ended() >= wanted }).await;
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

    /// Every replica of every partition, in both ways, held against the model as it was before and is after;
    /// `is_whole` when each has everything.
    async fn read_all(&mut self, is_whole: bool) {
        for index in 0..PARTITIONS {
            let replicas = self.operator.partition(TOPIC, index).await.replicas;
            for replica in replicas {
                for isolation in [Isolation::All, Isolation::Committed] {
                    let known = self.model.copy();
                    let reading = self.read(replica, index, isolation).await;
                    // A reading that took long may rightly miss a tombstone that was there when it began.
                    let at = Instant::now();
                    let asked = Asked { partition: index, isolation, at, retention: RETENTION, is_whole };
                    let now = self.model.copy();
                    self.readings += 1;
                    let found = now.judge(&known, &asked, &reading);
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
        // At once: what is cleaned from here on says nothing of what was cleaned under load.
        let (counts, before) = (self.model.copy().counts(), self.left().await);
        self.operator.wait_whole(TOPIC, PARTITIONS).await;
        self.until_stable().await;
        self.read_all(true).await;
        let after = self.until_clean().await;
        self.until_stable().await;
        self.read_all(true).await;
        self.faults.extend(not_tried(counts, before));
        let (committed, aborted, tombstones) = counts;
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

    /// Waits until every replica serves as much as the leader, and nothing of it is open.
    async fn until_stable(&mut self) {
        let deadline = Instant::now() + SETTLES_WITHIN;
        for index in 0..PARTITIONS {
            while let Some(open) = self.what_is_open(index).await {
                if Instant::now() > deadline {
                    self.faults.push(format!("partition {index} does not settle: {open}"));
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn what_is_open(&mut self, index: i32) -> Option<String> {
        let leader = self.operator.leader(TOPIC, index).await;
        let end = self.read(leader, index, Isolation::Committed).await.high_watermark;
        for replica in self.operator.partition(TOPIC, index).await.replicas {
            let reading = self.read(replica, index, Isolation::Committed).await;
            let (stable, high) = (reading.last_stable, reading.high_watermark);
            if (stable, high) != (end, end) {
                return Some(format!("broker {replica} is stable up to {stable} of {high}, the leader has {end}"));
            }
        }
        None
    }

    /// How many records the leaders have.
    async fn left(&mut self) -> usize {
        let mut left = 0;
        for index in 0..PARTITIONS {
            let leader = self.operator.leader(TOPIC, index).await;
            left += self.read(leader, index, Isolation::All).await.records.len();
        }
        left
    }

    /// Writes now and then, since an active segment is never cleaned, until only records are left that are the last of their
    /// key; how many those are.
    async fn until_clean(&mut self) -> usize {
        let deadline = Instant::now() + SETTLES_WITHIN;
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
            if surplus == 0 {
                return left;
            }
            if Instant::now() > deadline {
                self.faults.push(format!("{surplus} records are still there that were replaced, aborted or deleted"));
                return left;
            }
            rolls += 1;
            let bootstrap = self.subject.bootstrap();
            writer::roll(&bootstrap, TOPIC, PARTITIONS, &self.model, rolls).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }
}

/// What did not happen while the writers wrote, so that there is no verdict: `left` records were there when they ended. They
/// share few keys, so a cleaner that kept up has taken by far most of what they wrote.
fn not_tried((committed, aborted, tombstones): (usize, usize, usize), left: usize) -> Vec<String> {
    let played = [("committed record", committed), ("aborted record", aborted), ("tombstone", tombstones)];
    let missing = played.into_iter().filter(|(_, count)| *count == 0);
    let mut faults: Vec<String> = missing.map(|(what, _)| format!("there was no {what}: nothing was tried")).collect();
    let written = committed + aborted;
    if 2 * left >= written {
        faults.push(format!("{left} of {written} records were left when the writers ended: nobody cleaned under load"));
    }
    faults
}

#[cfg(test)]
mod tests;
