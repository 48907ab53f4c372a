//! Settings of the registry under Confluent's names, from a properties file and overrides.
//!
//! Invariants: an unknown name is refused with the nearest known one; a setting without effect is logged once; values are
//! read here and nowhere else.

mod table;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use table::Fate;
use twinstream_client::ClientSettings;
use twinstream_model::TopicName;

use crate::level::Level;

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read settings file {path}: {reason}")]
    File { path: String, reason: String },
    #[error("unknown registry setting `{name}`; {}", nearest.map_or("remove it".to_owned(), |n| format!("did you mean `{n}`?")))]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("registry setting `{name}` = `{value}`: {reason}")]
    Value { name: String, value: String, reason: String },
    #[error("registry setting `kafkastore.bootstrap.servers` is missing; give host:port of at least one broker")]
    NoBootstrap,
}

/// Everything that the registry needs to know, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) client: ClientSettings,
    pub(crate) topic: TopicName,
    pub(crate) replication_factor: i16,
    /// Take the topic as it is, whatever its partitions and cleanup policy.
    pub(crate) skip_topic_validation: bool,
    pub(crate) store_timeout: Duration,
    pub(crate) init_timeout: Duration,
    pub(crate) write_attempts: u32,
    pub(crate) level: Level,
    /// Whether this instance may write; the other way round it only reads.
    pub(crate) writable: bool,
    pub(crate) mode_mutable: bool,
    /// Whether a link writes the topic; `None` lets the brokers say it, at every write.
    pub(crate) mirrored: Option<bool>,
    pub(crate) media_type: String,
    pub(crate) search_limit_default: usize,
    pub(crate) search_limit_max: usize,
    pub(crate) shutdown_grace: Duration,
    /// Given settings that do nothing here, with the reason.
    pub(crate) without_effect: Vec<String>,
}

impl Settings {
    pub(crate) fn load(file: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, SettingsError> {
        let mut values = match file {
            Some(path) => read_file(path)?,
            None => BTreeMap::new(),
        };
        values.extend(overrides.iter().cloned());
        let mut without_effect = Vec::new();
        for (name, value) in &values {
            without_effect.extend(check(name, value.trim())?);
        }
        Ok(Settings { without_effect, ..Values(values).settings()? })
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, SettingsError> {
    let failed = |reason: String| SettingsError::File { path: path.display().to_string(), reason };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let pairs = java_properties::read(BufReader::new(file)).map_err(|error| failed(error.to_string()))?;
    Ok(pairs.into_iter().collect())
}

/// Refuses what cannot be honoured; says of what is given and does nothing why it does not.
fn check(name: &str, value: &str) -> Result<Option<String>, SettingsError> {
    let refused = |reason: &str| {
        Err(SettingsError::Value { name: name.to_owned(), value: value.to_owned(), reason: reason.to_owned() })
    };
    match table::find(name) {
        Some((_, Fate::Effect)) => Ok(None),
        Some((_, Fate::Refused(_))) if value.is_empty() => Ok(None),
        Some((_, Fate::Refused(reason))) => refused(reason),
        Some((_, Fate::NoSuchPart(reason))) => Ok(Some(format!("{name} has no effect: {reason}"))),
        None if table::SECURITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) => {
            if value.is_empty() {
                Ok(None)
            } else {
                refused(table::SECURITY_NOTE)
            }
        }
        None => Err(SettingsError::Unknown { name: name.to_owned(), nearest: table::nearest(name) }),
    }
}

struct Values(BTreeMap<String, String>);

impl Values {
    fn settings(&self) -> Result<Settings, SettingsError> {
        self.plaintext_only()?;
        Ok(Settings {
            listeners: self.listeners()?,
            client: self.client()?,
            topic: self.parsed("kafkastore.topic", "not a legal topic name", |text| TopicName::parse(text).ok())?,
            replication_factor: self.parsed("kafkastore.topic.replication.factor", "not a number from 1", |text| {
                text.parse().ok().filter(|factor| *factor >= 1)
            })?,
            skip_topic_validation: self.flag("kafkastore.topic.skip.validation")?,
            store_timeout: self.millis("kafkastore.timeout.ms")?,
            init_timeout: self.millis("kafkastore.init.timeout.ms")?,
            write_attempts: self.number::<u32>("kafkastore.write.max.retries")?.saturating_add(1),
            level: self.level()?,
            writable: self.flag("leader.eligibility")? && self.flag("master.eligibility")?,
            mode_mutable: self.flag("mode.mutability")?,
            mirrored: self.parsed(
                "twinstream.kafkastore.mirrored",
                "neither auto, true nor false",
                |text| match text.to_ascii_lowercase().as_str() {
                    "auto" => Some(None),
                    text => text.parse().ok().map(Some),
                },
            )?,
            media_type: self.get("response.mediatype.default").to_owned(),
            search_limit_default: self.number("schema.search.default.limit")?,
            search_limit_max: self.number("schema.search.max.limit")?,
            shutdown_grace: self.millis("shutdown.graceful.ms")?,
            without_effect: Vec::new(),
        })
    }

    fn get(&self, name: &str) -> &str {
        let default = table::find(name).map_or("", |(default, _)| default);
        self.0.get(name).map_or(default, |value| value.trim())
    }

    fn bad(&self, name: &str, reason: &str) -> SettingsError {
        SettingsError::Value { name: name.to_owned(), value: self.get(name).to_owned(), reason: reason.to_owned() }
    }

    fn parsed<T>(&self, name: &str, reason: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, SettingsError> {
        parse(self.get(name)).ok_or_else(|| self.bad(name, reason))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, SettingsError> {
        self.parsed(name, "not a whole number", |text| text.parse().ok())
    }

    fn millis(&self, name: &str) -> Result<Duration, SettingsError> {
        self.number(name).map(Duration::from_millis)
    }

    fn flag(&self, name: &str) -> Result<bool, SettingsError> {
        self.parsed(name, "neither true nor false", |text| text.to_ascii_lowercase().parse().ok())
    }

    fn plaintext_only(&self) -> Result<(), SettingsError> {
        let protocol = "kafkastore.security.protocol";
        if !self.get(protocol).eq_ignore_ascii_case("PLAINTEXT") {
            return Err(self.bad(protocol, table::SECURITY_NOTE));
        }
        let method = "authentication.method";
        if !self.get(method).eq_ignore_ascii_case("NONE") {
            return Err(self.bad(method, "authentication comes with a later release; use NONE"));
        }
        Ok(())
    }

    /// The old name `avro.compatibility.level` counts where the new one is not given.
    fn level(&self) -> Result<Level, SettingsError> {
        let (new, old) = ("schema.compatibility.level", "avro.compatibility.level");
        let name = if !self.0.contains_key(new) && !self.get(old).is_empty() { old } else { new };
        self.parsed(name, "not a compatibility level such as BACKWARD", Level::parse)
    }

    fn listeners(&self) -> Result<Vec<SocketAddr>, SettingsError> {
        let name = "listeners";
        let mut found = Vec::new();
        for entry in self.get(name).split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let Some(address) = entry.strip_prefix("http://") else {
                return Err(self.bad(name, "only http://host:port is served; this release is built without TLS"));
            };
            let address = address.trim_end_matches('/');
            // Confluent takes `http://:8081` for every address.
            let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
            let resolved = address.to_socket_addrs().ok().and_then(|mut all| all.next());
            found.push(resolved.ok_or_else(|| self.bad(name, "not http://host:port of this machine"))?);
        }
        if found.is_empty() {
            return Err(self.bad(name, "names no listener"));
        }
        Ok(found)
    }

    fn client(&self) -> Result<ClientSettings, SettingsError> {
        let name = "kafkastore.bootstrap.servers";
        let mut servers = Vec::new();
        for entry in self.get(name).split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry.split_once("://") {
                None => servers.push(entry),
                Some(("PLAINTEXT", server)) => servers.push(server),
                Some(_) => return Err(self.bad(name, table::SECURITY_NOTE)),
            }
        }
        if servers.is_empty() {
            return Err(SettingsError::NoBootstrap);
        }
        let timeout = self.get("kafkastore.timeout.ms").to_owned();
        let pairs = [
            ("bootstrap.servers", servers.join(",")),
            ("client.id", "twinstream-registry".to_owned()),
            ("default.api.timeout.ms", timeout),
        ];
        ClientSettings::from_map(pairs).map_err(|error| self.bad(name, &error.to_string()))
    }
}

impl Settings {
    /// For the writer: nothing waits for company, and nothing is tried for longer than a request may take.
    pub(crate) fn producer(&self) -> Result<ClientSettings, twinstream_client::SettingsError> {
        let timeout = self.store_timeout.as_millis().to_string();
        self.client.clone().with("linger.ms", "0")?.with("delivery.timeout.ms", &timeout)
    }

    /// For the reader: a topic that lost its beginning or was made anew is an error, not a place to go on from.
    pub(crate) fn consumer(&self) -> Result<ClientSettings, twinstream_client::SettingsError> {
        self.client.clone().with("auto.offset.reset", "none")?.with("librdkafka.enable.partition.eof", "true")
    }
}

#[cfg(test)]
mod tests;
