//! The schema half of JsonConverter: Connect schemas as JSON, and payloads that follow one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map as JsonMap, Value as Json, json};
use twinstream_connect_api::data::logical;
use twinstream_connect_api::{Schema, SchemaRef, SchemaType, Struct, Value};

use super::ConvertError;

/// Parsed envelopes kept; a topic has few schemas, and a flood of different ones must not fill memory.
const CACHED_SCHEMAS_MAX: usize = 1000;
/// How deep a schema may nest; deeper is an attack or a mistake.
const DEPTH_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecimalFormat {
    Base64,
    Numeric,
}

/// Reads and writes schemas and payloads.
pub(super) struct Envelope {
    decimals: DecimalFormat,
    replace_null: bool,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    by_text: BTreeMap<String, SchemaRef>,
    order: VecDeque<String>,
}

impl Envelope {
    pub(super) fn new(decimals: DecimalFormat, replace_null: bool) -> Self {
        Self { decimals, replace_null, cache: Mutex::default() }
    }

    /// The schema of an envelope; equal texts give the same shared schema.
    pub(super) fn schema(&self, json: &Json) -> Result<SchemaRef, ConvertError> {
        let text = json.to_string();
        if let Some(known) = self.cache.lock().by_text.get(&text) {
            return Ok(Arc::clone(known));
        }
        let schema = Arc::new(self.parse(json, 0)?);
        let mut cache = self.cache.lock();
        if cache.order.len() >= CACHED_SCHEMAS_MAX
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.by_text.remove(&oldest);
        }
        cache.order.push_back(text.clone());
        cache.by_text.insert(text, Arc::clone(&schema));
        Ok(schema)
    }

    fn parse(&self, json: &Json, depth: usize) -> Result<Schema, ConvertError> {
        if depth > DEPTH_MAX {
            return Err(ConvertError::data(format!("schema nests deeper than {DEPTH_MAX}")));
        }
        let part = |name: &str| {
            let inner = json.get(name).ok_or_else(|| ConvertError::data(format!("schema lacks \"{name}\"")))?;
            Ok::<_, ConvertError>(Arc::new(self.parse(inner, depth + 1)?))
        };
        let kind = match json.get("type").and_then(Json::as_str).unwrap_or_default() {
            "int8" => SchemaType::Int8,
            "int16" => SchemaType::Int16,
            "int32" => SchemaType::Int32,
            "int64" => SchemaType::Int64,
            "float" => SchemaType::Float32,
            "double" => SchemaType::Float64,
            "boolean" => SchemaType::Boolean,
            "string" => SchemaType::String,
            "bytes" => SchemaType::Bytes,
            "array" => SchemaType::Array(part("items")?),
            "map" => SchemaType::Map { key: part("keys")?, value: part("values")? },
            "struct" => self.parse_struct(json, depth)?,
            other => return Err(ConvertError::data(format!("unknown schema type \"{other}\""))),
        };
        let mut schema = Schema::of(kind);
        let text = |name: &str| json.get(name).and_then(Json::as_str).map(str::to_owned);
        schema.optional = json.get("optional").and_then(Json::as_bool).unwrap_or(false);
        schema.name = text("name");
        schema.doc = text("doc");
        schema.version = json.get("version").and_then(Json::as_i64).and_then(|v| i32::try_from(v).ok());
        if let Some(parameters) = json.get("parameters").and_then(Json::as_object) {
            let parameter = |(k, v): (&String, &Json)| Some((k.clone(), v.as_str()?.to_owned()));
            schema.parameters = parameters.iter().filter_map(parameter).collect();
        }
        if let Some(default) = json.get("default").filter(|default| !default.is_null()) {
            schema.default = Some(self.value(&Arc::new(schema.clone()), default.clone())?);
        }
        Ok(schema)
    }

    fn parse_struct(&self, json: &Json, depth: usize) -> Result<SchemaType, ConvertError> {
        let fields = json.get("fields").and_then(Json::as_array);
        let fields = fields.ok_or_else(|| ConvertError::data("struct schema lacks \"fields\""))?;
        let mut parsed = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field.get("field").and_then(Json::as_str);
            let name = name.ok_or_else(|| ConvertError::data("field of a struct schema lacks \"field\", its name"))?;
            parsed.push(twinstream_connect_api::Field {
                name: name.to_owned(),
                schema: Arc::new(self.parse(field, depth + 1)?),
            });
        }
        Ok(SchemaType::Struct(parsed))
    }

    /// A payload that follows a schema.
    pub(super) fn value(&self, schema: &SchemaRef, json: Json) -> Result<Value, ConvertError> {
        let json = match json {
            Json::Null => match &schema.default {
                Some(default) if self.replace_null => return Ok(default.clone()),
                _ if schema.optional || schema.default.is_some() => return Ok(Value::Null),
                _ => return Err(ConvertError::data(format!("null for a required {}", schema.kind.name()))),
            },
            json => json,
        };
        let misfit = |json: &Json| {
            let text: String = json.to_string().chars().take(80).collect();
            ConvertError::data(format!("{text} is not a {}", schema.kind.name()))
        };
        let int = |json: &Json| json.as_i64().ok_or_else(|| misfit(json));
        Ok(match &schema.kind {
            SchemaType::Int8 => Value::Int8(int(&json)?.try_into().map_err(|_| misfit(&json))?),
            SchemaType::Int16 => Value::Int16(int(&json)?.try_into().map_err(|_| misfit(&json))?),
            SchemaType::Int32 => Value::Int32(int(&json)?.try_into().map_err(|_| misfit(&json))?),
            SchemaType::Int64 => Value::Int64(int(&json)?),
            SchemaType::Float32 => Value::Float32(json.as_f64().ok_or_else(|| misfit(&json))? as f32),
            SchemaType::Float64 => Value::Float64(json.as_f64().ok_or_else(|| misfit(&json))?),
            SchemaType::Boolean => Value::Bool(json.as_bool().ok_or_else(|| misfit(&json))?),
            SchemaType::String => match json {
                Json::String(text) => Value::String(text),
                other => return Err(misfit(&other)),
            },
            SchemaType::Bytes => self.bytes_value(schema, &json).ok_or_else(|| misfit(&json))?,
            SchemaType::Array(items) => match json {
                Json::Array(values) => {
                    let values = values.into_iter().map(|value| self.value(items, value));
                    Value::Array(values.collect::<Result<_, _>>()?)
                }
                other => return Err(misfit(&other)),
            },
            SchemaType::Map { key, value } => self.map_value(key, value, json).ok_or_else(|| misfit(&Json::Null))??,
            SchemaType::Struct(fields) => match json {
                Json::Object(mut members) => {
                    let take = |field: &twinstream_connect_api::Field| {
                        let member = members.remove(&field.name).unwrap_or(Json::Null);
                        let value = self.value(&field.schema, member);
                        value.map_err(|e| ConvertError { message: format!("field {}: {}", field.name, e.message), ..e })
                    };
                    let values = fields.iter().map(take).collect::<Result<Vec<_>, _>>()?;
                    let made = Struct::new(Arc::clone(schema), values);
                    Value::Struct(made.ok_or_else(|| ConvertError::data("struct without its fields"))?)
                }
                other => return Err(misfit(&other)),
            },
        })
    }

    fn bytes_value(&self, schema: &Schema, json: &Json) -> Option<Value> {
        if schema.name.as_deref() == Some(logical::DECIMAL)
            && let Json::Number(number) = json
        {
            let (unscaled, scale) = logical::decimal_parse(&number.to_string())?;
            return logical::decimal_rescale(&unscaled, scale, schema.scale()).map(|b| Value::Bytes(b.into()));
        }
        BASE64.decode(json.as_str()?).ok().map(|bytes| Value::Bytes(Bytes::from(bytes)))
    }

    /// Maps with string keys are objects, others arrays of pairs; `None` if the payload is neither.
    fn map_value(&self, key: &SchemaRef, value: &SchemaRef, json: Json) -> Option<Result<Value, ConvertError>> {
        let entries: Vec<Result<(Value, Value), ConvertError>> = match json {
            Json::Object(members) => {
                members.into_iter().map(|(k, v)| Ok((Value::String(k), self.value(value, v)?))).collect()
            }
            Json::Array(pairs) => pairs
                .into_iter()
                .map(|pair| match pair {
                    Json::Array(mut kv) if kv.len() == 2 => {
                        let (v, k) = (kv.remove(1), kv.remove(0));
                        Ok((self.value(key, k)?, self.value(value, v)?))
                    }
                    _ => Err(ConvertError::data("entry of a map is not a pair [key, value]")),
                })
                .collect(),
            _ => return None,
        };
        Some(entries.into_iter().collect::<Result<Vec<_>, _>>().map(Value::Map))
    }

    /// The payload of a value that fits its schema.
    pub(super) fn payload(&self, schema: &SchemaRef, value: &Value) -> Result<Json, ConvertError> {
        Ok(match (&schema.kind, value) {
            (_, Value::Null) => match &schema.default {
                Some(default) if self.replace_null => self.payload(schema, default)?,
                _ => Json::Null,
            },
            (SchemaType::Bytes, Value::Bytes(unscaled))
                if schema.name.as_deref() == Some(logical::DECIMAL) && self.decimals == DecimalFormat::Numeric =>
            {
                let text = logical::decimal_text(unscaled, schema.scale());
                serde_json::from_str(&text)
                    .map_err(|error| ConvertError::caused("decimal has no JSON number", error))?
            }
            (SchemaType::Array(items), Value::Array(values)) => {
                let values = values.iter().map(|value| self.payload(items, value));
                Json::Array(values.collect::<Result<_, _>>()?)
            }
            (SchemaType::Map { key, value: item }, Value::Map(entries)) => {
                if key.kind == SchemaType::String && !key.optional {
                    let entry = |(k, v): &(Value, Value)| Ok((k.key_text(), self.payload(item, v)?));
                    Json::Object(entries.iter().map(entry).collect::<Result<JsonMap<_, _>, ConvertError>>()?)
                } else {
                    let pair = |(k, v): &(Value, Value)| Ok(json!([self.payload(key, k)?, self.payload(item, v)?]));
                    Json::Array(entries.iter().map(pair).collect::<Result<_, ConvertError>>()?)
                }
            }
            (SchemaType::Struct(fields), Value::Struct(s)) => {
                let member = |(field, value): (&twinstream_connect_api::Field, &Value)| {
                    Ok((field.name.clone(), self.payload(&field.schema, value)?))
                };
                let members = fields.iter().zip(s.values()).map(member);
                Json::Object(members.collect::<Result<JsonMap<_, _>, ConvertError>>()?)
            }
            // Plain: logical dates and times travel as their numbers, bytes as base64.
            (_, value) => value.to_json(None),
        })
    }

    /// A schema as JSON, as Kafka's JsonConverter writes it.
    pub(super) fn schema_json(&self, schema: &SchemaRef) -> Json {
        let mut json = JsonMap::new();
        json.insert("type".to_owned(), schema.kind.name().into());
        match &schema.kind {
            SchemaType::Array(items) => _ = json.insert("items".to_owned(), self.schema_json(items)),
            SchemaType::Map { key, value } => {
                json.insert("keys".to_owned(), self.schema_json(key));
                json.insert("values".to_owned(), self.schema_json(value));
            }
            SchemaType::Struct(fields) => {
                let field = |field: &twinstream_connect_api::Field| {
                    let mut json = self.schema_json(&field.schema);
                    json["field"] = field.name.as_str().into();
                    json
                };
                json.insert("fields".to_owned(), Json::Array(fields.iter().map(field).collect()));
            }
            _ => {}
        }
        json.insert("optional".to_owned(), schema.optional.into());
        if let Some(name) = &schema.name {
            json.insert("name".to_owned(), name.as_str().into());
        }
        if let Some(version) = schema.version {
            json.insert("version".to_owned(), version.into());
        }
        if let Some(doc) = &schema.doc {
            json.insert("doc".to_owned(), doc.as_str().into());
        }
        if !schema.parameters.is_empty() {
            json.insert("parameters".to_owned(), json!(schema.parameters));
        }
        if let Some(Ok(default)) = schema.default.as_ref().map(|default| self.payload(schema, default)) {
            json.insert("default".to_owned(), default);
        }
        Json::Object(json)
    }
}
