//! Many producers behind proxies that hold ends and added partitions by chance, longer than a client waits.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use twinstream_client::raw::kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest,
};
use twinstream_client::raw::kafka_protocol::protocol::Request;
use twinstream_client::{ClientError, RawClient};
use twinstream_model::TopicPartition;

use super::ledger::{Anomaly, Ledger, Outcome, Seen};
use super::{Of, Row, Stage, TRY_WITHIN, partition};
use crate::faults::Dice;
use crate::load::{Protocol, Refusal, Transactor};
use crate::nemesis::{Act, Asked, Proxy};
use crate::reading::{Isolation, Reading, read_partition};
use crate::records::client_settings;
use crate::wait::wait_until_some;

const TOPIC: &str = "storm";
const PARTITIONS: i32 = 4;
const PRODUCERS: u64 = 6;
/// Of so many requests one is held.
const HELD_OF: u64 = 4;
/// So much longer than its client waits.
const HELD_MS_MAX: u64 = 1_200;
const TRANSACTIONS_WITHIN: Duration = Duration::from_secs(20);
/// Of each producer, however slow the machine is.
const TRANSACTIONS_MIN: u64 = 5;
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
                troubles: Vec::new(),
            };
            workers.spawn(worker.run(until));
        }
        let (mut ledger, mut anomalies) = (Ledger::default(), Vec::new());
        for worker in workers.join_all().await {
            ledger.extend(worker.ledger);
            anomalies.extend(worker.troubles);
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
        let row = Row::new(self.of, self.protocol, what, self.of == Of::Ours, anomalies);
        let idle = held == 0 || committed == 0 || aborted == 0 || seen.values().any(Vec::is_empty);
        Row { note, idle, ..row }
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
    troubles: Vec<Anomaly>,
}

impl Worker {
    async fn run(mut self, until: Instant) -> Self {
        let producer = Transactor::new(&self.bootstrap, &self.id, self.protocol, TRANSACTIONS_WITHIN);
        let mut producer = producer.in_a_hurry(TRY_WITHIN);
        let mut number = 0;
        let goes_on = |number: u64| Instant::now() < until || number < TRANSACTIONS_MIN;
        while goes_on(number) {
            if let Err(refusal) = producer.init().await {
                self.troubles.push(Anomaly::of(&self.id, &refusal));
                number += 1;
                continue;
            }
            while goes_on(number) {
                number += 1;
                let transaction = format!("{}:{number}", self.id);
                if let Err(refusal) = self.transact(&mut producer, &transaction).await {
                    self.troubles.push(Anomaly::of(&transaction, &refusal));
                    break; // the next life aborts what is open
                }
            }
        }
        self
    }

    async fn transact(&mut self, producer: &mut Transactor, name: &str) -> Result<(), Refusal> {
        let partitions = self.dice.shuffled(&(0..PARTITIONS).collect::<Vec<_>>());
        let count = usize::try_from(self.dice.between(2, 3)).expect("a few");
        let commit = self.dice.between(1, 3) > 1;
        self.ledger.begin(&self.id, name);
        for index in &partitions[..count] {
            for record in 0..self.dice.between(1, 2) {
                let value = format!("{name}:{index}:{record}");
                self.ledger.wrote(name, *index, &value);
                producer.write(&partition(TOPIC, *index), None, Some(&value)).await?;
            }
        }
        if commit {
            self.ledger.ended(name, Outcome::Unknown);
        }
        producer.end(commit).await?;
        self.ledger.ended(name, if commit { Outcome::Committed } else { Outcome::Aborted });
        Ok(())
    }
}

/// All committed values of a topic once nothing is open any more, and what stays open.
pub(super) async fn read_committed(bootstrap: &str, topic: &str, partitions: i32) -> (Seen, Vec<Anomaly>) {
    let settings = client_settings(bootstrap, &[]);
    let connect = || async { RawClient::connect(&settings).await.ok() };
    let client = wait_until_some("a broker answers", STABLE_WITHIN, connect).await;
    let (mut seen, mut hanging) = (Seen::new(), Vec::new());
    let deadline = Instant::now() + STABLE_WITHIN;
    for index in 0..partitions {
        let partition = partition(topic, index);
        let reading = loop {
            let is_late = Instant::now() > deadline;
            match read(&client, &partition).await {
                Ok(reading) if is_late || reading.last_stable == reading.high_watermark => break reading,
                Err(error) => assert!(!is_late, "read {partition}: {error}"),
                Ok(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let (stable, end) = (reading.last_stable, reading.high_watermark);
        if stable != end {
            hanging.push(Anomaly::Hanging(format!("{partition} is stable up to {stable} of {end}")));
        }
        seen.insert(index, reading.records.into_values().filter_map(|record| record.value).collect());
    }
    (seen, hanging)
}

async fn read(client: &RawClient, partition: &TopicPartition) -> Result<Reading, ClientError> {
    let leader = client.leader(partition).await?;
    let reading = read_partition(client, leader, partition, Isolation::Committed).await;
    if reading.is_err() {
        client.forget_leader(partition);
    }
    reading
}
