//! Errors of a log, one enum for each kind of operation.
//!
//! [`LogError`] is the disk's or a file's fault, [`AppendError`] mostly the producer's, [`ReadError`] the
//! reader's. Which wire code each becomes is decided in the broker.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchError, BuildError};

/// A failure of files.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("{action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("batch at position {position} of {} is damaged: {what}", path.display())]
    DamagedBatch { path: PathBuf, position: u64, what: String },
    #[error("{} has version {found}, this program reads up to version {known}; start a newer program on it", path.display())]
    NewerVersion { path: PathBuf, found: String, known: u32 },
    #[error("log is out of use until the broker restarts, because an earlier write failed: {cause}")]
    Poisoned { cause: String },
    #[error("log directory {} is out of use until the broker restarts: {cause}", dir.display())]
    Offline { dir: PathBuf, cause: String },
    #[error("log directory {} has {free} bytes left, of which {reserve} are kept for metadata and committed offsets; delete records, or give it a larger disk", dir.display())]
    Reserve { dir: PathBuf, free: u64, reserve: u64 },
    #[error("log is closed")]
    Closed,
}

impl LogError {
    /// Makes a mapper for `io::Error`s: what was tried, and on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> LogError {
        LogError::Damaged { path: path.to_owned(), what: what.into() }
    }

    /// Whether nothing is wrong but that the disk would have to be waited for.
    pub(crate) fn would_wait(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the disk is full, or the quota used up: nothing was lost, and it may pass.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            LogError::Reserve { .. } => true,
            LogError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// Whether too many files are open, here or in the whole system. Nothing was tried.
    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        let too_many_files =
            [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        matches!(self, LogError::Io { source, .. } if too_many_files.contains(&source.raw_os_error()))
    }

    /// Whether it may pass by itself: there is no room, or too many files are open. Nothing was lost.
    pub fn is_passing(&self) -> bool {
        self.is_out_of_descriptors() || self.is_out_of_space()
    }

    /// Whether the failure speaks against the whole disk and not just against one file that somebody removed or exchanged.
    pub fn is_disk_failure(&self) -> bool {
        use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound};
        match self {
            LogError::Io { source, .. } => {
                !self.is_passing() && !matches!(source.kind(), NotFound | AlreadyExists | NotADirectory | IsADirectory)
            }
            _ => false,
        }
    }

    /// Whether nothing can be said that was not said when the log or its directory went out of use.
    pub fn is_known(&self) -> bool {
        matches!(self, LogError::Poisoned { .. } | LogError::Offline { .. } | LogError::Closed)
    }

    /// The error and all its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

/// Why records were not appended. Nothing was written, except after `Storage`.
#[derive(Debug, Error)]
pub enum AppendError {
    #[error("there are no records to append")]
    Empty,
    #[error("records of format 2 must come as exactly one batch")]
    SeveralBatches,
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("batch of {len} bytes is larger than max.message.bytes ({max}), send smaller batches")]
    TooLarge { len: usize, max: usize },
    #[error("batch of {len} bytes does not fit a segment of {max} bytes, raise segment.bytes")]
    LargerThanSegment { len: usize, max: usize },
    #[error("{0}")]
    InvalidBatch(String),
    #[error("mirrored records go on at offset {from}, but the log ends at {end}")]
    Beyond { from: Offset, end: Offset },
    #[error(
        "the source's leader has epoch {theirs}, which is newer than epoch {ours} of its mirror; it is raised, send again"
    )]
    EpochAhead { theirs: LeaderEpoch, ours: LeaderEpoch },
    #[error("{} of the records are not valid: {}", faults.len(), faults.first().map_or("", |f| f.message))]
    InvalidRecords { kind: RecordFaultKind, faults: Vec<RecordFault> },
    #[error(
        "producer {id} has no transaction of epoch {epoch} that is open in this partition and was not found to belong to one, abort the transaction and begin it again"
    )]
    NotInTransaction { id: ProducerId, epoch: ProducerEpoch },
    #[error("producer {id} has a transaction open in this partition, so its records must be transactional")]
    OutsideTransaction { id: ProducerId },
    #[error("marker for producer {id} is of coordinator epoch {found}, the log has seen epoch {current}")]
    CoordinatorFenced { id: ProducerId, found: i32, current: i32 },
    #[error("producer {id} of epoch {epoch} sent sequence {found}, expected was {expected}")]
    OutOfOrderSequence { id: ProducerId, epoch: ProducerEpoch, expected: i32, found: i32 },
    #[error("producer {id} sent epoch {epoch}, the log has seen epoch {current}")]
    InvalidProducerEpoch { id: ProducerId, epoch: ProducerEpoch, current: ProducerEpoch },
    #[error("batch could not be packed for this topic")]
    Recompress(#[from] BuildError),
    #[error(transparent)]
    Storage(#[from] LogError),
}

/// What is wrong with the records of [`AppendError::InvalidRecords`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFaultKind {
    Record,
    Timestamp,
}

/// One record that may not be appended (KIP-467).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// Place of the record in its batch.
    pub batch_index: usize,
    pub message: &'static str,
}

/// Why records could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("offset {requested} is outside the log, which reaches from {start} to {end}")]
    OutOfRange { requested: Offset, start: Offset, end: Offset },
    /// What is on the disk is not what was written. Nobody gets it; it waits for a repair from another replica.
    #[error("records {offset} up to {end} are damaged, at position {position} of {}", path.display())]
    Damaged { path: PathBuf, position: u64, offset: Offset, end: Offset },
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Storage(#[from] LogError),
}
