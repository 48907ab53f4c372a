//! Cluster metadata without I/O: the records of the metadata log, the image they build up, and the controller's decisions.
//!
//! Picture: the metadata log is a list of record batches. Every node replays it into an [`Image`], a cheap-to-clone snapshot of
//! brokers, topics, partitions and configs. On one node the [`Controller`] looks at its image, decides what a request changes and
//! returns records; nothing changes until those records are committed and replayed.
//!
//! Invariants:
//! - state changes only through [`Image::apply`], live and at restart alike;
//! - leader epochs, partition epochs and broker epochs never go back;
//! - a topic name and a topic id always point at each other;
//! - a partition's leader is nobody or an unfenced member of its ISR; ISR and ELR are disjoint parts of its replicas;
//! - who is in ISR or ELR has every committed record, so nobody else is elected but by an unclean election
//!   (`docs/002-isr-and-elr.md`).
//!
//! Not here: Raft, files, clocks, random numbers, wire messages. Time and new ids come in as arguments.

pub mod codec; // how bytes are laid out; internal requests between nodes use it, too
pub mod configs; // topic configs: names, types, defaults, bounds
pub mod controller; // what to do about a request
pub mod features; // which levels of behaviour the cluster may have
mod image; // what the cluster looks like now
mod record; // what is written down

pub use codec::DecodeError;
pub use controller::Controller;
pub use image::mirror;
pub use image::{
    BrokerImage, ConfigResource, Image, Mirror, MirrorState, PartitionImage, QuotaEntity, QuotaEntityType, QuotaValue,
    ReplayError, ScramCredential, ScramMechanism, ScramUser, SnapshotError, TopicImage,
};
pub use record::{BatchBytes, Endpoint, RECORD_BATCH_BYTES_MAX, Record, decode_batch, encode_batch};
