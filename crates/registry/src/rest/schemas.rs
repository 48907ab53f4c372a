//! `/schemas...`: by id, and all of them.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use serde_json::{Value as Json, json};

use super::{Answer, App, Envelope, Params, answer, schema_members, subject_prefix, version_json};
use crate::error::ApiError;
use crate::state::{State as Schemas, SubjectVersion};

pub(super) async fn types() -> Answer {
    answer(json!(["AVRO"]))
}

pub(super) async fn list(State(app): State<App>, params: Params) -> Answer {
    let prefix = subject_prefix(&params);
    let (deleted, latest_only) = (params.flag("deleted"), params.flag("latestOnly"));
    let found: Vec<Json> = app.store.read(|state| {
        let matching = state.subjects().filter(|(subject, _)| subject.starts_with(prefix));
        let versions = matching.flat_map(|(subject, _)| {
            let shown = state.versions(subject).filter(|(_, version)| deleted || !version.value.deleted());
            let shown: Vec<_> = shown.map(|(_, version)| &version.value).collect();
            let skip = if latest_only { shown.len().saturating_sub(1) } else { 0 };
            shown.into_iter().skip(skip)
        });
        versions.map(version_json).collect()
    })?;
    let wanted = params.count("limit")?.filter(|count| *count > 0).unwrap_or(app.settings.search_limit_default);
    answer(json!(params.page(found.into_iter(), Some(wanted.min(app.settings.search_limit_max)))?))
}

pub(super) async fn by_id(State(app): State<App>, Path(id): Path<String>, params: Params) -> Answer {
    let id = parse_id(&id)?;
    let found = app.store.read(|state| {
        let value = state.by_id(id, params.text("subject")).ok_or(ApiError::IdNotFound(id))?;
        let mut object = schema_members(value);
        if params.flag("fetchMaxId") {
            object.insert("maxId".to_owned(), json!(state.id_max()));
        }
        Ok::<_, ApiError>(Json::Object(object))
    })??;
    answer(found)
}

pub(super) async fn text_by_id(State(app): State<App>, Path(id): Path<String>, params: Params) -> Answer {
    let id = parse_id(&id)?;
    let text = app.store.read(|state| {
        let value = state.by_id(id, params.text("subject")).ok_or(ApiError::IdNotFound(id))?;
        Ok::<_, ApiError>(value.schema().to_owned())
    })??;
    bare(&text)
}

pub(super) async fn subjects_of_id(State(app): State<App>, Path(id): Path<String>, params: Params) -> Answer {
    let mut subjects: Vec<String> = uses(&app, &id, &params)?.into_iter().map(|at| at.subject).collect();
    subjects.dedup();
    answer(json!(params.page(subjects.into_iter(), None)?))
}

pub(super) async fn versions_of_id(State(app): State<App>, Path(id): Path<String>, params: Params) -> Answer {
    let pairs = uses(&app, &id, &params)?;
    let shown = pairs.into_iter().map(|at| json!({"subject": at.subject, "version": at.version}));
    answer(json!(params.page(shown, None)?))
}

/// Where an id is used, in order of subject and version.
fn uses(app: &App, id: &str, params: &Params) -> Result<Vec<SubjectVersion>, ApiError> {
    let id = parse_id(id)?;
    let deleted = params.flag("deleted");
    app.store.read(|state: &Schemas| {
        let all = state.uses_of(id).ok_or(ApiError::IdNotFound(id))?;
        let subject = |at: &&SubjectVersion| params.text("subject").is_none_or(|subject| subject == at.subject);
        let live = |at: &&SubjectVersion| {
            let gone = state.version(&at.subject, at.version).is_none_or(|version| version.value.deleted());
            deleted || !gone
        };
        Ok(all.iter().filter(subject).filter(live).cloned().collect())
    })?
}

/// A text that is JSON already.
pub(super) fn bare(text: &str) -> Answer {
    match serde_json::from_str::<Json>(text) {
        Ok(json) => Ok(Envelope(json).into_response()),
        Err(_) => Ok(Envelope(json!(text)).into_response()),
    }
}

/// A path that is no number names nothing.
fn parse_id(text: &str) -> Result<i32, ApiError> {
    text.parse().map_err(|_| ApiError::NoSuchPath)
}
