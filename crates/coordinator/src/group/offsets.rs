//! Committed offsets: commit, fetch, delete, and forgetting what nobody needs any more.
//!
//! A commit is fenced like a heartbeat, but a *simple* group (assigned by hand, no members) commits with
//! generation -1 and no member id. A group whose state is Completing answers REBALANCE_IN_PROGRESS: the
//! member knows the new generation and must not commit what it may have lost.
//!
//! What a transaction has committed and no marker has decided on (`offset_book`) counts as in Kafka: it is not served, and
//! who wants stable offsets is told to wait (UNSTABLE_OFFSET_COMMIT); it keeps the offset before it and its group from
//! expiring; deleting an offset, a topic or a group deletes it too, and the marker then finds nothing.

use twinstream_model::{ErrorCode, GroupId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use super::consumer::ConsumerGroup;
use super::record::{CommittedOffset, OffsetKey};
use super::request::{
    CommitAnswer, CommitOffsets, DeleteOffsets, DeleteOffsetsAnswer, FetchAnswer, FetchOffsets, FetchedOffset,
    Generation, GroupState, InstanceId, MemberId, OffsetToCommit,
};
use super::state::Group;
use super::{Answer, Decision, Event, GroupShard, Record, Timer};
use crate::{Now, Token};

/// Who commits, as far as a group checks it.
pub(crate) struct Committer<'a> {
    pub(super) generation: Generation,
    pub(super) member: &'a MemberId,
    pub(super) instance: Option<&'a InstanceId>,
    pub(super) is_transactional: bool,
    /// OffsetCommit version 9 and later.
    pub(super) knows_member_epochs: bool,
    pub(super) offsets: &'a [OffsetToCommit],
}

impl GroupShard {
    pub(super) fn commit_offsets(&mut self, now: Now, token: Token, commit: CommitOffsets) -> Decision {
        let committer = Committer {
            generation: commit.generation,
            member: &commit.member,
            instance: commit.instance.as_ref(),
            is_transactional: false,
            knows_member_epochs: commit.knows_group_id_not_found,
            offsets: &commit.offsets,
        };
        if let Err(error) = self.check_commit(&commit.group, &committer) {
            let is_unknown_word = error == ErrorCode::GroupIdNotFound && !commit.knows_group_id_not_found;
            let error = if is_unknown_word { ErrorCode::IllegalGeneration } else { error };
            let answer = CommitAnswer { error, offsets: Vec::new() };
            return Decision::answer(token, Answer::CommitOffsets(answer));
        }
        self.renew_on_commit(now, &commit);
        let mut decision = Decision::default();
        let mut offsets = Vec::with_capacity(commit.offsets.len());
        for offset in commit.offsets {
            if self.is_metadata_too_large(&offset) {
                offsets.push(ErrorCode::OffsetMetadataTooLarge);
                continue;
            }
            offsets.push(ErrorCode::None);
            let key = offset.key(&commit.group);
            let value = Some(committed(offset, now.wall_ms, commit.retention_ms));
            decision.records.push(Record::OffsetCommit { key, value });
        }
        let answer = CommitAnswer { error: ErrorCode::None, offsets };
        decision.answers.push((token, Answer::CommitOffsets(answer)));
        decision
    }

    /// Whether a group takes this commit. GROUP_ID_NOT_FOUND if there is no such group and a member of it commits;
    /// without a generation the commit creates a simple group.
    pub(super) fn check_commit(&self, group: &GroupId, committer: &Committer<'_>) -> Result<(), ErrorCode> {
        if let Some(group) = self.consumers.get(group) {
            return group.check_commit(committer);
        }
        match self.groups.get(group) {
            Some(group) => check_committer(group, committer),
            None if committer.generation < Generation(0) => Ok(()),
            None => Err(ErrorCode::GroupIdNotFound),
        }
    }

    /// Kafka bounds `offset.metadata.max.bytes` by Java's string length, which counts UTF-16 units.
    pub(super) fn is_metadata_too_large(&self, offset: &OffsetToCommit) -> bool {
        offset.metadata.encode_utf16().count() > self.config.offset_metadata_bytes_max
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
        let group = &fetch.group;
        let consumers = self.consumers.get(group);
        if let Some(Err(error)) = consumers.map(|group| group.check_fetch(fetch.member.as_ref(), fetch.epoch)) {
            return Decision::answer(token, Answer::FetchOffsets(FetchAnswer { error, topics: Vec::new() }));
        }
        let fetched = |topic: &TopicName, partition: PartitionIndex, known: Option<&CommittedOffset>| {
            if fetch.require_stable && self.offsets.is_pending(group, topic, partition) {
                return FetchedOffset::nothing(partition, ErrorCode::UnstableOffsetCommit);
            }
            known.map_or(FetchedOffset::nothing(partition, ErrorCode::None), |known| found(partition, known))
        };
        let mut topics: Vec<(TopicName, Vec<FetchedOffset>)> = Vec::new();
        match &fetch.partitions {
            Some(wanted) => topics.extend(wanted.iter().map(|(topic, partitions)| {
                let offset_of = |p: &PartitionIndex| fetched(topic, *p, self.offsets.get(group, topic, *p));
                (topic.clone(), partitions.iter().map(offset_of).collect())
            })),
            None => {
                for (topic, partition, known) in self.offsets.of_group(group) {
                    let offset = fetched(topic, partition, Some(known));
                    match topics.last_mut() {
                        Some((last, offsets)) if last == topic => offsets.push(offset),
                        _ => topics.push((topic.clone(), vec![offset])),
                    }
                }
            }
        }
        let seen = Some(self.seen_by(group, &topics));
        let answer = Answer::FetchOffsets(FetchAnswer { error: ErrorCode::None, topics });
        Decision { seen, ..Decision::answer(token, answer) }
    }

    /// Where the records end that these offsets were found by: their own, and whatever took offsets of this group away or
    /// decided on those of a transaction. Everything else, which comes all the time, is none of their business: a member
    /// that has just got a partition must not wait for commits of the others, for the generation that it is in, or for
    /// other groups when followers are slow.
    fn seen_by(&self, group: &GroupId, topics: &[(TopicName, Vec<FetchedOffset>)]) -> Offset {
        let found =
            topics.iter().flat_map(|(topic, offsets)| offsets.iter().map(move |offset| (topic, offset.partition)));
        let records = found.filter_map(|(topic, partition)| self.offsets.record_of(group, topic, partition));
        records.map(Offset::next).max().unwrap_or(Offset(0)).max(self.marks.get(group))
    }

    pub(super) fn delete_offsets(&self, token: Token, delete: DeleteOffsets) -> Decision {
        let refuse = |error| {
            let answer = DeleteOffsetsAnswer { error, topics: Vec::new() };
            Decision::answer(token, Answer::DeleteOffsets(answer))
        };
        let id = &delete.group;
        let (classic, consumers) = (self.groups.get(id), self.consumers.get(id));
        if classic.is_none() && consumers.is_none() {
            return refuse(ErrorCode::GroupIdNotFound);
        }
        if classic.is_some_and(|group| !group.is_in(GroupState::Empty) && !group.is_consumer_group()) {
            // Whether it still uses the topic cannot be known.
            return refuse(ErrorCode::NonEmptyGroup);
        }
        let mut decision = Decision::default();
        let mut topics = Vec::with_capacity(delete.topics.len());
        for (topic, partitions) in delete.topics {
            let is_in_use = classic.is_some_and(|group| group.is_subscribed_to(&topic))
                || consumers.is_some_and(|group| group.is_subscribed_to(topic.as_str()));
            if is_in_use {
                topics.push(ErrorCode::GroupSubscribedToTopic);
                continue;
            }
            topics.push(ErrorCode::None);
            let is_known = |p: &PartitionIndex| {
                self.offsets.get(id, &topic, *p).is_some() || self.offsets.is_pending(id, &topic, *p)
            };
            let known = partitions.into_iter().filter(is_known);
            decision.records.extend(known.map(|partition| tombstone(id, &topic, partition)));
        }
        let answer = DeleteOffsetsAnswer { error: ErrorCode::None, topics };
        decision.answers.push((token, Answer::DeleteOffsets(answer)));
        decision
    }

    pub(super) fn forget_topics(&self, token: Token, topics: &[(TopicName, TopicId)]) -> Decision {
        let mut decision = Decision::answer(token, Answer::ForgetTopics(ErrorCode::None));
        for (topic, id) in topics {
            let keys = self.offsets.keys_of_topic(topic).into_iter().filter(|key| {
                let known = self.offsets.get(&key.group, topic, key.partition).map(|known| known.topic_id);
                known.is_none_or(|known| !is_of_another(known, *id))
            });
            decision.records.extend(keys.map(|key| Record::OffsetCommit { key, value: None }));
        }
        decision
    }

    /// Looks through all groups for offsets whose time is up, and for groups that nothing is left of.
    pub(super) fn expire_offsets(&mut self, now: Now) -> Decision {
        let interval_ms = self.config.offsets_retention_check_interval_ms.max(1);
        self.deadlines.set(Timer::Expiry, now.monotonic_ms.saturating_add(interval_ms));
        let mut decision = Decision::default();
        let (mut offsets, mut groups) = (0, 0);
        let classic = self
            .groups
            .values()
            .map(|group| (&group.id, self.expired_offsets(group, now.wall_ms), group.is_deserted()));
        let consumers = self
            .consumers
            .iter()
            .map(|(id, group)| (id, self.expired_consumer_offsets(id, group, now.wall_ms), group.is_empty()));
        for (id, expired, is_deserted) in classic.chain(consumers) {
            let is_all = expired.len() == self.offsets.of_group(id).count();
            offsets += expired.len();
            decision.records.extend(expired.into_iter().map(|(topic, p)| tombstone(id, topic, p)));
            if is_all && is_deserted && !self.offsets.has_pending(id) {
                groups += 1;
                decision.records.extend(self.group_tombstones(id).unwrap_or_default());
            }
        }
        if offsets + groups > 0 {
            decision.events.push(Event::OffsetsExpired { offsets, groups });
        }
        decision
    }

    /// Kafka's rules: a group with members keeps what it is subscribed to, and everything unless it is a stable
    /// consumer group whose subscriptions are known; an empty group's retention starts when it became empty, a
    /// simple group's with each commit. What a transaction is about to replace stays.
    fn expired_offsets(&self, group: &Group, now_ms: i64) -> Vec<(&TopicName, PartitionIndex)> {
        let is_simple = group.protocol_type.is_none();
        let since_empty = match group.state {
            _ if is_simple => None,
            GroupState::Empty => group.state_since_ms,
            GroupState::Stable if group.is_consumer_group() && group.subscribed.is_some() => None,
            _ => return Vec::new(),
        };
        let retention_ms = self.config.offsets_retention_ms;
        let is_expired = |offset: &CommittedOffset| match offset.expire_timestamp_ms {
            Some(at) => now_ms >= at,
            None => now_ms.saturating_sub(since_empty.unwrap_or(offset.commit_timestamp_ms)) >= retention_ms,
        };
        self.offsets
            .of_group(&group.id)
            .filter(|(topic, _, offset)| !group.is_subscribed_to(topic) && is_expired(offset))
            .filter(|(topic, partition, _)| !self.offsets.is_pending(&group.id, topic, *partition))
            .map(|(topic, partition, _)| (topic, partition))
            .collect()
    }

    /// A consumer group keeps what it is subscribed to; for the rest each commit has its own retention.
    fn expired_consumer_offsets(
        &self,
        id: &GroupId,
        group: &ConsumerGroup,
        now_ms: i64,
    ) -> Vec<(&TopicName, PartitionIndex)> {
        let is_expired = |offset: &CommittedOffset| match offset.expire_timestamp_ms {
            Some(at) => now_ms >= at,
            None => now_ms.saturating_sub(offset.commit_timestamp_ms) >= self.config.offsets_retention_ms,
        };
        self.offsets
            .of_group(id)
            .filter(|(topic, _, offset)| is_expired(offset) && !group.is_subscribed_to(topic.as_str()))
            .filter(|(topic, partition, _)| !self.offsets.is_pending(id, topic, *partition))
            .map(|(topic, partition, _)| (topic, partition))
            .collect()
    }

    /// What deletes all that a group has committed, in transactions that are open, too.
    pub(super) fn all_tombstones(&self, group: &GroupId) -> Vec<Record> {
        let partitions = self.offsets.partitions_of_group(group).into_iter();
        partitions.map(|(topic, partition)| tombstone(group, topic, partition)).collect()
    }

    pub(super) fn replay_commit(&mut self, at: Offset, key: &OffsetKey, value: &CommittedOffset) {
        self.ensure_group(&key.group);
        self.offsets.replay_commit(at, key, value);
    }

    pub(super) fn replay_tombstone(&mut self, at: Offset, key: &OffsetKey) {
        self.marks.set(&key.group, at.next());
        self.offsets.replay_tombstone(key);
    }

    /// Whoever commits without a group gets a simple one.
    pub(super) fn ensure_group(&mut self, group: &GroupId) {
        if !self.groups.contains_key(group) && !self.consumers.contains_key(group) {
            self.groups.insert(group.clone(), Group::new(group.clone()));
        }
    }
}

fn check_committer(group: &Group, committer: &Committer<'_>) -> Result<(), ErrorCode> {
    let Committer { generation, member, instance, is_transactional, .. } = *committer;
    if generation < Generation(0) && group.is_in(GroupState::Empty) {
        return Ok(());
    }
    let names_a_member = !member.is_unknown() || instance.is_some();
    if generation >= Generation(0) || names_a_member {
        group.check_member(member, instance)?;
        if generation != group.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
    } else if !is_transactional {
        // No generation, no member: only groups without members take that. Older transactional clients say no more.
        return Err(ErrorCode::UnknownMemberId);
    }
    if group.is_in(GroupState::CompletingRebalance) && !is_transactional {
        return Err(ErrorCode::RebalanceInProgress);
    }
    Ok(())
}

impl OffsetToCommit {
    pub(super) fn key(&self, group: &GroupId) -> OffsetKey {
        OffsetKey { group: group.clone(), topic: self.topic.clone(), partition: self.partition }
    }
}

pub(super) fn committed(offset: OffsetToCommit, now_ms: i64, retention_ms: Option<i64>) -> CommittedOffset {
    CommittedOffset {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata,
        commit_timestamp_ms: now_ms,
        expire_timestamp_ms: retention_ms.map(|retention| now_ms.saturating_add(retention)),
        topic_id: offset.topic_id,
    }
}

/// Who does not say which topic he means, means any.
fn is_of_another(one: TopicId, other: TopicId) -> bool {
    !one.is_none() && !other.is_none() && one != other
}

fn found(partition: PartitionIndex, known: &CommittedOffset) -> FetchedOffset {
    FetchedOffset {
        partition,
        topic_id: known.topic_id,
        offset: known.offset,
        leader_epoch: known.leader_epoch,
        metadata: known.metadata.clone(),
        error: ErrorCode::None,
    }
}

impl FetchedOffset {
    /// Whether it was committed for another topic of the same name than the one that has it now.
    pub fn is_of_another(&self, now: TopicId) -> bool {
        is_of_another(self.topic_id, now)
    }

    fn nothing(partition: PartitionIndex, error: ErrorCode) -> FetchedOffset {
        let (topic_id, offset, leader_epoch) = (TopicId::NONE, Offset::NONE, LeaderEpoch::NONE);
        FetchedOffset { partition, topic_id, offset, leader_epoch, metadata: "".into(), error }
    }
}

fn tombstone(group: &GroupId, topic: &TopicName, partition: PartitionIndex) -> Record {
    let key = OffsetKey { group: group.clone(), topic: topic.clone(), partition };
    Record::OffsetCommit { key, value: None }
}
