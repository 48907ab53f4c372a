//! Text to schema, as strict as Avro's Java parser is for new schemas.
//!
//! Invariants: every name that is used is defined before or around its use, or by a reference; defaults fit their type;
//! nesting is bounded, so that no text exhausts the stack.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json};

use super::{AvroSchema, Body, Field, FullName, Kind, Named, Node, Order, Primitive};

/// How deep types may nest.
const DEPTH_MAX: usize = 128;

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct ParseError(String);

type Result<T> = std::result::Result<T, ParseError>;

fn fail<T>(reason: impl Into<String>) -> Result<T> {
    Err(ParseError(reason.into()))
}

/// Parses a schema; `references` are texts of schemas whose names it may use, each after those that it uses itself.
pub(crate) fn parse(text: &str, references: &[String]) -> Result<AvroSchema> {
    let mut parser = Parser { types: Vec::new(), names: HashMap::new(), depth: 0 };
    for reference in references {
        parser.text(reference)?;
    }
    let provided = parser.types.len();
    let root = parser.text(text)?;
    let mut types = Vec::with_capacity(parser.types.len());
    for (index, named) in parser.types.into_iter().enumerate() {
        match named {
            Some(named) => types.push(named),
            None => return fail(format!("type {index} was left undefined")),
        }
    }
    let schema = AvroSchema { root, types, provided };
    check_defaults(&schema)?;
    Ok(schema)
}

struct Parser {
    /// `None` while the type is being read, so that it can use itself.
    types: Vec<Option<Named>>,
    names: HashMap<FullName, usize>,
    depth: usize,
}

impl Parser {
    fn text(&mut self, text: &str) -> Result<Node> {
        let trimmed = text.trim();
        // Java's library also takes a bare name.
        if Primitive::parse(trimmed).is_some() {
            return self.node(&Json::String(trimmed.to_owned()), "");
        }
        let json: Json = serde_json::from_str(text).map_err(|error| ParseError(format!("not JSON: {error}")))?;
        self.node(&json, "")
    }

    fn node(&mut self, json: &Json, namespace: &str) -> Result<Node> {
        if self.depth == DEPTH_MAX {
            return fail(format!("types nest deeper than {DEPTH_MAX}"));
        }
        self.depth += 1;
        let node = match json {
            Json::String(name) => self.by_name(name, namespace).map(|kind| Node { kind, props: Map::new() }),
            Json::Array(branches) => self.union(branches, namespace),
            Json::Object(object) => self.object(object, namespace),
            other => fail(format!("a type is a name, an object or an array, not {other}")),
        };
        self.depth -= 1;
        node
    }

    fn by_name(&self, name: &str, namespace: &str) -> Result<Kind> {
        if let Some(primitive) = Primitive::parse(name) {
            return Ok(Kind::Primitive(primitive));
        }
        let full = full_name(name, namespace)?;
        match self.names.get(&full) {
            Some(index) => Ok(Kind::Named(*index)),
            None => fail(format!("undefined name: \"{}\"", full.full())),
        }
    }

    fn union(&mut self, branches: &[Json], namespace: &str) -> Result<Node> {
        let mut nodes: Vec<Node> = Vec::with_capacity(branches.len());
        let mut seen = HashSet::new();
        for branch in branches {
            let node = self.node(branch, namespace)?;
            let key = match &node.kind {
                Kind::Union(_) => return fail("a union holds another union directly"),
                Kind::Named(index) => format!("#{index}"),
                Kind::Primitive(primitive) => primitive.name().to_owned(),
                Kind::Array(_) => "array".to_owned(),
                Kind::Map(_) => "map".to_owned(),
            };
            if !seen.insert(key.clone()) {
                return fail(format!("duplicate in union: {key}"));
            }
            nodes.push(node);
        }
        Ok(Node { kind: Kind::Union(nodes), props: Map::new() })
    }

    fn object(&mut self, object: &Map<String, Json>, namespace: &str) -> Result<Node> {
        let kind = match object.get("type") {
            None => return fail(format!("no type: {}", Json::Object(object.clone()))),
            Some(Json::String(kind)) => kind.as_str(),
            Some(nested) => {
                // `{"type": {"type": ...}}`: Java reads the inner type and drops what stands beside it.
                return self.node(nested, namespace);
            }
        };
        match kind {
            "record" | "error" => {
                self.named(object, namespace, |parser, namespace| parser.record(object, kind, namespace))
            }
            "enum" => self.named(object, namespace, |_, _| enumeration(object)),
            "fixed" => self.named(object, namespace, |_, _| fixed(object)),
            "array" => {
                let items = required(object, "items", "array")?;
                let items = Box::new(self.node(items, namespace)?);
                Ok(Node { kind: Kind::Array(items), props: props(object, &["type", "items"]) })
            }
            "map" => {
                let values = required(object, "values", "map")?;
                let values = Box::new(self.node(values, namespace)?);
                Ok(Node { kind: Kind::Map(values), props: props(object, &["type", "values"]) })
            }
            name => {
                let kind = self.by_name(name, namespace)?;
                let props = if matches!(kind, Kind::Primitive(_)) { props(object, &["type"]) } else { Map::new() };
                Ok(Node { kind, props })
            }
        }
    }

    fn named(
        &mut self,
        object: &Map<String, Json>,
        namespace: &str,
        body: impl FnOnce(&mut Self, &str) -> Result<Body>,
    ) -> Result<Node> {
        let name = text_of(object, "name")?.ok_or_else(|| ParseError("a named type has no name".to_owned()))?;
        let own_namespace = text_of(object, "namespace")?;
        let name = full_name(&name, own_namespace.as_deref().unwrap_or(namespace))?;
        if Primitive::parse(&name.full()).is_some() {
            return fail(format!("schemas may not be named after primitives: {}", name.full()));
        }
        let index = self.types.len();
        if self.names.insert(name.clone(), index).is_some() {
            return fail(format!("can't redefine: {}", name.full()));
        }
        self.types.push(None);
        let aliases = strings(object, "aliases")?;
        let aliases = aliases.iter().map(|alias| full_name(alias, &name.namespace)).collect::<Result<_>>()?;
        let namespace = name.namespace.clone();
        let body = body(self, &namespace)?;
        let reserved = match &body {
            Body::Enum { .. } => &["type", "name", "namespace", "aliases", "doc", "symbols", "default"][..],
            Body::Record { .. } => &["type", "name", "namespace", "aliases", "doc", "fields"][..],
            Body::Fixed { .. } => &["type", "name", "namespace", "aliases", "doc", "size"][..],
        };
        let doc = text_of(object, "doc")?;
        self.types[index] = Some(Named { name, aliases, doc, body, props: props(object, reserved) });
        Ok(Node { kind: Kind::Named(index), props: Map::new() })
    }

    fn record(&mut self, object: &Map<String, Json>, kind: &str, namespace: &str) -> Result<Body> {
        let Some(Json::Array(list)) = object.get("fields") else {
            return fail("a record has no array of fields");
        };
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        for field in list {
            let field = self.field(field, namespace)?;
            if fields.iter().any(|known| known.name == field.name) {
                return fail(format!("duplicate field {} in record", field.name));
            }
            fields.push(field);
        }
        Ok(Body::Record { fields, error: kind == "error" })
    }

    fn field(&mut self, json: &Json, namespace: &str) -> Result<Field> {
        let Json::Object(object) = json else {
            return fail(format!("a field is an object, not {json}"));
        };
        let name = text_of(object, "name")?.ok_or_else(|| ParseError("a field has no name".to_owned()))?;
        check_name(&name)?;
        let node = self.node(required(object, "type", "field")?, namespace)?;
        let order = match text_of(object, "order")?.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("ascending") => Order::Ascending,
            Some("descending") => Order::Descending,
            Some("ignore") => Order::Ignore,
            Some(other) => return fail(format!("order of field {name} is \"{other}\"")),
        };
        Ok(Field {
            node,
            doc: text_of(object, "doc")?,
            default: object.get("default").cloned(),
            order,
            aliases: strings(object, "aliases")?,
            props: props(object, &["type", "name", "doc", "default", "order", "aliases"]),
            name,
        })
    }
}

fn enumeration(object: &Map<String, Json>) -> Result<Body> {
    let Some(Json::Array(_)) = object.get("symbols") else {
        return fail("an enum has no array of symbols");
    };
    let symbols = strings(object, "symbols")?;
    let mut seen = HashSet::new();
    for symbol in &symbols {
        check_name(symbol)?;
        if !seen.insert(symbol) {
            return fail(format!("duplicate enum symbol: {symbol}"));
        }
    }
    let default = text_of(object, "default")?;
    match default {
        Some(default) if !symbols.contains(&default) => {
            fail(format!("the enum default {default} is not in the symbols"))
        }
        default => Ok(Body::Enum { symbols, default }),
    }
}

fn fixed(object: &Map<String, Json>) -> Result<Body> {
    match object.get("size").and_then(Json::as_u64) {
        Some(size) if size <= i32::MAX as u64 => Ok(Body::Fixed { size }),
        _ => fail("a fixed has no valid size"),
    }
}

fn required<'j>(object: &'j Map<String, Json>, key: &str, of: &str) -> Result<&'j Json> {
    object.get(key).map_or_else(|| fail(format!("{of} has no {key}")), Ok)
}

fn text_of(object: &Map<String, Json>, key: &str) -> Result<Option<String>> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(other) => fail(format!("{key} is a string, not {other}")),
    }
}

fn strings(object: &Map<String, Json>, key: &str) -> Result<Vec<String>> {
    let text = |item: &Json| match item {
        Json::String(text) => Ok(text.clone()),
        other => fail(format!("{key} holds strings, not {other}")),
    };
    match object.get(key) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(items)) => items.iter().map(text).collect(),
        Some(other) => fail(format!("{key} is an array, not {other}")),
    }
}

fn props(object: &Map<String, Json>, reserved: &[&str]) -> Map<String, Json> {
    let own = |(key, _): &(&String, &Json)| !reserved.contains(&key.as_str());
    object.iter().filter(own).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A dotted name carries its own namespace.
fn full_name(name: &str, namespace: &str) -> Result<FullName> {
    let (namespace, simple) = name.rsplit_once('.').unwrap_or((namespace, name));
    check_name(simple)?;
    for part in namespace.split('.').filter(|_| !namespace.is_empty()) {
        check_name(part)?;
    }
    Ok(FullName { namespace: namespace.to_owned(), simple: simple.to_owned() })
}

fn check_name(name: &str) -> Result<()> {
    let mut letters = name.chars();
    let starts = letters.next().is_some_and(|first| first.is_alphabetic() || first == '_');
    if starts && letters.all(|letter| letter.is_alphanumeric() || letter == '_') {
        return Ok(());
    }
    fail(format!("illegal name: \"{name}\""))
}

fn check_defaults(schema: &AvroSchema) -> Result<()> {
    for named in &schema.types[schema.provided..] {
        let Body::Record { fields, .. } = &named.body else { continue };
        for field in fields {
            if let Some(default) = &field.default
                && !fits(schema, &field.node, default)
            {
                let kind = schema.type_name(&field.node).to_lowercase();
                return fail(format!("invalid default for field {}: {default} not a \"{kind}\"", field.name));
            }
        }
    }
    Ok(())
}

/// Whether JSON is a value of a type in Avro's way of writing defaults (a union's value is not tagged).
fn fits(schema: &AvroSchema, node: &Node, json: &Json) -> bool {
    match &node.kind {
        Kind::Primitive(primitive) => match primitive {
            Primitive::Null => json.is_null(),
            Primitive::Boolean => json.is_boolean(),
            Primitive::Int => json.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Primitive::Long => json.is_i64(),
            Primitive::Float | Primitive::Double => json.is_number(),
            Primitive::Bytes | Primitive::String => json.is_string(),
        },
        Kind::Array(items) => json.as_array().is_some_and(|list| list.iter().all(|item| fits(schema, items, item))),
        Kind::Map(values) => json.as_object().is_some_and(|map| map.values().all(|value| fits(schema, values, value))),
        Kind::Union(branches) => branches.iter().any(|branch| fits(schema, branch, json)),
        Kind::Named(index) => match &schema.types[*index].body {
            Body::Enum { .. } | Body::Fixed { .. } => json.is_string(),
            Body::Record { fields, .. } => json.as_object().is_some_and(|object| {
                fields.iter().all(|field| match object.get(&field.name) {
                    Some(value) => fits(schema, &field.node, value), // ends with the JSON, which is finite
                    None => field.default.is_some(),
                })
            }),
        },
    }
}

#[cfg(test)]
mod tests;
