//! How fast, how lean and how prompt brokers and links are: load generators, and the tables of targets against Apache Kafka
//! and MirrorMaker 2.
//!
//! Picture: `load` ([`load`]) is one client process that does one thing (produce, fetch, small requests, a steady trickle
//! whose latency is measured) and prints what it took: of itself, of the brokers whose process ids it was given, and of
//! the rest of the machine. `bench` ([`judge`]) starts clusters and clients, row by row, and judges; of links likewise
//! ([`mirror`]).
//!
//! The tables, and how it is measured: `README.md` of this crate.
//!
//! Invariants: no average of averages and no best of; each metric is a median with its smallest and largest value.
//! What a run did not deliver is an error, not a smaller number.
//!
//! Not here: what runs inside one process (see `benches/` of `log` and `protocol`).

pub mod judge; // every row on both brokers in turn
pub mod load; // one client process and its run
pub mod mirror; // links, in turn with MirrorMaker 2
pub mod payload; // what records are made of
pub mod proc; // processor time, memory and files of processes
pub mod schedule; // open loop
pub mod sink; // a broker that does nothing
pub mod stats; // medians, percentiles
pub mod targets; // what is good enough
pub mod wire; // requests over a plain socket
