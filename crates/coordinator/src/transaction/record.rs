//! The records of `__transaction_state` as values; `codec` turns them to bytes and back.
//!
//! Each record is the whole state of one transactional id, so the newest one is all that counts. Field names are
//! those of Kafka's `TransactionLogValue`, shortened.

use std::collections::BTreeSet;

use twinstream_model::{ProducerEpoch, ProducerId, TopicPartition, TransactionalId};

use super::request::{Producer, TransactionState, TransactionVersion};

/// What is stored of a transactional id; a `None` value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub transactional_id: TransactionalId,
    pub value: Option<TransactionMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMetadata {
    pub producer: Producer,
    /// The producer id before the last transition; differs from that of `producer` right after its epochs were
    /// used up. Not in [`Layout::V0`].
    pub previous_producer_id: ProducerId,
    /// Takes the place of the producer id, whose epochs are used up, once the transaction has ended. Not in
    /// [`Layout::V0`].
    pub next_producer_id: ProducerId,
    /// The epoch from which the last one was reached, if the producer itself asked for that: with it a repeated
    /// request is recognized. In no layout of Kafka's, so it is lost when the coordinator moves.
    pub last_epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub state: TransactionState,
    /// None in the state Empty, and when a transaction is complete.
    pub partitions: BTreeSet<TopicPartition>,
    pub last_update_ms: i64,
    /// -1 until the producer has a transaction.
    pub start_ms: i64,
    /// By which protocol the transaction began or ended. Not in [`Layout::V0`].
    pub client_version: TransactionVersion,
    /// How the record is written, or was.
    pub layout: Layout,
}

/// The version of a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// What clusters write whose `transaction.version` is 0.
    V0,
    /// Has tagged fields.
    V1,
}

impl Record {
    /// Roughly how many bytes the record takes in the log; exact enough to bound a batch.
    pub(super) fn approximate_bytes(&self) -> usize {
        const FIXED: usize = 96; // record framing, versions, lengths, numbers
        const PARTITION: usize = 4 + 2; // its number; a topic's name counts once, but its length here for each
        let partitions = self.value.iter().flat_map(|value| &value.partitions);
        let mut bytes = FIXED + self.transactional_id.as_str().len();
        let mut topic = None;
        for partition in partitions {
            bytes += PARTITION;
            if topic != Some(&partition.topic) {
                bytes += 8 + partition.topic.as_str().len();
                topic = Some(&partition.topic);
            }
        }
        bytes
    }
}
