//! A follower's side of a fetch session (KIP-227): only what changed is sent.
//!
//! Picture: a list of what the leader is to remember of us, and which of it has not been said yet. Each request names
//! that, and what is not fetched any more; the first request of a session names all. So a request costs what changed.
//!
//! Invariants: what has been said is what the last request that was answered left at the leader; after any doubt (a connection
//! that broke, an answer that was not waited for, an error of the session) the next request starts a new session and
//! ends the old one. Not here: where the positions come from (`fetcher`).

use std::collections::{BTreeSet, HashMap};

use kafka_protocol::messages::TopicName as WireTopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;

/// A partition as sessions name it.
pub(super) type Key = (TopicId, PartitionIndex);

/// What the leader is told about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) epoch: LeaderEpoch,
    pub(super) fetch_offset: Offset,
    pub(super) last_fetched_epoch: LeaderEpoch,
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
    pub(super) bytes_max: i32,
}

/// The lists of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lists {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
}

#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    next_epoch: i32,
    /// What the leader is to know.
    wanted: HashMap<Key, Wanted>,
    /// What it does not know yet.
    changed: BTreeSet<Key>,
    /// What it is to forget.
    gone: BTreeSet<Key>,
}

impl Session {
    /// Starts anew: the leader is taken to know nothing.
    pub(super) fn reset(&mut self) {
        self.next_epoch = INITIAL_EPOCH;
        self.changed = self.wanted.keys().copied().collect();
        self.gone.clear();
    }

    /// Fetches a partition from here on.
    pub(super) fn want(&mut self, key: Key, wanted: Wanted) {
        if self.wanted.insert(key, wanted) != Some(wanted) {
            self.changed.insert(key);
        }
        self.gone.remove(&key);
    }

    /// Does not fetch a partition any more, or not for now.
    pub(super) fn drop(&mut self, key: &Key) {
        if self.wanted.remove(key).is_some() {
            self.changed.remove(key);
            self.gone.insert(*key);
        }
    }

    /// Whether nothing is fetched.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The lists that bring the leader from what it knows to what is wanted.
    pub(super) fn lists(&mut self) -> Lists {
        let mut lists = Lists { session_id: self.id, session_epoch: self.next_epoch, ..Lists::default() };
        for key in std::mem::take(&mut self.changed) {
            if let Some(wanted) = self.wanted.get(&key) {
                push(&mut lists.topics, key, *wanted);
            }
        }
        for key in std::mem::take(&mut self.gone) {
            // A session that begins has nothing to forget.
            if self.next_epoch != INITIAL_EPOCH {
                forget(&mut lists.forgotten, key);
            }
        }
        lists
    }

    /// Notes what the leader answered; false if the session is no good any more and all is to be asked again.
    pub(super) fn answered(&mut self, error: ErrorCode, session_id: i32) -> bool {
        if error != ErrorCode::None {
            self.reset();
            return false;
        }
        match session_id {
            // The leader has no room for sessions: every request names all.
            NO_SESSION => {
                self.id = NO_SESSION;
                self.reset();
            }
            id => {
                self.id = id;
                self.next_epoch = self.next_epoch.checked_add(1).unwrap_or(1);
            }
        }
        true
    }
}

fn push(topics: &mut Vec<FetchTopic>, (topic, partition): Key, wanted: Wanted) {
    let partition = FetchPartition::default()
        .with_partition(partition.0)
        .with_current_leader_epoch(wanted.epoch.0)
        .with_fetch_offset(wanted.fetch_offset.0)
        .with_last_fetched_epoch(wanted.last_fetched_epoch.0)
        .with_log_start_offset(wanted.log_start.0)
        .with_partition_max_bytes(wanted.bytes_max)
        .with_high_watermark(wanted.high_watermark.0);
    match topics.last_mut() {
        Some(last) if last.topic_id == topic.0 => last.partitions.push(partition),
        _ => topics.push(FetchTopic::default().with_topic_id(topic.0).with_partitions(vec![partition])),
    }
}

fn forget(topics: &mut Vec<ForgottenTopic>, (topic, partition): Key) {
    match topics.last_mut() {
        Some(last) if last.topic_id == topic.0 => last.partitions.push(partition.0),
        _ => topics.push(
            ForgottenTopic::default()
                .with_topic(WireTopicName::default())
                .with_topic_id(topic.0)
                .with_partitions(vec![partition.0]),
        ),
    }
}

#[cfg(test)]
mod tests;
