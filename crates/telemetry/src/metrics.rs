//! One registry of metrics, its constructors and its endpoint.
//!
//! Picture: `Metrics` is a cheap handle. A crate's `metrics.rs` makes its counters with it and keeps them in a struct;
//! the handle renders everything as Prometheus text whenever somebody asks. The figures of the process itself
//! (memory, descriptors, CPU) are part of every `Metrics`.
//!
//! Existing dashboards spell the same metric in several ways. A role gives a table of [`Metrics::spellings`], and a family
//! is rendered under each of its names; only one of them is counted.
//!
//! Invariants: a name is declared once; a second declaration is a mistake in the program and stops it at its first
//! start with the name in the message. Labels are a bounded set, which is the duty of who declares them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use parking_lot::RwLock;
use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::process::ProcessCollector;
use crate::reference::{self, Entry};

/// Families with more members come in the order of their collector: sorting them took a third of a large scrape.
const SORTED_MAX: usize = 1_000;

/// Pages that are made at once, each of up to ten megabytes and more; who else asks waits.
const RENDERED_AT_ONCE: usize = 2;

/// Where the metrics are explained that a role may show.
const REFERENCE: &str = "/metrics/reference";

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("cannot listen for metrics on {address}: {source}; another process may hold the port")]
    Bind { address: SocketAddr, source: std::io::Error },
}

/// The metrics of one role. Clones share the registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    declared: Arc<RwLock<Vec<Arc<dyn Collector>>>>,
    /// Other names by the name that is declared.
    spellings: Arc<RwLock<BTreeMap<&'static str, &'static str>>>,
    /// Turns of those who ask for the page.
    turns: Arc<Semaphore>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let turns = Arc::new(Semaphore::new(RENDERED_AT_ONCE));
        let metrics = Self { registry: Registry::new(), declared: Arc::default(), spellings: Arc::default(), turns };
        metrics.declare(ProcessCollector::new());
        metrics
    }

    /// Renders metrics under further names, too: pairs of a declared name and another one.
    pub fn spellings(&self, pairs: &[(&'static str, &'static str)]) {
        self.spellings.write().extend(pairs.iter().copied());
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.declare(built(name, IntCounter::new(name, help)))
    }

    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.declare(built(name, IntCounterVec::new(Opts::new(name, help), labels)))
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.declare(built(name, IntGauge::new(name, help)))
    }

    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.declare(built(name, IntGaugeVec::new(Opts::new(name, help), labels)))
    }

    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.declare(built(name, Gauge::new(name, help)))
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.declare(built(name, Histogram::with_opts(options)))
    }

    pub fn histogram_vec(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.declare(built(name, HistogramVec::new(options, labels)))
    }

    /// Adds any collector, for figures that are read at scrape time rather than counted.
    pub fn declare<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        self.adopt(Arc::new(collector.clone()));
        collector
    }

    /// Adds a collector that others keep.
    pub fn adopt(&self, collector: Arc<dyn Collector>) {
        if let Err(error) = self.registry.register(Box::new(Shared(Arc::clone(&collector)))) {
            let names: Vec<&str> = collector.desc().iter().map(|desc| desc.fq_name.as_str()).collect();
            panic!("metric {names:?} cannot be declared: {error}");
        }
        self.declared.write().push(collector);
    }

    /// Every declared metric in the order of the names, whether it has a series or not.
    pub fn reference(&self) -> Vec<Entry> {
        let declared = self.declared.read();
        let mut entries: Vec<Entry> =
            declared.iter().flat_map(|collector| reference::entries(collector.as_ref())).collect();
        let spellings = self.spellings.read();
        let others = entries.iter().filter_map(|entry| {
            let name = (*spellings.get(entry.name.as_str())?).to_owned();
            Some(Entry { name, help: format!("Another name of {}.", entry.name), ..entry.clone() })
        });
        let others: Vec<Entry> = others.collect();
        entries.extend(others);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// Everything in Prometheus' text format. One collector after the other, so that the figures of only one are in memory
    /// besides the text: with ten thousand partitions they are tens of megabytes.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let declared = self.declared.read().clone();
        let spellings = self.spellings.read().clone();
        let mut text = String::new();
        for collector in declared {
            let mut families = collector.collect();
            families.retain(|family| !family.get_metric().is_empty());
            families.iter_mut().filter(|family| family.get_metric().len() <= SORTED_MAX).for_each(sort);
            TextEncoder::new().encode_utf8(&families, &mut text)?;
            families.retain_mut(|family| {
                let other = spellings.get(family.name()).map(|other| (*other).to_owned());
                let is_spelled = other.is_some();
                other.into_iter().for_each(|other| family.set_name(other));
                is_spelled
            });
            TextEncoder::new().encode_utf8(&families, &mut text)?;
        }
        Ok(text)
    }

    /// A router with `GET /metrics` and `GET /metrics/reference`, to merge into a REST server.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let (metrics, listed) = (self.clone(), self.clone());
        let reference = move || async move { listed.reference().iter().map(Entry::line).collect::<String>() };
        Router::new().route("/metrics", get(move || metrics.answer())).route(REFERENCE, get(reference))
    }

    /// Serves `/metrics` on a listener of its own until `shutdown` turns true. Returns the bound address.
    pub async fn serve(
        &self,
        address: SocketAddr,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<SocketAddr, MetricsError> {
        let bind_error = |source| MetricsError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let bound = listener.local_addr().map_err(bind_error)?;
        let router = self.router::<()>();
        tokio::spawn(async move {
            let stopped = async move {
                // An error means that the sender is gone, which is a shutdown as well.
                shutdown.wait_for(|stop| *stop).await.ok();
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
                tracing::error!(%bound, %error, "metrics endpoint ended");
            }
        });
        Ok(bound)
    }

    /// Off the threads that serve requests: a large page takes longer than those may be held up.
    async fn answer(self) -> Response {
        let turns = Arc::clone(&self.turns);
        let _turn = turns.acquire().await; // never closed
        let rendered = tokio::task::spawn_blocking(move || self.render()).await;
        match rendered.unwrap_or_else(|error| Err(prometheus::Error::Msg(error.to_string()))) {
            Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
            Err(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be rendered: {error}\n")).into_response()
            }
        }
    }
}

/// By labels, as the registry of the library does it.
fn sort(family: &mut MetricFamily) {
    let values =
        |metric: &Metric| -> Vec<String> { metric.get_label().iter().map(|label| label.value().to_owned()).collect() };
    family.mut_metric().sort_by_cached_key(values);
}

/// A collector that is kept elsewhere, too.
struct Shared(Arc<dyn Collector>);

impl Collector for Shared {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("declared", &self.declared.read().len()).finish()
    }
}

fn built<C>(name: &str, made: prometheus::Result<C>) -> C {
    made.unwrap_or_else(|error| panic!("metric `{name}` is declared wrongly: {error}"))
}

#[cfg(test)]
mod tests;
