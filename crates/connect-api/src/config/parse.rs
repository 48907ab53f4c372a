//! Texts to typed values.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ConfigDef, ConfigKey, ConfigType, Default, HIDDEN, RawConfig, Validator};

/// A value that passed its type and validator.
#[derive(Clone, PartialEq)]
pub enum ParsedValue {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

/// All values of one definition, defaults filled in.
///
/// The getters take the name of a defined key; another name, or a getter that does not fit the key's type, is a mistake in
/// the program and panics.
#[derive(Clone)]
pub struct Config {
    values: BTreeMap<String, ParsedValue>,
}

/// Every message of a configuration that did not pass.
#[derive(Debug, thiserror::Error)]
#[error("{}", messages.join("; "))]
pub struct ConfigError {
    pub messages: Vec<String>,
}

impl ConfigDef {
    /// Reads all defined keys; unknown keys are not looked at (see [`ConfigDef::validate`]).
    pub fn parse(&self, config: &RawConfig) -> Result<Config, ConfigError> {
        let mut values = BTreeMap::new();
        let mut messages = Vec::new();
        for key in self.keys() {
            match key.parse(config.get(&key.name).map(String::as_str)) {
                Ok(value) => drop(values.insert(key.name.clone(), value)),
                Err(message) => messages.push(message),
            }
        }
        if messages.is_empty() { Ok(Config { values }) } else { Err(ConfigError { messages }) }
    }
}

impl ConfigKey {
    /// The typed value of a text, or of the default when the key is not set.
    pub fn parse(&self, text: Option<&str>) -> Result<ParsedValue, String> {
        let text = match (text, &self.default) {
            (Some(text), _) => text,
            (None, Default::Value(text)) => text,
            (None, Default::Null) => return Ok(ParsedValue::Null),
            (None, Default::Required) => {
                return Err(format!("Missing required configuration \"{}\" which has no default value.", self.name));
            }
        };
        let parsed = self.typed(text).map_err(|why| self.invalid(text, &why))?;
        if let Some(validator) = &self.validator {
            validator.apply(text.trim(), &parsed).map_err(|why| self.invalid(text, &why))?;
        }
        Ok(parsed)
    }

    fn invalid(&self, text: &str, why: &str) -> String {
        let shown = if self.kind == ConfigType::Password { HIDDEN } else { text };
        format!("Invalid value {shown} for configuration {}: {why}", self.name)
    }

    fn typed(&self, text: &str) -> Result<ParsedValue, String> {
        let trimmed = text.trim();
        match self.kind {
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(ParsedValue::Bool(true)),
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(ParsedValue::Bool(false)),
            ConfigType::Boolean => Err("Expected value to be either true or false".to_owned()),
            ConfigType::Short => {
                let number = trimmed.parse::<i16>().map_err(|_| "Not a number of type SHORT")?;
                Ok(ParsedValue::Int(i64::from(number)))
            }
            ConfigType::Int => {
                let number = trimmed.parse::<i32>().map_err(|_| "Not a number of type INT")?;
                Ok(ParsedValue::Int(i64::from(number)))
            }
            ConfigType::Long => Ok(ParsedValue::Int(trimmed.parse().map_err(|_| "Not a number of type LONG")?)),
            ConfigType::Double => Ok(ParsedValue::Double(trimmed.parse().map_err(|_| "Not a number of type DOUBLE")?)),
            ConfigType::List if trimmed.is_empty() => Ok(ParsedValue::List(Vec::new())),
            ConfigType::List => Ok(ParsedValue::List(trimmed.split(',').map(|part| part.trim().to_owned()).collect())),
            ConfigType::String | ConfigType::Class => Ok(ParsedValue::Text(trimmed.to_owned())),
            ConfigType::Password => Ok(ParsedValue::Text(text.to_owned())),
        }
    }
}

impl Validator {
    fn apply(&self, text: &str, parsed: &ParsedValue) -> Result<(), String> {
        match (self, parsed) {
            (Self::AtLeast(min), ParsedValue::Int(v)) if v < min => Err(format!("Value must be at least {min}")),
            (Self::AtLeast(min), ParsedValue::Double(v)) if *v < *min as f64 => {
                Err(format!("Value must be at least {min}"))
            }
            (Self::Between(min, _), ParsedValue::Int(v)) if v < min => Err(format!("Value must be at least {min}")),
            (Self::Between(_, max), ParsedValue::Int(v)) if v > max => Err(format!("Value must be no more than {max}")),
            (Self::OneOf(allowed), _) if !allowed.iter().any(|value| value.eq_ignore_ascii_case(text)) => {
                Err(format!("String must be one of: {}", allowed.join(", ")))
            }
            (Self::NonEmpty, _) if text.is_empty() => Err("String must be non-empty".to_owned()),
            (Self::Check(check), _) => check(text),
            _ => Ok(()),
        }
    }
}

impl Config {
    fn value(&self, name: &str) -> &ParsedValue {
        match self.values.get(name) {
            Some(value) => value,
            None => panic!("configuration key {name:?} is not defined"),
        }
    }

    fn mismatch(name: &str) -> ! {
        panic!("configuration key {name:?} is null or of another type")
    }

    pub fn string(&self, name: &str) -> &str {
        self.opt_string(name).unwrap_or_else(|| Self::mismatch(name))
    }

    pub fn opt_string(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            ParsedValue::Text(text) => Some(text),
            ParsedValue::Null => None,
            _ => Self::mismatch(name),
        }
    }

    pub fn bool(&self, name: &str) -> bool {
        match self.value(name) {
            ParsedValue::Bool(value) => *value,
            _ => Self::mismatch(name),
        }
    }

    pub fn int(&self, name: &str) -> i64 {
        self.opt_int(name).unwrap_or_else(|| Self::mismatch(name))
    }

    pub fn opt_int(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            ParsedValue::Int(value) => Some(*value),
            ParsedValue::Null => None,
            _ => Self::mismatch(name),
        }
    }

    pub fn double(&self, name: &str) -> f64 {
        match self.value(name) {
            ParsedValue::Double(value) => *value,
            _ => Self::mismatch(name),
        }
    }

    /// A number of milliseconds as a duration; negative ones count as zero.
    pub fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.int(name)).unwrap_or(0))
    }

    pub fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            ParsedValue::List(values) => values,
            ParsedValue::Null => &[],
            _ => Self::mismatch(name),
        }
    }
}
