//! What an index knows besides its documents, as it is stored: the payload of each tantivy commit.
//!
//! Because the payload is written by the same atomic rename as the list of segments, mapping and documents can never
//! disagree after a crash.
//! Layout version 1 is the JSON below; a newer version is refused, since guessing at it could lose documents.

use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::mapping::Mapping;

pub(crate) const LAYOUT_VERSION: u64 = 1;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meta {
    pub uuid: String,
    pub created_ms: u64,
    /// As given at creation, without the `index.` prefix; echoed, see [`parse_settings`].
    pub settings: Map<String, Value>,
    pub mapping: Mapping,
    pub next_seq_no: i64,
}

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum MetaError {
    #[error(
        "index layout version {found} is newer than {LAYOUT_VERSION}, the newest this program reads; start the newer program on this directory"
    )]
    Newer { found: u64 },
    #[error("index description is damaged: {0}; delete the index directory to start it anew")]
    Damaged(String),
}

impl Meta {
    pub(crate) fn encode(&self) -> String {
        json!({
            "version": LAYOUT_VERSION,
            "uuid": self.uuid,
            "created_ms": self.created_ms,
            "settings": self.settings,
            "mappings": self.mapping.to_json(),
            "next_seq_no": self.next_seq_no,
        })
        .to_string()
    }

    pub(crate) fn decode(payload: &str) -> Result<Meta, MetaError> {
        let body: Value = serde_json::from_str(payload).map_err(|error| MetaError::Damaged(error.to_string()))?;
        let missing = |name: &str| MetaError::Damaged(format!("[{name}] is missing or of a wrong type"));
        match body["version"].as_u64().ok_or_else(|| missing("version"))? {
            0 => return Err(missing("version")),
            LAYOUT_VERSION => {}
            found => return Err(MetaError::Newer { found }),
        }
        Ok(Meta {
            uuid: body["uuid"].as_str().ok_or_else(|| missing("uuid"))?.to_owned(),
            created_ms: body["created_ms"].as_u64().ok_or_else(|| missing("created_ms"))?,
            settings: body["settings"].as_object().ok_or_else(|| missing("settings"))?.clone(),
            mapping: Mapping::parse(&body["mappings"]).map_err(|error| MetaError::Damaged(error.reason))?,
            next_seq_no: body["next_seq_no"].as_i64().ok_or_else(|| missing("next_seq_no"))?,
        })
    }
}

/// Settings of an index that clients commonly send. There is one shard and every write is visible at once, so these are
/// kept and echoed, no more.
const KNOWN_SETTINGS: [&str; 4] = ["number_of_shards", "number_of_replicas", "refresh_interval", "max_result_window"];

pub(crate) fn parse_settings(body: &Value) -> Result<Map<String, Value>, ApiError> {
    let mut settings = Map::new();
    let given = match body {
        Value::Null => return Ok(settings),
        Value::Object(given) => given,
        _ => return Err(ApiError::illegal("settings must be an object")),
    };
    for (key, value) in given {
        match (key.as_str(), value) {
            ("index", Value::Object(_)) => settings.extend(parse_settings(value)?),
            _ => {
                let name = key.strip_prefix("index.").unwrap_or(key);
                if !KNOWN_SETTINGS.contains(&name) {
                    return Err(ApiError::illegal(format!(
                        "unknown setting [index.{name}]; this index knows {}",
                        KNOWN_SETTINGS.join(", ")
                    )));
                }
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                settings.insert(name.to_owned(), json!(text));
            }
        }
    }
    Ok(settings)
}
