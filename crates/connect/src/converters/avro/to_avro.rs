//! Connect to Avro: the schema once, as text to register, then values along it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json, json};
use twinstream_client::avro::apache_avro::Decimal;
use twinstream_client::avro::apache_avro::types::Value as AvroValue;
use twinstream_connect_api::data::logical;
use twinstream_connect_api::{Schema, SchemaRef, SchemaType, Value};

use super::super::ConvertError;
use super::marks;

/// The Avro schema that values of one Connect schema are written with.
pub(super) struct Writing {
    text: String,
}

impl Writing {
    pub(super) fn new(schema: &SchemaRef, meta_data: bool) -> Result<Self, ConvertError> {
        let mut names = Names { meta_data, defined: HashMap::new(), unnamed: 0 };
        Ok(Self { text: names.schema(schema)?.to_string() })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn value(&self, schema: &SchemaRef, value: &Value) -> Result<AvroValue, ConvertError> {
        avro_value(schema, value)
    }
}

/// The schema of a value that has none, where its type says enough.
pub(super) fn scalar_schema(value: &Value) -> Option<SchemaRef> {
    let kind = match value {
        Value::Bool(_) => SchemaType::Boolean,
        Value::Int8(_) => SchemaType::Int8,
        Value::Int16(_) => SchemaType::Int16,
        Value::Int32(_) => SchemaType::Int32,
        Value::Int64(_) => SchemaType::Int64,
        Value::Float32(_) => SchemaType::Float32,
        Value::Float64(_) => SchemaType::Float64,
        Value::String(_) => SchemaType::String,
        Value::Bytes(_) => SchemaType::Bytes,
        _ => return None,
    };
    Some(Arc::new(Schema::of(kind)))
}

struct Names {
    meta_data: bool,
    /// Named types written so far; Avro wants each defined once and then referred to.
    defined: HashMap<String, Schema>,
    unnamed: u32,
}

impl Names {
    /// The schema as JSON, a union with null where it is optional.
    fn schema(&mut self, schema: &Schema) -> Result<Json, ConvertError> {
        let plain = self.required(schema)?;
        let is_union = schema.name.as_deref() == Some(marks::UNION); // brings its own null
        Ok(match (schema.optional && !is_union, &schema.default) {
            (false, _) => plain,
            // The default of a union must be of its first branch.
            (true, Some(_)) => json!([plain, "null"]),
            (true, None) => json!(["null", plain]),
        })
    }

    fn required(&mut self, schema: &Schema) -> Result<Json, ConvertError> {
        Ok(match (&schema.kind, schema.name.as_deref()) {
            (SchemaType::Int32, Some(logical::DATE)) => json!({"type": "int", "logicalType": "date"}),
            (SchemaType::Int32, Some(logical::TIME)) => json!({"type": "int", "logicalType": "time-millis"}),
            (SchemaType::Int64, Some(logical::TIMESTAMP)) => json!({"type": "long", "logicalType": "timestamp-millis"}),
            (SchemaType::Bytes, Some(logical::DECIMAL)) => {
                let precision = schema.parameters.get(marks::PRECISION).map_or(marks::DEFAULT_PRECISION, |p| p);
                let precision: u32 = precision.parse().unwrap_or(64);
                json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": schema.scale()})
            }
            (SchemaType::Int8, _) => self.annotated("int", "int8"),
            (SchemaType::Int16, _) => self.annotated("int", "int16"),
            (SchemaType::Int32, _) => json!("int"),
            (SchemaType::Int64, _) => json!("long"),
            (SchemaType::Float32, _) => json!("float"),
            (SchemaType::Float64, _) => json!("double"),
            (SchemaType::Boolean, _) => json!("boolean"),
            (SchemaType::String, Some(name)) if schema.parameters.contains_key(marks::ENUM) => {
                self.named(name, schema, |_| Ok(json!({"type": "enum", "symbols": enum_symbols(schema)})))?
            }
            (SchemaType::String, _) => json!("string"),
            (SchemaType::Bytes, Some(name)) if fixed_size(schema).is_some() => {
                self.named(name, schema, |_| Ok(json!({"type": "fixed", "size": fixed_size(schema)})))?
            }
            (SchemaType::Bytes, _) => json!("bytes"),
            (SchemaType::Array(items), _) => json!({"type": "array", "items": self.schema(items)?}),
            (SchemaType::Map { key, value }, _) => self.map(key, value)?,
            (SchemaType::Struct(fields), Some(marks::UNION)) => {
                let branches = fields.iter().map(|field| self.required(&field.schema));
                let mut branches = branches.collect::<Result<Vec<_>, _>>()?;
                if schema.optional {
                    branches.insert(0, json!("null"));
                }
                return Ok(Json::Array(branches));
            }
            (SchemaType::Struct(_), name) => {
                let name = name.map_or_else(|| self.next_name(), str::to_owned);
                self.named(&name, schema, |names| names.record(schema))?
            }
        })
    }

    fn annotated(&self, avro: &str, connect: &str) -> Json {
        if self.meta_data { json!({"type": avro, "connect.type": connect}) } else { json!(avro) }
    }

    /// Maps with other than string keys are arrays of entries.
    fn map(&mut self, key: &SchemaRef, value: &SchemaRef) -> Result<Json, ConvertError> {
        if key.kind == SchemaType::String && !key.optional {
            return Ok(json!({"type": "map", "values": self.schema(value)?}));
        }
        let (name, namespace) = self.entry_name();
        let fields = json!([
            {"name": "key", "type": self.schema(key)?},
            {"name": "value", "type": self.schema(value)?},
        ]);
        let entry = json!({"type": "record", "name": name, "namespace": namespace, "fields": fields});
        Ok(json!({"type": "array", "items": entry}))
    }

    fn entry_name(&mut self) -> (String, &'static str) {
        let (namespace, name) = marks::MAP_ENTRY.rsplit_once('.').unwrap_or(("", marks::MAP_ENTRY));
        self.unnamed += 1;
        let name = if self.unnamed == 1 { name.to_owned() } else { format!("{name}{}", self.unnamed) };
        (name, namespace)
    }

    fn next_name(&mut self) -> String {
        self.unnamed += 1;
        match self.unnamed {
            1 => marks::DEFAULT_NAME.to_owned(),
            n => format!("{}{n}", marks::DEFAULT_NAME),
        }
    }

    /// Defines a named type at its first use and refers to it afterwards.
    fn named(
        &mut self,
        name: &str,
        schema: &Schema,
        define: impl FnOnce(&mut Self) -> Result<Json, ConvertError>,
    ) -> Result<Json, ConvertError> {
        let bare = Schema { optional: false, default: None, doc: None, ..schema.clone() };
        if let Some(known) = self.defined.get(name) {
            if *known != bare {
                return Err(ConvertError::data(format!("two different schemas are called {name}")));
            }
            return Ok(json!(name));
        }
        self.defined.insert(name.to_owned(), bare);
        let mut json = JsonMap::new();
        let (namespace, simple) = name.rsplit_once('.').map_or((None, name), |(ns, simple)| (Some(ns), simple));
        let defined = define(self)?;
        json.insert("type".to_owned(), defined["type"].clone());
        json.insert("name".to_owned(), json!(simple));
        if let Some(namespace) = namespace {
            json.insert("namespace".to_owned(), json!(namespace));
        }
        if let Json::Object(rest) = defined {
            json.extend(rest.into_iter().filter(|(key, _)| key != "type"));
        }
        if self.meta_data {
            if let Some(version) = schema.version {
                json.insert("connect.version".to_owned(), json!(version));
            }
            if schema.name.is_some() {
                json.insert("connect.name".to_owned(), json!(name));
            }
        }
        Ok(Json::Object(json))
    }

    fn record(&mut self, schema: &Schema) -> Result<Json, ConvertError> {
        let mut fields = Vec::new();
        for field in schema.fields() {
            let mut json = json!({"name": field.name, "type": self.schema(&field.schema)?});
            if let Some(doc) = &field.schema.doc {
                json["doc"] = json!(doc);
            }
            match &field.schema.default {
                Some(default) => json["default"] = default_json(&field.schema, default)?,
                None if field.schema.optional => json["default"] = Json::Null,
                None => {}
            }
            fields.push(json);
        }
        let mut json = json!({"type": "record", "fields": fields});
        if let Some(doc) = &schema.doc {
            json["doc"] = json!(doc);
        }
        Ok(json)
    }
}

/// Bytes in defaults are text of the code points 0 to 255.
fn default_json(schema: &Schema, default: &Value) -> Result<Json, ConvertError> {
    Ok(match default {
        Value::Bytes(bytes) => Json::String(bytes.iter().map(|b| char::from(*b)).collect()),
        Value::Struct(s) => {
            let member = |((name, value), field): ((&str, &Value), &twinstream_connect_api::Field)| {
                Ok((name.to_owned(), default_json(&field.schema, value)?))
            };
            let members = s.iter().zip(schema.fields()).map(member);
            Json::Object(members.collect::<Result<JsonMap<_, _>, ConvertError>>()?)
        }
        other => other.to_json(None),
    })
}

fn enum_symbols(schema: &Schema) -> Vec<&str> {
    let prefix = format!("{}.", marks::ENUM);
    let mut symbols: Vec<(u32, &str)> = schema
        .parameters
        .iter()
        .filter_map(|(key, ordinal)| Some((ordinal.parse().unwrap_or(u32::MAX), key.strip_prefix(&prefix)?)))
        .collect();
    symbols.sort_unstable();
    symbols.into_iter().map(|(_, symbol)| symbol).collect()
}

fn fixed_size(schema: &Schema) -> Option<usize> {
    schema.parameters.get(marks::FIXED_SIZE)?.parse().ok()
}

fn avro_value(schema: &Schema, value: &Value) -> Result<AvroValue, ConvertError> {
    let is_union = schema.name.as_deref() == Some(marks::UNION);
    if !schema.optional || is_union {
        return required_value(schema, value);
    }
    // The same order of branches as in `Names::schema`.
    let (null, inner) = if schema.default.is_some() { (1, 0) } else { (0, 1) };
    Ok(match value {
        Value::Null => AvroValue::Union(null, Box::new(AvroValue::Null)),
        value => AvroValue::Union(inner, Box::new(required_value(schema, value)?)),
    })
}

fn required_value(schema: &Schema, value: &Value) -> Result<AvroValue, ConvertError> {
    let value = match (value, &schema.default) {
        (Value::Null, Some(default)) => default,
        (value, _) => value,
    };
    Ok(match (&schema.kind, value) {
        (SchemaType::Int8, Value::Int8(v)) => AvroValue::Int(i32::from(*v)),
        (SchemaType::Int16, Value::Int16(v)) => AvroValue::Int(i32::from(*v)),
        (SchemaType::Int32, Value::Int32(v)) => match schema.name.as_deref() {
            Some(logical::DATE) => AvroValue::Date(*v),
            Some(logical::TIME) => AvroValue::TimeMillis(*v),
            _ => AvroValue::Int(*v),
        },
        (SchemaType::Int64, Value::Int64(v)) => match schema.name.as_deref() {
            Some(logical::TIMESTAMP) => AvroValue::TimestampMillis(*v),
            _ => AvroValue::Long(*v),
        },
        (SchemaType::Float32, Value::Float32(v)) => AvroValue::Float(*v),
        (SchemaType::Float64, Value::Float64(v)) => AvroValue::Double(*v),
        (SchemaType::Boolean, Value::Bool(v)) => AvroValue::Boolean(*v),
        (SchemaType::String, Value::String(v)) if schema.parameters.contains_key(marks::ENUM) => {
            let ordinal = enum_symbols(schema).iter().position(|symbol| symbol == v);
            let ordinal = ordinal.ok_or_else(|| ConvertError::data(format!("{v} is no symbol of the enum")))?;
            AvroValue::Enum(u32::try_from(ordinal).unwrap_or(u32::MAX), v.clone())
        }
        (SchemaType::String, Value::String(v)) => AvroValue::String(v.clone()),
        (SchemaType::Bytes, Value::Bytes(v)) => match schema.name.as_deref() {
            Some(logical::DECIMAL) => AvroValue::Decimal(Decimal::from(v.as_ref())),
            Some(_) if fixed_size(schema) == Some(v.len()) => AvroValue::Fixed(v.len(), v.to_vec()),
            _ => AvroValue::Bytes(v.to_vec()),
        },
        (SchemaType::Array(items), Value::Array(values)) => {
            AvroValue::Array(values.iter().map(|value| avro_value(items, value)).collect::<Result<_, _>>()?)
        }
        (SchemaType::Map { key, value }, Value::Map(entries)) => map_value(key, value, entries)?,
        (SchemaType::Struct(fields), Value::Struct(s)) if schema.name.as_deref() == Some(marks::UNION) => {
            let chosen = s.values().iter().position(|value| !value.is_null());
            let chosen = chosen.ok_or_else(|| ConvertError::data("union without a value"))?;
            let branch = chosen + usize::from(schema.optional);
            let inner = required_value(&fields[chosen].schema, &s.values()[chosen])?;
            AvroValue::Union(u32::try_from(branch).unwrap_or(u32::MAX), Box::new(inner))
        }
        (SchemaType::Struct(fields), Value::Struct(s)) => {
            let member = |(field, value): (&twinstream_connect_api::Field, &Value)| {
                Ok((field.name.clone(), avro_value(&field.schema, value)?))
            };
            AvroValue::Record(fields.iter().zip(s.values()).map(member).collect::<Result<_, ConvertError>>()?)
        }
        (SchemaType::Struct(_), Value::Null) if schema.optional => AvroValue::Union(0, Box::new(AvroValue::Null)),
        (kind, value) => {
            return Err(ConvertError::data(format!("{} where the schema says {}", value.type_name(), kind.name())));
        }
    })
}

fn map_value(key: &Schema, item: &Schema, entries: &[(Value, Value)]) -> Result<AvroValue, ConvertError> {
    if key.kind == SchemaType::String && !key.optional {
        let entry = |(k, v): &(Value, Value)| Ok((k.key_text(), avro_value(item, v)?));
        return Ok(AvroValue::Map(entries.iter().map(entry).collect::<Result<HashMap<_, _>, ConvertError>>()?));
    }
    let entry = |(k, v): &(Value, Value)| {
        let members = vec![("key".to_owned(), avro_value(key, k)?), ("value".to_owned(), avro_value(item, v)?)];
        Ok(AvroValue::Record(members))
    };
    Ok(AvroValue::Array(entries.iter().map(entry).collect::<Result<_, ConvertError>>()?))
}
