//! One partition's log: segments, indexes, producer state, recovery, retention; and the log directory.
//!
//! Picture: a folder of files in Kafka's own formats, so that Kafka's dump tools read them and logs can be
//! moved in and out. Appending is one positional write of bytes that are not changed on the way; reading
//! answers with ranges of files that a socket sends by itself.
//!
//! Invariants: L1 offsets of a log ascend without reuse. L2 what a reader may see is whole on its way to
//! the disk before it is announced: bytes first, then segment size, then log end. L3 after a failed write
//! or flush no log of the directory takes anything any more until the process starts again, because what reached the
//! disk is not known. L4 files of a newer version are refused, damaged hints (indexes, snapshots, checkpoints) are
//! rebuilt, torn tails are cut, other damaged records stay where they are and are not served.
//!
//! Lock order: a log's flushing, then its writer, then its epochs, then a segment's indexes. None but `flushing` is held
//! while the disk is flushed, and none at all while records are sent. Not here: who may write or read (broker), when to
//! follow or cut (replication), when to compact (broker), whose transactions there are (coordinator).

mod checked;
mod checkpoint;
mod cleaner;
mod config;
mod directory;
mod epochs;
mod error;
mod files;
mod flusher;
mod index;
mod metrics;
mod open_files;
mod origin;
mod page_cache;
mod partition_log;
mod producers;
mod reserve;
mod scrub;
mod segment;
mod slice;
mod transactions;
mod txn_index;
mod validate;

pub use checked::Damage;
pub use cleaner::{CleanError, Cleaned, CleanerLimits, Dirt, FullSpeed, Interrupted, Pace};
pub use config::{CleanupPolicy, LogConfig, RecordChecks, TimestampType};
pub use directory::{
    Checkpoint, DELETE_SUFFIX, DirectoryError, Disk, FUTURE_SUFFIX, LastStop, LogDirectory, MetaProperties,
    STRAY_SUFFIX, remove_folder,
};
pub use error::{AppendError, LogError, ReadError, RecordFault, RecordFaultKind};
pub use flusher::{Flush, Flusher};
pub use metrics::LogMetrics;
pub use open_files::OpenFiles;
pub use origin::{MarkerEpoch, Origin};
pub use page_cache::{bring_into_memory, is_in_memory};
pub use partition_log::FlushMark;
pub use partition_log::{
    Aborted, Appended, CopyError, FollowerAppended, Identity, Left, Maintained, Mirrored, MirroredFrom, Opening,
    PartitionLog, ReadResult, Repaired, TimestampedOffset, Truncated, compare_identity, read_left, remove_left,
    write_identity, write_left,
};
pub use producers::{ActiveProducer, Applicant, VerificationGuard};
pub use scrub::{ScrubCursor, Scrubbed};
pub use slice::{FileSlice, Readiness};
pub use transactions::AbortedTransaction;
