//! JSON over HTTP, with errors that say what the other side said.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;

use crate::failure::{Failure, chain};

/// A REST server on this machine answers faster, or hangs.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

pub(super) struct Http {
    client: Client,
}

#[derive(Debug)]
pub(super) struct HttpError {
    /// `None` when there was no answer at all.
    pub status: Option<u16>,
    reason: String,
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl Http {
    pub(super) fn new() -> Result<Self, Failure> {
        // Everything is on this machine; a proxy that the environment names must not come between.
        let client = Client::builder().no_proxy().timeout(REQUEST_TIME_MAX).build();
        Ok(Self { client: client.map_err(|error| Failure::chain(&error))? })
    }

    pub(super) async fn get(&self, url: &str) -> Result<Value, HttpError> {
        self.send(Method::GET, url, None).await
    }

    pub(super) async fn put(&self, url: &str, body: &Value) -> Result<Value, HttpError> {
        self.send(Method::PUT, url, Some(body)).await
    }

    pub(super) async fn post(&self, url: &str, body: Option<&Value>) -> Result<Value, HttpError> {
        self.send(Method::POST, url, body).await
    }

    async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Value, HttpError> {
        let lost = |error: reqwest::Error| HttpError { status: None, reason: chain(&error.without_url()) };
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let text = response.text().await.map_err(lost)?;
        if !status.is_success() {
            return Err(HttpError { status: Some(status.as_u16()), reason: format!("HTTP {status}: {}", text.trim()) });
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}
