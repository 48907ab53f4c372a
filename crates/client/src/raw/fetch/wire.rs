//! Fetch on the wire: requests out of what a session asks, partitions out of answers.
//!
//! Topics are named by id from version 13 on (KIP-516), by name before. Records are never touched: what comes out are
//! slices of the answer.

use std::collections::BTreeMap;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::TopicPartition;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicId, TopicName};

use super::session::{Ask, Asked};
use super::{FetchFrom, FetchOptions, FetchedPartition};
use crate::raw::batches::{millis, wire_topic};

/// The last version that names topics by name.
pub(super) const BY_NAME_MAX: i16 = 12;
/// The first version in which the last epoch is told (KIP-595).
const LAST_EPOCH_SINCE: i16 = 12;

/// A request as `version` can say it.
pub(super) fn request(ask: &Ask, options: &FetchOptions, version: i16) -> FetchRequest {
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(millis(options.wait_max))
        .with_min_bytes(options.bytes_min)
        .with_max_bytes(options.bytes_max)
        .with_isolation_level(i8::from(options.read_committed))
        .with_session_id(ask.session_id)
        .with_session_epoch(ask.epoch)
        .with_rack_id(StrBytes::from_string(options.rack.clone()))
        .with_topics(topics(&ask.partitions, options, version))
        .with_forgotten_topics_data(forgotten(&ask.forgotten, version))
}

/// Neighbours of one topic share its name; the order stays, because the broker fills its answer in it.
fn topics(wanted: &[Asked], options: &FetchOptions, version: i16) -> Vec<FetchTopic> {
    let mut topics = Vec::new();
    let same = |a: &Asked, b: &Asked| a.id == b.id && a.from.partition.topic == b.from.partition.topic;
    for run in wanted.chunk_by(same) {
        let partitions = run.iter().map(|asked| wire_partition(&asked.from, options, version)).collect();
        let topic = FetchTopic::default().with_partitions(partitions);
        topics.push(match version > BY_NAME_MAX {
            true => topic.with_topic_id(run[0].id.0),
            false => topic.with_topic(wire_topic(&run[0].from.partition.topic)),
        });
    }
    topics
}

fn wire_partition(from: &FetchFrom, options: &FetchOptions, version: i16) -> FetchPartition {
    let last_epoch = if version >= LAST_EPOCH_SINCE { from.last_epoch } else { LeaderEpoch::NONE };
    FetchPartition::default()
        .with_partition(from.partition.partition.0)
        .with_current_leader_epoch(from.leader_epoch.0)
        .with_last_fetched_epoch(last_epoch.0)
        .with_fetch_offset(from.offset.0)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(options.partition_bytes_max)
}

fn forgotten(forgotten: &[(TopicPartition, TopicId)], version: i16) -> Vec<ForgottenTopic> {
    let mut by_topic: BTreeMap<(&TopicName, TopicId), Vec<i32>> = BTreeMap::new();
    for (partition, id) in forgotten {
        by_topic.entry((&partition.topic, *id)).or_default().push(partition.partition.0);
    }
    let topic = |((name, id), partitions): ((&TopicName, TopicId), Vec<i32>)| {
        let topic = ForgottenTopic::default().with_partitions(partitions);
        if version > BY_NAME_MAX { topic.with_topic_id(id.0) } else { topic.with_topic(wire_topic(name)) }
    };
    by_topic.into_iter().map(topic).collect()
}

/// The partitions of an answer. Topics that came by an id that is not among `names` were not asked for and are left out.
pub(super) fn fetched(
    answered: Vec<FetchableTopicResponse>,
    names: &BTreeMap<TopicId, TopicName>,
) -> Vec<FetchedPartition> {
    let mut fetched = Vec::with_capacity(answered.iter().map(|topic| topic.partitions.len()).sum());
    for topic in answered {
        let id = TopicId(topic.topic_id);
        let name = match id.is_none() {
            true => TopicName::parse(&topic.topic).ok(),
            false => names.get(&id).cloned(),
        };
        let Some(name) = name else { continue };
        fetched.extend(topic.partitions.into_iter().map(|data| partition(&name, id, data)));
    }
    fetched
}

fn partition(topic: &TopicName, topic_id: TopicId, data: PartitionData) -> FetchedPartition {
    let diverging = (data.diverging_epoch.epoch >= 0 || data.diverging_epoch.end_offset >= 0)
        .then_some((LeaderEpoch(data.diverging_epoch.epoch), Offset(data.diverging_epoch.end_offset)));
    let leader = (NodeId(data.current_leader.leader_id.0), LeaderEpoch(data.current_leader.leader_epoch));
    let aborted = data.aborted_transactions.into_iter().flatten();
    FetchedPartition {
        partition: TopicPartition::new(topic.clone(), PartitionIndex(data.partition_index)),
        topic_id,
        error: ErrorCode::from_code(data.error_code).unwrap_or(ErrorCode::UnknownServerError),
        high_watermark: Offset(data.high_watermark),
        last_stable_offset: Offset(data.last_stable_offset),
        log_start_offset: Offset(data.log_start_offset),
        diverging,
        current_leader: Some(leader).filter(|(leader, _)| leader.0 >= 0),
        read_from: Some(NodeId(data.preferred_read_replica.0)).filter(|replica| replica.0 >= 0),
        aborted: aborted.map(|one| (ProducerId(one.producer_id.0), Offset(one.first_offset))).collect(),
        batches: data.records.unwrap_or_default(),
    }
}
