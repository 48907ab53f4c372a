//! How configs look to a client: value, source, synonyms, type and text of every config there is, not only of those that are set.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kafka_protocol::protocol::StrBytes;
use twinstream_metadata::configs::client_metrics::CLIENT_METRICS_CONFIGS;
use twinstream_metadata::configs::groups::GROUP_CONFIGS;
use twinstream_metadata::configs::{self, TOPIC_CONFIGS, TopicConfig};
use twinstream_metadata::{ConfigResource, Image, Mirror};
use twinstream_model::{NodeId, TopicName};
use twinstream_telemetry::logging::levels::{self, LevelFilter};

use crate::controller::is_dynamic;
use crate::settings::Settings;
use crate::settings::live::LiveSettings;
use crate::settings::table::{self, Kind, Setting};

/// Kafka's resource types.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const CLIENT_METRICS: i8 = 16;
pub(crate) const GROUP: i8 = 32;

/// Kafka's sources of a config value.
const DYNAMIC_TOPIC: i8 = 1;
const DYNAMIC_BROKER: i8 = 2;
const DYNAMIC_DEFAULT_BROKER: i8 = 3;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;
const DYNAMIC_BROKER_LOGGER: i8 = 6;
const DYNAMIC_CLIENT_METRICS: i8 = 7;
const DYNAMIC_GROUP: i8 = 8;

/// Name, value and source of what could count.
type Synonym = (Cow<'static, str>, Option<String>, i8);

/// One config as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct ShownConfig {
    pub(crate) name: Cow<'static, str>,
    /// `None` for a secret, and for a setting with neither value nor default.
    pub(crate) value: Option<String>,
    pub(crate) source: i8,
    pub(crate) read_only: bool,
    pub(crate) sensitive: bool,
    /// What could count, strongest first.
    pub(crate) synonyms: Vec<Synonym>,
    pub(crate) kind: i8,
    pub(crate) doc: &'static str,
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Every config of a topic.
pub(crate) fn of_topic(settings: &Settings, image: &Image, topic: &TopicName) -> Vec<ShownConfig> {
    let resource = ConfigResource::Topic(topic.clone());
    let own = image.configs(&resource).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut shown = of_new_topic(settings, image, &own);
    let mirror = image.topic(topic).and_then(|topic| topic.mirror.as_deref());
    shown.extend(mirror.into_iter().flat_map(of_mirror));
    shown
}

/// What a topic is a mirror of. For reading only, but that setting the state promotes it: tools that copy configs leave out what
/// is for reading only.
fn of_mirror(mirror: &Mirror) -> impl Iterator<Item = ShownConfig> {
    mirror.shown().into_iter().map(|(name, value)| ShownConfig {
        name: name.into(),
        value: Some(value.to_string()),
        source: DYNAMIC_TOPIC,
        read_only: true,
        sensitive: false,
        synonyms: vec![(name.into(), Some(value.into_owned()), DYNAMIC_TOPIC)],
        kind: configs::Kind::String.code(),
        doc: "What this topic is a mirror of, at the same offsets. twinstream.mirror.state can be set to promoted: then \
              the topic takes records like any other, and its link is over.",
    })
}

/// Every config of a topic that is about to be made with these.
pub(crate) fn of_new_topic(settings: &Settings, image: &Image, own: &BTreeMap<String, String>) -> Vec<ShownConfig> {
    let live = LiveSettings::new(settings, image);
    let shown = |config: &'static TopicConfig| {
        let own = own.get(config.name).cloned();
        let value = own.clone().unwrap_or_else(|| configs::inherited(config, &live));
        let own = own.map(|value| (config.name.into(), Some(value), DYNAMIC_TOPIC));
        let synonyms: Vec<Synonym> = own.into_iter().chain(twin_synonyms(settings, image, config)).collect();
        ShownConfig {
            name: config.name.into(),
            value: Some(value),
            source: synonyms.first().map_or(DEFAULT, |synonym| synonym.2),
            read_only: false,
            sensitive: false,
            synonyms,
            kind: config.kind.code(),
            doc: config.doc,
        }
    };
    TOPIC_CONFIGS.iter().map(shown).collect()
}

/// What the broker says about a topic config. Defaults of settings that only stand in for the twin are left out as long as nobody
/// set one of them, as in Kafka: `retention.ms` is not told to come from `log.retention.hours=168`.
fn twin_synonyms(settings: &Settings, image: &Image, config: &TopicConfig) -> Vec<Synonym> {
    let Some(twin) = config.twins.first().and_then(|twin| table::find(twin.name)) else { return Vec::new() };
    let found = synonyms(settings, image, settings.node.id, twin).into_iter();
    found.skip_while(|(name, _, source)| *name != twin.name && *source == DEFAULT).collect()
}

/// Every config of a group, whether or not there is one of this name.
pub(crate) fn of_group(settings: &Settings, image: &Image, group: &str) -> Vec<ShownConfig> {
    let resource = ConfigResource::Group(group.to_owned());
    let shown = |config: &'static configs::groups::GroupConfig| {
        let own = image.config(&resource, config.name).map(str::to_owned);
        let twin = config.twin.and_then(table::find);
        let default = || vec![(config.name.into(), Some(config.default.to_owned()), DEFAULT)];
        let inherited = twin.map_or_else(default, |twin| synonyms(settings, image, settings.node.id, twin));
        let own = own.map(|value| (config.name.into(), Some(value), DYNAMIC_GROUP));
        let synonyms: Vec<Synonym> = own.into_iter().chain(inherited).collect();
        let counts = synonyms.first();
        ShownConfig {
            name: config.name.into(),
            value: Some(counts.and_then(|synonym| synonym.1.clone()).unwrap_or_else(|| config.default.to_owned())),
            source: counts.map_or(DEFAULT, |synonym| synonym.2),
            read_only: false,
            sensitive: false,
            synonyms,
            kind: config.kind.code(),
            doc: config.doc,
        }
    };
    GROUP_CONFIGS.iter().map(shown).collect()
}

/// Every config of a subscription to metrics of clients, whether or not there is one of this name.
pub(crate) fn of_client_metrics(image: &Image, subscription: &str) -> Vec<ShownConfig> {
    let resource = ConfigResource::ClientMetrics(subscription.to_owned());
    let shown = |config: &'static configs::client_metrics::ClientMetricsConfig| {
        let own = image.config(&resource, config.name);
        let source = if own.is_some() { DYNAMIC_CLIENT_METRICS } else { DEFAULT };
        let synonym = |value: &str| (config.name.into(), Some(value.to_owned()), DYNAMIC_CLIENT_METRICS);
        ShownConfig {
            name: config.name.into(),
            value: Some(own.unwrap_or(config.default).to_owned()),
            source,
            read_only: false,
            sensitive: false,
            synonyms: own.map(synonym).into_iter().collect(),
            kind: config.kind.code(),
            doc: config.doc,
        }
    };
    CLIENT_METRICS_CONFIGS.iter().map(shown).collect()
}

/// Every setting of this broker.
pub(crate) fn of_broker(settings: &Settings, image: &Image, node: NodeId) -> Vec<ShownConfig> {
    table::all().map(|setting| broker_setting(settings, image, node, setting)).collect()
}

/// What was set on the default of all brokers while they run.
pub(crate) fn of_all_brokers(image: &Image) -> Vec<ShownConfig> {
    let set = image.configs(&ConfigResource::BrokerDefault);
    set.filter_map(|(name, value)| {
        let setting = table::find(name)?;
        Some(ShownConfig {
            name: setting.name.into(),
            value: Some(value.to_owned()),
            source: DYNAMIC_DEFAULT_BROKER,
            read_only: false,
            sensitive: false,
            synonyms: vec![(setting.name.into(), Some(value.to_owned()), DYNAMIC_DEFAULT_BROKER)],
            kind: kind_code(setting.kind),
            doc: setting.doc,
        })
    })
    .collect()
}

/// Settings of which the first that was given counts. Each lists itself and those behind it among its synonyms, as in Kafka.
const FAMILIES: [&[&str]; 4] = [
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];

fn broker_setting(settings: &Settings, image: &Image, node: NodeId, setting: &'static Setting) -> ShownConfig {
    let sensitive = setting.is_sensitive();
    // Kafka leaves out what counts before the setting itself.
    let found = synonyms(settings, image, node, setting).into_iter();
    let mut synonyms: Vec<Synonym> = found.skip_while(|synonym| synonym.0 != setting.name).collect();
    if sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.1 = None);
    }
    let own = synonyms.first();
    ShownConfig {
        name: setting.name.into(),
        value: own.and_then(|synonym| synonym.1.clone()),
        source: own.map_or(DEFAULT, |synonym| synonym.2),
        read_only: !is_dynamic(setting.name),
        sensitive,
        synonyms,
        kind: kind_code(setting.kind),
        doc: setting.doc,
    }
}

/// What could count for a setting, strongest first.
fn synonyms(settings: &Settings, image: &Image, node: NodeId, setting: &'static Setting) -> Vec<Synonym> {
    let alone = [setting.name];
    let names = FAMILIES.into_iter().find(|family| family.contains(&setting.name)).unwrap_or(&alone);
    let family: Vec<&'static Setting> = names.iter().filter_map(|name| table::find(name)).collect();
    let mut found = Vec::new();
    for (resource, source) in
        [(ConfigResource::Broker(node), DYNAMIC_BROKER), (ConfigResource::BrokerDefault, DYNAMIC_DEFAULT_BROKER)]
    {
        let set = family.iter().filter_map(|member| Some((member.name, image.config(&resource, member.name)?)));
        found.extend(set.map(|(name, value)| (name.into(), Some(value.to_owned()), source)));
    }
    let given = family.iter().filter(|member| settings.is_given(member.name));
    found
        .extend(given.map(|member| (member.name.into(), settings.text(member.name).map(str::to_owned), STATIC_BROKER)));
    let defaults = family.iter().filter_map(|member| Some((member.name, member.default?)));
    found.extend(defaults.map(|(name, value)| (name.into(), Some(value.to_owned()), DEFAULT)));
    found
}

/// The parts of a broker that are listed as loggers; those below them can be set, too.
const PARTS: [&str; 10] = [
    "quorum::raft",
    "twinstream_broker",
    "twinstream_broker::controller",
    "twinstream_broker::groups",
    "twinstream_broker::handlers",
    "twinstream_broker::partitions",
    "twinstream_broker::replication",
    "twinstream_broker::server",
    "twinstream_log",
    "twinstream_quorum",
];

/// The loggers of this process, with the levels that are in force.
pub(crate) fn of_loggers() -> Vec<ShownConfig> {
    let shown = |(name, level): (String, LevelFilter)| {
        let name: Cow<'static, str> = Cow::Owned(name);
        let level = Some(level.to_string().to_uppercase());
        ShownConfig {
            name: name.clone(),
            value: level.clone(),
            source: DYNAMIC_BROKER_LOGGER,
            read_only: false,
            sensitive: false,
            synonyms: vec![(name, level, DYNAMIC_BROKER_LOGGER)],
            kind: kind_code(Kind::String),
            doc: "Level of a part of this process and of all below it; root is everything that nothing else is said about.",
        }
    };
    levels::all(&PARTS).into_iter().map(shown).collect()
}

/// Kafka's number of a type in DescribeConfigs answers.
fn kind_code(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
        Kind::Class => 8,
        Kind::Password => 9,
    }
}
