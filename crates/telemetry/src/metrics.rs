//! One registry of metrics, its constructors and its endpoint.
//!
//! Picture: `Metrics` is a cheap handle. A crate's `metrics.rs` makes its counters with it and keeps them in a struct;
//! the handle renders everything as Prometheus text whenever somebody asks. The figures of the process itself
//! (memory, descriptors, CPU) are part of every `Metrics`.
//!
//! Invariants: a name is declared once; a second declaration is a mistake in the program and stops it at its first
//! start with the name in the message. Labels are a bounded set, which is the duty of who declares them.

use std::net::SocketAddr;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::process::ProcessCollector;

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("cannot listen for metrics on {address}: {source}; another process may hold the port")]
    Bind { address: SocketAddr, source: std::io::Error },
}

/// The metrics of one role. Clones share the registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let metrics = Self { registry: Registry::new() };
        metrics.declare(ProcessCollector::new());
        metrics
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
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
        if let Err(error) = self.registry.register(Box::new(collector.clone())) {
            let names: Vec<&str> = collector.desc().iter().map(|desc| desc.fq_name.as_str()).collect();
            panic!("metric {names:?} cannot be declared: {error}");
        }
        collector
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// A router with `GET /metrics`, to merge into a REST server.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let metrics = self.clone();
        Router::new().route("/metrics", get(move || async move { metrics.answer() }))
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

    fn answer(&self) -> Response {
        match self.render() {
            Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
            Err(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be rendered: {error}\n")).into_response()
            }
        }
    }
}

fn built<C>(name: &str, made: prometheus::Result<C>) -> C {
    made.unwrap_or_else(|error| panic!("metric `{name}` is declared wrongly: {error}"))
}

#[cfg(test)]
mod tests;
