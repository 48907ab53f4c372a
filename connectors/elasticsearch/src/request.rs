//! From a record to one operation of a bulk request: index name, document id, version, document. Pure.
//!
//! Rules, as Confluent's connector has them: the index is the topic in lower case; the id is the key, or
//! topic+partition+offset; `insert` writes with the offset (or a header) as external version, so that repeats and late
//! retries lose against newer records; `upsert` merges without a version. Timestamps become milliseconds since 1970.
//! Deviation: a logical date becomes `2018-01-31`, because a bare day number under a `date` mapping would be read as
//! milliseconds.

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use twinstream_connect_api::data::logical;
use twinstream_connect_api::{SchemaRef, SchemaType, SinkRecord, Value};

use crate::config::{OnNull, Settings, WriteMethod};
use crate::retry::ItemKind;

const INDEX_NAME_BYTES_MAX: usize = 255;
const ID_BYTES_MAX: usize = 512;
/// Attempts that the server itself makes when two updates of a document meet.
const RETRY_ON_CONFLICT_MAX: usize = 5;

/// One operation, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    pub index: String,
    pub id: Option<String>,
    pub kind: ItemKind,
    /// The action line and, but for a delete, the document line, each with its newline.
    pub lines: Bytes,
    /// What a new index should be mapped by.
    pub schema: Option<SchemaRef>,
}

/// Why a record cannot become a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("key is null and cannot be the document id; give records keys or set key.ignore=true")]
    NullKey,
    #[error("key of type {0} cannot be the document id; use a text or whole number key, or set key.ignore=true")]
    KeyType(&'static str),
    #[error("key of {0} bytes is too long for a document id of at most {ID_BYTES_MAX} bytes")]
    KeyLength(usize),
    #[error("value is null; behavior.on.null.values says to fail (ignore and delete are the other choices)")]
    NullValue,
    #[error("value of type {0} is no document; it must be a record, a map or JSON text of an object")]
    NoDocument(&'static str),
    #[error("value is no JSON object: {0}")]
    NotJson(String),
    #[error("header {header} holds no version: {why}")]
    Version { header: String, why: &'static str },
}

/// `None` when the settings say to ignore the record.
pub(crate) fn operation(settings: &Settings, record: &SinkRecord) -> Result<Option<Operation>, RequestError> {
    let topic = record.topic.as_str();
    let index = index_name(topic);
    let null = record.value.value.is_null();
    if null && settings.on_null != OnNull::Delete {
        return if settings.on_null == OnNull::Ignore { Ok(None) } else { Err(RequestError::NullValue) };
    }
    let by_key = !settings.ignores_key(topic);
    let id = match (by_key, settings.generated_ids) {
        (true, _) => Some(id_of(&record.key.value)?),
        (false, true) => None,
        (false, false) => Some(format!("{topic}+{}+{}", record.partition.0, record.offset.0)),
    };
    let upsert = settings.write_method == WriteMethod::Upsert && by_key;
    let version = if by_key && !upsert { Some(version_of(settings, record)?) } else { None };
    let mut action = Map::new();
    action.insert("_index".to_owned(), json!(index));
    if let Some(id) = &id {
        action.insert("_id".to_owned(), json!(id));
    }
    if let Some(version) = version {
        action.insert("version".to_owned(), json!(version));
        action.insert("version_type".to_owned(), json!("external"));
    }
    let schema = (!settings.ignores_schema(topic)).then(|| record.value.schema.clone()).flatten();
    let (verb, kind) = match (null, upsert, version) {
        (true, _, None) => ("delete", ItemKind::Delete),
        (true, _, Some(_)) => ("delete", ItemKind::Versioned),
        (false, true, _) => ("update", ItemKind::Update),
        (false, false, Some(_)) => ("index", ItemKind::Versioned),
        (false, false, None) => ("index", ItemKind::Plain),
    };
    if kind == ItemKind::Update {
        action.insert("retry_on_conflict".to_owned(), json!(settings.lanes.min(RETRY_ON_CONFLICT_MAX)));
    }
    let mut lines = format!("{}\n", json!({ verb: action }));
    if !null {
        let document = document(settings, record)?;
        let line = if kind == ItemKind::Update { json!({ "doc": document, "doc_as_upsert": true }) } else { document };
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    Ok(Some(Operation { index, id, kind, lines: Bytes::from(lines), schema }))
}

/// The index of a topic. Topic names have no characters that an index may not have, but for case and the first one.
pub(crate) fn index_name(topic: &str) -> String {
    let mut name = topic.to_lowercase();
    name.truncate(INDEX_NAME_BYTES_MAX); // topic names are ASCII
    let name = name.trim_start_matches(['-', '_']);
    match name {
        "." => "dot".to_owned(),
        ".." => "dotdot".to_owned(),
        name => name.to_owned(),
    }
}

fn id_of(key: &Value) -> Result<String, RequestError> {
    let id = match key {
        Value::Null => return Err(RequestError::NullKey),
        Value::String(text) => text.clone(),
        Value::Int8(number) => number.to_string(),
        Value::Int16(number) => number.to_string(),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Bytes(bytes) => {
            String::from_utf8(bytes.to_vec()).map_err(|_| RequestError::KeyType("bytes that are not UTF-8"))?
        }
        other => return Err(RequestError::KeyType(other.type_name())),
    };
    match id.len() {
        0 => Err(RequestError::NullKey),
        length if length > ID_BYTES_MAX => Err(RequestError::KeyLength(length)),
        _ => Ok(id),
    }
}

fn version_of(settings: &Settings, record: &SinkRecord) -> Result<i64, RequestError> {
    let Some(header) = &settings.version_header else { return Ok(record.offset.0) };
    let invalid = |why| RequestError::Version { header: header.clone(), why };
    let value = &record.headers.last(header).ok_or_else(|| invalid("the record has no such header"))?.value;
    let version = match value {
        Value::String(text) => text.trim().parse().map_err(|_| invalid("it is not a whole number"))?,
        value => logical::plain_number(value).ok_or_else(|| invalid("it is not a whole number"))?,
    };
    if version < 0 { Err(invalid("it is negative")) } else { Ok(version) }
}

fn document(settings: &Settings, record: &SinkRecord) -> Result<Json, RequestError> {
    let schema = record.value.schema.as_ref();
    match &record.value.value {
        value @ (Value::Struct(_) | Value::Map(_)) => match to_json(value, schema, settings.compact_maps) {
            document @ Json::Object(_) => Ok(document),
            _ => Err(RequestError::NoDocument(value.type_name())),
        },
        Value::String(text) => parse_object(text.as_bytes()),
        Value::Bytes(bytes) => parse_object(bytes),
        other => Err(RequestError::NoDocument(other.type_name())),
    }
}

/// Converters that do not look inside (String, ByteArray) hand over the JSON as it is.
fn parse_object(text: &[u8]) -> Result<Json, RequestError> {
    match serde_json::from_slice(text) {
        Ok(object @ Json::Object(_)) => Ok(object),
        Ok(_) => Err(RequestError::NotJson("it is JSON of another type".to_owned())),
        Err(cause) => Err(RequestError::NotJson(cause.to_string())),
    }
}

/// A value as it stands in a document.
pub(crate) fn to_json(value: &Value, schema: Option<&SchemaRef>, compact_maps: bool) -> Json {
    if let Some(json) = schema.and_then(|schema| logical_json(value, schema)) {
        return json;
    }
    let value = match (value, schema.and_then(|schema| schema.default.as_ref())) {
        (Value::Null, Some(default)) => default,
        _ => value,
    };
    match value {
        Value::Array(items) => {
            let inner = match schema.map(|schema| &schema.kind) {
                Some(SchemaType::Array(inner)) => Some(inner),
                _ => None,
            };
            Json::Array(items.iter().map(|item| to_json(item, inner, compact_maps)).collect())
        }
        Value::Map(entries) => map_json(entries, schema, compact_maps),
        Value::Struct(record) => {
            let fields = record.schema().fields().iter().zip(record.values());
            Json::Object(
                fields
                    .map(|(field, value)| (field.name.clone(), to_json(value, Some(&field.schema), compact_maps)))
                    .collect(),
            )
        }
        plain => plain.to_json(None),
    }
}

fn map_json(entries: &[(Value, Value)], schema: Option<&SchemaRef>, compact_maps: bool) -> Json {
    let (key_schema, value_schema) = match schema.map(|schema| &schema.kind) {
        Some(SchemaType::Map { key, value }) => (Some(key), Some(value)),
        _ => (None, None),
    };
    let text_keys = key_schema.is_none_or(|key| key.kind == SchemaType::String);
    if text_keys && (compact_maps || schema.is_none()) {
        return Json::Object(
            entries.iter().map(|(key, value)| (key.key_text(), to_json(value, value_schema, compact_maps))).collect(),
        );
    }
    let entry = |(key, value): &(Value, Value)| json!({ "key": to_json(key, key_schema, compact_maps), "value": to_json(value, value_schema, compact_maps) });
    Json::Array(entries.iter().map(entry).collect())
}

fn logical_json(value: &Value, schema: &SchemaRef) -> Option<Json> {
    match (schema.name.as_deref()?, value) {
        (logical::DECIMAL, Value::Bytes(unscaled)) => {
            let text = logical::decimal_text(unscaled, schema.scale());
            Some(text.parse::<f64>().map_or(Json::String(text), Json::from))
        }
        (logical::DATE, value) => logical::plain_number(value).map(|days| json!(logical::date_text(days))),
        _ => None,
    }
}
