//! `/subjects...`: register, look up, list, delete.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::json;

use super::{Answer, App, Params, answer, body, subject_prefix, version_json};
use crate::error::ApiError;
use crate::rules::{self, Registration, VersionRef};

pub(super) async fn list(State(app): State<App>, params: Params) -> Answer {
    let prefix = subject_prefix(&params);
    let (deleted, deleted_only) = (params.flag("deleted"), params.flag("deletedOnly"));
    let names: Vec<String> = app.store.read(|state| {
        let matching = state.subjects().filter(|(subject, _)| subject.starts_with(prefix));
        let shown = matching.filter(|(subject, _)| {
            let live = state.live(subject).next().is_some();
            if deleted_only { !live } else { deleted || live }
        });
        shown.map(|(subject, _)| subject.to_owned()).collect()
    })?;
    answer(json!(params.page(names.into_iter(), None)?))
}

pub(super) async fn lookup(
    State(app): State<App>,
    Path(subject): Path<String>,
    params: Params,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let submitted = body::submitted(&bytes, &headers, params.flag("normalize"))?;
    let found = app
        .store
        .read(|state| rules::find(state, &subject, &submitted, params.flag("deleted")).map(version_json))??;
    answer(found)
}

pub(super) async fn register(
    State(app): State<App>,
    Path(subject): Path<String>,
    params: Params,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let submitted = body::registration(&bytes, &headers, params.flag("normalize"))?;
    let level = app.settings.level;
    // Most registrations are of known schemas: they need no turn at writing. The state may be a moment behind another
    // registry, but what it has cannot become wrong.
    if let Registration::Existing { id, .. } =
        app.store.read(|state| rules::register(state, &subject, &submitted, level))??
    {
        return answer(json!({"id": id}));
    }
    let id = app.store.change(|state| {
        Ok(match rules::register(state, &subject, &submitted, level)? {
            Registration::Existing { id, .. } => (Vec::new(), id),
            Registration::New { id, change, .. } => (vec![change], id),
        })
    });
    answer(json!({"id": id.await?}))
}

pub(super) async fn versions(State(app): State<App>, Path(subject): Path<String>, params: Params) -> Answer {
    let (deleted, only, negative) =
        (params.flag("deleted"), params.flag("deletedOnly"), params.flag("deletedAsNegative"));
    let numbers: Vec<i32> = app.store.read(|state| {
        let shown = state.versions(&subject).filter(|(_, version)| {
            let gone = version.value.deleted();
            if only { gone } else { deleted || negative || !gone }
        });
        shown.map(|(number, version)| if negative && version.value.deleted() { -number } else { number }).collect()
    })?;
    if numbers.is_empty() {
        return Err(ApiError::SubjectNotFound(subject));
    }
    answer(json!(params.page(numbers.into_iter(), None)?))
}

pub(super) async fn version(
    State(app): State<App>,
    Path((subject, version)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let version = VersionRef::parse(&version)?;
    let deleted = params.flag("deleted");
    answer(app.store.read(|state| rules::resolve(state, &subject, version, deleted).map(version_json))??)
}

/// The bare text, which is JSON itself.
pub(super) async fn version_schema(
    State(app): State<App>,
    Path((subject, version)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let version = VersionRef::parse(&version)?;
    let deleted = params.flag("deleted");
    let text = app
        .store
        .read(|state| rules::resolve(state, &subject, version, deleted).map(|value| value.schema().to_owned()))??;
    super::schemas::bare(&text)
}

pub(super) async fn referenced_by(State(app): State<App>, Path((subject, version)): Path<(String, String)>) -> Answer {
    let version = VersionRef::parse(&version)?;
    let ids = app.store.read(|state| {
        let number = rules::resolve(state, &subject, version, true)?.version;
        Ok::<_, ApiError>(state.referenced_by(&subject, number))
    })??;
    answer(json!(ids))
}

pub(super) async fn delete(State(app): State<App>, Path(subject): Path<String>, params: Params) -> Answer {
    let permanent = params.flag("permanent");
    let deleted = app.store.change(|state| {
        rules::delete_subject(state, &subject, permanent).map(|deletion| (deletion.changes, deletion.versions))
    });
    answer(json!(deleted.await?))
}

pub(super) async fn delete_version(
    State(app): State<App>,
    Path((subject, version)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let version = VersionRef::parse(&version)?;
    let permanent = params.flag("permanent");
    let deleted = app.store.change(|state| {
        let deletion = rules::delete_version(state, &subject, version, permanent)?;
        Ok((deletion.changes, deletion.versions.first().copied()))
    });
    answer(json!(deleted.await?))
}
