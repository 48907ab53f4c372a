//! The broker's settings with what was altered while it runs on top.
//!
//! Picture: a topic config asks for its broker twin, a part of the broker for one of the settings that may change at run
//! time. The answer is, strongest first, what was set on this broker, what was set on the default of all brokers, what
//! the settings file says, the default (KIP-226).
//!
//! Invariants: values were checked when they were set; one that an older release stored and that no longer fits counts
//! as not set.

use twinstream_metadata::configs::BrokerDefaults;
use twinstream_metadata::{ConfigResource, Image};
use twinstream_model::NodeId;

use super::connections::{self, ConnectionBounds};
use super::{Settings, table};

pub(crate) const CORDONED: &str = "cordoned.log.dirs";
/// Instead of a list of directories.
const ALL_DIRS: &str = "*";

/// The settings of this broker as they are with an image.
pub(crate) struct LiveSettings<'a> {
    settings: &'a Settings,
    image: &'a Image,
}

impl<'a> LiveSettings<'a> {
    pub(crate) fn new(settings: &'a Settings, image: &'a Image) -> Self {
        Self { settings, image }
    }

    /// Whether what was altered on this broker or on all brokers differs between two images.
    pub(crate) fn differ(before: &Image, after: &Image, node: NodeId) -> bool {
        let resources = [ConfigResource::Broker(node), ConfigResource::BrokerDefault];
        resources.iter().any(|resource| !before.configs(resource).eq(after.configs(resource)))
    }

    /// The number that counts at the moment; `or` is what the settings said at the start.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, name: &str, or: T) -> T {
        let number = self.altered(name).and_then(|text| text.trim().parse::<i64>().ok());
        number.and_then(|number| T::try_from(number).ok()).unwrap_or(or)
    }

    /// As [`LiveSettings::integer`], for settings with a fraction.
    pub(crate) fn double(&self, name: &str, or: f64) -> f64 {
        self.altered(name).and_then(|text| text.trim().parse().ok()).unwrap_or(or)
    }

    /// As [`LiveSettings::integer`], for settings that are true or false.
    pub(crate) fn flag(&self, name: &str, or: bool) -> bool {
        self.altered(name).and_then(|text| text.trim().to_ascii_lowercase().parse().ok()).unwrap_or(or)
    }

    pub(crate) fn connection_bounds(&self) -> ConnectionBounds {
        let start = &self.settings.network.connections;
        let overrides = self.altered(connections::OVERRIDES).and_then(|text| connections::parse_overrides(text).ok());
        ConnectionBounds {
            max: self.integer(connections::MAX, start.max),
            per_ip_max: self.integer(connections::PER_IP, start.per_ip_max),
            per_ip_overrides: overrides.unwrap_or_else(|| start.per_ip_overrides.clone()),
            rate_max: self.integer(connections::RATE, start.rate_max),
        }
    }

    /// What is named there and is no log directory of this broker.
    pub(crate) fn strange_cordons(&self) -> Vec<&str> {
        strangers(self.settings, self.cordoned())
    }

    fn cordoned(&self) -> &str {
        self.altered(CORDONED).or_else(|| self.settings.text(CORDONED)).unwrap_or("")
    }

    /// Which of the log directories, in the order of `log.dirs`, get no new partitions (KIP-1066).
    pub(crate) fn cordoned_dirs(&self) -> Vec<bool> {
        let named = items(self.cordoned());
        let is_cordoned = |dir: &std::path::PathBuf| {
            named.iter().any(|name| *name == ALL_DIRS || std::path::Path::new(name) == dir.as_path())
        };
        self.settings.log.dirs.iter().map(is_cordoned).collect()
    }

    /// What was set while the broker runs, if it still fits.
    fn altered(&self, name: &str) -> Option<&'a str> {
        let resources = [ConfigResource::Broker(self.settings.node.id), ConfigResource::BrokerDefault];
        let mut texts = resources.iter().filter_map(|resource| self.image.config(resource, name));
        texts.find(|text| table::find(name).is_some_and(|setting| setting.check(text).is_ok()))
    }
}

fn items(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// What a value of `cordoned.log.dirs` names that is no log directory of this broker.
pub(crate) fn strangers<'t>(settings: &Settings, value: &'t str) -> Vec<&'t str> {
    let dirs: Vec<String> = settings.log.dirs.iter().map(|dir| dir.display().to_string()).collect();
    strange_cordons(value, &dirs)
}

/// The items of `cordoned.log.dirs` that are none of these directories.
pub(super) fn strange_cordons<'t>(text: &'t str, dirs: &[String]) -> Vec<&'t str> {
    let is_strange = |item: &&str| *item != ALL_DIRS && !dirs.iter().any(|dir| dir == item);
    items(text).into_iter().filter(is_strange).collect()
}

/// Checks a value that somebody wants to set at run time beyond what the table says. The error says what is allowed.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    match name {
        connections::OVERRIDES => connections::parse_overrides(value).map(|_| ()).map_err(str::to_owned),
        _ => Ok(()),
    }
}

impl BrokerDefaults for LiveSettings<'_> {
    fn given(&self, name: &str) -> Option<String> {
        let resources = [ConfigResource::Broker(self.settings.node.id), ConfigResource::BrokerDefault];
        let altered = resources.iter().find_map(|resource| self.image.config(resource, name));
        let given = || self.settings.text(name).filter(|_| self.settings.is_given(name));
        altered.or_else(given).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
