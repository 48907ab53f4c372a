//! The broker's metrics, under the names that Kafka's JMX exporter rules give (spelling A: no `PerSec`, `_total`).
//!
//! Invariants: updated per request or batch, never per record; labels are API names, versions and error names, all
//! bounded sets.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, NodeId};
use twinstream_telemetry::Metrics;

use crate::context::RequestContext;

mod cluster; // read off the image
mod exporter; // topics under the names of kafka_exporter
mod group_lag; // how far groups are behind
mod in_sync; // read off the image, for the partitions led here
mod logs; // read off the logs
mod quorum; // read off the quorum's status
mod replication; // counted by replication and by the controller
mod request_times; // quantiles
mod requests; // by API and version
mod traffic; // by topic

use cluster::ClusterFigures;
pub(crate) use exporter::ExporterFigures;
use group_lag::GroupLag;
pub(crate) use group_lag::{standings_here, watch_group_lag};
pub(crate) use in_sync::InSyncFigures;
pub(crate) use logs::LogFigures;
pub(crate) use quorum::{QuorumFigures, QuorumHealth, watch_quorum};
pub(crate) use replication::{Elections, ReplicationTraffic};
use requests::{RequestFigures, ServedRequest};
pub(crate) use traffic::TopicTraffic;

pub(crate) struct BrokerMetrics {
    /// Where owners of other parts declare theirs.
    pub(crate) registry: Metrics,
    pub(crate) topics: TopicTraffic,
    pub(crate) replication: ReplicationTraffic,
    pub(crate) elections: Elections,
    pub(crate) quorum: QuorumHealth,
    pub(crate) group_lag: GroupLag,
    requests: RequestFigures,
    errors: IntCounterVec,
    connections: IntGauge,
    connections_opened: IntCounter,
    connections_refused: IntCounter,
}

impl BrokerMetrics {
    pub(crate) fn new(image: Arc<ArcSwap<Image>>, node: NodeId) -> Self {
        let registry = Metrics::new();
        let requests = RequestFigures::new(&registry);
        let errors = registry.counter_vec(
            "kafka_network_requestmetrics_errors_total",
            "Error codes answered, by API and name of the code.",
            &["request", "error"],
        );
        let connections =
            registry.gauge("kafka_server_socket_server_metrics_connection_count", "Open client connections.");
        let connections_opened = registry.counter(
            "kafka_server_socket_server_metrics_connection_creation_total",
            "Connections accepted since the start.",
        );
        let connections_refused = registry.counter(
            "kafka_network_acceptor_connections_refused_total",
            "Connections closed at once because a limit was reached.",
        );
        let topics = TopicTraffic::new(&registry);
        let replication = ReplicationTraffic::new(&registry);
        let elections = Elections::new(&registry);
        let quorum = QuorumHealth::new(&registry);
        let group_lag = GroupLag::new(&registry);
        registry.declare(ClusterFigures::new(image, node));
        Self {
            registry,
            topics,
            replication,
            elections,
            quorum,
            group_lag,
            requests,
            errors,
            connections,
            connections_opened,
            connections_refused,
        }
    }

    pub(crate) fn request_error(&self, api_name: &'static str, code: ErrorCode) {
        self.errors.with_label_values(&[api_name, code.name()]).inc();
    }

    pub(crate) fn request_served(&self, ctx: &RequestContext, started: Instant, handled: Instant) {
        self.requests.count(&ServedRequest {
            api_key: ctx.api_key,
            api_name: ctx.api_name,
            api_version: ctx.api_version,
            local: handled.duration_since(started),
            total: started.elapsed(),
        });
    }

    pub(crate) fn connection_opened(&self) {
        self.connections_opened.inc();
        self.connections.inc();
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.dec();
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }
}
