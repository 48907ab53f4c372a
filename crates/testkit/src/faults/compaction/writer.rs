//! Transactions over keys of several partitions: values, tombstones, commits and aborts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use twinstream_model::{PartitionIndex, TopicPartition};

use super::model::{Fate, ROLL, Shared};
use crate::faults::Dice;
use crate::load::{Protocol, Refusal, Transactor};
use crate::reading::Found;
use crate::records::topic_name;

const KEYS: u64 = 30;
/// Keys of many writers mix.
const TRANSACTIONS_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);

pub(super) struct Writers {
    running: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Writers {
    pub(super) fn start(
        bootstrap: &str,
        topic: &'static str,
        partitions: i32,
        model: &Shared,
        writers: impl Iterator<Item = (String, Protocol, Dice)>,
    ) -> Self {
        let (running, told) = watch::channel(true);
        let mut tasks = JoinSet::new();
        for (id, protocol, dice) in writers {
            let (bootstrap, model) = (bootstrap.to_owned(), model.clone());
            let writer = Writer { id, protocol, dice, bootstrap, topic, partitions, model, left: None };
            tasks.spawn(writer.run(told.clone()));
        }
        Self { running, tasks }
    }

    pub(super) async fn stop(self) {
        self.running.send_replace(false);
        self.tasks.join_all().await;
    }
}

struct Writer {
    id: String,
    protocol: Protocol,
    dice: Dice,
    bootstrap: String,
    topic: &'static str,
    partitions: i32,
    model: Shared,
    /// A transaction whose commit nobody has asked for: the next life of the producer aborts it.
    left: Option<u64>,
}

impl Writer {
    async fn run(mut self, told: watch::Receiver<bool>) {
        let mut producer = Transactor::new(&self.bootstrap, &self.id, self.protocol, TRANSACTIONS_WITHIN);
        while *told.borrow() {
            self.begin_anew(&mut producer).await;
            while *told.borrow() {
                if let Err(refusal) = self.transact(&mut producer).await {
                    eprintln!("    {}: {refusal}", self.id);
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        // The last life ends what the one before may have left.
        self.begin_anew(&mut producer).await;
    }

    async fn begin_anew(&mut self, producer: &mut Transactor) {
        producer.init().await.unwrap_or_else(|refusal| panic!("{}: {refusal}", self.id));
        if let Some(left) = self.left.take() {
            self.model.ended(left, Fate::Aborted);
        }
    }

    async fn transact(&mut self, producer: &mut Transactor) -> Result<(), Refusal> {
        let transaction = TRANSACTIONS.fetch_add(1, Ordering::Relaxed);
        self.model.begin(transaction);
        let commit = self.dice.between(1, 4) > 1;
        self.left = Some(transaction);
        self.write_some(producer, transaction).await?;
        if commit {
            self.left = None;
        }
        producer.end(commit).await?;
        self.left = None;
        self.model.ended(transaction, if commit { Fate::Committed } else { Fate::Aborted });
        Ok(())
    }

    async fn write_some(&mut self, producer: &mut Transactor, transaction: u64) -> Result<(), Refusal> {
        let partitions = self.dice.shuffled(&(0..self.partitions).collect::<Vec<_>>());
        let count = usize::try_from(self.dice.between(1, partitions.len() as u64)).expect("a few");
        for partition in &partitions[..count] {
            let target = TopicPartition::new(topic_name(self.topic), PartitionIndex(*partition));
            for record in 0..self.dice.between(1, 3) {
                let name = format!("{transaction}.{partition}.{record}");
                let key = format!("k{}", self.dice.between(1, KEYS));
                let value = (self.dice.between(1, 5) > 1).then(|| name.clone());
                let found = Found { key: Some(key.clone()), value: value.clone() };
                self.model.writes(transaction, *partition, &name, found);
                let offset = producer.write(&target, Some(&key), value.as_deref()).await?;
                self.model.wrote(*partition, &name, offset);
            }
        }
        Ok(())
    }
}

/// One committed record in each partition, so that older segments are closed.
pub(super) async fn roll(bootstrap: &str, topic: &str, partitions: i32, model: &Shared, number: u64) {
    let mut producer = Transactor::new(bootstrap, "roller", Protocol::First, TRANSACTIONS_WITHIN);
    producer.init().await.unwrap_or_else(|refusal| panic!("roller: {refusal}"));
    let transaction = TRANSACTIONS.fetch_add(1, Ordering::Relaxed);
    model.begin(transaction);
    for partition in 0..partitions {
        let (key, value) = (format!("{ROLL}{number}"), format!("{transaction}.{partition}"));
        model.writes(transaction, partition, &value, Found { key: Some(key.clone()), value: Some(value.clone()) });
        let target = TopicPartition::new(topic_name(topic), PartitionIndex(partition));
        let offset = producer.write(&target, Some(&key), Some(&value)).await;
        model.wrote(partition, &value, offset.unwrap_or_else(|refusal| panic!("roller: {refusal}")));
    }
    producer.end(true).await.unwrap_or_else(|refusal| panic!("roller: {refusal}"));
    model.ended(transaction, Fate::Committed);
}
