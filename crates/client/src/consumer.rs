//! A consumer: one stream of records and rebalance events, in the order in which they happened.
//!
//! Picture: librdkafka's consumer is polled by one thread of its own ([`thread`]), which hands records over through a
//! bounded channel. Nothing that blocks ever runs on the async runtime: the thread does the polling and everything that
//! must not overtake it (seek, assign, subscribe), `spawn_blocking` does commits and look-ups.
//! Rebalances travel in the same channel as records. A revocation carries a [`Revocation`]: as long as it is held, the
//! partitions still belong to this consumer, so the owner can finish and commit what it has received; dropping it lets the
//! rebalance go on. The thread waits for that at most [`REVOKE_WAIT_MAX`].
//! Invariants: no record of a partition comes after the event that revoked it, until it is assigned again; no record from
//! before a seek comes after the seek has returned; offsets are committed only when asked for, unless the settings say
//! `enable.auto.commit=true`.
//! Consequence of the bounded channel: whoever stops receiving for longer than `max.poll.interval.ms` is thrown out of
//! its group, as with Kafka's consumer. To wait for something slow, [`Consumer::pause`] the partitions and go on receiving.

mod starts;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot, watch};
use twinstream_model::{ErrorCode, Offset, PartitionIndex, TopicName, TopicPartition};
use uuid::Uuid;

use crate::error::ClientError;
use crate::raw::reach;
use crate::record::ConsumerRecord;
use crate::settings::{ClientSettings, table::Scope};
use thread::{Command, GroupContext, Item};

/// How long a revocation may be held before the rebalance goes on regardless; below the default session time-outs of
/// brokers and well below `max.poll.interval.ms`.
pub const REVOKE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Records between the polling thread and the receiver; librdkafka's own queues hold the rest.
const CHANNEL_RECORDS: usize = 256;

/// Where to start reading a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Beginning,
    End,
    Offset(Offset),
    /// The last this many records.
    Tail(i64),
    /// The group's committed offset, else what `auto.offset.reset` says.
    Committed,
}

impl StartAt {
    fn native(self) -> NativeOffset {
        match self {
            Self::Beginning => NativeOffset::Beginning,
            Self::End => NativeOffset::End,
            Self::Offset(offset) => NativeOffset::Offset(offset.0),
            Self::Tail(count) => NativeOffset::OffsetTail(count),
            Self::Committed => NativeOffset::Stored,
        }
    }
}

/// An offset to commit: the next record to read, and a note that comes back with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffset {
    pub offset: Offset,
    pub metadata: String,
}

impl From<Offset> for CommitOffset {
    fn from(offset: Offset) -> Self {
        Self { offset, metadata: String::new() }
    }
}

/// What a consumer receives.
#[derive(Debug)]
pub enum ConsumerEvent {
    Record(ConsumerRecord),
    /// These partitions are now ours.
    Assigned(Vec<TopicPartition>),
    /// These partitions go away as soon as the revocation is dropped.
    Revoked(Revocation),
    /// The end of a partition was reached (only with `librdkafka.enable.partition.eof=true`).
    EndOfPartition(TopicPartition),
    /// Something failed that librdkafka retries by itself, unless `fatal`.
    Error {
        error: ClientError,
        fatal: bool,
    },
}

/// Partitions on their way out; drop it once their work is finished and committed.
#[derive(Debug)]
pub struct Revocation {
    pub partitions: Vec<TopicPartition>,
    /// They are gone already (session lost): a commit would be refused.
    pub lost: bool,
    /// Dropping the sender is the signal.
    _release: oneshot::Sender<()>,
}

/// A Kafka consumer. Close it with [`Consumer::close`]; a dropped one leaves its group in the background.
pub struct Consumer {
    /// The polling thread owns the handle. Closing a librdkafka consumer runs its rebalance callbacks, which may wait,
    /// so the last owner must never let go of it on a thread of the async runtime.
    client: Weak<BaseConsumer<GroupContext>>,
    events: mpsc::Receiver<Item>,
    commands: mpsc::Sender<Command>,
    revoking: watch::Receiver<bool>,
    assigned: Arc<Mutex<BTreeSet<TopicPartition>>>,
    api_timeout: Duration,
    max_poll_records: usize,
}

impl Consumer {
    /// Makes a consumer after one bootstrap server has answered; fails with one clear error if none does.
    pub async fn connect(settings: &ClientSettings) -> Result<Self, ClientError> {
        reach::any_bootstrap(settings).await?;
        Self::new(settings)
    }

    /// Makes a consumer without looking whether the cluster is there. Must be called on a tokio runtime.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let mut native = settings.rdkafka(Scope::Consumer);
        if settings.get("group.id").is_none() {
            // librdkafka delivers records only to consumers with a group; nothing is ever committed to this one.
            native.set("group.id", format!("twinstream-no-group-{}", Uuid::new_v4()));
            native.set("enable.auto.commit", "false");
        }
        let assigned = Arc::new(Mutex::new(BTreeSet::new()));
        let (events_in, events) = mpsc::channel(CHANNEL_RECORDS + thread::EVENT_ROOM);
        let (commands, commands_out) = mpsc::channel(1);
        let (revoking_in, revoking) = watch::channel(false);
        let context = GroupContext::new(settings.client_id(), events_in.clone(), Arc::clone(&assigned), revoking_in);
        let client: BaseConsumer<GroupContext> =
            native.create_with_context(context).map_err(|error| ClientError::rdkafka("create consumer", &error))?;
        let owned = Arc::new(client);
        let client = Arc::downgrade(&owned);
        thread::spawn(owned, events_in, commands_out).map_err(|error| ClientError::Library {
            what: "start the polling thread of a consumer".to_owned(),
            reason: error.to_string(),
            retriable: false,
        })?;
        Ok(Self {
            client,
            events,
            commands,
            revoking,
            assigned,
            api_timeout: settings.api_timeout(),
            max_poll_records: settings.max_poll_records(),
        })
    }

    /// Joins the group for these topics; a name that starts with `^` is a regular expression. Replaces the former list.
    pub async fn subscribe(&self, topics: &[String]) -> Result<(), ClientError> {
        let topics = topics.to_vec();
        let what = format!("subscribe to {}", topics.join(","));
        self.on_thread(what, move |client| {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            client.subscribe(&names)
        })
        .await
    }

    /// Reads exactly these partitions, without a group's help. Replaces the former assignment.
    pub async fn assign(&self, partitions: &[(TopicPartition, StartAt)]) -> Result<(), ClientError> {
        let list = start_list(partitions)?;
        self.learn_leaders(partitions).await;
        let wanted: BTreeSet<TopicPartition> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
        let from_committed = partitions.iter().filter(|(_, start)| *start == StartAt::Committed);
        let from_committed: Vec<TopicPartition> = from_committed.map(|(partition, _)| partition.clone()).collect();
        let assigned = Arc::clone(&self.assigned);
        // The set changes on the polling thread, before it polls again: the end of an empty partition comes at once, and
        // one that matches no assigned partition is nobody's.
        self.on_thread("assign partitions".to_owned(), move |client| {
            client.assign(&list)?;
            *assigned.lock() = wanted;
            client.context().starts.replace(&from_committed);
            Ok(())
        })
        .await
    }

    /// Fills librdkafka's cache of leaders before it needs them. A partition that is assigned without a known leader waits
    /// half a second for its start offset, and up to a second for the next look at leaders.
    async fn learn_leaders(&self, partitions: &[(TopicPartition, StartAt)]) {
        let topics: BTreeSet<TopicName> = partitions.iter().map(|(partition, _)| partition.topic.clone()).collect();
        let within = self.api_timeout;
        let asked = self.blocking("learn leaders", move |client| {
            topics.iter().try_for_each(|topic| client.fetch_metadata(Some(topic.as_str()), within).map(drop))
        });
        if let Err(error) = asked.await {
            tracing::debug!(%error, "leaders are learned with the next look of librdkafka");
        }
    }

    /// Continues an assigned partition elsewhere.
    pub async fn seek(&self, partition: &TopicPartition, to: StartAt) -> Result<(), ClientError> {
        let what = format!("seek in {partition}");
        let list = start_list(&[(partition.clone(), to)])?;
        let within = self.api_timeout;
        let (done, answer) = oneshot::channel();
        let partition = partition.clone();
        self.command(what, Command::Seek { partition, list, within, done }, answer).await
    }

    /// Stops delivery of these partitions until [`Consumer::resume`]; records already on their way still come.
    pub async fn pause(&self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let list = plain_list(partitions);
        self.blocking("pause partitions", move |client| client.pause(&list)).await
    }

    pub async fn resume(&self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let list = plain_list(partitions);
        self.blocking("resume partitions", move |client| client.resume(&list)).await
    }

    /// The next record or event; `None` once the consumer is closed.
    pub async fn next(&mut self) -> Option<ConsumerEvent> {
        loop {
            let item = self.events.recv().await?;
            if let Some(event) = item.into_event() {
                return Some(event);
            }
        }
    }

    /// Waits for one event, then takes what is there already, `max.poll.records` at most. Events stay in order.
    /// Empty when nothing came `within` the time, or the consumer is closed.
    pub async fn next_batch(&mut self, within: Duration) -> Vec<ConsumerEvent> {
        let mut batch = Vec::new();
        match tokio::time::timeout(within, self.next()).await {
            Ok(Some(first)) => batch.push(first),
            Ok(None) | Err(_) => return batch,
        }
        while batch.len() < self.max_poll_records {
            let Ok(item) = self.events.try_recv() else { break };
            batch.extend(item.into_event());
        }
        batch
    }

    /// The partitions that are ours at the moment.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.assigned.lock().iter().cloned().collect()
    }

    /// Commits exactly these offsets and waits for the coordinator's answer.
    pub async fn commit(&self, offsets: &BTreeMap<TopicPartition, CommitOffset>) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, commit) in offsets {
            let mut element = list.add_partition(partition.topic.as_str(), partition.partition.0);
            element
                .set_offset(NativeOffset::Offset(commit.offset.0))
                .map_err(|error| ClientError::rdkafka(format!("commit {partition}"), &error))?;
            element.set_metadata(&commit.metadata);
        }
        self.blocking("commit offsets", move |client| client.commit(&list, CommitMode::Sync)).await
    }

    /// The group's committed offsets of these partitions; those without one are left out.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, CommitOffset>, ClientError> {
        let list = plain_list(partitions);
        let within = self.api_timeout;
        let found =
            self.blocking("read committed offsets", move |client| client.committed_offsets(list, within)).await?;
        let mut committed = BTreeMap::new();
        for element in found.elements() {
            let NativeOffset::Offset(offset) = element.offset() else { continue };
            let Some(partition) = topic_partition(element.topic(), element.partition()) else { continue };
            let metadata = element.metadata().to_owned();
            committed.insert(partition, CommitOffset { offset: Offset(offset), metadata });
        }
        Ok(committed)
    }

    /// First and next offset of a partition.
    pub async fn watermarks(&self, partition: &TopicPartition) -> Result<(Offset, Offset), ClientError> {
        let within = self.api_timeout;
        let wanted = partition.clone();
        let what = format!("read watermarks of {partition}");
        let (low, high) = self
            .blocking(&what, move |client| client.fetch_watermarks(wanted.topic.as_str(), wanted.partition.0, within))
            .await?;
        Ok((Offset(low), Offset(high)))
    }

    /// Leaves the group and ends the polling thread; waits for that, `default.api.timeout.ms` at most.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.events.close();
        while self.events.try_recv().is_ok() {}
        let (done, finished) = oneshot::channel();
        let sent = self.commands.send(Command::Close(done)).await;
        let within = self.api_timeout;
        drop(self);
        if sent.is_err() {
            return Ok(());
        }
        match tokio::time::timeout(within, finished).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ClientError::Timeout { what: "leave the group and close".to_owned(), after: within }),
        }
    }

    async fn on_thread(
        &self,
        what: String,
        call: impl FnOnce(&BaseConsumer<GroupContext>) -> rdkafka::error::KafkaResult<()> + Send + 'static,
    ) -> Result<(), ClientError> {
        let (done, answer) = oneshot::channel();
        self.command(what, Command::Call { call: Box::new(call), done }, answer).await
    }

    /// Lets the polling thread do something. While a revocation waits to be released that cannot be: the caller gets
    /// REBALANCE_IN_PROGRESS, so that it goes on receiving and finds the revocation.
    async fn command(
        &self,
        what: String,
        command: Command,
        answer: oneshot::Receiver<rdkafka::error::KafkaResult<()>>,
    ) -> Result<(), ClientError> {
        let mut revoking = self.revoking.clone();
        let done = async {
            self.commands.send(command).await.map_err(|_| ClientError::closed(&what))?;
            answer.await.map_err(|_| ClientError::closed(&what))
        };
        tokio::select! {
            biased;
            result = done => result?.map_err(|error| ClientError::rdkafka(what.as_str(), &error)),
            Ok(_) = revoking.wait_for(|waiting| *waiting) => {
                Err(ClientError::broker(what.as_str(), ErrorCode::RebalanceInProgress))
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        what: &str,
        call: impl FnOnce(&BaseConsumer<GroupContext>) -> rdkafka::error::KafkaResult<T> + Send + 'static,
    ) -> Result<T, ClientError> {
        let client = Weak::clone(&self.client);
        // Upgraded over there: should this call outlive the polling thread, the handle goes where waiting is allowed.
        let result = tokio::task::spawn_blocking(move || client.upgrade().map(|client| call(&client))).await;
        let result = result.ok().flatten().ok_or_else(|| ClientError::closed(what))?;
        result.map_err(|error| ClientError::rdkafka(what, &error))
    }
}

fn topic_partition(topic: &str, partition: i32) -> Option<TopicPartition> {
    let topic = TopicName::parse(topic).ok()?;
    Some(TopicPartition { topic, partition: PartitionIndex(partition) })
}

fn plain_list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(partition.topic.as_str(), partition.partition.0);
    }
    list
}

fn start_list(partitions: &[(TopicPartition, StartAt)]) -> Result<TopicPartitionList, ClientError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (partition, start) in partitions {
        list.add_partition_offset(partition.topic.as_str(), partition.partition.0, start.native())
            .map_err(|error| ClientError::rdkafka(format!("start {partition}"), &error))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
