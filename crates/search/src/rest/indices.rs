//! Making, describing and deleting indices and their mappings.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{AppState, Params, check_params, json_body, json_response};
use crate::catalog::new_meta;
use crate::error::ApiError;
use crate::index::Index;
use crate::mapping::Mapping;
use crate::meta::parse_settings;

pub(super) async fn create(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_params(&params, &[])?;
    let body = json_body(&headers, body)?;
    let mut meta = new_meta(&index);
    for (key, value) in body.as_object().into_iter().flatten() {
        match key.as_str() {
            "settings" => meta.settings = parse_settings(value)?,
            "mappings" => meta.mapping = Mapping::parse(value)?,
            "aliases" if value.as_object().is_some_and(Map::is_empty) => {}
            other => {
                return Err(ApiError::parsing(format!(
                    "unknown key [{other}] for create index; this embedded index knows settings and mappings"
                )));
            }
        }
    }
    app.catalog.create(&index, meta).await?;
    Ok(json_response(200, &json!({ "acknowledged": true, "shards_acknowledged": true, "index": index })))
}

pub(super) async fn exists(State(app): AppState, Path(index): Path<String>) -> Response {
    match app.catalog.select(&index) {
        Ok(found) if !found.is_empty() => StatusCode::OK.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(super) async fn describe(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    check_params(&params, &[])?;
    let mut body = Map::new();
    for index in app.catalog.select(&index)? {
        let meta = index.shared.meta();
        let one = json!({ "aliases": {}, "mappings": meta.mapping.to_json(), "settings": settings_of(&index) });
        body.insert(index.name().to_owned(), one);
    }
    Ok(json_response(200, &Value::Object(body)))
}

pub(super) async fn settings(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    check_params(&params, &[])?;
    let found = app.catalog.select(&index)?;
    let body: Map<String, Value> =
        found.iter().map(|index| (index.name().to_owned(), json!({ "settings": settings_of(index) }))).collect();
    Ok(json_response(200, &Value::Object(body)))
}

fn settings_of(index: &Index) -> Value {
    let meta = index.shared.meta();
    let mut settings = meta.settings.clone();
    settings.insert("uuid".to_owned(), json!(meta.uuid));
    settings.insert("creation_date".to_owned(), json!(meta.created_ms.to_string()));
    settings.insert("provided_name".to_owned(), json!(index.name()));
    json!({ "index": settings })
}

/// Names only: a pattern in a DELETE is how data gets lost.
pub(super) async fn delete(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    check_params(&params, &[])?;
    if index == "_all" || index.contains('*') {
        return Err(ApiError::illegal("Wildcard expressions or all indices are not allowed; delete by name"));
    }
    for name in index.split(',') {
        app.catalog.get(name)?;
    }
    for name in index.split(',') {
        app.catalog.delete(name).await?;
    }
    Ok(json_response(200, &json!({ "acknowledged": true })))
}

pub(super) async fn mapping(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    check_params(&params, &[])?;
    let found = app.catalog.select(&index)?;
    let body: Map<String, Value> = found
        .iter()
        .map(|index| (index.name().to_owned(), json!({ "mappings": index.shared.meta().mapping.to_json() })))
        .collect();
    Ok(json_response(200, &Value::Object(body)))
}

pub(super) async fn mapping_all(state: AppState, params: Query<Params>) -> Result<Response, ApiError> {
    mapping(state, Path("_all".to_owned()), params).await
}

pub(super) async fn put_mapping(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_params(&params, &[])?;
    let body = json_body(&headers, body)?;
    for index in app.catalog.select(&index)? {
        index.put_mapping(body.clone()).await?;
    }
    Ok(json_response(200, &json!({ "acknowledged": true })))
}

/// Nothing to do: a write is visible as soon as it is answered.
pub(super) async fn refresh(State(app): AppState, Path(index): Path<String>) -> Result<Response, ApiError> {
    let n = app.catalog.select(&index)?.len();
    Ok(json_response(200, &json!({ "_shards": { "total": n, "successful": n, "failed": 0 } })))
}

pub(super) async fn refresh_all(state: AppState) -> Result<Response, ApiError> {
    refresh(state, Path("_all".to_owned())).await
}
