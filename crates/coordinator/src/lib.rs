//! The shard engine, the group shard and the transaction shard: who coordinates what, decided in pure code.
//!
//! Picture: a *shard* is the owner of one partition of an internal topic (`__consumer_offsets` or
//! `__transaction_state`). It takes one event at a time, decides which records to store and what to answer,
//! and changes its stored state only by replaying records, live exactly as at restart. The [`Engine`] is the
//! discipline around a shard: append, then replay, then finish, then answer once committed.
//!
//! Invariants:
//! - C1 No I/O, no clock, no randomness: `now`, fresh ids and log offsets are arguments. Iteration is ordered.
//! - C2 What is stored changes only through `replay`; what is volatile (membership between two
//!   generations, parked joins and syncs) may be lost at any time, clients then rejoin.
//! - C3 No answer leaves and no effect is carried out before everything that it may have seen is committed.
//!
//! Not here: wire messages and versions (the broker's handlers), the log, tasks and mailboxes.

pub mod codec;
pub mod deadlines;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod group;
pub mod transaction;

pub use deadlines::Deadlines;
pub use engine::{Decision, Engine, NoEffect, Now, Shard, Token};
