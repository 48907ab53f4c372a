//! What the worker stores: pure state machines over the records of Connect's three topics.
//!
//! Each file has the codec of one topic (bytes as Kafka Connect writes them) and the state that replaying it gives. No
//! I/O: `store` brings the records here, live and at a restart alike, and `herder` decides what to write.

pub(crate) mod configs;
pub(crate) mod offsets;
pub(crate) mod statuses;

use bytes::Bytes;

/// A record of one of the three topics, to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateRecord {
    pub(crate) key: Bytes,
    /// `None` is a tombstone.
    pub(crate) value: Option<Bytes>,
}

/// State that a topic's records are replayed into.
pub(crate) trait Replay: Send + 'static {
    /// Takes in one record. A record that cannot be read, or of a kind we do not know, changes nothing and is reported.
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Unreadable>;
}

/// Why a stored record was passed over.
#[derive(Debug, thiserror::Error)]
#[error("record {key:?}: {reason}")]
pub(crate) struct Unreadable {
    pub(crate) key: String,
    pub(crate) reason: String,
}

impl Unreadable {
    fn new(key: &[u8], reason: impl ToString) -> Self {
        Self { key: String::from_utf8_lossy(key).into_owned(), reason: reason.to_string() }
    }
}

/// A task's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskId {
    pub(crate) connector: String,
    pub(crate) task: i32,
}

impl TaskId {
    pub(crate) fn new(connector: &str, task: i32) -> Self {
        Self { connector: connector.to_owned(), task }
    }

    /// Splits `<connector>-<n>` at its last dash.
    fn parse(text: &str) -> Option<Self> {
        let (connector, task) = text.rsplit_once('-')?;
        Some(Self { connector: connector.to_owned(), task: task.parse().ok()? })
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.connector, self.task)
    }
}
