//! Settings of offset-syncs and of the offset map, which the source connector and the checkpoint connector share.

use std::sync::Arc;

use twinstream_connect_api::{Config, ConfigDef, ConfigKey, ConfigType, Importance, RawConfig, Validator};
use twinstream_model::{InvalidTopicName, TopicName};

use super::topic_log::Replicas;
use crate::policy::Policy;

const EMIT: &str = "emit.offset-syncs.enabled";
const REPLICAS: &str = "offset-syncs.topic.replication.factor";
const LAG_MAX: &str = "offset.lag.max";
const LOCATION: &str = "offset-syncs.topic.location";
const SEPARATOR: &str = "replication.policy.internal.topic.separator.enabled";

/// Replicas of MirrorMaker's own topics where nothing else is said.
pub(crate) const REPLICAS_DEFAULT: i16 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Source,
    Target,
}

#[derive(Clone, Debug)]
pub(crate) struct SyncSettings {
    pub emit: bool,
    pub location: Location,
    pub lag_max: i64,
    pub replicas: Replicas,
    /// MirrorMaker's topic of offset-syncs, at `location`.
    pub syncs_topic: TopicName,
    /// The exact map, always on the target: it is needed most when the source is gone.
    pub map_topic: TopicName,
}

impl SyncSettings {
    pub(crate) fn read(config: &Config, raw: &RawConfig, policy: &Policy) -> Result<Self, InvalidTopicName> {
        let location = match config.string(LOCATION) {
            "target" => Location::Target,
            _ => Location::Source,
        };
        let (source, target) = (config.string("source.cluster.alias"), config.string("target.cluster.alias"));
        let other = if location == Location::Source { target } else { source };
        Ok(Self {
            emit: config.bool(EMIT),
            location,
            lag_max: config.int(LAG_MAX),
            replicas: replicas(config, raw, REPLICAS),
            syncs_topic: policy.offset_syncs_topic(other)?,
            map_topic: policy.offset_map_topic(source)?,
        })
    }
}

/// What was configured; not configured, three or as many as there are brokers.
pub(crate) fn replicas(config: &Config, raw: &RawConfig, key: &str) -> Replicas {
    let count = i16::try_from(config.int(key)).unwrap_or(REPLICAS_DEFAULT);
    if raw.contains_key(key) { Replicas::Exactly(count) } else { Replicas::UpTo(count) }
}

fn key(name: &str, kind: ConfigType, default: &str, doc: &str) -> ConfigKey {
    ConfigKey::with_default(name, kind, default, Importance::Low, doc)
}

/// How many replicas, as one key of the three connectors.
pub(crate) fn replicas_key(name: &str, topic: &str) -> ConfigKey {
    let doc = format!(
        "Replicas of the topic {topic} when it is made; not set, as many as there are brokers if those are fewer; -1 takes the cluster's default."
    );
    key(name, ConfigType::Short, "3", &doc).check(replicas_check())
}

/// As many replicas, or as the cluster has it by default; none at all the broker would refuse later.
pub(crate) fn replicas_check() -> Validator {
    Validator::Check(Arc::new(|text: &str| match text.parse::<i16>() {
        Ok(-1 | 1..) => Ok(()),
        _ => Err(format!("Value must be at least 1 and no more than {}, or -1 for the cluster's default", i16::MAX)),
    }))
}

/// What both connectors must agree about.
pub(crate) fn shared(def: ConfigDef) -> ConfigDef {
    def.define(key(SEPARATOR, ConfigType::Boolean, "true", "Whether names of MirrorMaker's own topics take replication.policy.separator, or always a dot."))
        .define(key(EMIT, ConfigType::Boolean, "true", "Whether offset-syncs are written for MirrorMaker's clients; the exact offset map is kept in any case."))
        .define(
            key(LOCATION, ConfigType::String, "source", "Which cluster has the topic of offset-syncs. The offset map (`mm2-offset-map.<source>.internal`) is on the target.")
                .check(Validator::OneOf(&["source", "target"]))
                .recommended(&["source", "target"]),
        )
}

/// What only the source connector reads.
pub(crate) fn of_source(def: ConfigDef) -> ConfigDef {
    def.define(replicas_key(REPLICAS, "of offset-syncs and of the offset map"))
        .define(
            key(LAG_MAX, ConfigType::Long, "100", "An offset-sync is written within a quarter of a second once the last one is this many records old, otherwise every five seconds.")
                .check(Validator::AtLeast(0)),
        )
}
