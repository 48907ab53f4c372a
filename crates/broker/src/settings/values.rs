//! Given texts checked against the table, and read by name with their type.
//!
//! Invariants: after [`Values::check`] every text of a typed setting parses and lies in its bounds, so that the
//! typed readers fail only on bounds that the typed structs add.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::sources::{Given, GivenValue};
use super::table::{self, Fate, Kind, Setting};

/// Why the settings are not usable. Each names the setting and the way out.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read settings file {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("unknown setting {name} {place}; {hint}")]
    Unknown { name: String, place: String, hint: String },
    #[error("setting {name}={value} ({place}) is malformed; allowed is {allowed}")]
    Malformed { name: String, value: String, place: String, allowed: String },
    #[error("setting {name}={value} ({place}) is refused: {reason}")]
    Refused { name: String, value: String, place: String, reason: String },
    #[error("setting {name} is missing: {hint}")]
    Missing { name: &'static str, hint: String },
    #[error("settings contradict each other: {0}")]
    Contradiction(String),
}

/// The checked texts.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    given: Given,
}

impl Values {
    /// Checks names, types, bounds and fates of everything that was given.
    pub(crate) fn check(mut given: Given) -> Result<Self, SettingsError> {
        for (name, value) in &mut given {
            value.text.truncate(value.text.trim_end().len());
            let Some(setting) = table::find(name) else { return Err(unknown(name, value)) };
            check_one(setting, value)?;
        }
        Ok(Self { given })
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.given.get(name) {
            Some(value) => Some(&value.text),
            None => table::find(name).and_then(|setting| setting.default),
        }
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    /// The items of a comma-separated list; none for an absent or empty one.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or("");
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub(crate) fn integer<T: TryFrom<i64>>(&self, name: &str) -> Result<T, SettingsError> {
        let text = self.text(name).unwrap_or("");
        let number = text.trim().parse::<i64>().ok().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.malformed(name, "a number in the range of its use"))
    }

    /// A count or a number of bytes.
    pub(crate) fn size(&self, name: &str) -> Result<usize, SettingsError> {
        self.integer(name)
    }

    pub(crate) fn millis(&self, name: &str) -> Result<Duration, SettingsError> {
        self.integer(name).map(Duration::from_millis)
    }

    /// Milliseconds, where the largest number means never.
    pub(crate) fn finite_millis(&self, name: &str) -> Result<Option<Duration>, SettingsError> {
        let millis: i64 = self.integer(name)?;
        Ok((millis != i64::MAX).then(|| Duration::from_millis(millis.max(0).unsigned_abs())))
    }

    /// A malformed-value error for a rule that the table does not know.
    pub(crate) fn malformed(&self, name: &str, allowed: &str) -> SettingsError {
        SettingsError::Malformed {
            name: name.to_owned(),
            value: self.text(name).unwrap_or("").to_owned(),
            place: self.place(name),
            allowed: allowed.to_owned(),
        }
    }

    /// A refusal of a well-formed value that we cannot honour.
    pub(crate) fn refused(&self, name: &str, reason: impl Into<String>) -> SettingsError {
        SettingsError::Refused {
            name: name.to_owned(),
            value: self.text(name).unwrap_or("").to_owned(),
            place: self.place(name),
            reason: reason.into(),
        }
    }

    fn place(&self, name: &str) -> String {
        self.given.get(name).map_or_else(|| "the default".to_owned(), |value| value.provenance.to_string())
    }

    /// Names of given settings by fate, those without effect only.
    fn without_effect(&self) -> BTreeMap<&'static str, Vec<&str>> {
        let mut by_fate: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
        for name in self.given.keys() {
            match table::find(name).map(|setting| setting.fate) {
                Some(Fate::NoSuchPart) => by_fate.entry("no such part").or_default().push(name),
                Some(Fate::NotYet) => by_fate.entry("not yet").or_default().push(name),
                _ => {}
            }
        }
        by_fate
    }

    pub(crate) fn tell_without_effect(&self) -> Vec<String> {
        let by_fate = self.without_effect();
        let tell = |fate: &'static str, why: &'static str| {
            let names = by_fate.get(fate).into_iter().flatten();
            names.map(move |name| format!("{name} has no effect: {why}")).collect::<Vec<_>>()
        };
        [tell("no such part", "this broker has no such part"), tell("not yet", "it comes with a later release")]
            .concat()
    }

    pub(crate) fn log_without_effect(&self) {
        let by_fate = self.without_effect();
        if let Some(names) = by_fate.get("no such part") {
            tracing::info!(
                settings = names.join(","),
                "settings accepted without effect: this broker has no such part"
            );
        }
        if let Some(names) = by_fate.get("not yet") {
            tracing::warn!(settings = names.join(","), "settings accepted without effect until a later release");
        }
    }
}

fn unknown(name: &str, value: &GivenValue) -> SettingsError {
    let hint = match table::nearest(name) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "no known setting is similar; remove it".to_owned(),
    };
    SettingsError::Unknown { name: name.to_owned(), place: value.provenance.to_string(), hint }
}

fn check_one(setting: &'static Setting, value: &GivenValue) -> Result<(), SettingsError> {
    let GivenValue { text, provenance } = value;
    if let Err(allowed) = setting.check(text) {
        // A secret does not belong into a log, not even a malformed one.
        let shown = if setting.kind == Kind::Password { "[hidden]" } else { text };
        return Err(SettingsError::Malformed {
            name: setting.name.to_owned(),
            value: shown.to_owned(),
            place: provenance.to_string(),
            allowed,
        });
    }
    match setting.fate {
        Fate::Refused(reason) if !setting.is_harmless(text) => Err(SettingsError::Refused {
            name: setting.name.to_owned(),
            value: text.clone(),
            place: provenance.to_string(),
            reason: reason.to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
