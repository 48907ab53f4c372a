//! Checks a whole configuration and reports key by key, in the shape of Connect's validate answer.

use serde_json::{Value as Json, json};

use super::{ConfigDef, ConfigKey, ConfigType, Default, Fate, HIDDEN, RawConfig, nearest};

/// What validation found about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigValue {
    pub name: String,
    /// The given value or the default; secrets hidden.
    pub value: Option<String>,
    pub recommended: Vec<String>,
    pub errors: Vec<String>,
    pub visible: bool,
}

impl ConfigDef {
    /// One entry per defined key in order, then one per unknown key that was given (always with an error).
    pub fn validate(&self, config: &RawConfig) -> Vec<ConfigValue> {
        let mut values: Vec<ConfigValue> = self.keys().iter().map(|key| key.validate(config)).collect();
        let unknown = config.keys().filter(|name| !self.knows(name));
        values.extend(unknown.map(|name| ConfigValue {
            name: name.clone(),
            value: Some(if self.is_secret(name) { HIDDEN.to_owned() } else { config[name].clone() }),
            recommended: Vec::new(),
            errors: vec![self.unknown_key(name)],
            visible: true,
        }));
        values
    }

    /// The message for a key that no table knows.
    pub fn unknown_key(&self, name: &str) -> String {
        let known = self.keys().iter().map(|key| key.name.as_str());
        match nearest(name, known) {
            Some(near) => format!("Unknown configuration '{name}': did you mean '{near}'?"),
            None => format!("Unknown configuration '{name}': remove it, the connector has no such key"),
        }
    }

    /// Groups in order of first appearance.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = Vec::new();
        for group in self.keys().iter().filter_map(|key| key.group.as_ref()) {
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        groups
    }

    /// `ConfigKeyInfo` of a key as REST answers print it.
    ///
    /// Both `order` (before Kafka 4.3) and `order_in_group` (since) are printed, so that clients of either find theirs.
    pub fn key_json(&self, key: &ConfigKey) -> Json {
        let order = match (&key.group, key.order) {
            (_, Some(order)) => order,
            (None, None) => -1,
            (Some(group), None) => {
                let same_group = self.keys().iter().filter(|other| other.group.as_ref() == Some(group));
                same_group.take_while(|other| other.name != key.name).count() as i64 + 1
            }
        };
        json!({
            "name": key.name,
            "type": key.kind.name(),
            "required": key.default == Default::Required,
            "default_value": key.default_text(),
            "importance": key.importance.name(),
            "documentation": key.doc,
            "group": key.group,
            "order_in_group": order,
            "order": order,
            "width": key.width.name(),
            "display_name": key.display_name.as_deref().unwrap_or(&key.name),
            "dependents": key.dependents,
        })
    }
}

impl ConfigKey {
    fn default_text(&self) -> Option<String> {
        match &self.default {
            Default::Value(_) if self.kind == ConfigType::Password => Some(HIDDEN.to_owned()),
            Default::Value(text) => Some(text.clone()),
            Default::Required | Default::Null => None,
        }
    }

    fn validate(&self, config: &RawConfig) -> ConfigValue {
        let given = config.get(&self.name);
        let shown = match given {
            Some(_) if self.kind == ConfigType::Password => Some(HIDDEN.to_owned()),
            Some(text) => Some(text.trim().to_owned()),
            None => self.default_text(),
        };
        let errors = match (self.parse(given.map(String::as_str)), self.fate) {
            (Err(message), _) => vec![message],
            (Ok(value), Fate::NotYet(hint)) if Ok(&value) != self.parse(None).as_ref() => {
                vec![format!("Configuration '{}' is not supported in this release: {hint}", self.name)]
            }
            (Ok(_), _) => Vec::new(),
        };
        let recommended = self.recommended.clone();
        ConfigValue { name: self.name.clone(), value: shown, recommended, errors, visible: true }
    }
}

impl ConfigValue {
    /// `ConfigValueInfo` as REST answers print it.
    pub fn to_json(&self) -> Json {
        json!({
            "name": self.name,
            "value": self.value,
            "recommended_values": self.recommended,
            "errors": self.errors,
            "visible": self.visible,
        })
    }
}
