//! The history of one run: who asked for what, who was told what, and when.
//!
//! Picture: workers share one [`Recorder`]. A producer notes [`What::Send`] before it hands values to a client and one of
//! `Sent`, `Failed`, `Unknown` afterwards; a reader notes what it polled, in which order; the nemesis notes its steps. The
//! recorder stamps each note with a monotonic time and appends it to a file of JSON lines as it comes, so that a run that
//! ends badly leaves everything that happened until then. [`crate::checker`] judges the whole of it afterwards.
//!
//! Invariants:
//! - The order of events is the order in which the recorder took them: an acknowledgement that stands before a question
//!   was there before the question was asked.
//! - A value is sent at most once in a history; a client's retries are its own business and do not show.
//! - A worker has one transaction at a time: what it sends and polls between [`What::Begin`] and [`What::Ended`] is part
//!   of it. A transaction whose commit nobody asked for ([`What::Ending`]) cannot have been committed.
//! - The first line says the version of the layout; what is newer is refused.
//!
//! Not here: opinions (see the checker), clocks of the brokers.

mod desk; // notes of other processes
mod file; // JSON lines
mod stall; // longest silence

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use desk::{Desk, Moment, Pen};
pub use file::{HistoryError, read};
pub use stall::longest_stall;

/// Who speaks: a producer, a reader, or [`Worker::NEMESIS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Worker(pub u32);

impl Worker {
    /// The one that breaks things and heals them.
    pub const NEMESIS: Self = Self(0);
}

/// A record's value: the producer that sent it, and the how many-th of its values it is. Written as `3.17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Value {
    pub worker: Worker,
    pub number: u64,
}

/// A text that is no value of ours.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not `worker.number`")]
pub struct NotAValue(String);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.worker.0, self.number)
    }
}

impl FromStr for Value {
    type Err = NotAValue;

    fn from_str(text: &str) -> Result<Self, NotAValue> {
        let parsed = text.split_once('.').and_then(|(worker, number)| {
            Some(Self { worker: Worker(worker.parse().ok()?), number: number.parse().ok()? })
        });
        parsed.ok_or_else(|| NotAValue(text.to_owned()))
    }
}

impl From<Value> for String {
    fn from(value: Value) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Value {
    type Error = NotAValue;

    fn try_from(text: String) -> Result<Self, NotAValue> {
        text.parse()
    }
}

/// What a producer was told of the end of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Committed,
    Aborted,
    /// It asked for a commit and never learned.
    Unknown,
}

/// What happened. All partitions are of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// These values, in this order, are on their way; several are one batch.
    Send { partition: i32, values: Vec<Value> },
    /// They were acknowledged; the first has this offset, the others follow. Negative where the client was not told it:
    /// librdkafka takes the acknowledgement of a later batch for one of all before it.
    Sent { partition: i32, values: Vec<Value>, offset: i64 },
    /// They were surely not written.
    Failed { values: Vec<Value>, reason: String },
    /// They may have been written or not, now or later.
    Unknown { values: Vec<Value>, reason: String },
    /// A transaction of this worker begins.
    Begin,
    /// Its end is asked for.
    Ending { commit: bool },
    /// Its end, as far as the worker knows.
    Ended { outcome: Outcome },
    /// The worker is a member of this group.
    Member { group: String },
    /// The group of this member has read everything before these offsets, says the member; its commit was acknowledged.
    Committed { partitions: Vec<(i32, i64)> },
    /// This reader sees also what is not committed yet, or never will be.
    ReadsUncommitted,
    /// The reader starts at these offsets; what it polls next is not compared with what it polled before. Negative where
    /// only the cluster knows, as for members of groups.
    Assigned { partitions: Vec<(i32, i64)> },
    /// Offsets and values, in the order in which they came.
    Polled { partition: i32, records: Vec<(i64, Value)> },
    /// Something that no producer of this history can have sent.
    Garbage { partition: i32, offset: i64, text: String },
    /// A reader was told that the partition ends before this offset; it had asked at that time.
    End { partition: i32, offset: i64, asked_us: u64 },
    /// The nemesis did something.
    Fault { step: String },
    /// All is whole again: who reads from here on sees everything.
    Healed,
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Since the history began.
    pub at_us: u64,
    pub worker: Worker,
    pub what: What,
}

/// Takes notes; clones share one history.
#[derive(Clone, Debug)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
    began: Instant,
    path: PathBuf,
}

#[derive(Debug)]
struct Inner {
    events: Vec<Event>,
    file: file::Writer,
    workers: u32,
    acknowledged: u64,
}

impl Recorder {
    /// A history that is also written to this file.
    pub fn create(path: &Path) -> Result<Self, HistoryError> {
        let file = file::Writer::create(path)?;
        let inner = Inner { events: Vec::new(), file, workers: 0, acknowledged: 0 };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), began: Instant::now(), path: path.to_path_buf() })
    }

    /// The name of a new worker.
    pub fn worker(&self) -> Worker {
        let mut inner = self.inner.lock();
        inner.workers += 1;
        Worker(inner.workers)
    }

    pub fn note(&self, worker: Worker, what: What) {
        let mut inner = self.inner.lock();
        // Under the lock, so that times ascend with the order.
        let event = Event { at_us: self.now_us(), worker, what };
        inner.file.append(&event);
        if let What::Sent { values, .. } = &event.what {
            inner.acknowledged += values.len() as u64;
        }
        inner.events.push(event);
    }

    /// A step of the nemesis.
    pub fn fault(&self, step: impl Into<String>) {
        self.note(Worker::NEMESIS, What::Fault { step: step.into() });
    }

    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// All that was noted until now.
    pub fn events(&self) -> Vec<Event> {
        self.inner.lock().events.clone()
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.inner.lock().events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events from the how many-th on; for those who look again and again.
    pub fn events_from(&self, index: usize) -> Vec<Event> {
        self.inner.lock().events.get(index..).unwrap_or_default().to_vec()
    }

    /// Values acknowledged until now.
    pub fn acknowledged(&self) -> u64 {
        self.inner.lock().acknowledged
    }

    /// Where the JSON lines are; complete after this.
    pub fn flushed(&self) -> &Path {
        self.inner.lock().file.flush();
        &self.path
    }
}

#[cfg(test)]
mod tests;
