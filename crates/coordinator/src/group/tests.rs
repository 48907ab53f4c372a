//! The group shard as a specification: scripts with their traces (`testdata/*.txt`), and what a script cannot say.

mod consumer; // claims about groups of the newer protocol
mod consumer_context; // a cluster, and clients that obey
mod consumer_history; // random histories of them
mod consumer_migration; // groups on their way between the protocols
mod context; // a shard, its log and its clock
mod script; // reads and checks testdata
mod shard; // claims in Rust
mod transactions; // offsets of transactions, and the log they come from
