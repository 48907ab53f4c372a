//! Converters without settings of interest: strings, bytes, and the numbers of Java's serializers.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use twinstream_connect_api::{Schema, SchemaAndValue, SchemaRef, SchemaType, Value};

use super::ConvertError;

static OPTIONAL_STRING: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::string().optional()));
static OPTIONAL_BYTES: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::bytes().optional()));

pub(super) fn string_decode(bytes: Option<&Bytes>) -> Result<SchemaAndValue, ConvertError> {
    let value = match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(error) => return Err(ConvertError::caused("bytes are not UTF-8 text", error)),
        },
    };
    Ok(SchemaAndValue::new(Arc::clone(&OPTIONAL_STRING), value))
}

/// Any value has a text: strings as they are, the rest as JSON.
pub(super) fn string_encode(data: &SchemaAndValue) -> Option<Bytes> {
    match &data.value {
        Value::Null => None,
        value => Some(Bytes::from(value.key_text())),
    }
}

pub(super) fn bytes_decode(bytes: Option<&Bytes>) -> SchemaAndValue {
    let value = bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.clone()));
    SchemaAndValue::new(Arc::clone(&OPTIONAL_BYTES), value)
}

pub(super) fn bytes_encode(data: &SchemaAndValue) -> Result<Option<Bytes>, ConvertError> {
    match &data.value {
        Value::Null => Ok(None),
        Value::Bytes(bytes) => Ok(Some(bytes.clone())),
        other => Err(ConvertError::data(format!("ByteArrayConverter takes bytes only, not {}", other.type_name()))),
    }
}

/// One of the fixed-size types, big-endian as Java's serializers write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Primitive {
    Boolean,
    Short,
    Integer,
    Long,
    Float,
    Double,
}

impl Primitive {
    pub(super) fn of_class(simple: &str) -> Option<Self> {
        Some(match simple {
            "BooleanConverter" => Self::Boolean,
            "ShortConverter" => Self::Short,
            "IntegerConverter" => Self::Integer,
            "LongConverter" => Self::Long,
            "FloatConverter" => Self::Float,
            "DoubleConverter" => Self::Double,
            _ => return None,
        })
    }

    fn schema(self) -> SchemaRef {
        let kind = match self {
            Self::Boolean => SchemaType::Boolean,
            Self::Short => SchemaType::Int16,
            Self::Integer => SchemaType::Int32,
            Self::Long => SchemaType::Int64,
            Self::Float => SchemaType::Float32,
            Self::Double => SchemaType::Float64,
        };
        Arc::new(Schema::of(kind).optional())
    }

    pub(super) fn decode(self, bytes: Option<&Bytes>) -> Result<SchemaAndValue, ConvertError> {
        let value = match bytes {
            None => Value::Null,
            Some(bytes) => self.value(bytes).ok_or_else(|| {
                ConvertError::data(format!("{} bytes are not one {}", bytes.len(), self.schema().kind.name()))
            })?,
        };
        Ok(SchemaAndValue::new(self.schema(), value))
    }

    fn value(self, bytes: &[u8]) -> Option<Value> {
        Some(match self {
            Self::Boolean => match bytes {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return None,
            },
            Self::Short => Value::Int16(i16::from_be_bytes(bytes.try_into().ok()?)),
            Self::Integer => Value::Int32(i32::from_be_bytes(bytes.try_into().ok()?)),
            Self::Long => Value::Int64(i64::from_be_bytes(bytes.try_into().ok()?)),
            Self::Float => Value::Float32(f32::from_be_bytes(bytes.try_into().ok()?)),
            Self::Double => Value::Float64(f64::from_be_bytes(bytes.try_into().ok()?)),
        })
    }

    pub(super) fn encode(self, data: &SchemaAndValue) -> Result<Option<Bytes>, ConvertError> {
        let bytes = match (self, &data.value) {
            (_, Value::Null) => return Ok(None),
            (Self::Boolean, Value::Bool(v)) => Bytes::copy_from_slice(&[u8::from(*v)]),
            (Self::Short, Value::Int16(v)) => Bytes::copy_from_slice(&v.to_be_bytes()),
            (Self::Integer, Value::Int32(v)) => Bytes::copy_from_slice(&v.to_be_bytes()),
            (Self::Long, Value::Int64(v)) => Bytes::copy_from_slice(&v.to_be_bytes()),
            (Self::Float, Value::Float32(v)) => Bytes::copy_from_slice(&v.to_be_bytes()),
            (Self::Double, Value::Float64(v)) => Bytes::copy_from_slice(&v.to_be_bytes()),
            (_, other) => {
                let (wanted, found) = (self.schema().kind.name(), other.type_name());
                return Err(ConvertError::data(format!("the converter takes {wanted} only, not {found}")));
            }
        };
        Ok(Some(bytes))
    }
}
