//! The REST API: Kafka Connect's paths, bodies, status codes and texts.
//!
//! One file per group of paths; `error` maps every error to its status in one place. The listener answers from the first
//! moment: until the worker is ready every path but `/health`, `/metrics` and pages says 503. Reads come from the stored states
//! and the statuses in memory, so a connector that hangs delays no answer.
//! Paths with a trailing slash are the same paths; names may be percent-encoded, slashes included.

mod body;
mod connectors;
mod error;
mod extensions;
mod info;
mod offsets;
mod pages;
mod plugins;
mod root;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::Request;
use axum::http::Uri;
use axum::routing::{delete, get, post, put};
use axum::{Router, ServiceExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::Layer as _;
use twinstream_client::Admin;
use twinstream_connect_api::{Extension, RawConfig};
use twinstream_telemetry::Metrics;

use crate::herder::{self, HerderError, HerderHandle};
use crate::plugins::Plugins;
use crate::settings::Settings;
use crate::state::configs::ConfigState;
use crate::state::offsets::OffsetState;
use crate::store::{StateLog, StatusStore};
use error::ApiError;
pub(crate) use extensions::problem as problem_of_extensions;

/// How long a request may take; Kafka Connect's value, which its clients count on.
const REQUEST_WITHIN: Duration = Duration::from_secs(90);
/// Largest body that is read.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the handlers need.
pub(crate) struct App {
    pub(crate) settings: Arc<Settings>,
    pub(crate) plugins: Plugins,
    pub(crate) configs: Arc<StateLog<ConfigState>>,
    pub(crate) offsets: Arc<StateLog<OffsetState>>,
    pub(crate) statuses: StatusStore,
    pub(crate) herder: HerderHandle,
    pub(crate) admin: Admin,
    pub(crate) cluster_id: String,
    /// `http://host:port/`
    pub(crate) url: String,
}

/// Set once, when the worker is ready.
pub(crate) type SharedApp = Arc<OnceLock<App>>;

impl App {
    /// Sends a request to the herder and waits within the bound for its answer.
    async fn herd(&self, request: herder::Request) -> Result<bool, ApiError> {
        match tokio::time::timeout(REQUEST_WITHIN, self.herder.request(request)).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(ApiError::timeout()),
        }
    }

    fn must_exist(&self, name: &str) -> Result<(), ApiError> {
        if self.configs.state().contains(name) { Ok(()) } else { Err(HerderError::NotFound(name.to_owned()).into()) }
    }
}

/// What a client does with PUT, left out where the very configuration is stored; `true` if it was not.
pub(crate) async fn put_if_changed(app: &SharedApp, name: &str, config: RawConfig) -> Result<bool, String> {
    let app = root::ready(app).map_err(ApiError::into_message)?;
    if app.configs.state().config(name) == Some(&config) {
        return Ok(false);
    }
    connectors::store(app, name, config).await.map(|_| true).map_err(ApiError::into_message)
}

/// What a client does with `restart?onlyFailed=true`. One that is gone is no business of ours any more.
pub(crate) async fn restart_if_failed(app: &SharedApp, name: &str) {
    let Some(app) = app.get() else { return };
    let request = herder::Request::Restart { name: name.to_owned(), include_tasks: false, only_failed: true };
    if let Err(error) = app.herd(request).await {
        tracing::debug!(connector = name, reason = error.into_message(), "connector was not restarted");
    }
}

fn router(app: SharedApp, extensions: &[Arc<dyn Extension>], metrics: &Metrics) -> Router {
    Router::new()
        .route("/", get(root::worker))
        .route("/health", get(root::health))
        .route("/connectors", get(connectors::list).post(connectors::create))
        .route("/connectors/{name}", get(connectors::info).delete(connectors::delete))
        .route(
            "/connectors/{name}/config",
            get(connectors::config).put(connectors::put_config).patch(connectors::patch_config),
        )
        .route("/connectors/{name}/status", get(connectors::status))
        .route("/connectors/{name}/pause", put(connectors::pause))
        .route("/connectors/{name}/resume", put(connectors::resume))
        .route("/connectors/{name}/stop", put(connectors::stop))
        .route("/connectors/{name}/restart", post(connectors::restart))
        .route("/connectors/{name}/tasks", get(connectors::tasks).post(root::between_workers))
        .route("/connectors/{name}/tasks-config", get(connectors::tasks_config))
        .route("/connectors/{name}/tasks/{task}/status", get(connectors::task_status))
        .route("/connectors/{name}/tasks/{task}/restart", post(connectors::restart_task))
        .route(
            "/connectors/{name}/offsets",
            get(offsets::list).patch(root::no_offset_changes).delete(root::no_offset_changes),
        )
        .route("/connectors/{name}/topics", get(root::no_topic_tracking))
        .route("/connectors/{name}/topics/reset", put(root::no_topic_tracking))
        .route("/connectors/{name}/fence", put(root::between_workers))
        .route("/connector-plugins", get(plugins::list))
        .route("/connector-plugins/{plugin}/config", get(plugins::config))
        .route("/connector-plugins/{plugin}/config/validate", put(plugins::validate))
        .route("/admin/loggers", get(root::no_loggers))
        .route("/admin/loggers/{logger}", get(root::no_loggers).put(root::no_loggers))
        .route("/admin/loggers/{logger}/{*rest}", delete(root::no_loggers))
        .merge(extensions::routes(extensions))
        .fallback(root::not_found)
        .method_not_allowed_fallback(root::method_not_allowed)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::map_response(error::in_our_shape))
        .with_state(app)
        .merge(metrics.router())
}

/// Serves until `stop` turns true.
pub(crate) async fn serve(
    listener: TcpListener,
    app: SharedApp,
    extensions: &[Arc<dyn Extension>],
    metrics: &Metrics,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let normalized = axum::middleware::map_request(without_trailing_slash).layer(router(app, extensions, metrics));
    let stopped = async move {
        stop.wait_for(|stop| *stop).await.ok(); // an error means that the sender is gone: a stop as well
    };
    let service = ServiceExt::<Request>::into_make_service(normalized);
    axum::serve(listener, service).with_graceful_shutdown(stopped).await
}

async fn without_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.len() > 1 && path.ends_with('/') {
        let trimmed = path.trim_end_matches('/');
        let trimmed = if trimmed.is_empty() { "/" } else { trimmed };
        let rewritten = match request.uri().query() {
            Some(query) => format!("{trimmed}?{query}"),
            None => trimmed.to_owned(),
        };
        if let Ok(uri) = rewritten.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}
