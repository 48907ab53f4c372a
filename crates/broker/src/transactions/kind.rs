//! Transactions as a kind of coordinator: their records as batches, their events as log lines, their effects as work.

use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering};
use std::time::Duration;

use tracing::{debug, info, warn};
use twinstream_coordinator::Engine;
use twinstream_coordinator::codec::DecodeError;
use twinstream_coordinator::transaction::{
    Effect, Event, Record, TransactionConfig, TransactionShard, TransactionVersion, decode, encode,
};
use twinstream_model::{ErrorCode, Offset};
use twinstream_protocol::batch::BatchView;

use super::bells::Bells;
use super::markers::Outbox;
use super::metrics::{Share, TransactionMetrics};
use crate::coordinators::{self, Kind, LoadError, Loaded, RecordError, Site};

/// How transaction shards behave, where they are counted, and where their effects go.
#[derive(Clone)]
pub(super) struct TransactionKind {
    pub(super) config: TransactionConfig,
    /// The level of `transaction.version` now.
    pub(super) version: Arc<AtomicI16>,
    /// How long an answer waits for its commit.
    pub(super) commit_timeout: Duration,
    pub(super) outbox: Arc<Outbox>,
    /// Rung when a transaction is over.
    pub(super) bells: Arc<Bells>,
    pub(super) metrics: TransactionMetrics,
}

impl Kind for TransactionKind {
    type Shard = TransactionShard;
    type Share = Share;

    const NAME: &'static str = "transaction";

    fn shard(&self) -> TransactionShard {
        let version = TransactionVersion::from_level(self.version.load(Ordering::Acquire)).unwrap_or_default();
        TransactionShard::new(TransactionConfig { version, ..self.config.clone() })
    }

    fn commit_timeout(&self) -> Duration {
        self.commit_timeout
    }

    fn batch(records: &[Record], timestamp_ms: i64) -> Result<Vec<u8>, ErrorCode> {
        coordinators::plain_batch::<Self>(records.iter().map(encode), timestamp_ms)
    }

    fn replay(
        engine: &mut Engine<TransactionShard>,
        batch: &BatchView<'_>,
        from: Offset,
        loaded: &mut Loaded,
    ) -> Result<(), LoadError> {
        if batch.attributes().is_control() {
            return Ok(());
        }
        coordinators::replay_records(batch, from, loaded, |offset, key, value| match decode(key, value) {
            Ok(record) => {
                engine.load(offset, &record);
                Ok(())
            }
            Err(DecodeError::UnknownKind(kind)) => Err(RecordError::UnknownKind(kind)),
            Err(broken) => Err(RecordError::Broken(Box::new(broken))),
        })
    }

    fn log_event(&self, event: Event) {
        match event {
            Event::Initialized { transactional_id, producer } => {
                debug!(%transactional_id, %producer, "transactional producer is initialized");
            }
            Event::Replaced { transactional_id } => {
                info!(%transactional_id, "a new producer came, aborting the transaction of the one before");
            }
            Event::TimedOut { transactional_id, producer, timeout_ms } => {
                info!(%transactional_id, %producer, timeout_ms, "transaction has run out of time, aborting it");
            }
            Event::Completed { transactional_id, state } => {
                self.bells.ring(&transactional_id);
                debug!(%transactional_id, %state, "transaction is in all of its partitions");
            }
            Event::NotStored { transactional_id, what, error } => {
                warn!(%transactional_id, what, error = error.name(), "state of a transaction could not be stored");
            }
            Event::IdsExpired { ids } => info!(ids, "expired transactional ids that nobody used"),
        }
    }

    fn carry_out(&self, effect: Effect, site: &Site<Self>) {
        let Effect::WriteMarkers(markers) = effect;
        self.outbox.put(site.clone(), markers);
    }

    fn share(&self) -> Share {
        self.metrics.share()
    }

    fn count(share: &mut Share, shard: &TransactionShard) {
        share.update(shard);
    }
}
