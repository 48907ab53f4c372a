//! The one thread that polls a librdkafka consumer, and the callbacks that run on it.
//!
//! Picture: poll, hand over, obey. While the channel is full the thread waits for room *and* for commands, so a caller
//! that seeks or closes instead of receiving is never stuck.
//! The rebalance callback runs inside `poll`, on this thread: waiting there for the release of a revocation blocks nobody
//! else, and heartbeats go on from librdkafka's own thread.
//! Where to start is asked again (`starts`) if librdkafka has given up on it.
//! Invariant: the last owner of the librdkafka handle drops it outside of the async runtime, because closing a consumer
//! waits for the group's coordinator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, warn};
use twinstream_model::{TopicName, TopicPartition};

use super::starts::{AskAgain, Starts};
use super::{ConsumerEvent, REVOKE_WAIT_MAX, Revocation, topic_partition};
use crate::context::Context;
use crate::error::ClientError;
use crate::record::ConsumerRecord;

/// Upper bound of the time until a command is noticed while no records come.
const POLL_MAX: Duration = Duration::from_millis(50);
/// How often a waiting rebalance looks whether it was released.
const RELEASE_POLL: Duration = Duration::from_millis(2);
/// Places in the channel that records leave free, so that a rebalance is never stuck behind a slow receiver.
pub(super) const EVENT_ROOM: usize = 64;

type Call = Box<dyn FnOnce(&BaseConsumer<GroupContext>) -> KafkaResult<()> + Send>;

pub(super) enum Command {
    Call {
        call: Call,
        done: oneshot::Sender<KafkaResult<()>>,
    },
    Seek {
        partition: TopicPartition,
        list: TopicPartitionList,
        within: Duration,
        done: oneshot::Sender<KafkaResult<()>>,
    },
    Close(oneshot::Sender<()>),
}

/// The seek count of a record's partition, and what it was when the record was polled.
pub(super) struct SeekMark {
    count: Arc<AtomicU64>,
    then: u64,
}

/// What travels through the channel.
pub(super) enum Item {
    Record { record: ConsumerRecord, mark: SeekMark },
    Event(ConsumerEvent),
}

impl Item {
    /// `None` for a record that a seek has overtaken.
    pub(super) fn into_event(self) -> Option<ConsumerEvent> {
        match self {
            Self::Event(event) => Some(event),
            Self::Record { record, mark } => {
                let current = mark.count.load(Ordering::Acquire) == mark.then;
                current.then_some(ConsumerEvent::Record(record))
            }
        }
    }
}

/// librdkafka's view of a consumer: logs and errors as every client, rebalances into the channel.
pub(super) struct GroupContext {
    base: Context,
    events: mpsc::Sender<Item>,
    assigned: Arc<Mutex<BTreeSet<TopicPartition>>>,
    /// True while a revocation waits for its release.
    revoking: watch::Sender<bool>,
    pub(super) starts: Starts,
}

impl GroupContext {
    pub(super) fn new(
        client: &str,
        events: mpsc::Sender<Item>,
        assigned: Arc<Mutex<BTreeSet<TopicPartition>>>,
        revoking: watch::Sender<bool>,
    ) -> Self {
        Self { base: Context::new(client), events, assigned, revoking, starts: Starts::default() }
    }

    /// Blocks until there is room; `false` when nobody receives any more.
    fn deliver(&self, event: ConsumerEvent) -> bool {
        self.events.blocking_send(Item::Event(event)).is_ok()
    }

    fn revoke(&self, partitions: Vec<TopicPartition>, lost: bool) {
        let (release, mut released) = oneshot::channel();
        let revocation = Revocation { partitions, lost, _release: release };
        if !self.deliver(ConsumerEvent::Revoked(revocation)) {
            return;
        }
        let started = Instant::now();
        while matches!(released.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
            if started.elapsed() >= REVOKE_WAIT_MAX {
                warn!("revoked partitions were not released in time, the rebalance goes on without them");
                return;
            }
            std::thread::sleep(RELEASE_POLL);
        }
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.base.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.base.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.base.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let partitions = partitions_of(list);
            self.starts.forget(&partitions);
            self.revoking.send_replace(true);
            self.revoke(partitions.clone(), consumer.assignment_lost());
            self.revoking.send_replace(false);
            self.assigned.lock().retain(|partition| !partitions.contains(partition));
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = partitions_of(list);
                self.assigned.lock().extend(partitions.iter().cloned());
                self.starts.begin(&partitions);
                if !self.deliver(ConsumerEvent::Assigned(partitions)) {
                    debug!("partitions assigned to a consumer that is closing");
                }
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => {
                let error = ClientError::rdkafka("rebalance", error);
                if !self.deliver(ConsumerEvent::Error { error, fatal: false }) {
                    debug!("rebalance failed while closing");
                }
            }
        }
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().filter_map(|element| topic_partition(element.topic(), element.partition())).collect()
}

/// Starts the thread of one consumer; it ends on [`Command::Close`] or when the consumer was dropped.
pub(super) fn spawn(
    client: Arc<BaseConsumer<GroupContext>>,
    events: mpsc::Sender<Item>,
    commands: mpsc::Receiver<Command>,
) -> std::io::Result<()> {
    let runtime = Handle::current();
    let (seeks, topics, ask_again) = (BTreeMap::new(), BTreeMap::new(), AskAgain::default());
    let poller = Poller { client, events, commands, seeks, topics, ask_again, runtime };
    std::thread::Builder::new().name("kafka-consumer".to_owned()).spawn(move || poller.run())?;
    Ok(())
}

struct Poller {
    client: Arc<BaseConsumer<GroupContext>>,
    events: mpsc::Sender<Item>,
    commands: mpsc::Receiver<Command>,
    /// Seeks per partition so far; a record that was polled before the last one is stale.
    seeks: BTreeMap<TopicPartition, Arc<AtomicU64>>,
    /// Names seen so far, to share one allocation per topic.
    topics: BTreeMap<String, TopicName>,
    ask_again: AskAgain,
    runtime: Handle,
}

enum Next {
    GoOn,
    Stop(Option<oneshot::Sender<()>>),
}

impl Poller {
    fn run(mut self) {
        let done = loop {
            if let Next::Stop(done) = self.step() {
                break done;
            }
        };
        drop(self.client); // leaves the group; the last handle, unless a commit is still running
        if let Some(done) = done
            && done.send(()).is_err()
        {
            debug!("nobody waited for the consumer to close");
        }
    }

    fn step(&mut self) -> Next {
        match self.commands.try_recv() {
            Ok(command) => return self.obey(command),
            Err(mpsc::error::TryRecvError::Disconnected) => return Next::Stop(None),
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        self.ask_again.if_due(&self.client);
        match self.poll() {
            Some(item) => self.hand_over(item),
            None => Next::GoOn,
        }
    }

    fn poll(&mut self) -> Option<Item> {
        let message = self.client.poll(POLL_MAX)?;
        match message {
            Ok(message) => {
                let topic = topic_name(&mut self.topics, message.topic())?;
                let record = ConsumerRecord::detach(&message, topic);
                let at = record.topic_partition();
                self.client.context().starts.began(&at);
                let count = Arc::clone(self.seeks.entry(at).or_default());
                let then = count.load(Ordering::Acquire);
                Some(Item::Record { record, mark: SeekMark { count, then } })
            }
            Err(KafkaError::PartitionEOF(partition)) => self.end_of_partition(partition),
            Err(error) => {
                let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
                self.ask_again.notice(&error);
                let error = ClientError::rdkafka("consume", &error);
                Some(Item::Event(ConsumerEvent::Error { error, fatal }))
            }
        }
    }

    /// librdkafka's Rust wrapper names the partition only, so with several topics it is ambiguous and left out.
    fn end_of_partition(&self, partition: i32) -> Option<Item> {
        let assigned = self.client.context().assigned.lock();
        let mut matching = assigned.iter().filter(|candidate| candidate.partition.0 == partition);
        match (matching.next(), matching.next()) {
            (Some(found), None) => Some(Item::Event(ConsumerEvent::EndOfPartition(found.clone()))),
            _ => None,
        }
    }

    /// Waits for room in the channel, obeying commands meanwhile.
    fn hand_over(&mut self, item: Item) -> Next {
        let events = self.events.clone();
        loop {
            match events.try_reserve_many(1 + EVENT_ROOM) {
                Ok(mut room) => {
                    if let Some(permit) = room.next() {
                        permit.send(item);
                    }
                    return Next::GoOn;
                }
                Err(mpsc::error::TrySendError::Closed(())) => return self.wait_for_close(),
                Err(mpsc::error::TrySendError::Full(())) => {}
            }
            match self.wait_for_room(&events) {
                Woken::Room => {}
                Woken::Command(None) => return Next::Stop(None),
                Woken::Command(Some(command)) => {
                    if let Next::Stop(done) = self.obey(command) {
                        return Next::Stop(done);
                    }
                }
            }
        }
    }

    fn wait_for_room(&mut self, events: &mpsc::Sender<Item>) -> Woken {
        let commands = &mut self.commands;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                command = commands.recv() => Woken::Command(command),
                room = events.reserve_many(1 + EVENT_ROOM) => {
                    drop(room);
                    Woken::Room
                }
            }
        })
    }

    /// Nobody receives any more: the consumer is being closed or was dropped.
    fn wait_for_close(&mut self) -> Next {
        loop {
            match self.commands.blocking_recv() {
                None => return Next::Stop(None),
                Some(command) => {
                    if let Next::Stop(done) = self.obey(command) {
                        return Next::Stop(done);
                    }
                }
            }
        }
    }

    /// A command whose sender has given up is skipped: it must not take effect behind its back.
    fn obey(&mut self, command: Command) -> Next {
        let (result, done) = match command {
            Command::Close(done) => return Next::Stop(Some(done)),
            Command::Call { done, .. } | Command::Seek { done, .. } if done.is_closed() => return Next::GoOn,
            Command::Call { call, done } => (call(&self.client), done),
            Command::Seek { partition, list, within, done } => (self.seek(&partition, list, within), done),
        };
        if done.send(result).is_err() {
            debug!("the caller of a consumer command went away");
        }
        Next::GoOn
    }

    fn seek(&mut self, partition: &TopicPartition, list: TopicPartitionList, within: Duration) -> KafkaResult<()> {
        let to = list.elements().first().map(|element| element.offset());
        let answer = self.client.seek_partitions(list, within)?;
        for element in answer.elements() {
            element.error()?;
        }
        if let Some(to) = to {
            self.client.context().starts.sought(partition, to);
        }
        // Only this thread polls, so whatever was polled before this line is from before the seek.
        self.seek_count(partition.clone()).fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn seek_count(&mut self, partition: TopicPartition) -> Arc<AtomicU64> {
        Arc::clone(self.seeks.entry(partition).or_default())
    }
}

enum Woken {
    Room,
    Command(Option<Command>),
}

fn topic_name(seen: &mut BTreeMap<String, TopicName>, name: &str) -> Option<TopicName> {
    if let Some(topic) = seen.get(name) {
        return Some(topic.clone());
    }
    let topic = TopicName::parse(name).ok()?;
    seen.insert(name.to_owned(), topic.clone());
    Some(topic)
}
