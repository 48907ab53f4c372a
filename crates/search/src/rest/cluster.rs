//! `/`, `_cluster/health`, `_cat/indices`: what clients and people look at first.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{AppState, Params, check_params, json_response};
use crate::error::ApiError;
use crate::index::Index;

/// The release whose API is followed; clients derive their media type from its major number.
const COMPATIBLE_VERSION: &str = "9.1.0";

pub(super) async fn info() -> Response {
    let body = json!({
        "name": "twinstream-search",
        "cluster_name": "twinstream-search",
        "cluster_uuid": "twinstream-embedded",
        "version": {
            "number": COMPATIBLE_VERSION,
            "build_flavor": "default",
            "build_type": "embedded",
            "build_hash": "unknown",
            "build_date": "1970-01-01T00:00:00Z",
            "build_snapshot": false,
            "lucene_version": "10.2.0",
            "minimum_wire_compatibility_version": "8.19.0",
            "minimum_index_compatibility_version": "8.0.0",
        },
        "twinstream": { "version": env!("CARGO_PKG_VERSION") },
        "tagline": "You Know, for Search",
    });
    json_response(200, &body)
}

pub(super) async fn health(State(app): AppState) -> Result<Response, ApiError> {
    let n_indices = app.catalog.select("_all")?.len();
    let body = json!({
        "cluster_name": "twinstream-search",
        "status": "green",
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": n_indices,
        "active_shards": n_indices,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "active_shards_percent_as_number": 100.0,
    });
    Ok(json_response(200, &body))
}

pub(super) async fn cat_indices(State(app): AppState, Query(params): Query<Params>) -> Result<Response, ApiError> {
    list(&app.catalog.select("_all")?, &params)
}

pub(super) async fn cat_indices_of(
    State(app): AppState,
    Path(index): Path<String>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    list(&app.catalog.select(&index)?, &params)
}

fn list(indices: &[Arc<Index>], params: &Params) -> Result<Response, ApiError> {
    check_params(params, &["format", "v"])?;
    let rows: Vec<Value> = indices
        .iter()
        .map(|index| {
            json!({
                "health": "green", "status": "open", "index": index.name(), "uuid": index.shared.meta().uuid, "pri": "1", "rep": "0",
                "docs.count": index.doc_count().to_string(), "store.size": format!("{}b", index.size_bytes()),
            })
        })
        .collect();
    if params.get("format").is_some_and(|format| format == "json") {
        return Ok(json_response(200, &Value::Array(rows)));
    }
    let columns = ["health", "status", "index", "uuid", "pri", "rep", "docs.count", "store.size"];
    let mut text = String::new();
    if params.contains_key("v") {
        text.push_str(&columns.join(" "));
        text.push('\n');
    }
    for row in rows {
        let cells: Vec<&str> = columns.iter().map(|column| row[*column].as_str().unwrap_or_default()).collect();
        text.push_str(&cells.join(" "));
        text.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], text).into_response())
}
