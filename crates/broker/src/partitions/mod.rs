//! The partitions of this broker: their logs on disk, who leads them, and who waits for their records.
//!
//! Picture: the metadata image says which partitions live here; [`PartitionManager::take_over`] and
//! [`PartitionManager::open_wanted`] make the log directories agree with it. Handlers look a [`Partition`] up and append or read; background tasks flush,
//! retain and write checkpoints.
//!
//! Invariants: at most one [`Partition`] per topic and number is open, and its topic id is the image's; folders
//! are only removed for topics that a caught-up image no longer has; no log directory is used without its lock
//! and its cluster id.
//!
//! Not here: wire messages (`handlers`), fetching from leaders (`replication`).

mod absent; // partitions that may lie in directories that cannot be opened
mod background; // flushes, retention, checkpoints by the clock
mod cleaner; // compacts logs
mod cold_reads; // reads that wait for a disk
mod configs; // from topic configs to a log's configuration
mod directories; // log directories: locks, folders, checkpoints
mod error; // wire codes of log errors
mod failures; // directories and logs that fail
mod fetch_sessions; // what consumers fetch incrementally
mod follower_bells; // one bell per follower
mod manager; // the set of partitions, kept in line with the image
mod moves; // replicas on their way to another directory
mod partition; // one partition: roles, append, read
mod producer_ids; // ids for idempotent producers
pub(crate) mod repair; // damaged records, from another replica
mod replica_sessions; // where followers stand
mod scrub; // data at rest is read again
mod shard_log; // what a coordinator needs of a partition
mod waiters; // who waits for records

pub(crate) use cleaner::{Cleaner, CleanerMetrics};
pub(crate) use cold_reads::{ColdReads, Spot};
pub(crate) use directories::{Directories, Identity as DirectoryIdentity, absolute};
pub(crate) use error::{append_code, log_code, read_code};
pub(crate) use failures::watch as watch_failures;
pub(crate) use fetch_sessions::{Ask, FetchSessions, Key, Plan, Position, Told, TopicKey};
pub(crate) use follower_bells::Listener as FollowerListener;
pub(crate) use manager::{Followers, PartitionManager, PartitionsError, Replicas};
pub(crate) use partition::{
    AppendRefused, Commitment, Followed, Intake, Led, LedMirror, Partition, Question, ReplicaRefused, ReplicaView,
    Served,
};
pub(crate) use producer_ids::ProducerIds;
pub(crate) use replica_sessions::{ReplicaKey, ReplicaPosition, ReplicaSession, Slot};
pub(crate) use shard_log::LedPartition;
pub(crate) use waiters::{Interest, Wait};

/// Milliseconds since 1970, the time of records.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod replica_tests;
#[cfg(test)]
mod tests;
