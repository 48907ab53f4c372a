//! Whole record batches, out of a leader and into a leader, never decompressed.
//!
//! Fetch speaks version 12 at most: from 13 on a topic is named by its id only, and a caller that copies a topic under its
//! name gains nothing from that. Several tasks that fetch from one node through one client wait for each other, because a
//! broker answers one connection in order: give each its own [`RawClient`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{BrokerId, FetchRequest, ProduceRequest};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicName, TopicPartition};

use super::{Lane, Node, RawClient};
use crate::error::ClientError;
pub use twinstream_protocol::batch::BatchError;
use twinstream_protocol::batch::{BatchMut, BatchView};

/// The last versions that name topics by name.
const FETCH_VERSION_MAX: i16 = 12;
const PRODUCE_VERSION_MAX: i16 = 12;
/// What a fetch may take beyond the time that it asks the broker to wait.
const FETCH_GRACE: Duration = Duration::from_secs(15);

/// Bounds of one fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    pub wait_max: Duration,
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
    /// Only up to the last stable offset, and with the list of aborted transactions, which are the caller's to leave out.
    pub read_committed: bool,
    pub rack: String,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            wait_max: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: 50 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            read_committed: false,
            rack: String::new(),
        }
    }
}

/// One partition to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFrom {
    pub partition: TopicPartition,
    pub offset: Offset,
    /// Lets the leader refuse a reader with an outdated map; [`LeaderEpoch::NONE`] does not ask.
    pub leader_epoch: LeaderEpoch,
    /// The epoch of the last record read, so that the leader can tell where the logs part; NONE does not ask.
    pub last_epoch: LeaderEpoch,
}

impl FetchFrom {
    pub fn new(partition: TopicPartition, offset: Offset) -> Self {
        Self { partition, offset, leader_epoch: LeaderEpoch::NONE, last_epoch: LeaderEpoch::NONE }
    }
}

/// What one partition answered. Batches are as they are in the log; the first may begin before the offset asked for, the
/// last may be cut short by the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    pub partition: TopicPartition,
    pub error: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    /// Where the leader's log parts from the reader's, when it does.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// With `read_committed`: the producers of aborted transactions among the batches, each with the first offset of one.
    pub aborted: Vec<(ProducerId, Offset)>,
    pub batches: Bytes,
}

/// Where a batch ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedBatch {
    pub base_offset: Offset,
    pub log_append_time: Option<i64>,
    pub log_start_offset: Offset,
}

impl RawClient {
    /// Fetches from one leader, over the connection kept for that. Waits up to `wait_max` for `bytes_min`.
    /// Errors of single partitions are in the answer; a leader that refused is looked up again by the next question.
    pub async fn fetch_batches(
        &self,
        leader: NodeId,
        wanted: &[FetchFrom],
        options: &FetchOptions,
    ) -> Result<Vec<FetchedPartition>, ClientError> {
        let within = options.wait_max + FETCH_GRACE;
        let request = fetch_request(wanted, options);
        let answer = self.call(Node::Id(leader), Lane::Fetch, &request, FETCH_VERSION_MAX, within).await?;
        ClientError::check(|| format!("fetch from broker {leader}"), answer.error_code, None)?;
        let mut fetched = Vec::with_capacity(wanted.len());
        for topic in answer.responses {
            let Ok(name) = TopicName::parse(&topic.topic) else { continue };
            for data in topic.partitions {
                let found = fetched_partition(&name, data);
                self.note_error(&found.partition, found.error);
                fetched.push(found);
            }
        }
        Ok(fetched)
    }

    /// Appends one batch of format 2 as it is, acknowledged by all in-sync replicas. Brokers insist on base offset 0, and
    /// judge producer ids: [`ready_to_append`] makes a fetched batch fit.
    ///
    /// Errors that prove that nothing was written (no leader, not the leader, too few replicas) are retried here. After a
    /// lost connection or a time-out the batch may be in the log or not: the caller decides.
    pub async fn produce_batch(&self, partition: &TopicPartition, batch: Bytes) -> Result<AppendedBatch, ClientError> {
        let mut backoff = super::Backoff::default();
        let deadline = tokio::time::Instant::now() + self.shared.api_timeout;
        loop {
            let error = match self.produce_once(partition, batch.clone()).await {
                Err(error) if surely_not_written(&error) => error,
                done => return done,
            };
            let pause = backoff.next_pause();
            if tokio::time::Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn produce_once(&self, partition: &TopicPartition, batch: Bytes) -> Result<AppendedBatch, ClientError> {
        let leader = self.leader(partition).await?;
        let mut answers = self.produce_batches(leader, &[(partition.clone(), batch)]).await?;
        answers.remove(partition).unwrap_or_else(|| {
            Err(ClientError::Malformed {
                address: format!("broker {leader}"),
                api: "Produce".to_owned(),
                reason: format!("no answer for {partition}"),
            })
        })
    }

    /// Appends one batch each to several partitions of one leader in one request, without any retry.
    /// Kafka takes exactly one batch per partition in a request; of a repeated partition the last one is sent.
    pub async fn produce_batches(
        &self,
        leader: NodeId,
        batches: &[(TopicPartition, Bytes)],
    ) -> Result<BTreeMap<TopicPartition, Result<AppendedBatch, ClientError>>, ClientError> {
        let within = self.shared.request_timeout;
        let request = produce_request(batches, within);
        let answer =
            self.call(Node::Id(leader), Lane::Call, &request, PRODUCE_VERSION_MAX, within + FETCH_GRACE).await?;
        let mut appended = BTreeMap::new();
        for topic in &answer.responses {
            let Ok(name) = TopicName::parse(&topic.name) else { continue };
            for response in &topic.partition_responses {
                let partition = TopicPartition::new(name.clone(), PartitionIndex(response.index));
                let result = appended_batch(&partition, response);
                if let Err(ClientError::Broker { code, .. }) = &result {
                    self.note_error(&partition, *code);
                }
                appended.insert(partition, result);
            }
        }
        Ok(appended)
    }
}

/// A copy of a fetched batch as a broker takes it from a client: base offset 0, no leader epoch, and where the batch
/// belonged to an idempotent or transactional producer, that one's marks removed and the checksum redone. The records are
/// neither read nor recompressed. `None` for control batches, which only a transaction coordinator may write.
pub fn ready_to_append(batch: &[u8]) -> Result<Option<Bytes>, BatchError> {
    let view = BatchView::parse(batch)?;
    if view.attributes().is_control() {
        return Ok(None);
    }
    let (idempotent, transactional) = (view.header().is_idempotent(), view.attributes().is_transactional());
    let mut copy = BytesMut::from(view.bytes());
    let mut header = BatchMut::parse(&mut copy)?;
    header.set_base_offset(Offset(0));
    header.set_leader_epoch(LeaderEpoch::NONE);
    if idempotent {
        header.set_producer(None);
    }
    if transactional {
        header.clear_transactional();
    }
    Ok(Some(copy.freeze()))
}

fn surely_not_written(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::NotLeaderOrFollower
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::ThrottlingQuotaExceeded
        )
    )
}

fn fetch_request(wanted: &[FetchFrom], options: &FetchOptions) -> FetchRequest {
    let mut topics: BTreeMap<&TopicName, Vec<FetchPartition>> = BTreeMap::new();
    for from in wanted {
        let partition = FetchPartition::default()
            .with_partition(from.partition.partition.0)
            .with_current_leader_epoch(from.leader_epoch.0)
            .with_last_fetched_epoch(from.last_epoch.0)
            .with_fetch_offset(from.offset.0)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(options.partition_bytes_max);
        topics.entry(&from.partition.topic).or_default().push(partition);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partitions)| FetchTopic::default().with_topic(wire_topic(topic)).with_partitions(partitions));
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(millis(options.wait_max))
        .with_min_bytes(options.bytes_min)
        .with_max_bytes(options.bytes_max)
        .with_isolation_level(i8::from(options.read_committed))
        .with_session_epoch(-1) // a full fetch, without a session
        .with_rack_id(StrBytes::from_string(options.rack.clone()))
        .with_topics(topics.collect())
}

fn fetched_partition(topic: &TopicName, data: PartitionData) -> FetchedPartition {
    let diverging = (data.diverging_epoch.epoch >= 0 || data.diverging_epoch.end_offset >= 0)
        .then_some((LeaderEpoch(data.diverging_epoch.epoch), Offset(data.diverging_epoch.end_offset)));
    let aborted = data.aborted_transactions.into_iter().flatten();
    FetchedPartition {
        partition: TopicPartition::new(topic.clone(), PartitionIndex(data.partition_index)),
        error: ErrorCode::from_code(data.error_code).unwrap_or(ErrorCode::UnknownServerError),
        high_watermark: Offset(data.high_watermark),
        last_stable_offset: Offset(data.last_stable_offset),
        log_start_offset: Offset(data.log_start_offset),
        diverging,
        aborted: aborted.map(|one| (ProducerId(one.producer_id.0), Offset(one.first_offset))).collect(),
        batches: data.records.unwrap_or_default(),
    }
}

fn produce_request(batches: &[(TopicPartition, Bytes)], within: Duration) -> ProduceRequest {
    let mut topics: BTreeMap<&TopicName, BTreeMap<i32, PartitionProduceData>> = BTreeMap::new();
    for (partition, batch) in batches {
        let index = partition.partition.0;
        let data = PartitionProduceData::default().with_index(index).with_records(Some(batch.clone()));
        topics.entry(&partition.topic).or_default().insert(index, data);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_values().collect();
        TopicProduceData::default().with_name(wire_topic(topic)).with_partition_data(partitions)
    });
    ProduceRequest::default().with_acks(-1).with_timeout_ms(millis(within)).with_topic_data(topics.collect())
}

fn appended_batch(
    partition: &TopicPartition,
    response: &PartitionProduceResponse,
) -> Result<AppendedBatch, ClientError> {
    let record_error = response.record_errors.iter().find_map(|error| error.batch_index_error_message.as_deref());
    let detail = response.error_message.as_deref().or(record_error);
    ClientError::check(|| format!("produce a batch to {partition}"), response.error_code, detail)?;
    Ok(AppendedBatch {
        base_offset: Offset(response.base_offset),
        log_append_time: Some(response.log_append_time_ms).filter(|ms| *ms >= 0),
        log_start_offset: Offset(response.log_start_offset),
    })
}

pub(super) fn wire_topic(topic: &TopicName) -> kafka_protocol::messages::TopicName {
    StrBytes::from_string(topic.as_str().to_owned()).into()
}

pub(super) fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
