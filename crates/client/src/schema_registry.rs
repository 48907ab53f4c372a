//! A client of schema registries that speak Confluent's REST API.
//!
//! Picture: a list of URLs of one registry, tried in turn; two bounded caches, because an id never changes its meaning and
//! a schema that is registered under a subject keeps its id there.
//! Invariants: answers that mean "not now" (5xx, 429, no connection) are retried [`ROUNDS`] times over all URLs; answers
//! that mean "no" are not retried. Not here: JSON Schema and Protobuf are carried as text, only Avro is parsed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tracing::debug;

use crate::avro::AvroSchema;
use crate::raw::Backoff;

/// The number that stands for a schema in records.
pub type SchemaId = i32;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often all URLs are tried.
const ROUNDS: u32 = 4;
/// Entries per cache; as many as Confluent's clients keep.
const CACHED_MAX: usize = 1_000;
/// How deep references may nest.
const REFERENCE_DEPTH_MAX: usize = 32;

#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("`{0}` is no URL of a schema registry; give http://host:port")]
    BadUrl(String),
    #[error("no schema registry answers: {attempts}; check the registry's URL and that it runs")]
    Unreachable { attempts: String },
    /// The registry said no.
    #[error("schema registry: {message} ({code})")]
    Refused { status: u16, code: i32, message: String },
    #[error("answer of the schema registry to {what} cannot be read: {reason}")]
    Malformed { what: String, reason: String },
    #[error("schema {id}: {reason}")]
    Schema { id: SchemaId, reason: String },
}

impl RegistryError {
    /// Whether the same call may succeed later by itself.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    /// Confluent's error number, such as 40401 for an unknown subject.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Another schema that this one uses by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaReference {
    pub name: String,
    pub subject: String,
    pub version: i32,
}

/// A schema as it is given to a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaDefinition {
    pub schema: String,
    #[serde(rename = "schemaType", default = "avro_type", skip_serializing_if = "is_avro")]
    pub schema_type: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<SchemaReference>,
}

fn avro_type() -> String {
    "AVRO".to_owned()
}

fn is_avro(schema_type: &String) -> bool {
    schema_type == "AVRO"
}

impl SchemaDefinition {
    pub fn avro(text: &str) -> Self {
        Self { schema: text.to_owned(), schema_type: avro_type(), references: Vec::new() }
    }
}

/// A schema as a registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RegisteredSchema {
    pub subject: String,
    pub version: i32,
    pub id: SchemaId,
    #[serde(flatten)]
    pub definition: SchemaDefinition,
}

/// Which version of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaVersion {
    Latest,
    Number(i32),
}

/// The verdict on a schema against a subject.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Compatibility {
    pub is_compatible: bool,
    #[serde(default)]
    pub messages: Vec<String>,
}

/// A client of one schema registry; clones share caches and connections.
#[derive(Clone)]
pub struct SchemaRegistryClient {
    shared: Arc<Shared>,
}

struct Shared {
    urls: Vec<String>,
    http: reqwest::Client,
    /// The URL that answered last.
    current: Mutex<usize>,
    by_id: Mutex<Cache<SchemaId, Arc<SchemaDefinition>>>,
    parsed: Mutex<Cache<SchemaId, AvroSchema>>,
    ids: Mutex<Cache<(String, SchemaDefinition), SchemaId>>,
}

impl SchemaRegistryClient {
    /// From a comma-separated list of URLs; nothing is contacted yet.
    pub fn new(urls: &str) -> Result<Self, RegistryError> {
        let mut checked = Vec::new();
        for url in urls.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let parsed = reqwest::Url::parse(url).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"));
            checked.push(parsed.ok_or_else(|| RegistryError::BadUrl(url.to_owned()))?);
        }
        if checked.is_empty() {
            return Err(RegistryError::BadUrl(urls.to_owned()));
        }
        // As Java's clients, which know no proxy of the environment: registries are near.
        let http =
            reqwest::Client::builder().no_proxy().timeout(REQUEST_WITHIN).connect_timeout(CONNECT_WITHIN).build();
        let http = http.map_err(|error| RegistryError::BadUrl(format!("{urls} ({error})")))?;
        Ok(Self {
            shared: Arc::new(Shared {
                urls: checked.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect(),
                http,
                current: Mutex::new(0),
                by_id: Mutex::new(Cache::default()),
                parsed: Mutex::new(Cache::default()),
                ids: Mutex::new(Cache::default()),
            }),
        })
    }

    /// Registers a schema, or finds it; answers its id.
    pub async fn register(&self, subject: &str, schema: &SchemaDefinition) -> Result<SchemaId, RegistryError> {
        let key = (subject.to_owned(), schema.clone());
        if let Some(id) = self.shared.ids.lock().get(&key) {
            return Ok(id);
        }
        #[derive(Deserialize)]
        struct Answer {
            id: SchemaId,
        }
        let path = ["subjects", subject, "versions"];
        let answer: Answer = self.call(Method::POST, &path, &[], Some(json!(schema))).await?;
        self.shared.ids.lock().put(key, answer.id);
        Ok(answer.id)
    }

    /// The schema as it is registered under a subject; `None` when it is not.
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &SchemaDefinition,
    ) -> Result<Option<RegisteredSchema>, RegistryError> {
        let found = self.call(Method::POST, &["subjects", subject], &[], Some(json!(schema))).await;
        match found {
            Ok(registered) => Ok(Some(registered)),
            Err(error) if matches!(error.code(), Some(40401 | 40403)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The schema of an id.
    pub async fn schema_by_id(&self, id: SchemaId) -> Result<Arc<SchemaDefinition>, RegistryError> {
        if let Some(found) = self.shared.by_id.lock().get(&id) {
            return Ok(found);
        }
        let found: SchemaDefinition = self.call(Method::GET, &["schemas", "ids", &id.to_string()], &[], None).await?;
        let found = Arc::new(found);
        self.shared.by_id.lock().put(id, Arc::clone(&found));
        Ok(found)
    }

    /// The parsed Avro schema of an id, with everything that it refers to.
    pub async fn avro_schema(&self, id: SchemaId) -> Result<AvroSchema, RegistryError> {
        if let Some(found) = self.shared.parsed.lock().get(&id) {
            return Ok(found);
        }
        let definition = self.schema_by_id(id).await?;
        if definition.schema_type != "AVRO" {
            let reason = format!("is of type {}, not AVRO", definition.schema_type);
            return Err(RegistryError::Schema { id, reason });
        }
        let references = self.reference_texts(id, &definition.references).await?;
        let parsed = AvroSchema::parse_with(&definition.schema, &references)
            .map_err(|error| RegistryError::Schema { id, reason: error.to_string() })?;
        self.shared.parsed.lock().put(id, parsed.clone());
        Ok(parsed)
    }

    /// The texts of all schemas that these references lead to, each once.
    async fn reference_texts(
        &self,
        id: SchemaId,
        references: &[SchemaReference],
    ) -> Result<Vec<String>, RegistryError> {
        let mut texts = Vec::new();
        let mut seen = HashSet::new();
        let mut level: Vec<SchemaReference> = references.to_vec();
        for _ in 0..REFERENCE_DEPTH_MAX {
            let mut next = Vec::new();
            for reference in level {
                if !seen.insert((reference.subject.clone(), reference.version)) {
                    continue;
                }
                let version = SchemaVersion::Number(reference.version);
                let found = self.version(&reference.subject, version).await?;
                texts.push(found.definition.schema);
                next.extend(found.definition.references);
            }
            if next.is_empty() {
                return Ok(texts);
            }
            level = next;
        }
        Err(RegistryError::Schema { id, reason: format!("references nest deeper than {REFERENCE_DEPTH_MAX}") })
    }

    pub async fn version(&self, subject: &str, version: SchemaVersion) -> Result<RegisteredSchema, RegistryError> {
        let version = match version {
            SchemaVersion::Latest => "latest".to_owned(),
            SchemaVersion::Number(number) => number.to_string(),
        };
        self.call(Method::GET, &["subjects", subject, "versions", &version], &[("deleted", "true")], None).await
    }

    /// The newest version of a subject; `None` when the subject is unknown.
    pub async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        let path = ["subjects", subject, "versions", "latest"];
        match self.call(Method::GET, &path, &[], None).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.code(), Some(40401 | 40402)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.call(Method::GET, &["subjects"], &[], None).await
    }

    pub async fn versions(&self, subject: &str) -> Result<Vec<i32>, RegistryError> {
        self.call(Method::GET, &["subjects", subject, "versions"], &[], None).await
    }

    /// Whether a schema could be registered under a subject, and why not.
    pub async fn check_compatibility(
        &self,
        subject: &str,
        schema: &SchemaDefinition,
    ) -> Result<Compatibility, RegistryError> {
        let path = ["compatibility", "subjects", subject, "versions"];
        self.call(Method::POST, &path, &[("verbose", "true")], Some(json!(schema))).await
    }

    /// Sets the compatibility level of a subject, or with `None` the global one.
    pub async fn set_compatibility(&self, subject: Option<&str>, level: &str) -> Result<(), RegistryError> {
        let path: Vec<&str> = ["config"].into_iter().chain(subject).collect();
        let _: Json = self.call(Method::PUT, &path, &[], Some(json!({ "compatibility": level }))).await?;
        Ok(())
    }

    /// Deletes a subject, softly or, after that, for good; answers the deleted versions.
    pub async fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Vec<i32>, RegistryError> {
        let permanent = if permanent { "true" } else { "false" };
        self.shared.ids.lock().clear();
        self.call(Method::DELETE, &["subjects", subject], &[("permanent", permanent)], None).await
    }

    /// Asks whether the registry is there.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        let _: Json = self.call(Method::GET, &["config"], &[], None).await?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Json>,
    ) -> Result<T, RegistryError> {
        let what = format!("{method} /{}", path.join("/"));
        let mut backoff = Backoff::default();
        let mut failures = Vec::new();
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(backoff.next_pause()).await;
            }
            failures.clear();
            for url in self.urls_from_current() {
                match self.once(url, &method, path, query, body.as_ref()).await {
                    Ok((status, text)) if status.is_success() => {
                        self.remember(url);
                        return serde_json::from_str(&text)
                            .map_err(|error| RegistryError::Malformed { what, reason: error.to_string() });
                    }
                    Ok((status, text)) => {
                        let error = refusal(status, &text);
                        if !error.is_retriable() {
                            self.remember(url);
                            return Err(error);
                        }
                        failures.push((url, error.to_string(), Some(error)));
                    }
                    Err(reason) => failures.push((url, reason, None)),
                }
            }
            debug!(what, round, "schema registry did not answer");
        }
        if let Some(error) = failures.iter_mut().find_map(|(_, _, error)| error.take()) {
            return Err(error);
        }
        let attempts: Vec<String> = failures.iter().map(|(url, reason, _)| format!("{url} ({reason})")).collect();
        Err(RegistryError::Unreachable { attempts: attempts.join(", ") })
    }

    async fn once(
        &self,
        base: &str,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Json>,
    ) -> Result<(StatusCode, String), String> {
        let mut url = reqwest::Url::parse(base).map_err(|error| error.to_string())?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path); // percent-encodes slashes inside of a segment
        }
        let mut request = self.shared.http.request(method.clone(), url).query(query).header("Accept", CONTENT_TYPE);
        if let Some(body) = body {
            request = request.header("Content-Type", CONTENT_TYPE).body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| root_cause(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| root_cause(&error))?;
        Ok((status, text))
    }

    fn urls_from_current(&self) -> impl Iterator<Item = &str> {
        let urls = &self.shared.urls;
        let first = *self.shared.current.lock();
        (0..urls.len()).map(move |step| urls[(first + step) % urls.len()].as_str())
    }

    fn remember(&self, url: &str) {
        if let Some(index) = self.shared.urls.iter().position(|known| known == url) {
            *self.shared.current.lock() = index;
        }
    }
}

fn refusal(status: StatusCode, text: &str) -> RegistryError {
    #[derive(Deserialize)]
    struct Refusal {
        error_code: i32,
        message: String,
    }
    let status = status.as_u16();
    match serde_json::from_str::<Refusal>(text) {
        Ok(refusal) => RegistryError::Refused { status, code: refusal.error_code, message: refusal.message },
        Err(_) => {
            let message = text.chars().take(200).collect();
            RegistryError::Refused { status, code: i32::from(status), message }
        }
    }
}

/// reqwest's own text only says that a request failed; the reason is at the end of the chain.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A bounded map that forgets its oldest entry.
struct Cache<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.entries.get(key).cloned()
    }

    fn put(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > CACHED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests;
