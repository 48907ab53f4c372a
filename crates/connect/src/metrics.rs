//! Every metric of the worker, under Kafka Connect's names with underscores for dots and dashes.
//!
//! Each has a second name without `_metrics`, as boards know it from Strimzi. What speaks of connectors as a whole is read
//! off the stored states when somebody scrapes (`overview`). A connector's name stands in its label as JMX would write it:
//! one with other characters than letters, digits, `_`, `-`, `%`, `.` and blanks in quotes.
//!
//! Labels are the connector's name and the task's number: bounded by the number of tasks, and taken away with the task.

mod overview; // read off the stored states
mod spellings; // second names

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use twinstream_telemetry::Metrics;

use crate::runner::TransactionSizes;
use crate::state::TaskId;

pub(crate) use overview::Overview;

/// Commits whose times are averaged.
const COMMITS_MAX: usize = 32;

const TASK: &[&str] = &["connector", "task"];

/// Handles of all metrics; clones share them.
#[derive(Clone)]
pub(crate) struct WorkerMetrics {
    pub(crate) connector_count: IntGauge,
    pub(crate) task_count: IntGauge,
    pub(crate) connector_startup_attempts: IntCounter,
    pub(crate) connector_startup_failures: IntCounter,
    pub(crate) task_startup_attempts: IntCounter,
    pub(crate) task_startup_failures: IntCounter,
    /// Bytes of all source tasks that Kafka has not acknowledged yet.
    pub(crate) in_flight_bytes: IntGauge,
    task_status: IntGaugeVec,
    tasks: TaskVecs,
}

#[derive(Clone)]
struct TaskVecs {
    polled: IntCounterVec,
    written: IntCounterVec,
    raw_bytes: IntCounterVec,
    raw_batches: IntCounterVec,
    refused: IntCounterVec,
    active: IntGaugeVec,
    transaction_min: IntGaugeVec,
    transaction_max: IntGaugeVec,
    transaction_avg: IntGaugeVec,
    read: IntCounterVec,
    sent: IntCounterVec,
    partitions: IntGaugeVec,
    commits: IntCounterVec,
    commit_failures: IntCounterVec,
    commit_avg: GaugeVec,
    commit_max: GaugeVec,
    record_errors: IntCounterVec,
    record_failures: IntCounterVec,
    skipped: IntCounterVec,
    retries: IntCounterVec,
    errors_logged: IntCounterVec,
    dead_letters: IntCounterVec,
    dead_letter_failures: IntCounterVec,
}

/// The metrics of one task.
#[derive(Clone)]
pub(crate) struct TaskMetrics {
    /// Records that a source task returned from poll.
    pub(crate) polled: IntCounter,
    /// Records acknowledged by the target cluster.
    pub(crate) written: IntCounter,
    /// Bytes and number of whole batches acknowledged by the target cluster.
    pub(crate) raw_bytes: IntCounter,
    pub(crate) raw_batches: IntCounter,
    /// Lanes that were closed because the target refused a batch.
    pub(crate) refused: IntCounter,
    /// Records polled but not acknowledged.
    pub(crate) active: IntGauge,
    transaction_min: IntGauge,
    transaction_max: IntGauge,
    transaction_avg: IntGauge,
    /// Records consumed for a sink task.
    pub(crate) read: IntCounter,
    /// Records that `put` took.
    pub(crate) sent: IntCounter,
    pub(crate) partitions: IntGauge,
    pub(crate) commits: IntCounter,
    pub(crate) commit_failures: IntCounter,
    pub(crate) commit_times: CommitTimes,
    pub(crate) record_errors: IntCounter,
    pub(crate) record_failures: IntCounter,
    pub(crate) skipped: IntCounter,
    pub(crate) retries: IntCounter,
    pub(crate) errors_logged: IntCounter,
    pub(crate) dead_letters: IntCounter,
    pub(crate) dead_letter_failures: IntCounter,
}

/// How long the last commits of a task's offsets took; clones share it.
#[derive(Clone)]
pub(crate) struct CommitTimes {
    last: Arc<Mutex<Vec<f64>>>,
    avg: Gauge,
    max: Gauge,
}

impl CommitTimes {
    pub(crate) fn add(&self, took: Duration) {
        let mut last = self.last.lock();
        if last.len() == COMMITS_MAX {
            last.remove(0);
        }
        last.push(took.as_secs_f64() * 1000.0);
        self.avg.set(last.iter().sum::<f64>() / last.len() as f64);
        self.max.set(last.iter().copied().fold(0.0, f64::max));
    }
}

impl TaskMetrics {
    /// A transaction is committed; these are the sizes of all.
    pub(crate) fn transaction(&self, sizes: TransactionSizes) {
        let gauges = [&self.transaction_min, &self.transaction_max, &self.transaction_avg];
        for (gauge, size) in gauges.into_iter().zip([sizes.min, sizes.max, sizes.avg]) {
            gauge.set(i64::try_from(size).unwrap_or(i64::MAX));
        }
    }
}

impl WorkerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let worker = |name: &str| format!("kafka_connect_worker_metrics_{name}");
        let counter = |name: &str, help: &str| metrics.counter(&worker(name), help);
        metrics.spellings(&spellings::SPELLINGS);
        overview::declare_clients(metrics);
        Self {
            connector_count: metrics.gauge(&worker("connector_count"), "Connectors run by this worker."),
            task_count: metrics.gauge(&worker("task_count"), "Tasks run by this worker."),
            connector_startup_attempts: counter("connector_startup_attempts_total", "Connector starts tried."),
            connector_startup_failures: counter("connector_startup_failure_total", "Connector starts that failed."),
            task_startup_attempts: counter("task_startup_attempts_total", "Task starts tried."),
            task_startup_failures: counter("task_startup_failure_total", "Task starts that failed."),
            in_flight_bytes: metrics.gauge(
                "twinstream_connect_source_in_flight_bytes",
                "Bytes of source tasks that Kafka has not acknowledged yet.",
            ),
            task_status: metrics.gauge_vec(
                "kafka_connect_connector_task_metrics_status",
                "1 for the state that the task is in.",
                &["connector", "task", "status"],
            ),
            tasks: TaskVecs::new(metrics),
        }
    }

    pub(crate) fn task(&self, id: &TaskId) -> TaskMetrics {
        self.tasks.of(id)
    }

    pub(crate) fn task_status(&self, id: &TaskId, state: crate::state::statuses::RunState) {
        let (connector, task) = (label_of(&id.connector), id.task.to_string());
        for known in crate::state::statuses::RunState::ALL {
            let status = known.name().to_ascii_lowercase();
            let gauge = self.task_status.with_label_values(&[connector.as_ref(), task.as_str(), status.as_str()]);
            gauge.set(i64::from(known == state));
        }
    }

    /// Takes away what a task that no longer exists has reported.
    pub(crate) fn forget_task(&self, id: &TaskId) {
        let (connector, task) = (label_of(&id.connector), id.task.to_string());
        for known in crate::state::statuses::RunState::ALL {
            let status = known.name().to_ascii_lowercase();
            // An error means that there was nothing to take away.
            self.task_status.remove_label_values(&[connector.as_ref(), task.as_str(), status.as_str()]).ok();
        }
        self.tasks.forget(&[connector.as_ref(), task.as_str()]);
    }
}

impl TaskVecs {
    fn new(metrics: &Metrics) -> Self {
        let source = |name: &str| format!("kafka_connect_source_task_metrics_{name}");
        let sink = |name: &str| format!("kafka_connect_sink_task_metrics_{name}");
        let task = |name: &str| format!("kafka_connect_connector_task_metrics_{name}");
        let error = |name: &str| format!("kafka_connect_task_error_metrics_{name}");
        let counter = |name: String, help: &str| metrics.counter_vec(&name, help, TASK);
        let gauge = |name: String, help: &str| metrics.gauge_vec(&name, help, TASK);
        let float = |name: String, help: &str| {
            let made = GaugeVec::new(Opts::new(name, help), TASK);
            metrics.declare(made.expect("names of metrics here are valid"))
        };
        Self {
            commit_avg: float(
                task("offset_commit_avg_time_ms"),
                "Milliseconds that a commit of offsets took, on average of the last ones; 0 before the first.",
            ),
            commit_max: float(task("offset_commit_max_time_ms"), "The longest of those commits."),
            polled: counter(source("source_record_poll_total"), "Records polled from the source."),
            written: counter(source("source_record_write_total"), "Records acknowledged by Kafka."),
            raw_bytes: counter(
                "twinstream_connect_source_raw_byte_write_total".to_owned(),
                "Bytes of whole batches acknowledged by Kafka.",
            ),
            raw_batches: counter(
                "twinstream_connect_source_raw_batch_write_total".to_owned(),
                "Whole batches acknowledged by Kafka.",
            ),
            refused: counter(
                "twinstream_connect_source_raw_refusal_total".to_owned(),
                "Partitions given up for a while because Kafka refused a batch.",
            ),
            active: gauge(source("source_record_active_count"), "Records polled but not yet acknowledged."),
            transaction_min: gauge(source("transaction_size_min"), "Records of the smallest transaction."),
            transaction_max: gauge(source("transaction_size_max"), "Records of the largest transaction."),
            transaction_avg: gauge(source("transaction_size_avg"), "Records of a transaction on average."),
            read: counter(sink("sink_record_read_total"), "Records read from Kafka."),
            sent: counter(sink("sink_record_send_total"), "Records given to the task."),
            partitions: gauge(sink("partition_count"), "Partitions assigned to the task."),
            commits: counter(task("offset_commit_success_total"), "Offset commits that succeeded."),
            commit_failures: counter(task("offset_commit_failure_total"), "Offset commits that failed."),
            record_errors: counter(error("total_record_errors"), "Errors of records, retries included."),
            record_failures: counter(error("total_record_failures"), "Records that could not be processed."),
            skipped: counter(error("total_records_skipped"), "Records left out because of errors."),
            retries: counter(error("total_retries"), "Operations tried again."),
            errors_logged: counter(error("total_errors_logged"), "Errors logged by errors.log.enable."),
            dead_letters: counter(error("deadletterqueue_produce_requests"), "Records sent to the dead-letter topic."),
            dead_letter_failures: counter(
                error("deadletterqueue_produce_failures"),
                "Records that the dead-letter topic did not take.",
            ),
        }
    }

    fn of(&self, id: &TaskId) -> TaskMetrics {
        let (connector, task) = (label_of(&id.connector), id.task.to_string());
        let labels = [connector.as_ref(), task.as_str()];
        TaskMetrics {
            commit_times: CommitTimes {
                last: Arc::default(),
                avg: self.commit_avg.with_label_values(&labels),
                max: self.commit_max.with_label_values(&labels),
            },
            polled: self.polled.with_label_values(&labels),
            written: self.written.with_label_values(&labels),
            raw_bytes: self.raw_bytes.with_label_values(&labels),
            raw_batches: self.raw_batches.with_label_values(&labels),
            refused: self.refused.with_label_values(&labels),
            active: self.active.with_label_values(&labels),
            transaction_min: self.transaction_min.with_label_values(&labels),
            transaction_max: self.transaction_max.with_label_values(&labels),
            transaction_avg: self.transaction_avg.with_label_values(&labels),
            read: self.read.with_label_values(&labels),
            sent: self.sent.with_label_values(&labels),
            partitions: self.partitions.with_label_values(&labels),
            commits: self.commits.with_label_values(&labels),
            commit_failures: self.commit_failures.with_label_values(&labels),
            record_errors: self.record_errors.with_label_values(&labels),
            record_failures: self.record_failures.with_label_values(&labels),
            skipped: self.skipped.with_label_values(&labels),
            retries: self.retries.with_label_values(&labels),
            errors_logged: self.errors_logged.with_label_values(&labels),
            dead_letters: self.dead_letters.with_label_values(&labels),
            dead_letter_failures: self.dead_letter_failures.with_label_values(&labels),
        }
    }

    fn forget(&self, labels: &[&str]) {
        let counters = [
            &self.polled,
            &self.written,
            &self.raw_bytes,
            &self.raw_batches,
            &self.refused,
            &self.read,
            &self.sent,
            &self.commits,
            &self.commit_failures,
            &self.record_errors,
            &self.record_failures,
            &self.skipped,
            &self.retries,
            &self.errors_logged,
            &self.dead_letters,
            &self.dead_letter_failures,
        ];
        for counter in counters {
            counter.remove_label_values(labels).ok(); // an error means that there was nothing
        }
        let sizes = [&self.transaction_min, &self.transaction_max, &self.transaction_avg];
        for gauge in [&self.commit_avg, &self.commit_max] {
            gauge.remove_label_values(labels).ok();
        }
        for gauge in [&self.active, &self.partitions].into_iter().chain(sizes) {
            gauge.remove_label_values(labels).ok();
        }
    }
}

/// A connector's name as JMX would write it, which is what boards look for.
pub(crate) fn label_of(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-%. \t".contains(c);
    if name.chars().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut quoted = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '*' | '?' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_jmx_writes_them() {
        assert_eq!(label_of("orders-sink_2"), "orders-sink_2");
        assert_eq!(label_of("a->b.MirrorSourceConnector"), "\"a->b.MirrorSourceConnector\"");
        assert_eq!(label_of("all*"), "\"all\\*\"");
    }
}
