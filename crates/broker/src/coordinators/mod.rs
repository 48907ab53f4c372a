//! What the coordinators of groups and of transactions have in common: the life of shards.
//!
//! Picture: a switchboard. A key (a group's id, a transactional id) names a partition of an internal topic
//! (`placement`), the partition's leader coordinates what has this key, and each led partition has one task (`shard`)
//! that owns it. [`Shards`] starts and stops these tasks as the metadata says and finds the one that is asked for.
//! What differs between the coordinators is a [`Kind`]: the state machine, its records as bytes, what to do about
//! its effects.
//!
//! Invariants: at most one shard per partition runs here; a shard of an older leader epoch is stopped before the
//! one of the newer epoch starts, and so is one whose topic was made again under its name; a request for a key that is not coordinated here, or may not be because this
//! broker's session with the controller is lost, is answered NOT_COORDINATOR, and COORDINATOR_LOAD_IN_PROGRESS while
//! its shard loads.
//!
//! Not here: what requests mean (`twinstream_coordinator`), what a kind is (`groups`, `transactions`).

mod kind; // what differs
mod loader; // from the log into a shard
mod log; // what a shard needs of a log
mod placement; // which partition a key belongs to
mod shard; // one shard's task
mod shards; // which shards there are
mod topic; // how an internal topic comes into being

#[cfg(test)]
pub(crate) mod memory_log; // a log for tests

pub(crate) use kind::{Kind, fill_batch, plain_batch};
pub(crate) use loader::{LoadError, Loaded, RecordError, replay_records};
pub(crate) use log::ShardLog;
pub(crate) use placement::partition_of;
pub(crate) use shard::{ShardHandle, Site};
pub(crate) use shards::{Shards, join_lists};
pub(crate) use topic::{Creation, InternalTopic};
