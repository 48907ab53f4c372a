//! The settings of the transaction shard; names and defaults are Kafka's.

use super::request::TransactionVersion;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`
    pub timeout_ms_max: i32,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub id_expiration_check_interval_ms: u64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: so long at most a transaction lives on after
    /// its time is up.
    pub timeout_check_interval_ms: u64,
    /// The feature `transaction.version` when the shard starts; later
    /// [`Request::SetVersion`](super::Request::SetVersion) changes it.
    pub version: TransactionVersion,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        TransactionConfig {
            timeout_ms_max: 900_000,
            id_expiration_ms: 7 * 24 * 3_600_000,
            id_expiration_check_interval_ms: 3_600_000,
            timeout_check_interval_ms: 10_000,
            version: TransactionVersion::V2,
        }
    }
}
