//! Whole record batches out of a leader, never decompressed.
//!
//! Picture: [`RawClient::fetch_batches`] asks once, by name and without a session: for tools and tests. A [`Fetcher`] is for
//! who reads on and on: it keeps a session with one leader (KIP-227), so that of ten thousand partitions only those travel
//! that move, names topics by their ids (KIP-516), so that a topic made anew is not taken for the old one, and has a
//! connection of its own, because a broker answers one connection in order.
//! Invariants: positions move only when the caller says so; batches are slices of the answer's buffer, which lives as long
//! as one of them.
//! Not here: who leads what (`cluster`), what an error means for the reader, checks of the batches.

mod fetcher; // one leader, over and over
mod session; // what the leader knows
mod wire; // requests and answers

#[cfg(test)]
mod tests;

pub use self::fetcher::Fetcher;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerId, TopicId, TopicPartition};

use super::{Lane, Node, RawClient};
use crate::error::ClientError;

/// What a fetch may take beyond the time that it asks the broker to wait, before the answer begins.
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
    /// Lets a leader name a replica in this rack to read from, see [`FetchedPartition::read_from`].
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
    /// Only this topic, not one of the same name that was made later: UNKNOWN_TOPIC_ID is the answer then, or
    /// INCONSISTENT_TOPIC_ID where a Kafka broker has met the old one in the same session. [`TopicId::NONE`] takes whichever
    /// there is. Brokers before Apache Kafka 3.1 (Fetch below version 13) do not look at it.
    pub topic_id: TopicId,
    pub offset: Offset,
    /// Lets the leader refuse a reader with an outdated map; [`LeaderEpoch::NONE`] does not ask.
    pub leader_epoch: LeaderEpoch,
    /// The epoch of the last record read, so that the leader can tell where the logs part; NONE does not ask. Brokers before
    /// Apache Kafka 2.7 (Fetch below version 12) are not asked.
    pub last_epoch: LeaderEpoch,
}

impl FetchFrom {
    pub fn new(partition: TopicPartition, offset: Offset) -> Self {
        let (leader_epoch, last_epoch) = (LeaderEpoch::NONE, LeaderEpoch::NONE);
        Self { partition, topic_id: TopicId::NONE, offset, leader_epoch, last_epoch }
    }
}

/// What one partition answered. Batches are as they are in the log; the first may begin before the offset asked for, the
/// last may be cut short by the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    pub partition: TopicPartition,
    /// The topic that answered; [`TopicId::NONE`] where it was asked by name.
    pub topic_id: TopicId,
    pub error: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    /// Where the leader's log parts from the reader's, when it does.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Who leads instead, where the broker that refused knows (KIP-951). The map has it already.
    pub current_leader: Option<(NodeId, LeaderEpoch)>,
    /// The replica to read from instead (KIP-392): such an answer has no records, nor will the next one of this broker.
    pub read_from: Option<NodeId>,
    /// With `read_committed`: the producers of aborted transactions among the batches, each with the first offset of one.
    pub aborted: Vec<(ProducerId, Offset)>,
    pub batches: Bytes,
}

impl FetchedPartition {
    /// An answer that is nothing but an error.
    fn refused(partition: TopicPartition, topic_id: TopicId, error: ErrorCode) -> Self {
        Self {
            partition,
            topic_id,
            error,
            high_watermark: Offset::NONE,
            last_stable_offset: Offset::NONE,
            log_start_offset: Offset::NONE,
            diverging: None,
            current_leader: None,
            read_from: None,
            aborted: Vec::new(),
            batches: Bytes::new(),
        }
    }
}

impl RawClient {
    /// Fetches once from one leader, over the connection kept for that, and without a session. Waits up to `wait_max` for
    /// `bytes_min`. Errors of single partitions are in the answer; a leader that refused is looked up again by the next
    /// question.
    pub async fn fetch_batches(
        &self,
        leader: NodeId,
        wanted: &[FetchFrom],
        options: &FetchOptions,
    ) -> Result<Vec<FetchedPartition>, ClientError> {
        let request = wire::request(&session::Ask::once(wanted), options, wire::BY_NAME_MAX);
        let within = options.wait_max + FETCH_GRACE;
        let answer = self.call(Node::Id(leader), Lane::Fetch, &request, wire::BY_NAME_MAX, within).await?;
        ClientError::check(|| format!("fetch from broker {leader}"), answer.error_code, None)?;
        let fetched = wire::fetched(answer.responses, &BTreeMap::new());
        fetched.iter().for_each(|partition| self.note_fetched(partition));
        Ok(fetched)
    }

    /// Notes what a partition's answer says about its leader.
    fn note_fetched(&self, fetched: &FetchedPartition) {
        self.note_error(&fetched.partition, fetched.error);
        if let Some((leader, epoch)) = fetched.current_leader {
            self.note_leader(&fetched.partition, leader, epoch);
        }
    }
}
