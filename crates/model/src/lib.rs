//! Ids and value types that all crates share, and the one table of Kafka error codes.
//!
//! Picture: the vocabulary. A number that could be confused with another one gets its own type here, so
//! that an offset is never passed where an epoch is meant. Everything is plain data: no I/O, no clock,
//! no async.
//!
//! Invariants: a [`TopicName`] that exists is legal by Kafka's rules; a [`ClusterId`] is never empty;
//! [`ErrorCode`] is the only place that knows wire numbers of errors.

mod error_code;
mod ids;
mod topic;

pub use error_code::ErrorCode;
pub use ids::{
    ClusterId, GroupId, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId,
    TransactionalId,
};
pub use topic::{InvalidTopicName, TOPIC_NAME_LEN_MAX, TopicName, TopicPartition};

#[cfg(test)]
mod tests;
