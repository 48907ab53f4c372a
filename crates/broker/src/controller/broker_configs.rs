//! Which broker settings may change while the broker runs.
//!
//! Only those that truly take effect at once: the broker-wide defaults of topic configs, which are looked up in the image whenever a
//! topic's configs are, and those that the table marks. Everything else is refused with a way out, rather than stored without effect.

use twinstream_metadata::ConfigResource;
use twinstream_metadata::configs::{self, TOPIC_CONFIGS, TopicConfig};
use twinstream_metadata::controller::BrokerConfigs;

use crate::settings::table::Fate;
use crate::settings::{live, table};

/// The rules, from the settings table and the table of topic configs. They are the same on every node, for it is the controller
/// that decides about all brokers; what one broker alone can tell it has checked before it sent the request on.
pub(crate) struct DynamicBrokerConfigs;

/// Whether a broker setting takes effect when it is changed while the broker runs.
pub(crate) fn is_dynamic(name: &str) -> bool {
    let is_marked = table::find(name).is_some_and(|setting| setting.at_run_time);
    is_marked || is_twin(name)
}

/// Whether a topic config has this setting as its default. Those that stand in for it, like `log.retention.hours`, are read at
/// the start, as in Kafka.
fn is_twin(name: &str) -> bool {
    let has_twin = |config: &TopicConfig| config.twins.first().is_some_and(|twin| twin.name == name);
    TOPIC_CONFIGS.iter().filter(|config| config.fate == configs::Fate::Effect).any(has_twin)
}

impl BrokerConfigs for DynamicBrokerConfigs {
    fn check(&self, _resource: &ConfigResource, name: &str, value: &str) -> Result<String, String> {
        let Some(setting) = table::find(name) else {
            let hint = table::nearest(name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(format!("unknown broker setting {name}{hint}"));
        };
        if !is_dynamic(name) {
            return Err(match setting.fate {
                Fate::NoSuchPart => format!("setting {name} has nothing to change: {}", setting.doc),
                _ => format!(
                    "setting {name} does not change while the broker runs; set it in the broker's settings file and restart it"
                ),
            });
        }
        let value = value.trim();
        let malformed = |allowed| format!("{name}={value} is malformed; allowed is {allowed}");
        setting.check(value).map_err(malformed)?;
        live::check(name, value).map_err(malformed)?;
        Ok(value.to_owned())
    }

    fn list_default(&self, name: &str) -> Option<String> {
        let setting = table::find(name).filter(|setting| setting.kind == table::Kind::List)?;
        Some(setting.default.unwrap_or("").to_owned())
    }
}
