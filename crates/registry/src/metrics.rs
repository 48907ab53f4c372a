//! What the registry counts.

use std::sync::Arc;

use prometheus::{HistogramVec, IntCounterVec, IntGauge};
use twinstream_telemetry::Metrics;

use crate::store::Store;

const SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];

/// The registry's metrics; clones share them.
#[derive(Clone)]
pub(crate) struct RegistryMetrics {
    pub(crate) metrics: Metrics,
    store: Arc<Store>,
    requests: IntCounterVec,
    duration: HistogramVec,
    subjects: IntGauge,
    schemas: IntGauge,
    offset: IntGauge,
}

impl RegistryMetrics {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let metrics = Metrics::new();
        Self {
            requests: metrics.counter_vec(
                "twinstream_registry_http_requests_total",
                "Answered HTTP requests by method and status",
                &["method", "status"],
            ),
            duration: metrics.histogram_vec(
                "twinstream_registry_http_request_seconds",
                "Time to answer an HTTP request",
                SECONDS,
                &["method"],
            ),
            subjects: metrics.gauge("twinstream_registry_subjects", "Subjects with a version that is not deleted"),
            schemas: metrics.gauge("twinstream_registry_versions", "Versions that are not deleted, of all subjects"),
            offset: metrics.gauge("twinstream_registry_store_offset", "Next offset of the schemas topic to read"),
            metrics,
            store,
        }
    }

    pub(crate) fn answered(&self, method: &str, status: u16, seconds: f64) {
        // Methods are bounded by what HTTP knows; anything else is one label.
        let method = if ["GET", "POST", "PUT", "DELETE"].contains(&method) { method } else { "other" };
        self.requests.with_label_values(&[method, &status.to_string()]).inc();
        self.duration.with_label_values(&[method]).observe(seconds);
    }

    /// Gauges are read off the state when somebody asks.
    pub(crate) fn refresh(&self) {
        let counted = self.store.read(|state| {
            let live = state.subjects().map(|(subject, _)| state.live(subject).count()).filter(|count| *count > 0);
            let counts: Vec<usize> = live.collect();
            (counts.len(), counts.iter().sum::<usize>(), state.position())
        });
        if let Ok((subjects, versions, position)) = counted {
            self.subjects.set(i64::try_from(subjects).unwrap_or(i64::MAX));
            self.schemas.set(i64::try_from(versions).unwrap_or(i64::MAX));
            self.offset.set(position);
        }
    }
}
