//! The broker's metrics, under the names that Kafka's JMX exporter rules give (spelling A: no `PerSec`, `_total`).
//!
//! Invariants: updated per request or batch, never per record; labels are API names, versions and error names, all
//! bounded sets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, NodeId};
use twinstream_telemetry::Metrics;

use crate::context::RequestContext;

mod cluster; // read off the image
mod exporter; // topics under the names of kafka_exporter
mod group_lag; // how far groups are behind
mod in_sync; // read off the image, for the partitions led here
mod load; // how busy the process is
mod logs; // read off the logs
mod quorum; // read off the quorum's status
mod recent; // of the last minute
mod replication; // counted by replication and by the controller
mod request_times; // quantiles
mod requests; // by API and version
mod spellings; // second names
mod traffic; // by topic

use cluster::ClusterFigures;
pub(crate) use exporter::ExporterFigures;
use group_lag::GroupLag;
pub(crate) use group_lag::{standings_here, watch_group_lag};
pub(crate) use in_sync::InSyncFigures;
use load::Idleness;
pub(crate) use load::watch_load;
pub(crate) use logs::LogFigures;
pub(crate) use quorum::{QuorumFigures, QuorumHealth, watch_quorum};
pub(crate) use replication::{Elections, ReplicationTraffic};
use requests::RequestFigures;
pub(crate) use requests::RequestTimeline;
pub(crate) use traffic::TopicTraffic;

pub(crate) struct BrokerMetrics {
    /// Where owners of other parts declare theirs.
    pub(crate) registry: Metrics,
    pub(crate) topics: TopicTraffic,
    pub(crate) replication: ReplicationTraffic,
    pub(crate) elections: Elections,
    pub(crate) quorum: QuorumHealth,
    pub(crate) group_lag: GroupLag,
    pub(crate) idleness: Idleness,
    /// What waits in this broker.
    pub(crate) waiting: Waiting,
    requests: RequestFigures,
    errors: IntCounterVec,
    connections: IntGaugeVec,
    connections_opened: IntCounterVec,
    connections_closed: IntCounterVec,
    connections_refused: IntCounter,
}

/// Requests and answers that wait.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Answers that are known and wait for those before them.
    pub(crate) answers: IntGauge,
    /// Produce requests that wait for followers.
    pub(crate) produces: IntGauge,
    /// Fetch requests that wait for records.
    pub(crate) fetches: IntGauge,
}

impl Waiting {
    fn new(registry: &Metrics) -> Self {
        let purgatory = registry.gauge_vec(
            "kafka_server_delayedoperationpurgatory_purgatorysize",
            "Requests that wait for something to happen, of the operations that have a place to wait.",
            &["delayedOperation"],
        );
        let answers = registry.gauge(
            "kafka_network_requestchannel_responsequeuesize",
            "Answers that are known and wait until those to earlier requests of their connection are sent.",
        );
        let (produces, fetches) = (purgatory.with_label_values(&["Produce"]), purgatory.with_label_values(&["Fetch"]));
        Self { answers, produces, fetches }
    }
}

/// One of those that wait; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(crate) fn among(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
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
        let by_listener = ["listener"];
        let connections = registry.gauge_vec(
            "kafka_server_socket_server_metrics_connection_count",
            "Open connections, of clients and of other nodes.",
            &by_listener,
        );
        let connections_opened = registry.counter_vec(
            "kafka_server_socket_server_metrics_connection_creation_total",
            "Connections accepted since the start.",
            &by_listener,
        );
        let connections_closed = registry.counter_vec(
            "kafka_server_socket_server_metrics_connection_close_total",
            "Connections closed since the start, by either side.",
            &by_listener,
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
        let (idleness, waiting) = (Idleness::new(&registry), Waiting::new(&registry));
        load::declare_disk(&registry);
        registry.declare(ClusterFigures::new(image, node));
        registry.spellings(&spellings::SPELLINGS);
        Self {
            registry,
            topics,
            replication,
            elections,
            quorum,
            group_lag,
            idleness,
            waiting,
            requests,
            errors,
            connections,
            connections_opened,
            connections_closed,
            connections_refused,
        }
    }

    pub(crate) fn request_error(&self, api_name: &'static str, code: ErrorCode) {
        self.errors.with_label_values(&[api_name, code.name()]).inc();
    }

    pub(crate) fn request_served(&self, ctx: &RequestContext, times: &RequestTimeline) {
        self.requests.count(ctx.api_key, ctx.api_name, ctx.api_version, times);
    }

    pub(crate) fn connection_opened(&self, listener: &str) {
        self.connections_opened.with_label_values(&[listener]).inc();
        self.connections.with_label_values(&[listener]).inc();
    }

    pub(crate) fn connection_closed(&self, listener: &str) {
        self.connections_closed.with_label_values(&[listener]).inc();
        self.connections.with_label_values(&[listener]).dec();
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }
}
