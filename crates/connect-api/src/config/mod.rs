//! What a connector may be configured with: keys, types, defaults, checks.
//!
//! Picture: a [`ConfigDef`] is the table of a connector's keys. The worker uses it three ways: to answer
//! `GET /connector-plugins/{p}/config`, to check a configuration key by key ([`ConfigDef::validate`]), and a connector to
//! read its values typed ([`ConfigDef::parse`]). Texts of errors are Kafka's where Kafka has one.
//!
//! A key that no table knows is an error that names the nearest known key; keys under a [`ConfigDef::family`] prefix
//! (`source.cluster.`) are passed through unchecked.

mod nearest;
mod parse;
mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use nearest::nearest;
pub use parse::{Config, ConfigError, ParsedValue};
pub use validate::ConfigValue;

/// A configuration as it came in: names to texts. What a text means is the business of a [`ConfigDef`].
pub type RawConfig = BTreeMap<String, String>;

/// Printed instead of a secret.
pub const HIDDEN: &str = "[hidden]";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    Boolean,
    String,
    Short,
    Int,
    Long,
    Double,
    /// Comma-separated texts.
    List,
    /// A class name.
    Class,
    /// A text that is never shown.
    Password,
}

impl ConfigType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Short => "SHORT",
            Self::Int => "INT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

impl Importance {
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

/// How wide a form should draw the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    None,
    Short,
    Medium,
    Long,
}

impl Width {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Short => "SHORT",
            Self::Medium => "MEDIUM",
            Self::Long => "LONG",
        }
    }
}

/// What becomes of a key that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does what its documentation says.
    Effect,
    /// Known from Kafka, but this release cannot do it: any value other than the default is refused, with this hint.
    NotYet(&'static str),
    /// Our design has no such part: accepted, and logged once at the connector's start with this reason.
    NoSuchPart(&'static str),
}

/// A check of one value beyond its type.
#[derive(Clone)]
pub enum Validator {
    AtLeast(i64),
    Between(i64, i64),
    OneOf(&'static [&'static str]),
    NonEmpty,
    /// A free check; the error is the part of the message after the colon.
    Check(Arc<CheckFn>),
}

/// Says what is wrong with a value.
pub type CheckFn = dyn Fn(&str) -> Result<(), String> + Send + Sync;

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(min) => write!(f, "AtLeast({min})"),
            Self::Between(min, max) => write!(f, "Between({min}, {max})"),
            Self::OneOf(values) => write!(f, "OneOf({values:?})"),
            Self::NonEmpty => f.write_str("NonEmpty"),
            Self::Check(_) => f.write_str("Check(..)"),
        }
    }
}

/// The default of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Default {
    /// The key must be given.
    Required,
    /// Not set; [`Config::opt_string`] and its like answer `None`.
    Null,
    Value(String),
}

/// One key.
#[derive(Clone, Debug)]
pub struct ConfigKey {
    pub name: String,
    pub kind: ConfigType,
    pub default: Default,
    pub importance: Importance,
    pub doc: String,
    pub validator: Option<Validator>,
    pub group: Option<String>,
    /// Place in the group; counted when it is not given.
    pub order: Option<i64>,
    pub width: Width,
    pub display_name: Option<String>,
    /// Keys whose meaning depends on this one.
    pub dependents: Vec<String>,
    /// Values that a form may offer.
    pub recommended: Vec<String>,
    pub fate: Fate,
}

impl ConfigKey {
    /// A key that must be given.
    pub fn required(name: &str, kind: ConfigType, importance: Importance, doc: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            default: Default::Required,
            importance,
            doc: doc.to_owned(),
            validator: None,
            group: None,
            order: None,
            width: Width::None,
            display_name: None,
            dependents: Vec::new(),
            recommended: Vec::new(),
            fate: Fate::Effect,
        }
    }

    /// A key with a default, written as a configuration would write it.
    pub fn with_default(name: &str, kind: ConfigType, default: &str, importance: Importance, doc: &str) -> Self {
        let default = Default::Value(default.to_owned());
        Self { default, ..Self::required(name, kind, importance, doc) }
    }

    /// A key that may be left out and then has no value.
    pub fn optional(name: &str, kind: ConfigType, importance: Importance, doc: &str) -> Self {
        Self { default: Default::Null, ..Self::required(name, kind, importance, doc) }
    }

    #[must_use]
    pub fn check(mut self, validator: Validator) -> Self {
        self.validator = Some(validator);
        self
    }

    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    #[must_use]
    pub fn order(mut self, order: i64) -> Self {
        self.order = Some(order);
        self
    }

    #[must_use]
    pub fn width(mut self, width: Width) -> Self {
        self.width = width;
        self
    }

    #[must_use]
    pub fn display_name(mut self, name: &str) -> Self {
        self.display_name = Some(name.to_owned());
        self
    }

    #[must_use]
    pub fn dependents(mut self, keys: &[&str]) -> Self {
        self.dependents = keys.iter().map(|key| (*key).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn recommended(mut self, values: &[&str]) -> Self {
        self.recommended = values.iter().map(|value| (*value).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn fate(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }
}

/// The keys of a connector, in the order that listings show.
#[derive(Clone, Debug, std::default::Default)]
pub struct ConfigDef {
    keys: Vec<ConfigKey>,
    families: Vec<String>,
}

impl ConfigDef {
    pub fn new() -> Self {
        <Self as std::default::Default>::default()
    }

    /// Adds a key; one of the same name is replaced in its place.
    #[must_use]
    pub fn define(mut self, key: ConfigKey) -> Self {
        match self.keys.iter_mut().find(|known| known.name == key.name) {
            Some(known) => *known = key,
            None => self.keys.push(key),
        }
        self
    }

    /// Accepts every key that starts with `prefix`, without checks: settings passed through to a client.
    #[must_use]
    pub fn family(mut self, prefix: &str) -> Self {
        self.families.push(prefix.to_owned());
        self
    }

    /// Appends all keys and families of another table; keys known here stay as they are.
    #[must_use]
    pub fn and(mut self, other: &ConfigDef) -> Self {
        for key in &other.keys {
            if self.get(&key.name).is_none() {
                self.keys.push(key.clone());
            }
        }
        self.families.extend(other.families.iter().cloned());
        self
    }

    pub fn keys(&self) -> &[ConfigKey] {
        &self.keys
    }

    pub fn families(&self) -> &[String] {
        &self.families
    }

    pub fn get(&self, name: &str) -> Option<&ConfigKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub fn knows(&self, name: &str) -> bool {
        self.get(name).is_some() || self.families.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Whether a value of this key must never be shown: PASSWORD keys, and client settings of a family whose names say so
    /// (`source.cluster.sasl.jaas.config`, anything ending in `password`, `secret` or `.key`).
    pub fn is_secret(&self, name: &str) -> bool {
        match self.get(name) {
            Some(key) => key.kind == ConfigType::Password,
            None => {
                let name = name.to_ascii_lowercase();
                [
                    "password",
                    "secret",
                    "sasl.jaas.config",
                    "ssl.keystore.key",
                    "basic.auth.user.info",
                    "api.key",
                    "token",
                ]
                .iter()
                .any(|ending| name.ends_with(ending))
            }
        }
    }

    /// The configuration with its secrets replaced by [`HIDDEN`], for answers and logs.
    pub fn masked(&self, config: &RawConfig) -> RawConfig {
        let mask = |(name, value): (&String, &String)| {
            let shown = if self.is_secret(name) { HIDDEN } else { value.as_str() };
            (name.clone(), shown.to_owned())
        };
        config.iter().map(mask).collect()
    }
}

#[cfg(test)]
mod tests;
