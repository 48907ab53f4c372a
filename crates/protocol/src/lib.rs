//! Kafka's wire format: frames, record batches as views over bytes, codecs, the Fetch encoder.
//!
//! Picture: the generated messages of the `kafka-protocol` crate carry every request and response. This
//! crate adds what must not go through owned structs: request headers, record batches (read, checked,
//! patched and built in place) and the Fetch response, whose record bytes never pass through user space.
//!
//! Invariants: no tokio, no files, no clock. Bytes from outside decode to an error, they never panic and
//! never make us allocate more than the caller's bound.

pub mod batch; // record batches of magic 2
pub mod compression; // gzip, snappy, lz4, zstd
pub mod fetch; // the vectored Fetch response
pub mod frame; // request and response headers
pub mod marker; // the end of a transaction in one partition
pub mod mirror; // what links tell brokers of ours
pub mod shape; // what the bytes of a message may look like
mod varint;

/// The generated messages, re-exported so that all crates use the same version of them.
pub use kafka_protocol;
