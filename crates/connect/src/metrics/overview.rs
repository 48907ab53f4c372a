//! Connectors and tasks as boards list them, read off the stored states when somebody scrapes.
//!
//! Invariants: a connector or task has one series per figure, for its state of now; series go with their connector.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use twinstream_client::{Traffic, traffic};
use twinstream_telemetry::{Metrics, Reading};

use super::label_of;
use crate::plugins::Plugins;
use crate::state::configs::ConfigState;
use crate::state::statuses::RunState;
use crate::store::{StateLog, StatusStore};

type Name = (&'static str, &'static str, &'static [&'static str]);

const CONNECTOR_STATUS: Name =
    ("kafka_connect_connector_status", "1, with the state of the connector.", &["connector", "status"]);
const CLASS: Name = (
    "kafka_connect_connector_connector_class",
    "1, with the class of the connector.",
    &["connector", "connector_class"],
);
const VERSION: Name = (
    "kafka_connect_connector_connector_version",
    "1, with the version of the connector's code.",
    &["connector", "connector_version"],
);
const TYPE: Name =
    ("kafka_connect_connector_connector_type", "1, with source or sink.", &["connector", "connector_type"]);
const TASK_STATUS: Name =
    ("kafka_connect_connector_task_status", "1, with the state of the task.", &["connector", "status", "task"]);
const CONNECTORS: Name = ("kafka_connect_coordinator_assigned_connectors", "Connectors that this worker runs.", &[]);
const TASKS: Name = ("kafka_connect_coordinator_assigned_tasks", "Tasks that this worker runs.", &[]);
const TOTAL: Name = ("kafka_connect_worker_connector_total_task_count", "Tasks of the connector.", &["connector"]);
const BUFFER: Name = (
    "kafka_producer_buffer_available_bytes",
    "A source task's part of the memory for what Kafka has not acknowledged; the tasks of a worker share it.",
    &["clientid"],
);

const BY_STATE: [(Option<RunState>, Name); 5] = [
    (Some(RunState::Running), ("kafka_connect_worker_connector_running_task_count", "Tasks that run.", &["connector"])),
    (Some(RunState::Paused), ("kafka_connect_worker_connector_paused_task_count", "Tasks that pause.", &["connector"])),
    (
        Some(RunState::Failed),
        ("kafka_connect_worker_connector_failed_task_count", "Tasks that failed.", &["connector"]),
    ),
    (
        Some(RunState::Unassigned),
        ("kafka_connect_worker_connector_unassigned_task_count", "Tasks that no worker runs.", &["connector"]),
    ),
    (
        Some(RunState::Restarting),
        ("kafka_connect_worker_connector_restarting_task_count", "Tasks that start again.", &["connector"]),
    ),
];
/// Kafka's workers show a task so while it is deleted; ours are gone at once.
const DESTROYED: Name = (
    "kafka_connect_worker_connector_destroyed_task_count",
    "Always 0: a task that is deleted has no state here.",
    &["connector"],
);

/// The collector.
#[derive(Clone)]
pub(crate) struct Overview {
    pub(crate) configs: Arc<StateLog<ConfigState>>,
    pub(crate) statuses: StatusStore,
    pub(crate) plugins: Plugins,
    /// Bytes of source tasks under way, and how many there may be.
    pub(crate) in_flight: prometheus::IntGauge,
    pub(crate) in_flight_max: usize,
    descs: Vec<Desc>,
}

impl Overview {
    pub(crate) fn new(
        configs: Arc<StateLog<ConfigState>>,
        statuses: StatusStore,
        plugins: Plugins,
        in_flight: prometheus::IntGauge,
        in_flight_max: usize,
    ) -> Overview {
        let named = [CONNECTOR_STATUS, CLASS, VERSION, TYPE, TASK_STATUS, CONNECTORS, TASKS, TOTAL, BUFFER, DESTROYED];
        let all = named.into_iter().chain(BY_STATE.map(|(_, name)| name));
        let desc = |(name, help, labels): Name| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
                .expect("names of metrics here are valid")
        };
        Overview { configs, statuses, plugins, in_flight, in_flight_max, descs: all.map(desc).collect() }
    }
}

/// One connector, as the stored states tell.
struct Row {
    label: String,
    status: Option<RunState>,
    class: String,
    version: String,
    kind: &'static str,
    tasks: BTreeMap<i32, RunState>,
}

impl Overview {
    fn rows(&self) -> Vec<Row> {
        let configs = self.configs.state();
        let statuses = self.statuses.read();
        let row = |name: &str| {
            let config = configs.config(name)?;
            let plugin = self.plugins.of(config);
            Some(Row {
                label: label_of(name).into_owned(),
                status: statuses.connector(name).map(|status| status.state),
                class: plugin.map_or_else(String::new, |plugin| plugin.class.clone()),
                version: plugin.map_or_else(String::new, |plugin| plugin.version.clone()),
                kind: self.plugins.kind_name(config),
                tasks: statuses.tasks(name).map(|(task, status)| (task, status.state)).collect(),
            })
        };
        configs.connectors().filter_map(row).collect()
    }

    /// What is free for source tasks, in as many parts as there are tasks.
    fn buffers(&self, rows: &[Row]) -> Vec<Metric> {
        let sources = || rows.iter().filter(|row| row.kind == "source");
        let count: usize = sources().map(|row| row.tasks.len()).sum();
        let used = usize::try_from(self.in_flight.get()).unwrap_or(0);
        let part = self.in_flight_max.saturating_sub(used) as f64 / count.max(1) as f64;
        let ids = sources().flat_map(|row| {
            let name = row.label.trim_matches('"');
            row.tasks.keys().map(move |task| label_of(&format!("connector-producer-{name}-{task}")).into_owned())
        });
        ids.map(|id| member(&[("clientid", &id)], part)).collect()
    }
}

impl Collector for Overview {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let rows = self.rows();
        let told = |name: Name, key: &'static str, read: &dyn Fn(&Row) -> Option<String>| {
            let members = rows.iter().filter_map(|row| {
                let value = read(row).filter(|value| !value.is_empty())?;
                Some(member(&[("connector", &row.label), (key, &value)], 1.0))
            });
            family(name, members.collect())
        };
        let counted = |name: Name, count: &dyn Fn(&Row) -> usize| {
            family(name, rows.iter().map(|row| member(&[("connector", &row.label)], count(row) as f64)).collect())
        };
        let in_state = |row: &Row, wanted: RunState| row.tasks.values().filter(|state| **state == wanted).count();
        let assigned = |row: &&Row| row.status.is_some_and(|status| status != RunState::Unassigned);
        let tasks = rows.iter().flat_map(|row| row.tasks.values()).filter(|state| **state != RunState::Unassigned);
        let statuses = rows.iter().flat_map(|row| {
            row.tasks.iter().map(|(task, state)| {
                let (task, status) = (task.to_string(), lower(*state));
                member(&[("connector", &row.label), ("status", &status), ("task", &task)], 1.0)
            })
        });
        let mut families = vec![
            told(CONNECTOR_STATUS, "status", &|row| row.status.map(lower)),
            told(CLASS, "connector_class", &|row| Some(row.class.clone())),
            told(VERSION, "connector_version", &|row| Some(row.version.clone())),
            told(TYPE, "connector_type", &|row| Some(row.kind.to_owned())),
            family(TASK_STATUS, statuses.collect()),
            family(CONNECTORS, vec![member(&[], rows.iter().filter(assigned).count() as f64)]),
            family(TASKS, vec![member(&[], tasks.count() as f64)]),
            counted(TOTAL, &|row| row.tasks.len()),
            counted(DESTROYED, &|_| 0),
            family(BUFFER, self.buffers(&rows)),
        ];
        families.extend(BY_STATE.iter().filter_map(|(state, name)| {
            let state = (*state)?;
            Some(counted(*name, &|row| in_state(row, state)))
        }));
        families
    }
}

fn lower(state: RunState) -> String {
    state.name().to_ascii_lowercase()
}

fn member(labels: &[(&str, &str)], value: f64) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(pairs.collect());
    metric.set_gauge(gauge);
    metric
}

fn family((name, help, _): Name, members: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(members);
    family
}

/// What the clients of the whole process send and receive.
pub(super) fn declare_clients(metrics: &Metrics) {
    type Level = fn(Traffic) -> i64;
    type Total = fn(Traffic) -> u64;
    const GAUGES: [(&str, &str, Level); 3] = [
        ("kafka_consumer_connection_count", "Open connections of consumers of librdkafka.", |traffic| {
            traffic.consumer_connections
        }),
        ("kafka_producer_connection_count", "Open connections of producers of librdkafka.", |traffic| {
            traffic.producer_connections
        }),
        (
            "kafka_admin_client_connection_count",
            "Open connections of our own client: for administration, and for whole batches of mirrors either way.",
            |traffic| traffic.raw_connections,
        ),
    ];
    const COUNTERS: [(&str, &str, Total); 2] = [
        (
            "kafka_consumer_incoming_byte_total",
            "Bytes that brokers sent to consumers, those of mirrors included.",
            |traffic| traffic.consumer_bytes_in,
        ),
        (
            "kafka_producer_outgoing_byte_total",
            "Bytes that producers sent to brokers, those of mirrors included.",
            |traffic| traffic.producer_bytes_out,
        ),
    ];
    for (name, help, read) in GAUGES {
        metrics.declare(Reading::gauge(name, help, move || read(traffic()) as f64));
    }
    for (name, help, read) in COUNTERS {
        metrics.declare(Reading::counter(name, help, move || read(traffic()) as f64));
    }
}
