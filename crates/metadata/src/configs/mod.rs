//! Configs of topics, groups and subscriptions to client metrics: which there are, what a value may be, what counts in the end.
//!
//! Picture: [`TOPIC_CONFIGS`] is one table with name, type, default, broker twin, bounds, text and fate. [`check`] holds a set of
//! values against it; [`effective`] picks the value that counts: the topic's own, else the broker's twin, else the default.
//!
//! Invariants: a name that is not in the table is refused with the nearest name that is; a value that Kafka would refuse is refused;
//! a value that would promise something harmful that we do not do (tiered storage) is refused, too.
//! Not here: broker settings, which the broker has its own table for.

pub mod client_metrics; // what subscriptions may say
pub mod groups; // what groups may say
mod names; // the nearest known name
mod table; // every topic config
mod value; // types and bounds

use std::collections::BTreeMap;

use thiserror::Error;
use twinstream_model::TopicName;

pub use self::{
    names::nearest,
    table::TOPIC_CONFIGS,
    value::{Bounds, Kind, format_list, parse_list},
};
use crate::image::{ConfigResource, Image};

/// Longest value of one config. Throttle lists of large clusters fit.
pub const CONFIG_VALUE_BYTES_MAX: usize = 256 * 1024;

/// What becomes of a config in this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does what Kafka says.
    Effect,
    /// Accepted and stored; what it asks for comes with a later release.
    NotYet,
    /// Values other than this one are refused, because accepting them would promise what is not done.
    Only(&'static str),
}

/// One topic config.
#[derive(Clone, Copy, Debug)]
pub struct TopicConfig {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// The broker settings that give topics their default, strongest first, each with the factor that turns it into our unit.
    pub twins: &'static [Twin],
    pub bounds: Bounds,
    pub fate: Fate,
    pub doc: &'static str,
}

/// A broker setting behind a topic config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twin {
    pub name: &'static str,
    /// Hours and minutes become milliseconds.
    pub factor: i64,
}

/// Why configs are refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("unknown topic config name: {name}{}", hint(.nearest))]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("null value not supported for topic config {0}")]
    Null(String),
    #[error("invalid value {value:?} for configuration {name}: value must be {allowed}")]
    Invalid { name: String, value: String, allowed: String },
    #[error("the value of {name} has {bytes} bytes, at most {CONFIG_VALUE_BYTES_MAX} are stored")]
    TooLong { name: String, bytes: usize },
    #[error("{name}={value} is not served by this release, only {only:?} is")]
    NotServed { name: String, value: String, only: &'static str },
    #[error("{low_name}={low} must not be more than {high_name}={high}")]
    OutOfOrder { low_name: &'static str, low: i64, high_name: &'static str, high: i64 },
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// The row of a topic config.
pub fn find(name: &str) -> Option<&'static TopicConfig> {
    TOPIC_CONFIGS.iter().find(|config| config.name == name)
}

/// What the settings of a broker say about a twin: its value, if somebody set it.
pub trait BrokerDefaults {
    fn given(&self, name: &str) -> Option<String>;
}

/// A broker that was given nothing.
pub struct NoBrokerDefaults;

impl BrokerDefaults for NoBrokerDefaults {
    fn given(&self, _name: &str) -> Option<String> {
        None
    }
}

/// What a topic without a value of its own gets: the strongest twin that was given, in the unit of the topic config, else the
/// default.
pub fn inherited(config: &TopicConfig, broker: &dyn BrokerDefaults) -> String {
    let mut given = config.twins.iter().filter_map(|twin| Some(scale(&broker.given(twin.name)?, twin.factor)));
    given.next().unwrap_or_else(|| config.default.to_owned())
}

/// The value that counts for a topic.
pub fn effective(image: &Image, topic: &TopicName, config: &TopicConfig, broker: &dyn BrokerDefaults) -> String {
    let own = image.config(&ConfigResource::Topic(topic.clone()), config.name);
    own.map_or_else(|| inherited(config, broker), str::to_owned)
}

/// Negative numbers mean "no limit" in every unit.
fn scale(value: &str, factor: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => number.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}

/// Checks one value that somebody wants to set; answers it in the form that is stored.
pub fn check_value(name: &str, value: Option<&str>) -> Result<String, ConfigError> {
    let config = find(name).ok_or_else(|| unknown(name))?;
    let value = value.ok_or_else(|| ConfigError::Null(name.to_owned()))?.trim();
    if value.len() > CONFIG_VALUE_BYTES_MAX {
        return Err(ConfigError::TooLong { name: name.to_owned(), bytes: value.len() });
    }
    if let Err(allowed) = value::check(config.kind, config.bounds, value) {
        return Err(ConfigError::Invalid { name: name.to_owned(), value: value.to_owned(), allowed });
    }
    match config.fate {
        Fate::Only(only) if !value.eq_ignore_ascii_case(only) => {
            Err(ConfigError::NotServed { name: name.to_owned(), value: value.to_owned(), only })
        }
        _ => Ok(value.to_owned()),
    }
}

/// The error of a name that is not in the table.
pub fn unknown(name: &str) -> ConfigError {
    let known = TOPIC_CONFIGS.iter().map(|config| config.name);
    ConfigError::Unknown { name: name.to_owned(), nearest: nearest(name, known) }
}

/// Rules between the configs of one topic, whose values have passed [`check_value`].
pub fn check_together(configs: &BTreeMap<String, String>, broker: &dyn BrokerDefaults) -> Result<(), ConfigError> {
    in_order(configs, broker, "min.compaction.lag.ms", "max.compaction.lag.ms")
}

fn in_order(
    configs: &BTreeMap<String, String>,
    broker: &dyn BrokerDefaults,
    low_name: &'static str,
    high_name: &'static str,
) -> Result<(), ConfigError> {
    let number = |name: &'static str| {
        let own = configs.get(name).cloned();
        let value = own.or_else(|| find(name).map(|config| inherited(config, broker)));
        value.and_then(|value| value.parse::<i64>().ok())
    };
    match (number(low_name), number(high_name)) {
        (Some(low), Some(high)) if low > high => Err(ConfigError::OutOfOrder { low_name, low, high_name, high }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
