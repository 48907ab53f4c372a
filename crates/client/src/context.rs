//! What librdkafka tells us from its own threads: log lines and global errors, sorted into sane levels.
//!
//! librdkafka repeats "connection refused" for every broker about once a second. A client that lost its cluster must not
//! fill a disk: connection trouble is a WARN once per [`QUIET_FOR`] and DEBUG in between. A caller hears about it through
//! the error of its own call, not through the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use tracing::{debug, info, warn};

use crate::traffic::Reported;

const QUIET_FOR: Duration = Duration::from_secs(30);

/// The last global error of a client, to give a bare "timed out" its cause.
#[derive(Clone, Default)]
pub(crate) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    pub(crate) fn text(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// Shared by every librdkafka client of this crate.
pub(crate) struct Context {
    client: String,
    last_warned: Mutex<Option<Instant>>,
    suppressed: AtomicU64,
    last_error: LastError,
    reported: Reported,
}

impl Context {
    pub(crate) fn new(client: &str) -> Self {
        Self {
            client: client.to_owned(),
            last_warned: Mutex::new(None),
            suppressed: AtomicU64::new(0),
            last_error: LastError::default(),
            reported: Reported::default(),
        }
    }

    pub(crate) fn last_error(&self) -> LastError {
        self.last_error.clone()
    }

    fn connection_trouble(&self, reason: &str) {
        let mut last = self.last_warned.lock();
        if last.is_some_and(|at| at.elapsed() < QUIET_FOR) {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            debug!(client = self.client, reason, "connection trouble");
            return;
        }
        *last = Some(Instant::now());
        let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
        warn!(client = self.client, reason, suppressed, "connection trouble, librdkafka goes on trying");
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // Connection failures also arrive through `error`; one of the two is enough.
            _ if matches!(facility, "FAIL" | "CONNECT" | "ERROR") => {
                debug!(target: "librdkafka", client = self.client, facility, "{message}");
            }
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                warn!(target: "librdkafka", client = self.client, facility, "{message}");
            }
            RDKafkaLogLevel::Warning => info!(target: "librdkafka", client = self.client, facility, "{message}"),
            _ => debug!(target: "librdkafka", client = self.client, facility, "{message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.reported.take(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is an event of the consumer, not an error.
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        *self.last_error.0.lock() = Some(reason.to_owned());
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve,
            ) => self.connection_trouble(reason),
            _ => warn!(client = self.client, %error, reason, "client error"),
        }
    }
}
