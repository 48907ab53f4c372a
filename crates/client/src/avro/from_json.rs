//! JSON to Avro values, guided by the schema.
//!
//! Takes both kinds of JSON that people have: Avro's own encoding, where a non-null union value is tagged
//! (`{"long": 5}`), and plain JSON, where the first branch that fits is taken. Bytes and fixed are strings of code points
//! up to 255; a decimal may be a number or a decimal text; a UUID is text; dates and times are numbers.
//! A missing field takes its default; an unknown field is an error, because it is a typo more often than not.

use std::collections::HashMap;
use std::str::FromStr;

use apache_avro::schema::{InnerDecimalSchema, Name, RecordSchema, Schema, UnionSchema, UuidSchema};
use apache_avro::types::Value;
use apache_avro::{Days, Decimal, Duration, Millis, Months, Uuid};
use serde_json::{Map, Value as Json};

use super::{AvroError, AvroSchema, parse_decimal};

type Result<T> = std::result::Result<T, AvroError>;

pub(super) fn value(schema: &AvroSchema, json: &Json) -> Result<Value> {
    let mut names = HashMap::new();
    collect_names(schema.schema(), &mut names);
    Reader { names }.value(schema.schema(), json, &Path::root())
}

/// Every named type inside a schema, for references by name.
pub(super) fn collect_names<'s>(schema: &'s Schema, names: &mut HashMap<&'s Name, &'s Schema>) {
    if let (Some(name), false) = (schema.name(), matches!(schema, Schema::Ref { .. })) {
        names.insert(name, schema);
    }
    match schema {
        Schema::Record(record) => record.fields.iter().for_each(|field| collect_names(&field.schema, names)),
        Schema::Array(array) => collect_names(&array.items, names),
        Schema::Map(map) => collect_names(&map.types, names),
        Schema::Union(union) => union.variants().iter().for_each(|variant| collect_names(variant, names)),
        _ => {}
    }
}

/// Where in the JSON we are, for error messages.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: String,
}

impl Path<'_> {
    fn root() -> Self {
        Path { parent: None, step: "$".to_owned() }
    }

    fn child(&self, step: String) -> Path<'_> {
        Path { parent: Some(self), step }
    }

    fn text(&self) -> String {
        self.parent.map(Path::text).unwrap_or_default() + &self.step
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(AvroError::Json { path: self.text(), reason: reason.into() })
    }
}

struct Reader<'s> {
    names: HashMap<&'s Name, &'s Schema>,
}

impl Reader<'_> {
    fn value(&self, schema: &Schema, json: &Json, path: &Path<'_>) -> Result<Value> {
        match schema {
            Schema::Null if json.is_null() => Ok(Value::Null),
            Schema::Boolean => json.as_bool().map(Value::Boolean).map_or_else(|| wrong(schema, json, path), Ok),
            Schema::Int => int(schema, json, path).map(Value::Int),
            Schema::Date => int(schema, json, path).map(Value::Date),
            Schema::TimeMillis => int(schema, json, path).map(Value::TimeMillis),
            Schema::Long => long(schema, json, path).map(Value::Long),
            Schema::TimeMicros => long(schema, json, path).map(Value::TimeMicros),
            Schema::TimestampMillis => long(schema, json, path).map(Value::TimestampMillis),
            Schema::TimestampMicros => long(schema, json, path).map(Value::TimestampMicros),
            Schema::TimestampNanos => long(schema, json, path).map(Value::TimestampNanos),
            Schema::LocalTimestampMillis => long(schema, json, path).map(Value::LocalTimestampMillis),
            Schema::LocalTimestampMicros => long(schema, json, path).map(Value::LocalTimestampMicros),
            Schema::LocalTimestampNanos => long(schema, json, path).map(Value::LocalTimestampNanos),
            Schema::Float => double(schema, json, path).map(|number| Value::Float(number as f32)),
            Schema::Double => double(schema, json, path).map(Value::Double),
            Schema::String => string(schema, json, path).map(|text| Value::String(text.to_owned())),
            Schema::Bytes => bytes(schema, json, path).map(Value::Bytes),
            Schema::Fixed(fixed) => sized(bytes(schema, json, path)?, fixed.size, path),
            Schema::Decimal(decimal) => {
                let size = match &decimal.inner {
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                    InnerDecimalSchema::Bytes => None,
                };
                decimal_value(decimal.scale, size, schema, json, path)
            }
            Schema::Uuid(uuid) => uuid_value(uuid, schema, json, path),
            Schema::Duration(_) => duration(schema, json, path),
            Schema::BigDecimal => path.error("big-decimal cannot be given as JSON"),
            Schema::Enum(symbols) => {
                let text = string(schema, json, path)?;
                match symbols.symbols.iter().position(|symbol| symbol == text) {
                    Some(index) => Ok(Value::Enum(index as u32, text.to_owned())),
                    None => path.error(format!("`{text}` is none of {}", symbols.symbols.join(", "))),
                }
            }
            Schema::Array(array) => match json {
                Json::Array(items) => self.array(&array.items, items, path),
                _ => wrong(schema, json, path),
            },
            Schema::Map(map) => match json {
                Json::Object(entries) => self.map(&map.types, entries, path),
                _ => wrong(schema, json, path),
            },
            Schema::Record(record) => match json {
                Json::Object(fields) => self.record(record, fields, path),
                _ => wrong(schema, json, path),
            },
            Schema::Union(union) => self.union(union, json, path),
            Schema::Ref { name } => match self.names.get(name) {
                Some(found) => self.value(found, json, path),
                None => path.error(format!("the schema uses `{}` but nothing defines it", full_name(name))),
            },
            Schema::Null => wrong(schema, json, path),
        }
    }

    fn array(&self, items: &Schema, json: &[Json], path: &Path<'_>) -> Result<Value> {
        let item = |(index, json): (usize, &Json)| self.value(items, json, &path.child(format!("[{index}]")));
        json.iter().enumerate().map(item).collect::<Result<_>>().map(Value::Array)
    }

    fn map(&self, values: &Schema, json: &Map<String, Json>, path: &Path<'_>) -> Result<Value> {
        let entry = |(key, json): (&String, &Json)| {
            self.value(values, json, &path.child(format!(".{key}"))).map(|value| (key.clone(), value))
        };
        json.iter().map(entry).collect::<Result<_>>().map(Value::Map)
    }

    fn record(&self, record: &RecordSchema, json: &Map<String, Json>, path: &Path<'_>) -> Result<Value> {
        if let Some(unknown) = json.keys().find(|key| !record.fields.iter().any(|field| field.name == **key)) {
            let known: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
            return path.error(format!("unknown field `{unknown}`; the record has {}", known.join(", ")));
        }
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            let path = path.child(format!(".{}", field.name));
            let value = match (json.get(&field.name), &field.default) {
                (Some(given), _) => self.value(&field.schema, given, &path)?,
                (None, Some(default)) => self.default(&field.schema, default, &path)?,
                (None, None) => return path.error("field is missing and has no default"),
            };
            fields.push((field.name.clone(), value));
        }
        Ok(Value::Record(fields))
    }

    /// A default of a union belongs to its first branch and is never tagged; newer Avro also takes the branch that fits.
    fn default(&self, schema: &Schema, json: &Json, path: &Path<'_>) -> Result<Value> {
        let Schema::Union(union) = schema else {
            return self.value(schema, json, path);
        };
        self.first_fitting(union, json, path)
    }

    fn union(&self, union: &UnionSchema, json: &Json, path: &Path<'_>) -> Result<Value> {
        if let Json::Object(object) = json
            && object.len() == 1
            && let Some((tag, inner)) = object.iter().next()
            && let Some(index) = union.variants().iter().position(|branch| branch_tags(branch).contains(tag))
        {
            // A plain map or record may look like a tag by accident: only take the tag if its content fits.
            if let Ok(value) = self.value(&union.variants()[index], inner, path) {
                return Ok(Value::Union(index as u32, Box::new(value)));
            }
        }
        self.first_fitting(union, json, path)
    }

    fn first_fitting(&self, union: &UnionSchema, json: &Json, path: &Path<'_>) -> Result<Value> {
        let mut reasons = Vec::new();
        for (index, branch) in union.variants().iter().enumerate() {
            match self.value(branch, json, path) {
                Ok(value) => return Ok(Value::Union(index as u32, Box::new(value))),
                Err(AvroError::Json { path, reason }) => {
                    reasons.push(format!("{} ({path} {reason})", type_name(branch)))
                }
                Err(error) => return Err(error),
            }
        }
        path.error(format!("fits no branch of the union: {}", reasons.join("; ")))
    }
}

fn wrong<T>(schema: &Schema, json: &Json, path: &Path<'_>) -> Result<T> {
    let kind = match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    path.error(format!("{kind} is not of type {}", type_name(schema)))
}

/// A whole number, also when JSON wrote it as `2.0`.
fn long(schema: &Schema, json: &Json, path: &Path<'_>) -> Result<i64> {
    let whole =
        |number: f64| (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64);
    let number = json.as_i64().or_else(|| json.as_f64().and_then(whole));
    number.map_or_else(|| wrong(schema, json, path), Ok)
}

fn int(schema: &Schema, json: &Json, path: &Path<'_>) -> Result<i32> {
    let number = long(schema, json, path)?;
    i32::try_from(number).or_else(|_| path.error(format!("{number} does not fit into 32 bits")))
}

/// Avro's JSON writes the numbers that JSON lacks as strings.
fn double(schema: &Schema, json: &Json, path: &Path<'_>) -> Result<f64> {
    match json {
        Json::String(text) if text == "NaN" => Ok(f64::NAN),
        Json::String(text) if text == "Infinity" || text == "INF" => Ok(f64::INFINITY),
        Json::String(text) if text == "-Infinity" || text == "-INF" => Ok(f64::NEG_INFINITY),
        _ => json.as_f64().map_or_else(|| wrong(schema, json, path), Ok),
    }
}

fn string<'j>(schema: &Schema, json: &'j Json, path: &Path<'_>) -> Result<&'j str> {
    json.as_str().map_or_else(|| wrong(schema, json, path), Ok)
}

fn bytes(schema: &Schema, json: &Json, path: &Path<'_>) -> Result<Vec<u8>> {
    let text = string(schema, json, path)?;
    let byte = |letter: char| u8::try_from(u32::from(letter));
    let bytes = text.chars().map(byte).collect::<std::result::Result<_, _>>();
    bytes.or_else(|_| path.error("bytes are a string of code points up to 255"))
}

fn sized(bytes: Vec<u8>, size: usize, path: &Path<'_>) -> Result<Value> {
    if bytes.len() != size {
        return path.error(format!("{} bytes, the fixed type has {size}", bytes.len()));
    }
    Ok(Value::Fixed(size, bytes))
}

fn decimal_value(scale: usize, size: Option<usize>, schema: &Schema, json: &Json, path: &Path<'_>) -> Result<Value> {
    let parsed = match json {
        Json::Number(number) => parse_decimal(&number.to_string(), scale),
        Json::String(text) => parse_decimal(text, scale).or_else(|| bytes(schema, json, path).ok()),
        _ => return wrong(schema, json, path),
    };
    let Some(mut unscaled) = parsed else {
        return path.error(format!("{json} is no decimal with {scale} fraction digits and 38 digits in all"));
    };
    if let Some(size) = size {
        if unscaled.len() > size {
            return path.error(format!("{json} does not fit into {size} bytes"));
        }
        let sign = if unscaled.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
        unscaled.splice(0..0, std::iter::repeat_n(sign, size - unscaled.len()));
    }
    Ok(Value::Decimal(Decimal::from(unscaled)))
}

fn uuid_value(kind: &UuidSchema, schema: &Schema, json: &Json, path: &Path<'_>) -> Result<Value> {
    let text = string(schema, json, path)?;
    match (Uuid::from_str(text), kind) {
        (Ok(uuid), _) => Ok(Value::Uuid(uuid)),
        (Err(error), _) => path.error(format!("`{text}` is no UUID: {error}")),
    }
}

fn duration(schema: &Schema, json: &Json, path: &Path<'_>) -> Result<Value> {
    let part = |name: &str| json.get(name).and_then(Json::as_u64).and_then(|number| u32::try_from(number).ok());
    match (part("months"), part("days"), part("millis")) {
        (Some(months), Some(days), Some(millis)) => {
            Ok(Value::Duration(Duration::new(Months::new(months), Days::new(days), Millis::new(millis))))
        }
        _ if json.is_object() => path.error("a duration has months, days and millis"),
        _ => wrong(schema, json, path),
    }
}

/// What a tagged union value may call a branch.
pub(super) fn branch_tags(branch: &Schema) -> Vec<String> {
    match branch {
        Schema::Ref { name } => vec![full_name(name), name.name().to_owned()],
        _ => match branch.name() {
            Some(name) => vec![full_name(name), name.name().to_owned()],
            None => vec![type_name(branch), underlying(branch).to_owned()],
        },
    }
}

fn full_name(name: &Name) -> String {
    name.fullname(None)
}

/// The type below a logical type, by its name in Avro's JSON.
pub(super) fn underlying(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "boolean",
        Schema::Int | Schema::Date | Schema::TimeMillis => "int",
        Schema::Float => "float",
        Schema::Double => "double",
        Schema::String | Schema::Uuid(UuidSchema::String) => "string",
        Schema::Bytes | Schema::BigDecimal | Schema::Decimal(_) | Schema::Uuid(_) => "bytes",
        Schema::Array(_) => "array",
        Schema::Map(_) => "map",
        Schema::Union(_) => "union",
        Schema::Record(_) => "record",
        Schema::Enum(_) => "enum",
        Schema::Fixed(_) | Schema::Duration(_) => "fixed",
        Schema::Ref { .. } => "a named type",
        _ => "long",
    }
}

fn type_name(schema: &Schema) -> String {
    match schema {
        Schema::Date => "int (date)".to_owned(),
        Schema::Decimal(decimal) => format!("decimal({}, {})", decimal.precision, decimal.scale),
        Schema::Ref { name } => full_name(name),
        _ => match schema.name() {
            Some(name) => format!("{} {}", underlying(schema), full_name(name)),
            None => underlying(schema).to_owned(),
        },
    }
}
