//! Client settings under Kafka's Java names, and their translation for librdkafka.
//!
//! Picture: a map of names to values that was checked against one table ([`table::TABLE`]) when it was built, so that
//! everything built from it later can trust it. An unknown name is refused together with the nearest known one.
//! Invariants: no setting is dropped silently; one without effect is logged once, when the client is made.
//! Where librdkafka's default differs from Kafka's, Kafka's default is set explicitly ([`KAFKA_DEFAULTS`]).

pub mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use table::{Fate, Scope};
use tracing::info;

/// Settings in which librdkafka's default is not Kafka's.
const KAFKA_DEFAULTS: &[(&str, Scope, &str)] = &[
    ("partitioner", Scope::Producer, "murmur2_random"),
    ("acks", Scope::Producer, "all"),
    ("enable.idempotence", Scope::Producer, "true"),
    ("delivery.timeout.ms", Scope::Producer, "120000"),
    ("message.max.bytes", Scope::Producer, "1048576"),
    ("isolation.level", Scope::Consumer, "read_uncommitted"),
    ("check.crcs", Scope::Consumer, "true"),
    ("allow.auto.create.topics", Scope::Consumer, "true"),
    ("enable.partition.eof", Scope::Consumer, "false"),
    // Ours, not Kafka's: whoever consumes through this crate commits what it has finished, never what it has seen.
    ("enable.auto.commit", Scope::Consumer, "false"),
];

/// Settings that turn off idempotence unless the user asked for it, as in Kafka's producer.
const WEAK_ACKS: [&str; 2] = ["0", "1"];

const PASSTHROUGH: &str = "librdkafka.";
const API_TIMEOUT_MS: u64 = 60_000;
const MAX_BLOCK_MS: u64 = 60_000;
const MAX_POLL_RECORDS: usize = 500;

/// Why a set of client settings was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    #[error("unknown client setting `{name}`{}", nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("client setting `{name}` = `{value}`: {reason}")]
    Refused { name: String, value: String, reason: String },
    #[error("client setting `bootstrap.servers` is missing; give host:port of at least one broker")]
    NoBootstrap,
    #[error("client setting `bootstrap.servers`: `{entry}` is not host:port")]
    BadBootstrap { entry: String },
}

/// Checked settings of one Kafka client.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSettings {
    values: BTreeMap<String, String>,
}

impl ClientSettings {
    /// Settings with nothing but `bootstrap.servers`.
    pub fn new(bootstrap_servers: &str) -> Result<Self, SettingsError> {
        Self::from_map([("bootstrap.servers", bootstrap_servers)])
    }

    /// Settings from names and values, each checked; `bootstrap.servers` must be among them.
    pub fn from_map<K: AsRef<str>, V: AsRef<str>>(
        map: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, SettingsError> {
        let mut settings = Self { values: BTreeMap::new() };
        for (name, value) in map {
            settings.set(name.as_ref(), value.as_ref())?;
        }
        if !settings.values.contains_key("bootstrap.servers") {
            return Err(SettingsError::NoBootstrap);
        }
        Ok(settings)
    }

    /// Sets one name, replacing an earlier value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Self, SettingsError> {
        let value = value.trim();
        check(name, value)?;
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(self)
    }

    /// As [`Self::set`], for chains.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, SettingsError> {
        self.set(name, value)?;
        Ok(self)
    }

    /// Sets one name unless it is set already.
    pub fn set_default(&mut self, name: &str, value: &str) -> Result<&mut Self, SettingsError> {
        if self.values.contains_key(name) {
            return Ok(self);
        }
        self.set(name, value)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `bootstrap.servers` as a list.
    pub fn bootstrap(&self) -> Vec<String> {
        let list = self.get("bootstrap.servers").unwrap_or_default();
        list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }

    pub fn client_id(&self) -> &str {
        self.get("client.id").unwrap_or("twinstream")
    }

    /// How long one admin call, commit or look-up may take (`default.api.timeout.ms`).
    pub fn api_timeout(&self) -> Duration {
        self.millis("default.api.timeout.ms", API_TIMEOUT_MS)
    }

    /// How long a send waits for room in a full queue (`max.block.ms`).
    pub fn max_block(&self) -> Duration {
        self.millis("max.block.ms", MAX_BLOCK_MS)
    }

    /// The largest batch that a consumer hands out at once (`max.poll.records`).
    pub fn max_poll_records(&self) -> usize {
        self.get("max.poll.records").and_then(|text| text.parse().ok()).unwrap_or(MAX_POLL_RECORDS)
    }

    fn millis(&self, name: &str, default: u64) -> Duration {
        Duration::from_millis(self.get(name).and_then(|text| text.parse().ok()).unwrap_or(default))
    }

    /// The settings as librdkafka wants them, for a client of the given kind. Logs each that has no effect.
    pub(crate) fn rdkafka(&self, role: Scope) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", self.client_id());
        config.set("statistics.interval.ms", crate::traffic::INTERVAL_MS);
        for (name, scope, value) in KAFKA_DEFAULTS {
            if *scope == role {
                config.set(*name, *value);
            }
        }
        if self.get("acks").is_some_and(|acks| WEAK_ACKS.contains(&acks)) && self.get("enable.idempotence").is_none() {
            config.set("enable.idempotence", "false");
        }
        for (name, value) in self.iter() {
            self.translate(role, name, value, &mut config);
        }
        config
    }

    fn translate(&self, role: Scope, name: &str, value: &str, config: &mut ClientConfig) {
        if let Some(native) = name.strip_prefix(PASSTHROUGH) {
            config.set(native, value);
            return;
        }
        let Some(setting) = table::find(name) else {
            info!(setting = name, "setting has no effect: {}", table::SECURITY_NOTE);
            return;
        };
        if setting.scope != Scope::Common && setting.scope != role {
            info!(setting = name, "setting has no effect: it belongs to another kind of client");
            return;
        }
        match setting.fate {
            Fate::Same => _ = config.set(name, value),
            Fate::Renamed(native) => _ = config.set(native, value),
            Fate::Ours(_) => self.translate_ours(role, name, value, config),
            Fate::NoEffect(reason) => info!(setting = name, "setting has no effect: {reason}"),
            Fate::Refused(_) => {} // cannot be here: `check` refused it
        }
    }

    fn translate_ours(&self, role: Scope, name: &str, value: &str, config: &mut ClientConfig) {
        let system_default = if value == "-1" { "0" } else { value };
        match name {
            "receive.buffer.bytes" => _ = config.set("socket.receive.buffer.bytes", system_default),
            "send.buffer.bytes" => _ = config.set("socket.send.buffer.bytes", system_default),
            "retries" if role == Scope::Producer => _ = config.set("retries", value),
            "buffer.memory" => {
                let kib = value.parse::<u64>().unwrap_or(0).div_ceil(1024).max(1);
                config.set("queue.buffering.max.kbytes", kib.to_string());
            }
            "auto.offset.reset" => _ = config.set(name, if value == "none" { "error" } else { value }),
            "partition.assignment.strategy" => _ = config.set(name, assignors(value).unwrap_or_default()),
            _ => {
                let codec = self.get("compression.type").unwrap_or("none");
                if name == format!("compression.{codec}.level") {
                    config.set("compression.level", value);
                }
            }
        }
    }
}

/// Shows names only: values may be secrets.
impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientSettings({} of {:?})", self.values.len(), self.get("bootstrap.servers").unwrap_or(""))
    }
}

/// Checks one name and value without keeping them; what validation of a connector's `*.override.*` settings calls.
pub fn check(name: &str, value: &str) -> Result<(), SettingsError> {
    if name.starts_with(PASSTHROUGH) || table::SECURITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Ok(());
    }
    let Some(setting) = table::find(name) else {
        return Err(SettingsError::Unknown { name: name.to_owned(), nearest: table::nearest(name) });
    };
    if let Fate::Refused(reason) = setting.fate {
        return Err(refused(name, value, reason));
    }
    check_value(name, value)
}

fn check_value(name: &str, value: &str) -> Result<(), SettingsError> {
    let whole = |text: &str| text.parse::<u64>().is_ok();
    match name {
        "bootstrap.servers" => check_bootstrap(value),
        "security.protocol" if !value.eq_ignore_ascii_case("PLAINTEXT") => {
            Err(refused(name, value, "this release is built without TLS and SASL; use PLAINTEXT"))
        }
        "interceptor.classes" | "config.providers" | "partitioner.class" if !value.is_empty() => {
            let reason = table::find(name).map_or("", |row| match row.fate {
                Fate::Ours(text) => text,
                _ => "",
            });
            Err(refused(name, value, reason))
        }
        "partitioner.ignore.keys" if !value.eq_ignore_ascii_case("false") => {
            Err(refused(name, value, "the key always chooses the partition; use false"))
        }
        "auto.offset.reset" if !["earliest", "latest", "none"].contains(&value) => {
            Err(refused(name, value, "use earliest, latest or none"))
        }
        "partition.assignment.strategy" => assignors(value).map(|_| ()),
        "default.api.timeout.ms" | "max.block.ms" | "max.poll.records" | "buffer.memory" if !whole(value) => {
            Err(refused(name, value, "not a whole number"))
        }
        _ => Ok(()),
    }
}

fn refused(name: &str, value: &str, reason: &str) -> SettingsError {
    SettingsError::Refused { name: name.to_owned(), value: value.to_owned(), reason: reason.to_owned() }
}

fn check_bootstrap(list: &str) -> Result<(), SettingsError> {
    let mut entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).peekable();
    if entries.peek().is_none() {
        return Err(SettingsError::NoBootstrap);
    }
    for entry in entries {
        let port = entry.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
        if port.is_none_or(|port: u16| port == 0) {
            return Err(SettingsError::BadBootstrap { entry: entry.to_owned() });
        }
    }
    Ok(())
}

/// librdkafka's names for Kafka's assignor classes. librdkafka cannot offer eager and cooperative assignors at once, so
/// for Kafka's default pair the first one decides.
fn assignors(classes: &str) -> Result<String, SettingsError> {
    let name = "partition.assignment.strategy";
    let mut found = Vec::new();
    for class in classes.split(',').map(str::trim).filter(|class| !class.is_empty()) {
        found.push(match class.rsplit('.').next().unwrap_or(class) {
            "RangeAssignor" | "range" => "range",
            "RoundRobinAssignor" | "roundrobin" => "roundrobin",
            "CooperativeStickyAssignor" | "cooperative-sticky" => "cooperative-sticky",
            _ => {
                let reason = "only the range, round-robin and cooperative-sticky assignors are built in";
                return Err(refused(name, classes, reason));
            }
        });
    }
    let Some(first) = found.first().copied() else {
        return Err(refused(name, classes, "names no assignor"));
    };
    let cooperative = |assignor: &str| assignor == "cooperative-sticky";
    found.retain(|assignor| cooperative(assignor) == cooperative(first));
    Ok(found.join(","))
}

#[cfg(test)]
mod tests;
