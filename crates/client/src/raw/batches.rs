//! Whole record batches into a leader, never decompressed: one at a time, for who counts requests or waits for each.
//! Loads go through a pipeline of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicName, TopicPartition};

use super::{Lane, Node, RawClient};
use crate::error::ClientError;
pub use twinstream_protocol::batch::BatchError;
use twinstream_protocol::batch::{BatchMut, BatchView};

/// The last version that names topics by name.
const PRODUCE_VERSION_MAX: i16 = 12;
/// What an answer may take beyond the time that the broker is given for its replicas.
const ANSWER_GRACE: Duration = Duration::from_secs(15);

/// Where a batch ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedBatch {
    pub base_offset: Offset,
    pub log_append_time: Option<i64>,
    pub log_start_offset: Offset,
}

impl RawClient {
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
            self.call(Node::Id(leader), Lane::Call, &request, PRODUCE_VERSION_MAX, within + ANSWER_GRACE).await?;
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
