//! Settings of the checkpoint connector: MirrorMaker's names. Where MirrorMaker's default is a trap ours is another, and the
//! connector says so at its start: groups are synced, within a second, and new groups are found within seconds.

use std::time::Duration;

use regex::Regex;
use twinstream_client::ClientSettings;
use twinstream_connect_api::{ConfigDef, ConfigKey, ConfigType, Fate, Importance, RawConfig, Validator};
use twinstream_model::TopicName;

use crate::config::{self, MirrorConfigError, Settings, interval};
use crate::policy::{Policy, TopicFilter};
use crate::provenance::PROVENANCE;
use crate::syncs::settings::{SyncSettings, replicas, replicas_key, shared};
use crate::syncs::topic_log::Replicas;

pub(crate) const TASK_INDEX: &str = "task.index";
pub(crate) const TASK_COUNT: &str = "task.count";

const EMIT: &str = "emit.checkpoints.enabled";
const EMIT_EVERY: &str = "emit.checkpoints.interval.seconds";
const SYNC: &str = "sync.group.offsets.enabled";
const SYNC_EVERY: &str = "sync.group.offsets.interval.seconds";
const REFRESH: &str = "refresh.groups.enabled";
const REFRESH_EVERY: &str = "refresh.groups.interval.seconds";
const REPLICAS: &str = "checkpoints.topic.replication.factor";
const EMIT_SYNCS: &str = "emit.offset-syncs.enabled";
const EMIT_EVERY_MIN: Duration = Duration::from_secs(1);
const GROUP_FILTER: &str = "org.apache.kafka.connect.mirror.DefaultGroupFilter";

#[derive(Clone, Debug)]
pub(crate) struct CheckpointSettings {
    pub enabled: bool,
    pub source_alias: String,
    pub target_alias: String,
    pub policy: Policy,
    pub topics: TopicFilter,
    pub groups: GroupFilter,
    pub source: ClientSettings,
    pub target: ClientSettings,
    pub syncs: SyncSettings,
    /// Both sites may write to a topic.
    pub provenance: bool,
    /// The offset map of the opposite link, on the source; it need not exist.
    pub opposite_map: TopicName,
    /// The topic of checkpoints, on the target.
    pub topic: TopicName,
    pub replicas: Replicas,
    pub emit_every: Duration,
    /// `None`: group offsets are not written.
    pub sync_every: Option<Duration>,
    /// `None`: groups are looked for once.
    pub refresh_every: Option<Duration>,
}

/// Which groups are followed.
#[derive(Clone, Debug)]
pub(crate) struct GroupFilter {
    include: Regex,
    exclude: Regex,
}

impl GroupFilter {
    pub(crate) fn follows(&self, group: &str) -> bool {
        self.include.is_match(group) && !self.exclude.is_match(group)
    }
}

impl CheckpointSettings {
    pub(crate) fn parse(raw: &RawConfig) -> Result<Self, MirrorConfigError> {
        let config = config_def().parse(raw)?;
        // What it shares with the source connector is read by the same code.
        let common = Settings::parse(raw)?;
        let value = |key, why: String| MirrorConfigError::Value { key, why };
        if common.enabled && !config.bool(EMIT) {
            return Err(value(EMIT, format!("MirrorCheckpointConnector can't run with {EMIT} set to false")));
        }
        if common.enabled && !config.bool(EMIT_SYNCS) {
            return Err(value(EMIT_SYNCS, "MirrorCheckpointConnector can't run without offset syncs".to_owned()));
        }
        let full_match = |key: &'static str| {
            crate::policy::full_match(config.list(key)).map_err(|why| MirrorConfigError::Value { key, why })
        };
        let topic = common.policy.checkpoints_topic(&common.source_alias);
        let opposite_map = common.policy.offset_map_topic(&common.target_alias);
        Ok(Self {
            enabled: common.enabled,
            groups: GroupFilter { include: full_match("groups")?, exclude: full_match("groups.exclude")? },
            topic: topic.map_err(|cause| value("source.cluster.alias", cause.to_string()))?,
            opposite_map: opposite_map.map_err(|cause| value("target.cluster.alias", cause.to_string()))?,
            replicas: replicas(&config, raw, REPLICAS),
            emit_every: interval(&config, EMIT_EVERY).unwrap_or(EMIT_EVERY_MIN),
            sync_every: interval(&config, SYNC_EVERY).filter(|_| config.bool(SYNC)),
            refresh_every: interval(&config, REFRESH_EVERY).filter(|_| config.bool(REFRESH)),
            source_alias: common.source_alias,
            target_alias: common.target_alias,
            policy: common.policy,
            topics: common.filter,
            source: common.source,
            target: common.target,
            syncs: common.syncs,
            provenance: common.provenance,
        })
    }
}

pub fn config_def() -> ConfigDef {
    use ConfigType::{Boolean, Class, Int, List, Long};
    use Importance::{High, Low};
    let key = |name: &str, kind, default: &str, importance, doc: &str| {
        ConfigKey::with_default(name, kind, default, importance, doc)
    };
    let seconds = |name: &str, default: &str, doc: &str| key(name, Long, default, Low, doc);
    let patterns = |name: &str, default: &str, doc: &str| key(name, List, default, High, doc).check(config::regexes());
    let def = shared(config::clusters(ConfigDef::new()))
        .define(patterns("groups", ".*", "Groups to follow: names and regular expressions by comma, each for the whole name."))
        .define(patterns("groups.exclude", "console-consumer-.*, connect-.*, __.*", "Groups not to follow; it wins over groups."))
        .define(key("group.filter.class", Class, GROUP_FILTER, Low, "Not in this release.").fate(Fate::NotYet(config::OWN_CLASSES)))
        .define(key(REFRESH, Boolean, "true", Low, "Whether new groups are looked for."))
        .define(seconds(REFRESH_EVERY, "5", "How often they are looked for; once if it is not above 0. MirrorMaker's default is 600."))
        .define(key(EMIT, Boolean, "true", Low, "Whether checkpoints are written; the connector refuses false."))
        .define(seconds(EMIT_EVERY, "5", "How often checkpoints are written for groups that moved. MirrorMaker's default is 60.").check(Validator::AtLeast(1)))
        .define(key(SYNC, Boolean, "true", Low, "Whether groups get their translated offsets on the target while nobody is a member of them there. MirrorMaker's default is false."))
        .define(seconds(SYNC_EVERY, "1", "How often that is done; never if it is not above 0. MirrorMaker's default is 60."))
        .define(replicas_key(REPLICAS, "of checkpoints"))
        .define(ConfigKey::optional(TASK_INDEX, Int, Low, "Which task it is; made by the connector."))
        .define(ConfigKey::optional(TASK_COUNT, Int, Low, "How many tasks share the groups; made by the connector."));
    let topics = ["topics", "topics.exclude", "topic.filter.class", "heartbeats.replication.enabled", PROVENANCE];
    config::foreign(config::with_keys(def, &topics))
}
