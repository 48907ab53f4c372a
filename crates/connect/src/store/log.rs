//! One compacted topic and the state that its records give.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use twinstream_client::raw::{OffsetAt, RawClient};
use twinstream_client::{
    Admin, ClientError, ClientSettings, Consumer, ConsumerEvent, ConsumerRecord, Producer, ProducerRecord, StartAt,
};
use twinstream_model::{Offset, PartitionIndex, TopicName, TopicPartition};

use super::transactional::TransactionalWriter;
use crate::group::Place;
use crate::state::offsets::OffsetState;
use crate::state::{Replay, StateRecord};

/// How long the first read of a topic may take; as long as Kafka Connect waits.
const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// How long a write may take to be acknowledged and read back.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks at transactions that are open.
const STABLE_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("topic {topic} cannot be read")]
    Read { topic: TopicName, source: ClientError },
    #[error("topic {topic} was not read to its end within {} s: check that its partitions have leaders", within.as_secs())]
    LoadTimeout { topic: TopicName, within: Duration },
    #[error("write to topic {topic}")]
    Write { topic: TopicName, source: ClientError },
    #[error("write to topic {topic}: it was not confirmed within {} ms", within.as_millis())]
    ReadBack { topic: TopicName, within: Duration },
    #[error("topic {topic} is gone: restart the worker to create it again")]
    Missing { topic: TopicName },
    #[error("reader of topic {topic} ended")]
    Ended { topic: TopicName },
}

type Positions = BTreeMap<PartitionIndex, Offset>;

/// A topic, its state and its reader.
pub(crate) struct StateLog<S> {
    topic: TopicName,
    state: Arc<Mutex<S>>,
    writer: Writer,
    /// Next offset to replay, per partition.
    positions: watch::Receiver<Positions>,
    reader: AbortHandle,
}

impl<S: Replay + Default> StateLog<S> {
    /// Reads the topic to its end, then follows it.
    pub(crate) async fn open(
        topic: TopicName,
        consumer: &ClientSettings,
        producer: &ClientSettings,
        admin: &Admin,
    ) -> Result<Self, StoreError> {
        Self::open_as(topic, consumer, producer, admin, Start { transactions: None, waits: true }).await
    }

    pub(crate) async fn open_as(
        topic: TopicName,
        consumer: &ClientSettings,
        producer: &ClientSettings,
        admin: &Admin,
        start: Start,
    ) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Read { topic: topic.clone(), source };
        let info = admin.topic(&topic).await.map_err(failed)?;
        let info = info.ok_or_else(|| StoreError::Missing { topic: topic.clone() })?;
        let partitions: BTreeSet<PartitionIndex> = info.partitions.keys().copied().collect();
        // First of all, because it ends what the writer before has left open.
        let unwritten = |source| StoreError::Write { topic: topic.clone(), source };
        let writer = match start.transactions {
            None => Writer::Plain(Producer::connect(producer).await.map_err(unwritten)?),
            Some((id, place)) => {
                let writer = TransactionalWriter::connect(topic.clone(), producer.clone(), id, place).await;
                Writer::Transactional(Box::new(writer.map_err(unwritten)?))
            }
        };
        if start.waits {
            let stable = wait_until_stable(&topic, &partitions, admin.raw());
            match tokio::time::timeout(LOAD_WITHIN, stable).await {
                Ok(stable) => stable?,
                Err(_) => tracing::warn!(%topic, "a transaction is open for long, what stands behind it is read later"),
            }
        }
        let consumer = reading(&topic, &partitions, consumer).await?;

        let state = Arc::new(Mutex::new(S::default()));
        let (positions_in, positions) = watch::channel(Positions::new());
        let mut reader = Reader { topic: topic.clone(), consumer, state: Arc::clone(&state), positions: positions_in };
        match tokio::time::timeout(LOAD_WITHIN, reader.load(partitions)).await {
            Ok(loaded) => loaded?,
            Err(_) => return Err(StoreError::LoadTimeout { topic, within: LOAD_WITHIN }),
        }
        let reader = tokio::spawn(reader.follow()).abort_handle();
        Ok(Self { topic, state, writer, positions, reader })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        self.state.lock()
    }

    /// Writes records in order; returns when they are acknowledged and part of the state.
    pub(crate) async fn write(&self, records: Vec<StateRecord>) -> Result<(), StoreError> {
        let written = self.send(records).await?;
        let mut positions = self.positions.clone();
        let read_back = positions.wait_for(|positions| {
            written.iter().all(|(partition, offset)| positions.get(partition).is_some_and(|next| next > offset))
        });
        match tokio::time::timeout(WRITE_WITHIN, read_back).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Ended { topic: self.topic.clone() }),
            Err(_) => Err(StoreError::ReadBack { topic: self.topic.clone(), within: WRITE_WITHIN }),
        }
    }

    /// The error of a caller that waited no longer than `within`.
    pub(crate) fn late(&self, within: Duration) -> StoreError {
        StoreError::ReadBack { topic: self.topic.clone(), within }
    }

    /// Writes records in order without waiting for the reader; the last offset per partition.
    pub(crate) async fn send(&self, records: Vec<StateRecord>) -> Result<Positions, StoreError> {
        let failed = |source| StoreError::Write { topic: self.topic.clone(), source };
        let producer = match &self.writer {
            Writer::Plain(producer) => producer,
            Writer::Transactional(writer) => return writer.write(&records).await.map_err(failed),
        };
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            let record = ProducerRecord::new(self.topic.clone(), Some(record.key), record.value);
            deliveries.push(producer.enqueue(&record).await.map_err(failed)?);
        }
        let mut written = Positions::new();
        for delivery in deliveries {
            let delivery = delivery.wait().await.map_err(failed)?;
            written.insert(delivery.partition, delivery.offset);
        }
        Ok(written)
    }
}

/// A reader of these partitions from their beginnings, that says where they end. Workers with exactly-once sources write in
/// transactions: what was aborted was never stored.
async fn reading(
    topic: &TopicName,
    partitions: &BTreeSet<PartitionIndex>,
    consumer: &ClientSettings,
) -> Result<Consumer, StoreError> {
    let failed = |source| StoreError::Read { topic: topic.clone(), source };
    let settings = consumer.clone().with("librdkafka.enable.partition.eof", "true");
    let settings = settings.and_then(|settings| settings.with("isolation.level", "read_committed"));
    let settings = settings.map_err(|error| failed(error.into()))?;
    let consumer = Consumer::connect(&settings).await.map_err(failed)?;
    let start = |p: &PartitionIndex| (TopicPartition::new(topic.clone(), *p), StartAt::Beginning);
    consumer.assign(&partitions.iter().map(start).collect::<Vec<_>>()).await.map_err(failed)?;
    Ok(consumer)
}

/// Waits until no transaction is open that was so when this was called: a reader of committed records stops before it, and
/// what others had committed behind it would be missing.
async fn wait_until_stable(
    topic: &TopicName,
    partitions: &BTreeSet<PartitionIndex>,
    client: &RawClient,
) -> Result<(), StoreError> {
    let all: Vec<_> = partitions.iter().map(|p| TopicPartition::new(topic.clone(), *p)).collect();
    let offsets = async |at| {
        let failed = |source| StoreError::Read { topic: topic.clone(), source };
        let found = client.list_offsets(&all, at).await.map_err(failed)?;
        found.into_values().collect::<Result<Vec<Offset>, ClientError>>().map_err(failed)
    };
    let ends = offsets(OffsetAt::Latest).await?;
    loop {
        let stable = offsets(OffsetAt::LastStable).await?;
        if stable.iter().zip(&ends).all(|(stable, end)| stable >= end) {
            return Ok(());
        }
        tokio::time::sleep(STABLE_PAUSE).await;
    }
}

/// What the offset topic says at this moment.
pub(crate) async fn read_offsets(
    topic: &TopicName,
    consumer: &ClientSettings,
    client: &RawClient,
) -> Result<OffsetState, StoreError> {
    let failed = |source| StoreError::Read { topic: topic.clone(), source };
    let view = client.refresh(std::slice::from_ref(topic)).await.map_err(failed)?;
    let found = view.topics.get(topic).ok_or_else(|| StoreError::Missing { topic: topic.clone() })?;
    let partitions: BTreeSet<PartitionIndex> = found.partitions.keys().copied().collect();
    let late = |_| StoreError::LoadTimeout { topic: topic.clone(), within: LOAD_WITHIN };
    tokio::time::timeout(LOAD_WITHIN, wait_until_stable(topic, &partitions, client)).await.map_err(late)??;
    let consumer = reading(topic, &partitions, consumer).await?;
    let (positions, _) = watch::channel(Positions::new());
    let state = Arc::new(Mutex::new(OffsetState::default()));
    let mut reader = Reader { topic: topic.clone(), consumer, state: Arc::clone(&state), positions };
    tokio::time::timeout(LOAD_WITHIN, reader.load(partitions)).await.map_err(late)??;
    let read = std::mem::take(&mut *state.lock());
    Ok(read)
}

impl<S> Drop for StateLog<S> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// How a topic is opened.
pub(crate) struct Start {
    /// Each write is a transaction of this id (the topic has one partition): who had it before writes nothing more, and
    /// who has lost this place does not take it back.
    pub(crate) transactions: Option<(String, Place)>,
    /// Whether what stands behind an open transaction is waited for. Not by who is about to end that transaction.
    pub(crate) waits: bool,
}

/// How records get into the topic.
enum Writer {
    Plain(Producer),
    Transactional(Box<TransactionalWriter>),
}

struct Reader<S> {
    topic: TopicName,
    consumer: Consumer,
    state: Arc<Mutex<S>>,
    positions: watch::Sender<Positions>,
}

impl<S: Replay> Reader<S> {
    /// Replays until every partition has shown its end once.
    async fn load(&mut self, mut missing: BTreeSet<PartitionIndex>) -> Result<(), StoreError> {
        while !missing.is_empty() {
            match self.consumer.next().await {
                Some(ConsumerEvent::Record(record)) => self.replay(&record),
                Some(ConsumerEvent::EndOfPartition(end)) => _ = missing.remove(&end.partition),
                Some(ConsumerEvent::Error { error, fatal: true }) => {
                    return Err(StoreError::Read { topic: self.topic.clone(), source: error });
                }
                Some(ConsumerEvent::Error { error, .. }) => {
                    tracing::warn!(topic = %self.topic, %error, "reading goes on after an error");
                }
                Some(_) => {}
                None => return Err(StoreError::Ended { topic: self.topic.clone() }),
            }
        }
        Ok(())
    }

    async fn follow(mut self) {
        while let Some(event) = self.consumer.next().await {
            match event {
                ConsumerEvent::Record(record) => self.replay(&record),
                ConsumerEvent::Error { error, fatal } => {
                    tracing::warn!(topic = %self.topic, %error, fatal, "reading goes on after an error");
                }
                _ => {}
            }
        }
    }

    fn replay(&self, record: &ConsumerRecord) {
        let key = record.key.as_deref().unwrap_or_default();
        if let Err(error) = self.state.lock().replay(key, record.value.as_deref()) {
            tracing::warn!(topic = %self.topic, offset = record.offset.0, %error, "stored record is passed over");
        }
        self.positions.send_modify(|positions| _ = positions.insert(record.partition, record.offset.next()));
    }
}
