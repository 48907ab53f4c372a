//! `/connectors` and everything below, except offsets.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map as JsonMap, Value as JsonValue, json};
use twinstream_connect_api::RawConfig;

use super::error::ApiError;
use super::root::ready;
use super::{App, SharedApp, body};
use crate::herder::Request;
use crate::plugins;
use crate::state::TaskId;
use crate::state::configs::TargetState;

type Answer = Result<Response, ApiError>;

/// What a path segment may hold plainly.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) async fn list(State(app): State<SharedApp>, RawQuery(query): RawQuery) -> Answer {
    let app = ready(&app)?;
    let names: Vec<String> = app.configs.state().connectors().map(str::to_owned).collect();
    let query = query.unwrap_or_default();
    let expand: Vec<&str> = query.split('&').filter_map(|part| part.strip_prefix("expand=")).collect();
    if expand.is_empty() {
        return Ok(Json(names).into_response());
    }
    let mut all = JsonMap::new();
    for name in names {
        let mut one = JsonMap::new();
        for what in &expand {
            let part = match *what {
                "status" => app.status_json(&name),
                "info" => app.connector_json(&name),
                _ => continue, // an unknown one is passed over, as in Kafka
            };
            if let Some(part) = part {
                one.insert((*what).to_owned(), part);
            }
        }
        all.insert(name, JsonValue::Object(one));
    }
    Ok(Json(all).into_response())
}

pub(super) async fn create(State(app): State<SharedApp>, body: Bytes) -> Answer {
    let app = ready(&app)?;
    let request = body::create(&body)?;
    let in_config = request.config.get("name").map(|name| name.trim().to_owned());
    let name = request.name.clone().or(in_config.clone()).unwrap_or_default();
    let config = named(request.config, in_config.as_deref(), &name)?;
    check(app, &config).await?;
    let target = request.initial_state;
    app.herd(Request::Create { name: name.clone(), config, target }).await?;
    created(app, &name)
}

fn created(app: &App, name: &str) -> Answer {
    let info = app.connector_json(name).ok_or_else(|| gone(name))?;
    let location = format!("{}connectors/{}", app.url, utf8_percent_encode(name, SEGMENT));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(info)).into_response())
}

/// The configuration with its connector's name in it.
fn named(mut config: RawConfig, in_config: Option<&str>, name: &str) -> Result<RawConfig, ApiError> {
    match in_config {
        Some(other) if other != name => Err(ApiError::bad_request(format!(
            "Connector name configuration ({other}) doesn't match connector name in the URL ({name})"
        ))),
        _ => {
            config.insert("name".to_owned(), name.to_owned());
            Ok(config)
        }
    }
}

pub(super) async fn check(app: &App, config: &RawConfig) -> Result<(), ApiError> {
    let validation = plugins::validate(&app.plugins, &app.settings, config).await?;
    if validation.error_count() == 0 { Ok(()) } else { Err(ApiError::bad_request(validation.refusal())) }
}

pub(super) async fn info(State(app): State<SharedApp>, Path(name): Path<String>) -> Answer {
    let info = ready(&app)?.connector_json(&name).ok_or_else(|| gone(&name))?;
    Ok(Json(info).into_response())
}

pub(super) async fn delete(State(app): State<SharedApp>, Path(name): Path<String>) -> Answer {
    ready(&app)?.herd(Request::Delete { name }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn config(State(app): State<SharedApp>, Path(name): Path<String>) -> Answer {
    let app = ready(&app)?;
    let config = app.configs.state().config(&name).cloned().ok_or_else(|| gone(&name))?;
    Ok(Json(app.shown(&config, &config)).into_response())
}

pub(super) async fn put_config(State(app): State<SharedApp>, Path(name): Path<String>, body: Bytes) -> Answer {
    let app = ready(&app)?;
    let config = app.unmask(&name, body::config(&body)?);
    put(app, name, config).await
}

async fn put(app: &App, name: String, config: RawConfig) -> Answer {
    if store(app, &name, config).await? {
        return created(app, &name);
    }
    Ok(Json(app.connector_json(&name).ok_or_else(|| gone(&name))?).into_response())
}

/// Checks a configuration and stores it; `true` when the connector is new.
pub(super) async fn store(app: &App, name: &str, config: RawConfig) -> Result<bool, ApiError> {
    let in_config = config.get("name").cloned();
    let config = named(config, in_config.as_deref(), name)?;
    check(app, &config).await?;
    app.herd(Request::Put { name: name.to_owned(), config }).await
}

pub(super) async fn patch_config(State(app): State<SharedApp>, Path(name): Path<String>, body: Bytes) -> Answer {
    let app = ready(&app)?;
    app.must_exist(&name)?;
    let patch = body::patch(&body)?;
    let mut config = app.configs.state().config(&name).cloned().ok_or_else(|| gone(&name))?;
    for (key, value) in patch {
        match value {
            Some(value) => _ = config.insert(key, value),
            None => _ = config.remove(&key),
        }
    }
    let config = app.unmask(&name, config);
    put(app, name, config).await
}

pub(super) async fn status(State(app): State<SharedApp>, Path(name): Path<String>) -> Answer {
    let status = ready(&app)?.status_json(&name);
    let status = status.ok_or_else(|| ApiError::not_found(format!("No status found for connector {name}")))?;
    Ok(Json(status).into_response())
}

pub(super) async fn pause(app: State<SharedApp>, name: Path<String>) -> Answer {
    target(app, name, TargetState::Paused, StatusCode::ACCEPTED).await
}

pub(super) async fn resume(app: State<SharedApp>, name: Path<String>) -> Answer {
    target(app, name, TargetState::Started, StatusCode::ACCEPTED).await
}

pub(super) async fn stop(app: State<SharedApp>, name: Path<String>) -> Answer {
    target(app, name, TargetState::Stopped, StatusCode::NO_CONTENT).await
}

async fn target(
    State(app): State<SharedApp>,
    Path(name): Path<String>,
    target: TargetState,
    status: StatusCode,
) -> Answer {
    ready(&app)?.herd(Request::Target { name, target }).await?;
    Ok(status.into_response())
}

pub(super) async fn restart(
    State(app): State<SharedApp>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let app = ready(&app)?;
    let flag = |key: &str| query.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let (include_tasks, only_failed) = (flag("includeTasks"), flag("onlyFailed"));
    let before = app.status_json(&name);
    app.herd(Request::Restart { name: name.clone(), include_tasks, only_failed }).await?;
    if !include_tasks && !only_failed {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let plan = restart_plan(before.ok_or_else(|| gone(&name))?, include_tasks, only_failed);
    Ok((StatusCode::ACCEPTED, Json(plan)).into_response())
}

/// The status with RESTARTING for everything that the restart concerns, however fast it was.
fn restart_plan(mut status: JsonValue, include_tasks: bool, only_failed: bool) -> JsonValue {
    let mark = |part: &mut JsonValue| {
        if (!only_failed || part["state"] == "FAILED") && part["state"] != "STOPPED" {
            part["state"] = json!("RESTARTING");
            if let Some(part) = part.as_object_mut() {
                part.remove("trace");
            }
        }
    };
    mark(&mut status["connector"]);
    if include_tasks {
        status["tasks"].as_array_mut().into_iter().flatten().for_each(mark);
    }
    status
}

pub(super) async fn tasks(State(app): State<SharedApp>, Path(name): Path<String>) -> Answer {
    let app = ready(&app)?;
    let tasks = shown_tasks(app, &name)?;
    let task =
        |(number, config): (usize, RawConfig)| json!({"id": {"connector": name, "task": number}, "config": config});
    Ok(Json(tasks.into_iter().enumerate().map(task).collect::<Vec<_>>()).into_response())
}

/// Gone from Kafka 4, still asked for by clients of the 3 line.
pub(super) async fn tasks_config(State(app): State<SharedApp>, Path(name): Path<String>) -> Answer {
    let app = ready(&app)?;
    let tasks = shown_tasks(app, &name)?;
    let task = |(number, config): (usize, RawConfig)| (format!("{name}-{number}"), json!(config));
    Ok(Json(tasks.into_iter().enumerate().map(task).collect::<JsonMap<_, _>>()).into_response())
}

fn shown_tasks(app: &App, name: &str) -> Result<Vec<RawConfig>, ApiError> {
    let (config, tasks) = {
        let state = app.configs.state();
        (state.config(name).cloned().ok_or_else(|| gone(name))?, state.tasks(name).to_vec())
    };
    Ok(tasks.iter().map(|task| app.shown(&config, task)).collect())
}

pub(super) async fn task_status(State(app): State<SharedApp>, Path((name, task)): Path<(String, String)>) -> Answer {
    let id = task_id(&name, &task)?;
    let status = ready(&app)?.task_status_json(&id);
    let status = status.ok_or_else(|| ApiError::not_found(format!("No status found for task {id}")))?;
    Ok(Json(status).into_response())
}

pub(super) async fn restart_task(State(app): State<SharedApp>, Path((name, task)): Path<(String, String)>) -> Answer {
    let id = task_id(&name, &task)?;
    ready(&app)?.herd(Request::RestartTask { id }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn task_id(name: &str, task: &str) -> Result<TaskId, ApiError> {
    let number = task.parse().map_err(|_| ApiError::not_found("HTTP 404 Not Found"))?;
    Ok(TaskId::new(name, number))
}

fn gone(name: &str) -> ApiError {
    ApiError::not_found(format!("Connector {name} not found"))
}
