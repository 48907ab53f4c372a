//! What is counted for every request, by API and version.
//!
//! Picture: a row per API that is made at its first request and holds the counters themselves. A look-up by label costs
//! a hash of all labels and a lock, several times per request; a row costs an index and an atomic addition per figure.
//!
//! Invariant: APIs and versions are those of the handler table, so rows are a bounded set.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec};
use twinstream_protocol::frame::INTERNAL_API_KEY_MIN;
use twinstream_telemetry::Metrics;

use super::request_times::{RequestTimes, Row};

/// Rows for the keys of clients; Kafka's are below a hundred.
const CLIENT_KEYS: usize = 128;
/// Rows for the keys between our nodes, from [`INTERNAL_API_KEY_MIN`] on.
const INTERNAL_KEYS: usize = 32;
/// Kafka's newest versions are below twenty.
const VERSIONS: usize = 32;

pub(super) struct RequestFigures {
    served: IntCounterVec,
    total_time: RequestTimes,
    local_time: RequestTimes,
    rows: Box<[OnceLock<ApiFigures>]>,
}

struct ApiFigures {
    served: Box<[OnceLock<IntCounter>]>,
    total_time: Arc<Row>,
    local_time: Arc<Row>,
}

/// One request and how long it took.
pub(super) struct ServedRequest {
    pub(super) api_key: i16,
    pub(super) api_name: &'static str,
    pub(super) api_version: i16,
    pub(super) local: Duration,
    pub(super) total: Duration,
}

impl RequestFigures {
    pub(super) fn new(registry: &Metrics) -> Self {
        let served = registry.counter_vec(
            "kafka_network_requestmetrics_requests_total",
            "Requests served, by API and version.",
            &["request", "version"],
        );
        let total_time = registry.declare(RequestTimes::new(
            "kafka_network_requestmetrics_totaltimems",
            "Milliseconds from a whole request to its sent response.",
        ));
        let local_time = registry.declare(RequestTimes::new(
            "kafka_network_requestmetrics_localtimems",
            "Milliseconds that a request spent in its handler, waiting included.",
        ));
        let rows = (0..CLIENT_KEYS + INTERNAL_KEYS).map(|_| OnceLock::new()).collect();
        Self { served, total_time, local_time, rows }
    }

    pub(super) fn count(&self, request: &ServedRequest) {
        let Some(row) = row_of(request.api_key).and_then(|index| self.rows.get(index)) else { return };
        let row = row.get_or_init(|| ApiFigures {
            served: (0..VERSIONS).map(|_| OnceLock::new()).collect(),
            total_time: self.total_time.row(request.api_name),
            local_time: self.local_time.row(request.api_name),
        });
        let counter = || self.served.with_label_values(&[request.api_name, &request.api_version.to_string()]);
        // A version of ApiVersions that we do not know has none: the client made it up, so it gets no series.
        if let Some(served) = usize::try_from(request.api_version).ok().and_then(|version| row.served.get(version)) {
            served.get_or_init(counter).inc();
        }
        row.local_time.observe(request.local);
        row.total_time.observe(request.total);
    }
}

fn row_of(api_key: i16) -> Option<usize> {
    let (from, first, rows) = match api_key >= INTERNAL_API_KEY_MIN {
        true => (INTERNAL_API_KEY_MIN, CLIENT_KEYS, INTERNAL_KEYS),
        false => (0, 0, CLIENT_KEYS),
    };
    let place = usize::try_from(api_key.checked_sub(from)?).ok()?;
    (place < rows).then_some(first + place)
}

#[cfg(test)]
mod tests;
