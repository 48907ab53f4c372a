//! ListOffsets (key 2), versions 1-10.
//!
//! v2 isolation level; v4 leader epochs (KIP-320); v6 flexible; v7 the record with the largest timestamp (-3,
//! KIP-734); v8 the earliest local offset (-4, KIP-405); v9 the last tiered offset (-5, KIP-1005); v10 a time limit.
//!
//! A time asks for the first record at or after it, also in the middle of a batch. Without tiered storage all
//! offsets are local and none is tiered. Consumers hear of what is committed, those that read committed transactions only
//! up to the last stable offset; a new leader that does not know yet how much that is answers OFFSET_NOT_AVAILABLE
//! (KIP-207). Replicas, and tools that ask as one (-2), hear of all.
//!
//! To find a record by its time a batch may have to be unpacked, which takes as long as its producer wants within the
//! topic's limit, so few look-ups run at once and the others stand in line. The partitions of a request take their turns
//! one after the other.

mod turns; // few at once

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName as WireTopicName};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicName, TopicPartition};

use super::log_wire::{authorize_topic, partition_here};
use super::newly_led::wait_until_led;
use crate::context::{Broker, Operation, RequestContext};
use crate::partitions::{Partition, Served, read_code};
use turns::TURNS;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

const CONSUMER: i32 = -1;
/// Kafka's own tools that look at a replica as it is.
const DEBUGGING_CONSUMER: i32 = -2;
/// Versions that do not know OFFSET_NOT_AVAILABLE hear LEADER_NOT_AVAILABLE.
const OFFSET_NOT_AVAILABLE_SINCE: i16 = 5;
const NO_TIMESTAMP: i64 = -1;
const READ_COMMITTED: i8 = 1;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Consumer {
        /// It does not read records of open or aborted transactions.
        committed: bool,
    },
    Replica,
    Debugger,
}

/// What one partition answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    timestamp: i64,
    offset: Offset,
    epoch: LeaderEpoch,
}

impl Found {
    const NOTHING: Found = Found { timestamp: NO_TIMESTAMP, offset: Offset::NONE, epoch: LeaderEpoch::NONE };
}

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let image = broker.image.load_full();
    let asker = match request.replica_id.0 {
        CONSUMER => Asker::Consumer { committed: request.isolation_level == READ_COMMITTED },
        DEBUGGING_CONSUMER => Asker::Debugger,
        _ => Asker::Replica,
    };
    wait_until_led(broker, &image, named(&request)).await;
    let mut repeated = Repeated::of(&request.topics);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        topics.extend(list_topic(broker, ctx, &image, topic, asker, &mut repeated).await);
    }
    ListOffsetsResponse::default().with_topics(topics)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: ListOffsetsRequest,
    code: ErrorCode,
) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| to_response(ctx, asked.partition_index, Err(code)));
        ListOffsetsTopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn named(request: &ListOffsetsRequest) -> impl Iterator<Item = TopicPartition> {
    let topics = request.topics.iter().filter_map(|topic| Some((TopicName::parse(topic.name.as_str()).ok()?, topic)));
    topics.flat_map(|(name, topic)| {
        let indexes = topic.partitions.iter().map(|asked| PartitionIndex(asked.partition_index));
        indexes.map(move |index| TopicPartition::new(name.clone(), index))
    })
}

async fn list_topic(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: ListOffsetsTopic,
    asker: Asker,
    repeated: &mut Repeated,
) -> Option<ListOffsetsTopicResponse> {
    let name = TopicName::parse(topic.name.as_str())
        .map_err(|_| ErrorCode::UnknownTopicOrPartition)
        .and_then(|name| authorize_topic(broker, ctx, Operation::Describe, &name).map(|()| name));
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for asked in &topic.partitions {
        let found = match &name {
            _ if repeated.contains(&topic.name, asked.partition_index) => match repeated.is_told(&topic.name, asked) {
                true => continue,
                false => Err(ErrorCode::InvalidRequest),
            },
            Ok(name) => list_partition(broker, ctx, image, name, asked, asker).await,
            Err(code) => Err(*code),
        };
        partitions.push(to_response(ctx, asked.partition_index, found));
    }
    let is_told = !partitions.is_empty() || topic.partitions.is_empty();
    is_told.then(|| ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions))
}

/// Partitions that are asked for twice: which of the two times would be meant? Each is refused, once.
struct Repeated {
    /// With whether the answer has it already.
    partitions: HashMap<(WireTopicName, i32), bool>,
}

impl Repeated {
    fn of(topics: &[ListOffsetsTopic]) -> Repeated {
        let mut seen = HashSet::new();
        let named =
            topics.iter().flat_map(|topic| topic.partitions.iter().map(|asked| (&topic.name, asked.partition_index)));
        let twice = named.filter(|named| !seen.insert(*named)).map(|(name, index)| ((name.clone(), index), false));
        Repeated { partitions: twice.collect() }
    }

    fn contains(&self, topic: &WireTopicName, index: i32) -> bool {
        !self.partitions.is_empty() && self.partitions.contains_key(&(topic.clone(), index))
    }

    /// Whether the answer has it; from now on it does.
    fn is_told(&mut self, topic: &WireTopicName, asked: &ListOffsetsPartition) -> bool {
        let told = self.partitions.get_mut(&(topic.clone(), asked.partition_index));
        told.is_none_or(|told| std::mem::replace(told, true))
    }
}

async fn list_partition(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: &TopicName,
    asked: &ListOffsetsPartition,
    asker: Asker,
) -> Result<Found, ErrorCode> {
    if !is_served(asked.timestamp, ctx.api_version) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let partition = partition_here(broker, image, topic, PartitionIndex(asked.partition_index))?;
    let client_epoch = LeaderEpoch(asked.current_leader_epoch);
    match asker {
        Asker::Debugger => partition.check_reader(client_epoch, Served::ByAnyReplica)?,
        Asker::Consumer { .. } | Asker::Replica => partition.check_reader(client_epoch, Served::ByLeader)?,
    }
    match asked.timestamp {
        LATEST => {
            let offset = latest(ctx, &partition, asker)?;
            Ok(Found { timestamp: NO_TIMESTAMP, offset, epoch: partition.leader_epoch() })
        }
        EARLIEST | EARLIEST_LOCAL => {
            let offset = partition.log().log_start_offset();
            Ok(Found { timestamp: NO_TIMESTAMP, offset, epoch: partition.log().epoch_at(offset) })
        }
        LATEST_TIERED => Ok(Found::NOTHING),
        timestamp => {
            let version = ctx.api_version;
            TURNS.run(move || by_time(&partition, timestamp, asker).map_err(|code| known_code(code, version))).await
        }
    }
}

fn known_code(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::OffsetNotAvailable if version < OFFSET_NOT_AVAILABLE_SINCE => ErrorCode::LeaderNotAvailable,
        code => code,
    }
}

fn latest(ctx: &RequestContext, partition: &Partition, asker: Asker) -> Result<Offset, ErrorCode> {
    let Asker::Consumer { committed } = asker else { return Ok(partition.log().log_end_offset()) };
    let latest = partition.latest_offset().map_err(|code| known_code(code, ctx.api_version))?;
    Ok(if committed { latest.min(partition.last_stable_offset()) } else { latest })
}

/// Special times came with versions of their own.
fn is_served(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        _ => false,
    }
}

/// Looks a record up by its timestamp; only what consumers may read counts. A new leader whose high watermark is behind
/// what the old one announced must not say that there is none (KIP-207): the client would go to the end.
fn by_time(partition: &Partition, timestamp: i64, asker: Asker) -> Result<Found, ErrorCode> {
    let log = partition.log();
    let found = match timestamp {
        MAX_TIMESTAMP => log.max_timestamp(),
        timestamp => log.offset_for_time(timestamp),
    };
    let found = found.map_err(|error| {
        tracing::error!(partition = %partition.id(), %error, "cannot look a timestamp up");
        read_code(&error)
    })?;
    let end = match asker {
        Asker::Consumer { committed: true } => partition.last_stable_offset(),
        _ => partition.high_watermark(),
    };
    let visible = found.filter(|found| found.offset < end);
    if visible.is_none() && matches!(asker, Asker::Consumer { .. }) {
        partition.latest_offset()?;
    }
    Ok(visible.map_or(Found::NOTHING, |found| Found {
        timestamp: found.timestamp,
        offset: found.offset,
        epoch: found.leader_epoch,
    }))
}

fn to_response(ctx: &RequestContext, index: i32, found: Result<Found, ErrorCode>) -> ListOffsetsPartitionResponse {
    let (code, found) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(code) => (code, Found::NOTHING),
    };
    ctx.count_error(code);
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code.code())
        .with_timestamp(found.timestamp)
        .with_offset(found.offset.0);
    match ctx.api_version {
        4.. => response.with_leader_epoch(found.epoch.0),
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_times_are_served_from_their_version_on() {
        for (timestamp, since) in
            [(LATEST, 1), (EARLIEST, 1), (0, 1), (MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9)]
        {
            assert!(is_served(timestamp, since));
            assert!(since == 1 || !is_served(timestamp, since - 1), "{timestamp}");
        }
        assert!(!is_served(-6, 10));
    }

    #[test]
    fn partitions_asked_for_twice_are_found() {
        let asked = |index| ListOffsetsPartition::default().with_partition_index(index);
        let topic = |name: &'static str, indexes: &[i32]| {
            let partitions = indexes.iter().map(|index| asked(*index)).collect();
            ListOffsetsTopic::default().with_name(WireTopicName(name.into())).with_partitions(partitions)
        };
        let (a, b) = (WireTopicName("a".into()), WireTopicName("b".into()));
        let mut repeated = Repeated::of(&[topic("a", &[1, 2, 1]), topic("b", &[1, 3]), topic("b", &[3])]);
        assert!(repeated.contains(&a, 1) && repeated.contains(&b, 3));
        assert!(!repeated.contains(&a, 2) && !repeated.contains(&b, 1));
        assert!(!repeated.is_told(&a, &asked(1)) && repeated.is_told(&a, &asked(1)), "once is enough");
    }
}
