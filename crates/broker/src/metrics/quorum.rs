//! The metadata quorum as this node sees it, read when somebody scrapes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use twinstream_model::NodeId;
use twinstream_quorum::{Description, Role, Status};
use twinstream_telemetry::{Metrics, Reading};

use super::cluster::{family, gauge};
use super::recent::Recent;
use crate::context::Broker;

const FIGURES: [(&str, &str); 8] = [
    ("kafka_controller_kafkacontroller_activecontrollercount", "1 on the node that decides, else 0."),
    ("kafka_server_raftmetrics_current_leader", "Node that leads the quorum, -1 for none."),
    ("kafka_server_raftmetrics_current_epoch", "Term of the quorum."),
    ("kafka_server_raftmetrics_current_vote", "Node that this node voted for in the term, -1 for none."),
    ("kafka_server_raftmetrics_high_watermark", "Last committed entry of the metadata log."),
    ("kafka_server_raftmetrics_log_end_offset", "Last entry of the metadata log here."),
    ("kafka_server_raftmetrics_number_of_voters", "Nodes that vote in the quorum."),
    ("kafka_server_raftmetrics_number_of_observers", "Nodes that follow the quorum without a vote."),
];
const STATE: (&str, &str) = ("kafka_server_raftmetrics_current_state", "1 for the role that this node has.");

/// What only the leader of the quorum knows, and only when it is asked: somebody asks it now and then and sets this.
#[derive(Clone, Debug)]
pub(crate) struct QuorumHealth {
    offline_voters: IntGauge,
    appended: Recent,
    fetched: Recent,
}

impl QuorumHealth {
    pub(super) fn new(registry: &Metrics) -> Self {
        let offline_voters = registry.gauge(
            "kafka_server_raftmetrics_number_of_offline_voters",
            "Voters that this node, as the leader of the quorum, has not heard of lately; 0 elsewhere.",
        );
        let (appended, fetched) = (Recent::default(), Recent::default());
        let rates = [
            (
                "kafka_server_raftmetrics_append_records_rate",
                "Entries a second that this node, as the leader of the quorum, put into the metadata log in the last minute.",
                appended.clone(),
            ),
            (
                "kafka_server_raftmetrics_fetch_records_rate",
                "Entries a second that this node got of the metadata log from its leader in the last minute.",
                fetched.clone(),
            ),
        ];
        for (name, help, recent) in rates {
            registry.declare(Reading::gauge(name, help, move || recent.per_second(Instant::now())));
        }
        Self { offline_voters, appended, fetched }
    }

    /// The metadata log has grown by so many entries.
    fn grew(&self, entries: u64, leads: bool) {
        let recent = if leads { &self.appended } else { &self.fetched };
        recent.add(entries as f64, Instant::now());
    }

    /// Takes over what the leader says at `now_ms`; `None` from a node that does not lead.
    pub(crate) fn show(&self, described: Option<&Description>, now_ms: i64, silence_ms_max: i64) {
        let is_silent = |heard: Option<i64>| heard.is_none_or(|heard| now_ms.saturating_sub(heard) > silence_ms_max);
        let silent = described.map_or(0, |described| {
            let others = described.replicas.iter().filter(|replica| replica.voter && replica.node != described.leader);
            others.filter(|replica| is_silent(replica.last_fetch_ms)).count()
        });
        self.offline_voters.set(silent as i64);
    }
}

/// How often the leader is asked.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps [`QuorumHealth`] true until the broker stops.
pub(crate) async fn watch_quorum(broker: Arc<Broker>) {
    let silence_ms_max = i64::try_from(broker.settings.node.session_timeout.as_millis()).unwrap_or(i64::MAX);
    let mut last_index = broker.controller.quorum_status().last_index;
    loop {
        tokio::select! {
            () = broker.shutdown.cancelled() => return,
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        let status = broker.controller.quorum_status();
        broker.metrics.quorum.grew(status.last_index.saturating_sub(last_index), status.role == Role::Leader);
        last_index = status.last_index;
        let described = match broker.controller.is_active() {
            true => broker.controller.describe_quorum().await.ok(),
            false => None,
        };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        broker.metrics.quorum.show(described.as_ref(), now_ms, silence_ms_max);
    }
}

/// The collector.
#[derive(Clone)]
pub(crate) struct QuorumFigures {
    read: Arc<dyn Fn() -> Status + Send + Sync>,
    descs: Vec<Desc>,
}

impl QuorumFigures {
    pub(crate) fn new(read: impl Fn() -> Status + Send + Sync + 'static) -> Self {
        let desc = |(name, help): &(&str, &str), labels: Vec<String>| {
            Desc::new((*name).to_owned(), (*help).to_owned(), labels, HashMap::new())
                .expect("a metric of ours has a legal name")
        };
        let mut descs: Vec<Desc> = FIGURES.iter().map(|figure| desc(figure, Vec::new())).collect();
        descs.push(desc(&STATE, vec!["current_state".to_owned()]));
        Self { read: Arc::new(read), descs }
    }
}

impl Collector for QuorumFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = (self.read)();
        let values = [
            f64::from(u8::from(status.role == Role::Leader)),
            f64::from(status.leader.unwrap_or(NodeId::NONE).0),
            status.term as f64,
            f64::from(status.vote.unwrap_or(NodeId::NONE).0),
            status.committed as f64,
            status.last_index as f64,
            status.voters.len() as f64,
            status.learners.len() as f64,
        ];
        let mut families: Vec<MetricFamily> = FIGURES
            .iter()
            .zip(values)
            .map(|((name, help), value)| family(name, help, Metric::from_gauge(gauge(value))))
            .collect();
        families.push(family(STATE.0, STATE.1, state(&status)));
        families
    }
}

fn state(status: &Status) -> Metric {
    let name = match status.role {
        Role::Leader => "leader",
        Role::Candidate => "candidate",
        Role::Follower => "follower",
        Role::Learner => "observer",
    };
    let mut label = LabelPair::default();
    label.set_name("current_state".to_owned());
    label.set_value(name.to_owned());
    let mut metric = Metric::from_label(vec![label]);
    metric.set_gauge(gauge(1.0));
    metric
}

#[cfg(test)]
mod tests;
