//! Single documents: `_doc`, `_create`, `_update`, `_source`, `_mget`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::bulk::{Verb, item_json, make_op, status};
use super::{App, AppState, Params, check_params, json_body, json_response, text_body};
use crate::error::ApiError;
use crate::search::SourceFilter;

const WRITE_PARAMS: [&str; 4] = ["version", "version_type", "op_type", "retry_on_conflict"];

/// Unique in this process and, by its clock part, across restarts.
pub(super) fn generated_id() -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{nanos:x}-{:x}", SERIAL.fetch_add(1, Ordering::Relaxed))
}

async fn write(
    app: &Arc<App>,
    verb: Verb,
    index: &str,
    id: String,
    params: &Params,
    source: Option<&str>,
) -> Result<Response, ApiError> {
    check_params(params, &WRITE_PARAMS)?;
    let _admitted = app.admit(source.map_or(0, str::len))?;
    let version = params
        .get("version")
        .map(|text| {
            text.parse::<i64>().map_err(|_| ApiError::illegal(format!("[version] must be a number, was [{text}]")))
        })
        .transpose()?;
    let op = make_op(verb, Some(id.clone()), source, version, params.get("version_type").map(String::as_str))?;
    let target = if verb == Verb::Delete { app.catalog.get(index)? } else { app.catalog.get_or_create(index).await? };
    let result =
        target.write(vec![op]).await?.pop().unwrap_or_else(|| Err(ApiError::internal("operation was not run")));
    match result {
        Err(error) => Err(error.at(index)),
        Ok(done) => {
            let mut body = item_json(index, Some(&id), &Ok(done.clone()));
            if let Some(body) = body.as_object_mut() {
                body.remove("status");
            }
            Ok(json_response(status(&done), &body))
        }
    }
}

pub(super) async fn put(
    State(app): AppState,
    Path((index, id)): Path<(String, String)>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let verb = match params.get("op_type").map(String::as_str) {
        None | Some("index") => Verb::Index,
        Some("create") => Verb::Create,
        Some(other) => return Err(ApiError::illegal(format!("opType must be 'create' or 'index', found: [{other}]"))),
    };
    write(&app, verb, &index, id, &params, Some(&text_body(&headers, body)?)).await
}

pub(super) async fn create(
    State(app): AppState,
    Path((index, id)): Path<(String, String)>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    write(&app, Verb::Create, &index, id, &params, Some(&text_body(&headers, body)?)).await
}

pub(super) async fn add(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    write(&app, Verb::Index, &index, generated_id(), &params, Some(&text_body(&headers, body)?)).await
}

pub(super) async fn update(
    State(app): AppState,
    Path((index, id)): Path<(String, String)>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    write(&app, Verb::Update, &index, id, &params, Some(&text_body(&headers, body)?)).await
}

pub(super) async fn delete(
    State(app): AppState,
    Path((index, id)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    write(&app, Verb::Delete, &index, id, &params, None).await
}

const READ_PARAMS: [&str; 6] =
    ["_source", "_source_includes", "_source_excludes", "realtime", "preference", "stored_fields"];

fn source_filter(params: &Params) -> Result<SourceFilter, ApiError> {
    if params.contains_key("stored_fields") {
        return Err(ApiError::illegal("[stored_fields] is not supported; use _source"));
    }
    let list = |name: &str| params.get(name).map(|text| text.split(',').collect::<Vec<_>>()).unwrap_or_default();
    let (includes, excludes) = (list("_source_includes"), list("_source_excludes"));
    match params.get("_source") {
        Some(text) => SourceFilter::parse(&json!(text)),
        None if includes.is_empty() && excludes.is_empty() => Ok(SourceFilter::All),
        None => SourceFilter::parse(&json!({ "includes": includes, "excludes": excludes })),
    }
}

/// The answer for one id, found or not.
fn one(app: &App, index: &str, id: &str, filter: &SourceFilter) -> Result<Value, ApiError> {
    let Some(found) = app.catalog.get(index)?.get(id)? else {
        return Ok(json!({ "_index": index, "_id": id, "found": false }));
    };
    let mut body = json!({ "_index": index, "_id": id, "_version": found.version, "_seq_no": found.seq_no, "_primary_term": 1, "found": true });
    if let Some(source) = filter.apply(&found.source)? {
        body["_source"] = source;
    }
    Ok(body)
}

pub(super) async fn get(
    State(app): AppState,
    Path((index, id)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    check_params(&params, &READ_PARAMS)?;
    let filter = source_filter(&params)?;
    let shared = Arc::clone(&app);
    let body = app.reading(move || one(&shared, &index, &id, &filter)).await?;
    Ok(json_response(if body["found"] == true { 200 } else { 404 }, &body))
}

pub(super) async fn exists(State(app): AppState, Path((index, id)): Path<(String, String)>) -> Response {
    let shared = Arc::clone(&app);
    match app.reading(move || one(&shared, &index, &id, &SourceFilter::Nothing)).await {
        Ok(body) if body["found"] == true => StatusCode::OK.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(super) async fn source(
    State(app): AppState,
    Path((index, id)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    check_params(&params, &READ_PARAMS)?;
    let filter = source_filter(&params)?;
    let shared = Arc::clone(&app);
    let (named, asked) = (index.clone(), id.clone());
    let mut body = app.reading(move || one(&shared, &named, &asked, &filter)).await?;
    if body["found"] != true {
        return Err(ApiError::new(404, "resource_not_found_exception", format!("Document not found [{index}]/[{id}]")));
    }
    Ok(json_response(200, &body["_source"].take()))
}

pub(super) async fn mget_all(
    state: AppState,
    params: Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    many(state, None, params, headers, body).await
}

pub(super) async fn mget(
    state: AppState,
    Path(index): Path<String>,
    params: Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    many(state, Some(index), params, headers, body).await
}

async fn many(
    State(app): AppState,
    index: Option<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_params(&params, &READ_PARAMS)?;
    let filter = source_filter(&params)?;
    let body = json_body(&headers, body)?;
    let mut wanted = Vec::new();
    for doc in body["docs"].as_array().into_iter().flatten() {
        let name = doc["_index"]
            .as_str()
            .or(index.as_deref())
            .ok_or_else(|| ApiError::illegal("index is missing for a document of _mget"))?;
        let id = doc["_id"].as_str().ok_or_else(|| ApiError::illegal("id is missing for a document of _mget"))?;
        wanted.push((name.to_owned(), id.to_owned()));
    }
    for id in body["ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let name = index.clone().ok_or_else(|| ApiError::illegal("index is missing for [ids] of _mget"))?;
        wanted.push((name, id.to_owned()));
    }
    if wanted.is_empty() {
        return Err(ApiError::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: no documents to get;",
        ));
    }
    let shared = Arc::clone(&app);
    let docs: Vec<Value> = app
        .reading(move || {
            let read = |(index, id): (String, String)| {
                one(&shared, &index, &id, &filter)
                    .unwrap_or_else(|error| json!({ "_index": index, "_id": id, "error": error.cause() }))
            };
            Ok(wanted.into_iter().map(read).collect())
        })
        .await?;
    Ok(json_response(200, &json!({ "docs": docs })))
}
