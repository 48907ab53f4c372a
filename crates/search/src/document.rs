//! From a JSON document and a mapping to what is indexed.
//!
//! Picture: the document is walked once; each leaf is read as the type its path has, and what the mapping does not know
//! yet is inferred and returned as an addition. The result is a set of flat (path, values) tables, one for exact values
//! and one for full text. A failure names the field, its type and the value, because that is what ends up in a
//! dead-letter topic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::date;
use crate::error::ApiError;
use crate::mapping::{Dynamic, Field, Kind, Mapping, check_name, join};

/// Lucene's bound on one term; a longer keyword cannot be looked up, so it is refused rather than lost.
const KEYWORD_BYTES_MAX: usize = 32_766;
const DEPTH_MAX: usize = 20;
const PREVIEW_CHARS_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exact {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Extracted {
    pub exact: BTreeMap<String, Vec<Exact>>,
    pub text: BTreeMap<String, Vec<String>>,
    /// Paths with at least one value: what `exists` asks.
    pub present: BTreeSet<String>,
    /// Fields that the mapping gets when the document is accepted.
    pub additions: Vec<(String, Field)>,
}

pub(crate) fn extract(mapping: &Mapping, id: &str, source: &Map<String, Value>) -> Result<Extracted, ApiError> {
    let mut walk = Walk { mapping, id, out: Extracted::default() };
    walk.object("", source, 0)?;
    Ok(walk.out)
}

struct Walk<'a> {
    mapping: &'a Mapping,
    id: &'a str,
    out: Extracted,
}

impl Walk<'_> {
    fn object(&mut self, prefix: &str, object: &Map<String, Value>, depth: usize) -> Result<(), ApiError> {
        if depth > DEPTH_MAX {
            return Err(ApiError::mapper(format!(
                "document [{}] is nested deeper than {DEPTH_MAX} levels at [{prefix}]",
                self.id
            )));
        }
        for (name, value) in object {
            let path = join(prefix, name);
            check_name(&path)?;
            self.value(&path, value, depth)?;
        }
        Ok(())
    }

    fn value(&mut self, path: &str, value: &Value, depth: usize) -> Result<(), ApiError> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.value(path, item, depth)),
            Value::Object(object) => {
                self.expect_object(path)?;
                self.object(path, object, depth + 1)
            }
            Value::Null => match self.known(path).and_then(|field| field.null_value.clone()) {
                Some(null_value) => self.leaf(path, &null_value),
                None => Ok(()),
            },
            leaf => self.leaf(path, leaf),
        }
    }

    fn expect_object(&self, path: &str) -> Result<(), ApiError> {
        match self.known(path) {
            Some(field) if field.kind != Kind::Object => {
                let kind = field.kind.name();
                Err(ApiError::mapper(format!(
                    "failed to parse field [{path}] of type [{kind}] in document with id '{}': it is an object",
                    self.id
                )))
            }
            None if self.mapping.dynamic == Dynamic::Strict => Err(strict(path)),
            _ => Ok(()),
        }
    }

    fn leaf(&mut self, path: &str, leaf: &Value) -> Result<(), ApiError> {
        let field = match self.known(path) {
            Some(field) if field.kind == Kind::Object => {
                return Err(ApiError::mapper(format!(
                    "object mapping for [{path}] tried to parse field [{path}] as object, but found a concrete value"
                )));
            }
            Some(field) => field.clone(),
            None => match self.mapping.dynamic {
                Dynamic::Strict => return Err(strict(path)),
                Dynamic::False => return Ok(()),
                Dynamic::True => self.infer(path, leaf)?,
            },
        };
        self.put(path, &field, leaf)?;
        for (name, subfield) in &field.subfields {
            self.put(&format!("{path}.{name}"), subfield, leaf)?;
        }
        Ok(())
    }

    fn known(&self, path: &str) -> Option<&Field> {
        self.mapping
            .get(path)
            .or_else(|| self.out.additions.iter().find(|(added, _)| added == path).map(|(_, field)| field))
    }

    fn infer(&mut self, path: &str, leaf: &Value) -> Result<Field, ApiError> {
        for (at, _) in path.match_indices('.') {
            self.expect_object(&path[..at])?; // `a.b` as a key while `a` holds a number
        }
        let field = match leaf {
            Value::String(_) => Field::dynamic_text(),
            Value::Bool(_) => Field::of(Kind::Boolean),
            Value::Number(number) if number.is_f64() => Field::of(Kind::Float(64)),
            _ => Field::of(Kind::Integer(64)),
        };
        self.out.additions.push((path.to_owned(), field.clone()));
        Ok(field)
    }

    fn put(&mut self, path: &str, field: &Field, leaf: &Value) -> Result<(), ApiError> {
        if field.kind == Kind::Text {
            self.out.text.entry(path.to_owned()).or_default().push(text_of(leaf));
        } else if let Some(exact) = read_exact(field, leaf).map_err(|why| self.unreadable(path, field, leaf, &why))? {
            self.out.exact.entry(path.to_owned()).or_default().push(exact);
        } else {
            return Ok(());
        }
        self.out.present.insert(path.to_owned());
        Ok(())
    }

    fn unreadable(&self, path: &str, field: &Field, leaf: &Value, why: &str) -> ApiError {
        let preview: String = text_of(leaf).chars().take(PREVIEW_CHARS_MAX).collect();
        let (kind, id) = (field.kind.name(), self.id);
        ApiError::mapper(format!(
            "failed to parse field [{path}] of type [{kind}] in document with id '{id}'. Preview of field's value: '{preview}': {why}"
        ))
    }
}

fn strict(path: &str) -> ApiError {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("_doc", path));
    ApiError::new(
        400,
        "strict_dynamic_mapping_exception",
        format!("mapping set to strict, dynamic introduction of [{name}] within [{parent}] is not allowed"),
    )
}

/// One value as its field has it; `None` when the mapping says not to index it. Queries read their values with it too.
pub(crate) fn read_exact(field: &Field, leaf: &Value) -> Result<Option<Exact>, String> {
    match field.kind {
        Kind::Keyword => {
            let text = text_of(leaf);
            if field.ignore_above.is_some_and(|limit| text.chars().count() > limit as usize) {
                return Ok(None);
            }
            if text.len() > KEYWORD_BYTES_MAX {
                return Err(format!("the value has {} bytes, a keyword holds at most {KEYWORD_BYTES_MAX}", text.len()));
            }
            Ok(Some(Exact::Str(text)))
        }
        Kind::Integer(bits) => read_integer(leaf, bits).map(|n| Some(Exact::Int(n))),
        Kind::Float(_) => read_float(leaf).map(|n| Some(Exact::Float(n))),
        Kind::Boolean => match leaf {
            Value::Bool(flag) => Ok(Some(Exact::Bool(*flag))),
            Value::String(text) if text == "true" => Ok(Some(Exact::Bool(true))),
            Value::String(text) if text == "false" || text.is_empty() => Ok(Some(Exact::Bool(false))),
            _ => Err("only true and false are allowed".to_owned()),
        },
        Kind::Date => match leaf {
            Value::Number(_) | Value::String(_) => {
                date::parse(&text_of(leaf), field.date_formats()).map(|ms| Some(Exact::Int(ms))).ok_or_else(|| {
                    let format = field.format.as_ref().map_or(date::DEFAULT_FORMAT, |(text, _)| text);
                    format!("no date in format [{format}]")
                })
            }
            _ => Err("a date is a string or a number".to_owned()),
        },
        Kind::Binary => Ok(None),
        Kind::Object | Kind::Text => Err("has no exact value".to_owned()),
    }
}

fn read_integer(leaf: &Value, bits: u8) -> Result<i64, String> {
    let number = match leaf {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(truncated)),
        Value::String(text) => text.trim().parse().ok().or_else(|| text.trim().parse::<f64>().ok().and_then(truncated)),
        _ => None,
    };
    let number = number.ok_or("not a whole number of 64 bits")?;
    let limit = 1_i128 << (bits - 1);
    if (-limit..limit).contains(&i128::from(number)) { Ok(number) } else { Err(format!("out of range of {bits} bits")) }
}

/// Elasticsearch's `coerce`: decimals are cut off.
fn truncated(number: f64) -> Option<i64> {
    let whole = number.trunc();
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole).then_some(whole as i64)
}

fn read_float(leaf: &Value) -> Result<f64, String> {
    let number = match leaf {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| "not a finite number".to_owned())
}

pub(crate) fn text_of(leaf: &Value) -> String {
    match leaf {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
