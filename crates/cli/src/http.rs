//! JSON over HTTP, with errors that say what the other side said.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;

use crate::failure::{Failure, chain};

pub(crate) struct Http {
    client: Client,
}

#[derive(Debug)]
pub(crate) struct HttpError {
    /// `None` when there was no answer at all.
    pub status: Option<u16>,
    /// Whether there was none for too long.
    pub is_timeout: bool,
    reason: String,
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl Http {
    /// A request may take so long.
    pub(crate) fn new(within: Duration) -> Result<Self, Failure> {
        // Servers of a site are asked directly; a proxy that the environment names for the web must not come between.
        let client = Client::builder().no_proxy().timeout(within).build();
        Ok(Self { client: client.map_err(|error| Failure::chain(&error))? })
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Value, HttpError> {
        self.send(Method::GET, url, None).await
    }

    pub(crate) async fn put(&self, url: &str, body: &Value) -> Result<Value, HttpError> {
        self.send(Method::PUT, url, Some(body)).await
    }

    pub(crate) async fn post(&self, url: &str, body: Option<&Value>) -> Result<Value, HttpError> {
        self.send(Method::POST, url, body).await
    }

    pub(crate) async fn patch(&self, url: &str, body: &Value) -> Result<Value, HttpError> {
        self.send(Method::PATCH, url, Some(body)).await
    }

    pub(crate) async fn delete(&self, url: &str) -> Result<Value, HttpError> {
        self.send(Method::DELETE, url, None).await
    }

    async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Value, HttpError> {
        let lost = |error: reqwest::Error| HttpError {
            status: None,
            is_timeout: error.is_timeout(),
            reason: chain(&error.without_url()),
        };
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let text = response.text().await.map_err(lost)?;
        if !status.is_success() {
            let told = serde_json::from_str::<Value>(&text).ok();
            let told = told.as_ref().and_then(|answer| answer["message"].as_str()).unwrap_or(text.trim());
            return Err(HttpError {
                status: Some(status.as_u16()),
                is_timeout: false,
                reason: format!("HTTP {status}: {told}"),
            });
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}
