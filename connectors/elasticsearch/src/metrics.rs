//! What is counted, for all tasks of the process; the worker's binary registers them with [`register`].

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

pub(crate) struct Metrics {
    pub records: IntCounterVec,
    pub requests: IntCounterVec,
    pub request_bytes: IntCounterVec,
    pub retries: IntCounterVec,
    pub buffered: IntGaugeVec,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    records: counter(
        "twinstream_elasticsearch_records_total",
        "Records finished, by outcome: written, superseded, refused, ignored.",
        &["connector", "outcome"],
    ),
    requests: counter(
        "twinstream_elasticsearch_requests_total",
        "Bulk requests answered, by result: ok, busy, failed.",
        &["connector", "result"],
    ),
    request_bytes: counter(
        "twinstream_elasticsearch_request_bytes_total",
        "Bytes of bulk requests before compression.",
        &["connector"],
    ),
    retries: counter(
        "twinstream_elasticsearch_retries_total",
        "Documents sent again, by cause: busy, failed.",
        &["connector", "cause"],
    ),
    buffered: gauge(
        "twinstream_elasticsearch_buffered_records",
        "Records that wait or are under way.",
        &["connector", "task"],
    ),
});

/// Adds the figures to a registry; once per process.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    let metrics = &*METRICS;
    for counter in [&metrics.records, &metrics.requests, &metrics.request_bytes, &metrics.retries] {
        registry.register(Box::new(counter.clone()))?;
    }
    registry.register(Box::new(metrics.buffered.clone()))
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("constant metric name")
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), labels).expect("constant metric name")
}
