//! What is counted for every request, by API and version.
//!
//! Picture: a row per API that is made at its first request and holds the counters themselves. A look-up by label costs
//! a hash of all labels and a lock, several times per request; a row costs an index and an atomic addition per figure.
//!
//! Invariant: APIs and versions are those of the handler table, so rows are a bounded set.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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

/// The stages of a request: name, help.
const STAGES: [(&str, &str); 6] = [
    ("kafka_network_requestmetrics_totaltimems", "Milliseconds from a whole request to its sent response."),
    (
        "kafka_network_requestmetrics_requestqueuetimems",
        "Milliseconds that a whole request waited for its handler: for the broker to be ready, and for promised answers.",
    ),
    (
        "kafka_network_requestmetrics_localtimems",
        "Milliseconds that a request spent in its handler, waiting included unless remotetimems has it.",
    ),
    (
        "kafka_network_requestmetrics_remotetimems",
        "Milliseconds that an answer waited for followers behind its handler; other waits count as local.",
    ),
    (
        "kafka_network_requestmetrics_responsequeuetimems",
        "Milliseconds that an answer, known already, waited for answers to earlier requests of its connection.",
    ),
    ("kafka_network_requestmetrics_responsesendtimems", "Milliseconds that sending a response took."),
];

impl RequestTimeline {
    /// In the order of [`STAGES`].
    fn stages(&self) -> [Duration; STAGES.len()] {
        let waited = self.sending.saturating_duration_since(self.handled);
        let (remote, queued) = if self.promised { (waited, Duration::ZERO) } else { (Duration::ZERO, waited) };
        [
            self.sent.saturating_duration_since(self.read),
            self.begun.saturating_duration_since(self.read),
            self.handled.saturating_duration_since(self.begun),
            remote,
            queued,
            self.sent.saturating_duration_since(self.sending),
        ]
    }
}

pub(super) struct RequestFigures {
    served: IntCounterVec,
    times: [RequestTimes; STAGES.len()],
    rows: Box<[OnceLock<ApiFigures>]>,
}

struct ApiFigures {
    served: Box<[OnceLock<IntCounter>]>,
    times: [Arc<Row>; STAGES.len()],
}

/// When a request got how far. Each time is at or behind those before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestTimeline {
    /// Its last byte was read.
    pub(crate) read: Instant,
    /// Its handler began.
    pub(crate) begun: Instant,
    /// Its handler was through; its answer may wait for followers then.
    pub(crate) handled: Instant,
    /// The answer was known, if the handler only promised it.
    pub(crate) promised: bool,
    /// The answer began to be sent.
    pub(crate) sending: Instant,
    pub(crate) sent: Instant,
}

impl RequestFigures {
    pub(super) fn new(registry: &Metrics) -> Self {
        let served = registry.counter_vec(
            "kafka_network_requestmetrics_requests_total",
            "Requests served, by API and version.",
            &["request", "version"],
        );
        let times = STAGES.map(|(name, help)| registry.declare(RequestTimes::new(name, help)));
        let rows = (0..CLIENT_KEYS + INTERNAL_KEYS).map(|_| OnceLock::new()).collect();
        Self { served, times, rows }
    }

    pub(super) fn count(&self, api_key: i16, api_name: &'static str, version: i16, times: &RequestTimeline) {
        let Some(row) = row_of(api_key).and_then(|index| self.rows.get(index)) else { return };
        let row = row.get_or_init(|| ApiFigures {
            served: (0..VERSIONS).map(|_| OnceLock::new()).collect(),
            times: self.times.each_ref().map(|times| times.row(api_name)),
        });
        let counter = || self.served.with_label_values(&[api_name, &version.to_string()]);
        // A version of ApiVersions that we do not know has none: the client made it up, so it gets no series.
        if let Some(served) = usize::try_from(version).ok().and_then(|version| row.served.get(version)) {
            served.get_or_init(counter).inc();
        }
        for (times, took) in row.times.iter().zip(times.stages()) {
            times.observe(took);
        }
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
