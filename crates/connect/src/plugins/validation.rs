//! Checks of a whole connector configuration.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use twinstream_client::settings as client_settings;
use twinstream_connect_api::config::{ConfigValue, HIDDEN};
use twinstream_connect_api::{ConfigDef, Connector, PluginKind, RawConfig};
use twinstream_model::TopicName;

use super::{Plugins, definition, effective_converters, with_own_converters};
use crate::converters;
use crate::settings::Settings;

/// How long a connector may look at the outside world while it validates.
const VALIDATE_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Why a configuration cannot even be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("Connector config {{{keys}}} contains no connector type")]
    NoClass { keys: String },
    #[error(
        "Failed to find any class that implements Connector and which name matches {class}, available connectors are: {known}"
    )]
    UnknownClass { class: String, known: String },
}

/// What was found, key by key.
pub(crate) struct Validation {
    def: ConfigDef,
    values: Vec<ConfigValue>,
}

impl Validation {
    pub(crate) fn error_count(&self) -> usize {
        self.values.iter().map(|value| value.errors.len()).sum()
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = &str> {
        self.values.iter().flat_map(|value| &value.errors).map(String::as_str)
    }

    /// The text of a refusal, in the shape that Connect's tools show.
    pub(crate) fn refusal(&self) -> String {
        let mut text =
            format!("Connector configuration is invalid and contains the following {} error(s):", self.error_count());
        for error in self.errors() {
            text.push('\n');
            text.push_str(error);
        }
        text.push_str(
            "\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`",
        );
        text
    }

    /// The answer of the validate endpoint.
    pub(crate) fn to_json(&self, name: &str) -> Json {
        let config = |value: &ConfigValue| {
            let definition = self.def.get(&value.name).map(|key| self.def.key_json(key));
            json!({"definition": definition, "value": value.to_json()})
        };
        json!({
            "name": name,
            "error_count": self.error_count(),
            "groups": self.def.groups(),
            "configs": self.values.iter().map(config).collect::<Vec<_>>(),
        })
    }

    /// Adds messages to keys, appending keys that are not there yet.
    fn add(&mut self, config: &RawConfig, messages: impl IntoIterator<Item = (String, String)>) {
        for (name, message) in messages {
            match self.values.iter_mut().find(|value| value.name == name) {
                Some(value) => value.errors.push(message),
                None => {
                    let given = config.get(&name).cloned();
                    let value = if self.def.is_secret(&name) { given.map(|_| HIDDEN.to_owned()) } else { given };
                    let (recommended, errors) = (Vec::new(), vec![message]);
                    self.values.push(ConfigValue { name, value, recommended, errors, visible: true });
                }
            }
        }
    }
}

/// Validates a connector's configuration; the connector itself is asked only when everything else is in order.
pub(crate) async fn validate(
    plugins: &Plugins,
    settings: &Settings,
    config: &RawConfig,
) -> Result<Validation, Invalid> {
    let Some(class) = config.get("connector.class") else {
        let keys: Vec<String> = config.keys().map(|k| format!("{k}=..")).collect();
        return Err(Invalid::NoClass { keys: keys.join(", ") });
    };
    let Some(plugin) = plugins.find(class) else {
        let known: Vec<&str> = plugins.iter().map(|plugin| plugin.class.as_str()).collect();
        return Err(Invalid::UnknownClass { class: class.clone(), known: known.join(", ") });
    };
    let def = definition(settings, plugin);
    let mut validation = Validation { values: def.validate(&trimmed_lists(config)), def };
    let mut found = check_not_yet_families(config);
    found.extend(check_converters(settings, &with_own_converters(plugin, config)));
    found.extend(check_overrides(config));
    found.extend(check_client_settings(settings, config));
    if plugin.kind() == PluginKind::Sink {
        found.extend(check_topics(config));
    } else {
        found.extend(check_exactly_once(settings, &*plugin.make_connector(), config));
    }
    // A key that a later check explains better is not also called unknown.
    for (name, _) in &found {
        if let Some(value) = validation.values.iter_mut().find(|value| value.name == *name) {
            value.errors.retain(|error| !error.starts_with("Unknown configuration"));
        }
    }
    validation.add(config, found);
    if validation.error_count() == 0 {
        let connector = plugin.make_connector();
        let messages = match tokio::time::timeout(VALIDATE_WITHIN, connector.validate(config)).await {
            Ok(messages) => messages,
            Err(_) => {
                let late = format!("the connector did not finish its checks within {} s", VALIDATE_WITHIN.as_secs());
                BTreeMap::from([("connector.class".to_owned(), vec![late])])
            }
        };
        let each = messages.into_iter().flat_map(|(key, texts)| texts.into_iter().map(move |t| (key.clone(), t)));
        validation.add(config, each);
    }
    Ok(validation)
}

/// A list given as " a , b " is the same list.
fn trimmed_lists(config: &RawConfig) -> RawConfig {
    config.iter().map(|(k, v)| (k.clone(), v.trim().to_owned())).collect()
}

/// Keys of parts that this release does not have: `transforms.x.type` and the like.
fn check_not_yet_families(config: &RawConfig) -> Vec<(String, String)> {
    const FAMILIES: [(&str, &str); 3] = [
        ("transforms.", "transformations are not built in, leave the key out"),
        ("predicates.", "predicates are not built in, leave the key out"),
        ("topic.creation.", "create the topics beforehand, or let the brokers create them"),
    ];
    let mut found = Vec::new();
    for name in config.keys().filter(|name| *name != "topic.creation.groups") {
        if let Some((_, hint)) = FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)) {
            found.push((name.clone(), format!("Configuration '{name}' is not supported in this release: {hint}")));
        }
    }
    for (name, value) in config {
        if has_provider_reference(value) {
            let text = "references to config providers are not supported in this release, write the value itself";
            found.push((name.clone(), format!("Configuration '{name}': {text}")));
        }
    }
    found
}

/// `${provider:key}` or `${provider:path:key}`; other uses of `${` belong to the connector.
fn has_provider_reference(value: &str) -> bool {
    value.split("${").skip(1).any(|rest| rest.split_once('}').is_some_and(|(inner, _)| inner.contains(':')))
}

fn check_converters(settings: &Settings, config: &RawConfig) -> Vec<(String, String)> {
    converters::check(&effective_converters(settings, config))
}

fn check_overrides(config: &RawConfig) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in config {
        let inner = ["producer.override.", "consumer.override.", "admin.override."];
        let Some(inner) = inner.iter().find_map(|prefix| name.strip_prefix(prefix)) else { continue };
        if let Err(error) = client_settings::check(inner, value) {
            found.push((name.clone(), format!("Invalid configuration {name}: {error}")));
        }
    }
    found
}

/// Each client must be possible as a whole, too.
fn check_client_settings(settings: &Settings, config: &RawConfig) -> Vec<(String, String)> {
    use crate::settings::Role;
    let mut found = Vec::new();
    for (role, prefix) in [
        (Role::Producer, "producer.override."),
        (Role::Consumer, "consumer.override."),
        (Role::Admin, "admin.override."),
    ] {
        let valid = |(k, v): (&'_ String, &'_ String)| {
            let inner = k.strip_prefix(prefix)?;
            client_settings::check(inner, v).is_ok().then(|| (inner.to_owned(), v.clone()))
        };
        let overrides: Vec<(String, String)> = config.iter().filter_map(valid).collect();
        if overrides.is_empty() {
            continue;
        }
        if let Err(error) = settings.client(role, overrides.iter().map(|(k, v)| (k.as_str(), v.as_str()))) {
            found.push((format!("{prefix}{}", overrides[0].0), error.to_string()));
        }
    }
    found
}

fn check_exactly_once(settings: &Settings, connector: &dyn Connector, config: &RawConfig) -> Vec<(String, String)> {
    let is_required =
        config.get("exactly.once.support").is_some_and(|wish| wish.trim().eq_ignore_ascii_case("required"));
    let mut found = Vec::new();
    let mut say = |name: &str, text: String| found.push((name.to_owned(), text));
    if is_required && !settings.is_exactly_once() {
        let text = "Configuration 'exactly.once.support': this worker has no exactly-once sources: set exactly.once.source.support=enabled in its settings";
        say("exactly.once.support", text.to_owned());
    } else if is_required && let Err(reason) = connector.exactly_once_support(config) {
        say("exactly.once.support", reason);
    }
    let name = "transaction.boundary.interval.ms";
    if let Some(text) = config.get(name) {
        let is_sound = text.trim().parse::<i64>().is_ok_and(|ms| (1..=450_000).contains(&ms));
        if !is_sound {
            say(
                name,
                format!(
                    "Invalid value {text} for configuration {name}: use 1 to 450000, half of what brokers allow a transaction"
                ),
            );
        }
    }
    if settings.is_exactly_once() {
        let name = "producer.override.bootstrap.servers";
        if config.get(name).is_some_and(|own| Some(own.trim()) != settings.producer_servers()) {
            say(name, "exactly-once sources write to the cluster of their worker: run the connector on a worker of that cluster".to_owned());
        }
        for (name, bad) in [("producer.override.enable.idempotence", "false"), ("producer.override.acks", "1")] {
            if config.get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(bad)) {
                say(name, "transactions need enable.idempotence=true and acks=all".to_owned());
            }
        }
    }
    found
}

fn check_topics(config: &RawConfig) -> Vec<(String, String)> {
    let given = |name: &str| config.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let mut found = Vec::new();
    match (given("topics"), given("topics.regex")) {
        (Some(_), Some(_)) => found.push((
            "topics".to_owned(),
            "topics and topics.regex are mutually exclusive options, but both are set.".to_owned(),
        )),
        (None, None) => {
            found.push(("topics".to_owned(), "Must configure one of topics or topics.regex".to_owned()));
        }
        _ => {}
    }
    let dead_letters = given("errors.deadletterqueue.topic.name");
    for topic in given("topics").into_iter().flat_map(|list| list.split(',')).map(str::trim) {
        if let Err(error) = TopicName::parse(topic) {
            found.push(("topics".to_owned(), format!("Invalid value {topic} for configuration topics: {error}")));
        }
        if dead_letters == Some(topic) {
            let name = "errors.deadletterqueue.topic.name";
            found.push((
                name.to_owned(),
                format!("The DLQ topic '{topic}' may not be included in the list of topics (\"topics\") consumed by the connector"),
            ));
        }
    }
    if let Some(Err(error)) = dead_letters.map(TopicName::parse) {
        let name = "errors.deadletterqueue.topic.name";
        found.push((name.to_owned(), format!("Invalid value for configuration {name}: {error}")));
    }
    found
}
