//! SimpleHeaderConverter: header values as text that is read back as the type it looks like.

use bytes::Bytes;
use twinstream_connect_api::{Headers, Schema, SchemaAndValue, Value};

use super::primitive;

/// Converter of header values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderConverter {
    Simple,
    String,
    Bytes,
}

pub(crate) const CLASSES: &[&str] = &[
    "org.apache.kafka.connect.storage.SimpleHeaderConverter",
    "org.apache.kafka.connect.storage.StringConverter",
    "org.apache.kafka.connect.converters.ByteArrayConverter",
];

impl HeaderConverter {
    pub(crate) fn of_class(class: &str) -> Option<Self> {
        match class.trim().rsplit('.').next().unwrap_or_default() {
            "SimpleHeaderConverter" => Some(Self::Simple),
            "StringConverter" => Some(Self::String),
            "ByteArrayConverter" => Some(Self::Bytes),
            _ => None,
        }
    }

    /// Never fails: what cannot be read as text stays bytes, as in Kafka.
    pub(crate) fn to_headers(self, headers: &[(String, Option<Bytes>)]) -> Headers {
        let mut converted = Headers::default();
        for (name, bytes) in headers {
            let value = match self {
                Self::Bytes => primitive::bytes_decode(bytes.as_ref()),
                Self::String => {
                    primitive::string_decode(bytes.as_ref()).unwrap_or_else(|_| primitive::bytes_decode(bytes.as_ref()))
                }
                Self::Simple => simple(bytes.as_ref()),
            };
            converted.add(name.clone(), value);
        }
        converted
    }

    pub(crate) fn to_bytes(self, headers: &Headers) -> Vec<(String, Option<Bytes>)> {
        let bytes = |data: &SchemaAndValue| match &data.value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            _ => primitive::string_encode(data),
        };
        headers.0.iter().map(|(name, data)| (name.clone(), bytes(data))).collect()
    }
}

/// Booleans, integers, decimals with a point, JSON arrays and objects, `null`; everything else is a string.
fn simple(bytes: Option<&Bytes>) -> SchemaAndValue {
    let Some(bytes) = bytes else { return SchemaAndValue::null() };
    let Ok(text) = std::str::from_utf8(bytes) else { return primitive::bytes_decode(Some(bytes)) };
    let (schema, value) = match text.trim() {
        "null" => return SchemaAndValue::null(),
        "true" => (Schema::boolean(), Value::Bool(true)),
        "false" => (Schema::boolean(), Value::Bool(false)),
        trimmed => match number(trimmed) {
            Some((schema, value)) => (schema, value),
            None => match trimmed.as_bytes().first() {
                Some(b'{' | b'[') => match serde_json::from_str(trimmed) {
                    Ok(json) => return SchemaAndValue::schemaless(Value::from_json(json)),
                    Err(_) => (Schema::string(), Value::from(text)),
                },
                _ => (Schema::string(), Value::from(text)),
            },
        },
    };
    SchemaAndValue::new(schema.into(), value)
}

/// The smallest integer type that holds the number, or a double.
fn number(text: &str) -> Option<(Schema, Value)> {
    use twinstream_connect_api::SchemaType::{Int8, Int16};
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(if let Ok(v) = i8::try_from(whole) {
            (Schema::of(Int8), Value::Int8(v))
        } else if let Ok(v) = i16::try_from(whole) {
            (Schema::of(Int16), Value::Int16(v))
        } else if let Ok(v) = i32::try_from(whole) {
            (Schema::int32(), Value::Int32(v))
        } else {
            (Schema::int64(), Value::Int64(whole))
        });
    }
    let number: f64 = text.parse().ok()?;
    text.contains('.').then_some((Schema::float64(), Value::Float64(number)))
}
