//! The metadata quorum as this node sees it, read when somebody scrapes.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use twinstream_model::NodeId;
use twinstream_quorum::{Role, Status};

use super::cluster::{family, gauge};

const FIGURES: [(&str, &str); 7] = [
    ("kafka_controller_kafkacontroller_activecontrollercount", "1 on the node that decides, else 0."),
    ("kafka_server_raftmetrics_current_leader", "Node that leads the quorum, -1 for none."),
    ("kafka_server_raftmetrics_current_epoch", "Term of the quorum."),
    ("kafka_server_raftmetrics_high_watermark", "Last committed entry of the metadata log."),
    ("kafka_server_raftmetrics_log_end_offset", "Last entry of the metadata log here."),
    ("kafka_server_raftmetrics_number_of_voters", "Nodes that vote in the quorum."),
    ("kafka_server_raftmetrics_number_of_observers", "Nodes that follow the quorum without a vote."),
];
const STATE: (&str, &str) = ("kafka_server_raftmetrics_current_state", "1 for the role that this node has.");

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
