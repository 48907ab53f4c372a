//! The checkpoint connector: positions of groups follow from the source to the target.
//!
//! Picture: a task asks the source each second what its groups have committed, translates that with the link's offset map, or
//! takes it as it is where both sides have the same offsets,
//! writes MirrorMaker's checkpoints for those that moved, and commits the offsets on the target for groups that nobody is a
//! member of there. Which task has which group follows from the group's name, so a new group restarts nothing.
//! Invariants: C1 an offset on the target is never past what is mirrored. C2 a group with members on the target is never
//! touched; the coordinator there refuses it as well. C3 an offset that somebody else moved on the target is never moved
//! back. C4 a cluster that is away is waited for without end; when that lasts the task shows as RESTARTING with the cause.
//! Not here: the map (`syncs`, `offset_map`), which group offset is written (`groups::decide`).

mod connector;
mod follower; // the rounds
mod identity; // topics that need no map
pub(crate) mod metrics;
pub(crate) mod settings;
mod sync; // offsets of groups on the target
mod task;
pub(crate) mod translate; // source offset -> target offset

use twinstream_client::ClientError;
use twinstream_connect_api::{Plugin, TaskError};

use crate::away::may_pass;

pub use self::connector::MirrorCheckpointConnector;
pub use self::settings::config_def;
pub use self::task::MirrorCheckpointTask;
pub(crate) use self::task::{bytes_record, object};

pub const CLASS: &str = "org.apache.kafka.connect.mirror.MirrorCheckpointConnector";

/// What the worker needs to run this connector.
pub fn plugin() -> Plugin {
    Plugin::source(CLASS, config_def(), MirrorCheckpointConnector::default, MirrorCheckpointTask::default)
        .version(env!("CARGO_PKG_VERSION"))
        .writes_bytes()
}

/// What a cluster did not let us do: what may pass is tried again by the worker.
pub(crate) fn not_done(what: String, cause: ClientError) -> TaskError {
    if may_pass(&cause) { TaskError::retriable(what) } else { TaskError::fatal(what) }.caused_by(cause)
}

#[cfg(test)]
mod tests;
