//! The search cluster over HTTP, through the `elasticsearch` crate's transport.
//!
//! The transport sends what it is given to any server; only its default media type insists on one Elasticsearch
//! release. So each request names its own: `compatible-with` the server's major for Elasticsearch 8 and later, plain
//! JSON for Elasticsearch 7 and OpenSearch, found out from `GET /`. Bodies are built here, not by the crate, so that a
//! bulk is a join of prepared lines.

use std::time::Duration;

use bytes::Bytes;
use elasticsearch::auth::Credentials;
use elasticsearch::http::headers::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{MultiNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tracing::info;

use crate::config::Settings;
use crate::retry::{RequestError, judge_request};

/// The newest major whose compatibility mode this connector was made for.
const MAJOR_MAX: u64 = 9;
const REASON_CHARS_MAX: usize = 300;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("connection.url: {0}")]
    Url(String),
    #[error("set up HTTP: {0}")]
    Build(String),
}

/// What the server is, as far as requests depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Elasticsearch 7 and OpenSearch: plain media types.
    Plain,
    /// Elasticsearch 8 and later: vendored media types with a major.
    Compatible(u64),
}

impl Dialect {
    /// From the answer to `GET /`.
    pub(crate) fn of(info: &Value) -> Dialect {
        let version = &info["version"];
        let major = version["number"]
            .as_str()
            .and_then(|number| number.split('.').next())
            .and_then(|major| major.parse::<u64>().ok());
        match (version["distribution"].as_str(), major) {
            (Some("opensearch"), _) => Dialect::Plain,
            (_, Some(major)) if major >= 8 => Dialect::Compatible(major.min(MAJOR_MAX)),
            _ => Dialect::Plain,
        }
    }

    fn media(self, lines: bool) -> String {
        match (self, lines) {
            (Dialect::Plain, false) => "application/json".to_owned(),
            (Dialect::Plain, true) => "application/x-ndjson".to_owned(),
            (Dialect::Compatible(major), false) => {
                format!("application/vnd.elasticsearch+json; compatible-with={major}")
            }
            (Dialect::Compatible(major), true) => {
                format!("application/vnd.elasticsearch+x-ndjson; compatible-with={major}")
            }
        }
    }

    fn headers(self, lines: bool) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("application/json"));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value(&self.media(lines)));
        headers.insert(ACCEPT, value(&self.media(false)));
        headers
    }
}

pub(crate) struct Client {
    transport: Transport,
    /// For messages; without credentials.
    name: String,
    timeout: Duration,
    dialect: OnceCell<Dialect>,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Client, ClientError> {
        let mut credentials = settings.credentials.clone();
        let mut urls = Vec::new();
        for text in &settings.urls {
            let mut url = Url::parse(text).map_err(|cause| ClientError::Url(format!("'{text}': {cause}")))?;
            if let (None, Some(password)) = (&credentials, url.password()) {
                credentials = Some((url.username().to_owned(), password.to_owned()));
            }
            if url.set_username("").is_err() || url.set_password(None).is_err() {
                return Err(ClientError::Url(format!("'{text}' has no host")));
            }
            urls.push(url);
        }
        let name = urls.iter().map(|url| url.as_str().trim_end_matches('/')).collect::<Vec<_>>().join(",");
        let mut builder = TransportBuilder::new(MultiNodeConnectionPool::round_robin(urls, None))
            .request_body_compression(settings.compression)
            .enable_meta_header(false);
        if let Some((username, password)) = credentials {
            builder = builder.auth(Credentials::Basic(username, password));
        }
        builder = match &settings.proxy {
            None => builder.disable_proxy(),
            Some(proxy) => {
                let url = Url::parse(&proxy.url)
                    .map_err(|cause| ClientError::Url(format!("proxy '{}': {cause}", proxy.url)))?;
                builder.proxy(url, proxy.username.as_deref(), proxy.password.as_deref())
            }
        };
        let transport = builder.build().map_err(|cause| ClientError::Build(cause.to_string()))?;
        Ok(Client { transport, name, timeout: settings.request_timeout, dialect: OnceCell::new() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Asks the server once what it is; later calls know.
    pub(crate) async fn dialect(&self) -> Result<Dialect, RequestError> {
        self.dialect.get_or_try_init(|| self.ask_dialect()).await.copied()
    }

    async fn ask_dialect(&self) -> Result<Dialect, RequestError> {
        let info = self.send(Method::Get, "/", Dialect::Plain.headers(false), None).await?;
        let dialect = Dialect::of(&info);
        info!(server = %self.name, version = %info["version"]["number"], ?dialect, "search cluster found");
        Ok(dialect)
    }

    /// Sends prepared lines; the answer has one item per operation.
    pub(crate) async fn bulk(&self, body: Bytes) -> Result<Vec<Value>, RequestError> {
        let headers = self.dialect().await?.headers(true);
        let mut answer = self.send(Method::Post, "/_bulk", headers, Some(body)).await?;
        match answer["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Err(self.broken("the answer to a bulk request has no items")),
        }
    }

    /// Makes an index with a mapping; `false` when it is there already.
    pub(crate) async fn create_index(&self, index: &str, mapping: Option<&Value>) -> Result<bool, RequestError> {
        let headers = self.dialect().await?.headers(false);
        match self.send(Method::Head, &format!("/{index}"), headers.clone(), None).await {
            Ok(_) => return Ok(false),
            Err(RequestError::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        let body = mapping.map_or_else(|| json!({}), |mapping| json!({ "mappings": mapping }));
        match self.send(Method::Put, &format!("/{index}"), headers, Some(Bytes::from(body.to_string()))).await {
            Ok(_) => Ok(true),
            // Another task was faster.
            Err(RequestError::Refused { status: 400, reason, .. })
                if reason.starts_with("resource_already_exists_exception") =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Value, RequestError> {
        let sent = self.transport.send(method, path, headers, None::<&()>, body, Some(self.timeout)).await;
        let response = sent.map_err(|cause| self.broken(&reason_of(&cause)))?;
        let status = response.status_code().as_u16();
        let url = response.url().origin().ascii_serialization();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = response.text().await.map_err(|cause| self.broken(&reason_of(&cause)))?;
        if let Some(error) = judge_request(&url, status, retry_after.as_deref(), &text) {
            return Err(error);
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|cause| self.broken(&format!("the answer is not JSON: {cause}")))
    }

    fn broken(&self, reason: &str) -> RequestError {
        RequestError::Broken { url: self.name.clone(), reason: reason.chars().take(REASON_CHARS_MAX).collect() }
    }
}

/// The innermost cause says what happened ("Connection refused"); the outer ones only where.
fn reason_of(error: &elasticsearch::Error) -> String {
    if error.is_timeout() {
        return "no answer within connection.timeout.ms + read.timeout.ms".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
