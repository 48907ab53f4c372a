//! What is counted, for all tasks of the process; the worker's binary declares [`collectors`].

use std::sync::{Arc, LazyLock};

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

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

/// The figures of this process, for the worker's registry.
pub fn collectors() -> Vec<Arc<dyn Collector>> {
    let metrics = &*METRICS;
    let counters = [&metrics.records, &metrics.requests, &metrics.request_bytes, &metrics.retries];
    let mut all: Vec<Arc<dyn Collector>> = counters.into_iter().map(|counter| Arc::new(counter.clone()) as _).collect();
    all.push(Arc::new(metrics.buffered.clone()));
    all
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("constant metric name")
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), labels).expect("constant metric name")
}
