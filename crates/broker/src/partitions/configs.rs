//! From a topic's configs to its logs' configuration.
//!
//! Values were checked when they were set, so one that cannot be read is a fault of this table; it is logged
//! and the default is used.

use twinstream_log::{CleanupPolicy, LogConfig, TimestampType};
use twinstream_metadata::configs::{self, BrokerDefaults, parse_list};
use twinstream_metadata::{ConfigResource, Image};
use twinstream_model::{NodeId, TopicName};
use twinstream_protocol::compression::{Compression, CompressionSpec};
use twinstream_replication::leader::{LeaderSettings, Limits};

use crate::settings::Settings;
use crate::settings::live::LiveSettings;

/// What a topic asks of its partitions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TopicConfig {
    pub(super) log: LogConfig,
    pub(super) leader: LeaderSettings,
}

impl TopicConfig {
    pub(super) fn of(settings: &Settings, image: &Image, topic: &TopicName) -> TopicConfig {
        let live = LiveSettings::new(settings, image);
        let expiration = i64::try_from(settings.log.producer_id_expiration.as_millis()).unwrap_or(i64::MAX);
        let producer_expiry_ms = live.integer("producer.id.expiration.ms", expiration);
        let values = Values { image, topic, broker: &live };
        TopicConfig {
            log: LogConfig { producer_expiry_ms, record_checks: settings.log.record_checks, ..values.log() },
            leader: LeaderSettings {
                min_insync_replicas: values.size("min.insync.replicas", 1).max(1),
                limits: Limits { lag_max: settings.replication.lag_max, silence_max: settings.replication.silence_max },
            },
        }
    }
}

/// Which topics' configuration differs between two images.
pub(super) struct Changed<'a> {
    before: &'a Image,
    after: &'a Image,
    /// What all topics of this broker depend on.
    defaults: bool,
}

impl<'a> Changed<'a> {
    pub(super) fn between(before: &'a Image, after: &'a Image, node: NodeId) -> Changed<'a> {
        Changed { before, after, defaults: LiveSettings::differ(before, after, node) }
    }

    pub(super) fn concerns(&self, topic: &TopicName) -> bool {
        let own = ConfigResource::Topic(topic.clone());
        self.defaults || !self.before.configs(&own).eq(self.after.configs(&own))
    }
}

struct Values<'a> {
    image: &'a Image,
    topic: &'a TopicName,
    broker: &'a dyn BrokerDefaults,
}

impl Values<'_> {
    fn log(&self) -> LogConfig {
        let cleanup = parse_list(&self.text("cleanup.policy"));
        let has = |policy: &str| cleanup.iter().any(|item| item == policy);
        let kafka = LogConfig::default();
        let max_lag_ms = self.number("max.compaction.lag.ms", kafka.max_compaction_lag_ms);
        let segment_ms = self.number("segment.ms", kafka.segment_ms);
        LogConfig {
            segment_bytes: self.u32("segment.bytes", kafka.segment_bytes),
            // What must be compacted after a time must not stay in the active segment for longer (KIP-354).
            segment_ms: if has("compact") { segment_ms.min(max_lag_ms) } else { segment_ms },
            segment_jitter_ms: self.number("segment.jitter.ms", kafka.segment_jitter_ms),
            index_bytes_max: self.u32("segment.index.bytes", kafka.index_bytes_max),
            index_interval_bytes: self.u32("index.interval.bytes", kafka.index_interval_bytes),
            retention_ms: Some(self.number("retention.ms", 604_800_000)).filter(|ms| *ms >= 0),
            retention_bytes: u64::try_from(self.number("retention.bytes", -1)).ok(),
            cleanup: CleanupPolicy { delete: has("delete"), compact: has("compact") },
            message_bytes_max: self.size("max.message.bytes", kafka.message_bytes_max),
            decompressed_bytes_max: self.size("max.decompressed.message.bytes", kafka.decompressed_bytes_max),
            timestamp_type: match self.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: self.limit("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: self.limit("message.timestamp.after.max.ms"),
            compression: self.compression(),
            flush_messages: self.number("flush.messages", kafka.flush_messages),
            flush_ms: self.number("flush.ms", kafka.flush_ms),
            flush_before_ack: self.text("twinstream.flush") == "ack",
            file_delete_delay_ms: self.number("file.delete.delay.ms", kafka.file_delete_delay_ms),
            preallocate: self.text("preallocate").eq_ignore_ascii_case("true"),
            delete_retention_ms: self.number("delete.retention.ms", kafka.delete_retention_ms),
            min_compaction_lag_ms: self.number("min.compaction.lag.ms", kafka.min_compaction_lag_ms),
            max_compaction_lag_ms: max_lag_ms,
            min_cleanable_dirty_ratio: self.ratio("min.cleanable.dirty.ratio", kafka.min_cleanable_dirty_ratio),
            record_checks: kafka.record_checks,
            producer_expiry_ms: kafka.producer_expiry_ms,
        }
    }

    /// `None` keeps what the producer chose.
    fn compression(&self) -> Option<CompressionSpec> {
        let codec = Compression::from_name(&self.text("compression.type"))?;
        let level = match codec {
            Compression::Gzip => Some("compression.gzip.level"),
            Compression::Lz4 => Some("compression.lz4.level"),
            Compression::Zstd => Some("compression.zstd.level"),
            _ => None,
        };
        let level = level.and_then(|name| i32::try_from(self.number(name, -1)).ok());
        let is_default = codec == Compression::Gzip && level == Some(-1);
        Some(CompressionSpec { codec, level: level.filter(|_| !is_default) })
    }

    fn text(&self, name: &'static str) -> String {
        match configs::find(name) {
            Some(config) => configs::effective(self.image, self.topic, config, self.broker),
            None => {
                tracing::warn!(name, "topic config is not in the table");
                String::new()
            }
        }
    }

    fn number(&self, name: &'static str, default: i64) -> i64 {
        let text = self.text(name);
        text.trim().parse().unwrap_or_else(|_| {
            tracing::warn!(topic = %self.topic, name, value = text, default, "config is no number, using the default");
            default
        })
    }

    fn ratio(&self, name: &'static str, default: f64) -> f64 {
        let text = self.text(name);
        text.trim().parse().unwrap_or_else(|_| {
            tracing::warn!(topic = %self.topic, name, value = text, default, "config is no number, using the default");
            default
        })
    }

    fn u32(&self, name: &'static str, default: u32) -> u32 {
        u32::try_from(self.number(name, i64::from(default))).unwrap_or(default)
    }

    fn size(&self, name: &'static str, default: usize) -> usize {
        usize::try_from(self.number(name, default as i64)).unwrap_or(default)
    }

    /// The largest number means that there is no limit.
    fn limit(&self, name: &'static str) -> Option<i64> {
        Some(self.number(name, i64::MAX)).filter(|limit| *limit != i64::MAX)
    }
}

#[cfg(test)]
mod tests;
