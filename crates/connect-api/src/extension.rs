//! Further paths of the worker's REST API (KIP-285's REST extensions).
//!
//! Picture: a crate of connectors may bring an [`Extension`], which answers everything below one first segment of the path,
//! for example `/links`. The worker reads the request, hands it over and writes the answer; the extension knows no HTTP
//! library. What it may do to connectors is in [`WorkerApi`], which is the REST API's own ground: a configuration that is
//! put here is checked as if a client had put it.
//!
//! Invariants: a path of Kafka Connect is never given to an extension; secrets in configurations are the stored ones, so an
//! extension must not show them ([`WorkerApi::shown_config`] hides them); each answer has the worker's time limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value as Json;

use crate::{OffsetMap, RawConfig};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// A request below the extension's path.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    pub method: Method,
    /// The segments behind the extension's own, decoded.
    pub path: Vec<String>,
    pub query: BTreeMap<String, String>,
    /// `Null` when the request had none.
    pub body: Json,
}

impl ApiRequest {
    /// Whether `name=true`, `name=1`, or `name` alone, is in the query. Ask [`ApiRequest::check_query`] first.
    pub fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| is_on(value) == Some(true))
    }

    /// Refuses what is in the query and is none of these: a slip of the pen in `dry-run` must not do the thing itself.
    pub fn check_query(&self, flags: &[&str], values: &[&str]) -> Result<(), ApiRefusal> {
        for (name, value) in &self.query {
            if flags.contains(&name.as_str()) {
                if is_on(value).is_none() {
                    return Err(ApiRefusal::bad_request(format!("{name} must be true or false, not '{value}'")));
                }
            } else if !values.contains(&name.as_str()) {
                let known: Vec<&str> = flags.iter().chain(values).copied().collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(ApiRefusal::bad_request(format!(
                    "unknown parameter '{name}', nothing was done; known here: {known}"
                )));
            }
        }
        Ok(())
    }
}

fn is_on(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "" | "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// What a client gets: a status of HTTP and a JSON body, unless there is nothing to say.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiAnswer {
    pub status: u16,
    pub body: Option<Json>,
}

impl ApiAnswer {
    pub fn ok(body: Json) -> Self {
        Self { status: 200, body: Some(body) }
    }

    pub fn created(body: Json) -> Self {
        Self { status: 201, body: Some(body) }
    }

    pub fn accepted() -> Self {
        Self { status: 202, body: None }
    }

    pub fn no_content() -> Self {
        Self { status: 204, body: None }
    }
}

/// A refusal, in the shape that all errors of the API have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiRefusal {
    pub status: u16,
    pub message: String,
}

impl ApiRefusal {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, message)
    }
}

/// What is wanted of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Running,
    Paused,
    Stopped,
}

impl Wanted {
    /// As statuses print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
        }
    }
}

/// The worker's connectors, as its REST API has them.
#[async_trait]
pub trait WorkerApi: Send + Sync {
    fn connectors(&self) -> Vec<String>;

    /// As stored, secrets and all.
    fn config(&self, connector: &str) -> Option<RawConfig>;

    /// As answers show it.
    fn shown_config(&self, connector: &str) -> Option<RawConfig>;

    /// What is stored as wanted of the connector.
    fn wanted(&self, connector: &str) -> Option<Wanted>;

    /// The body of `GET /connectors/NAME/status`.
    fn status(&self, connector: &str) -> Option<Json>;

    /// `bootstrap.servers` of the cluster that records go to of connectors which do not say otherwise; `None` until it is known.
    fn producer_servers(&self) -> Option<String>;

    /// The stored offsets of a source.
    fn offsets(&self, connector: &str) -> Vec<(OffsetMap, OffsetMap)>;

    /// What a configuration lacks, as `PUT /connectors/NAME/config` would say it.
    async fn check(&self, config: &RawConfig) -> Result<(), ApiRefusal>;

    /// Checks and stores; `true` when the connector is new.
    async fn put(&self, connector: &str, config: RawConfig) -> Result<bool, ApiRefusal>;

    async fn delete(&self, connector: &str) -> Result<(), ApiRefusal>;

    async fn want(&self, connector: &str, wanted: Wanted) -> Result<(), ApiRefusal>;
}

/// A page for browsers below an extension's path, whole in itself: the worker lets it run its own style and script, and load
/// nothing but JSON from the worker.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The one segment behind the extension's own.
    pub path: &'static str,
    /// A document whose `style` and `script` elements have `nonce="{nonce}"`, which is filled in for each answer.
    pub html: &'static str,
}

/// Answers everything below one path.
#[async_trait]
pub trait Extension: Send + Sync {
    /// The first segment, without slashes. One that Kafka Connect has is refused when the worker starts.
    fn path(&self) -> &'static str;

    /// Pages below the path. They are there from the worker's first moment on, and answer GET and HEAD.
    fn pages(&self) -> &'static [Page] {
        &[]
    }

    async fn answer(&self, worker: Arc<dyn WorkerApi>, request: ApiRequest) -> Result<ApiAnswer, ApiRefusal>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slip_of_the_pen_in_a_query_is_refused_by_name() {
        let request = |name: &str, value: &str| ApiRequest {
            method: Method::Put,
            path: Vec::new(),
            query: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            body: Json::Null,
        };
        for (value, is_on) in [("", true), ("true", true), ("TRUE", true), ("1", true), ("false", false), ("0", false)]
        {
            let request = request("dry-run", value);
            assert_eq!((request.check_query(&["dry-run"], &[]), request.flag("dry-run")), (Ok(()), is_on), "{value}");
        }
        for (name, value, told) in
            [("dry_run", "true", "unknown parameter 'dry_run'"), ("dry-run", "yes", "dry-run must be true or false")]
        {
            let refusal = request(name, value).check_query(&["dry-run"], &["timeout"]).unwrap_err();
            assert!(refusal.status == 400 && refusal.message.contains(told), "{refusal}");
        }
        assert_eq!(request("timeout", "5").check_query(&["dry-run"], &["timeout"]), Ok(()));
    }
}
