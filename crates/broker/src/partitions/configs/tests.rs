use twinstream_metadata::Record;
use twinstream_metadata::configs::{Fate, TOPIC_CONFIGS};

use super::*;
use crate::settings::sources::gather;

const NODE: NodeId = NodeId(1);

/// A config, its value, and each twin with its own.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// For each config that a log or its leader reads: a value that is not the default, and the same for each twin.
const OTHER_VALUES: [Row; 28] = [
    ("cleanup.policy", "compact", &[("log.cleanup.policy", "compact")]),
    ("compression.gzip.level", "3", &[("compression.gzip.level", "3")]),
    ("compression.lz4.level", "3", &[("compression.lz4.level", "3")]),
    ("compression.type", "snappy", &[("compression.type", "snappy")]),
    ("compression.zstd.level", "5", &[("compression.zstd.level", "5")]),
    ("delete.retention.ms", "5", &[("log.cleaner.delete.retention.ms", "5")]),
    ("file.delete.delay.ms", "5", &[("log.segment.delete.delay.ms", "5")]),
    ("flush.messages", "5", &[("log.flush.interval.messages", "5")]),
    ("flush.ms", "5", &[("log.flush.interval.ms", "5"), ("log.flush.scheduler.interval.ms", "5")]),
    ("index.interval.bytes", "5", &[("log.index.interval.bytes", "5")]),
    ("max.compaction.lag.ms", "5", &[("log.cleaner.max.compaction.lag.ms", "5")]),
    ("max.decompressed.message.bytes", "5", &[("max.decompressed.message.bytes", "5")]),
    ("max.message.bytes", "5", &[("message.max.bytes", "5")]),
    ("message.timestamp.after.max.ms", "5", &[("log.message.timestamp.after.max.ms", "5")]),
    ("message.timestamp.before.max.ms", "5", &[("log.message.timestamp.before.max.ms", "5")]),
    ("message.timestamp.type", "LogAppendTime", &[("log.message.timestamp.type", "LogAppendTime")]),
    ("min.cleanable.dirty.ratio", "0.25", &[("log.cleaner.min.cleanable.ratio", "0.25")]),
    ("min.compaction.lag.ms", "5", &[("log.cleaner.min.compaction.lag.ms", "5")]),
    ("min.insync.replicas", "2", &[("min.insync.replicas", "2")]),
    ("preallocate", "true", &[("log.preallocate", "true")]),
    ("retention.bytes", "5", &[("log.retention.bytes", "5")]),
    (
        "retention.ms",
        "7200000",
        &[("log.retention.ms", "7200000"), ("log.retention.minutes", "120"), ("log.retention.hours", "2")],
    ),
    ("segment.bytes", "2097152", &[("log.segment.bytes", "2097152")]),
    ("segment.index.bytes", "16", &[("log.index.size.max.bytes", "16")]),
    ("segment.jitter.ms", "3600000", &[("log.roll.jitter.ms", "3600000"), ("log.roll.jitter.hours", "1")]),
    ("segment.ms", "7200000", &[("log.roll.ms", "7200000"), ("log.roll.hours", "2")]),
    ("twinstream.flush", "ack", &[("twinstream.flush", "ack")]),
    ("unclean.leader.election.enable", "true", &[("unclean.leader.election.enable", "true")]),
];

/// Read elsewhere: by the controller and by the throttles.
const ELSEWHERE: [&str; 3] = [
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
    "unclean.leader.election.enable",
];

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let fixed =
        [("node.id", "1"), ("listeners", "PLAINTEXT://:9092"), ("controller.quorum.voters", "1@127.0.0.1:9092")];
    let given: Vec<(String, String)> = fixed.iter().chain(pairs).map(own).collect();
    Settings::new(gather(None, [], &given).unwrap()).unwrap()
}

/// What a topic gets from these settings with this config altered.
fn config(pairs: &[(&str, &str)], altered: Option<(ConfigResource, &str, &str)>) -> TopicConfig {
    let mut image = Image::default();
    if let Some((resource, name, value)) = altered {
        let record = Record::Config { resource, name: name.to_owned(), value: Some(value.to_owned()) };
        image.apply(&record).unwrap();
    }
    TopicConfig::of(&settings(pairs), &image, &topic())
}

fn topic() -> TopicName {
    TopicName::parse("t").unwrap()
}

/// Levels count only beside their codec.
fn beside(name: &str) -> Vec<(&'static str, &'static str)> {
    let codec = ["gzip", "lz4", "zstd"].into_iter().find(|codec| name == format!("compression.{codec}.level"));
    codec.map(|codec| ("compression.type", codec)).into_iter().collect()
}

#[test]
fn every_config_and_every_twin_reaches_the_log_from_the_file_and_at_run_time() {
    for (name, value, twins) in OTHER_VALUES {
        if ELSEWHERE.contains(&name) {
            continue;
        }
        let beside = beside(name);
        let default = config(&beside, None);
        let wanted = config(&beside, Some((ConfigResource::Topic(topic()), name, value)));
        assert_ne!(wanted, default, "{name}");
        for twin in twins {
            let in_file: Vec<_> = beside.iter().copied().chain([*twin]).collect();
            assert_eq!(config(&in_file, None), wanted, "{twin:?} in the file");
            for resource in [ConfigResource::Broker(NODE), ConfigResource::BrokerDefault] {
                let altered = config(&beside, Some((resource, twin.0, twin.1)));
                assert_eq!(altered, wanted, "{twin:?} at run time");
            }
        }
    }
}

#[test]
fn no_config_with_an_effect_is_forgotten_here() {
    for config in TOPIC_CONFIGS.iter().filter(|config| config.fate == Fate::Effect) {
        let row = OTHER_VALUES.iter().find(|(name, ..)| *name == config.name);
        let Some((_, _, twins)) = row else {
            assert!(ELSEWHERE.contains(&config.name), "{} is not tried", config.name);
            continue;
        };
        let tried: Vec<&str> = twins.iter().map(|(name, _)| *name).collect();
        let known: Vec<&str> = config.twins.iter().map(|twin| twin.name).collect();
        assert_eq!(tried, known, "{}", config.name);
    }
}

#[test]
fn the_levels_of_other_codecs_do_not_count() {
    let compression = |pairs: &[_]| config(pairs, None).log.compression;
    let zstd = [("compression.type", "zstd"), ("compression.zstd.level", "7"), ("compression.gzip.level", "2")];
    assert_eq!(compression(&zstd), Some(CompressionSpec { codec: Compression::Zstd, level: Some(7) }));
    assert_eq!(compression(&[("compression.type", "gzip")]), Some(Compression::Gzip.into()));
    assert_eq!(compression(&[("compression.gzip.level", "2")]), None, "the producer's codec stays");
}
