//! Compaction, typed. All of it may change while the broker runs, as in Kafka.

use std::time::Duration;

use super::live::LiveSettings;
use super::values::{SettingsError, Values};

/// What a thread needs for its keys at least.
const DEDUPE_BYTES_MIN: u64 = 1 << 20;
/// Shortest pause when there is nothing to do, so that a pause of 0 does not keep a core busy.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CleanerSettings {
    pub(crate) enabled: bool,
    /// Compactions at once.
    pub(crate) threads: usize,
    /// Pause when there is nothing to do.
    pub(crate) backoff: Duration,
    /// Memory for keys, of all threads together.
    pub(crate) dedupe_bytes: u64,
    /// How full it may get.
    pub(crate) load_factor: f64,
    /// Buffers for reading and writing, of all threads together.
    pub(crate) io_bytes: u64,
    /// Bytes per second that all threads together may read and write.
    pub(crate) bytes_per_second: f64,
}

impl CleanerSettings {
    pub(super) fn new(values: &Values) -> Result<Self, SettingsError> {
        let number = |name: &str| values.text(name).and_then(|text| text.trim().parse::<f64>().ok());
        let double = |name: &str| number(name).ok_or_else(|| values.malformed(name, "a number"));
        let settings = Self {
            enabled: values.flag("log.cleaner.enable"),
            threads: values.size("log.cleaner.threads")?,
            backoff: values.millis("log.cleaner.backoff.ms")?.max(BACKOFF_MIN),
            dedupe_bytes: values.integer("log.cleaner.dedupe.buffer.size")?,
            load_factor: double("log.cleaner.io.buffer.load.factor")?,
            io_bytes: values.integer("log.cleaner.io.buffer.size")?,
            bytes_per_second: double("log.cleaner.io.max.bytes.per.second")?,
        };
        if settings.dedupe_bytes / (settings.threads.max(1) as u64) < DEDUPE_BYTES_MIN {
            return Err(SettingsError::Contradiction(format!(
                "log.cleaner.dedupe.buffer.size={} is less than {DEDUPE_BYTES_MIN} bytes for each of log.cleaner.threads={}",
                settings.dedupe_bytes, settings.threads
            )));
        }
        Ok(settings)
    }

    /// As it is at the moment.
    pub(crate) fn live(&self, live: &LiveSettings<'_>) -> Self {
        let backoff = u64::try_from(self.backoff.as_millis()).unwrap_or(u64::MAX);
        let threads = live.integer("log.cleaner.threads", self.threads);
        Self {
            enabled: self.enabled,
            threads,
            backoff: Duration::from_millis(live.integer("log.cleaner.backoff.ms", backoff)).max(BACKOFF_MIN),
            // Altered to less than the threads need, it is what they need.
            dedupe_bytes: live
                .integer("log.cleaner.dedupe.buffer.size", self.dedupe_bytes)
                .max(DEDUPE_BYTES_MIN.saturating_mul(threads as u64)),
            load_factor: live.double("log.cleaner.io.buffer.load.factor", self.load_factor),
            io_bytes: live.integer("log.cleaner.io.buffer.size", self.io_bytes),
            bytes_per_second: live.double("log.cleaner.io.max.bytes.per.second", self.bytes_per_second),
        }
    }
}
