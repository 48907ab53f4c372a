//! What every request and answer goes through: trailing slashes, media types, error bodies, metrics.
//!
//! Error bodies have exactly `error_code` and `message`; clients choke on more. Errors that axum makes by itself (a body
//! that is too large, a path that is no UTF-8) are dressed the same way here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{ServiceExt, routing::future::RouteFuture};
use serde_json::{Value as Json, json};
use tower::Service;
use tracing::{debug, error};

use super::{App, router};
use crate::error::ApiError;

const V1: &str = "application/vnd.schemaregistry.v1+json";
const PLAIN_VENDOR: &str = "application/vnd.schemaregistry+json";
const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// A JSON answer whose media type is still to be chosen.
pub(crate) struct Envelope(pub(crate) Json);

impl IntoResponse for Envelope {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, HeaderValue::from_static(V1))], self.0.to_string()).into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if matches!(self, Self::Store(_) | Self::StoreTimeout(_)) {
            error!(code = self.code(), error = %self, "request failed");
        }
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Envelope(json!({"error_code": self.code(), "message": self.to_string()}))).into_response()
    }
}

/// The whole API, ready to be served.
pub(crate) fn service(
    app: App,
) -> axum::extract::connect_info::IntoMakeServiceWithConnectInfo<Outer, std::net::SocketAddr> {
    Outer { app: app.clone(), inner: router(app) }.into_make_service_with_connect_info()
}

/// Works on the request before it is routed, which a layer of the router cannot.
#[derive(Clone)]
pub(crate) struct Outer {
    app: App,
    inner: Router,
}

impl Service<Request> for Outer {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        trim_slashes(request.uri_mut());
        let refused = refusal(&request);
        let media = negotiated(request.headers(), &self.app.settings.media_type);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if path.starts_with("/metrics") {
            self.app.metrics.refresh();
        }
        let routed: Option<RouteFuture<Infallible>> =
            if refused.is_none() { Some(self.inner.call(request)) } else { None };
        let metrics = self.app.metrics.clone();
        Box::pin(async move {
            let started = Instant::now();
            let response = match (refused, routed) {
                (None, Some(routed)) => routed.await?,
                (refused, _) => refused.unwrap_or(ApiError::NoSuchPath).into_response(),
            };
            let response = dressed(response, media, path.starts_with("/metrics"));
            let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
            metrics.answered(method.as_str(), status, seconds);
            debug!(%method, path, status, seconds, "answered");
            Ok(response)
        })
    }
}

/// `/subjects/` is `/subjects`; many clients are careless about it.
fn trim_slashes(uri: &mut Uri) {
    let path = uri.path();
    if path.len() < 2 || !path.ends_with('/') {
        return;
    }
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    let whole = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    if let Ok(path) = PathAndQuery::try_from(whole) {
        parts.path_and_query = Some(path);
    }
    if let Ok(changed) = Uri::from_parts(parts) {
        *uri = changed;
    }
}

fn refusal(request: &Request) -> Option<ApiError> {
    let has_body = matches!(*request.method(), Method::POST | Method::PUT);
    let sent = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let known = |sent: &str| {
        let media = sent.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        // curl calls every body a form unless told otherwise; Confluent refuses that, and so do we.
        [V1, PLAIN_VENDOR, JSON, OCTETS].contains(&media.as_str())
    };
    if has_body && sent.is_some_and(|sent| !known(sent)) {
        return Some(ApiError::UnsupportedMediaType);
    }
    if negotiated(request.headers(), V1).is_none() && !request.uri().path().starts_with("/metrics") {
        return Some(ApiError::NotAcceptable);
    }
    None
}

/// The first type of ours that the client accepts; `None` if it accepts none.
fn negotiated(headers: &HeaderMap, default: &str) -> Option<HeaderValue> {
    let default = [V1, PLAIN_VENDOR, JSON].into_iter().find(|media| *media == default).unwrap_or(V1);
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
        return Some(HeaderValue::from_static(default));
    };
    for range in accept.split(',') {
        match range.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
            "*/*" | "application/*" | "" => return Some(HeaderValue::from_static(default)),
            V1 => return Some(HeaderValue::from_static(V1)),
            PLAIN_VENDOR => return Some(HeaderValue::from_static(PLAIN_VENDOR)),
            JSON => return Some(HeaderValue::from_static(JSON)),
            _ => {}
        }
    }
    None
}

fn dressed(mut response: Response, media: Option<HeaderValue>, metrics: bool) -> Response {
    let ours = response.headers().get(CONTENT_TYPE).is_some_and(|media| media == V1);
    let status = response.status();
    if !ours && !metrics && status.is_client_error() | status.is_server_error() {
        let message = format!("HTTP {} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
        let body = json!({"error_code": status.as_u16(), "message": message}).to_string();
        response = (status, [(CONTENT_TYPE, HeaderValue::from_static(V1))], Body::from(body)).into_response();
    }
    if let (Some(media), false) = (media, metrics) {
        response.headers_mut().insert(CONTENT_TYPE, media);
    }
    response
}

#[cfg(test)]
mod tests;
