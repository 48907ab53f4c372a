//! How many transactional ids in which state, over all shards of this broker, and which markers wait.
//!
//! Each shard adds what changed since it last looked and takes its share back when it goes, as groups do.

use prometheus::{IntCounter, IntGauge, IntGaugeVec};
use twinstream_coordinator::transaction::{TransactionShard, TransactionState};
use twinstream_telemetry::Metrics;

const STATES: [TransactionState; 6] = [
    TransactionState::Empty,
    TransactionState::Ongoing,
    TransactionState::PrepareCommit,
    TransactionState::PrepareAbort,
    TransactionState::CompleteCommit,
    TransactionState::CompleteAbort,
];

/// The figures that all shards share.
#[derive(Clone, Debug)]
pub(super) struct TransactionMetrics {
    by_state: IntGaugeVec,
    /// Partitions of transactions that end and whose leader is not known, or does not take the marker yet.
    pub(super) waiting: IntGauge,
    /// Transactions that end and are not in all of their partitions yet.
    pub(super) ending: IntGauge,
    /// Markers that were written, one per partition.
    pub(super) written: IntCounter,
}

impl TransactionMetrics {
    pub(super) fn new(registry: &Metrics) -> TransactionMetrics {
        TransactionMetrics {
            by_state: registry.gauge_vec(
                "twinstream_transactions_count",
                "Transactional ids that this broker coordinates, by state.",
                &["state"],
            ),
            waiting: registry.gauge(
                "kafka_coordinator_transaction_transactionmarkerchannelmanager_unknowndestinationqueuesize",
                "Markers of transactions that wait for a leader that takes them.",
            ),
            ending: registry.gauge(
                "twinstream_transactions_ending_count",
                "Transactions whose outcome is decided and not in all of their partitions yet.",
            ),
            written: registry.counter(
                "twinstream_transactions_markers_written_total",
                "Markers of transactions that were written, one per partition.",
            ),
        }
    }

    /// The share of one shard, nothing at first.
    pub(super) fn share(&self) -> Share {
        Share { metrics: self.clone(), by_state: [0; STATES.len()] }
    }
}

/// What one shard has added to the gauges; taken back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    metrics: TransactionMetrics,
    by_state: [i64; STATES.len()],
}

impl Share {
    pub(super) fn update(&mut self, shard: &TransactionShard) {
        let found = shard.count_by_state();
        self.set(STATES.map(|state| found.get(&state).map_or(0, |count| *count as i64)));
    }

    fn set(&mut self, counts: [i64; STATES.len()]) {
        for (state, (new, old)) in STATES.iter().zip(counts.iter().zip(&self.by_state)) {
            self.metrics.by_state.with_label_values(&[state.name()]).add(new - old);
        }
        self.by_state = counts;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set([0; STATES.len()]);
    }
}
