//! Where a default of ours is not MirrorMaker's, because that one loses, delays or mixes records. Told at each start by all
//! three connectors in one form; a test holds that no other default differs.

use tracing::info;
use twinstream_connect_api::RawConfig;

/// One such default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Difference {
    pub setting: &'static str,
    pub ours: &'static str,
    pub theirs: &'static str,
    /// Other settings that decide it as well.
    pub or_by: &'static [&'static str],
}

const fn differs(setting: &'static str, ours: &'static str, theirs: &'static str) -> Difference {
    Difference { setting, ours, theirs, or_by: &[] }
}

const REPLICAS: &str = "3, or as many as there are brokers";
const RESET: &[&str] = &[
    "source.consumer.auto.offset.reset",
    "source.admin.auto.offset.reset",
    "consumer.auto.offset.reset",
    "source.cluster.auto.offset.reset",
];
const EARLIEST: &str = "resume, by its consumer's auto.offset.reset=earliest";
const PACKING: &[&str] = &[
    "target.producer.compression.type",
    "target.cluster.compression.type",
    "producer.compression.type",
    "target.admin.compression.type",
];

pub(crate) const OF_SOURCE: [Difference; 9] = [
    differs("replication.factor", "the source's, or as many as there are brokers", "2"),
    differs("refresh.topics.interval.seconds", "2", "600"),
    differs("sync.topic.configs.interval.seconds", "5", "600"),
    differs("sync.topic.acls.interval.seconds", "5", "600"),
    differs("offset-syncs.topic.replication.factor", REPLICAS, "3"),
    differs(
        "config.properties.exclude",
        "message.timestamp.before.max.ms and .after.max.ms, which topics have",
        "log.message.timestamp.before.max.ms and .after.max.ms, which are settings of brokers",
    ),
    Difference { setting: "twinstream.on.source.truncation", ours: "fail", theirs: EARLIEST, or_by: RESET },
    Difference { setting: "twinstream.on.source.recreation", ours: "fail", theirs: EARLIEST, or_by: RESET },
    Difference {
        setting: "producer.override.compression.type",
        ours: "the source's batches as they are",
        theirs: "none",
        or_by: PACKING,
    },
];

pub(crate) const OF_CHECKPOINT: [Difference; 5] = [
    differs("sync.group.offsets.enabled", "true", "false"),
    differs("sync.group.offsets.interval.seconds", "1", "60"),
    differs("emit.checkpoints.interval.seconds", "5", "60"),
    differs("refresh.groups.interval.seconds", "5", "600"),
    differs("checkpoints.topic.replication.factor", REPLICAS, "3"),
];

pub(crate) const OF_HEARTBEAT: [Difference; 1] = [differs("heartbeats.topic.replication.factor", REPLICAS, "3")];

/// Those that this configuration leaves in force.
pub(crate) fn in_force<'a>(
    table: &'a [Difference],
    config: &'a RawConfig,
) -> impl Iterator<Item = &'a Difference> + 'a {
    let is_left = |one: &&Difference| {
        !config.contains_key(one.setting) && !one.or_by.iter().any(|setting| config.contains_key(*setting))
    };
    table.iter().filter(is_left)
}

pub(crate) fn tell(connector: &str, table: &[Difference], config: &RawConfig) {
    for Difference { setting, ours, theirs, .. } in in_force(table, config) {
        info!(connector, setting, ours, theirs, "default is not MirrorMaker's");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_is_not_mirror_makers_is_told_until_a_setting_decides_it() {
        let told = |extra: &[(&str, &str)]| -> Vec<&str> {
            let config = extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            in_force(&OF_SOURCE, &config).map(|one| one.setting).collect()
        };
        assert_eq!(told(&[]), OF_SOURCE.map(|one| one.setting));
        let reset = told(&[("source.consumer.auto.offset.reset", "earliest"), ("replication.factor", "-1")]);
        let gone = ["replication.factor", "twinstream.on.source.truncation", "twinstream.on.source.recreation"];
        assert!(!gone.iter().any(|setting| reset.contains(setting)), "{reset:?}");
        assert_eq!(reset.len(), OF_SOURCE.len() - gone.len());
        assert!(!told(&[("target.producer.compression.type", "zstd")]).contains(&"producer.override.compression.type"));
    }
}
