//! `_search` and `_count`: the URL's parameters over the body, then one blocking run.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::{AppState, Params, check_params, json_body, json_response};
use crate::error::ApiError;
use crate::search::{self, Request, SourceFilter};

pub(super) async fn search_all(
    state: AppState,
    params: Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    search(state, Path("_all".to_owned()), params, headers, body).await
}

pub(super) async fn search(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_params(
        &params,
        &[
            "q",
            "from",
            "size",
            "sort",
            "_source",
            "_source_includes",
            "_source_excludes",
            "track_total_hits",
            "version",
        ],
    )?;
    let indices = app.catalog.select(&index)?;
    let request = read_request(&params, &json_body(&headers, body)?)?;
    let answer = app.reading(move || search::search(&indices, &request)).await?;
    Ok(json_response(200, &answer))
}

pub(super) async fn count_all(
    state: AppState,
    params: Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    count(state, Path("_all".to_owned()), params, headers, body).await
}

pub(super) async fn count(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_params(&params, &["q"])?;
    let indices = app.catalog.select(&index)?;
    let body = json_body(&headers, body)?;
    if let Some(other) = body.as_object().and_then(|body| body.keys().find(|key| *key != "query")) {
        return Err(ApiError::parsing(format!("request does not support [{other}]")));
    }
    let request = read_request(&params, &body)?;
    let answer = app.reading(move || search::count_hits(&indices, &request)).await?;
    Ok(json_response(200, &answer))
}

fn read_request(params: &Params, body: &Value) -> Result<Request, ApiError> {
    let mut request = Request::default();
    request.parse_body(body)?;
    let mut over = serde_json::Map::new();
    for (name, text) in params {
        match name.as_str() {
            "q" => request.q = Some(text.clone()),
            "sort" => request.sort = search::parse_sort(&json!(text.split(',').collect::<Vec<_>>()))?,
            "track_total_hits" => request.total = search::parse_total(&json!(text))?,
            "version" => request.version = text != "false",
            "from" | "size" | "_source" => drop(over.insert(name.clone(), json!(text))),
            "_source_includes" | "_source_excludes" => {
                let list =
                    |name: &str| params.get(name).map(|text| text.split(',').collect::<Vec<_>>()).unwrap_or_default();
                request.source = SourceFilter::parse(
                    &json!({ "includes": list("_source_includes"), "excludes": list("_source_excludes") }),
                )?;
            }
            _ => {}
        }
    }
    request.parse_body(&Value::Object(over))?;
    request.check()?;
    Ok(request)
}
