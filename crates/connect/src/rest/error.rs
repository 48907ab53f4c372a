//! Every error of the API: its status and its body `{"error_code":N,"message":".."}`.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use twinstream_connect_api::ApiRefusal;

use crate::herder::HerderError;
use crate::plugins::Invalid;

/// The library's texts are one line.
const LIBRARY_TEXT_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn into_message(self) -> String {
        self.message
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn not_yet(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub(super) fn starting() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Worker is still starting up. Try again in a moment.")
    }

    pub(super) fn timeout() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Request timed out. The worker is currently writing to its config topic, see its log.",
        )
    }
}

impl From<HerderError> for ApiError {
    fn from(error: HerderError) -> Self {
        let status = match &error {
            HerderError::AlreadyExists(_) => StatusCode::CONFLICT,
            HerderError::NotFound(_)
            | HerderError::UnknownConnector(_)
            | HerderError::UnknownConnectorToRestart(_)
            | HerderError::UnknownTask(_) => StatusCode::NOT_FOUND,
            HerderError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            HerderError::Gone => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ApiRefusal> for ApiError {
    fn from(refusal: ApiRefusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, refusal.message)
    }
}

impl From<ApiError> for ApiRefusal {
    fn from(error: ApiError) -> Self {
        Self::new(error.status.as_u16(), error.message)
    }
}

impl From<Invalid> for ApiError {
    fn from(error: Invalid) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Gives errors of the HTTP library (a body too large, a path that is no UTF-8) the shape that clients expect.
pub(super) async fn in_our_shape(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let body = axum::body::to_bytes(response.into_body(), LIBRARY_TEXT_MAX).await.unwrap_or_default();
    ApiError::new(status, String::from_utf8_lossy(&body)).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error_code": self.status.as_u16(), "message": self.message});
        (self.status, Json(body)).into_response()
    }
}
