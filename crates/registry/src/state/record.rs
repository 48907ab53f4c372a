//! Records of `_schemas` as bytes, in Confluent's format: JSON keys whose member order is part of their identity.
//!
//! Unknown key types are skipped, so that a topic written by a newer registry of another make stays readable. The format
//! carries its version as `magic` in the key: a SCHEMA key of another magic than 0 or 1 is refused.

use serde_json::{Value as Json, json};

use super::{Content, JsonObject, SubjectConfig};
use crate::level::{Level, Mode};

/// A record as it stands in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub(crate) offset: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SubjectVersion {
    pub(crate) subject: String,
    pub(crate) version: i32,
}

/// A key to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Schema(SubjectVersion),
    Config(Option<String>),
    Mode(Option<String>),
    DeleteSubject(String),
    /// Of one subject or, without a name, of all.
    ClearSubject(Option<String>),
    Noop,
}

impl Key {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let key = match self {
            Self::Schema(at) => json!({"keytype": "SCHEMA", "subject": at.subject, "version": at.version, "magic": 1}),
            Self::Config(subject) => json!({"keytype": "CONFIG", "subject": subject, "magic": 0}),
            Self::Mode(subject) => json!({"keytype": "MODE", "subject": subject, "magic": 0}),
            Self::DeleteSubject(subject) => json!({"keytype": "DELETE_SUBJECT", "subject": subject, "magic": 0}),
            Self::ClearSubject(subject) => json!({"keytype": "CLEAR_SUBJECT", "subject": subject, "magic": 0}),
            Self::Noop => json!({"keytype": "NOOP", "magic": 0}),
        };
        key.to_string().into_bytes()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) version: i32,
}

impl Reference {
    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        Some(Self {
            name: json.get("name")?.as_str()?.to_owned(),
            subject: json.get("subject")?.as_str()?.to_owned(),
            version: json.get("version")?.as_i64()?.try_into().ok()?,
        })
    }

    pub(crate) fn to_json(&self) -> Json {
        json!({"name": self.name, "subject": self.subject, "version": self.version})
    }
}

/// The value of a SCHEMA record; keeps members that nobody here knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SchemaValue {
    pub(crate) subject: String,
    pub(crate) version: i32,
    pub(crate) id: i32,
    object: JsonObject,
}

impl SchemaValue {
    /// A new value, with its members in Confluent's order and the empty ones left out.
    pub(crate) fn new(at: &SubjectVersion, id: i32, schema: &str, references: &[Reference]) -> Self {
        let mut object = JsonObject::new();
        object.insert("subject".to_owned(), json!(at.subject));
        object.insert("version".to_owned(), json!(at.version));
        object.insert("id".to_owned(), json!(id));
        if !references.is_empty() {
            object.insert("references".to_owned(), references.iter().map(Reference::to_json).collect());
        }
        object.insert("schema".to_owned(), json!(schema));
        object.insert("deleted".to_owned(), json!(false));
        Self { subject: at.subject.clone(), version: at.version, id, object }
    }

    fn from_json(json: Json) -> Option<Self> {
        let Json::Object(object) = json else { return None };
        let number = |name: &str| object.get(name).and_then(Json::as_i64).and_then(|number| i32::try_from(number).ok());
        object.get("schema")?.as_str()?;
        Some(Self {
            subject: object.get("subject")?.as_str()?.to_owned(),
            version: number("version")?,
            id: number("id")?,
            object,
        })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        Json::Object(self.object.clone()).to_string().into_bytes()
    }

    pub(crate) fn schema(&self) -> &str {
        self.object.get("schema").and_then(Json::as_str).unwrap_or_default()
    }

    pub(crate) fn schema_type(&self) -> &str {
        self.object.get("schemaType").and_then(Json::as_str).unwrap_or("AVRO")
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        let list = self.object.get("references").and_then(Json::as_array);
        list.into_iter().flatten().filter_map(Reference::from_json).collect()
    }

    pub(crate) fn deleted(&self) -> bool {
        self.object.get("deleted").and_then(Json::as_bool).unwrap_or(false)
    }

    pub(crate) fn set_deleted(&mut self, deleted: bool) {
        self.object.insert("deleted".to_owned(), json!(deleted));
    }

    pub(crate) fn content(&self) -> Content {
        (self.schema().to_owned(), self.schema_type().to_owned(), self.references())
    }
}

/// What a record says.
pub(super) enum Entry {
    Schema(SubjectVersion, Option<SchemaValue>),
    Config { subject: Option<String>, config: Option<SubjectConfig> },
    Mode { subject: Option<String>, mode: Option<Mode> },
    DeleteSubject { subject: String, version: i32 },
    ClearSubject { subject: Option<String> },
    Nothing,
}

pub(super) fn decode(raw: &RawRecord) -> Result<Entry, String> {
    let key: Json = serde_json::from_slice(&raw.key).map_err(|error| format!("key is not JSON: {error}"))?;
    let value: Option<Json> = match &raw.value {
        None => None,
        Some(bytes) => match serde_json::from_slice(bytes).map_err(|error| format!("value is not JSON: {error}"))? {
            Json::Null => None,
            value => Some(value),
        },
    };
    let subject = key.get("subject").and_then(Json::as_str).map(str::to_owned);
    match key.get("keytype").and_then(Json::as_str) {
        Some("SCHEMA") => schema(&key, subject, value),
        Some("CONFIG") => Ok(Entry::Config { subject, config: value.as_ref().map(config) }),
        Some("MODE") => {
            let mode = |value: &Json| value.get("mode").and_then(Json::as_str).and_then(Mode::parse);
            Ok(Entry::Mode { subject, mode: value.as_ref().and_then(mode) })
        }
        Some("DELETE_SUBJECT") => match (subject, value) {
            (Some(subject), Some(value)) => {
                let version = value.get("version").and_then(Json::as_i64).unwrap_or(i64::from(i32::MAX));
                Ok(Entry::DeleteSubject { subject, version: i32::try_from(version).unwrap_or(i32::MAX) })
            }
            _ => Ok(Entry::Nothing), // the deletion itself was struck, its versions went one by one
        },
        Some("CLEAR_SUBJECT") => Ok(value.map_or(Entry::Nothing, |_| Entry::ClearSubject { subject })),
        Some("NOOP") => Ok(Entry::Nothing),
        Some(other) => Err(format!("key type {other} is unknown to this release")),
        None => Err("key has no keytype".to_owned()),
    }
}

fn schema(key: &Json, subject: Option<String>, value: Option<Json>) -> Result<Entry, String> {
    let magic = key.get("magic").and_then(Json::as_i64).unwrap_or(0);
    if !(0..=1).contains(&magic) {
        return Err(format!("SCHEMA key of format {magic}, this release knows 0 and 1"));
    }
    let version = key.get("version").and_then(Json::as_i64).and_then(|number| i32::try_from(number).ok());
    let (Some(subject), Some(version)) = (subject, version) else {
        return Err("SCHEMA key without subject or version".to_owned());
    };
    let value = match value {
        None => None,
        Some(json) => Some(SchemaValue::from_json(json).ok_or("SCHEMA value without subject, version, id or schema")?),
    };
    Ok(Entry::Schema(SubjectVersion { subject, version }, value))
}

fn config(value: &Json) -> SubjectConfig {
    let level = value.get("compatibilityLevel").and_then(Json::as_str);
    SubjectConfig { level: level.and_then(Level::parse), normalize: value.get("normalize").and_then(Json::as_bool) }
}
