//! The HTTP face: Elasticsearch's paths, headers and bodies.
//!
//! Each handler reads its request, calls one operation below and shapes the answer. Every answer carries
//! `X-Elastic-Product`, which official clients demand, and the media type that the client asked for. Bodies may be
//! gzip; both forms are bounded by [`BODY_BYTES_MAX`]. What a client asks for and this index does not have
//! (aggregations, scripts, templates, ..) is refused by name, never ignored.

mod bulk; // _bulk
mod cluster; // /, _cat, _cluster
mod docs; // _doc, _create, _update, _mget
mod indices; // /{index}, _mapping, _refresh, _settings
mod search; // _search, _count

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::catalog::Catalog;
use crate::error::ApiError;

/// The largest request body, before and after decompression.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of write requests in work at once; beyond it writers are told to come back (429).
const INDEXING_BYTES_MAX: u32 = 96 << 20;
/// Searches in work at once: each may hold a thread for its whole time.
const SEARCHES_MAX: usize = 8;

pub(crate) struct App {
    pub catalog: Catalog,
    indexing: Arc<Semaphore>,
    searches: Semaphore,
}

impl App {
    pub(crate) fn new(catalog: Catalog) -> App {
        App {
            catalog,
            indexing: Arc::new(Semaphore::new(INDEXING_BYTES_MAX as usize)),
            searches: Semaphore::new(SEARCHES_MAX),
        }
    }

    /// The right to hold that many bytes of documents until they are written.
    fn admit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, INDEXING_BYTES_MAX);
        Arc::clone(&self.indexing).try_acquire_many_owned(permits).map_err(|_| {
            ApiError::rejected(format!(
                "more than {INDEXING_BYTES_MAX} bytes of documents are being indexed; send it again later"
            ))
        })
    }

    /// Runs something that reads files, off the async threads.
    async fn reading<T: Send + 'static>(
        self: &Arc<App>,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let _turn = self.searches.acquire().await.map_err(|_| ApiError::unavailable("shutting down"))?;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(cause) => Err(ApiError::internal(format!("search failed: {cause}"))),
        }
    }
}

type AppState = State<Arc<App>>;
type Params = BTreeMap<String, String>;

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(cluster::info))
        .route("/_cluster/health", get(cluster::health))
        .route("/_cat/indices", get(cluster::cat_indices))
        .route("/_cat/indices/{index}", get(cluster::cat_indices_of))
        .route("/_bulk", post(bulk::bulk_all).put(bulk::bulk_all))
        .route("/_search", get(search::search_all).post(search::search_all))
        .route("/_count", get(search::count_all).post(search::count_all))
        .route("/_refresh", get(indices::refresh_all).post(indices::refresh_all))
        .route("/_mapping", get(indices::mapping_all))
        .route("/_mget", get(docs::mget_all).post(docs::mget_all))
        .route("/{index}", get(indices::describe).head(indices::exists).put(indices::create).delete(indices::delete))
        .route("/{index}/_mapping", get(indices::mapping).put(indices::put_mapping).post(indices::put_mapping))
        .route("/{index}/_settings", get(indices::settings))
        .route("/{index}/_refresh", get(indices::refresh).post(indices::refresh))
        .route("/{index}/_bulk", post(bulk::bulk).put(bulk::bulk))
        .route("/{index}/_search", get(search::search).post(search::search))
        .route("/{index}/_count", get(search::count).post(search::count))
        .route("/{index}/_mget", get(docs::mget).post(docs::mget))
        .route("/{index}/_doc", post(docs::add))
        .route(
            "/{index}/_doc/{id}",
            get(docs::get).head(docs::exists).put(docs::put).post(docs::put).delete(docs::delete),
        )
        .route("/{index}/_create/{id}", put(docs::create).post(docs::create))
        .route("/{index}/_update/{id}", post(docs::update))
        .route("/{index}/_source/{id}", get(docs::source).head(docs::exists))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(product_headers))
        .with_state(app)
}

async fn unknown_path(request: Request) -> ApiError {
    ApiError::illegal(format!(
        "no handler found for uri [{}] and method [{}] in this embedded index",
        request.uri(),
        request.method()
    ))
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::new(
        405,
        "method_not_allowed_exception",
        format!("Incorrect HTTP method for uri [{}] and method [{}]", request.uri(), request.method()),
    )
}

/// Official clients refuse a server without the product header, and compare the answer's media type with what they
/// asked for.
async fn product_headers(request: Request, next: Next) -> Response {
    let wanted =
        request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let head_only = request.method() == axum::http::Method::HEAD;
    let mut response = next.run(request).await;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE && !head_only {
        response = ApiError::new(
            413,
            "content_too_long_exception",
            format!("the request body is larger than {BODY_BYTES_MAX} bytes; send smaller bulks"),
        )
        .into_response();
    }
    let headers = response.headers_mut();
    headers.insert("x-elastic-product", HeaderValue::from_static("Elasticsearch"));
    let vendor = wanted.split(',').map(str::trim).find(|media| media.starts_with("application/vnd.elasticsearch+json"));
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if is_json && let Some(vendor) = vendor.and_then(|media| HeaderValue::from_str(media).ok()) {
        headers.insert(header::CONTENT_TYPE, vendor);
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        json_response(self.status, &self.body())
    }
}

fn json_response(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// The body as text, unpacked when it came as gzip.
fn text_body(headers: &HeaderMap, body: Bytes) -> Result<String, ApiError> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    let bytes = match encoding {
        "identity" => body.into(),
        "gzip" => {
            let mut plain = Vec::new();
            let limit = BODY_BYTES_MAX as u64 + 1;
            flate2::read::MultiGzDecoder::new(&body[..])
                .take(limit)
                .read_to_end(&mut plain)
                .map_err(|cause| ApiError::parsing(format!("the gzip body is damaged: {cause}")))?;
            if plain.len() > BODY_BYTES_MAX {
                return Err(ApiError::new(
                    413,
                    "content_too_long_exception",
                    format!("the unpacked body is larger than {BODY_BYTES_MAX} bytes"),
                ));
            }
            plain
        }
        other => {
            return Err(ApiError::new(
                415,
                "media_type_header_exception",
                format!("Content-Encoding [{other}] is not supported; use gzip or none"),
            ));
        }
    };
    String::from_utf8(bytes).map_err(|_| ApiError::parsing("the body is not UTF-8"))
}

fn json_body(headers: &HeaderMap, body: Bytes) -> Result<Value, ApiError> {
    let text = text_body(headers, body)?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|cause| ApiError::parsing(format!("the body is not JSON: {cause}")))
}

/// Parameters that change only the look of an answer, or ask for what always holds here (every write is visible when
/// answered, one node).
const HARMLESS_PARAMS: [&str; 12] = [
    "pretty",
    "human",
    "error_trace",
    "refresh",
    "timeout",
    "master_timeout",
    "wait_for_active_shards",
    "ignore_unavailable",
    "allow_no_indices",
    "expand_wildcards",
    "require_alias",
    "wait_for_completion",
];

/// A parameter that would be ignored is refused instead.
fn check_params(params: &Params, known: &[&str]) -> Result<(), ApiError> {
    match params.keys().find(|name| !known.contains(&name.as_str()) && !HARMLESS_PARAMS.contains(&name.as_str())) {
        Some(name) => Err(ApiError::illegal(format!("request contains unrecognized parameter: [{name}]"))),
        None => Ok(()),
    }
}
