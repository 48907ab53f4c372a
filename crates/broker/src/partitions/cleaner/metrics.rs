//! What operators watch of compaction, under the names that Kafka's beans `LogCleaner` and `LogCleanerManager` get.

use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::{Gauge, IntCounter, IntGauge, IntGaugeVec};
use std::sync::Arc;
use twinstream_log::{Cleaned, Dirt};
use twinstream_telemetry::Metrics;

#[derive(Clone)]
pub(crate) struct CleanerMetrics {
    recopy_percent: IntGauge,
    clean_seconds_max: Gauge,
    buffer_percent_max: IntGauge,
    delay_seconds_max: IntGauge,
    dead_threads: IntGauge,
    uncleanable_partitions: IntGaugeVec,
    uncleanable_bytes: IntGaugeVec,
    dirty_percent_max: IntGauge,
    since_last_run_ms: IntGauge,
    bytes_read: IntCounter,
    bytes_written: IntCounter,
    last_survey: Arc<Mutex<Option<Instant>>>,
}

/// What one look at all logs found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survey {
    dirty_ratio_max: f64,
    overdue_ms_max: i64,
}

impl Survey {
    pub(super) fn note(&mut self, dirt: &Dirt) {
        self.dirty_ratio_max = self.dirty_ratio_max.max(dirt.ratio());
        self.overdue_ms_max = self.overdue_ms_max.max(dirt.overdue_ms);
    }
}

impl CleanerMetrics {
    pub(crate) fn new(registry: &Metrics) -> Self {
        let by_dir = ["logDirectory"];
        Self {
            recopy_percent: registry.gauge(
                "kafka_log_logcleaner_cleaner_recopy_percent",
                "Bytes that the last compaction wrote, of a hundred that it read.",
            ),
            clean_seconds_max: registry
                .float_gauge("kafka_log_logcleaner_max_clean_time_secs", "Seconds that the last compaction took."),
            buffer_percent_max: registry.gauge(
                "kafka_log_logcleaner_max_buffer_utilization_percent",
                "How full the memory for keys was in the last compaction.",
            ),
            delay_seconds_max: registry.gauge(
                "kafka_log_logcleaner_max_compaction_delay_secs",
                "How long ago the most overdue record should have been compacted.",
            ),
            dead_threads: registry
                .gauge("kafka_log_logcleaner_deadthreadcount", "Compactions that ended in a panic since the start."),
            uncleanable_partitions: registry.gauge_vec(
                "kafka_log_logcleanermanager_uncleanable_partitions_count",
                "Partitions that cannot be compacted.",
                &by_dir,
            ),
            uncleanable_bytes: registry.gauge_vec(
                "kafka_log_logcleanermanager_uncleanable_bytes",
                "Uncompacted bytes of partitions that cannot be compacted.",
                &by_dir,
            ),
            dirty_percent_max: registry.gauge(
                "kafka_log_logcleanermanager_max_dirty_percent",
                "Uncompacted bytes of the dirtiest log, of a hundred.",
            ),
            since_last_run_ms: registry.gauge(
                "kafka_log_logcleanermanager_time_since_last_run_ms",
                "Milliseconds between the last two looks for logs to compact.",
            ),
            bytes_read: registry
                .counter("twinstream_cleaner_read_bytes_total", "Bytes of segments that were compacted."),
            bytes_written: registry
                .counter("twinstream_cleaner_written_bytes_total", "Bytes of segments that compaction made of them."),
            last_survey: Arc::default(),
        }
    }

    pub(super) fn surveyed(&self, seen: &Survey) {
        self.dirty_percent_max.set((seen.dirty_ratio_max * 100.0) as i64);
        self.delay_seconds_max.set(seen.overdue_ms_max / 1_000);
        let now = Instant::now();
        let before = self.last_survey.lock().replace(now);
        let since = before.map_or(Duration::ZERO, |before| now - before);
        self.since_last_run_ms.set(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    }

    pub(super) fn cleaned(&self, done: &Cleaned, took: Duration) {
        self.recopy_percent.set((done.bytes_after * 100).checked_div(done.bytes_before).unwrap_or(0) as i64);
        self.buffer_percent_max.set((done.map_utilization * 100.0) as i64);
        self.clean_seconds_max.set(took.as_secs_f64());
        self.bytes_read.inc_by(done.bytes_before);
        self.bytes_written.inc_by(done.bytes_after);
    }

    pub(super) fn uncleanable(&self, dir: &Path, partitions: i64, bytes: u64) {
        let dir = dir.to_string_lossy();
        self.uncleanable_partitions.with_label_values(&[&dir]).set(partitions);
        self.uncleanable_bytes.with_label_values(&[&dir]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn panicked(&self) {
        self.dead_threads.inc();
    }
}
