//! Values.

use bytes::Bytes;
use serde_json::{Map as JsonMap, Value as Json};

use crate::data::{SchemaRef, logical};

/// A value of Connect's types.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    String(String),
    Bytes(Bytes),
    Array(Vec<Value>),
    /// In the order found. Without a schema the keys are strings.
    Map(Vec<(Value, Value)>),
    Struct(Struct),
}

/// A value of a struct schema: one value per field, in the schema's order.
///
/// Invariant: as many values as the schema has fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Struct {
    schema: SchemaRef,
    values: Vec<Value>,
}

impl Struct {
    /// `None` unless there is one value per field of a struct schema.
    pub fn new(schema: SchemaRef, values: Vec<Value>) -> Option<Self> {
        (schema.fields().len() == values.len()).then_some(Self { schema, values })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn values(&self) -> &[Value] {
        &self.values
    }

    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    pub fn get(&self, field: &str) -> Option<&Value> {
        self.schema.field(field).map(|(index, _)| &self.values[index])
    }

    /// Field names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.schema.fields().iter().map(|f| f.name.as_str()).zip(&self.values)
    }
}

impl Value {
    /// The name for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int8(_) => "int8",
            Self::Int16(_) => "int16",
            Self::Int32(_) => "int32",
            Self::Int64(_) => "int64",
            Self::Float32(_) => "float",
            Self::Float64(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Struct(_) => "struct",
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A field of a struct, or an entry of a map with string keys.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Struct(s) => s.get(name),
            Self::Map(entries) => entries.iter().find(|(k, _)| k.as_str() == Some(name)).map(|(_, v)| v),
            _ => None,
        }
    }

    /// From JSON without a schema: objects become maps, integers `Int64`, other numbers `Float64`.
    pub fn from_json(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(v) => Self::Bool(v),
            Json::Number(n) => n.as_i64().map_or_else(|| Self::Float64(n.as_f64().unwrap_or(f64::NAN)), Self::Int64),
            Json::String(s) => Self::String(s),
            Json::Array(items) => Self::Array(items.into_iter().map(Self::from_json).collect()),
            Json::Object(entries) => {
                Self::Map(entries.into_iter().map(|(k, v)| (Self::String(k), Self::from_json(v))).collect())
            }
        }
    }

    /// To JSON for documents: structs and maps become objects, bytes base64, logical types of `schema` their text form
    /// (decimals as decimal text, dates and timestamps as ISO 8601), NaN and infinities null.
    pub fn to_json(&self, schema: Option<&SchemaRef>) -> Json {
        if let Some(text) = schema.and_then(|schema| logical_text(schema.name.as_deref(), schema.scale(), self)) {
            return Json::String(text);
        }
        match self {
            Self::Null => Json::Null,
            Self::Bool(v) => Json::Bool(*v),
            Self::Int8(v) => Json::from(*v),
            Self::Int16(v) => Json::from(*v),
            Self::Int32(v) => Json::from(*v),
            Self::Int64(v) => Json::from(*v),
            Self::Float32(v) => float_json(*v),
            Self::Float64(v) => Json::from(*v),
            Self::String(v) => Json::String(v.clone()),
            Self::Bytes(v) => Json::String(base64_text(v)),
            Self::Array(items) => Json::Array(items.iter().map(|v| v.to_json(item_schema(schema))).collect()),
            Self::Map(entries) => {
                let entry = |(k, v): &(Value, Value)| (k.key_text(), v.to_json(item_schema(schema)));
                Json::Object(entries.iter().map(entry).collect::<JsonMap<_, _>>())
            }
            Self::Struct(s) => {
                let fields = s.schema.fields().iter().zip(&s.values);
                Json::Object(fields.map(|(f, v)| (f.name.clone(), v.to_json(Some(&f.schema)))).collect())
            }
        }
    }

    /// The text of a map key or a document id: plain for strings, numbers and booleans, JSON for the rest.
    pub fn key_text(&self) -> String {
        match self {
            Self::String(text) => text.clone(),
            other => match other.to_json(None) {
                Json::String(text) => text,
                json => json.to_string(),
            },
        }
    }
}

fn item_schema(schema: Option<&SchemaRef>) -> Option<&SchemaRef> {
    match &schema?.kind {
        super::SchemaType::Array(items) => Some(items),
        super::SchemaType::Map { value, .. } => Some(value),
        _ => None,
    }
}

fn logical_text(name: Option<&str>, scale: i32, value: &Value) -> Option<String> {
    match (name?, value) {
        (logical::DECIMAL, Value::Bytes(unscaled)) => Some(logical::decimal_text(unscaled, scale)),
        (logical::DATE, value) => logical::plain_number(value).map(logical::date_text),
        (logical::TIME, value) => logical::plain_number(value).map(logical::time_text),
        (logical::TIMESTAMP, value) => logical::plain_number(value).map(logical::timestamp_text),
        _ => None,
    }
}

/// Through its shortest text, so that 1.1 does not become 1.100000023841858.
fn float_json(value: f32) -> Json {
    value.to_string().parse::<f64>().map_or(Json::Null, Json::from)
}

fn base64_text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int64(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int32(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float64(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}
