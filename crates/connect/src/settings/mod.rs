//! Worker settings: Kafka's names from a `worker.properties` file.
//!
//! One table ([`table::SETTINGS`]) gives each name its type, default and fate. A name outside the table is refused with the
//! nearest known one, except client settings: everything that the Kafka client accepts may stand here plain, or behind
//! `producer.`, `consumer.`, `admin.`, and settings of a converter behind its converter's name.

pub(crate) mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use twinstream_client::ClientSettings;
use twinstream_connect_api::config::nearest;
use twinstream_connect_api::{Config, ConfigDef, RawConfig};

use crate::converters;
use crate::worker::WorkerError;
use table::{Fate, SETTINGS};

/// Settings that passed every check.
#[derive(Clone)]
pub struct Settings {
    raw: RawConfig,
    values: Config,
}

/// Prefixes of settings that belong to the worker's clients.
pub(crate) const CLIENT_PREFIXES: [&str; 3] = ["producer.", "consumer.", "admin."];
/// Prefixes of settings that belong to the default converters.
const CONVERTER_PREFIXES: [&str; 3] = ["key.converter.", "value.converter.", "header.converter."];

/// Which client of the worker settings are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
    Admin,
}

impl Role {
    fn prefix(self) -> &'static str {
        match self {
            Self::Producer => "producer.",
            Self::Consumer => "consumer.",
            Self::Admin => "admin.",
        }
    }
}

impl Settings {
    /// Reads a properties file and lays `overrides` over it.
    pub fn load(path: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, WorkerError> {
        let mut raw = RawConfig::new();
        if let Some(path) = path {
            let failed = |reason: String| WorkerError::ConfigFile { path: path.to_owned(), reason };
            let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
            let read = java_properties::read(std::io::BufReader::new(file)).map_err(|e| failed(e.to_string()))?;
            raw.extend(read);
        }
        raw.extend(overrides.iter().cloned());
        Self::from_map(raw)
    }

    /// Checks names and values; the error lists everything that is wrong at once.
    pub fn from_map(raw: RawConfig) -> Result<Self, WorkerError> {
        let mut problems: Vec<String> = raw.iter().filter_map(|(name, value)| check(name, value)).collect();
        match definition().parse(&raw) {
            Ok(values) if problems.is_empty() => {
                let settings = Self { raw, values };
                settings.cross_checks()?;
                Ok(settings)
            }
            Ok(_) => Err(WorkerError::Settings { problems }),
            Err(error) => {
                problems.extend(error.messages);
                Err(WorkerError::Settings { problems })
            }
        }
    }

    fn cross_checks(&self) -> Result<(), WorkerError> {
        let mut problems = Vec::new();
        let (session, heartbeat) = (self.session_timeout(), self.heartbeat_interval());
        if heartbeat >= session {
            problems.push("heartbeat.interval.ms must be lower than session.timeout.ms".to_owned());
        }
        let support = self.string("exactly.once.source.support").trim().to_ascii_lowercase();
        if !["disabled", "preparing", "enabled"].contains(&support.as_str()) {
            problems.push(format!("exactly.once.source.support: '{support}': use disabled, preparing or enabled"));
        }
        let topics = ["config.storage.topic", "offset.storage.topic", "status.storage.topic"];
        for (i, a) in topics.iter().enumerate() {
            for b in &topics[i + 1..] {
                if self.string(a) == self.string(b) {
                    problems.push(format!("{a} and {b} name the same topic: give each its own"));
                }
            }
        }
        for role in [Role::Producer, Role::Consumer, Role::Admin] {
            if let Err(error) = self.client(role, [].into_iter()) {
                problems.push(error.to_string());
            }
        }
        // A setting that all three share is wrong once.
        problems.dedup();
        problems.extend(converters::check(&self.converter_defaults()).into_iter().map(|(_, problem)| problem));
        if let Err(problem) = self.listener() {
            problems.push(problem);
        }
        if problems.is_empty() { Ok(()) } else { Err(WorkerError::Settings { problems }) }
    }

    /// Logs what is accepted without effect, once at the start.
    pub(crate) fn log_without_effect(&self) {
        for (name, reason) in self.without_effect() {
            tracing::info!(setting = name, reason, "setting has no effect");
        }
    }

    /// Given settings that do nothing here, with the reason.
    pub(crate) fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        SETTINGS.iter().filter_map(|row| match row.fate {
            Fate::NoSuchPart(reason) if self.raw.contains_key(row.name) => Some((row.name, reason)),
            _ => None,
        })
    }

    pub(crate) fn string(&self, name: &str) -> &str {
        self.values.string(name)
    }

    pub(crate) fn int(&self, name: &str) -> i64 {
        self.values.int(name)
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        self.values.bool(name)
    }

    pub(crate) fn millis(&self, name: &str) -> Duration {
        self.values.millis(name)
    }

    pub(crate) fn group_id(&self) -> &str {
        self.string("group.id")
    }

    pub(crate) fn session_timeout(&self) -> Duration {
        self.millis("session.timeout.ms")
    }

    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.millis("heartbeat.interval.ms")
    }

    /// The converters that a connector without its own uses: class and settings under their names.
    pub(crate) fn converter_defaults(&self) -> RawConfig {
        let names = ["key.converter", "value.converter", "header.converter"];
        let is_one = |name: &str| names.contains(&name) || CONVERTER_PREFIXES.iter().any(|p| name.starts_with(p));
        let mut all: RawConfig =
            self.raw.iter().filter(|(k, _)| is_one(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        all.entry("header.converter".to_owned()).or_insert_with(|| self.string("header.converter").to_owned());
        all
    }

    /// Client settings: the worker's common ones, those of the role, then the connector's overrides.
    pub(crate) fn client<'a>(
        &'a self,
        role: Role,
        overrides: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<ClientSettings, twinstream_client::SettingsError> {
        let mut map: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in &self.raw {
            if is_common_client_setting(name) {
                map.insert(name, value);
            }
        }
        for (name, value) in &self.raw {
            if let Some(name) = name.strip_prefix(role.prefix()) {
                map.insert(name, value);
            }
        }
        map.extend(overrides);
        ClientSettings::from_map(map)
    }

    /// Whether records of sources and their offsets are transactions.
    pub(crate) fn is_exactly_once(&self) -> bool {
        self.string("exactly.once.source.support").trim().eq_ignore_ascii_case("enabled")
    }

    /// Under which transactional id configurations are written, if they are written in transactions.
    pub(crate) fn config_transactions(&self) -> Option<String> {
        let is_disabled = self.string("exactly.once.source.support").trim().eq_ignore_ascii_case("disabled");
        (!is_disabled).then(|| format!("connect-cluster-{}", self.group_id()))
    }

    /// The brokers that producers of the worker talk to.
    pub(crate) fn producer_servers(&self) -> Option<&str> {
        let own = self.raw.get("producer.bootstrap.servers").or_else(|| self.raw.get("bootstrap.servers"));
        own.map(|servers| servers.trim())
    }

    /// Host and port to listen on, from the one entry of `listeners`.
    pub(crate) fn listener(&self) -> Result<(String, u16), String> {
        let all = self.values.list("listeners");
        let [listener] = all else {
            return Err(format!("listeners: {} entries, this release serves exactly one", all.len()));
        };
        let (scheme, rest) = listener.split_once("://").unwrap_or(("http", listener));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(format!("listeners: scheme '{scheme}' is not supported in this release, use http"));
        }
        let (host, port) = rest.rsplit_once(':').ok_or(format!("listeners: '{listener}' has no port"))?;
        let port = port.parse().map_err(|_| format!("listeners: '{port}' is no port number"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok((if host.is_empty() { "0.0.0.0".to_owned() } else { host.to_owned() }, port))
    }

    /// Host and port under which others reach this worker; `bound` is the port really listened on.
    pub(crate) fn advertised(&self, bound: u16) -> (String, u16) {
        let listen_host = self.listener().map(|(host, _)| host).unwrap_or_default();
        let fallback = match listen_host.as_str() {
            "0.0.0.0" | "::" => "localhost".to_owned(),
            host => host.to_owned(),
        };
        let host = self.values.opt_string("rest.advertised.host.name").map_or(fallback, str::to_owned);
        let port = self.values.opt_int("rest.advertised.port").and_then(|port| u16::try_from(port).ok());
        (host, port.unwrap_or(bound))
    }
}

/// The names that a worker has settings of, those of its Kafka clients left out.
pub fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().filter(|row| !row.client).map(|row| row.name)
}

fn is_common_client_setting(name: &str) -> bool {
    let ours = SETTINGS.iter().any(|row| row.name == name && !row.client);
    let prefixed = CLIENT_PREFIXES.iter().chain(&CONVERTER_PREFIXES).any(|prefix| name.starts_with(prefix));
    !ours && !prefixed
}

fn definition() -> ConfigDef {
    SETTINGS.iter().filter(|row| !row.client).fold(ConfigDef::new(), |def, row| def.define(row.key()))
}

/// The problem with one setting, if there is one.
fn check(name: &str, value: &str) -> Option<String> {
    if let Some(row) = SETTINGS.iter().find(|row| row.name == name) {
        return match row.fate {
            Fate::Refused(reason) if row.default != Some(value.trim()) => Some(format!("{name}: {reason}")),
            _ => None,
        };
    }
    if CONVERTER_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return None; // the converter itself refuses what it does not know
    }
    let client_name = CLIENT_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    match twinstream_client::settings::check(client_name.unwrap_or(name), value) {
        Ok(()) => None,
        Err(error) if client_name.is_some() => Some(format!("{name}: {error}")),
        Err(error @ twinstream_client::SettingsError::Refused { .. }) => Some(error.to_string()),
        Err(error) => match nearest(name, SETTINGS.iter().map(|row| row.name)) {
            Some(near) => Some(format!("unknown setting '{name}': did you mean '{near}'?")),
            None if matches!(error, twinstream_client::SettingsError::Unknown { .. }) => {
                Some(format!("unknown setting '{name}': remove it"))
            }
            None => Some(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests;
