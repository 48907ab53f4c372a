//! What a request may change, decided on the state alone.
//!
//! Every write is decided here and comes out as [`Change`]s: records for the topic. Nothing is changed by deciding; the
//! store writes the records and replays them like anybody else's.
//! Not here: I/O, HTTP. The one place that knows what is allowed, what is the same schema, and what counts as compatible.

mod delete;
mod mode;
mod register;

pub(crate) use delete::{delete_subject, delete_version};
pub(crate) use mode::{check_changeable, delete_mode, effective_mode, set_mode};
pub(crate) use register::{Registration, check_compatibility, find, register};

use serde_json::json;

use crate::error::ApiError;
use crate::level::Level;
use crate::state::{Key, Reference, SchemaValue, State};

/// What clients say of a schema that they send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub(crate) schema: String,
    pub(crate) references: Vec<Reference>,
    pub(crate) normalize: bool,
    /// The id that it must get: an import.
    pub(crate) id: Option<i32>,
    /// The version that it must get. `Latest` makes it the latest one even if the subject has it as an older one.
    pub(crate) version: Option<VersionRef>,
}

/// One record to write: the key's bytes, and a value or a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Change {
    fn put(key: &Key, value: Vec<u8>) -> Self {
        Self { key: key.bytes(), value: Some(value) }
    }

    fn strike(key: Vec<u8>) -> Self {
        Self { key, value: None }
    }
}

/// A version as a path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionRef {
    Latest,
    Number(i32),
}

impl VersionRef {
    /// `latest`, `-1`, or a number from 1.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        match (text, text.parse::<i32>()) {
            ("latest" | "-1", _) => Ok(Self::Latest),
            (_, Ok(number)) if number >= 1 => Ok(Self::Number(number)),
            _ => Err(ApiError::InvalidVersion(text.to_owned())),
        }
    }
}

/// The version that a reference means; deleted ones only if asked for.
pub(crate) fn resolve<'s>(
    state: &'s State,
    subject: &str,
    version: VersionRef,
    deleted: bool,
) -> Result<&'s SchemaValue, ApiError> {
    if state.versions(subject).find(|(_, version)| deleted || !version.value.deleted()).is_none() {
        return Err(ApiError::SubjectNotFound(subject.to_owned()));
    }
    let wanted = |(_, version): &(i32, &crate::state::Version)| deleted || !version.value.deleted();
    let found = match version {
        VersionRef::Latest => state.versions(subject).rfind(wanted).map(|(_, version)| version),
        VersionRef::Number(number) => state.version(subject, number).filter(|version| wanted(&(number, *version))),
    };
    let number = match version {
        VersionRef::Latest => 0,
        VersionRef::Number(number) => number,
    };
    found.map(|version| &version.value).ok_or(ApiError::VersionNotFound(number))
}

/// The level that counts for a subject.
pub(crate) fn effective_level(state: &State, subject: &str, default: Level) -> Level {
    let own = state.config(Some(subject)).and_then(|config| config.level);
    own.or_else(|| state.config(None).and_then(|config| config.level)).unwrap_or(default)
}

/// Whether schemas of a subject are normalized although the request does not ask for it.
fn effective_normalize(state: &State, subject: &str) -> bool {
    let own = state.config(Some(subject)).and_then(|config| config.normalize);
    own.or_else(|| state.config(None).and_then(|config| config.normalize)).unwrap_or(false)
}

/// What `PUT /config` sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigUpdate {
    pub(crate) level: Option<Level>,
    pub(crate) normalize: Option<bool>,
}

pub(crate) fn set_config(state: &State, subject: Option<&str>, update: &ConfigUpdate) -> Result<Change, ApiError> {
    check_changeable(state, subject)?;
    let before = state.config(subject).cloned().unwrap_or_default();
    let mut value = serde_json::Map::new();
    value.insert("subject".to_owned(), json!(subject));
    if subject.is_none() {
        value.clear();
    }
    if let Some(level) = update.level.or(before.level) {
        value.insert("compatibilityLevel".to_owned(), json!(level.name()));
    }
    if let Some(normalize) = update.normalize.or(before.normalize) {
        value.insert("normalize".to_owned(), json!(normalize));
    }
    let value = serde_json::Value::Object(value).to_string().into_bytes();
    Ok(Change::put(&Key::Config(subject.map(str::to_owned)), value))
}

pub(crate) fn delete_config(subject: Option<&str>) -> Change {
    Change::strike(Key::Config(subject.map(str::to_owned)).bytes())
}

#[cfg(test)]
mod tests;
