//! Compaction: of the records of a key only the newest stays, and tombstones go in time.
//!
//! Picture: a log has a clean part, where no two records have the same key, and a dirty one behind it. A cleaning reads
//! the keys of the dirty part into a map from key to newest offset, as many as fit, and then copies all segments up to
//! there, the clean ones too, leaving out every record of which the map knows a newer one. Several small segments become
//! one. Offsets never change: they have holes from then on.
//!
//! ```text
//!            cleaned to             first uncleanable            log end
//!   clean       v       dirty            v     never touched        v
//!   [ 0 ][ 40  ][ 90   ][ 130    ][ 180  ][ 220   ][ 260 active ....
//!   └── one ──┘ └──── one ──────┘    segments after the cleaning
//! ```
//! The rules are Kafka's: `plan` says what may be cleaned and whether it is time, `groups` which segments become one,
//! `offset_map` holds the keys, `transactions` follows what was aborted, `keep` decides about each batch and record.
//! None of these touches a file. `source` reads segments, `copy` runs a cleaning over them, and
//! `partition_log::compaction` puts the result in the place of what it was made from.
//!
//! Invariants: C1 nothing at or behind the last stable offset and nothing of the active segment is touched. C2 bytes
//! that fail their checksum are not copied; the cleaning ends there. C3 what a producer wrote last stays, if only as an
//! empty batch, so that a log that is read again knows the same sequences and epochs. C4 memory is bounded by settings
//! and stored sizes, never by what records unpack to.

pub(crate) mod copy; // reads, decides, writes
pub(crate) mod groups; // which segments become one
mod keep; // what stays of a batch
pub(crate) mod leftovers; // what a crash leaves
mod offset_map; // key to newest offset
mod plan; // what may be cleaned, and when
mod source; // the batches of a segment
mod transactions; // what was aborted, and whose markers are needed still

use std::path::PathBuf;

use thiserror::Error;

use crate::LogError;

pub use plan::Dirt;
pub(crate) use plan::{Bounds, Facts, survey};

/// What a cleaning may use.
#[derive(Clone, Copy, Debug)]
pub struct CleanerLimits {
    /// `log.cleaner.dedupe.buffer.size` over the threads: memory for keys. A log that has fewer takes less.
    pub map_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`: how full the map may get.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size` over the threads: bytes that are read at once. Grows to a batch that is larger.
    pub io_bytes: usize,
}

impl Default for CleanerLimits {
    /// Kafka's defaults, for one thread.
    fn default() -> CleanerLimits {
        CleanerLimits { map_bytes: 128 << 20, load_factor: 0.9, io_bytes: 512 << 10 }
    }
}

/// Slows a cleaning down, and ends it.
pub trait Pace {
    /// So many bytes were read or written. May wait; an error ends the cleaning.
    fn spent(&self, bytes: u64) -> Result<(), Interrupted>;
}

/// As fast as it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FullSpeed;

impl Pace for FullSpeed {
    fn spent(&self, _bytes: u64) -> Result<(), Interrupted> {
        Ok(())
    }
}

/// Whoever started the cleaning wants it to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// What a cleaning did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cleaned {
    /// Bytes of the segments that were read, and of those that took their place.
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub records_before: u64,
    pub records_after: u64,
    /// Records without a key, which compaction cannot keep.
    pub without_key: u64,
    pub segments_before: usize,
    pub segments_after: usize,
    /// Share of the map that was used, 0 to 1.
    pub map_utilization: f64,
}

/// Why a cleaning ended early. The log is as it was, or some of its groups are clean.
#[derive(Debug, Error)]
pub enum CleanError {
    #[error("compaction was interrupted")]
    Interrupted,
    #[error("log was cut, moved or closed while it was compacted")]
    Superseded,
    #[error("{} is damaged at position {position}: {why}", path.display())]
    Damaged { path: PathBuf, position: u64, why: String },
    /// Readers get the batch as ever: its checksum is right.
    #[error("batch at position {position} of {} cannot be compacted: {why}", path.display())]
    Unworkable { path: PathBuf, position: u64, why: String },
    #[error("segment {} spans more offsets than a segment may, it cannot be compacted", path.display())]
    Overflow { path: PathBuf },
    /// The compacted segment could not be written; other errors of files are those of reading.
    #[error("cannot write a compacted segment: {0}")]
    Write(LogError),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<Interrupted> for CleanError {
    fn from(_: Interrupted) -> CleanError {
        CleanError::Interrupted
    }
}
