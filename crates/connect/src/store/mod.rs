//! Connect's three topics: brings their records into the states of [`crate::state`], and writes new ones.
//!
//! Picture: a [`StateLog`] owns one compacted topic. A reader task follows it from the first record and replays every
//! record into the state, before the start and ever after: what we write ourselves counts only once it came back. So live
//! and restart are one code path, and whoever waited for [`StateLog::write`] finds its effect in the state.
//! Invariants: one writer (the worker of the group); `write` returns only after the records are acknowledged and replayed.

mod log;
mod status_writer;
mod topics;
mod transactional;

pub(crate) use log::{Start, StateLog, StoreError, read_offsets};
pub(crate) use status_writer::StatusStore;
pub(crate) use topics::ensure_state_topics;
