//! Converters: bytes of Kafka records to Connect's data and back.
//!
//! A configuration names converters by Java class names; [`Converter::from_config`] finds ours, and refuses settings under
//! the converter's prefix that it does not know, so nothing is silently without effect.

mod avro;
pub(crate) mod header;
mod json;
mod json_schema;
mod primitive;

use bytes::Bytes;
use twinstream_connect_api::config::nearest;
use twinstream_connect_api::{RawConfig, SchemaAndValue};

pub(crate) use header::HeaderConverter;

use avro::AvroConverter;
use json::JsonConverter;

/// Which part of a record a converter serves; decides e.g. about the registry's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Value,
}

impl Part {
    /// The setting that names the converter.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Key => "key.converter",
            Self::Value => "value.converter",
        }
    }
}

/// Why bytes and data do not convert.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ConvertError {
    pub(crate) message: String,
    /// The same conversion may succeed later, e.g. once the registry answers.
    pub(crate) retriable: bool,
    #[source]
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ConvertError {
    fn data(message: impl Into<String>) -> Self {
        Self { message: message.into(), retriable: false, source: None }
    }

    fn caused(message: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { message: message.to_owned(), retriable: false, source: Some(Box::new(source)) }
    }
}

/// A converter that was made from a configuration.
pub(crate) enum Converter {
    String,
    Bytes,
    /// The wrapped number types of Java's serializers.
    Primitive(primitive::Primitive),
    Json(JsonConverter),
    Avro(Box<AvroConverter>),
}

/// A kind of converter: its class names and the settings that it knows.
struct Kind {
    classes: &'static [&'static str],
    settings: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind { classes: &["org.apache.kafka.connect.storage.StringConverter"], settings: &["converter.encoding"] },
    Kind { classes: &["org.apache.kafka.connect.converters.ByteArrayConverter"], settings: &[] },
    Kind { classes: &["org.apache.kafka.connect.json.JsonConverter"], settings: json::SETTINGS },
    Kind { classes: &["io.confluent.connect.avro.AvroConverter"], settings: avro::SETTINGS },
    Kind { classes: &["org.apache.kafka.connect.converters.BooleanConverter"], settings: &[] },
    Kind { classes: &["org.apache.kafka.connect.converters.ShortConverter"], settings: &[] },
    Kind { classes: &["org.apache.kafka.connect.converters.IntegerConverter"], settings: &[] },
    Kind { classes: &["org.apache.kafka.connect.converters.LongConverter"], settings: &[] },
    Kind { classes: &["org.apache.kafka.connect.converters.FloatConverter"], settings: &[] },
    Kind { classes: &["org.apache.kafka.connect.converters.DoubleConverter"], settings: &[] },
];

/// Class names for listings.
pub(crate) fn classes() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.classes[0])
}

/// Problems with the classes and settings of all three converters, as (key, message).
pub(crate) fn check(config: &RawConfig) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in [Part::Key, Part::Value] {
        let class = config.get(part.setting()).map_or("", |class| class.trim());
        match unknown_class(class) {
            Some(why) => {
                let setting = part.setting();
                found.push((setting.to_owned(), format!("Invalid value {class} for configuration {setting}: {why}")));
            }
            None => found.extend(check_settings(part, config)),
        }
    }
    let class = config.get("header.converter").map_or("", String::as_str);
    if HeaderConverter::of_class(class).is_none() {
        let text = format!("Invalid value {class} for configuration header.converter: there are: ");
        found.push(("header.converter".to_owned(), text + &header::CLASSES.join(", ")));
    }
    found
}

/// The problem with a converter class, if there is one.
pub(crate) fn unknown_class(class: &str) -> Option<String> {
    match find(class) {
        Some(_) => None,
        None => {
            let known: Vec<&str> = classes().collect();
            Some(format!("no converter of this name is built in, there are: {}", known.join(", ")))
        }
    }
}

fn find(class: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| {
        kind.classes.iter().any(|known| {
            let simple = known.rsplit('.').next().unwrap_or(known);
            class == *known || class == simple || Some(class) == simple.strip_suffix("Converter")
        })
    })
}

/// Problems with the settings under a converter's prefix, as (key, message).
fn check_settings(part: Part, config: &RawConfig) -> Vec<(String, String)> {
    let Some(kind) = config.get(part.setting()).and_then(|class| find(class.trim())) else { return Vec::new() };
    let prefix = format!("{}.", part.setting());
    let mut problems = Vec::new();
    for name in config.keys().filter_map(|key| key.strip_prefix(&prefix)) {
        if !kind.settings.contains(&name) {
            let class = kind.classes[0];
            let hint = match nearest(name, kind.settings.iter().copied()) {
                Some(near) => format!("did you mean '{prefix}{near}'?"),
                None => format!("{class} has no such key, remove it"),
            };
            problems.push((format!("{prefix}{name}"), format!("Unknown configuration '{prefix}{name}': {hint}")));
        }
    }
    if problems.is_empty()
        && let Err((key, message)) = Converter::from_config(part, config)
    {
        problems.push((key, message));
    }
    problems
}

impl Converter {
    /// Makes the converter of a part; the error names the key at fault.
    pub(crate) fn from_config(part: Part, config: &RawConfig) -> Result<Self, (String, String)> {
        let setting = part.setting();
        let class = config.get(setting).map_or("", |class| class.trim());
        let Some(kind) = find(class) else {
            let why = unknown_class(class).unwrap_or_default();
            return Err((setting.to_owned(), format!("Invalid value {class} for configuration {setting}: {why}")));
        };
        let prefix = format!("{setting}.");
        let settings: RawConfig = config
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value.trim().to_owned())))
            .collect();
        let failed = |(key, message): (&str, String)| {
            let shown = settings.get(key).map_or("", String::as_str);
            (format!("{prefix}{key}"), format!("Invalid value {shown} for configuration {prefix}{key}: {message}"))
        };
        let simple = kind.classes[0].rsplit('.').next().unwrap_or_default();
        match simple {
            "StringConverter" => match settings.get("converter.encoding").map(String::as_str) {
                None | Some("UTF-8" | "UTF8" | "utf-8" | "utf8") => Ok(Self::String),
                Some(_) => Err(failed(("converter.encoding", "only UTF-8 is supported in this release".to_owned()))),
            },
            "ByteArrayConverter" => Ok(Self::Bytes),
            "JsonConverter" => JsonConverter::new(&settings).map(Self::Json).map_err(failed),
            "AvroConverter" => AvroConverter::new(part, &settings).map(|c| Self::Avro(Box::new(c))).map_err(failed),
            other => match primitive::Primitive::of_class(other) {
                Some(primitive) => Ok(Self::Primitive(primitive)),
                None => Err((setting.to_owned(), format!("converter {other} has no implementation"))),
            },
        }
    }

    /// Bytes of a record to data; Kafka Connect's `toConnectData`.
    pub(crate) async fn decode(&self, bytes: Option<&Bytes>) -> Result<SchemaAndValue, ConvertError> {
        match self {
            Self::String => primitive::string_decode(bytes),
            Self::Bytes => Ok(primitive::bytes_decode(bytes)),
            Self::Primitive(primitive) => primitive.decode(bytes),
            Self::Json(json) => json.decode(bytes),
            Self::Avro(avro) => avro.decode(bytes).await,
        }
    }

    /// Data to the bytes of a record for `topic`; Kafka Connect's `fromConnectData`.
    pub(crate) async fn encode(&self, topic: &str, data: &SchemaAndValue) -> Result<Option<Bytes>, ConvertError> {
        match self {
            Self::String => Ok(primitive::string_encode(data)),
            Self::Bytes => primitive::bytes_encode(data),
            Self::Primitive(primitive) => primitive.encode(data),
            Self::Json(json) => json.encode(data),
            Self::Avro(avro) => avro.encode(topic, data).await,
        }
    }
}

#[cfg(test)]
mod tests;
