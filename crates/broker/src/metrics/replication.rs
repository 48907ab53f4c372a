//! What replication and leader changes count along the way. Whoever does the work counts it.
//!
//! Invariants: one addition per request or change, never per record; no labels but Kafka's own `clientId`.

use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge};
use twinstream_telemetry::{Metrics, Reading};

use super::recent::Recent;

/// Counters of this broker's part in replication, under Kafka's names.
#[derive(Clone, Debug)]
pub(crate) struct ReplicationTraffic {
    /// A leader here took a follower out of the in-sync replicas, and the controller agreed.
    pub(crate) isr_shrinks: IntCounter,
    /// A leader here took a follower in.
    pub(crate) isr_expands: IntCounter,
    /// The controller refused such a change, or did not answer.
    pub(crate) failed_isr_updates: IntCounter,
    /// Bytes of records that followers here fetched.
    pub(crate) bytes_in: IntCounter,
    /// Bytes of records that leaders here sent to followers.
    pub(crate) bytes_out: IntCounter,
    /// The largest distance, in records, between a follower here and its leader's log end.
    pub(crate) max_lag: IntGauge,
    /// Partitions whose following ended with an error of their own log.
    pub(crate) failed_partitions: IntGauge,
}

impl ReplicationTraffic {
    pub(super) fn new(registry: &Metrics) -> Self {
        let of_fetchers =
            |name: &str, help: &str| registry.gauge_vec(name, help, &["clientId"]).with_label_values(&["Replica"]);
        Self {
            isr_shrinks: registry.counter(
                "kafka_server_replicamanager_isrshrinks_total",
                "Followers that left the in-sync replicas of partitions led here.",
            ),
            isr_expands: registry.counter(
                "kafka_server_replicamanager_isrexpands_total",
                "Followers that joined the in-sync replicas of partitions led here.",
            ),
            failed_isr_updates: registry.counter(
                "kafka_server_replicamanager_failedisrupdates_total",
                "Changes of in-sync replicas that were not made.",
            ),
            bytes_in: registry.counter(
                "kafka_server_brokertopicmetrics_replicationbytesin_total",
                "Bytes of records fetched as a follower.",
            ),
            bytes_out: registry.counter(
                "kafka_server_brokertopicmetrics_replicationbytesout_total",
                "Bytes of records sent to followers.",
            ),
            max_lag: of_fetchers(
                "kafka_server_replicafetchermanager_maxlag",
                "Records that the follower furthest behind here has yet to fetch.",
            ),
            failed_partitions: of_fetchers(
                "kafka_server_replicafetchermanager_failedpartitionscount",
                "Partitions that are not followed after an error.",
            ),
        }
    }
}

/// Counters of the controller on this node.
#[derive(Clone, Debug)]
pub(crate) struct Elections {
    /// Leaders that were elected outside of the in-sync and the eligible replicas: records may be gone.
    pub(crate) unclean: IntCounter,
    /// Brokers that were fenced because their heartbeats did not come in time.
    pub(crate) missed_sessions: IntCounter,
    commits: Recent,
}

impl Elections {
    /// A decision of the controller was committed, so long after it was sent on its way.
    pub(crate) fn committed(&self, took: Duration) {
        self.commits.add(took.as_secs_f64() * 1000.0, Instant::now());
    }

    pub(super) fn new(registry: &Metrics) -> Self {
        let commits = Recent::default();
        let mean = commits.clone();
        registry.declare(Reading::gauge(
            "kafka_server_raftmetrics_commit_latency_avg",
            "Milliseconds from a decision of the controller here to its commit, on average of the last minute; 0 without any.",
            move || mean.mean(Instant::now()),
        ));
        Self {
            commits,
            unclean: registry.counter(
                "kafka_controller_controllerstats_uncleanleaderelections_total",
                "Leaders that this node, as the controller, elected although they may lack committed records.",
            ),
            missed_sessions: registry.counter(
                "kafka_controller_kafkacontroller_timedoutbrokerheartbeatcount",
                "Brokers that this node, as the controller, fenced because no heartbeat came within their session.",
            ),
        }
    }
}
