//! Many producers behind proxies that hold ends and added partitions by chance, longer than a client waits.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use twinstream_client::raw::kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest,
};
use twinstream_client::raw::kafka_protocol::protocol::Request;
use twinstream_model::{PartitionIndex, TopicPartition};

use super::ledger::{Anomaly, Ledger, Outcome};
use super::producer::{Line, Producer, Protocol, TRY_WITHIN, Trouble};
use super::{Of, Row, Stage};
use crate::faults::Dice;
use crate::nemesis::{Act, Asked, Proxy};
use crate::reading::{Isolation, read_partition};
use crate::records::topic_name;

const TOPIC: &str = "storm";
const PARTITIONS: i32 = 4;
const PRODUCERS: u64 = 6;
/// Of so many requests one is held.
const HELD_OF: u64 = 4;
/// So much longer than its client waits.
const HELD_MS_MAX: u64 = 1_200;
const TRANSACTIONS_WITHIN: Duration = Duration::from_secs(20);
/// What nobody ends is aborted within this time, on a machine that is busy.
const STABLE_WITHIN: Duration = Duration::from_secs(60);

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    pub of: Of,
    pub protocol: Protocol,
    pub brokers: usize,
    pub time: Duration,
    pub seed: u64,
}

impl Storm {
    pub async fn run(self) -> Row {
        let stage = Stage::start(self.of, self.brokers).await;
        let bootstrap = stage.subject.bootstrap();
        stage.create_topic(TOPIC, PARTITIONS).await;
        let mut dice = Dice::new(self.seed);
        for proxy in &stage.proxies {
            hold_some(proxy, Dice::new(dice.between(1, u64::MAX - 1)));
        }
        let until = Instant::now() + self.time;
        let mut workers = JoinSet::new();
        for number in 0..PRODUCERS {
            let worker = Worker {
                id: format!("{}-{number}", self.protocol.name()),
                protocol: self.protocol,
                bootstrap: bootstrap.clone(),
                dice: Dice::new(dice.between(1, u64::MAX - 1)),
                ledger: Ledger::default(),
                fenced: Vec::new(),
            };
            workers.spawn(worker.run(until));
        }
        let (mut ledger, mut anomalies) = (Ledger::default(), Vec::new());
        for worker in workers.join_all().await {
            ledger.extend(worker.ledger);
            anomalies.extend(worker.fenced);
        }
        for proxy in &stage.proxies {
            proxy.calm().await;
        }
        let (seen, hanging) = read_committed(&bootstrap, TOPIC, PARTITIONS).await;
        anomalies.extend(hanging);
        anomalies.extend(ledger.judge(&seen));
        for anomaly in anomalies.iter().take(20) {
            eprintln!("    {anomaly}");
        }
        let held: usize = stage.proxies.iter().map(Proxy::acts).sum();
        let [committed, aborted, unknown] =
            [Outcome::Committed, Outcome::Aborted, Outcome::Unknown].map(|outcome| ledger.count(outcome));
        let note = format!("{held} held; {committed} committed, {aborted} aborted, {unknown} unknown");
        let what = format!("storm of {} s, {PRODUCERS} producers, {} brokers", self.time.as_secs(), self.brokers);
        let promised = self.of == Of::Ours;
        Row { subject: stage.subject.name(), protocol: self.protocol, what, anomalies, promised, note }
    }
}

/// Requests of clients alone: brokers ask each other in newer versions.
fn hold_some(proxy: &Proxy, mut dice: Dice) {
    let kinds = [EndTxnRequest::KEY, AddOffsetsToTxnRequest::KEY, TxnOffsetCommitRequest::KEY];
    proxy.rule(move |Asked { key, version }| {
        let of_client = kinds.contains(&key) || (key == AddPartitionsToTxnRequest::KEY && version < 4);
        if of_client && dice.between(1, HELD_OF) == 1 {
            Act::Hold(TRY_WITHIN + Duration::from_millis(dice.between(1, HELD_MS_MAX)))
        } else {
            Act::Pass
        }
    });
}

/// One producer, alone with its name.
struct Worker {
    id: String,
    protocol: Protocol,
    bootstrap: String,
    dice: Dice,
    ledger: Ledger,
    fenced: Vec<Anomaly>,
}

impl Worker {
    async fn run(mut self, until: Instant) -> Self {
        let mut line = Line::open(&self.bootstrap).await;
        let mut number = 0;
        while Instant::now() < until {
            let begun = Producer::init(&mut line, &self.id, TOPIC, self.protocol, TRANSACTIONS_WITHIN).await;
            let mut producer = begun.unwrap_or_else(|trouble| panic!("{}: {trouble}", self.id));
            while Instant::now() < until {
                number += 1;
                let transaction = format!("{}:{number}", self.id);
                if let Err(trouble) = self.transact(&mut line, &mut producer, &transaction).await {
                    self.fenced.push(Anomaly::Fenced(format!("{transaction}: {trouble}")));
                    break; // the next life aborts what is open
                }
            }
        }
        self
    }

    async fn transact(&mut self, line: &mut Line, producer: &mut Producer, name: &str) -> Result<(), Trouble> {
        let partitions = self.dice.shuffled(&(0..PARTITIONS).collect::<Vec<_>>());
        let count = usize::try_from(self.dice.between(2, 3)).expect("a few");
        let commit = self.dice.between(1, 3) > 1;
        self.ledger.begin(name);
        for partition in &partitions[..count] {
            if self.protocol == Protocol::First {
                producer.add(line, *partition).await?;
            }
            for record in 0..self.dice.between(1, 2) {
                let value = format!("{name}:{partition}:{record}");
                self.ledger.wrote(name, &value);
                producer.write(line, *partition, &value).await?;
            }
        }
        if commit {
            self.ledger.ended(name, Outcome::Unknown);
        }
        producer.end(line, commit).await?;
        self.ledger.ended(name, if commit { Outcome::Committed } else { Outcome::Aborted });
        Ok(())
    }
}

/// All committed values of a topic once nothing is open any more, and what stays open.
pub(super) async fn read_committed(bootstrap: &str, topic: &str, partitions: i32) -> (Vec<String>, Vec<Anomaly>) {
    let line = Line::open(bootstrap).await;
    let (mut seen, mut hanging) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + STABLE_WITHIN;
    for index in 0..partitions {
        let partition = TopicPartition::new(topic_name(topic), PartitionIndex(index));
        loop {
            let leader = line.client().leader(&partition).await.unwrap_or_else(|error| panic!("{error}"));
            let reading = read_partition(line.client(), leader, &partition, Isolation::Committed).await;
            let reading = reading.unwrap_or_else(|error| panic!("read {partition}: {error}"));
            let stable = reading.last_stable == reading.high_watermark;
            if stable || Instant::now() > deadline {
                if !stable {
                    let text = format!("{partition} is stable up to {}", reading.last_stable);
                    hanging.push(Anomaly::Hanging(format!("{text} of {}", reading.high_watermark)));
                }
                seen.extend(reading.records.into_values().filter_map(|record| record.value));
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    (seen, hanging)
}
