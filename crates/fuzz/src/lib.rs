//! Every decoder of bytes from network or disk, as a target for a fuzzer.
//!
//! Picture: a [`Target`] is a name and a function that takes any bytes. It may find that they are nonsense; it may not
//! panic, hang, allocate without bound, or give out a value that contradicts the bytes. Three things drive targets:
//! libFuzzer (`cargo xtask fuzz`), which looks for new inputs by coverage; the tests of this crate, which replay the
//! [`corpus`] of each target and seeded [`mutate`]d forms of it on every run of CI; and whoever found an input that
//! breaks something, by adding its line to the corpus.
//!
//! Invariants: a target depends on nothing but its bytes, so that a finding repeats; what a target needs from a crate
//! beyond its face stands in that crate's hidden `fuzzing` module. Not here: hostile peers that send well-formed bytes
//! in a bad order (tests of the broker), faults of disks (testkit).

pub mod corpus; // inputs that are kept, as text
pub mod mutate; // seeded changes to an input
pub mod seeds; // where a corpus begins

mod checksums; // seals what a fuzzer cannot guess
mod files; // a partition's folder, a log directory, the quorum's folder
mod network; // requests, batches, codecs, answers
mod stored; // records that hold state

/// How much a target costs, so that CI spends its time evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Works on memory.
    Bytes,
    /// Writes files, and reads them as a start would.
    Files,
}

/// A decoder, or several that read the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub cost: Cost,
    /// Longest input worth trying.
    pub len_max: usize,
}

const fn bytes(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, cost: Cost::Bytes, len_max: 4096 }
}

const fn files(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, cost: Cost::Files, len_max: 4096 }
}

/// All of them: first what comes from the network, then what lies on the disk.
pub const TARGETS: &[Target] = &[
    bytes("request", network::request),
    bytes("answer", network::answer),
    bytes("peer-request", twinstream_broker::fuzzing::peer_request),
    bytes("peer-answer", twinstream_broker::fuzzing::peer_answer),
    bytes("raft-message", twinstream_quorum::fuzzing::message),
    bytes("mirror-tags", network::mirror_tags),
    bytes("batches", network::batches),
    bytes("records", network::records),
    bytes("gzip", network::gzip),
    bytes("snappy", network::snappy),
    bytes("lz4", network::lz4),
    bytes("zstd", network::zstd),
    bytes("group-member", network::group_member),
    Target { len_max: 256, ..bytes("topic-pattern", twinstream_coordinator::fuzzing::topic_pattern) },
    bytes("avro-record", network::avro_record),
    bytes("avro-schema", network::avro_schema),
    bytes("converter", twinstream_connect::fuzzing::converters),
    files("segment", files::segment),
    files("offset-index", files::offset_index),
    files("time-index", files::time_index),
    files("transaction-index", files::transaction_index),
    files("producer-snapshot", files::producer_snapshot),
    files("leader-epochs", files::leader_epochs),
    files("partition-metadata", files::partition_metadata),
    files("left-metadata", files::left_metadata),
    files("checkpoints", files::checkpoints),
    files("directory-identity", files::directory_identity),
    files("quorum-log", files::quorum_log),
    files("quorum-snapshot", files::quorum_snapshot),
    bytes("metadata-records", stored::metadata_records),
    bytes("metadata-snapshot", stored::metadata_snapshot),
    bytes("group-records", stored::group_records),
    bytes("transaction-records", stored::transaction_records),
    bytes("registry-records", stored::registry_records),
    bytes("connect-records", stored::connect_records),
    bytes("mirror-records", stored::mirror_records),
    bytes("mirror-file", stored::mirror_file),
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
