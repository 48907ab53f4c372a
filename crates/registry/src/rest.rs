//! HTTP: paths, parameters and bodies in, Confluent's JSON out. No rules here.

mod body;
mod compatibility;
mod config;
mod envelope;
mod mode;
mod schemas;
mod subjects;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value as Json, json};

use crate::error::ApiError;
use crate::metrics::RegistryMetrics;
use crate::settings::Settings;
use crate::state::{Reference, SchemaValue};
use crate::store::Store;

pub(crate) use envelope::{Envelope, service};

/// A schema larger than this is somebody's mistake.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Arc<Store>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: RegistryMetrics,
}

type Answer = Result<Response, ApiError>;

fn router(app: App) -> Router {
    let metrics = app.metrics.metrics.router();
    let api = Router::new()
        .route("/", get(root).post(root))
        .route("/subjects", get(subjects::list))
        .route("/subjects/{subject}", post(subjects::lookup).delete(subjects::delete))
        .route("/subjects/{subject}/versions", get(subjects::versions).post(subjects::register))
        .route("/subjects/{subject}/versions/{version}", get(subjects::version).delete(subjects::delete_version))
        .route("/subjects/{subject}/versions/{version}/schema", get(subjects::version_schema))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(subjects::referenced_by))
        .route("/schemas", get(schemas::list))
        .route("/schemas/types", get(schemas::types))
        .route("/schemas/ids/{id}", get(schemas::by_id))
        .route("/schemas/ids/{id}/schema", get(schemas::text_by_id))
        .route("/schemas/ids/{id}/subjects", get(schemas::subjects_of_id))
        .route("/schemas/ids/{id}/versions", get(schemas::versions_of_id))
        .route("/config", get(config::global).put(config::set_global).delete(config::delete_global))
        .route("/config/{subject}", get(config::subject).put(config::set_subject).delete(config::delete_subject))
        .route("/mode", get(mode::global).put(mode::set_global).delete(mode::delete_global))
        .route("/mode/{subject}", get(mode::subject).put(mode::set_subject).delete(mode::delete_subject))
        .route("/compatibility/subjects/{subject}/versions", post(compatibility::all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(compatibility::one))
        .route("/contexts", get(contexts))
        .route("/v1/metadata/id", get(metadata_id))
        .route("/v1/metadata/version", get(metadata_version))
        .route("/master_available", get(master_available));
    api.fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
        .merge(metrics)
}

async fn root() -> Answer {
    answer(json!({}))
}

async fn contexts() -> Answer {
    answer(json!(["."]))
}

async fn metadata_id(State(app): State<App>) -> Answer {
    let cluster = app.store.cluster_id().unwrap_or_default();
    let clusters = json!({"kafka-cluster": cluster, "schema-registry-cluster": "schema-registry"});
    answer(json!({"scope": {"path": [], "clusters": clusters}, "id": ""}))
}

async fn metadata_version() -> Answer {
    answer(json!({"version": env!("CARGO_PKG_VERSION"), "commitId": ""}))
}

/// Karapace's question whether writes are possible here.
async fn master_available(State(app): State<App>) -> Answer {
    answer(json!({"master_available": app.settings.writable && !app.store.is_mirror()}))
}

async fn no_such_path() -> Answer {
    Err(ApiError::NoSuchPath)
}

async fn no_such_method() -> Answer {
    Err(ApiError::NoSuchMethod)
}

fn answer(json: Json) -> Answer {
    Ok(Envelope(json).into_response())
}

/// Query parameters. Flags are read as Java does: `true` in any case is true, everything else is false; Python's
/// clients send `False`.
struct Params(HashMap<String, String>);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<HashMap<String, String>>::from_request_parts(parts, state).await;
        query.map(|Query(params)| Self(params)).map_err(|error| ApiError::BadRequest(error.to_string()))
    }
}

impl Params {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// A number that says "no limit" when it is negative or missing.
    fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => match text.parse::<i64>() {
                Ok(number) => Ok(usize::try_from(number).ok()),
                Err(_) => Err(ApiError::NoSuchPath), // what a JAX-RS server answers to a parameter it cannot convert
            },
        }
    }

    /// One page of a list.
    fn page<T>(&self, items: impl Iterator<Item = T>, limit: Option<usize>) -> Result<Vec<T>, ApiError> {
        let skip = self.count("offset")?.unwrap_or(0);
        let take = self.count("limit")?.filter(|count| *count > 0).or(limit).unwrap_or(usize::MAX);
        let take = limit.map_or(take, |limit| take.min(limit));
        Ok(items.skip(skip).take(take).collect())
    }
}

/// A version with its place, as most answers show it.
fn version_json(value: &SchemaValue) -> Json {
    let mut object = serde_json::Map::new();
    object.insert("subject".to_owned(), json!(value.subject));
    object.insert("version".to_owned(), json!(value.version));
    object.insert("id".to_owned(), json!(value.id));
    object.extend(schema_members(value));
    Json::Object(object)
}

/// Type (unless Avro), references (if any) and text.
fn schema_members(value: &SchemaValue) -> serde_json::Map<String, Json> {
    let mut object = serde_json::Map::new();
    if value.schema_type() != "AVRO" {
        object.insert("schemaType".to_owned(), json!(value.schema_type()));
    }
    let references = value.references();
    if !references.is_empty() {
        object.insert("references".to_owned(), references.iter().map(Reference::to_json).collect());
    }
    object.insert("schema".to_owned(), json!(value.schema()));
    object
}

/// The prefix of subjects, without the part that names all contexts or the only one there is.
fn subject_prefix(params: &Params) -> &str {
    let prefix = params.text("subjectPrefix").unwrap_or("");
    let prefix = prefix.strip_prefix(":*:").unwrap_or(prefix);
    prefix.strip_prefix(":.:").unwrap_or(prefix)
}
