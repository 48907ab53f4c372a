//! The metrics of all logs of a process.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge};

/// Shared by all logs of a broker; see each metric's help text.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    pub(crate) appended_bytes: IntCounter,
    pub(crate) appended_records: IntCounter,
    pub(crate) flush_seconds: Histogram,
    pub(crate) segments_rolled: IntCounter,
    pub(crate) segments_deleted: IntCounter,
    pub(crate) tails_cut: IntCounter,
    pub(crate) poisoned: IntGauge,
    pub(crate) damaged: IntGauge,
    pub(crate) strays: IntGauge,
}

impl LogMetrics {
    pub fn new() -> LogMetrics {
        let counter = |name: &str, help: &str| or_panic(IntCounter::new(name, help));
        let flush = HistogramOpts::new("twinstream_log_flush_seconds", "Time to flush one log to the disk.")
            .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]);
        LogMetrics {
            appended_bytes: counter("twinstream_log_appended_bytes_total", "Bytes of batches appended to logs."),
            appended_records: counter("twinstream_log_appended_records_total", "Records appended to logs."),
            flush_seconds: or_panic(Histogram::with_opts(flush)),
            segments_rolled: counter("twinstream_log_segments_rolled_total", "Segments closed for a new one."),
            segments_deleted: counter("twinstream_log_segments_deleted_total", "Segments removed by retention."),
            tails_cut: counter("twinstream_log_tails_cut_total", "Segments whose torn tail was cut at start."),
            poisoned: or_panic(IntGauge::new(
                "twinstream_log_poisoned_count",
                "Logs that take no writes after a failed write or flush.",
            )),
            damaged: or_panic(IntGauge::new(
                "twinstream_log_damaged_ranges_count",
                "Stretches of logs that are damaged on the disk and wait for a repair.",
            )),
            strays: or_panic(IntGauge::new(
                "twinstream_log_stray_folders_count",
                "Folders that were put aside because they belong to another topic than their name's; nothing removes them.",
            )),
        }
    }

    fn parts(&self) -> [&dyn Collector; 9] {
        [
            &self.appended_bytes,
            &self.appended_records,
            &self.flush_seconds,
            &self.segments_rolled,
            &self.segments_deleted,
            &self.tails_cut,
            &self.poisoned,
            &self.damaged,
            &self.strays,
        ]
    }
}

impl LogMetrics {
    /// How many stretches of all logs are damaged.
    pub fn set_damaged(&self, ranges: usize) {
        self.damaged.set(i64::try_from(ranges).unwrap_or(i64::MAX));
    }

    /// How many folders were put aside.
    pub fn set_strays(&self, folders: usize) {
        self.strays.set(i64::try_from(folders).unwrap_or(i64::MAX));
    }
}

impl Collector for LogMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(|part| part.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.parts().into_iter().flat_map(|part| part.collect()).collect()
    }
}

impl Default for LogMetrics {
    fn default() -> LogMetrics {
        LogMetrics::new()
    }
}

/// The names and help texts above are constants, so a refusal is a mistake in this file.
fn or_panic<T>(metric: prometheus::Result<T>) -> T {
    match metric {
        Ok(metric) => metric,
        Err(error) => panic!("metric is declared wrongly: {error}"),
    }
}
