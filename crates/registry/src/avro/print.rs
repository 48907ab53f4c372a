//! A schema as text, byte for byte as Avro's Java library prints it without spaces.
//!
//! That text is what a Confluent registry stores, returns and compares: two texts that print alike are one schema. Names
//! are written in full only outside of their namespace; a type that was written before, or comes from a reference, is
//! written as its name. [`normalized`] further sorts what has no order of its own.

use serde_json::{Map, Value as Json};

use super::{AvroSchema, Body, Field, FullName, Kind, Named, Node, Order};

/// The canonical text.
pub(crate) fn canonical(schema: &AvroSchema) -> String {
    text(schema, false)
}

/// The canonical text with attributes, aliases and so on sorted (`normalize=true`).
pub(crate) fn normalized(schema: &AvroSchema) -> String {
    text(schema, true)
}

fn text(schema: &AvroSchema, sorted: bool) -> String {
    let written = (0..schema.types.len()).map(|index| index < schema.provided).collect();
    Printer { schema, written, sorted }.node(&schema.root, "").to_string()
}

struct Printer<'s> {
    schema: &'s AvroSchema,
    /// Per named type: has it been written, or is it known from a reference?
    written: Vec<bool>,
    sorted: bool,
}

impl Printer<'_> {
    fn node(&mut self, node: &Node, namespace: &str) -> Json {
        match &node.kind {
            Kind::Primitive(primitive) if node.props.is_empty() => Json::from(primitive.name()),
            Kind::Primitive(primitive) => self.object([("type", Json::from(primitive.name()))], &node.props),
            Kind::Array(items) => {
                let items = self.node(items, namespace);
                self.object([("type", Json::from("array")), ("items", items)], &node.props)
            }
            Kind::Map(values) => {
                let values = self.node(values, namespace);
                self.object([("type", Json::from("map")), ("values", values)], &node.props)
            }
            Kind::Union(branches) => Json::Array(branches.iter().map(|branch| self.node(branch, namespace)).collect()),
            Kind::Named(index) => self.named(*index, namespace),
        }
    }

    fn named(&mut self, index: usize, namespace: &str) -> Json {
        let schema = self.schema;
        let named = &schema.types[index];
        if self.written[index] {
            return Json::from(named.name.within(namespace));
        }
        self.written[index] = true;
        let mut members = vec![("type", Json::from(kind_name(&named.body)))];
        members.push(("name", Json::from(named.name.simple.as_str())));
        if named.name.namespace != namespace {
            members.push(("namespace", Json::from(named.name.namespace.as_str())));
        }
        if let Some(doc) = &named.doc {
            members.push(("doc", Json::from(doc.as_str())));
        }
        self.body(named, &mut members);
        let mut object = self.object(members, &named.props);
        if let (false, Json::Object(object)) = (named.aliases.is_empty(), &mut object) {
            object.insert("aliases".to_owned(), self.names(&named.aliases, &named.name.namespace));
        }
        object
    }

    fn body(&mut self, named: &Named, members: &mut Vec<(&'static str, Json)>) {
        match &named.body {
            Body::Record { fields, .. } => {
                let fields = fields.iter().map(|field| self.field(field, &named.name.namespace)).collect();
                members.push(("fields", Json::Array(fields)));
            }
            Body::Enum { symbols, default } => {
                members.push(("symbols", Json::from(symbols.clone())));
                if let Some(default) = default {
                    members.push(("default", Json::from(default.as_str())));
                }
            }
            Body::Fixed { size } => members.push(("size", Json::from(*size))),
        }
    }

    fn field(&mut self, field: &Field, namespace: &str) -> Json {
        let mut members = vec![("name", Json::from(field.name.as_str())), ("type", self.node(&field.node, namespace))];
        if let Some(doc) = &field.doc {
            members.push(("doc", Json::from(doc.as_str())));
        }
        if let Some(default) = &field.default {
            members.push(("default", default.clone()));
        }
        match field.order {
            Order::Ascending => {}
            Order::Descending => members.push(("order", Json::from("descending"))),
            Order::Ignore => members.push(("order", Json::from("ignore"))),
        }
        if !field.aliases.is_empty() {
            let mut aliases = field.aliases.clone();
            if self.sorted {
                aliases.sort();
            }
            members.push(("aliases", Json::from(aliases)));
        }
        self.object(members, &field.props)
    }

    fn names(&self, names: &[FullName], namespace: &str) -> Json {
        let mut names: Vec<String> = names.iter().map(|name| name.within(namespace)).collect();
        if self.sorted {
            names.sort();
        }
        Json::from(names)
    }

    fn object(&self, members: impl IntoIterator<Item = (&'static str, Json)>, props: &Map<String, Json>) -> Json {
        let mut object: Map<String, Json> = members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut props: Vec<(&String, &Json)> = props.iter().collect();
        if self.sorted {
            props.sort_by_key(|(key, _)| *key);
        }
        object.extend(props.into_iter().map(|(key, value)| (key.clone(), value.clone())));
        Json::Object(object)
    }
}

fn kind_name(body: &Body) -> &'static str {
    match body {
        Body::Record { error: false, .. } => "record",
        Body::Record { error: true, .. } => "error",
        Body::Enum { .. } => "enum",
        Body::Fixed { .. } => "fixed",
    }
}

#[cfg(test)]
mod tests;
