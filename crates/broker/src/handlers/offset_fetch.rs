//! OffsetFetch (key 9), versions 1-9.
//!
//! v2 null asks for every offset, top-level error; v3 throttle time; v5 leader epoch (KIP-320); v6 flexible;
//! v7 require-stable (KIP-447); v8 many groups (KIP-709); v9 member id and epoch, which consumer
//! groups check (KIP-848). v10 (topic ids) is newer than our codec.
//!
//! An answer waits until the offsets that it names are committed for good; commits of other partitions do not delay it.
//! Kafka answers with the offset before, so one of ours may be late when followers are. With require-stable an offset that
//! an open transaction is about to replace is UNSTABLE_OFFSET_COMMIT, upon which clients ask again.
//!
//! Deviations: an offset that was committed for a topic that was deleted and made again since is none, whatever became of the
//! request to forget it; Kafka looks at the id only where the client names it (v10).

use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId as WireGroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName as WireTopicName,
};
use kafka_protocol::protocol::StrBytes;
use twinstream_coordinator::group::{Answer, Epoch, FetchOffsets, FetchedOffset, Request};
use twinstream_model::{ErrorCode, PartitionIndex, TopicId, TopicName};

use super::group_wire::{call, group_id, member_id, mismatched, wire, wire_topic};
use crate::context::{Broker, Operation, RequestContext, Resource};

const TOP_LEVEL_ERROR_SINCE: i16 = 2;
const MANY_GROUPS_SINCE: i16 = 8;

/// The member epoch of who is no member.
const NOBODY: i32 = -1;

/// What one group is asked for; `None` for every offset.
struct Wanted {
    group: WireGroupId,
    member: Option<StrBytes>,
    epoch: i32,
    topics: Option<Vec<(WireTopicName, Vec<i32>)>>,
    require_stable: bool,
}

/// One partition of the answer, before it takes the shape of a version.
struct Found {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: String,
    error: ErrorCode,
}

struct FoundGroup {
    group: WireGroupId,
    error: ErrorCode,
    topics: Vec<(WireTopicName, Vec<Found>)>,
}

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let groups = wanted(ctx, request).into_iter().map(|wanted| fetch(broker, ctx, wanted));
    respond(ctx, join_all(groups).await)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: OffsetFetchRequest,
    code: ErrorCode,
) -> OffsetFetchResponse {
    respond(ctx, wanted(ctx, request).into_iter().map(|wanted| failed(ctx, wanted, code)).collect())
}

fn wanted(ctx: &RequestContext, request: OffsetFetchRequest) -> Vec<Wanted> {
    let require_stable = request.require_stable;
    if ctx.api_version >= MANY_GROUPS_SINCE {
        let topics_of = |group: OffsetFetchRequestGroup| {
            let topics = group.topics?.into_iter().map(|topic| (topic.name, topic.partition_indexes));
            Some(topics.collect())
        };
        let groups = request.groups.into_iter();
        return groups
            .map(|group| Wanted {
                group: group.group_id.clone(),
                member: group.member_id.clone(),
                epoch: group.member_epoch,
                topics: topics_of(group),
                require_stable,
            })
            .collect();
    }
    let topics = request.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
    vec![Wanted { group: request.group_id, member: None, epoch: NOBODY, topics, require_stable }]
}

async fn fetch(broker: &Arc<Broker>, ctx: &RequestContext, wanted: Wanted) -> FoundGroup {
    let group = group_id(&wanted.group);
    let may_describe = |topic: &str| broker.authorize(ctx, Operation::Describe, Resource::Topic(topic));
    // A name that no topic can have has no offset either; only the others are asked for.
    let partitions = wanted.topics.as_ref().map(|topics| {
        let known = topics.iter().filter(|(name, _)| may_describe(name.as_str())).filter_map(|(name, indexes)| {
            let name = TopicName::parse(name.as_str()).ok()?;
            Some((name, indexes.iter().copied().map(PartitionIndex).collect()))
        });
        known.collect()
    });
    let request = Request::FetchOffsets(FetchOffsets {
        group: group.clone(),
        member: wanted.member.as_ref().map(member_id),
        epoch: Epoch(wanted.epoch),
        partitions,
        require_stable: wanted.require_stable,
    });
    let answer = match call(broker, ctx, Operation::Describe, &group, request).await {
        Ok(Answer::FetchOffsets(answer)) if answer.error.is_none() => answer,
        Ok(Answer::FetchOffsets(answer)) => return failed(ctx, wanted, answer.error),
        Ok(other) => return failed(ctx, wanted, mismatched(&other)),
        Err(error) => return failed(ctx, wanted, error),
    };
    let image = broker.image.load_full();
    let found = answer.topics.into_iter().filter(|(name, _)| may_describe(name.as_str()));
    let mut topics: Vec<(WireTopicName, Vec<Found>)> = found
        .map(|(name, offsets)| {
            let now = image.topic(&name).map_or(TopicId::NONE, |topic| topic.id);
            (wire_topic(&name), offsets.into_iter().map(|offset| Found::of(offset, now)).collect())
        })
        .collect();
    for (name, indexes) in wanted.topics.into_iter().flatten() {
        let error = match may_describe(name.as_str()) {
            false => ErrorCode::TopicAuthorizationFailed,
            true if TopicName::parse(name.as_str()).is_err() => ErrorCode::None,
            true => continue,
        };
        topics.push((name, indexes.into_iter().map(|partition| Found::nothing(partition, error)).collect()));
    }
    FoundGroup { group: wanted.group, error: ErrorCode::None, topics }
}

/// Version 1 has no place for an error but the partitions.
fn failed(ctx: &RequestContext, wanted: Wanted, error: ErrorCode) -> FoundGroup {
    let topics = if ctx.api_version < TOP_LEVEL_ERROR_SINCE { wanted.topics.unwrap_or_default() } else { Vec::new() };
    let nothing = |indexes: Vec<i32>| indexes.into_iter().map(|partition| Found::nothing(partition, error)).collect();
    let topics = topics.into_iter().map(|(name, indexes)| (name, nothing(indexes))).collect();
    FoundGroup { group: wanted.group, error, topics }
}

impl Found {
    fn nothing(partition: i32, error: ErrorCode) -> Found {
        Found { partition, offset: -1, leader_epoch: -1, metadata: String::new(), error }
    }
}

impl Found {
    /// An offset of the topic that had this name before is none of the one that has it now.
    fn of(fetched: FetchedOffset, topic_now: TopicId) -> Found {
        if fetched.is_of_another(topic_now) {
            return Found::nothing(fetched.partition.0, ErrorCode::None);
        }
        Found {
            partition: fetched.partition.0,
            offset: fetched.offset.0,
            leader_epoch: fetched.leader_epoch.0,
            metadata: fetched.metadata.to_string(),
            error: fetched.error,
        }
    }
}

fn respond(ctx: &RequestContext, mut groups: Vec<FoundGroup>) -> OffsetFetchResponse {
    for group in &groups {
        ctx.count_error(group.error);
        let of_partitions = group.topics.iter().flat_map(|(_, found)| found);
        of_partitions.for_each(|found| ctx.count_error(found.error));
    }
    if ctx.api_version >= MANY_GROUPS_SINCE {
        return OffsetFetchResponse::default().with_groups(groups.into_iter().map(group_answer).collect());
    }
    let Some(group) = groups.pop() else { return OffsetFetchResponse::default() };
    OffsetFetchResponse::default()
        .with_error_code(group.error.code())
        .with_topics(group.topics.into_iter().map(topic_answer).collect())
}

fn group_answer(group: FoundGroup) -> OffsetFetchResponseGroup {
    let topics = group.topics.into_iter().map(|(name, found)| {
        let partitions = found.into_iter().map(|found| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(found.partition)
                .with_committed_offset(found.offset)
                .with_committed_leader_epoch(found.leader_epoch)
                .with_metadata(Some(wire(&found.metadata)))
                .with_error_code(found.error.code())
        });
        OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(group.group)
        .with_error_code(group.error.code())
        .with_topics(topics.collect())
}

fn topic_answer((name, found): (WireTopicName, Vec<Found>)) -> OffsetFetchResponseTopic {
    let partitions = found.into_iter().map(|found| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(found.partition)
            .with_committed_offset(found.offset)
            .with_committed_leader_epoch(found.leader_epoch)
            .with_metadata(Some(wire(&found.metadata)))
            .with_error_code(found.error.code())
    });
    OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
}

#[cfg(test)]
mod tests {
    use twinstream_model::{LeaderEpoch, Offset};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn offset_of_a_topic_that_was_made_again_is_none() {
        let (old, new) = (TopicId(Uuid::from_u128(1)), TopicId(Uuid::from_u128(2)));
        let fetched = |topic_id| FetchedOffset {
            partition: PartitionIndex(3),
            topic_id,
            offset: Offset(7),
            leader_epoch: LeaderEpoch(0),
            metadata: "".into(),
            error: ErrorCode::None,
        };
        let offset_for = |committed, now| Found::of(fetched(committed), now).offset;
        assert_eq!((offset_for(old, new), offset_for(new, new)), (-1, 7));
        assert_eq!((offset_for(TopicId::NONE, new), offset_for(old, TopicId::NONE)), (7, 7), "not known, so believed");
    }
}
