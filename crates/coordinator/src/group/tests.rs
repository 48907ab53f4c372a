//! The group shard as a specification: scripts with their traces (`testdata/*.txt`), and what a script cannot say.

mod context; // a shard, its log and its clock
mod script; // reads and checks testdata
mod shard; // claims in Rust
