//! Deleting, in Confluent's two steps: softly (out of sight, ids still resolve), then for good (tombstones).

use serde_json::json;

use crate::error::ApiError;
use crate::state::{Key, State, SubjectVersion};

use super::{Change, VersionRef, check_changeable, delete_config, delete_mode, resolve};

/// What a deletion changes, and the versions that it names in its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deletion {
    pub(crate) versions: Vec<i32>,
    pub(crate) changes: Vec<Change>,
}

pub(crate) fn delete_subject(state: &State, subject: &str, permanent: bool) -> Result<Deletion, ApiError> {
    check_changeable(state, Some(subject))?;
    let all: Vec<i32> = state.versions(subject).map(|(number, _)| number).collect();
    let live: Vec<i32> = state.live(subject).map(|(number, _)| number).collect();
    if all.is_empty() {
        return Err(ApiError::SubjectNotFound(subject.to_owned()));
    }
    if permanent {
        return if live.is_empty() {
            strike_subject(state, subject, all)
        } else {
            Err(ApiError::SubjectNotSoftDeleted(subject.to_owned()))
        };
    }
    let Some(last) = live.last().copied() else {
        return Err(ApiError::SubjectSoftDeleted(subject.to_owned()));
    };
    for version in &live {
        check_unreferenced(state, subject, *version)?;
    }
    let value = json!({"subject": subject, "version": last}).to_string().into_bytes();
    let change = Change::put(&Key::DeleteSubject(subject.to_owned()), value);
    Ok(Deletion { versions: live, changes: vec![change] })
}

fn strike_subject(state: &State, subject: &str, versions: Vec<i32>) -> Result<Deletion, ApiError> {
    let mut changes = Vec::new();
    for version in &versions {
        check_unreferenced(state, subject, *version)?;
        changes.extend(strike_version(state, subject, *version));
    }
    changes.push(Change::strike(Key::DeleteSubject(subject.to_owned()).bytes()));
    if state.config(Some(subject)).is_some() {
        changes.push(delete_config(Some(subject)));
    }
    changes.extend(delete_mode(state, Some(subject), false));
    Ok(Deletion { versions, changes })
}

pub(crate) fn delete_version(
    state: &State,
    subject: &str,
    version: VersionRef,
    permanent: bool,
) -> Result<Deletion, ApiError> {
    check_changeable(state, Some(subject))?;
    let value = resolve(state, subject, version, true)?;
    let number = value.version;
    check_unreferenced(state, subject, number)?;
    let changes = match (value.deleted(), permanent) {
        (true, true) => strike_version(state, subject, number),
        (false, true) => return Err(ApiError::VersionNotSoftDeleted(subject.to_owned(), number)),
        (true, false) => return Err(ApiError::VersionSoftDeleted(subject.to_owned(), number)),
        (false, false) => {
            let mut value = value.clone();
            value.set_deleted(true);
            let at = SubjectVersion { subject: subject.to_owned(), version: number };
            vec![Change::put(&Key::Schema(at), value.bytes())]
        }
    };
    Ok(Deletion { versions: vec![number], changes })
}

/// One tombstone per byte form of the key, or compaction would let the schema come back.
pub(super) fn strike_version(state: &State, subject: &str, version: i32) -> Vec<Change> {
    let at = SubjectVersion { subject: subject.to_owned(), version };
    state.key_forms(&at).into_iter().map(Change::strike).collect()
}

fn check_unreferenced(state: &State, subject: &str, version: i32) -> Result<(), ApiError> {
    if state.referenced_by(subject, version).is_empty() {
        return Ok(());
    }
    Err(ApiError::Referenced(subject.to_owned(), version))
}
