//! The settings of the transaction coordinator and its topic.

use std::time::Duration;

use super::values::{SettingsError, Values};

/// Transactions, and the topic that they are kept in.
#[derive(Clone, Debug)]
pub(crate) struct TransactionSettings {
    /// The longest transaction that a producer may ask for.
    pub(crate) timeout_max: Duration,
    /// How long an id that nobody uses is kept.
    pub(crate) id_expiration: Duration,
    /// How often overdue transactions are looked for.
    pub(crate) abort_check_interval: Duration,
    /// How often ids that nobody uses are looked for.
    pub(crate) expiration_check_interval: Duration,
    /// Whether the coordinator is asked before a transactional append (KIP-890).
    pub(crate) verifies_partitions: bool,
    /// How long a partition waits to be added for a producer whose last transaction still ends.
    pub(crate) add_partitions_backoff_max: Duration,
    pub(crate) topic_partitions: i32,
    pub(crate) topic_replication_factor: i16,
    pub(crate) topic_min_isr: i32,
    pub(crate) topic_segment_bytes: i32,
}

impl TransactionSettings {
    pub(super) fn new(values: &Values) -> Result<Self, SettingsError> {
        Ok(Self {
            timeout_max: values.millis("transaction.max.timeout.ms")?,
            id_expiration: values.millis("transactional.id.expiration.ms")?,
            abort_check_interval: values.millis("transaction.abort.timed.out.transaction.cleanup.interval.ms")?,
            expiration_check_interval: values.millis("transaction.remove.expired.transaction.cleanup.interval.ms")?,
            verifies_partitions: values.flag("transaction.partition.verification.enable"),
            add_partitions_backoff_max: values.millis("add.partitions.to.txn.retry.backoff.max.ms")?,
            topic_partitions: values.integer("transaction.state.log.num.partitions")?,
            topic_replication_factor: values.integer("transaction.state.log.replication.factor")?,
            topic_min_isr: values.integer("transaction.state.log.min.isr")?,
            topic_segment_bytes: values.integer("transaction.state.log.segment.bytes")?,
        })
    }
}
