//! Settings: MirrorMaker 2's names and defaults.
//!
//! A key of MirrorMaker 2 that belongs to a part which this release has not is accepted, so that existing
//! configurations work, and named in the log at every start. A value that would change what is copied and cannot be
//! honoured is refused.

mod fetch; // how batches are asked for
mod packing; // how copies are compressed

use std::time::Duration;

use twinstream_client::protocol::compression::CompressionSpec;
use twinstream_client::{ClientSettings, SettingsError};
use twinstream_connect_api::config::{Config as ParsedConfig, ConfigError, Default as DefaultValue};
use twinstream_connect_api::{ConfigDef, ConfigKey, ConfigType, Fate, Importance, RawConfig, Validator};
use twinstream_model::{InvalidTopicName, TopicName};

use crate::acls::{self, AclSettings};
use crate::aligned::LinkMode;
use crate::pace;
use crate::policy::{Policy, TopicFilter};
use crate::provenance;
use crate::returns::{self, Names};
use crate::syncs::settings::{self, SyncSettings};

use crate::engine::standing::{Begin, OnTrouble, Policies};

pub(crate) use self::fetch::FetchSettings;

pub(crate) const ASSIGNED: &str = "task.assigned.partitions";
/// How many tasks there are: while that grows partitions move, and tasks are restarted so that one ends before the other begins.
pub(crate) const COUNT: &str = "task.assigned.count";
/// Names on the target that do not follow from the policy.
pub(crate) const NAMES: &str = "task.topic.names";

pub(crate) const RETURNS: &str = "twinstream.link.returns";
const VERIFY_BYTES: &str = "twinstream.verify.bytes.per.second";
const DELETES: &str = "twinstream.sync.topic.deletes.enabled";
const DELETE_GRACE: &str = "twinstream.topic.delete.grace.ms";
pub(crate) const LINK_MODE: &str = "twinstream.link.mode";
pub(crate) const ON_TRUNCATION: &str = "twinstream.on.source.truncation";
const ON_RECREATION: &str = "twinstream.on.source.recreation";
const ON_RETENTION: &str = "twinstream.on.source.retention";
const ON_UNAUTHORIZED: &str = "twinstream.on.source.unauthorized";

const DEFAULT_POLICY: &str = "org.apache.kafka.connect.mirror.DefaultReplicationPolicy";
const IDENTITY_POLICY: &str = "org.apache.kafka.connect.mirror.IdentityReplicationPolicy";
const TOPIC_FILTER: &str = "org.apache.kafka.connect.mirror.DefaultTopicFilter";
const PROPERTY_FILTER: &str = "org.apache.kafka.connect.mirror.DefaultConfigPropertyFilter";
const FORWARDING_ADMIN: &str = "org.apache.kafka.clients.admin.ForwardingAdmin";
const PROPERTIES_EXCLUDED: &str = "follower\\.replication\\.throttled\\.replicas, leader\\.replication\\.throttled\\.replicas, message\\.timestamp\\.difference\\.max\\.ms, message\\.timestamp\\.before\\.max\\.ms, message\\.timestamp\\.after\\.max\\.ms, message\\.timestamp\\.type, unclean\\.leader\\.election\\.enable, min\\.insync\\.replicas";

/// How the documentation of a key ends that users do not set.
const MADE: &str = "made by the connector.";
/// Keys of [`clusters`] that only the source connector reads.
const SOURCE_ONLY: [&str; 2] = ["consumer.poll.timeout.ms", "replication.factor"];
const OTHERS: &str = "it belongs to another connector of the family";
const NO_CHECKPOINTS: &str = "it belongs to MirrorCheckpointConnector";
const NO_HEARTBEATS: &str = "it belongs to MirrorHeartbeatConnector";
pub(crate) const OWN_CLASSES: &str = "classes of the JVM cannot be loaded; leave the default";

/// What is longer is as good as never; times beyond it could not be added up.
const INTERVAL_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Client settings by where they come from; later ones win.
const SOURCE_PREFIXES: [&str; 4] = ["source.cluster.", "consumer.", "source.admin.", "source.consumer."];
const TARGET_PREFIXES: [&str; 4] = ["target.cluster.", "producer.", "target.admin.", "target.producer."];
const FAMILIES: [&str; 11] = [
    "source.cluster.",
    "target.cluster.",
    "source.consumer.",
    "source.producer.",
    "source.admin.",
    "target.consumer.",
    "target.producer.",
    "target.admin.",
    "consumer.",
    "producer.",
    "admin.",
];
/// Consumer settings that fetching whole batches honours; the others of a client are checked, and named in the log as
/// without effect.
const USED_BY_CLIENT: [&str; 11] = [
    "bootstrap.servers",
    "client.id",
    "request.timeout.ms",
    "default.api.timeout.ms",
    "fetch.max.bytes",
    "max.partition.fetch.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "client.rack",
    "auto.offset.reset",
    "isolation.level",
];

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub enabled: bool,
    pub source_alias: String,
    pub target_alias: String,
    pub policy: Policy,
    pub filter: TopicFilter,
    /// `None`: as many replicas as the source's topic has.
    pub replication_factor: Option<i16>,
    pub refresh: Option<Duration>,
    pub config_sync: Option<Duration>,
    /// How rules about topics follow; `None`: they do not.
    pub acls: Option<AclSettings>,
    /// How often quotas are compared; `None`: they do not follow.
    pub quota_sync: Option<Duration>,
    pub properties_excluded: regex::Regex,
    /// How long a topic has been gone from the source when its copy is deleted; `None`: copies stay.
    pub deletes_after: Option<Duration>,
    pub source: ClientSettings,
    pub target: ClientSettings,
    pub policies: Policies,
    pub link_mode: LinkMode,
    /// The link brings home what the other direction mirrored.
    pub returns: bool,
    /// Of a task: names on the target that do not follow from the policy.
    pub names: Names,
    pub syncs: SyncSettings,
    pub fetch: FetchSettings,
    /// Records take along where they have been, and none comes to a cluster twice.
    pub provenance: bool,
    /// How copies that do not keep the source's bytes are packed; `None`: as the source has them.
    pub compression: Option<CompressionSpec>,
    /// How many bytes per second may be copied.
    pub pace: pace::Limits,
    /// How fast both sides are compared all the time; `None`: not at all.
    pub verify_bytes: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum MirrorConfigError {
    #[error(transparent)]
    Keys(#[from] ConfigError),
    #[error("{prefix}*: {cause}")]
    Client { prefix: &'static str, cause: SettingsError },
    #[error("{key}: {why}")]
    Value { key: &'static str, why: String },
}

impl MirrorConfigError {
    /// The key that an answer of `validate` puts the message at.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            MirrorConfigError::Keys(_) => "topics",
            MirrorConfigError::Client { prefix: "source.cluster.", .. } => "source.cluster.bootstrap.servers",
            MirrorConfigError::Client { .. } => "target.cluster.bootstrap.servers",
            MirrorConfigError::Value { key, .. } => key,
        }
    }
}

impl Settings {
    pub(crate) fn parse(raw: &RawConfig) -> Result<Settings, MirrorConfigError> {
        let config = config_def().parse(raw)?;
        let source = client_settings(raw, "source.cluster.", &SOURCE_PREFIXES)?;
        let target = client_settings(raw, "target.cluster.", &TARGET_PREFIXES)?;
        let aliases =
            (config.string("source.cluster.alias").to_owned(), config.string("target.cluster.alias").to_owned());
        let separator = config.string("replication.policy.separator").to_owned();
        let policy = match config.string("replication.policy.class") {
            IDENTITY_POLICY => Policy::identity(&aliases.0, &separator),
            _ => Policy::default_named(&aliases.0, &separator),
        };
        let policy = policy.internal_separator(config.bool("replication.policy.internal.topic.separator.enabled"));
        let syncs = SyncSettings::read(&config, raw, &policy)
            .map_err(|cause| MirrorConfigError::Value { key: "source.cluster.alias", why: cause.to_string() })?;
        let filter = TopicFilter::new(
            config.list("topics"),
            config.list("topics.exclude"),
            config.bool("heartbeats.replication.enabled"),
        );
        // Names that are kept have no aliases in them.
        if aliases.0 == aliases.1 && !policy.is_identity() {
            return Err(MirrorConfigError::Value {
                key: "target.cluster.alias",
                why: format!(
                    "is '{}' as source.cluster.alias is: topics would be taken for copies that go round; name the two clusters differently",
                    aliases.0
                ),
            });
        }
        let every = |switch: &str, key: &str| interval(&config, key).filter(|_| config.bool(switch));
        let acls = AclSettings::read(&config, &aliases.0, &policy)
            .map_err(|cause| MirrorConfigError::Value { key: "source.cluster.alias", why: cause.to_string() })?;
        // Topics that come home have rules of their own there.
        let leads_on = !config.bool(RETURNS);
        let excluded = crate::policy::full_match(config.list("config.properties.exclude"));
        let poll = config.millis("consumer.poll.timeout.ms");
        let fetch = fetch::read(&source, poll)?;
        let provenance = provenance::read(&config)?;
        Ok(Settings {
            enabled: config.bool("enabled"),
            filter: filter.map_err(|why| MirrorConfigError::Value { key: "topics", why })?,
            replication_factor: config.opt_int("replication.factor").and_then(|count| i16::try_from(count).ok()),
            refresh: every("refresh.topics.enabled", "refresh.topics.interval.seconds"),
            config_sync: every("sync.topic.configs.enabled", "sync.topic.configs.interval.seconds"),
            acls: acls.filter(|_| leads_on),
            quota_sync: acls::settings::quotas_every(&config).filter(|_| leads_on),
            properties_excluded: excluded
                .map_err(|why| MirrorConfigError::Value { key: "config.properties.exclude", why })?,
            deletes_after: config.bool(DELETES).then(|| config.millis(DELETE_GRACE)).filter(|_| leads_on),
            syncs,
            policies: policies(&config, source.get("auto.offset.reset")),
            link_mode: match LinkMode::parse(config.string(LINK_MODE)) {
                // What comes home must not be mixed into a topic that is no mirror yet.
                _ if config.bool(RETURNS) => LinkMode::Aligned,
                // A mirror takes records from nobody but its link, and as they are.
                Some(LinkMode::Auto) if provenance => LinkMode::Generic,
                mode => mode.unwrap_or(LinkMode::Auto),
            },
            returns: config.bool(RETURNS),
            names: returns::decode(config.list(NAMES)).map_err(|why| MirrorConfigError::Value { key: NAMES, why })?,
            source_alias: aliases.0,
            target_alias: aliases.1,
            policy,
            source: limited(source, config.int("admin.timeout.ms"), "source.cluster.")?,
            target: limited(target, config.int("admin.timeout.ms"), "target.cluster.")?,
            fetch,
            provenance,
            compression: packing::read(raw, config.string(LINK_MODE) == LinkMode::Aligned.name() && leads_on)?,
            pace: pace::settings::read(&config).map_err(|(key, why)| MirrorConfigError::Value { key, why })?,
            verify_bytes: u64::try_from(config.int(VERIFY_BYTES)).ok().filter(|bytes| *bytes > 0),
        })
    }
}

impl Settings {
    /// What a topic of the source is called on the target.
    pub(crate) fn remote_topic(&self, topic: &TopicName) -> Result<TopicName, InvalidTopicName> {
        match self.names.get(topic) {
            Some(name) => Ok(name.clone()),
            None => self.policy.remote_topic(topic),
        }
    }
}

/// What is done about trouble at the source: as a setting of ours says, else as `auto.offset.reset` says, else carefully: a
/// gap is copied over, what would mix two histories fails.
fn policies(config: &ParsedConfig, reset: Option<&str>) -> Policies {
    let (common, begin) = match reset {
        None => (None, Begin::Earliest),
        Some("latest") => (Some(OnTrouble::Latest), Begin::Latest),
        Some("none") => (Some(OnTrouble::Fail), Begin::Earliest),
        Some(_) => (Some(OnTrouble::Resume), Begin::Earliest),
    };
    let chosen =
        |key: &str, careful: OnTrouble| config.opt_string(key).and_then(OnTrouble::parse).or(common).unwrap_or(careful);
    Policies {
        begin,
        truncation: chosen(ON_TRUNCATION, OnTrouble::Fail),
        recreation: chosen(ON_RECREATION, OnTrouble::Fail),
        retention: chosen(ON_RETENTION, OnTrouble::Resume),
        unauthorized: config.opt_string(ON_UNAUTHORIZED).and_then(OnTrouble::parse).unwrap_or(OnTrouble::Fail),
    }
}

/// Names of client settings that were given and have no effect on the raw client.
pub(crate) fn unused_client_settings(settings: &ClientSettings) -> Vec<String> {
    settings.iter().filter(|(name, _)| !USED_BY_CLIENT.contains(name)).map(|(name, _)| name.to_owned()).collect()
}

fn client_settings(
    raw: &RawConfig,
    prefix: &'static str,
    prefixes: &[&str],
) -> Result<ClientSettings, MirrorConfigError> {
    let (mut chosen, def) = (RawConfig::new(), config_def());
    let is_target = prefix == "target.cluster.";
    for prefix in prefixes {
        for (full_name, value) in raw {
            let Some(name) = full_name.strip_prefix(prefix) else { continue };
            // What follows `producer.override.` is for the worker's own clients.
            if name.starts_with("override.") {
                continue;
            }
            // How copies are packed is read for itself.
            if is_target && packing::is_about(name) {
                continue;
            }
            // Keys of the table such as `source.cluster.alias` or `consumer.poll.timeout.ms` are ours, not a client's.
            if name == "bootstrap.servers" || def.get(full_name).is_none() {
                chosen.insert(name.to_owned(), value.clone());
            }
        }
    }
    let value = |key: &'static str, why: &str| MirrorConfigError::Value { key, why: why.to_owned() };
    let servers = if prefix == "source.cluster." {
        "source.cluster.bootstrap.servers"
    } else {
        "target.cluster.bootstrap.servers"
    };
    if chosen.get("bootstrap.servers").is_none_or(|text| text.trim().is_empty()) {
        return Err(value(servers, "missing; give host:port of at least one broker of that cluster"));
    }
    if let Some(protocol) = chosen.get("security.protocol").filter(|protocol| *protocol != "PLAINTEXT") {
        return Err(value(
            servers,
            &format!("{prefix}security.protocol={protocol} is not supported in this release; use a PLAINTEXT listener"),
        ));
    }
    ClientSettings::from_map(chosen).map_err(|cause| MirrorConfigError::Client { prefix, cause })
}

fn limited(
    mut settings: ClientSettings,
    timeout_ms: i64,
    prefix: &'static str,
) -> Result<ClientSettings, MirrorConfigError> {
    settings
        .set_default("default.api.timeout.ms", &timeout_ms.to_string())
        .map_err(|cause| MirrorConfigError::Client { prefix, cause })?;
    Ok(settings)
}

/// How long it is from one round to the next; `None`: there are none, as for MirrorMaker where it is not above 0.
pub(crate) fn interval(config: &ParsedConfig, key: &str) -> Option<Duration> {
    let seconds = u64::try_from(config.int(key)).ok().filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds).min(INTERVAL_MAX))
}

fn key(name: &str, kind: ConfigType, default: &str, importance: Importance, doc: &str) -> ConfigKey {
    ConfigKey::with_default(name, kind, default, importance, doc)
}

fn no_part(name: &str, kind: ConfigType, default: &str, why: &'static str) -> ConfigKey {
    key(name, kind, default, Importance::Low, "Accepted, no effect.").fate(Fate::NoSuchPart(why))
}

/// Each entry of a list is one of these, and there is one.
fn one_of_each(allowed: &'static [&'static str]) -> Validator {
    Validator::Check(std::sync::Arc::new(|text: &str| {
        match text.split(',').map(str::trim).find(|entry| !allowed.contains(entry)) {
            None => Ok(()),
            Some(entry) => Err(format!("'{entry}' is not one of: {}", allowed.join(", "))),
        }
    }))
}

pub(crate) fn regexes() -> Validator {
    Validator::Check(std::sync::Arc::new(|text: &str| {
        let list: Vec<String> =
            text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
        crate::policy::full_match(&list).map(|_| ())
    }))
}

pub fn config_def() -> ConfigDef {
    let copied = provenance::keys(topics(clusters(ConfigDef::new())));
    let mut def = others(rates(troubles(acls::settings::keys(copied))));
    for prefix in FAMILIES {
        def = def.family(prefix);
    }
    def
}

pub(crate) fn clusters(def: ConfigDef) -> ConfigDef {
    use ConfigType::{Boolean, Class, Int, List, Long, String};
    use Importance::{High, Low};
    def.define(key("source.cluster.alias", String, "source", High, "Name of the source cluster; prefix of its topics on the target.").check(Validator::NonEmpty))
        .define(key("target.cluster.alias", String, "target", High, "Name of the target cluster; topics that came from it are not copied back.").check(Validator::NonEmpty))
        .define(ConfigKey::required("source.cluster.bootstrap.servers", List, High, "Brokers of the source. Any other client setting may follow source.cluster., source.consumer. or source.admin."))
        .define(ConfigKey::required("target.cluster.bootstrap.servers", List, High, "Brokers of the target, which must be the worker's own cluster. Topics are made through them; batches are produced by the worker."))
        .define(key("enabled", Boolean, "true", Low, "Whether anything is copied."))
        .define(
            key("replication.policy.class", Class, DEFAULT_POLICY, Low, "How remote topics are named: DefaultReplicationPolicy (source alias, separator, topic) or IdentityReplicationPolicy (the same name).")
                .check(Validator::OneOf(&[DEFAULT_POLICY, IDENTITY_POLICY]))
                .recommended(&[DEFAULT_POLICY, IDENTITY_POLICY]),
        )
        .define(key("replication.policy.separator", String, ".", Low, "Between alias and topic."))
        .define(key("admin.timeout.ms", Long, "60000", Low, "How long one question to a cluster may take, retries included.").check(Validator::AtLeast(1)))
        .define(key("consumer.poll.timeout.ms", Long, "1000", Low, "How long a fetch waits for new data at most; source.consumer.fetch.max.wait.ms, which is 500, makes it shorter, and counts alone where this is 0. No fetch waits longer than 20 seconds.").check(Validator::AtLeast(0)))
        .define(ConfigKey::optional("replication.factor", Int, Low, "Replicas of topics made on the target; -1 takes the target's default. Not set, as many as the source's topic has, or as many as the target has brokers if those are fewer. MirrorMaker's default is 2.").check(settings::replicas_check()))
        .define(key("forwarding.admin.class", Class, FORWARDING_ADMIN, Low, "Not in this release.").fate(Fate::NotYet(OWN_CLASSES)))
}

fn topics(def: ConfigDef) -> ConfigDef {
    use ConfigType::{Boolean, Class, Int, List, Long, String};
    use Importance::{High, Low};
    let seconds = |name: &str, default: &str, doc: &str| key(name, Long, default, Low, doc);
    def.define(
        key(
            "topics",
            List,
            ".*",
            High,
            "Topics to copy: names and regular expressions by comma, each for the whole name.",
        )
        .check(regexes()),
    )
    .define(
        key(
            "topics.exclude",
            List,
            "mm2.*\\.internal, .*\\.replica, __.*",
            High,
            "Topics not to copy; it wins over topics.",
        )
        .check(regexes()),
    )
    .define(key("topic.filter.class", Class, TOPIC_FILTER, Low, "Not in this release.").fate(Fate::NotYet(OWN_CLASSES)))
    .define(key(
        "heartbeats.replication.enabled",
        Boolean,
        "true",
        Low,
        "Whether heartbeats topics are copied whatever topics says.",
    ))
    .define(key("refresh.topics.enabled", Boolean, "true", Low, "Whether new topics and partitions are looked for."))
    .define(seconds("refresh.topics.interval.seconds", "2", "How often they are looked for; never if it is not above 0. MirrorMaker's default is 600."))
    .define(key(
        "sync.topic.configs.enabled",
        Boolean,
        "true",
        Low,
        "Whether topics on the target get what is changed later on the source. A copy is made with the source's settings in any case.",
    ))
    .define(seconds("sync.topic.configs.interval.seconds", "5", "How often they are compared; never if it is not above 0. MirrorMaker's default is 600."))
    .define(
        key(
            "config.properties.exclude",
            List,
            PROPERTIES_EXCLUDED,
            Low,
            "Settings that are not copied: names and regular expressions by comma.",
        )
        .check(regexes()),
    )
    .define(
        key("config.property.filter.class", Class, PROPERTY_FILTER, Low, "Not in this release.")
            .fate(Fate::NotYet(OWN_CLASSES)),
    )
    .define(key(
        DELETES,
        Boolean,
        "false",
        Low,
        "Whether a copy is deleted when its topic is gone from the source: mirrors of this link, and topics under names of the link's own (DefaultReplicationPolicy) that this connector has copied since it started. Promoted ones never, nor originals by a link that leads back.",
    ))
    .define(
        key(DELETE_GRACE, Long, "600000", Low, "How long the topic must have been gone.")
            .check(Validator::AtLeast(0)),
    )
    .define(
        key("use.defaults.from", String, "target", Low, "Not in this release.")
            .fate(Fate::NotYet("settings at the source's default take the target's default")),
    )
    .define(
        key(
            LINK_MODE,
            String,
            "auto",
            Importance::Medium,
            "How topics are copied. `aligned`: byte for byte at the same offsets, into topics that only the link writes to; the target must be our brokers, a topic that is there already and is no mirror of this link is refused. `generic`: as any producer would. `auto`: aligned where the target can and the topic is new or a mirror of this link, else generic.",
        )
        .check(Validator::OneOf(&LinkMode::NAMES))
        .recommended(&LinkMode::NAMES),
    )
    .define(key(
        RETURNS,
        Boolean,
        "false",
        Low,
        "The link leads back: promoted mirrors of the target's own topics are copied into those, whatever they are called, and nothing else is copied; always `aligned`. `topics` means the names on the target. Set by `failback` and `reverse`.",
    ))
    .define(ConfigKey::optional(ASSIGNED, List, Low, "The partitions of one task; made by the connector."))
    .define(ConfigKey::optional(COUNT, Int, Low, "The number of tasks; made by the connector."))
    .define(ConfigKey::optional(NAMES, List, Low, "Names on the target; made by the connector."))
}

fn rates(def: ConfigDef) -> ConfigDef {
    let doc = "How many bytes of both sides together are read to compare them, all the time and beside the copy; 0 does not compare.";
    let verify = key(VERIFY_BYTES, ConfigType::Long, "4194304", Importance::Low, doc);
    pace::settings::keys(def).define(verify.check(Validator::AtLeast(0)))
}

fn troubles(def: ConfigDef) -> ConfigDef {
    let policy = |name: &str, names: &'static [&'static str], doc: &str| {
        ConfigKey::optional(name, ConfigType::String, Importance::Medium, doc)
            .check(Validator::OneOf(names))
            .recommended(names)
    };
    def.define(policy(ON_TRUNCATION, &OnTrouble::NAMES, "The source lost records that were copied already: `fail` the task (unless source.consumer.auto.offset.reset says otherwise), `pause` the partition, `resume` where the logs part, or go on with the `latest`."))
        .define(policy(ON_RECREATION, &OnTrouble::NAMES, "The source's topic was deleted and made anew: `fail` the task (unless source.consumer.auto.offset.reset says otherwise), `pause` the partition, `resume` with the new topic's first record behind the old ones, or go on with its `latest`."))
        .define(policy(ON_RETENTION, &OnTrouble::NAMES, "The source removed records before they were copied: `resume` with the first that is left (unless source.consumer.auto.offset.reset says otherwise), `fail` the task, `pause` the partition, or go on with the `latest`."))
        .define(policy(ON_UNAUTHORIZED, &["fail", "pause"], "The source does not let us read a topic: `fail` the task (this if not set), or `pause` the partition until it does."))
}

fn others(def: ConfigDef) -> ConfigDef {
    use ConfigType::{Boolean, Class, List, Long, Short};
    let mut def = settings::of_source(settings::shared(def));
    let flags = [
        ("refresh.groups.enabled", "true", NO_CHECKPOINTS),
        ("emit.checkpoints.enabled", "true", NO_CHECKPOINTS),
        ("sync.group.offsets.enabled", "false", NO_CHECKPOINTS),
        ("emit.heartbeats.enabled", "true", NO_HEARTBEATS),
    ];
    for (name, default, why) in flags {
        def = def.define(no_part(name, Boolean, default, why));
    }
    let numbers = [
        ("refresh.groups.interval.seconds", Long, "600", NO_CHECKPOINTS),
        ("emit.checkpoints.interval.seconds", Long, "60", NO_CHECKPOINTS),
        ("sync.group.offsets.interval.seconds", Long, "60", NO_CHECKPOINTS),
        ("checkpoints.topic.replication.factor", Short, "3", NO_CHECKPOINTS),
        ("emit.heartbeats.interval.seconds", Long, "1", NO_HEARTBEATS),
        ("heartbeats.topic.replication.factor", Short, "3", NO_HEARTBEATS),
    ];
    for (name, kind, default, why) in numbers {
        def = def.define(no_part(name, kind, default, why));
    }
    def.define(no_part("groups", List, ".*", NO_CHECKPOINTS))
        .define(no_part("groups.exclude", List, "console-consumer-.*, connect-.*, __.*", NO_CHECKPOINTS))
        .define(no_part(
            "group.filter.class",
            Class,
            "org.apache.kafka.connect.mirror.DefaultGroupFilter",
            NO_CHECKPOINTS,
        ))
        .define(
            no_part("metric.names.formats", List, "legacy", "figures are Prometheus's, with one form of names")
                .check(one_of_each(&["legacy", "new"])),
        )
}

/// Adds keys of the source connector, with the same meaning, to another connector's table.
pub(crate) fn with_keys(mut def: ConfigDef, names: &[&str]) -> ConfigDef {
    for key in config_def().keys().iter().filter(|key| names.contains(&key.name.as_str())) {
        def = def.define(key.clone());
    }
    def
}

/// Makes another connector's table of the family whole: what only others read is accepted, so that the connectors of a link
/// can share one configuration.
pub(crate) fn foreign(mut def: ConfigDef) -> ConfigDef {
    for key in config_def().keys().iter().filter(|key| ![ASSIGNED, COUNT, NAMES].contains(&key.name.as_str())) {
        if def.get(&key.name).is_none() || SOURCE_ONLY.contains(&key.name.as_str()) {
            def = def.define(key.clone().fate(Fate::NoSuchPart(OTHERS)));
        }
    }
    FAMILIES.into_iter().fold(def, ConfigDef::family)
}

/// A table of the README: what a user may set and what has a meaning for this connector.
pub fn settings_table(def: &ConfigDef) -> String {
    let mut table = "| setting | default | what it does |\n|---|---|---|\n".to_owned();
    for key in def.keys().iter().filter(|key| !key.doc.ends_with(MADE) && key.fate != Fate::NoSuchPart(OTHERS)) {
        let default = match &key.default {
            DefaultValue::Required => "required".to_owned(),
            DefaultValue::Null => "none".to_owned(),
            DefaultValue::Value(text) => format!("`{text}`"),
        };
        let doc = match key.fate {
            Fate::Effect => key.doc.clone(),
            Fate::NotYet(hint) => format!("Refused when changed: {hint}."),
            Fate::NoSuchPart(why) => format!("Accepted, no effect: {why}."),
        };
        table.push_str(&format!(
            "| `{}` | {} | {} |\n",
            key.name,
            default.replace('|', "\\|"),
            doc.replace('|', "\\|")
        ));
    }
    table
}
