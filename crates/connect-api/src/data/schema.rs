//! Schemas: what a value must look like. Immutable and shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::data::{Value, logical};

pub type SchemaRef = Arc<Schema>;

/// The shape of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum SchemaType {
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
    Bytes,
    Array(SchemaRef),
    Map { key: SchemaRef, value: SchemaRef },
    Struct(Vec<Field>),
}

impl SchemaType {
    /// Connect's name, as in the JSON envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float",
            Self::Float64 => "double",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Array(_) => "array",
            Self::Map { .. } => "map",
            Self::Struct(_) => "struct",
        }
    }
}

/// One member of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub schema: SchemaRef,
}

/// A schema. Build one with [`Schema::of`] or a short form such as [`Schema::string`], then the `with_` methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    pub kind: SchemaType,
    /// Whether `Value::Null` is legal.
    pub optional: bool,
    pub default: Option<Value>,
    /// For structs the record's name, for logical types the type's (see [`logical`]).
    pub name: Option<String>,
    pub version: Option<i32>,
    pub doc: Option<String>,
    pub parameters: BTreeMap<String, String>,
}

impl Schema {
    pub fn of(kind: SchemaType) -> Self {
        let (name, version, doc, default) = (None, None, None, None);
        Self { kind, optional: false, default, name, version, doc, parameters: BTreeMap::new() }
    }

    pub fn string() -> Self {
        Self::of(SchemaType::String)
    }

    pub fn bytes() -> Self {
        Self::of(SchemaType::Bytes)
    }

    pub fn int32() -> Self {
        Self::of(SchemaType::Int32)
    }

    pub fn int64() -> Self {
        Self::of(SchemaType::Int64)
    }

    pub fn float64() -> Self {
        Self::of(SchemaType::Float64)
    }

    pub fn boolean() -> Self {
        Self::of(SchemaType::Boolean)
    }

    pub fn array(items: impl Into<SchemaRef>) -> Self {
        Self::of(SchemaType::Array(items.into()))
    }

    pub fn map(key: impl Into<SchemaRef>, value: impl Into<SchemaRef>) -> Self {
        Self::of(SchemaType::Map { key: key.into(), value: value.into() })
    }

    pub fn record(fields: impl IntoIterator<Item = (String, SchemaRef)>) -> Self {
        let fields = fields.into_iter().map(|(name, schema)| Field { name, schema }).collect();
        Self::of(SchemaType::Struct(fields))
    }

    pub fn date() -> Self {
        Self::int32().with_name(logical::DATE).with_version(1)
    }

    pub fn time() -> Self {
        Self::int32().with_name(logical::TIME).with_version(1)
    }

    pub fn timestamp() -> Self {
        Self::int64().with_name(logical::TIMESTAMP).with_version(1)
    }

    pub fn decimal(scale: i32) -> Self {
        Self::bytes().with_name(logical::DECIMAL).with_version(1).with_parameter(logical::SCALE, &scale.to_string())
    }

    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    #[must_use]
    pub fn with_default(mut self, default: Value) -> Self {
        self.default = Some(default);
        self
    }

    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    #[must_use]
    pub fn with_version(mut self, version: i32) -> Self {
        self.version = Some(version);
        self
    }

    #[must_use]
    pub fn with_doc(mut self, doc: &str) -> Self {
        self.doc = Some(doc.to_owned());
        self
    }

    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The fields of a struct; empty for every other type.
    pub fn fields(&self) -> &[Field] {
        match &self.kind {
            SchemaType::Struct(fields) => fields,
            _ => &[],
        }
    }

    /// Index and field of this name in a struct.
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields().iter().enumerate().find(|(_, field)| field.name == name)
    }

    /// The scale of a decimal schema; 0 when it is missing or no number.
    pub fn scale(&self) -> i32 {
        self.parameters.get(logical::SCALE).and_then(|scale| scale.parse().ok()).unwrap_or(0)
    }

    /// Whether the value has this schema's shape; the error names the first part that has not.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        self.check_at("value", value)
    }

    fn check_at(&self, path: &str, value: &Value) -> Result<(), String> {
        match (&self.kind, value) {
            (_, Value::Null) if self.optional || self.default.is_some() => Ok(()),
            (_, Value::Null) => Err(format!("{path} is null, its schema is a required {}", self.kind.name())),
            (SchemaType::Int8, Value::Int8(_))
            | (SchemaType::Int16, Value::Int16(_))
            | (SchemaType::Int32, Value::Int32(_))
            | (SchemaType::Int64, Value::Int64(_))
            | (SchemaType::Float32, Value::Float32(_))
            | (SchemaType::Float64, Value::Float64(_))
            | (SchemaType::Boolean, Value::Bool(_))
            | (SchemaType::String, Value::String(_))
            | (SchemaType::Bytes, Value::Bytes(_)) => Ok(()),
            (SchemaType::Array(schema), Value::Array(items)) => {
                items.iter().enumerate().try_for_each(|(i, item)| schema.check_at(&format!("{path}[{i}]"), item))
            }
            (SchemaType::Map { key, value: schema }, Value::Map(entries)) => entries.iter().try_for_each(|(k, v)| {
                key.check_at(&format!("a key of {path}"), k)?;
                schema.check_at(&format!("an entry of {path}"), v)
            }),
            (SchemaType::Struct(fields), Value::Struct(s)) if s.values().len() == fields.len() => fields
                .iter()
                .zip(s.values())
                .try_for_each(|(field, v)| field.schema.check_at(&format!("{path}.{}", field.name), v)),
            (kind, value) => Err(format!("{path} is of type {}, its schema says {}", value.type_name(), kind.name())),
        }
    }
}
