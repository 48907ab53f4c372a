//! Avro schemas as the registry needs them: parsed, printed canonically, compared.
//!
//! Why an own parser: identity and verdicts of a registry hang on details that data libraries do not keep (the order of
//! attributes, doc strings, aliases, every difference with its path). Reading data is not done here.

pub(crate) mod compat;
pub(crate) mod parse;
pub(crate) mod print;

use serde_json::{Map, Value as Json};

/// A parsed schema with its own named types; names of references are known but not printed.
#[derive(Clone, Debug)]
pub(crate) struct AvroSchema {
    pub(crate) root: Node,
    /// Named types, those of references first.
    pub(crate) types: Vec<Named>,
    /// How many of `types` come from references.
    pub(crate) provided: usize,
}

/// A place in a schema: a type and the attributes that stand beside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Attributes that Avro does not define for this type (`logicalType` among them), in the order they were written.
    pub(crate) props: Map<String, Json>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Primitive(Primitive),
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    /// Index into [`AvroSchema::types`].
    Named(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

impl Primitive {
    pub(crate) const ALL: [Self; 8] =
        [Self::Null, Self::Boolean, Self::Int, Self::Long, Self::Float, Self::Double, Self::Bytes, Self::String];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|primitive| primitive.name() == name)
    }
}

/// A record, enum or fixed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: FullName,
    pub(crate) aliases: Vec<FullName>,
    pub(crate) doc: Option<String>,
    pub(crate) body: Body,
    pub(crate) props: Map<String, Json>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Record { fields: Vec<Field>, error: bool },
    Enum { symbols: Vec<String>, default: Option<String> },
    Fixed { size: u64 },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) node: Node,
    pub(crate) doc: Option<String>,
    pub(crate) default: Option<Json>,
    pub(crate) order: Order,
    pub(crate) aliases: Vec<String>,
    pub(crate) props: Map<String, Json>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
    Ignore,
}

/// A name with its namespace, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FullName {
    pub(crate) namespace: String,
    pub(crate) simple: String,
}

impl FullName {
    pub(crate) fn full(&self) -> String {
        if self.namespace.is_empty() { self.simple.clone() } else { format!("{}.{}", self.namespace, self.simple) }
    }

    /// As short as it may be inside of `namespace`.
    pub(crate) fn within(&self, namespace: &str) -> String {
        if self.namespace == namespace { self.simple.clone() } else { self.full() }
    }
}

impl AvroSchema {
    /// The name of a type as Avro's Java library shouts it in messages.
    pub(crate) fn type_name(&self, node: &Node) -> &'static str {
        match &node.kind {
            Kind::Primitive(primitive) => match primitive {
                Primitive::Null => "NULL",
                Primitive::Boolean => "BOOLEAN",
                Primitive::Int => "INT",
                Primitive::Long => "LONG",
                Primitive::Float => "FLOAT",
                Primitive::Double => "DOUBLE",
                Primitive::Bytes => "BYTES",
                Primitive::String => "STRING",
            },
            Kind::Array(_) => "ARRAY",
            Kind::Map(_) => "MAP",
            Kind::Union(_) => "UNION",
            Kind::Named(index) => match self.types[*index].body {
                Body::Record { .. } => "RECORD",
                Body::Enum { .. } => "ENUM",
                Body::Fixed { .. } => "FIXED",
            },
        }
    }
}
