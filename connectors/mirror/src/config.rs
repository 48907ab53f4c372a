//! Settings: MirrorMaker 2's names and defaults.
//!
//! A key of MirrorMaker 2 that belongs to a part which this release has not is accepted, so that existing
//! configurations work, and named in the log at every start. A value that would change what is copied and cannot be
//! honoured is refused.

use std::time::Duration;

use twinstream_client::{ClientSettings, SettingsError};
use twinstream_connect_api::config::{Config as ParsedConfig, ConfigError, Default as DefaultValue};
use twinstream_connect_api::{ConfigDef, ConfigKey, ConfigType, Fate, Importance, RawConfig, Validator};
use twinstream_model::{InvalidTopicName, TopicName};

use crate::acls::{self, AclSettings};
use crate::aligned::LinkMode;
use crate::pace;
use crate::policy::{Policy, TopicFilter};
use crate::returns::{self, Names};
use crate::syncs::settings::{self, SyncSettings};

use crate::engine::standing::{Begin, OnTrouble, Policies};

pub(crate) const ASSIGNED: &str = "task.assigned.partitions";
/// How many tasks there are: while that grows partitions move, and tasks are restarted so that one ends before the other begins.
pub(crate) const COUNT: &str = "task.assigned.count";
/// Names on the target that do not follow from the policy.
pub(crate) const NAMES: &str = "task.topic.names";

pub(crate) const RETURNS: &str = "twinstream.link.returns";
const LINK_BYTES: &str = "twinstream.link.bytes.per.second";
const TOPICS_BYTES: &str = "twinstream.topics.bytes.per.second";
const BACKFILL_BYTES: &str = "twinstream.backfill.bytes.per.second";
const BACKFILL_LAG: &str = "twinstream.backfill.lag.records";
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
const PROPERTIES_EXCLUDED: &str = "follower\\.replication\\.throttled\\.replicas, leader\\.replication\\.throttled\\.replicas, message\\.timestamp\\.difference\\.max\\.ms, message\\.timestamp\\.before\\.max\\.ms, message\\.timestamp\\.after\\.max\\.ms, unclean\\.leader\\.election\\.enable, min\\.insync\\.replicas";

/// How the documentation of a key ends that users do not set.
const MADE: &str = "made by the connector.";
/// Keys of [`clusters`] that only the source connector reads.
const SOURCE_ONLY: [&str; 2] = ["consumer.poll.timeout.ms", "replication.factor"];
const OTHERS: &str = "it belongs to another connector of the family";
const NO_CHECKPOINTS: &str = "it belongs to MirrorCheckpointConnector";
const NO_HEARTBEATS: &str = "it belongs to MirrorHeartbeatConnector";
pub(crate) const OWN_CLASSES: &str = "classes of the JVM cannot be loaded; leave the default";

/// Bytes that one fetch of a task asks for, and from one partition, unless the settings say otherwise.
const FETCH_BYTES: i32 = 8 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
const FETCH_WAIT_MS: u64 = 500;

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

/// How a task fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchSettings {
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
    pub bytes_min: i32,
    pub wait_max: Duration,
    pub rack: String,
    /// Records of aborted transactions are left out.
    pub read_committed: bool,
}

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
        let every = |switch: &str, interval: &str| {
            let seconds = u64::try_from(config.int(interval)).unwrap_or(0);
            (config.bool(switch) && seconds > 0).then(|| Duration::from_secs(seconds))
        };
        let acls = AclSettings::read(&config, &aliases.0, &policy)
            .map_err(|cause| MirrorConfigError::Value { key: "source.cluster.alias", why: cause.to_string() })?;
        // Topics that come home have rules of their own there.
        let leads_on = !config.bool(RETURNS);
        let excluded = crate::policy::full_match(config.list("config.properties.exclude"));
        let poll = config.millis("consumer.poll.timeout.ms");
        let fetch = fetch_settings(&source, poll)?;
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
            pace: limits(&config)?,
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

fn limits(config: &ParsedConfig) -> Result<pace::Limits, MirrorConfigError> {
    let rate = |key: &str| config.opt_int(key).and_then(|rate| u64::try_from(rate).ok());
    Ok(pace::Limits {
        link: rate(LINK_BYTES),
        topics: pace::Limits::classes(config.list(TOPICS_BYTES))
            .map_err(|why| MirrorConfigError::Value { key: TOPICS_BYTES, why })?,
        backfill: rate(BACKFILL_BYTES),
        backfill_lag: config.int(BACKFILL_LAG),
    })
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
    for prefix in prefixes {
        for (full_name, value) in raw {
            let Some(name) = full_name.strip_prefix(prefix) else { continue };
            // What follows `producer.override.` is for the worker's own clients.
            if name.starts_with("override.") {
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

fn fetch_settings(source: &ClientSettings, poll: Duration) -> Result<FetchSettings, MirrorConfigError> {
    let number = |name: &str, default: i32| {
        source.get(name).and_then(|text| text.parse::<i32>().ok()).filter(|n| *n > 0).unwrap_or(default)
    };
    let wait = source.get("fetch.max.wait.ms").and_then(|text| text.parse().ok()).unwrap_or(FETCH_WAIT_MS);
    Ok(FetchSettings {
        bytes_max: number("fetch.max.bytes", FETCH_BYTES),
        partition_bytes_max: number("max.partition.fetch.bytes", PARTITION_BYTES),
        bytes_min: number("fetch.min.bytes", 1),
        wait_max: Duration::from_millis(wait).min(poll),
        rack: source.get("client.rack").unwrap_or_default().to_owned(),
        read_committed: source.get("isolation.level") == Some("read_committed"),
    })
}

fn key(name: &str, kind: ConfigType, default: &str, importance: Importance, doc: &str) -> ConfigKey {
    ConfigKey::with_default(name, kind, default, importance, doc)
}

fn no_part(name: &str, kind: ConfigType, default: &str, why: &'static str) -> ConfigKey {
    key(name, kind, default, Importance::Low, "Accepted, no effect.").fate(Fate::NoSuchPart(why))
}

pub(crate) fn regexes() -> Validator {
    Validator::Check(std::sync::Arc::new(|text: &str| {
        let list: Vec<String> =
            text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
        crate::policy::full_match(&list).map(|_| ())
    }))
}

pub fn config_def() -> ConfigDef {
    let mut def = others(rates(troubles(acls::settings::keys(topics(clusters(ConfigDef::new()))))));
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
        .define(key("consumer.poll.timeout.ms", Long, "1000", Low, "How long a fetch waits for new data; source.consumer.fetch.max.wait.ms may make it shorter.").check(Validator::Between(1, 30_000)))
        .define(ConfigKey::optional("replication.factor", Int, Low, "Replicas of topics made on the target; -1 takes the target's default. Not set, as many as the source's topic has, or as many as the target has brokers if those are fewer. MirrorMaker's default is 2.").check(Validator::Between(-1, 32_767)))
        .define(key("forwarding.admin.class", Class, FORWARDING_ADMIN, Low, "Not in this release.").fate(Fate::NotYet(OWN_CLASSES)))
}

fn topics(def: ConfigDef) -> ConfigDef {
    use ConfigType::{Boolean, Class, Int, List, String};
    use Importance::{High, Low};
    let seconds = |name: &str, default: &str, doc: &str| key(name, Int, default, Low, doc).check(Validator::AtLeast(0));
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
    .define(seconds("refresh.topics.interval.seconds", "2", "How often they are looked for. MirrorMaker's default is 600."))
    .define(key(
        "sync.topic.configs.enabled",
        Boolean,
        "true",
        Low,
        "Whether topics on the target get the settings that were changed on the source.",
    ))
    .define(seconds("sync.topic.configs.interval.seconds", "5", "How often they are compared. MirrorMaker's default is 600."))
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
        key(DELETE_GRACE, ConfigType::Long, "600000", Low, "How long the topic must have been gone.")
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
    use ConfigType::{List, Long};
    use Importance::Low;
    let rate = |name: &str, doc: &str| ConfigKey::optional(name, Long, Low, doc).check(Validator::AtLeast(1));
    def.define(rate(LINK_BYTES, "Bytes per second of batches, as they travel, that each worker copies of the link at most."))
        .define(key(TOPICS_BYTES, List, "", Low, "The same for classes of topics: `REGEX=BYTES` by comma, each expression for the whole name; the first one that has a topic counts."))
        .define(rate(BACKFILL_BYTES, "The same for all partitions together that are further behind than twinstream.backfill.lag.records, so that a first copy does not delay what is live."))
        .define(key(BACKFILL_LAG, Long, "100000", Low, "How many records behind is far behind.").check(Validator::AtLeast(0)))
        .define(key(VERIFY_BYTES, Long, "4194304", Low, "How many bytes of both sides together are read to compare them, all the time and beside the copy; 0 does not compare.").check(Validator::AtLeast(0)))
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
    use ConfigType::{Boolean, Class, Int, List};
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
        ("refresh.groups.interval.seconds", "600", NO_CHECKPOINTS),
        ("emit.checkpoints.interval.seconds", "60", NO_CHECKPOINTS),
        ("sync.group.offsets.interval.seconds", "60", NO_CHECKPOINTS),
        ("checkpoints.topic.replication.factor", "3", NO_CHECKPOINTS),
        ("emit.heartbeats.interval.seconds", "1", NO_HEARTBEATS),
        ("heartbeats.topic.replication.factor", "3", NO_HEARTBEATS),
    ];
    for (name, default, why) in numbers {
        def = def.define(no_part(name, Int, default, why));
    }
    def.define(no_part("groups", List, ".*", NO_CHECKPOINTS))
        .define(no_part("groups.exclude", List, "console-consumer-.*, connect-.*, __.*", NO_CHECKPOINTS))
        .define(no_part(
            "group.filter.class",
            Class,
            "org.apache.kafka.connect.mirror.DefaultGroupFilter",
            NO_CHECKPOINTS,
        ))
        .define(no_part("metric.names.formats", List, "legacy", "figures are Prometheus's, with one form of names"))
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
