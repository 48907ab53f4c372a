//! Avro values on the wire and as JSON.
//!
//! Picture: [`AvroSchema`] is a parsed schema, with the schemas it refers to put in, ready to encode and decode one datum.
//! [`wire`] is Confluent's framing (a zero byte, the schema's id, the datum). [`AvroCodec`] joins both with a registry.
//! JSON is read by schema ([`from_json`]) and written by schema ([`to_json`]).
//! Invariants: bytes from outside decode to a value or to an error, and a datum must use up all its bytes. Decoding takes
//! room for what is there, not for what a length claims ([`bounds`]).

mod bounds;
mod decimal;
mod from_json;
mod to_json;
pub mod wire;

use std::fmt;
use std::sync::Arc;

pub use apache_avro;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::ResolvedSchema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use serde_json::Value as Json;

pub use decimal::{decimal_text, parse_decimal};

use crate::schema_registry::{RegistryError, SchemaDefinition, SchemaId, SchemaRegistryClient};

#[derive(Clone, Debug, thiserror::Error)]
pub enum AvroError {
    #[error("not an avro schema: {0}")]
    Schema(String),
    #[error("{path}: {reason}")]
    Json { path: String, reason: String },
    #[error("value does not fit the schema: {0}")]
    Encode(String),
    #[error("bytes are not a datum of the schema: {0}")]
    Decode(String),
    #[error(transparent)]
    Wire(#[from] wire::WireError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl AvroError {
    /// Whether the same call may succeed later by itself.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_retriable())
    }
}

/// A schema that can encode and decode; cheap to clone.
#[derive(Clone)]
pub struct AvroSchema {
    inner: Arc<Parsed>,
}

struct Parsed {
    text: String,
    /// Complete in itself: what it refers to is defined inside of it, where it is used first.
    root: Schema,
}

impl fmt::Debug for AvroSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AvroSchema").field(&self.inner.text).finish()
    }
}

impl AvroSchema {
    pub fn parse(text: &str) -> Result<Self, AvroError> {
        Self::parse_with(text, &[])
    }

    /// Parses a schema that uses names which other schemas define. The references may use each other in any order.
    pub fn parse_with(text: &str, references: &[String]) -> Result<Self, AvroError> {
        let failed = |error: apache_avro::Error| AvroError::Schema(error.to_string());
        let (mut root, others) = Schema::parse_str_with_list(text, references).map_err(failed)?;
        root.denormalize(&others).map_err(failed)?;
        Ok(Self { inner: Arc::new(Parsed { text: text.to_owned(), root }) })
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// The schema with everything that it refers to.
    pub fn schema(&self) -> &Schema {
        &self.inner.root
    }

    pub fn encode(&self, value: Value) -> Result<Vec<u8>, AvroError> {
        let failed = |error: apache_avro::Error| AvroError::Encode(error.to_string());
        let writer = GenericDatumWriter::builder(&self.inner.root).build().map_err(failed)?;
        writer.write_value_to_vec(value).map_err(failed)
    }

    pub fn decode(&self, mut bytes: &[u8]) -> Result<Value, AvroError> {
        let failed = |error: apache_avro::Error| AvroError::Decode(error.to_string());
        let root = &self.inner.root;
        let resolved = ResolvedSchema::new(root).map_err(failed)?;
        bounds::check(root, resolved.get_names(), bytes).map_err(|error| AvroError::Decode(error.to_string()))?;
        let reader = GenericDatumReader::builder(root).resolved_writer_schemata(resolved).build().map_err(failed)?;
        let value = reader.read_value(&mut bytes).map_err(failed)?;
        if !bytes.is_empty() {
            return Err(AvroError::Decode(format!("{} bytes are left over", bytes.len())));
        }
        Ok(value)
    }

    /// The value that JSON stands for; see [`from_json`].
    pub fn from_json(&self, json: &Json) -> Result<Value, AvroError> {
        from_json::value(self, json)
    }

    /// A value of this schema as JSON; see [`to_json`].
    pub fn to_json(&self, value: &Value) -> Result<Json, AvroError> {
        to_json::json(self, value)
    }
}

/// A decoded record with the schema it was written with.
#[derive(Clone, Debug)]
pub struct Decoded {
    pub id: SchemaId,
    pub schema: AvroSchema,
    pub value: Value,
}

/// Encodes and decodes framed Avro with the help of a registry; clones share its caches.
#[derive(Clone)]
pub struct AvroCodec {
    registry: SchemaRegistryClient,
}

impl AvroCodec {
    pub fn new(registry: SchemaRegistryClient) -> Self {
        Self { registry }
    }

    pub fn registry(&self) -> &SchemaRegistryClient {
        &self.registry
    }

    /// Decodes framed bytes with the schema that they name.
    pub async fn decode(&self, framed: &[u8]) -> Result<Decoded, AvroError> {
        let (id, body) = wire::split(framed)?;
        let schema = self.registry.avro_schema(id).await?;
        let value = schema.decode(body)?;
        Ok(Decoded { id, schema, value })
    }

    /// Decodes framed bytes to JSON.
    pub async fn decode_json(&self, framed: &[u8]) -> Result<Json, AvroError> {
        let decoded = self.decode(framed).await?;
        decoded.schema.to_json(&decoded.value)
    }

    /// Registers a schema under a subject (or finds it there) for [`AvroEncoder`]s.
    pub async fn encoder(&self, subject: &str, schema: &AvroSchema) -> Result<AvroEncoder, AvroError> {
        let id = self.registry.register(subject, &SchemaDefinition::avro(schema.text())).await?;
        Ok(AvroEncoder { id, schema: schema.clone() })
    }
}

/// Encodes values of one registered schema.
#[derive(Clone, Debug)]
pub struct AvroEncoder {
    id: SchemaId,
    schema: AvroSchema,
}

impl AvroEncoder {
    pub fn new(id: SchemaId, schema: AvroSchema) -> Self {
        Self { id, schema }
    }

    pub fn id(&self) -> SchemaId {
        self.id
    }

    pub fn schema(&self) -> &AvroSchema {
        &self.schema
    }

    pub fn encode(&self, value: Value) -> Result<Bytes, AvroError> {
        Ok(wire::frame(self.id, &self.schema.encode(value)?))
    }

    pub fn encode_json(&self, json: &Json) -> Result<Bytes, AvroError> {
        self.encode(self.schema.from_json(json)?)
    }
}

#[cfg(test)]
mod tests;
