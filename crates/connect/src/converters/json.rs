//! JsonConverter: JSON with or without the schema envelope `{"schema":{..},"payload":..}`.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use twinstream_connect_api::{RawConfig, SchemaAndValue, Value};

use super::ConvertError;
use super::json_schema::{DecimalFormat, Envelope};

pub(super) const SETTINGS: &[&str] =
    &["schemas.enable", "schemas.cache.size", "decimal.format", "replace.null.with.default"];

pub(crate) struct JsonConverter {
    schemas: bool,
    envelope: Envelope,
}

impl JsonConverter {
    pub(super) fn new(settings: &RawConfig) -> Result<Self, (&'static str, String)> {
        let flag = |name: &'static str| match settings.get(name).map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err((name, "Expected value to be either true or false".to_owned())),
        };
        let decimals = match settings.get("decimal.format").map(|text| text.to_ascii_uppercase()).as_deref() {
            None | Some("BASE64") => DecimalFormat::Base64,
            Some("NUMERIC") => DecimalFormat::Numeric,
            Some(_) => return Err(("decimal.format", "String must be one of: BASE64, NUMERIC".to_owned())),
        };
        if settings.get("schemas.cache.size").is_some_and(|size| size.parse::<u32>().is_err()) {
            return Err(("schemas.cache.size", "Not a number of type INT".to_owned()));
        }
        let envelope = Envelope::new(decimals, flag("replace.null.with.default")?);
        Ok(Self { schemas: flag("schemas.enable")?, envelope })
    }

    pub(super) fn decode(&self, bytes: Option<&Bytes>) -> Result<SchemaAndValue, ConvertError> {
        let Some(bytes) = bytes else { return Ok(SchemaAndValue::null()) };
        let json: Json =
            serde_json::from_slice(bytes).map_err(|error| ConvertError::caused("bytes are not JSON", error))?;
        if !self.schemas {
            return Ok(SchemaAndValue::schemaless(Value::from_json(json)));
        }
        let Json::Object(mut fields) = json else { return Err(no_envelope()) };
        match (fields.remove("schema"), fields.remove("payload")) {
            (Some(Json::Null), Some(payload)) if fields.is_empty() => {
                Ok(SchemaAndValue::schemaless(Value::from_json(payload)))
            }
            (Some(schema), Some(payload)) if fields.is_empty() => {
                let schema = self.envelope.schema(&schema)?;
                let value = self.envelope.value(&schema, payload)?;
                Ok(SchemaAndValue::new(schema, value))
            }
            _ => Err(no_envelope()),
        }
    }

    pub(super) fn encode(&self, data: &SchemaAndValue) -> Result<Option<Bytes>, ConvertError> {
        let Some(schema) = &data.schema else {
            if data.value.is_null() {
                return Ok(None);
            }
            let payload = data.value.to_json(None);
            let json = if self.schemas { json!({"schema": null, "payload": payload}) } else { payload };
            return Ok(Some(Bytes::from(json.to_string())));
        };
        schema.check(&data.value).map_err(ConvertError::data)?;
        let payload = self.envelope.payload(schema, &data.value)?;
        if !self.schemas {
            return Ok(if data.value.is_null() { None } else { Some(Bytes::from(payload.to_string())) });
        }
        let json = json!({"schema": self.envelope.schema_json(schema), "payload": payload});
        Ok(Some(Bytes::from(json.to_string())))
    }
}

fn no_envelope() -> ConvertError {
    ConvertError::data(
        "JsonConverter with schemas.enable requires \"schema\" and \"payload\" fields and may not contain additional \
         fields: if the data is plain JSON, set schemas.enable=false in the converter configuration",
    )
}
