//! AvroConverter: Confluent's framing, schemas in a registry, Avro to Connect data and back.
//!
//! Picture: [`schema`] translates a schema each way, [`value`] moves values along the pair of schemas. Each pair is made once
//! and kept: per schema id when reading, per subject and Connect schema when writing.
//! Subjects are `<topic>-key` and `<topic>-value`. Not here: other subject strategies, recursive schemas (Connect's data model
//! has none), Confluent's any-type for schemaless maps.

mod from_avro;
mod to_avro;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use twinstream_client::SchemaRegistryClient;
use twinstream_client::avro::{AvroCodec, AvroEncoder, AvroError, AvroSchema};
use twinstream_client::schema_registry::SchemaDefinition;
use twinstream_connect_api::{RawConfig, SchemaAndValue, SchemaRef, Value};

use super::{ConvertError, Part};
use from_avro::Reading;
use to_avro::Writing;

pub(super) const SETTINGS: &[&str] = &[
    "schema.registry.url",
    "auto.register.schemas",
    "connect.meta.data",
    "use.latest.version",
    "enhanced.avro.schema.support",
    "normalize.schemas",
    "schemas.cache.config",
    "key.subject.name.strategy",
    "value.subject.name.strategy",
];

/// Kept pairs of schemas, each way; a topic has few, a flood must not fill memory.
const CACHED_MAX: usize = 1000;

pub(crate) struct AvroConverter {
    part: Part,
    codec: AvroCodec,
    auto_register: bool,
    meta_data: bool,
    reading: Mutex<HashMap<i32, Arc<Reading>>>,
    writing: Mutex<HashMap<String, Vec<KnownWriter>>>,
}

/// A writer under the Connect schema that it is for.
type KnownWriter = (SchemaRef, Arc<Writer>);

struct Writer {
    schema: Writing,
    encoder: AvroEncoder,
}

impl AvroConverter {
    pub(super) fn new(part: Part, settings: &RawConfig) -> Result<Self, (&'static str, String)> {
        let urls = settings.get("schema.registry.url").ok_or((
            "schema.registry.url",
            "AvroConverter needs the registry's URL, e.g. http://localhost:8081".to_owned(),
        ))?;
        let registry = SchemaRegistryClient::new(urls).map_err(|error| ("schema.registry.url", error.to_string()))?;
        let flag = |name: &'static str, default: bool| match settings.get(name).map(String::as_str) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err((name, "Expected value to be either true or false".to_owned())),
        };
        for name in ["use.latest.version", "enhanced.avro.schema.support", "normalize.schemas"] {
            if flag(name, false)? {
                return Err((name, "not supported in this release, leave it at 'false'".to_owned()));
            }
        }
        for name in ["key.subject.name.strategy", "value.subject.name.strategy"] {
            if settings.get(name).is_some_and(|class| !class.ends_with("TopicNameStrategy")) {
                return Err((name, "only TopicNameStrategy is supported in this release".to_owned()));
            }
        }
        Ok(Self {
            part,
            codec: AvroCodec::new(registry),
            auto_register: flag("auto.register.schemas", true)?,
            meta_data: flag("connect.meta.data", true)?,
            reading: Mutex::default(),
            writing: Mutex::default(),
        })
    }

    pub(super) async fn decode(&self, bytes: Option<&Bytes>) -> Result<SchemaAndValue, ConvertError> {
        let Some(bytes) = bytes else { return Ok(SchemaAndValue::null()) };
        let decoded = self.codec.decode(bytes).await.map_err(avro_error)?;
        let reading = self.reading(decoded.id, &decoded.schema)?;
        let value = reading.value(decoded.value)?;
        Ok(SchemaAndValue::new(Arc::clone(reading.connect()), value))
    }

    fn reading(&self, id: i32, schema: &AvroSchema) -> Result<Arc<Reading>, ConvertError> {
        if let Some(known) = self.reading.lock().get(&id) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(Reading::new(schema.clone())?);
        let mut cache = self.reading.lock();
        if cache.len() >= CACHED_MAX {
            cache.clear();
        }
        cache.insert(id, Arc::clone(&made));
        Ok(made)
    }

    pub(super) async fn encode(&self, topic: &str, data: &SchemaAndValue) -> Result<Option<Bytes>, ConvertError> {
        let schema = match (&data.schema, &data.value) {
            (None, Value::Null) => return Ok(None),
            (Some(schema), Value::Null) if schema.optional => return Ok(None),
            (Some(schema), _) => Arc::clone(schema),
            (None, value) => to_avro::scalar_schema(value).ok_or_else(|| {
                let kind = value.type_name();
                ConvertError::data(format!("AvroConverter needs a schema to write a {kind}: the record has none"))
            })?,
        };
        schema.check(&data.value).map_err(ConvertError::data)?;
        let writer = self.writer(topic, &schema).await?;
        let value = writer.schema.value(&schema, &data.value)?;
        writer.encoder.encode(value).map(Some).map_err(avro_error)
    }

    async fn writer(&self, topic: &str, schema: &SchemaRef) -> Result<Arc<Writer>, ConvertError> {
        let subject = match self.part {
            Part::Key => format!("{topic}-key"),
            Part::Value => format!("{topic}-value"),
        };
        if let Some(known) = self.known_writer(&subject, schema) {
            return Ok(known);
        }
        let writing = Writing::new(schema, self.meta_data)?;
        let avro = AvroSchema::parse(writing.text()).map_err(avro_error)?;
        let encoder = if self.auto_register {
            self.codec.encoder(&subject, &avro).await.map_err(avro_error)?
        } else {
            let found = self.codec.registry().lookup(&subject, &SchemaDefinition::avro(avro.text())).await;
            let found = found.map_err(|error| avro_error(error.into()))?.ok_or_else(|| {
                ConvertError::data(format!(
                    "subject {subject} lacks the schema of this record: register it, or set auto.register.schemas=true"
                ))
            })?;
            AvroEncoder::new(found.id, avro)
        };
        let writer = Arc::new(Writer { schema: writing, encoder });
        let mut cache = self.writing.lock();
        if cache.values().map(Vec::len).sum::<usize>() >= CACHED_MAX {
            cache.clear();
        }
        cache.entry(subject).or_default().push((Arc::clone(schema), Arc::clone(&writer)));
        Ok(writer)
    }

    fn known_writer(&self, subject: &str, schema: &SchemaRef) -> Option<Arc<Writer>> {
        let cache = self.writing.lock();
        let known = cache.get(subject)?.iter().find(|(s, _)| Arc::ptr_eq(s, schema) || s == schema)?;
        Some(Arc::clone(&known.1))
    }
}

fn avro_error(error: AvroError) -> ConvertError {
    ConvertError { message: error.to_string(), retriable: error.is_retriable(), source: None }
}

/// Parameters that mark what Connect's types cannot say; read by Confluent's converters too.
mod marks {
    pub(super) const ENUM: &str = "org.apache.kafka.connect.data.Enum";
    pub(super) const UNION: &str = "io.confluent.connect.avro.Union";
    pub(super) const FIXED_SIZE: &str = "connect.fixed.size";
    pub(super) const PRECISION: &str = "connect.decimal.precision";
    pub(super) const MAP_ENTRY: &str = "io.confluent.connect.avro.MapEntry";
    pub(super) const DEFAULT_NAME: &str = "ConnectDefault";
    /// Digits of a decimal whose schema names no precision.
    pub(super) const DEFAULT_PRECISION: &str = "64";
}

#[cfg(test)]
mod tests;
