//! Topics, partition logs, retention, compaction.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("log.dirs", Kind::List, None)
        .effect("Directories of partition logs, separated by commas."),
    Setting::new("log.dir", Kind::List, Some("/tmp/kafka-logs"))
        .effect("Directory of partition logs when log.dirs is not set."),
    Setting::new("cordoned.log.dirs", Kind::List, Some(""))
        .effect("Directories of log.dirs that get no new partitions and no replicas of other directories, or * for all of them: then the controller places no partition here (KIP-1066). One that is assigned to this broker by name goes into one of them nevertheless.")
        .at_run_time(),
    Setting::new("log.dir.failure.timeout.ms", Kind::Long, Some("30000"))
        .at_least(1)
        .effect("Time after which a broker with a failed directory stops, when it cannot tell the controller."),
    Setting::new("auto.create.topics.enable", Kind::Boolean, Some("true"))
        .effect("Whether a topic comes into being when a client asks for it."),
    Setting::new("delete.topic.enable", Kind::Boolean, Some("true"))
        .effect("Whether topics can be deleted."),
    Setting::new("num.partitions", Kind::Int, Some("1"))
        .at_least(1)
        .effect("Partitions of a topic when nothing else is said."),
    Setting::new("default.replication.factor", Kind::Int, Some("1"))
        .at_least(-1)
        .effect("Replicas of a topic when nothing else is said."),
    Setting::new("message.max.bytes", Kind::Int, Some("1048588"))
        .at_least(0)
        .effect("Largest record batch."),
    Setting::new("max.decompressed.message.bytes", Kind::Int, Some("2147483639"))
        .at_least(1)
        .effect("Largest batch once it is unpacked, where this broker must look inside."),
    Setting::new("compression.type", Kind::String, Some("producer"))
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
        .effect("Codec of stored batches; producer keeps what was sent."),
    Setting::new("compression.gzip.level", Kind::Int, Some("-1"))
        .minus_one_or_between(1, 9)
        .effect("Level when this broker compresses with gzip."),
    Setting::new("compression.lz4.level", Kind::Int, Some("9"))
        .between(1, 17)
        .effect("Level when this broker compresses with lz4; 9 is the fast compressor, the others look for longer matches."),
    Setting::new("compression.zstd.level", Kind::Int, Some("3"))
        .between(-131072, 22)
        .effect("Level when this broker compresses with zstd."),
    Setting::new("min.insync.replicas", Kind::Int, Some("1"))
        .at_least(1)
        .effect("Replicas that must have a batch before acks=all is answered. A new cluster takes it as its default, one of an older release the largest of all its brokers; from then on it changes with kafka-configs on the default of all brokers, or on a topic (KIP-966)."),
    Setting::new("unclean.leader.election.enable", Kind::Boolean, Some("false"))
        .effect("Prefer availability over data: elect any replica when no in-sync and no eligible one is left. Records that were acknowledged may be lost."),
    Setting::new("unclean.leader.election.interval.ms", Kind::Long, Some("300000"))
        .at_least(1)
        .no_such_part("Leaderless partitions are looked at when a replica comes back and when the setting changes."),
    Setting::new("log.cleanup.policy", Kind::List, Some("delete"))
        .one_of(&["compact", "delete"])
        .effect("delete, compact or both; empty keeps for ever."),
    Setting::new("log.retention.ms", Kind::Long, None)
        .at_least(-1)
        .effect("How long records are kept; -1 for ever."),
    Setting::new("log.retention.minutes", Kind::Int, None)
        .effect("How long records are kept, when log.retention.ms is not set."),
    Setting::new("log.retention.hours", Kind::Int, Some("168"))
        .effect("How long records are kept, when neither ms nor minutes are set."),
    Setting::new("log.retention.bytes", Kind::Long, Some("-1"))
        .at_least(-1)
        .effect("Bytes that a partition keeps at most; -1 for no limit."),
    Setting::new("log.retention.check.interval.ms", Kind::Long, Some("300000"))
        .at_least(1)
        .effect("How often retention is applied."),
    Setting::new("log.roll.ms", Kind::Long, None)
        .effect("Age at which a new segment begins."),
    Setting::new("log.roll.hours", Kind::Int, Some("168"))
        .at_least(1)
        .effect("Age at which a new segment begins, when log.roll.ms is not set."),
    Setting::new("log.roll.jitter.ms", Kind::Long, None)
        .effect("Up to this much is taken off the age, at random."),
    Setting::new("log.roll.jitter.hours", Kind::Int, Some("0"))
        .at_least(0)
        .effect("Up to this much is taken off the age, when log.roll.jitter.ms is not set."),
    Setting::new("log.segment.bytes", Kind::Int, Some("1073741824"))
        .at_least(1048576)
        .effect("Size at which a new segment begins."),
    Setting::new("log.segment.delete.delay.ms", Kind::Long, Some("60000"))
        .at_least(0)
        .effect("How long the files of a deleted segment stay."),
    Setting::new("log.index.interval.bytes", Kind::Int, Some("4096"))
        .at_least(0)
        .effect("Bytes of records between two index entries."),
    Setting::new("log.index.size.max.bytes", Kind::Int, Some("10485760"))
        .at_least(4)
        .effect("Largest offset index of a segment."),
    Setting::new("log.preallocate", Kind::Boolean, Some("false"))
        .effect("Reserve the space of a segment when it begins."),
    Setting::new("log.message.timestamp.type", Kind::String, Some("CreateTime"))
        .one_of(&["CreateTime", "LogAppendTime"])
        .effect("CreateTime keeps the producer's time, LogAppendTime sets the broker's."),
    Setting::new("log.message.timestamp.before.max.ms", Kind::Long, Some("9223372036854775807"))
        .at_least(0)
        .effect("How far a record's time may lie behind the broker's."),
    Setting::new("log.message.timestamp.after.max.ms", Kind::Long, Some("3600000"))
        .at_least(0)
        .effect("How far a record's time may lie ahead of the broker's."),
    Setting::new("log.flush.interval.messages", Kind::Long, Some("9223372036854775807"))
        .at_least(1)
        .effect("Records after which a partition is flushed to disk."),
    Setting::new("log.flush.interval.ms", Kind::Long, None)
        .effect("Time after which a partition is flushed to disk."),
    Setting::new("log.flush.scheduler.interval.ms", Kind::Long, Some("9223372036854775807"))
        .at_least(1)
        .effect("How often partitions are looked at for a flush."),
    Setting::new("log.flush.offset.checkpoint.interval.ms", Kind::Int, Some("60000"))
        .at_least(1)
        .effect("How often recovery points are written."),
    Setting::new("log.flush.start.offset.checkpoint.interval.ms", Kind::Int, Some("60000"))
        .at_least(1)
        .effect("How often log start offsets are written."),
    Setting::new("log.initial.task.delay.ms", Kind::Long, Some("30000"))
        .at_least(0)
        .no_such_part("Background work begins with its first interval."),
    Setting::new("replica.high.watermark.checkpoint.interval.ms", Kind::Long, Some("5000"))
        .at_least(1)
        .effect("How often high watermarks are written."),
    Setting::new("num.recovery.threads.per.data.dir", Kind::Int, Some("2"))
        .at_least(1)
        .effect("Logs of one directory that are recovered at once.")
        .at_run_time(),
    Setting::new("producer.id.expiration.ms", Kind::Int, Some("86400000"))
        .at_least(1)
        .effect("How long a silent producer's state is kept.")
        .at_run_time(),
    Setting::new("producer.id.expiration.check.interval.ms", Kind::Int, Some("600000"))
        .at_least(1)
        .effect("How often silent producers are looked for."),
    Setting::new("log.cleaner.enable", Kind::Boolean, Some("true"))
        .effect("Whether compacted topics are cleaned."),
    Setting::new("log.cleaner.threads", Kind::Int, Some("1"))
        .at_least(0)
        .effect("Compactions at once.")
        .at_run_time(),
    Setting::new("log.cleaner.backoff.ms", Kind::Long, Some("15000"))
        .at_least(0)
        .effect("Pause of the cleaner when there is nothing to do.")
        .at_run_time(),
    Setting::new("log.cleaner.dedupe.buffer.size", Kind::Long, Some("134217728"))
        .at_least(1048576)
        .effect("Memory for the keys of all compactions at most, 1 MiB for each thread at least; 24 bytes a key.")
        .at_run_time(),
    Setting::new("log.cleaner.io.buffer.load.factor", Kind::Double, Some("0.9"))
        .fraction(0.1, 0.99)
        .effect("How full the memory for keys may get: more keys in one compaction against longer searches.")
        .at_run_time(),
    Setting::new("log.cleaner.io.buffer.size", Kind::Int, Some("524288"))
        .at_least(0)
        .effect("Buffers of all compactions for reading and writing.")
        .at_run_time(),
    Setting::new("log.cleaner.io.max.bytes.per.second", Kind::Double, Some("1.7976931348623157E308"))
        .fraction(1.0, f64::MAX)
        .effect("Bytes per second that all compactions together may read and write.")
        .at_run_time(),
    Setting::new("log.cleaner.delete.retention.ms", Kind::Long, Some("86400000"))
        .at_least(0)
        .effect("How long a tombstone stays after the compaction that first met it."),
    Setting::new("log.cleaner.min.cleanable.ratio", Kind::Double, Some("0.5"))
        .fraction(0.0, 1.0)
        .effect("Share of dirty bytes from which a log is compacted."),
    Setting::new("log.cleaner.min.compaction.lag.ms", Kind::Long, Some("0"))
        .at_least(0)
        .effect("Age before which a record is not compacted."),
    Setting::new("log.cleaner.max.compaction.lag.ms", Kind::Long, Some("9223372036854775807"))
        .at_least(1)
        .effect("Age after which a record is compacted in any case."),
    Setting::new("log.message.format.version", Kind::String, None)
        .no_such_part("Removed from Kafka; the format is always v2."),
    Setting::new("log.message.downconversion.enable", Kind::Boolean, None)
        .no_such_part("Removed from Kafka; records are never converted down."),
];
