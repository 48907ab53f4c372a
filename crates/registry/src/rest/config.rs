//! `/config`: the global one and those of subjects.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Map, Value as Json, json};

use super::{Answer, App, Params, answer, body};
use crate::error::ApiError;
use crate::level::Level;
use crate::rules;
use crate::state::SubjectConfig;

fn config_json(config: Option<&SubjectConfig>, default: Option<Level>) -> Json {
    let mut object = Map::new();
    if let Some(normalize) = config.and_then(|config| config.normalize) {
        object.insert("normalize".to_owned(), json!(normalize));
    }
    if let Some(level) = config.and_then(|config| config.level).or(default) {
        object.insert("compatibilityLevel".to_owned(), json!(level.name()));
    }
    Json::Object(object)
}

pub(super) async fn global(State(app): State<App>) -> Answer {
    answer(app.store.read(|state| config_json(state.config(None), Some(app.settings.level)))?)
}

pub(super) async fn subject(State(app): State<App>, Path(subject): Path<String>, params: Params) -> Answer {
    let fall_back = params.flag("defaultToGlobal");
    answer(app.store.read(|state| match state.config(Some(&subject)) {
        Some(config) => {
            let level = fall_back.then(|| rules::effective_level(state, &subject, app.settings.level));
            Ok(config_json(Some(config), level))
        }
        None if fall_back => Ok(config_json(state.config(None), Some(app.settings.level))),
        None => Err(ApiError::NoSubjectCompatibility(subject.clone())),
    })??)
}

pub(super) async fn set_global(State(app): State<App>, headers: HeaderMap, bytes: Bytes) -> Answer {
    set(&app, None, &headers, &bytes).await
}

pub(super) async fn set_subject(
    State(app): State<App>,
    Path(subject): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    set(&app, Some(&subject), &headers, &bytes).await
}

async fn set(app: &App, subject: Option<&str>, headers: &HeaderMap, bytes: &[u8]) -> Answer {
    let update = body::config_update(bytes, headers)?;
    app.store.change(|state| Ok((vec![rules::set_config(state, subject, &update)?], ()))).await?;
    let mut object = Map::new();
    if let Some(normalize) = update.normalize {
        object.insert("normalize".to_owned(), json!(normalize));
    }
    if let Some(level) = update.level {
        object.insert("compatibility".to_owned(), json!(level.name()));
    }
    answer(Json::Object(object))
}

pub(super) async fn delete_global(State(app): State<App>) -> Answer {
    let level = app.settings.level;
    let before = app.store.change(|state| {
        rules::check_changeable(state, None)?;
        let before = config_json(state.config(None), Some(level));
        let changes = if state.config(None).is_some() { vec![rules::delete_config(None)] } else { Vec::new() };
        Ok((changes, before))
    });
    answer(before.await?)
}

pub(super) async fn delete_subject(State(app): State<App>, Path(subject): Path<String>) -> Answer {
    let before = app.store.change(|state| {
        rules::check_changeable(state, Some(&subject))?;
        let config = state.config(Some(&subject)).ok_or_else(|| ApiError::SubjectNotFound(subject.clone()))?;
        Ok((vec![rules::delete_config(Some(&subject))], config_json(Some(config), None)))
    });
    answer(before.await?)
}
