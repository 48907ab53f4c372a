//! Which broker settings may change while the broker runs.
//!
//! Only those that truly take effect at once: the broker-wide defaults of topic configs, which are looked up in the image whenever a
//! topic's configs are, and the rates of throttled replication. Everything else is refused with a way out, rather than stored without effect.

use std::sync::Arc;

use twinstream_metadata::ConfigResource;
use twinstream_metadata::configs::{Fate, TOPIC_CONFIGS, TopicConfig};
use twinstream_metadata::controller::BrokerConfigs;

use crate::settings::{Settings, table};

/// The rules, from the settings table and the table of topic configs.
pub(crate) struct DynamicBrokerConfigs {
    settings: Arc<Settings>,
}

impl DynamicBrokerConfigs {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self { settings }
    }
}

/// How fast partitions that are being moved may be copied: set before a reassignment and removed after it.
const THROTTLES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];

/// Whether a broker setting takes effect when it is changed while the broker runs.
pub(crate) fn is_dynamic(name: &str) -> bool {
    THROTTLES.contains(&name) || twin_of(name).is_some()
}

/// The topic config that has this setting as its default.
fn twin_of(name: &str) -> Option<&'static TopicConfig> {
    let has_twin = |config: &&TopicConfig| config.twins.iter().any(|twin| twin.name == name);
    TOPIC_CONFIGS.iter().filter(|config| config.fate == Fate::Effect).find(has_twin)
}

impl BrokerConfigs for DynamicBrokerConfigs {
    fn check(&self, _resource: &ConfigResource, name: &str, value: &str) -> Result<String, String> {
        let Some(setting) = table::find(name) else {
            let hint = table::nearest(name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(format!("unknown broker setting {name}{hint}"));
        };
        if !is_dynamic(name) {
            return Err(format!(
                "setting {name} does not change while the broker runs; set it in the broker's settings file and restart it"
            ));
        }
        let value = value.trim();
        setting.check(value).map_err(|allowed| format!("{name}={value} is malformed; allowed is {allowed}"))?;
        Ok(value.to_owned())
    }

    fn list_default(&self, name: &str) -> Option<String> {
        let setting = table::find(name).filter(|setting| setting.kind == table::Kind::List)?;
        Some(self.settings.text(setting.name).unwrap_or("").to_owned())
    }
}
