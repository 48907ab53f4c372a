//! The mapping of one index: which field is of which type, and how it grows.
//!
//! Picture: a flat table from the full path (`user.name`) to its type; nested `properties` exist only in the JSON that
//! comes in and goes out.
//! Invariants: M1 a path is either an object or a value, never both. M2 a type never changes. M3 what a document adds
//! is applied only when the whole document was accepted.
//! Not here: reading documents (see `document`), storing (the mapping travels in the commit of the writer).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::date::{self, DateFormat};
use crate::error::ApiError;

/// Elasticsearch's own default; a mapping beyond it is nearly always a mistake in the data.
pub(crate) const FIELDS_MAX: usize = 1_000;
const DEPTH_MAX: usize = 20;
const SUBFIELD_KEYWORD_MAX: u32 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Dynamic {
    #[default]
    True,
    False,
    Strict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Text,
    Keyword,
    /// `long`, `integer`, `short`, `byte`: the number is the width in bits.
    Integer(u8),
    /// `double`, `float`, `half_float`: stored as f64, the width is kept for the mapping.
    Float(u8),
    Boolean,
    Date,
    /// Base64 text that is kept in the source and not indexed.
    Binary,
}

impl Kind {
    fn parse(path: &str, name: &str) -> Result<Kind, ApiError> {
        Ok(match name {
            "object" => Kind::Object,
            "text" => Kind::Text,
            "keyword" => Kind::Keyword,
            "long" => Kind::Integer(64),
            "integer" => Kind::Integer(32),
            "short" => Kind::Integer(16),
            "byte" => Kind::Integer(8),
            "double" => Kind::Float(64),
            "float" => Kind::Float(32),
            "half_float" => Kind::Float(16),
            "boolean" => Kind::Boolean,
            "date" => Kind::Date,
            "binary" => Kind::Binary,
            other => return Err(ApiError::mapper(format!("No handler for type [{other}] declared on field [{path}]"))),
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Text => "text",
            Kind::Keyword => "keyword",
            Kind::Integer(8) => "byte",
            Kind::Integer(16) => "short",
            Kind::Integer(32) => "integer",
            Kind::Integer(_) => "long",
            Kind::Float(16) => "half_float",
            Kind::Float(32) => "float",
            Kind::Float(_) => "double",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
            Kind::Binary => "binary",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub kind: Kind,
    /// Keyword values longer than this (in characters) are kept in the source and not indexed.
    pub ignore_above: Option<u32>,
    pub null_value: Option<Value>,
    /// Dates only: the text as given, and as parsed.
    pub format: Option<(String, Vec<DateFormat>)>,
    /// Multi-fields: the same value under `path.name`.
    pub subfields: BTreeMap<String, Field>,
}

impl Field {
    pub(crate) fn of(kind: Kind) -> Field {
        Field { kind, ignore_above: None, null_value: None, format: None, subfields: BTreeMap::new() }
    }

    /// What dynamic mapping gives a string: full text, and the exact value beside it.
    pub(crate) fn dynamic_text() -> Field {
        let keyword = Field { ignore_above: Some(SUBFIELD_KEYWORD_MAX), ..Field::of(Kind::Keyword) };
        Field { subfields: BTreeMap::from([("keyword".to_owned(), keyword)]), ..Field::of(Kind::Text) }
    }

    pub(crate) fn date_formats(&self) -> &[DateFormat] {
        match &self.format {
            Some((_, formats)) => formats,
            None => &[DateFormat::OptionalTime, DateFormat::EpochMillis],
        }
    }

    fn parse(path: &str, body: &Map<String, Value>) -> Result<Field, ApiError> {
        let name = match body.get("type") {
            Some(Value::String(name)) => name.as_str(),
            Some(_) => return Err(ApiError::mapper(format!("[type] of field [{path}] must be a string"))),
            None => "object",
        };
        let mut field = Field::of(Kind::parse(path, name)?);
        for (key, value) in body {
            field.set(path, key, value)?;
        }
        Ok(field)
    }

    fn set(&mut self, path: &str, key: &str, value: &Value) -> Result<(), ApiError> {
        match (key, value) {
            ("type" | "properties", _) => {}
            ("ignore_above", Value::Number(n)) if self.kind == Kind::Keyword => {
                self.ignore_above = Some(n.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX))
            }
            ("null_value", value) if !matches!(self.kind, Kind::Text | Kind::Object | Kind::Binary) => {
                self.null_value = Some(value.clone())
            }
            ("format", Value::String(text)) if self.kind == Kind::Date => {
                let formats = date::parse_formats(text)
                    .map_err(|reason| ApiError::mapper(format!("{reason} (field [{path}])")))?;
                self.format = Some((text.clone(), formats));
            }
            ("fields", Value::Object(fields)) if self.kind != Kind::Object => {
                for (name, body) in fields {
                    let path = format!("{path}.{name}");
                    let body = body
                        .as_object()
                        .ok_or_else(|| ApiError::mapper(format!("multi-field [{path}] must be an object")))?;
                    let field = Field::parse(&path, body)?;
                    if field.kind == Kind::Object || !field.subfields.is_empty() {
                        return Err(ApiError::mapper(format!(
                            "multi-field [{path}] can be neither an object nor have fields of its own"
                        )));
                    }
                    self.subfields.insert(name.clone(), field);
                }
            }
            _ => {
                let kind = self.kind.name();
                return Err(ApiError::mapper(format!(
                    "parameter [{key}] of field [{path}] of type [{kind}] is unknown here or has a wrong value"
                )));
            }
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(self.kind.name()));
        if let Some((format, _)) = &self.format {
            body.insert("format".to_owned(), json!(format));
        }
        if let Some(limit) = self.ignore_above {
            body.insert("ignore_above".to_owned(), json!(limit));
        }
        if let Some(value) = &self.null_value {
            body.insert("null_value".to_owned(), value.clone());
        }
        if !self.subfields.is_empty() {
            let fields: Map<String, Value> =
                self.subfields.iter().map(|(name, field)| (name.clone(), field.to_json())).collect();
            body.insert("fields".to_owned(), Value::Object(fields));
        }
        Value::Object(body)
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Mapping {
    pub dynamic: Dynamic,
    fields: BTreeMap<String, Field>,
}

impl Mapping {
    pub(crate) fn parse(body: &Value) -> Result<Mapping, ApiError> {
        let mut mapping = Mapping::default();
        mapping.merge_json(body)?;
        Ok(mapping)
    }

    /// PUT _mapping: adds fields, leaves equal ones, refuses to change a type.
    pub(crate) fn merge_json(&mut self, body: &Value) -> Result<(), ApiError> {
        let body = match body {
            Value::Null => return Ok(()),
            Value::Object(body) => body,
            _ => return Err(ApiError::mapper("mappings must be an object")),
        };
        let mut next = self.clone();
        for (key, value) in body {
            match (key.as_str(), value) {
                ("dynamic", value) => next.dynamic = parse_dynamic(value)?,
                ("date_detection" | "numeric_detection", Value::Bool(false)) => {} // is never done here
                ("properties", Value::Object(properties)) => next.merge_properties("", properties, 0)?,
                (other, _) => {
                    return Err(ApiError::mapper(format!(
                        "Root mapping definition has unsupported parameters: [{other}]"
                    )));
                }
            }
        }
        next.check_size()?;
        *self = next;
        Ok(())
    }

    fn merge_properties(
        &mut self,
        prefix: &str,
        properties: &Map<String, Value>,
        depth: usize,
    ) -> Result<(), ApiError> {
        if depth > DEPTH_MAX {
            return Err(ApiError::mapper(format!("mapping is deeper than {DEPTH_MAX} levels at [{prefix}]")));
        }
        for (name, body) in properties {
            let path = join(prefix, name);
            check_name(&path)?;
            let body = body
                .as_object()
                .ok_or_else(|| ApiError::mapper(format!("Expected map for property [fields] on field [{path}]")))?;
            let field = Field::parse(&path, body)?;
            let is_object = field.kind == Kind::Object;
            self.insert(&path, field)?;
            match body.get("properties") {
                None => {}
                Some(Value::Object(properties)) if is_object => self.merge_properties(&path, properties, depth + 1)?,
                Some(_) => {
                    return Err(ApiError::mapper(format!(
                        "[properties] of [{path}] must be an object on a field of type object"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Adds one field and the objects above it.
    pub(crate) fn insert(&mut self, path: &str, field: Field) -> Result<(), ApiError> {
        for (at, _) in path.match_indices('.') {
            let parent = &path[..at];
            match self.fields.get(parent) {
                Some(known) if known.kind != Kind::Object => {
                    return Err(ApiError::illegal(format!(
                        "can't merge a non object mapping [{parent}] with an object mapping"
                    )));
                }
                Some(_) => {}
                None => {
                    self.fields.insert(parent.to_owned(), Field::of(Kind::Object));
                }
            }
        }
        match self.fields.get_mut(path) {
            Some(known) if known.kind != field.kind => {
                let (from, to) = (known.kind.name(), field.kind.name());
                return Err(ApiError::illegal(format!(
                    "mapper [{path}] cannot be changed from type [{from}] to [{to}]"
                )));
            }
            Some(known) => {
                let mut subfields = std::mem::take(&mut known.subfields);
                for (name, field) in &field.subfields {
                    subfields.entry(name.clone()).or_insert_with(|| field.clone());
                }
                *known = Field { subfields, ..field };
            }
            None => {
                self.fields.insert(path.to_owned(), field);
            }
        }
        Ok(())
    }

    pub(crate) fn check_size(&self) -> Result<(), ApiError> {
        if self.fields.len() > FIELDS_MAX {
            return Err(ApiError::illegal(format!("Limit of total fields [{FIELDS_MAX}] has been exceeded")));
        }
        Ok(())
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Field> {
        self.fields.get(path)
    }

    /// The field that a query means by `path`: a mapped one, or a multi-field of one.
    pub(crate) fn resolve(&self, path: &str) -> Option<&Field> {
        self.fields.get(path).or_else(|| {
            let (parent, name) = path.rsplit_once('.')?;
            self.fields.get(parent)?.subfields.get(name)
        })
    }

    /// Every field with a value, with its path; multi-fields are not listed.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.fields.iter().filter(|(_, field)| field.kind != Kind::Object).map(|(path, field)| (path.as_str(), field))
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut root = Map::new();
        match self.dynamic {
            Dynamic::True => {}
            Dynamic::False => drop(root.insert("dynamic".to_owned(), json!("false"))),
            Dynamic::Strict => drop(root.insert("dynamic".to_owned(), json!("strict"))),
        }
        let mut properties = Map::new();
        for (path, field) in &self.fields {
            let mut at = &mut properties;
            let mut names = path.split('.').peekable();
            while let Some(name) = names.next() {
                let entry = at.entry(name.to_owned()).or_insert_with(|| json!({}));
                if names.peek().is_none() {
                    if field.kind != Kind::Object {
                        *entry = field.to_json();
                    } else if entry.as_object().is_some_and(Map::is_empty) {
                        *entry = json!({ "properties": {} });
                    }
                    break;
                }
                let Some(next) = entry
                    .as_object_mut()
                    .and_then(|object| object.entry("properties").or_insert_with(|| json!({})).as_object_mut())
                else {
                    break;
                };
                at = next;
            }
        }
        if !properties.is_empty() {
            root.insert("properties".to_owned(), Value::Object(properties));
        }
        Value::Object(root)
    }
}

pub(crate) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// Names that the index below could not tell apart are refused.
pub(crate) fn check_name(path: &str) -> Result<(), ApiError> {
    if path.split('.').any(str::is_empty) {
        return Err(ApiError::mapper(format!("field name [{path}] has an empty part")));
    }
    if path.contains(|c: char| c.is_control() || c == '\\') {
        return Err(ApiError::mapper(format!(
            "field name [{}] has a control character or a backslash",
            path.escape_default()
        )));
    }
    Ok(())
}

fn parse_dynamic(value: &Value) -> Result<Dynamic, ApiError> {
    match value {
        Value::Bool(true) => Ok(Dynamic::True),
        Value::Bool(false) => Ok(Dynamic::False),
        Value::String(text) => match text.as_str() {
            "true" => Ok(Dynamic::True),
            "false" => Ok(Dynamic::False),
            "strict" => Ok(Dynamic::Strict),
            other => Err(ApiError::mapper(format!("dynamic [{other}] is not supported; use true, false or strict"))),
        },
        other => Err(ApiError::mapper(format!("dynamic [{other}] is not supported; use true, false or strict"))),
    }
}
