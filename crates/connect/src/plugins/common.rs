//! Kafka Connect's common keys of connectors, each with its fate here.

use twinstream_connect_api::{
    ConfigDef, ConfigKey, ConfigType, Fate, Importance, Plugin, PluginKind, RawConfig, Validator, Width,
};

use crate::converters;
use crate::settings::Settings;

const COMMON: &str = "Common";
const ERRORS: &str = "Error Handling";
const TOPIC_CREATION: &str = "Topic Creation";
const EXACTLY_ONCE: &str = "Exactly Once Support";

use ConfigType::{Boolean, Class, Int, List, Long, Short, String as Text};
use Importance::{High, Low, Medium};

/// All keys of a plugin: the common ones first, as Kafka lists them.
pub(crate) fn definition(settings: &Settings, plugin: &Plugin) -> ConfigDef {
    with_converters(&settings.converter_defaults(), plugin)
}

/// All keys of a plugin, without the defaults that a worker gives.
pub fn connector_keys(plugin: &Plugin) -> ConfigDef {
    with_converters(&RawConfig::new(), plugin)
}

fn with_converters(defaults: &RawConfig, plugin: &Plugin) -> ConfigDef {
    let common = common_keys(defaults, plugin);
    let common = match plugin.kind() {
        PluginKind::Source => source_keys(common),
        PluginKind::Sink => sink_keys(common),
    };
    let overrides = ["producer.override.", "consumer.override.", "admin.override."];
    let converters = ["key.converter.", "value.converter.", "header.converter."];
    let families = overrides.into_iter().chain(converters);
    // Settings under these prefixes are checked by those who understand them, see `validation`.
    families.fold(common.and(&plugin.config_def), ConfigDef::family)
}

fn key(name: &str, kind: ConfigType, default: &str, importance: Importance, doc: &str) -> ConfigKey {
    ConfigKey::with_default(name, kind, default, importance, doc)
}

fn common_keys(defaults: &RawConfig, plugin: &Plugin) -> ConfigDef {
    let common = |key: ConfigKey, order: i64, width: Width, display: &str| {
        key.group(COMMON).order(order).width(width).display_name(display)
    };
    let converter = |name: &str, doc: &str| {
        let default = defaults.get(name).map_or("", String::as_str);
        key(name, Class, default, Low, doc)
    };
    let classes: Vec<&str> = converters::classes().collect();
    let version = |name: &str, doc: &str| key(name, Text, &plugin.version, Medium, doc).recommended(&[&plugin.version]);
    let own_version = env!("CARGO_PKG_VERSION");
    let converter_version = |name: &str| {
        let fate = Fate::NotYet("there is one version of each converter, leave the key out");
        key(name, Text, own_version, Low, "Version of the converter.").recommended(&[own_version]).fate(fate)
    };
    let not_yet_transforms = Fate::NotYet("transformations are not built in, leave the key out");
    let not_yet_predicates = Fate::NotYet("predicates are not built in, leave the key out");
    let name = ConfigKey::required("name", Text, High, "Globally unique name to use for this connector.");
    let name = name.check(Validator::Check(std::sync::Arc::new(check_name)));
    let class = ConfigKey::required(
        "connector.class",
        Text,
        High,
        "Class of the connector: its full name, the last part of it, or that without \"Connector\".",
    );
    ConfigDef::new()
        .define(common(name, 1, Width::Medium, "Connector name"))
        .define(common(class, 2, Width::Long, "Connector class"))
        .define(common(
            version("connector.plugin.version", "Version of the connector.")
                .fate(Fate::NotYet("there is one version of each connector, leave the key out")),
            3,
            Width::Medium,
            "Connector version",
        ))
        .define(common(
            key("tasks.max", Int, "1", High, "Maximum number of tasks to use for this connector.")
                .check(Validator::AtLeast(1)),
            4,
            Width::Short,
            "Tasks max",
        ))
        .define(common(
            key("tasks.max.enforce", Boolean, "true", Low, "Whether more tasks than tasks.max are an error.")
                .fate(Fate::NotYet("tasks.max is always enforced")),
            5,
            Width::Short,
            "Enforce tasks max",
        ))
        .define(common(
            converter("key.converter", "Converter of record keys.").recommended(&classes),
            6,
            Width::Short,
            "Key converter class",
        ))
        .define(common(converter_version("key.converter.plugin.version"), 7, Width::Short, "Key converter version"))
        .define(common(
            converter("value.converter", "Converter of record values.").recommended(&classes),
            8,
            Width::Short,
            "Value converter class",
        ))
        .define(common(converter_version("value.converter.plugin.version"), 9, Width::Short, "Value converter version"))
        .define(common(
            converter("header.converter", "Converter of header values.").recommended(converters::header::CLASSES),
            10,
            Width::Short,
            "Header converter class",
        ))
        .define(common(
            converter_version("header.converter.plugin.version"),
            11,
            Width::Short,
            "Header converter version",
        ))
        .define(
            key("transforms", List, "", Low, "Aliases for the transformations to be applied to records.")
                .group("Transforms")
                .order(12)
                .width(Width::Long)
                .display_name("Transforms")
                .fate(not_yet_transforms),
        )
        .define(
            key("predicates", List, "", Low, "Aliases for the predicates used by transformations.")
                .group("Predicates")
                .order(13)
                .width(Width::Long)
                .display_name("Predicates")
                .fate(not_yet_predicates),
        )
        .define(common(
            key("config.action.reload", Text, "restart", Low, "What to do when external configuration changes.")
                .check(Validator::OneOf(&["none", "restart"]))
                .fate(Fate::NoSuchPart("there are no config providers whose values could change")),
            14,
            Width::Medium,
            "Reload Action",
        ))
        .define(errors(
            key(
                "errors.retry.timeout",
                Long,
                "0",
                Medium,
                "How long a failed conversion is tried again, in ms; -1 without end.",
            )
            .check(Validator::AtLeast(-1)),
            1,
            Width::Medium,
            "Retry Timeout for Errors",
        ))
        .define(errors(
            key("errors.retry.delay.max.ms", Long, "60000", Medium, "Longest pause between two tries, in ms.")
                .check(Validator::AtLeast(0)),
            2,
            Width::Medium,
            "Maximum Delay Between Retries for Errors",
        ))
        .define(errors(
            key(
                "errors.tolerance",
                Text,
                "none",
                Medium,
                "'none' fails the task at a bad record, 'all' leaves such records out.",
            )
            .check(Validator::OneOf(&["none", "all"])),
            3,
            Width::Short,
            "Error Tolerance",
        ))
        .define(errors(
            key("errors.log.enable", Boolean, "false", Medium, "Whether each bad record is logged."),
            4,
            Width::Short,
            "Log Errors",
        ))
        .define(errors(
            key(
                "errors.log.include.messages",
                Boolean,
                "false",
                Medium,
                "Whether the log names topic, partition and offset.",
            ),
            5,
            Width::Short,
            "Log Error Details",
        ))
}

fn errors(key: ConfigKey, order: i64, width: Width, display: &str) -> ConfigKey {
    key.group(ERRORS).order(order).width(width).display_name(display)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("String may not be empty".to_owned());
    }
    match name.chars().find(|c| c.is_control()) {
        Some(control) => Err(format!(
            "String may not contain control sequences but had the following ASCII chars: {}",
            control as u32
        )),
        None => Ok(()),
    }
}

fn sink_keys(def: ConfigDef) -> ConfigDef {
    def.define(
        key("topics", List, "", High, "Topics to consume, separated by commas.")
            .group(COMMON)
            .order(4)
            .width(Width::Long)
            .display_name("Topics"),
    )
    .define(
        key("topics.regex", Text, "", High, "Regular expression that matches the names of the topics to consume.")
            .group(COMMON)
            .order(4)
            .width(Width::Long)
            .display_name("Topics regex"),
    )
    .define(errors(
        key("errors.deadletterqueue.topic.name", Text, "", Medium, "Topic for records that could not be processed."),
        6,
        Width::Medium,
        "Dead Letter Queue Topic Name",
    ))
    .define(errors(
        key(
            "errors.deadletterqueue.topic.replication.factor",
            Short,
            "3",
            Medium,
            "Replicas of that topic when it is created here.",
        ),
        7,
        Width::Medium,
        "Dead Letter Queue Topic Replication Factor",
    ))
    .define(errors(
        key(
            "errors.deadletterqueue.context.headers.enable",
            Boolean,
            "false",
            Medium,
            "Whether records in that topic carry headers about the error.",
        ),
        8,
        Width::Medium,
        "Enable Error Context Headers",
    ))
}

fn source_keys(def: ConfigDef) -> ConfigDef {
    let no_groups = Fate::NotYet("leave the key out and create the topics beforehand, or let the brokers create them");
    def.define(
        key("topic.creation.groups", List, "", Low, "Groups of settings for topics that the connector creates.")
            .group(TOPIC_CREATION)
            .order(1)
            .width(Width::Long)
            .display_name("Topic Creation Groups")
            .fate(no_groups),
    )
    .define(
        key("exactly.once.support", Text, "requested", Medium, "Whether exactly-once delivery is required.")
            .check(Validator::OneOf(&["requested", "required"]))
            .group(EXACTLY_ONCE)
            .order(1)
            .width(Width::Short)
            .display_name("Exactly once support"),
    )
    .define(
        key("transaction.boundary", Text, "poll", Medium, "Where transactions of a source end.")
            .check(Validator::OneOf(&["poll", "interval"]))
            .group(EXACTLY_ONCE)
            .order(2)
            .width(Width::Short)
            .display_name("Transaction Boundary"),
    )
    .define(
        ConfigKey::optional("transaction.boundary.interval.ms", Long, Low, "Pause between ends of transactions.")
            .group(EXACTLY_ONCE)
            .order(3)
            .width(Width::Short)
            .display_name("Transaction boundary interval"),
    )
    .define(
        ConfigKey::optional("offsets.storage.topic", Text, Low, "A topic for the offsets of this connector alone.")
            .group(COMMON)
            .order(1)
            .width(Width::Medium)
            .display_name("Offsets topic")
            .fate(Fate::NotYet("offsets are kept in the worker's topic, leave the key out")),
    )
}
