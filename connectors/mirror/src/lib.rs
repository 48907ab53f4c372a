//! The mirror: copies topics of one Kafka cluster into another, batch by batch, and lets groups follow.
//!
//! Picture: three connectors, as MirrorMaker 2 has them. The source copies and keeps the offset map (`offset_map`, `syncs`),
//! [`checkpoint`] brings positions of groups over with it, [`heartbeat`] gives a sign of life. Of the source: the connector watches the source's topics, makes their counterparts on the target and deals the partitions
//! out to tasks. A task fetches whole record batches from the source's leaders and hands them to the worker, which
//! produces them as they are; nothing is unpacked unless it must be.
//! Invariants: M1 partition n of a topic is copied to partition n, in order. M2 a position advances only over what was
//! handed on or what must not be copied (control batches, what a restart has already copied). M3 nothing is skipped
//! silently: what the source no longer has is named in the log, counted, and by default fails the task where the copy
//! would be wrong. M4 a topic of the target that is somebody else's, or has been promoted, is not written to.
//! Not here: producing and storing the connectors' own offsets (the worker's).
//!
//! Reading order: [`config`], [`policy`], `assignment`, `request`, `aligned`, `engine`, `offsets`, `topics`, `source`, `task`,
//! `copying`, [`metrics`]; `offset_map`, `syncs`, `groups`, [`checkpoint`], [`heartbeat`].

mod acls; // rules about topics follow
mod aligned; // topics that keep the source's offsets
mod assignment; // which task copies what
mod away; // a cluster that does not answer
pub mod checkpoint; // positions of groups
pub mod config; // settings
mod copying; // its rim: carries out what the engine decides
pub mod dedicated; // a file of flows, as MirrorMaker runs it alone
mod differs; // defaults that are not MirrorMaker's
mod engine; // which partition is asked, and what an answer means
mod figures; // what is known of each partition
mod fleet; // one fetcher for each leader of the source
#[doc(hidden)]
pub mod fuzzing; // decoders as functions of bytes
mod groups; // what groups have committed, and what becomes of it
pub mod heartbeat; // a sign of life
pub mod link; // the connectors of one source and target, as operators see them
mod link_id; // what marks its mirror topics
pub mod metrics; // what is counted
mod observer; // what became of batches that were handed on
mod offset_map; // which offset of the source became which one of the target
mod offsets; // source partitions and positions as the worker stores them
mod pace; // how many bytes per second
pub mod policy; // names of remote topics, which topics are copied
mod provenance; // where records have been
mod questions; // what is asked beside fetches
mod quotas; // quotas of clients follow
mod request; // batches of the source -> batches for the target
mod returns; // a link that leads back
mod source; // the connector
mod syncs; // what is written about offsets
mod task; // the task
mod topics; // topics of the target
mod verify; // whether both sides have the same
mod words; // numbers with their nouns, and times

use twinstream_connect_api::Plugin;

pub use crate::source::MirrorSourceConnector;
pub use crate::task::MirrorSourceTask;
pub use crate::words::counted;

pub const CLASS: &str = "org.apache.kafka.connect.mirror.MirrorSourceConnector";

/// What the worker needs to run the source. `MirrorSourceConnector` and `MirrorSource` select it too.
pub fn plugin() -> Plugin {
    Plugin::source(CLASS, config::config_def(), MirrorSourceConnector::default, MirrorSourceTask::default)
        .version(env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests;
