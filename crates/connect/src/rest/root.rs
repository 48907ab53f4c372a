//! `/`, `/health`, and paths that only say what is not there.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::ApiError;
use super::{App, SharedApp};
use crate::herder::Request;

/// How long the herder may take to answer a health check; Kafka Connect's value.
const HEALTH_WITHIN: Duration = Duration::from_secs(10);

/// The app, once the worker is ready.
pub(super) fn ready(app: &SharedApp) -> Result<&App, ApiError> {
    app.get().ok_or_else(ApiError::starting)
}

pub(super) async fn worker(State(app): State<SharedApp>) -> Result<Response, ApiError> {
    let app = ready(&app)?;
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("TWINSTREAM_COMMIT").unwrap_or("unknown");
    Ok(Json(json!({"version": version, "commit": commit, "kafka_cluster_id": app.cluster_id})).into_response())
}

/// Healthy means that the herder gets to its requests.
pub(super) async fn health(State(app): State<SharedApp>) -> Response {
    let answer = |status: StatusCode, word: &str, message: &str| {
        (status, Json(json!({"status": word, "message": message}))).into_response()
    };
    let Ok(app) = ready(&app) else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "starting", "Worker is still starting up.");
    };
    match tokio::time::timeout(HEALTH_WITHIN, app.herder.request(Request::Ping)).await {
        Ok(Ok(_)) => {
            let text = "Worker has completed startup and is ready to handle requests.";
            answer(StatusCode::OK, "healthy", text)
        }
        _ => {
            let text = "Worker was unable to handle this request and may be unable to handle other requests.";
            answer(StatusCode::INTERNAL_SERVER_ERROR, "unhealthy", text)
        }
    }
}

pub(super) async fn not_found() -> ApiError {
    ApiError::not_found("HTTP 404 Not Found")
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 Method Not Allowed")
}

pub(super) async fn no_offset_changes() -> ApiError {
    ApiError::not_yet("altering or resetting offsets is not supported in this release")
}

pub(super) async fn no_topic_tracking() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "Topic tracking is disabled.")
}

pub(super) async fn no_loggers() -> ApiError {
    ApiError::not_yet("log levels cannot be changed at run time in this release, set RUST_LOG and restart the worker")
}

pub(super) async fn between_workers() -> ApiError {
    ApiError::not_yet("requests between workers do not exist in this release, a group has one worker")
}
