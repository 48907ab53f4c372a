//! DeleteRecords (key 21), versions 0-2.
//!
//! v1 throttle time; v2 flexible.
//!
//! Moves the start of a log forward, -1 up to the high watermark. Whole segments below go at once, the rest is out
//! of reach. Only topics whose cleanup policy contains `delete` allow it (POLICY_VIOLATION), as in Kafka, and no mirror
//! of another cluster's topic does, whose log begins where its source's does. Followers
//! hear of the new start with their next answer, which is sent at once; the request is answered when all that are alive
//! have taken it over (KIP-107), else with REQUEST_TIMED_OUT after its time limit. All partitions wait together. A partition
//! that is named twice is answered once, and the last offset counts, as in Kafka.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName as WireTopicName};
use tokio::time::Instant;
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicName};

use super::log_wire::{authorize_topic, blocking, is_read_only, partition_here};
use crate::context::{Broker, Operation, RequestContext};
use crate::partitions::{Interest, Partition, Wait, now_ms, read_code};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = broker.image.load_full();
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in merged(request.topics) {
        topics.push(delete_in_topic(broker, ctx, &image, topic).await);
    }
    settle(broker, &mut topics, limit).await;
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, deletion)| to_response(ctx, index, deletion.outcome()));
        DeleteRecordsTopicResult::default().with_name(name).with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

/// Each topic and partition once, where it was named first; what was said last counts.
fn merged(topics: Vec<DeleteRecordsTopic>) -> Vec<DeleteRecordsTopic> {
    let mut places: HashMap<WireTopicName, (usize, HashMap<i32, usize>)> = HashMap::new();
    let mut merged: Vec<DeleteRecordsTopic> = Vec::with_capacity(topics.len());
    for mut topic in topics {
        let partitions = std::mem::take(&mut topic.partitions);
        let (at, indexes) = places.entry(topic.name.clone()).or_insert((merged.len(), HashMap::new()));
        if *at == merged.len() {
            merged.push(topic);
        }
        let kept = &mut merged[*at].partitions;
        for partition in partitions {
            match indexes.entry(partition.partition_index) {
                Entry::Occupied(place) => kept[*place.get()].offset = partition.offset,
                Entry::Vacant(place) => {
                    place.insert(kept.len());
                    kept.push(partition);
                }
            }
        }
    }
    merged
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: DeleteRecordsRequest,
    code: ErrorCode,
) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| to_response(ctx, asked.partition_index, Err(code)));
        DeleteRecordsTopicResult::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

async fn delete_in_topic(broker: &Broker, ctx: &RequestContext, image: &Image, topic: DeleteRecordsTopic) -> Topic {
    let name = TopicName::parse(topic.name.as_str())
        .map_err(|_| ErrorCode::UnknownTopicOrPartition)
        .and_then(|name| authorize_topic(broker, ctx, Operation::Delete, &name).map(|()| name));
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for asked in &topic.partitions {
        let deleted = match &name {
            Ok(name) => delete(broker, image, name, asked).await,
            Err(code) => Err(*code),
        };
        partitions.push((asked.partition_index, deleted.unwrap_or_else(Deletion::Done)));
    }
    (topic.name, partitions)
}

type Topic = (WireTopicName, Vec<(i32, Deletion)>);

/// A partition of the request.
enum Deletion {
    /// Done here; followers are to begin there, too.
    Waits(Arc<Partition>, Offset),
    Reached(Offset),
    Done(ErrorCode),
}

impl Deletion {
    /// Whether it waits on.
    fn look(&mut self) -> bool {
        let Deletion::Waits(partition, start) = self else { return false };
        *self = match partition.low_watermark() {
            Ok(low) if low >= *start => Deletion::Reached(low),
            Ok(_) => return true,
            Err(code) => Deletion::Done(code),
        };
        false
    }

    fn watched(&self) -> Option<(Arc<Partition>, Interest)> {
        match self {
            Deletion::Waits(partition, _) => Some((Arc::clone(partition), Interest::starts())),
            _ => None,
        }
    }

    fn outcome(self) -> Result<Offset, ErrorCode> {
        match self {
            Deletion::Reached(start) => Ok(start),
            Deletion::Waits(..) => Err(ErrorCode::RequestTimedOut),
            Deletion::Done(code) => Err(code),
        }
    }
}

/// Waits until all live replicas begin where they should, for at most `limit`.
async fn settle(broker: &Broker, topics: &mut [Topic], limit: Duration) {
    let Some(bell) = bell(topics) else { return };
    let deadline = Instant::now() + limit;
    while look(topics) {
        tokio::select! {
            () = bell.rung() => {}
            () = tokio::time::sleep_until(deadline) => return,
            () = broker.shutdown.cancelled() => return,
        }
    }
}

fn bell(topics: &[Topic]) -> Option<Wait> {
    let partitions = topics.iter().flat_map(|(_, partitions)| partitions);
    let watched: Vec<_> = partitions.filter_map(|(_, deletion)| deletion.watched()).collect();
    (!watched.is_empty()).then(|| Wait::on(watched))
}

/// Whether any waits on.
fn look(topics: &mut [Topic]) -> bool {
    let mut waits = false;
    for (_, deletion) in topics.iter_mut().flat_map(|(_, partitions)| partitions) {
        waits |= deletion.look();
    }
    waits
}

async fn delete(
    broker: &Broker,
    image: &Image,
    topic: &TopicName,
    asked: &DeleteRecordsPartition,
) -> Result<Deletion, ErrorCode> {
    if topic.is_internal() {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = partition_here(broker, image, topic, PartitionIndex(asked.partition_index))?;
    partition.check_leader(LeaderEpoch::NONE)?;
    if is_read_only(image, topic) {
        return Err(ErrorCode::PolicyViolation);
    }
    if !partition.log().config().cleanup.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let before = Offset(asked.offset);
    blocking(move || match partition.delete_records(before, now_ms()) {
        Ok(start) => Ok(Deletion::Waits(partition, start)),
        Err(error) => {
            tracing::debug!(partition = %partition.id(), %error, "records were not deleted");
            Err(read_code(&error))
        }
    })
    .await
}

fn to_response(ctx: &RequestContext, index: i32, deleted: Result<Offset, ErrorCode>) -> DeleteRecordsPartitionResult {
    let (code, low_watermark) = match deleted {
        Ok(start) => (ErrorCode::None, start),
        Err(code) => (code, Offset::NONE),
    };
    ctx.count_error(code);
    DeleteRecordsPartitionResult::default()
        .with_partition_index(index)
        .with_low_watermark(low_watermark.0)
        .with_error_code(code.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_a_partition_counts() {
        let topic = |name: &'static str, offsets: &[(i32, i64)]| {
            let partition = |(index, offset): &(i32, i64)| {
                DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset)
            };
            let partitions = offsets.iter().map(partition).collect();
            DeleteRecordsTopic::default().with_name(WireTopicName(name.into())).with_partitions(partitions)
        };
        let named = vec![topic("a", &[(0, 1), (1, 2), (0, 3)]), topic("b", &[(0, 4)]), topic("a", &[(1, 5), (2, 6)])];
        assert_eq!(merged(named), [topic("a", &[(0, 3), (1, 5), (2, 6)]), topic("b", &[(0, 4)])]);
    }
}
