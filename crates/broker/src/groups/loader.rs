//! Replays a partition of `__consumer_offsets` into a shard.
//!
//! Records of a kind that this release does not know (they belong to newer group protocols) are skipped with one
//! warning per kind, as Kafka does. Anything else that cannot be read stops the load: to serve a group without
//! some of its offsets would make its consumers start over or skip data.

use std::collections::BTreeMap;

use thiserror::Error;
use tracing::warn;
use twinstream_coordinator::Engine;
use twinstream_coordinator::group::{DecodeError, GroupShard, decode};
use twinstream_model::{ErrorCode, Offset, TopicPartition};
use twinstream_protocol::batch::{BatchError, BatchView, batches, whole_batches};

use super::log::ShardLog;

/// How much of the log is in memory at once while loading, besides a batch that is larger.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Bound of one batch after decompression; Kafka's coordinators write batches of at most 1 MiB.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a shard could not be loaded.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error("cannot read the log from offset {offset}: {error}")]
    Read { offset: Offset, error: ErrorCode },
    #[error("batch at offset {offset} is broken")]
    Batch { offset: Offset, source: BatchError },
    #[error("record at offset {offset} cannot be used")]
    Record { offset: Offset, source: DecodeError },
    #[error("log ends at {found}, expected {expected}")]
    Short { found: Offset, expected: Offset },
}

/// What the log held; for the log line.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    skipped: BTreeMap<i16, u64>,
    transactional: u64,
}

/// Replays everything that the log held when the load began, and returns up to where.
pub(crate) fn load(
    engine: &mut Engine<GroupShard>,
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
            replay_batch(engine, &batch, at, &mut loaded)?;
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

fn replay_batch(
    engine: &mut Engine<GroupShard>,
    batch: &BatchView<'_>,
    from: Offset,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    let broken = |source| LoadError::Batch { offset: batch.base_offset(), source };
    batch.check_crc().map_err(broken)?;
    if batch.attributes().is_control() {
        return Ok(());
    }
    if batch.attributes().is_transactional() {
        loaded.transactional += batch.record_count().max(0) as u64;
        return Ok(());
    }
    for record in &batch.records(BATCH_BYTES_MAX).map_err(broken)? {
        let record = record.map_err(broken)?;
        if record.offset < from {
            continue; // the log starts inside this batch
        }
        match decode(record.key, record.value) {
            Ok(decoded) => engine.load(record.offset, &decoded),
            Err(DecodeError::UnknownKind(kind)) => *loaded.skipped.entry(kind).or_default() += 1,
            Err(source) => return Err(LoadError::Record { offset: record.offset, source }),
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
            warn!(%partition, records, "skipped offsets of transactions, which this release does not serve");
        }
    }
}
