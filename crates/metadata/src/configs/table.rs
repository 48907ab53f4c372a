//! The topic configs of Kafka 4.4.

use super::{
    Bounds::{self, Any, AtLeast, Between, Fraction, Items, MinusOneOrBetween, OneOf, ThrottledReplicas},
    Fate::{self, Effect, NotYet, Only},
    Kind::{self, Boolean, Double, Int, List, Long, String},
    TopicConfig, Twin,
};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
const LONG_MAX: &str = "9223372036854775807";

/// Every topic config, by name.
pub const TOPIC_CONFIGS: &[TopicConfig] = &[
    config("cleanup.policy", List, "delete", Items(&["compact", "delete"]), Effect)
        .twins(&[same("log.cleanup.policy")])
        .doc("What happens to old data: delete by time and size, compact by key, both, or nothing when empty."),
    config("compression.gzip.level", Int, "-1", MinusOneOrBetween(1, 9), Effect)
        .twins(&[same("compression.gzip.level")])
        .doc("Level when the broker compresses with gzip."),
    config("compression.lz4.level", Int, "9", Between(1, 17), Effect)
        .twins(&[same("compression.lz4.level")])
        .doc("Level when the broker compresses with lz4: 9 is the fast compressor, the others look for longer matches (KIP-390)."),
    config(
        "compression.type",
        String,
        "producer",
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Effect,
    )
    .twins(&[same("compression.type")])
    .doc("Codec of stored batches; producer keeps what the producer chose."),
    config("compression.zstd.level", Int, "3", Between(-131_072, 22), Effect)
        .twins(&[same("compression.zstd.level")])
        .doc("Level when the broker compresses with zstd."),
    config("delete.retention.ms", Long, "86400000", AtLeast(0), Effect)
        .twins(&[same("log.cleaner.delete.retention.ms")])
        .doc("How long a compacted topic keeps a tombstone after the compaction that first met it."),
    config("file.delete.delay.ms", Long, "60000", AtLeast(0), Effect)
        .twins(&[same("log.segment.delete.delay.ms")])
        .doc("How long a deleted segment file stays on disk."),
    config("flush.messages", Long, LONG_MAX, AtLeast(1), Effect)
        .twins(&[same("log.flush.interval.messages")])
        .doc("Records after which the log is flushed to disk."),
    config("flush.ms", Long, LONG_MAX, AtLeast(0), Effect)
        .twins(&[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")])
        .doc("Time after which the log is flushed to disk."),
    config("follower.replication.throttled.replicas", List, "", ThrottledReplicas, Effect)
        .doc("Replicas whose replication is throttled on the follower's side."),
    config("index.interval.bytes", Int, "4096", AtLeast(0), Effect)
        .twins(&[same("log.index.interval.bytes")])
        .doc("Bytes of log between two index entries."),
    config("leader.replication.throttled.replicas", List, "", ThrottledReplicas, Effect)
        .doc("Replicas whose replication is throttled on the leader's side."),
    config("local.retention.bytes", Long, "-2", AtLeast(-2), NotYet)
        .twins(&[same("log.local.retention.bytes")])
        .doc("Bytes kept locally of a tiered topic; -2 means retention.bytes."),
    config("local.retention.ms", Long, "-2", AtLeast(-2), NotYet)
        .twins(&[same("log.local.retention.ms")])
        .doc("How long segments of a tiered topic stay local; -2 means retention.ms."),
    config("max.compaction.lag.ms", Long, LONG_MAX, AtLeast(1), Effect)
        .twins(&[same("log.cleaner.max.compaction.lag.ms")])
        .doc("How long a record of a compacted topic may stay uncompacted."),
    config("max.decompressed.message.bytes", Int, "2147483639", AtLeast(1), Effect)
        .twins(&[same("max.decompressed.message.bytes")])
        .doc("Largest decompressed batch, where the broker must look inside one."),
    config("max.message.bytes", Int, "1048588", AtLeast(0), Effect)
        .twins(&[same("message.max.bytes")])
        .doc("Largest batch that a producer may send."),
    config("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), Effect)
        .twins(&[same("log.message.timestamp.after.max.ms")])
        .doc("How far in the future a record's timestamp may be."),
    config("message.timestamp.before.max.ms", Long, LONG_MAX, AtLeast(0), Effect)
        .twins(&[same("log.message.timestamp.before.max.ms")])
        .doc("How far in the past a record's timestamp may be."),
    config("message.timestamp.type", String, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Effect)
        .twins(&[same("log.message.timestamp.type")])
        .doc("Whose time a record carries: the producer's or the broker's."),
    config("min.cleanable.dirty.ratio", Double, "0.5", Fraction, Effect)
        .twins(&[same("log.cleaner.min.cleanable.ratio")])
        .doc("Share of uncompacted log at which compaction starts."),
    config("min.compaction.lag.ms", Long, "0", AtLeast(0), Effect)
        .twins(&[same("log.cleaner.min.compaction.lag.ms")])
        .doc("How long a record of a compacted topic stays uncompacted at least."),
    config("min.insync.replicas", Int, "1", AtLeast(1), Effect)
        .twins(&[same("min.insync.replicas")])
        .doc("In-sync replicas that a produce request with acks=all needs."),
    config("preallocate", Boolean, "false", Any, Effect)
        .twins(&[same("log.preallocate")])
        .doc("Whether a new segment gets its disk space at once."),
    config("remote.copy.lag.bytes", Long, "-1", AtLeast(-2), NotYet)
        .doc("Bytes that stay local before they are tiered."),
    config("remote.copy.lag.ms", Long, "0", AtLeast(-2), NotYet).doc("Time that segments stay local before they are tiered."),
    config("remote.log.copy.disable", Boolean, "false", Any, Only("false")).doc("Stops tiering of a tiered topic."),
    config("remote.log.delete.on.disable", Boolean, "false", Any, Only("false"))
        .doc("Deletes tiered data when tiering is switched off."),
    config("remote.storage.enable", Boolean, "false", Any, Only("false")).doc("Moves old segments to an object store."),
    config("retention.bytes", Long, "-1", Any, Effect)
        .twins(&[same("log.retention.bytes")])
        .doc("Bytes kept per partition; -1 for no limit."),
    config("retention.ms", Long, "604800000", AtLeast(-1), Effect)
        .twins(&[same("log.retention.ms"), scaled("log.retention.minutes", MINUTE_MS), scaled("log.retention.hours", HOUR_MS)])
        .doc("How long records are kept; -1 for ever."),
    config("segment.bytes", Int, "1073741824", AtLeast(1_048_576), Effect)
        .twins(&[same("log.segment.bytes")])
        .doc("Size of a segment file."),
    config("segment.index.bytes", Int, "10485760", AtLeast(4), Effect)
        .twins(&[same("log.index.size.max.bytes")])
        .doc("Size of a segment's index at most."),
    config("segment.jitter.ms", Long, "0", AtLeast(0), Effect)
        .twins(&[same("log.roll.jitter.ms"), scaled("log.roll.jitter.hours", HOUR_MS)])
        .doc("Random part of segment.ms, so that partitions do not roll all at once."),
    config("segment.ms", Long, "604800000", AtLeast(1), Effect)
        .twins(&[same("log.roll.ms"), scaled("log.roll.hours", HOUR_MS)])
        .doc("Age at which a segment is closed even when it is not full."),
    config("twinstream.flush", String, "os", OneOf(&["os", "ack"]), Effect)
        .twins(&[same("twinstream.flush")])
        .doc("ack: acks=all is answered when the in-sync replicas have the records on their disks. os: when they have them in memory."),
    config("unclean.leader.election.enable", Boolean, "false", Any, Effect)
        .twins(&[same("unclean.leader.election.enable")])
        .doc("Whether a replica that is not in sync may lead as a last resort."),
];

const NO_TWINS: &[Twin] = &[];

const fn config(name: &'static str, kind: Kind, default: &'static str, bounds: Bounds, fate: Fate) -> TopicConfig {
    TopicConfig { name, kind, default, twins: NO_TWINS, bounds, fate, doc: "" }
}

const fn same(name: &'static str) -> Twin {
    Twin { name, factor: 1 }
}

const fn scaled(name: &'static str, factor: i64) -> Twin {
    Twin { name, factor }
}

impl TopicConfig {
    const fn twins(mut self, twins: &'static [Twin]) -> Self {
        self.twins = twins;
        self
    }

    const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}
