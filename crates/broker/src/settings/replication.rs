//! How replicas follow their leaders, typed.

use std::time::Duration;

use super::values::{SettingsError, Values};

const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// Fetching from leaders, staying in sync, throttles.
#[derive(Clone, Debug)]
pub(crate) struct ReplicationSettings {
    /// Connections to each leading broker.
    pub(crate) fetchers: usize,
    /// How long a follower may lag before it leaves the ISR.
    pub(crate) lag_max: Duration,
    /// How long a follower may be silent before it leaves the ISR.
    pub(crate) silence_max: Duration,
    /// Longest pause before a refused partition is fetched again.
    pub(crate) backoff_max: Duration,
    /// Per partition.
    pub(crate) fetch_bytes_max: i32,
    pub(crate) fetch_bytes_min: i32,
    pub(crate) response_bytes_max: i32,
    pub(crate) fetch_wait_max: Duration,
    /// Silence after which a connection to a leader is given up.
    pub(crate) socket_silence_max: Duration,
    /// Whether consumers are sent to a follower in their rack.
    pub(crate) rack_aware_reads: bool,
}

impl ReplicationSettings {
    pub(super) fn new(values: &Values, session_timeout: Duration) -> Result<Self, SettingsError> {
        let fetch_wait_max = values.millis("replica.fetch.wait.max.ms")?;
        let lag_max = values.millis("replica.lag.time.max.ms")?;
        if fetch_wait_max > lag_max {
            return Err(SettingsError::Contradiction(
                "replica.fetch.wait.max.ms must not be more than replica.lag.time.max.ms, else followers of quiet partitions leave the ISR".to_owned(),
            ));
        }
        Ok(Self {
            fetchers: values.size("num.replica.fetchers")?,
            lag_max,
            // A follower that fetches once per wait is not silent, however long the wait is set.
            silence_max: session_timeout.max(fetch_wait_max * 2),
            backoff_max: values.millis("replica.fetch.backoff.ms")?,
            fetch_bytes_max: values.integer("replica.fetch.max.bytes")?,
            fetch_bytes_min: values.integer("replica.fetch.min.bytes")?,
            response_bytes_max: values.integer("replica.fetch.response.max.bytes")?,
            fetch_wait_max,
            socket_silence_max: values.millis("replica.socket.timeout.ms")?.min(fetch_wait_max + session_timeout),
            rack_aware_reads: values.text("replica.selector.class") == Some(RACK_AWARE),
        })
    }
}
