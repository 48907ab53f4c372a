//! Connect's data model: a schema, a value, and both together.
//!
//! Picture: converters translate between bytes and `SchemaAndValue`; connectors see only that. Without a schema
//! (`schema: None`) a value is JSON-like: maps have string keys, numbers are `Int64` or `Float64`.
//!
//! Logical types (decimal, date, time, timestamp) are a schema *name* over a plain value: [`Value`] holds the plain value
//! (unscaled big-endian bytes, days, milliseconds), the schema says what it means. See [`logical`].

pub mod logical;
mod schema;
mod value;

pub use schema::{Field, Schema, SchemaRef, SchemaType};
pub use value::{Struct, Value};

/// A value with the schema it follows, if it has one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SchemaAndValue {
    pub schema: Option<SchemaRef>,
    pub value: Value,
}

impl SchemaAndValue {
    pub fn new(schema: SchemaRef, value: Value) -> Self {
        Self { schema: Some(schema), value }
    }

    pub fn schemaless(value: impl Into<Value>) -> Self {
        Self { schema: None, value: value.into() }
    }

    /// No schema, no value: what a null key or a tombstone decodes to.
    pub fn null() -> Self {
        Self::default()
    }
}

/// Headers in order; names may repeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<(String, SchemaAndValue)>);

impl Headers {
    pub fn add(&mut self, name: impl Into<String>, value: SchemaAndValue) {
        self.0.push((name.into(), value));
    }

    /// The last header of this name, the one that counts.
    pub fn last(&self, name: &str) -> Option<&SchemaAndValue> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v)
    }
}

#[cfg(test)]
mod tests;
