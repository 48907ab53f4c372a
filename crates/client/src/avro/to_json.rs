//! Avro values to plain JSON: union values without their tag, records as objects in the order of their fields.
//!
//! Bytes and fixed become strings of code points up to 255 (Avro's own way), decimals become decimal texts, durations
//! become objects. [`super::from_json`] reads all of it back.

use std::collections::{BTreeMap, HashMap};

use apache_avro::schema::{Name, Schema};
use apache_avro::types::Value;
use serde_json::{Map, Number, Value as Json, json};

use super::from_json::collect_names;
use super::{AvroError, AvroSchema, decimal_text};

pub(super) fn json(schema: &AvroSchema, value: &Value) -> Result<Json, AvroError> {
    let mut names = HashMap::new();
    collect_names(schema.schema(), &mut names);
    Writer { names }.json(schema.schema(), value)
}

struct Writer<'s> {
    names: HashMap<&'s Name, &'s Schema>,
}

impl Writer<'_> {
    fn json(&self, schema: &Schema, value: &Value) -> Result<Json, AvroError> {
        Ok(match (value, schema) {
            (_, Schema::Ref { name }) => match self.names.get(name) {
                Some(found) => self.json(found, value)?,
                None => return Err(AvroError::Encode(format!("nothing defines `{}`", name.fullname(None)))),
            },
            (Value::Union(index, inner), Schema::Union(union)) => match union.get_variant(*index as usize) {
                Ok(branch) => self.json(branch, inner)?,
                Err(error) => return Err(AvroError::Encode(error.to_string())),
            },
            (Value::Record(fields), Schema::Record(record)) => {
                let mut object = Map::with_capacity(fields.len());
                for (name, value) in fields {
                    let field = record.lookup.get(name).and_then(|index| record.fields.get(*index));
                    let Some(field) = field else {
                        return Err(AvroError::Encode(format!("the schema has no field `{name}`")));
                    };
                    object.insert(name.clone(), self.json(&field.schema, value)?);
                }
                Json::Object(object)
            }
            (Value::Array(items), Schema::Array(array)) => {
                Json::Array(items.iter().map(|item| self.json(&array.items, item)).collect::<Result<_, _>>()?)
            }
            (Value::Map(entries), Schema::Map(map)) => {
                let sorted: BTreeMap<&String, &Value> = entries.iter().collect();
                let entry = |(key, value): (&String, &Value)| Ok((key.clone(), self.json(&map.types, value)?));
                Json::Object(sorted.into_iter().map(entry).collect::<Result<_, AvroError>>()?)
            }
            (Value::Decimal(decimal), Schema::Decimal(shape)) => {
                let bytes = Vec::<u8>::try_from(decimal).map_err(|error| AvroError::Encode(error.to_string()))?;
                decimal_text(&bytes, shape.scale).map_or_else(|| Json::String(latin(&bytes)), Json::String)
            }
            _ => scalar(value)?,
        })
    }
}

fn scalar(value: &Value) -> Result<Json, AvroError> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Boolean(flag) => Json::Bool(*flag),
        Value::Int(number) | Value::Date(number) | Value::TimeMillis(number) => json!(number),
        Value::Long(number)
        | Value::TimeMicros(number)
        | Value::TimestampMillis(number)
        | Value::TimestampMicros(number)
        | Value::TimestampNanos(number)
        | Value::LocalTimestampMillis(number)
        | Value::LocalTimestampMicros(number)
        | Value::LocalTimestampNanos(number) => json!(number),
        // Through the shortest text, so that 0.1 does not become 0.10000000149011612.
        Value::Float(number) => double(number.to_string().parse().unwrap_or(f64::from(*number))),
        Value::Double(number) => double(*number),
        Value::String(text) | Value::Enum(_, text) => Json::String(text.clone()),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => Json::String(latin(bytes)),
        Value::BigDecimal(decimal) => Json::String(decimal.to_string()),
        Value::Uuid(uuid) => Json::String(uuid.to_string()),
        Value::Duration(duration) => json!({
            "months": u32::from(duration.months()),
            "days": u32::from(duration.days()),
            "millis": u32::from(duration.millis()),
        }),
        other => return Err(AvroError::Encode(format!("{other:?} does not belong to its schema"))),
    })
}

fn double(number: f64) -> Json {
    Number::from_f64(number).map_or_else(|| Json::String(non_finite(number).to_owned()), Json::Number)
}

fn non_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
