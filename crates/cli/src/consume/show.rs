//! One record as text or as a line of JSON.
//!
//! With a registry, a key or value in its framing is decoded: as JSON text in the text format, as a JSON value with
//! `-o json`. Bytes that are no text appear under `key_base64` or `value_base64`, so that no output is ambiguous.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use twinstream_client::avro::{AvroCodec, wire};
use twinstream_client::{ConsumerRecord, SchemaRegistryClient};

use crate::arguments::{Consume, OutputFormat};
use crate::failure::Failure;
use crate::kcat_format::{Fields, Format};
use crate::output;

const DEFAULT_FORMAT: &str = "%s\\n";

pub(super) struct Show {
    /// `None` prints JSON.
    format: Option<Format>,
    codec: Option<AvroCodec>,
}

impl Show {
    pub(super) fn new(options: &Consume, output: OutputFormat) -> Result<Self, Failure> {
        let format = match (output, &options.format) {
            (OutputFormat::Json, Some(_)) => return Err(Failure::usage("--format and -o json exclude each other")),
            (OutputFormat::Json, None) => None,
            (OutputFormat::Yaml | OutputFormat::Wide | OutputFormat::Name, _) => {
                return Err(Failure::usage("records are printed as text or as lines of JSON").next("use -f or -o json"));
            }
            (OutputFormat::Table, text) => {
                let text = text.as_deref().unwrap_or(DEFAULT_FORMAT);
                Some(Format::parse(text).map_err(|error| Failure::usage(format!("--format: {error}")))?)
            }
        };
        let client = options.registry.named().map(SchemaRegistryClient::new).transpose().map_err(Failure::usage)?;
        Ok(Self { format, codec: client.map(AvroCodec::new) })
    }

    pub(super) async fn record(&self, record: &ConsumerRecord) -> Result<(), Failure> {
        let key = self.decoded(record, record.key.as_deref()).await?;
        let value = self.decoded(record, record.value.as_deref()).await?;
        match &self.format {
            Some(format) => text(format, record, key, value),
            None => output::json(&json_line(record, key, value)),
        }
    }

    /// The JSON behind framed bytes; `None` for bytes to be shown as they are.
    async fn decoded(&self, record: &ConsumerRecord, bytes: Option<&[u8]>) -> Result<Option<Value>, Failure> {
        let (Some(codec), Some(bytes)) = (&self.codec, bytes) else { return Ok(None) };
        if wire::split(bytes).is_err() {
            return Ok(None);
        }
        let place = || format!("to decode {}@{}", record.topic_partition(), record.offset);
        codec.decode_json(bytes).await.map(Some).map_err(|error| {
            Failure::chain(&error).tried(place()).next("leave out --registry to see the bytes as they are")
        })
    }
}

fn text(format: &Format, record: &ConsumerRecord, key: Option<Value>, value: Option<Value>) -> Result<(), Failure> {
    let key = key.map(|json| json.to_string().into_bytes());
    let value = value.map(|json| json.to_string().into_bytes());
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|header| (header.key.clone(), header.value.as_ref().map(|value| value.to_vec())))
        .collect();
    let fields = Fields {
        topic: record.topic.as_str(),
        partition: record.partition.0,
        offset: record.offset.0,
        timestamp: record.timestamp,
        key: key.as_deref().or(record.key.as_deref()),
        value: value.as_deref().or(record.value.as_deref()),
        headers: &headers,
    };
    let mut bytes = Vec::new();
    format.render(&fields, &mut bytes);
    output::raw(&bytes)
}

fn json_line(record: &ConsumerRecord, key: Option<Value>, value: Option<Value>) -> Value {
    let mut line = Map::new();
    line.insert("topic".to_owned(), json!(record.topic.as_str()));
    line.insert("partition".to_owned(), json!(record.partition.0));
    line.insert("offset".to_owned(), json!(record.offset.0));
    line.insert("timestamp".to_owned(), json!(record.timestamp));
    insert(&mut line, "key", key, record.key.as_deref());
    insert(&mut line, "value", value, record.value.as_deref());
    let headers = record.headers.iter().map(|header| {
        let mut entry = Map::new();
        entry.insert("name".to_owned(), json!(header.key));
        insert(&mut entry, "value", None, header.value.as_deref());
        Value::Object(entry)
    });
    line.insert("headers".to_owned(), headers.collect());
    Value::Object(line)
}

fn insert(line: &mut Map<String, Value>, name: &str, decoded: Option<Value>, bytes: Option<&[u8]>) {
    let (name, value) = match (decoded, bytes) {
        (Some(json), _) => (name.to_owned(), json),
        (None, None) => (name.to_owned(), Value::Null),
        (None, Some(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => (name.to_owned(), json!(text)),
            Err(_) => (format!("{name}_base64"), json!(BASE64.encode(bytes))),
        },
    };
    line.insert(name, value);
}

#[cfg(test)]
mod tests;
