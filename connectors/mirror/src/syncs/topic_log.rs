//! One compacted topic of one partition, written and read over the raw client: the bookkeeping of links.
//!
//! Bounds: a write is at most [`BATCH_BYTES`] at a time; a read holds one answer of [`READ_BYTES`].
//! Not here: what the records mean.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use twinstream_client::protocol::batch::{BatchBuilder, BatchError, batches};
use twinstream_client::raw::{FetchFrom, FetchOptions, OffsetAt};
use twinstream_client::{ClientError, NewTopic, RawClient};
use twinstream_model::{ErrorCode, Offset, PartitionIndex, TopicName, TopicPartition};

/// Below Kafka's default for the largest batch, with room for its header.
const BATCH_BYTES: usize = 900 << 10;
const READ_BYTES: i32 = 4 << 20;
/// What one batch may unpack to: Kafka's default for the largest batch, packed as well as can be.
const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// How long a first read waits for a leader, as long as a worker waits for its own topics; and between two tries.
const LOAD_WITHIN: Duration = Duration::from_secs(60);
const LOAD_PAUSE: Duration = Duration::from_millis(100);

/// How many replicas a topic of ours gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replicas {
    /// As configured; -1 is the cluster's default.
    Exactly(i16),
    /// MirrorMaker's default of 3, or as many as there are brokers.
    UpTo(i16),
}

impl Replicas {
    pub(crate) fn among(self, brokers: usize) -> i16 {
        match self {
            Replicas::Exactly(count) => count,
            Replicas::UpTo(count) => count.min(i16::try_from(brokers).unwrap_or(count)).max(1),
        }
    }
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// The topic begins anew: what was read before no longer counts.
    Anew,
    Record {
        key: &'a [u8],
        value: Option<&'a [u8]>,
    },
}

pub(crate) struct TopicLog {
    client: RawClient,
    partition: TopicPartition,
    next: Offset,
}

impl TopicLog {
    pub(crate) fn new(client: RawClient, topic: TopicName) -> Self {
        Self { client, partition: TopicPartition::new(topic, PartitionIndex(0)), next: Offset(0) }
    }

    pub(crate) fn topic(&self) -> &TopicName {
        &self.partition.topic
    }

    pub(crate) fn client(&self) -> RawClient {
        self.client.clone()
    }

    /// Makes the topic if it is not there, and waits until somebody leads it.
    pub(crate) async fn ensure(&self, replicas: Replicas, more: &[(&str, &str)]) -> Result<(), ClientError> {
        self.make(replicas, more).await?;
        self.client.retry(|| self.client.leader(&self.partition)).await.map(drop)
    }

    async fn make(&self, replicas: Replicas, more: &[(&str, &str)]) -> Result<(), ClientError> {
        let name = &self.partition.topic;
        let view = self.client.refresh(std::slice::from_ref(name)).await?;
        if view.topics.contains_key(name) {
            return Ok(());
        }
        let topic = NewTopic::new(name.clone(), 1, replicas.among(view.brokers.len()));
        let topic = topic.with_config("cleanup.policy", "compact");
        let topic = more.iter().fold(topic, |topic, (name, value)| topic.with_config(name, value));
        let made = self.client.create_topics(&[topic], false).await?;
        match made.into_values().next() {
            Some(Ok(_)) => {
                tracing::info!(topic = %name, "topic made");
                Ok(())
            }
            Some(Err(error)) if error.code() != Some(ErrorCode::TopicAlreadyExists) => Err(error),
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Appends records in order, acknowledged by all in-sync replicas. They replace what has the same key, so one that was
    /// written twice does no harm.
    pub(crate) async fn append(&self, records: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), ClientError> {
        let now = now_ms();
        let mut batch = BatchBuilder::new();
        for (key, value) in records {
            batch.append(now, Some(key), value.as_deref(), std::iter::empty::<(&[u8], Option<&[u8]>)>());
            if batch.size() >= BATCH_BYTES {
                self.send(std::mem::replace(&mut batch, BatchBuilder::new())).await?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.send(batch).await }
    }

    async fn send(&self, batch: BatchBuilder) -> Result<(), ClientError> {
        let what = || format!("write to topic {}", self.partition.topic);
        let bytes = batch.build().map_err(|cause| ClientError::Malformed {
            address: "this worker".to_owned(),
            api: what(),
            reason: cause.to_string(),
        })?;
        self.client.produce_batch(&self.partition, Bytes::from(bytes)).await.map(drop)
    }

    /// Reads as [`Self::read`] does, and waits for a leader that is about to come: a topic that was just made, a broker that
    /// just left.
    pub(crate) async fn read_all(&mut self, mut each: impl FnMut(Read<'_>)) -> Result<(), ClientError> {
        let until = Instant::now() + LOAD_WITHIN;
        loop {
            match self.read(&mut each).await {
                Err(error) if error.is_retriable() && Instant::now() < until => sleep(LOAD_PAUSE).await,
                done => return done,
            }
        }
    }

    /// Reads from where the last read stopped to the present end. A topic that does not exist holds nothing.
    pub(crate) async fn read(&mut self, mut each: impl FnMut(Read<'_>)) -> Result<(), ClientError> {
        let options = FetchOptions {
            wait_max: Duration::ZERO,
            bytes_max: READ_BYTES,
            partition_bytes_max: READ_BYTES,
            read_committed: true,
            ..FetchOptions::default()
        };
        loop {
            let leader = match self.client.leader(&self.partition).await {
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                    if std::mem::replace(&mut self.next, Offset(0)) > Offset(0) {
                        each(Read::Anew);
                    }
                    return Ok(());
                }
                leader => leader?,
            };
            let from = FetchFrom::new(self.partition.clone(), self.next);
            let fetched = self.client.fetch_batches(leader, &[from], &options).await?.pop();
            let Some(fetched) = fetched else { return Ok(()) };
            match fetched.error {
                ErrorCode::None => {}
                ErrorCode::OffsetOutOfRange => {
                    self.begin_anew().await?;
                    each(Read::Anew);
                    continue;
                }
                code => {
                    self.client.forget_leader(&self.partition);
                    return Err(self.broken(code));
                }
            }
            let before = self.next;
            self.take(&fetched.batches, &mut each)?;
            if self.next >= fetched.last_stable_offset || self.next == before {
                return Ok(());
            }
        }
    }

    async fn begin_anew(&mut self) -> Result<(), ClientError> {
        let starts = self.client.list_offsets(std::slice::from_ref(&self.partition), OffsetAt::Earliest).await?;
        self.next = starts.into_values().next().unwrap_or(Ok(Offset(0)))?;
        Ok(())
    }

    fn take(&mut self, answer: &[u8], each: &mut impl FnMut(Read<'_>)) -> Result<(), ClientError> {
        for view in batches(answer) {
            let view = match view {
                Ok(view) => view,
                // The last one may be cut short by the size of the answer.
                Err(BatchError::Truncated { .. }) => break,
                Err(cause) => return Err(self.unreadable(self.next, &cause)),
            };
            let header = view.header();
            if header.next_offset() <= self.next {
                continue;
            }
            if !header.attributes.is_control() {
                let unreadable = |cause| self.unreadable(header.base_offset, &cause);
                view.check_crc().map_err(unreadable)?;
                let records = view.records(UNPACKED_BYTES_MAX).map_err(unreadable)?;
                for record in &records {
                    let record = record.map_err(unreadable)?;
                    if let (Some(key), true) = (record.key, record.offset >= self.next) {
                        each(Read::Record { key, value: record.value });
                    }
                }
            }
            self.next = header.next_offset();
        }
        Ok(())
    }

    fn unreadable(&self, at: Offset, cause: &dyn std::fmt::Display) -> ClientError {
        ClientError::Malformed {
            address: self.partition.to_string(),
            api: "records".to_owned(),
            reason: format!("batch at offset {at}: {cause}"),
        }
    }

    fn broken(&self, code: ErrorCode) -> ClientError {
        ClientError::Broker { what: format!("read topic {}", self.partition.topic), code, detail: None }
    }
}

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
