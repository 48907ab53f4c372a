//! One member of librdkafka, and the ledger in which all members write down what they own and read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use twinstream_client::{CommitOffset, Consumer, ConsumerEvent, ConsumerRecord, Revocation};
use twinstream_model::{Offset, TopicPartition};
use twinstream_testkit::records::client_settings;

/// How long a member waits for records before it looks whether it should go.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is known of a group from its members.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) owners: BTreeMap<TopicPartition, usize>,
    /// Numbers in the values of records.
    pub(crate) read: BTreeSet<u64>,
    pub(crate) records: u64,
    pub(crate) faults: Vec<String>,
}

impl Ledger {
    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().expect("the ledger")
    }

    /// How many partitions each owner has.
    pub(crate) fn shares(&self) -> BTreeMap<usize, usize> {
        let mut shares = BTreeMap::new();
        for owner in self.entries().owners.values() {
            *shares.entry(*owner).or_default() += 1;
        }
        shares
    }
}

impl Entries {
    fn assigned(&mut self, member: usize, partitions: Vec<TopicPartition>) {
        for partition in partitions {
            if let Some(other) = self.owners.insert(partition.clone(), member)
                && other != member
            {
                self.faults.push(format!("{partition} was given to {member} while {other} had it"));
            }
        }
    }

    fn released(&mut self, member: usize, partitions: &[TopicPartition]) {
        for partition in partitions {
            if self.owners.get(partition) == Some(&member) {
                self.owners.remove(partition);
            }
        }
    }

    fn read(&mut self, member: usize, record: &ConsumerRecord) {
        let partition = record.topic_partition();
        if self.owners.get(&partition) != Some(&member) {
            self.faults.push(format!("{member} read from {partition}, which it does not own"));
        }
        let value = record.value.as_deref().and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        self.read.insert(value.expect("a number"));
        self.records += 1;
    }
}

/// How a member joins.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) bootstrap: String,
    pub(crate) group: &'static str,
    pub(crate) subscription: &'static str,
    /// `consumer` or `classic`.
    pub(crate) protocol: &'static str,
}

/// A running member; it leaves when it is told to.
pub(crate) struct Member {
    leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Member {
    pub(crate) fn join(number: usize, joining: &Joining, ledger: &Ledger) -> Member {
        let (leave, told) = oneshot::channel();
        let task = tokio::spawn(live(number, joining.clone(), ledger.clone(), told));
        Member { leave, task }
    }

    pub(crate) async fn leave(self) {
        self.leave.send(()).expect("a living member");
        self.task.await.expect("a member that ends well");
    }
}

async fn live(number: usize, joining: Joining, ledger: Ledger, mut told: oneshot::Receiver<()>) {
    let cooperative = [("partition.assignment.strategy", "cooperative-sticky")];
    let classic: &[(&str, &str)] = if joining.protocol == "classic" { &cooperative } else { &[] };
    let settings = [
        ("group.id", joining.group),
        ("group.protocol", joining.protocol),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
    ];
    let settings = client_settings(&joining.bootstrap, &[&settings[..], classic].concat());
    let mut consumer = Consumer::connect(&settings).await.expect("a consumer");
    consumer.subscribe(&[joining.subscription.to_owned()]).await.expect("a subscription");
    let mut positions = Positions::new();
    while told.try_recv().is_err() {
        for event in consumer.next_batch(LOOK_EVERY).await {
            match event {
                ConsumerEvent::Record(record) => {
                    ledger.entries().read(number, &record);
                    positions.insert(record.topic_partition(), Offset(record.offset.0 + 1).into());
                }
                ConsumerEvent::Assigned(partitions) => ledger.entries().assigned(number, partitions),
                ConsumerEvent::Revoked(revocation) => {
                    give_up(&consumer, &mut positions, &revocation).await;
                    ledger.entries().released(number, &revocation.partitions);
                }
                ConsumerEvent::Error { error, fatal: true } => panic!("member {number} failed: {error}"),
                _ => {}
            }
        }
    }
    commit(&consumer, &positions).await;
    let owned: Vec<TopicPartition> = ledger.entries().owners.keys().cloned().collect();
    ledger.entries().released(number, &owned);
    consumer.close().await.expect("a clean leave");
}

type Positions = BTreeMap<TopicPartition, CommitOffset>;

/// Commits what goes away, so that the next owner goes on there.
async fn give_up(consumer: &Consumer, positions: &mut Positions, revocation: &Revocation) {
    let mut gone = Positions::new();
    for partition in &revocation.partitions {
        gone.extend(positions.remove_entry(partition));
    }
    if !revocation.lost {
        commit(consumer, &gone).await;
    }
}

/// A commit may come too late for a group that has moved on; whoever is next then reads the records again.
async fn commit(consumer: &Consumer, positions: &Positions) {
    if !positions.is_empty()
        && let Err(error) = consumer.commit(positions).await
    {
        eprintln!("a commit was refused: {error}");
    }
}
