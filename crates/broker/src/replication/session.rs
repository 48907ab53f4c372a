//! A follower's side of a fetch session (KIP-227): only what changed is sent.
//!
//! Picture: a list of what the leader remembers of us. Each request names the partitions whose position differs from
//! that list, and those that are not fetched any more; the first request of a session names all.
//!
//! Invariants: the list is what the last request that was answered left at the leader; after any doubt (a connection
//! that broke, an answer that was not waited for, an error of the session) the next request starts a new session and
//! ends the old one. Not here: where the positions come from (`fetcher`).

use std::collections::HashMap;

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
    known: HashMap<Key, Wanted>,
}

impl Session {
    /// Forgets what the leader knows; the next request starts anew.
    pub(super) fn reset(&mut self) {
        self.next_epoch = INITIAL_EPOCH;
        self.known.clear();
    }

    /// The lists that bring the leader from what it knows to `wanted`.
    pub(super) fn lists(&mut self, wanted: &HashMap<Key, Wanted>) -> Lists {
        let mut lists = Lists { session_id: self.id, session_epoch: self.next_epoch, ..Lists::default() };
        let mut changed: Vec<(&Key, &Wanted)> =
            wanted.iter().filter(|(key, wanted)| self.known.get(key) != Some(wanted)).collect();
        changed.sort_unstable_by_key(|(key, _)| **key);
        for (key, wanted) in changed {
            push(&mut lists.topics, *key, *wanted);
            self.known.insert(*key, *wanted);
        }
        if self.known.len() > wanted.len() {
            let mut gone: Vec<Key> = self.known.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
            gone.sort_unstable();
            for key in gone {
                forget(&mut lists.forgotten, key);
                self.known.remove(&key);
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
