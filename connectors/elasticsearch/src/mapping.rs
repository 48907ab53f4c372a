//! From a record's schema to the mapping of a new index. Pure.
//!
//! Text becomes full text with an exact `keyword` beside it, logical dates become `date`, decimals `double`; a default
//! becomes the `null_value`.

use serde_json::{Map, Value as Json, json};
use twinstream_connect_api::data::logical;
use twinstream_connect_api::{SchemaRef, SchemaType, Value};

const KEYWORD_CHARS_MAX: u32 = 256;

/// The body of a mapping; `None` for a schema that is no record.
pub(crate) fn mapping_of(schema: &SchemaRef, compact_maps: bool) -> Option<Json> {
    match &schema.kind {
        SchemaType::Struct(_) => Some(json!({ "properties": properties(schema, compact_maps) })),
        _ => None,
    }
}

fn properties(schema: &SchemaRef, compact_maps: bool) -> Json {
    let fields = schema
        .fields()
        .iter()
        .filter_map(|field| Some((field.name.clone(), field_mapping(&field.schema, compact_maps)?)));
    Json::Object(fields.collect::<Map<_, _>>())
}

/// `None` leaves the field to the index: a map's entries are not known before they come.
fn field_mapping(schema: &SchemaRef, compact_maps: bool) -> Option<Json> {
    if let Some(kind) = logical_type(schema) {
        return Some(with_default(json!({ "type": kind }), schema));
    }
    let kind = match &schema.kind {
        SchemaType::Int8 => "byte",
        SchemaType::Int16 => "short",
        SchemaType::Int32 => "integer",
        SchemaType::Int64 => "long",
        SchemaType::Float32 => "float",
        SchemaType::Float64 => "double",
        SchemaType::Boolean => "boolean",
        SchemaType::Bytes => return Some(json!({ "type": "binary" })),
        SchemaType::String => {
            return Some(
                json!({ "type": "text", "fields": { "keyword": { "type": "keyword", "ignore_above": KEYWORD_CHARS_MAX } } }),
            );
        }
        SchemaType::Array(items) => return field_mapping(items, compact_maps),
        SchemaType::Struct(_) => return Some(json!({ "properties": properties(schema, compact_maps) })),
        SchemaType::Map { key, .. } if compact_maps && key.kind == SchemaType::String => return None,
        SchemaType::Map { key, value } => {
            let entry = [("key", key), ("value", value)]
                .into_iter()
                .filter_map(|(name, schema)| Some((name.to_owned(), field_mapping(schema, compact_maps)?)));
            return Some(json!({ "properties": Json::Object(entry.collect()) }));
        }
    };
    Some(with_default(json!({ "type": kind }), schema))
}

fn logical_type(schema: &SchemaRef) -> Option<&'static str> {
    match schema.name.as_deref()? {
        logical::DECIMAL => Some("double"),
        logical::DATE | logical::TIME | logical::TIMESTAMP => Some("date"),
        _ => None,
    }
}

fn with_default(mut mapping: Json, schema: &SchemaRef) -> Json {
    if let Some(default) = schema.default.as_ref().filter(|default| !matches!(default, Value::Null | Value::Bytes(_))) {
        mapping["null_value"] = crate::request::to_json(default, Some(schema), true);
    }
    mapping
}
