//! Avro to Connect: the schema once, then values along it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use twinstream_client::avro::AvroSchema;
use twinstream_client::avro::apache_avro::schema::{InnerDecimalSchema, Name, Schema as Avro, UnionSchema};
use twinstream_client::avro::apache_avro::types::Value as AvroValue;
use twinstream_connect_api::{Field, Schema, SchemaRef, SchemaType, Struct, Value};

use super::super::ConvertError;
use super::marks;

/// A schema that values are read with, and the Connect schema that they get.
pub(super) struct Reading {
    avro: AvroSchema,
    /// Definitions behind references by name.
    names: HashMap<Name, Avro>,
    connect: SchemaRef,
}

impl Reading {
    pub(super) fn new(avro: AvroSchema) -> Result<Self, ConvertError> {
        let mut names = HashMap::new();
        collect_names(avro.schema(), &mut names);
        let mut translation = Translation { names: &names, open: Vec::new() };
        let connect = Arc::new(translation.schema(avro.schema())?);
        Ok(Self { avro, names, connect })
    }

    pub(super) fn connect(&self) -> &SchemaRef {
        &self.connect
    }

    pub(super) fn value(&self, value: AvroValue) -> Result<Value, ConvertError> {
        value_along(&self.names, self.avro.schema(), &self.connect, value)
    }
}

fn collect_names(schema: &Avro, names: &mut HashMap<Name, Avro>) {
    match schema {
        Avro::Record(record) => {
            names.insert(record.name.clone(), schema.clone());
            record.fields.iter().for_each(|field| collect_names(&field.schema, names));
        }
        Avro::Enum(inner) => _ = names.insert(inner.name.clone(), schema.clone()),
        Avro::Fixed(inner) | Avro::Duration(inner) => _ = names.insert(inner.name.clone(), schema.clone()),
        Avro::Decimal(decimal) => {
            if let InnerDecimalSchema::Fixed(fixed) = &decimal.inner {
                names.insert(fixed.name.clone(), schema.clone());
            }
        }
        Avro::Array(array) => collect_names(&array.items, names),
        Avro::Map(map) => collect_names(&map.types, names),
        Avro::Union(union) => union.variants().iter().for_each(|variant| collect_names(variant, names)),
        _ => {}
    }
}

struct Translation<'a> {
    names: &'a HashMap<Name, Avro>,
    /// Records that are being translated, outermost first.
    open: Vec<Name>,
}

impl Translation<'_> {
    fn schema(&mut self, avro: &Avro) -> Result<Schema, ConvertError> {
        Ok(match avro {
            Avro::Null => Schema::string().optional(), // holds nothing but null
            Avro::Boolean => Schema::boolean(),
            Avro::Int => Schema::int32(),
            Avro::Long => Schema::int64(),
            Avro::Float => Schema::of(SchemaType::Float32),
            Avro::Double => Schema::float64(),
            Avro::Bytes => Schema::bytes(),
            Avro::String | Avro::Uuid(_) => Schema::string(),
            Avro::Date => Schema::date(),
            Avro::TimeMillis => Schema::time(),
            Avro::TimestampMillis => Schema::timestamp(),
            // Connect has no finer clock than milliseconds: plain numbers, as Confluent's converter gives them.
            Avro::TimeMicros
            | Avro::TimestampMicros
            | Avro::TimestampNanos
            | Avro::LocalTimestampMillis
            | Avro::LocalTimestampMicros
            | Avro::LocalTimestampNanos => Schema::int64(),
            Avro::Decimal(decimal) => Schema::decimal(i32::try_from(decimal.scale).unwrap_or(i32::MAX))
                .with_parameter(marks::PRECISION, &decimal.precision.to_string()),
            Avro::BigDecimal => return Err(ConvertError::data("avro logical type big-decimal has no Connect type")),
            Avro::Fixed(fixed) | Avro::Duration(fixed) => Schema::bytes()
                .with_name(&fixed.name.fullname(None))
                .with_parameter(marks::FIXED_SIZE, &fixed.size.to_string()),
            Avro::Enum(inner) => {
                let name = inner.name.fullname(None);
                let schema = Schema::string().with_name(&name).with_parameter(marks::ENUM, &name);
                inner.symbols.iter().enumerate().fold(schema, |schema, (ordinal, symbol)| {
                    schema.with_parameter(&format!("{}.{symbol}", marks::ENUM), &ordinal.to_string())
                })
            }
            Avro::Array(array) => Schema::array(self.schema(&array.items)?),
            Avro::Map(map) => Schema::map(Schema::string(), self.schema(&map.types)?),
            Avro::Union(union) => self.union(union)?,
            Avro::Record(_) => self.record(avro)?,
            Avro::Ref { name } => match self.names.get(name) {
                Some(definition) => self.schema(&definition.clone())?,
                None => return Err(ConvertError::data(format!("avro schema refers to the unknown name {name}"))),
            },
        })
    }

    fn record(&mut self, avro: &Avro) -> Result<Schema, ConvertError> {
        let Avro::Record(record) = avro else { return Err(ConvertError::data("not a record")) };
        let name = record.name.fullname(None);
        if self.open.contains(&record.name) {
            let text = format!("avro record {name} contains itself: Connect's data model has no recursive schemas");
            return Err(ConvertError::data(text));
        }
        self.open.push(record.name.clone());
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            let mut schema = self.schema(&field.schema)?;
            schema.doc = field.doc.clone();
            schema.default = self.default(&field.schema, &schema, field.default.as_ref());
            fields.push(Field { name: field.name.clone(), schema: Arc::new(schema) });
        }
        self.open.pop();
        let mut schema = Schema::of(SchemaType::Struct(fields)).with_name(&name);
        schema.doc = record.doc.clone();
        schema.version =
            record.attributes.get("connect.version").and_then(|v| v.as_i64()).and_then(|v| i32::try_from(v).ok());
        Ok(schema)
    }

    /// A union of one type and null is that type, optional; any other union is a struct with one field per branch.
    fn union(&mut self, union: &UnionSchema) -> Result<Schema, ConvertError> {
        let nullable = union.variants().iter().any(|variant| matches!(variant, Avro::Null));
        let branches: Vec<&Avro> = union.variants().iter().filter(|v| !matches!(v, Avro::Null)).collect();
        let mut schema = match branches.as_slice() {
            [single] => self.schema(single)?,
            _ => {
                let mut fields = Vec::with_capacity(branches.len());
                for branch in branches {
                    let schema = Arc::new(self.schema(branch)?.optional());
                    fields.push(Field { name: branch_name(branch, &schema), schema });
                }
                Schema::of(SchemaType::Struct(fields)).with_name(marks::UNION)
            }
        };
        schema.optional |= nullable;
        Ok(schema)
    }

    /// A default that is null says nothing beyond "optional". One that does not fit its field is an error of whoever wrote
    /// the schema; it is left out, because it matters only to writers.
    fn default(&self, avro: &Avro, schema: &Schema, json: Option<&serde_json::Value>) -> Option<Value> {
        let json = json.filter(|json| !json.is_null())?;
        let value = AvroValue::try_from(json.clone()).ok()?;
        let value = value.resolve_with_names(avro, self.names).ok()?;
        value_along(self.names, avro, &Arc::new(schema.clone()), value).ok()
    }
}

/// A branch is called by its type, or by the last part of its name.
fn branch_name(avro: &Avro, schema: &Schema) -> String {
    match avro {
        Avro::Record(record) => record.name.name().to_owned(),
        Avro::Enum(inner) => inner.name.name().to_owned(),
        Avro::Fixed(fixed) => fixed.name.name().to_owned(),
        Avro::Ref { name } => name.name().to_owned(),
        Avro::Int | Avro::Date | Avro::TimeMillis => "int".to_owned(),
        _ => match schema.kind.name() {
            "int64" => "long".to_owned(),
            other => other.to_owned(),
        },
    }
}

fn value_along(
    names: &HashMap<Name, Avro>,
    avro: &Avro,
    connect: &SchemaRef,
    value: AvroValue,
) -> Result<Value, ConvertError> {
    Ok(match (avro, value) {
        (Avro::Ref { name }, value) => match names.get(name) {
            Some(definition) => value_along(names, definition, connect, value)?,
            None => return Err(ConvertError::data(format!("avro schema refers to the unknown name {name}"))),
        },
        (Avro::Union(union), AvroValue::Union(branch, inner)) => union_value(names, union, connect, branch, *inner)?,
        (Avro::Record(record), AvroValue::Record(members)) => {
            let fields = record.fields.iter().zip(connect.fields());
            let mut values = Vec::with_capacity(members.len());
            for ((field, target), (_, member)) in fields.zip(members) {
                values.push(value_along(names, &field.schema, &target.schema, member)?);
            }
            let made = Struct::new(Arc::clone(connect), values);
            Value::Struct(made.ok_or_else(|| ConvertError::data("avro record lacks fields of its schema"))?)
        }
        (Avro::Array(array), AvroValue::Array(items)) => match &connect.kind {
            SchemaType::Array(item) => {
                let items = items.into_iter().map(|value| value_along(names, &array.items, item, value));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            _ => return Err(misfit(connect)),
        },
        (Avro::Map(map), AvroValue::Map(entries)) => match &connect.kind {
            SchemaType::Map { value: item, .. } => {
                let entry = |(k, v)| Ok((Value::String(k), value_along(names, &map.types, item, v)?));
                let mut entries = entries.into_iter().map(entry).collect::<Result<Vec<_>, ConvertError>>()?;
                // The library's map has a random order; a stable one keeps documents comparable.
                entries.sort_by(|a, b| a.0.as_str().cmp(&b.0.as_str()));
                Value::Map(entries)
            }
            _ => return Err(misfit(connect)),
        },
        (_, value) => scalar(value, connect)?,
    })
}

fn union_value(
    names: &HashMap<Name, Avro>,
    union: &UnionSchema,
    connect: &SchemaRef,
    branch: u32,
    inner: AvroValue,
) -> Result<Value, ConvertError> {
    let branch = branch as usize;
    let Some(avro) = union.variants().get(branch) else { return Err(misfit(connect)) };
    if matches!(avro, Avro::Null) {
        return Ok(Value::Null);
    }
    if connect.name.as_deref() != Some(marks::UNION) {
        return value_along(names, avro, connect, inner);
    }
    let nulls_before = union.variants()[..branch].iter().filter(|v| matches!(v, Avro::Null)).count();
    let chosen = branch - nulls_before;
    let mut values = vec![Value::Null; connect.fields().len()];
    let (Some(slot), Some(field)) = (values.get_mut(chosen), connect.fields().get(chosen)) else {
        return Err(misfit(connect));
    };
    *slot = value_along(names, avro, &field.schema, inner)?;
    Struct::new(Arc::clone(connect), values).map(Value::Struct).ok_or_else(|| misfit(connect))
}

fn scalar(value: AvroValue, connect: &Schema) -> Result<Value, ConvertError> {
    Ok(match value {
        AvroValue::Null => Value::Null,
        AvroValue::Boolean(v) => Value::Bool(v),
        AvroValue::Int(v) | AvroValue::Date(v) | AvroValue::TimeMillis(v) => Value::Int32(v),
        AvroValue::Long(v)
        | AvroValue::TimeMicros(v)
        | AvroValue::TimestampMillis(v)
        | AvroValue::TimestampMicros(v)
        | AvroValue::TimestampNanos(v)
        | AvroValue::LocalTimestampMillis(v)
        | AvroValue::LocalTimestampMicros(v)
        | AvroValue::LocalTimestampNanos(v) => Value::Int64(v),
        AvroValue::Float(v) => Value::Float32(v),
        AvroValue::Double(v) => Value::Float64(v),
        AvroValue::Bytes(v) | AvroValue::Fixed(_, v) => Value::Bytes(Bytes::from(v)),
        AvroValue::String(v) | AvroValue::Enum(_, v) => Value::String(v),
        AvroValue::Uuid(v) => Value::String(v.to_string()),
        AvroValue::Decimal(v) => {
            let bytes = Vec::<u8>::try_from(v).map_err(|error| ConvertError::caused("avro decimal", error))?;
            Value::Bytes(Bytes::from(bytes))
        }
        AvroValue::Duration(v) => Value::Bytes(Bytes::copy_from_slice(&<[u8; 12]>::from(v))),
        _ => return Err(misfit(connect)),
    })
}

fn misfit(connect: &Schema) -> ConvertError {
    ConvertError::data(format!("avro value is not a {}", connect.kind.name()))
}
