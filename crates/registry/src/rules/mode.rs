//! Modes: who may write what.
//!
//! | mode | new schemas | schemas with their ids | deletions, levels |
//! |---|---|---|---|
//! | READWRITE | yes | no | yes |
//! | READONLY | no | no | no |
//! | IMPORT | no | yes, unchecked | yes |
//! | FORWARD | no | no | yes |
//!
//! A subject's own mode counts first, then the one of all, then the one of all contexts. What a subject has already is
//! answered in every mode: a producer that registers at its start works with a registry that takes nothing new.
//! Not here: the setting that forbids changes of modes, and topics that a link writes (see `store`).

use serde_json::json;

use crate::error::ApiError;
use crate::level::Mode;
use crate::state::{Key, State, SubjectVersion};

use super::Change;
use super::delete::strike_version;

/// Under this name a Confluent registry keeps the mode of all its contexts.
const ALL_CONTEXTS: &str = ":.__GLOBAL:";

/// The mode that counts for a subject, or for all without one of their own.
pub(crate) fn effective_mode(state: &State, subject: Option<&str>) -> Mode {
    let own = subject.and_then(|subject| state.mode(Some(subject)));
    own.or_else(|| state.mode(None)).or_else(|| state.mode(Some(ALL_CONTEXTS))).unwrap_or(Mode::ReadWrite)
}

/// Whether deletions and changes of levels are allowed.
pub(crate) fn check_changeable(state: &State, subject: Option<&str>) -> Result<(), ApiError> {
    if effective_mode(state, subject).is_read_only() {
        Err(not_in_mode(subject, "is in read-only mode"))
    } else {
        Ok(())
    }
}

/// Whether a schema that the subject does not have may be registered; with an id it is an import.
pub(super) fn check_registrable(state: &State, subject: &str, import: bool) -> Result<(), ApiError> {
    match (effective_mode(state, Some(subject)), import) {
        (Mode::ReadWrite, false) | (Mode::Import, true) => Ok(()),
        (mode, _) if mode.is_read_only() => Err(not_in_mode(Some(subject), "is in read-only mode")),
        (_, true) => Err(not_in_mode(Some(subject), "is not in import mode")),
        (_, false) => Err(not_in_mode(Some(subject), "is not in read-write mode")),
    }
}

fn not_in_mode(subject: Option<&str>, what: &str) -> ApiError {
    ApiError::NotPermitted(match subject {
        Some(subject) => format!("Subject {subject} in context . {what}"),
        None => format!("The registry {what}"),
    })
}

/// Sets the mode of a subject or of all, or with `None` takes it away. IMPORT needs room: without `force` there may be
/// no schema, and what was deleted softly goes for good, so that every id and version is free.
pub(crate) fn set_mode(
    state: &State,
    subject: Option<&str>,
    mode: Option<Mode>,
    force: bool,
) -> Result<Vec<Change>, ApiError> {
    let key = Key::Mode(subject.map(str::to_owned));
    let Some(mode) = mode else { return Ok(vec![Change::strike(key.bytes())]) };
    let mut changes = Vec::new();
    if mode == Mode::Import && effective_mode(state, subject) != Mode::Import && !force {
        changes = make_room(state, subject)?;
    }
    let value = match subject {
        Some(subject) => json!({"subject": subject, "mode": mode.name()}),
        None => json!({"mode": mode.name()}),
    };
    changes.push(Change::put(&key, value.to_string().into_bytes()));
    Ok(changes)
}

fn make_room(state: &State, only: Option<&str>) -> Result<Vec<Change>, ApiError> {
    let mut changes = Vec::new();
    let subjects = state.subjects().map(|(subject, _)| subject);
    for subject in subjects.filter(|subject| only.is_none_or(|only| only == *subject)) {
        if state.live(subject).next().is_some() {
            return Err(ApiError::NotPermitted("Cannot import since found existing subjects".to_owned()));
        }
        for (version, _) in state.versions(subject) {
            let at = SubjectVersion { subject: subject.to_owned(), version };
            // Where all subjects go, those that refer go too.
            if only.is_some() && state.is_referenced_from_elsewhere(&at) {
                return Err(ApiError::Referenced(at.subject, version));
            }
            changes.extend(strike_version(state, subject, version));
        }
    }
    // Versions that another registry still remembers as deleted go from its memory too.
    let value = only.map_or_else(|| json!({}), |subject| json!({"subject": subject}));
    changes.push(Change::put(&Key::ClearSubject(only.map(str::to_owned)), value.to_string().into_bytes()));
    Ok(changes)
}

/// Takes modes away: the one of a subject or of all, and with `recursive` those of all subjects too.
pub(crate) fn delete_mode(state: &State, subject: Option<&str>, recursive: bool) -> Vec<Change> {
    let mut keys = Vec::new();
    if state.mode(subject).is_some() {
        keys.push(Key::Mode(subject.map(str::to_owned)));
    }
    if recursive && subject.is_none() {
        // Names that begin with a colon belong to other contexts.
        let below = state.subjects_with_mode().filter(|name| !name.starts_with(':'));
        keys.extend(below.map(|name| Key::Mode(Some(name.to_owned()))));
    }
    keys.iter().map(|key| Change::strike(key.bytes())).collect()
}
