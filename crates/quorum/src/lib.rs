//! The metadata Raft.
