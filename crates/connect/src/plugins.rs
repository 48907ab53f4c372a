//! The plugins that the worker was given, and the configuration keys that every connector has.
//!
//! Validation of a connector's configuration comes together here: the common keys, the plugin's own, the settings of its
//! converters, the overrides of its clients. What none of them knows is an error that names the nearest known key.

mod common;
mod validation;

use std::borrow::Cow;
use std::sync::Arc;

use twinstream_connect_api::{Plugin, PluginKind, RawConfig, TaskError};

use crate::converters::{Converter, HeaderConverter, Part};
use crate::settings::Settings;

pub use common::connector_keys;
pub(crate) use common::definition;
pub(crate) use validation::{Invalid, validate};

/// What a worker of these settings would say against a connector's configuration; nothing is stored or started.
pub async fn check_connector(settings: &Settings, plugins: &[Plugin], config: &RawConfig) -> Vec<String> {
    match validate(&Plugins::new(plugins.to_vec()), settings, config).await {
        Ok(validation) => validation.errors().map(str::to_owned).collect(),
        Err(invalid) => vec![invalid.to_string()],
    }
}

/// All connectors that can run here. Clones share the list.
#[derive(Clone)]
pub(crate) struct Plugins {
    list: Arc<Vec<Plugin>>,
}

impl Plugins {
    pub(crate) fn new(mut list: Vec<Plugin>) -> Self {
        list.sort_by(|a, b| a.class.cmp(&b.class));
        Self { list: Arc::new(list) }
    }

    pub(crate) fn find(&self, class: &str) -> Option<&Plugin> {
        self.list.iter().find(|plugin| plugin.answers_to(class.trim()))
    }

    /// The plugin of a connector's configuration.
    pub(crate) fn of(&self, config: &RawConfig) -> Option<&Plugin> {
        self.find(config.get("connector.class")?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Plugin> {
        self.list.iter()
    }

    /// `source`, `sink`, or `unknown` for a class that this binary does not have.
    pub(crate) fn kind_name(&self, config: &RawConfig) -> &'static str {
        self.of(config).map_or("unknown", |plugin| plugin.kind().name())
    }
}

/// The connector's configuration with the worker's converters where it names none itself.
///
/// The settings of a converter go with its class: a connector that names a class gets none of the worker's settings for it.
pub(crate) fn effective_converters(settings: &Settings, connector: &RawConfig) -> RawConfig {
    let mut effective = connector.clone();
    for (name, value) in settings.converter_defaults() {
        let owner = ["key.converter", "value.converter", "header.converter"].into_iter().find(|o| name.starts_with(o));
        if owner.is_some_and(|owner| !connector.contains_key(owner)) {
            effective.entry(name).or_insert(value);
        }
    }
    effective
}

/// The converter of plugins whose records are bytes of their own.
const BYTES_CONVERTER: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";

/// A connector's configuration with the converters that its plugin wants where it names none.
pub(crate) fn with_own_converters<'c>(plugin: &Plugin, connector: &'c RawConfig) -> Cow<'c, RawConfig> {
    if !plugin.bytes_only {
        return Cow::Borrowed(connector);
    }
    let mut own = connector.clone();
    for name in ["key.converter", "value.converter"] {
        own.entry(name.to_owned()).or_insert_with(|| BYTES_CONVERTER.to_owned());
    }
    Cow::Owned(own)
}

/// The converters of a task, with the configuration that they were made from.
pub(crate) fn task_converters(
    settings: &Settings,
    connector: &RawConfig,
) -> Result<(RawConfig, Converter, Converter, HeaderConverter), TaskError> {
    let effective = effective_converters(settings, connector);
    let make = |part| Converter::from_config(part, &effective).map_err(|(_, message)| TaskError::fatal(message));
    let (key, value) = (make(Part::Key)?, make(Part::Value)?);
    let class = effective.get("header.converter").map_or("", String::as_str);
    let header = HeaderConverter::of_class(class);
    let header =
        header.ok_or_else(|| TaskError::fatal(format!("no header converter of the name {class} is built in")))?;
    Ok((effective, key, value, header))
}

/// The configuration that a task gets: the connector's answer, with what the worker adds.
pub(crate) fn task_config(plugin: &Plugin, connector: &RawConfig, mut task: RawConfig) -> RawConfig {
    let class = plugin.class.strip_suffix("Connector").unwrap_or(&plugin.class);
    task.insert("task.class".to_owned(), format!("{class}Task"));
    if plugin.kind() == PluginKind::Sink {
        for name in ["topics", "topics.regex"] {
            if let Some(value) = connector.get(name) {
                task.insert(name.to_owned(), value.clone());
            }
        }
    }
    task
}

#[cfg(test)]
mod tests;
