//! `/mode`: the global one and those of subjects.
//!
//! A topic that a link writes shows READONLY, whatever the modes that came with it say: that is what a client meets.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value as Json, json};

use super::{Answer, App, Params, answer, body};
use crate::error::ApiError;
use crate::level::Mode;
use crate::rules;

fn mode_json(mode: Option<Mode>) -> Json {
    json!({"mode": mode.map(Mode::name)})
}

/// The mode as it is shown.
fn shown(app: &App, mode: Mode) -> Json {
    mode_json(Some(if app.store.is_mirror() { Mode::ReadOnly } else { mode }))
}

pub(super) async fn global(State(app): State<App>) -> Answer {
    answer(shown(&app, app.store.read(|state| rules::effective_mode(state, None))?))
}

pub(super) async fn subject(State(app): State<App>, Path(subject): Path<String>, params: Params) -> Answer {
    let fall_back = params.flag("defaultToGlobal");
    let mode = app.store.read(|state| match state.mode(Some(&subject)) {
        None if fall_back => Some(rules::effective_mode(state, Some(&subject))),
        mode => mode,
    })?;
    answer(shown(&app, mode.ok_or(ApiError::NoSubjectMode(subject))?))
}

pub(super) async fn set_global(State(app): State<App>, params: Params, headers: HeaderMap, bytes: Bytes) -> Answer {
    set(&app, None, &params, &headers, &bytes).await
}

pub(super) async fn set_subject(
    State(app): State<App>,
    Path(subject): Path<String>,
    params: Params,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    set(&app, Some(&subject), &params, &headers, &bytes).await
}

async fn set(app: &App, subject: Option<&str>, params: &Params, headers: &HeaderMap, bytes: &[u8]) -> Answer {
    let mode = body::mode(bytes, headers)?;
    check_mutable(app)?;
    let force = params.flag("force");
    app.store.change(|state| Ok((rules::set_mode(state, subject, mode, force)?, ()))).await?;
    answer(mode_json(mode))
}

pub(super) async fn delete_global(State(app): State<App>, params: Params) -> Answer {
    check_mutable(&app)?;
    let recursive = params.flag("recursive");
    let before = app.store.change(|state| {
        let before = state.mode(None).unwrap_or(Mode::ReadWrite);
        Ok((rules::delete_mode(state, None, recursive), before))
    });
    answer(mode_json(Some(before.await?)))
}

/// `recursive` means the subjects of a context; a subject that is none has nothing below it.
pub(super) async fn delete_subject(State(app): State<App>, Path(subject): Path<String>, params: Params) -> Answer {
    check_mutable(&app)?;
    let recursive = params.flag("recursive");
    let before = app.store.change(|state| match state.mode(Some(&subject)) {
        None if !recursive => Err(ApiError::SubjectNotFound(subject.clone())),
        before => Ok((rules::delete_mode(state, Some(&subject), recursive), before)),
    });
    answer(mode_json(before.await?))
}

fn check_mutable(app: &App) -> Result<(), ApiError> {
    if app.settings.mode_mutable {
        return Ok(());
    }
    Err(ApiError::NotPermitted("Mode changes are not allowed (mode.mutability=false)".to_owned()))
}
