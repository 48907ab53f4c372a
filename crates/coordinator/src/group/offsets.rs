//! Committed offsets: commit, fetch, delete, and forgetting what nobody needs any more.
//!
//! A commit is fenced like a heartbeat, but a *simple* group (assigned by hand, no members) commits with
//! generation -1 and no member id. A group whose state is Completing answers REBALANCE_IN_PROGRESS: the
//! member knows the new generation and must not commit what it may have lost.

use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicName};

use super::record::{CommittedOffset, OffsetKey};
use super::request::{
    CommitAnswer, CommitOffsets, DeleteOffsets, DeleteOffsetsAnswer, FetchAnswer, FetchOffsets, FetchedOffset,
    Generation, GroupState, OffsetToCommit,
};
use super::state::Group;
use super::{Answer, Decision, Event, GroupShard, Record, Timer};
use crate::{Now, Token};

impl GroupShard {
    pub(super) fn commit_offsets(&mut self, now: Now, token: Token, commit: CommitOffsets) -> Decision {
        let error = match self.groups.get(&commit.group) {
            Some(group) => check_commit(group, &commit).err(),
            None if commit.generation < Generation(0) => None, // creates a simple group
            None if commit.knows_group_id_not_found => Some(ErrorCode::GroupIdNotFound),
            None => Some(ErrorCode::IllegalGeneration),
        };
        if let Some(error) = error {
            let answer = CommitAnswer { error, offsets: Vec::new() };
            return Decision::answer(token, Answer::CommitOffsets(answer));
        }
        self.renew_on_commit(now, &commit);
        let mut decision = Decision::default();
        let mut offsets = Vec::with_capacity(commit.offsets.len());
        for offset in commit.offsets {
            if utf16_len(&offset.metadata) > self.config.offset_metadata_bytes_max {
                offsets.push(ErrorCode::OffsetMetadataTooLarge);
                continue;
            }
            offsets.push(ErrorCode::None);
            let key =
                OffsetKey { group: commit.group.clone(), topic: offset.topic.clone(), partition: offset.partition };
            let value = Some(committed(offset, now.wall_ms, commit.retention_ms));
            decision.records.push(Record::OffsetCommit { key, value });
        }
        let answer = CommitAnswer { error: ErrorCode::None, offsets };
        decision.answers.push((token, Answer::CommitOffsets(answer)));
        decision
    }

    /// A commit is a sign of life.
    fn renew_on_commit(&mut self, now: Now, commit: &CommitOffsets) {
        self.with_group(now, &commit.group, |cx, group| {
            if let Some(member) = group.members.get(&commit.member) {
                cx.renew_session(&group.id, &member.id, member.session_timeout_ms);
            }
        });
    }

    pub(super) fn fetch_offsets(&self, token: Token, fetch: FetchOffsets) -> Decision {
        let group = self.groups.get(&fetch.group);
        let topics = match fetch.partitions {
            Some(topics) => topics
                .into_iter()
                .map(|(topic, partitions)| {
                    let known = group.and_then(|g| g.offsets.get(&topic));
                    let offset_of = |p: PartitionIndex| fetched(p, known.and_then(|o| o.get(&p)));
                    let offsets = partitions.into_iter().map(offset_of).collect();
                    (topic, offsets)
                })
                .collect(),
            None => group.map(every_offset).unwrap_or_default(),
        };
        Decision::answer(token, Answer::FetchOffsets(FetchAnswer { error: ErrorCode::None, topics }))
    }

    pub(super) fn delete_offsets(&self, token: Token, delete: DeleteOffsets) -> Decision {
        let refuse = |error| {
            let answer = DeleteOffsetsAnswer { error, topics: Vec::new() };
            Decision::answer(token, Answer::DeleteOffsets(answer))
        };
        if delete.group.as_str().is_empty() {
            return refuse(ErrorCode::InvalidGroupId);
        }
        let Some(group) = self.groups.get(&delete.group) else { return refuse(ErrorCode::GroupIdNotFound) };
        if !group.is_in(GroupState::Empty) && !group.is_consumer_group() {
            // Whether it still uses the topic cannot be known.
            return refuse(ErrorCode::NonEmptyGroup);
        }
        let mut decision = Decision::default();
        let mut topics = Vec::with_capacity(delete.topics.len());
        for (topic, partitions) in delete.topics {
            if group.is_subscribed_to(&topic) {
                topics.push(ErrorCode::GroupSubscribedToTopic);
                continue;
            }
            topics.push(ErrorCode::None);
            let committed = group.offsets.get(&topic);
            let known = partitions.into_iter().filter(|p| committed.is_some_and(|c| c.contains_key(p)));
            decision.records.extend(known.map(|partition| tombstone(group, &topic, partition)));
        }
        let answer = DeleteOffsetsAnswer { error: ErrorCode::None, topics };
        decision.answers.push((token, Answer::DeleteOffsets(answer)));
        decision
    }

    pub(super) fn forget_topics(&self, token: Token, topics: &[TopicName]) -> Decision {
        let mut decision = Decision::answer(token, Answer::ForgetTopics(ErrorCode::None));
        for group in self.groups.values() {
            for topic in topics {
                let partitions = group.offsets.get(topic).into_iter().flat_map(|o| o.keys());
                decision.records.extend(partitions.map(|partition| tombstone(group, topic, *partition)));
            }
        }
        decision
    }

    /// Looks through all groups for offsets whose time is up, and for groups that nothing is left of.
    pub(super) fn expire_offsets(&mut self, now: Now) -> Decision {
        let interval_ms = self.config.offsets_retention_check_interval_ms.max(1);
        self.deadlines.set(Timer::Expiry, now.monotonic_ms.saturating_add(interval_ms));
        let mut decision = Decision::default();
        let (mut offsets, mut groups) = (0, 0);
        for group in self.groups.values() {
            let expired = expired_offsets(group, now.wall_ms, self.config.offsets_retention_ms);
            let is_all = expired.len() == group.offsets.values().map(|o| o.len()).sum::<usize>();
            offsets += expired.len();
            decision.records.extend(expired.into_iter().map(|(topic, p)| tombstone(group, topic, p)));
            if is_all && group.is_deserted() {
                groups += 1;
                decision.records.push(Record::GroupMetadata { group: group.id.clone(), value: None });
            }
        }
        if offsets + groups > 0 {
            decision.events.push(Event::OffsetsExpired { offsets, groups });
        }
        decision
    }

    pub(super) fn replay_commit(&mut self, key: &OffsetKey, value: &CommittedOffset) {
        let group = self.groups.entry(key.group.clone()).or_insert_with(|| Group::new(key.group.clone()));
        group.offsets.entry(key.topic.clone()).or_default().insert(key.partition, value.clone());
    }

    pub(super) fn replay_offset_tombstone(&mut self, key: &OffsetKey) {
        let Some(group) = self.groups.get_mut(&key.group) else { return };
        let Some(partitions) = group.offsets.get_mut(&key.topic) else { return };
        partitions.remove(&key.partition);
        if partitions.is_empty() {
            group.offsets.remove(&key.topic);
        }
    }
}

fn check_commit(group: &Group, commit: &CommitOffsets) -> Result<(), ErrorCode> {
    let is_empty = group.is_in(GroupState::Empty);
    if commit.generation < Generation(0) && is_empty {
        return Ok(());
    }
    let names_a_member = !commit.member.is_unknown() || commit.instance.is_some();
    if commit.generation >= Generation(0) || names_a_member {
        group.check_member(&commit.member, commit.instance.as_ref())?;
        if commit.generation != group.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
    } else {
        // No generation, no member: only groups without members take that.
        return Err(ErrorCode::UnknownMemberId);
    }
    if group.is_in(GroupState::CompletingRebalance) {
        return Err(ErrorCode::RebalanceInProgress);
    }
    Ok(())
}

fn committed(offset: OffsetToCommit, now_ms: i64, retention_ms: Option<i64>) -> CommittedOffset {
    CommittedOffset {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata,
        commit_timestamp_ms: now_ms,
        expire_timestamp_ms: retention_ms.map(|retention| now_ms.saturating_add(retention)),
        topic_id: offset.topic_id,
    }
}

fn fetched(partition: PartitionIndex, known: Option<&CommittedOffset>) -> FetchedOffset {
    match known {
        Some(known) => FetchedOffset {
            partition,
            offset: known.offset,
            leader_epoch: known.leader_epoch,
            metadata: known.metadata.clone(),
        },
        None => FetchedOffset { partition, offset: Offset::NONE, leader_epoch: LeaderEpoch::NONE, metadata: "".into() },
    }
}

fn every_offset(group: &Group) -> Vec<(TopicName, Vec<FetchedOffset>)> {
    let topic = |(topic, offsets): (&TopicName, &std::collections::BTreeMap<_, _>)| {
        (topic.clone(), offsets.iter().map(|(partition, known)| fetched(*partition, Some(known))).collect())
    };
    group.offsets.iter().map(topic).collect()
}

fn tombstone(group: &Group, topic: &TopicName, partition: PartitionIndex) -> Record {
    let key = OffsetKey { group: group.id.clone(), topic: topic.clone(), partition };
    Record::OffsetCommit { key, value: None }
}

pub(super) fn all_tombstones(group: &Group) -> Vec<Record> {
    let partitions = group.offsets.iter().flat_map(|(topic, o)| o.keys().map(move |p| (topic, *p)));
    partitions.map(|(topic, partition)| tombstone(group, topic, partition)).collect()
}

/// Kafka's rules: a group with members keeps what it is subscribed to, and everything unless it is a stable
/// consumer group whose subscriptions are known; an empty group's retention starts when it became empty, a
/// simple group's with each commit.
fn expired_offsets(group: &Group, now_ms: i64, retention_ms: i64) -> Vec<(&TopicName, PartitionIndex)> {
    let is_simple = group.protocol_type.is_none();
    let since_empty = match group.state {
        _ if is_simple => None,
        GroupState::Empty => group.state_since_ms,
        GroupState::Stable if group.is_consumer_group() && group.subscribed.is_some() => None,
        _ => return Vec::new(),
    };
    let is_expired = |offset: &CommittedOffset| match offset.expire_timestamp_ms {
        Some(at) => now_ms >= at,
        None => now_ms.saturating_sub(since_empty.unwrap_or(offset.commit_timestamp_ms)) >= retention_ms,
    };
    group
        .offsets
        .iter()
        .filter(|(topic, _)| !group.is_subscribed_to(topic))
        .flat_map(|(topic, offsets)| offsets.iter().map(move |(partition, offset)| (topic, *partition, offset)))
        .filter(|(_, _, offset)| is_expired(offset))
        .map(|(topic, partition, _)| (topic, partition))
        .collect()
}

/// Kafka bounds `offset.metadata.max.bytes` by Java's string length, which counts UTF-16 units.
fn utf16_len(text: &str) -> usize {
    text.encode_utf16().count()
}
