//! The mirror source: copies topics of one Kafka cluster into another, batch by batch.
//!
//! Picture: the connector watches the source's topics, makes their counterparts on the target and deals the partitions
//! out to tasks. A task fetches whole record batches from the source's leaders and hands them to the worker, which
//! produces them as they are; nothing is unpacked unless it must be.
//! Invariants: M1 partition n of a topic is copied to partition n, in order. M2 a position advances only over what was
//! handed on or what must not be copied (control batches, what a restart has already copied). M3 nothing is skipped
//! silently: what the source no longer has is named in the log, counted, and by default fails the task where the copy
//! would be wrong.
//! Not here: producing and storing offsets (the worker's), checkpoints, heartbeats, offset-syncs (other connectors of
//! this family).
//!
//! Reading order: [`config`], [`policy`], `assignment`, `request`, `offsets`, `retry`, `topics`, `source`, `task`,
//! [`metrics`].

mod assignment; // which task copies what
pub mod config; // settings
pub mod metrics; // what is counted
mod offsets; // source partitions and positions as the worker stores them
pub mod policy; // names of remote topics, which topics are copied
mod request; // batch of the source -> batch for the target
mod retry; // what an error of the source means
mod source; // the connector
mod task; // the task
mod topics; // topics of the target

use twinstream_connect_api::Plugin;

pub use crate::source::MirrorSourceConnector;
pub use crate::task::MirrorSourceTask;

pub const CLASS: &str = "org.apache.kafka.connect.mirror.MirrorSourceConnector";

/// What the worker needs to run this connector. `MirrorSourceConnector` and `MirrorSource` select it too.
pub fn plugin() -> Plugin {
    Plugin::source(CLASS, config::config_def(), MirrorSourceConnector::default, MirrorSourceTask::default)
        .version(env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests;
