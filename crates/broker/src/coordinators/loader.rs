//! Replays a partition of an internal topic into a shard.
//!
//! Records of a kind that this release does not know (they belong to newer protocols) are skipped with one
//! warning per kind, as Kafka does. Anything else that cannot be read stops the load: to coordinate without some of
//! what was stored would make consumers start over or skip data, and transactions end both ways.

use std::collections::BTreeMap;
use std::error::Error as StdError;

use thiserror::Error;
use tracing::warn;
use twinstream_coordinator::Engine;
use twinstream_model::{ErrorCode, Offset, TopicPartition};
use twinstream_protocol::batch::{BatchError, BatchView, batches, whole_batches};

use super::kind::Kind;
use super::log::ShardLog;

/// How much of the log is in memory at once while loading, besides a batch that is larger.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Bound of one batch after decompression; Kafka's coordinators write batches of at most 1 MiB.
pub(crate) const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a shard could not be loaded.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error("cannot read the log from offset {offset}: {error}")]
    Read { offset: Offset, error: ErrorCode },
    #[error("batch at offset {offset} is broken")]
    Batch { offset: Offset, source: BatchError },
    #[error("record at offset {offset} cannot be used")]
    Record { offset: Offset, source: Box<dyn StdError + Send + Sync> },
    #[error("log ends at {found}, expected {expected}")]
    Short { found: Offset, expected: Offset },
}

/// Why one record could not be replayed.
pub(crate) enum RecordError {
    /// Of a kind that a newer release writes.
    UnknownKind(i16),
    Broken(Box<dyn StdError + Send + Sync>),
}

/// What the log held; for the log line.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Records that were skipped, by the number of their kind.
    skipped: BTreeMap<i16, u64>,
    /// Records of transactions that were skipped.
    pub(crate) transactional: u64,
}

/// Replays everything that the log held when the load began, and returns up to where.
pub(super) fn load<K: Kind>(
    engine: &mut Engine<K::Shard>,
    log: &dyn ShardLog,
    partition: &TopicPartition,
) -> Result<(Offset, Loaded), LoadError> {
    let mut at = log.start();
    let end = log.end();
    let mut loaded = Loaded::default();
    while at < end {
        let bytes = log.read(at, READ_BYTES_MAX).map_err(|error| LoadError::Read { offset: at, error })?;
        let before = at;
        let broken = |source| LoadError::Batch { offset: before, source };
        for batch in batches(whole_batches(&bytes).map_err(broken)?) {
            let batch = batch.map_err(broken)?;
            batch.check_crc().map_err(|source| LoadError::Batch { offset: batch.base_offset(), source })?;
            K::replay(engine, &batch, at, &mut loaded)?;
            at = at.max(batch.last_offset().next());
        }
        if at == before {
            return Err(LoadError::Short { found: at, expected: end });
        }
        loaded.bytes += bytes.len() as u64;
    }
    loaded.warn_of_skipped(partition);
    Ok((end, loaded))
}

/// Hands the records of a batch, their keys and values, to `replay` one by one.
pub(crate) fn replay_records(
    batch: &BatchView<'_>,
    from: Offset,
    loaded: &mut Loaded,
    mut replay: impl FnMut(Offset, Option<&[u8]>, Option<&[u8]>) -> Result<(), RecordError>,
) -> Result<(), LoadError> {
    let broken = |source| LoadError::Batch { offset: batch.base_offset(), source };
    for record in &batch.records(BATCH_BYTES_MAX).map_err(broken)? {
        let record = record.map_err(broken)?;
        if record.offset < from {
            continue; // the log starts inside this batch
        }
        match replay(record.offset, record.key, record.value) {
            Ok(()) => {}
            Err(RecordError::UnknownKind(kind)) => *loaded.skipped.entry(kind).or_default() += 1,
            Err(RecordError::Broken(source)) => return Err(LoadError::Record { offset: record.offset, source }),
        }
        loaded.records += 1;
    }
    Ok(())
}

impl Loaded {
    fn warn_of_skipped(&self, partition: &TopicPartition) {
        for (kind, records) in &self.skipped {
            warn!(%partition, kind, records, "skipped records of a kind that this release does not know");
        }
        if self.transactional > 0 {
            let records = self.transactional;
            warn!(%partition, records, "skipped records of transactions, which do not belong here");
        }
    }
}
