//! Can data written with one schema be read with another? Every difference, with its path.
//!
//! The rules are those of Avro's schema resolution as its Java library checks them, because clients compare verdicts:
//! names of records, enums and fixed are compared without namespace, a reader's aliases count, an enum default excuses
//! missing symbols. Paths point into the reader's schema, except that branches of a writer's union carry its index.
//! Pure: two schemas in, differences out.

use std::collections::HashMap;

use super::{AvroSchema, Body, Field, Kind, Named, Node, Primitive};

/// More differences than anyone reads; bounds what nested repetitions can produce.
const DIFFERENCES_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    NameMismatch,
    FixedSizeMismatch,
    MissingEnumSymbols,
    ReaderFieldMissingDefaultValue,
    TypeMismatch,
    MissingUnionBranch,
}

impl Problem {
    fn name(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) problem: Problem,
    pub(crate) path: String,
    /// What Avro's library says about it.
    pub(crate) detail: String,
}

/// Which of the two schemas is the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The new schema reads old data.
    Backward,
    /// The old schema reads new data.
    Forward,
}

impl Difference {
    /// The line that a Confluent registry shows.
    pub(crate) fn message(&self, direction: Direction) -> String {
        let (reader, writer) = match direction {
            Direction::Backward => ("new", "old"),
            Direction::Forward => ("old", "new"),
        };
        let (path, detail) = (&self.path, &self.detail);
        let description = match self.problem {
            Problem::NameMismatch => format!("The name of the schema has changed (path '{path}')"),
            Problem::FixedSizeMismatch => {
                format!(
                    "The size of FIXED type field at path '{path}' in the {reader} schema does not match with the {writer} schema"
                )
            }
            Problem::MissingEnumSymbols => {
                format!(
                    "The {reader} schema is missing enum symbols '{detail}' at path '{path}' in the {writer} schema"
                )
            }
            Problem::ReaderFieldMissingDefaultValue => {
                format!(
                    "The field '{detail}' at path '{path}' in the {reader} schema has no default value and is missing in the {writer} schema"
                )
            }
            Problem::TypeMismatch => {
                format!(
                    "The type (path '{path}') of a field in the {reader} schema does not match with the {writer} schema"
                )
            }
            Problem::MissingUnionBranch => {
                format!(
                    "The {reader} schema is missing a type inside a union field at path '{path}' in the {writer} schema"
                )
            }
        };
        format!("{{errorType:'{}', description:'{description}', additionalInfo:'{detail}'}}", self.problem.name())
    }
}

/// What stands in the way of reading `writer`'s data with `reader`; nothing if it can be read.
pub(crate) fn differences(reader: &AvroSchema, writer: &AvroSchema) -> Vec<Difference> {
    let mut checker = Checker { reader, writer, known: HashMap::new() };
    let mut found = checker.nodes(&reader.root, &writer.root, &mut Vec::new());
    let mut unique: Vec<Difference> = Vec::with_capacity(found.len());
    for difference in found.drain(..) {
        if !unique.contains(&difference) {
            unique.push(difference);
        }
    }
    unique
}

struct Checker<'s> {
    reader: &'s AvroSchema,
    writer: &'s AvroSchema,
    /// Verdicts on pairs of named types; `None` while one is being checked, which counts as compatible.
    known: HashMap<(usize, usize), Option<Vec<Difference>>>,
}

type Path = Vec<String>;

impl<'s> Checker<'s> {
    fn nodes(&mut self, reader: &'s Node, writer: &'s Node, path: &mut Path) -> Vec<Difference> {
        match (&reader.kind, &writer.kind) {
            (Kind::Primitive(one), Kind::Primitive(other)) if reads(*one, *other) => Vec::new(),
            (Kind::Array(one), Kind::Array(other)) => self.below(one, other, path, "items"),
            (Kind::Map(one), Kind::Map(other)) => self.below(one, other, path, "values"),
            (Kind::Named(one), Kind::Named(other)) if self.same_kind(*one, *other) => self.named(*one, *other, path),
            (Kind::Union(_), Kind::Union(branches)) => self.union_by_union(reader, branches, path),
            (_, Kind::Union(branches)) => {
                let mut found = Vec::new();
                for branch in branches {
                    extend(&mut found, self.nodes(reader, branch, path));
                }
                found
            }
            (Kind::Union(branches), _) => self.union_by_one(branches, writer, path),
            _ => {
                let detail = format!(
                    "reader type: {} not compatible with writer type: {}",
                    self.reader.type_name(reader),
                    self.writer.type_name(writer)
                );
                vec![difference(Problem::TypeMismatch, path, detail)]
            }
        }
    }

    fn below(&mut self, reader: &'s Node, writer: &'s Node, path: &mut Path, step: &str) -> Vec<Difference> {
        path.push(step.to_owned());
        let found = self.nodes(reader, writer, path);
        path.pop();
        found
    }

    /// Each branch that may have been written must be readable.
    fn union_by_union(&mut self, reader: &'s Node, branches: &'s [Node], path: &mut Path) -> Vec<Difference> {
        let mut found = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            path.push(index.to_string());
            if !self.nodes(reader, branch, path).is_empty() {
                found.push(self.lacking(branch, path));
            }
            path.pop();
        }
        found
    }

    /// One branch that reads it is enough.
    fn union_by_one(&mut self, branches: &'s [Node], writer: &'s Node, path: &mut Path) -> Vec<Difference> {
        let readable = branches.iter().any(|branch| self.nodes(branch, writer, path).is_empty());
        if readable { Vec::new() } else { vec![self.lacking(writer, path)] }
    }

    fn lacking(&self, writer: &Node, path: &Path) -> Difference {
        let detail = format!("reader union lacking writer type: {}", self.writer.type_name(writer));
        difference(Problem::MissingUnionBranch, path, detail)
    }

    fn same_kind(&self, reader: usize, writer: usize) -> bool {
        matches!(
            (&self.reader.types[reader].body, &self.writer.types[writer].body),
            (Body::Record { .. }, Body::Record { .. })
                | (Body::Enum { .. }, Body::Enum { .. })
                | (Body::Fixed { .. }, Body::Fixed { .. })
        )
    }

    fn named(&mut self, reader: usize, writer: usize, path: &mut Path) -> Vec<Difference> {
        match self.known.get(&(reader, writer)) {
            Some(Some(verdict)) => return verdict.clone(),
            Some(None) => return Vec::new(), // recursive: whatever is wrong is found by the check that is running
            None => {}
        }
        self.known.insert((reader, writer), None);
        let (one, other) = (&self.reader.types[reader], &self.writer.types[writer]);
        let mut found = name_difference(one, other, path);
        match (&one.body, &other.body) {
            (Body::Record { fields, .. }, Body::Record { fields: written, .. }) => {
                extend(&mut found, self.fields(fields, written, path));
            }
            (Body::Enum { symbols, default }, Body::Enum { symbols: written, .. }) => {
                found.extend(symbol_difference(symbols, default.as_deref(), written, path));
            }
            (Body::Fixed { size }, Body::Fixed { size: written }) if size != written => {
                let detail = format!("expected: {written}, found: {size}");
                found.push(difference(Problem::FixedSizeMismatch, &child(path, "size"), detail));
            }
            _ => {}
        }
        self.known.insert((reader, writer), Some(found.clone()));
        found
    }

    fn fields(&mut self, fields: &'s [Field], written: &'s [Field], path: &mut Path) -> Vec<Difference> {
        let mut found = Vec::new();
        for (position, field) in fields.iter().enumerate() {
            path.push("fields".to_owned());
            path.push(position.to_string());
            match writer_field(field, written) {
                Some(source) => extend(&mut found, self.below(&field.node, &source.node, path, "type")),
                None if field.default.is_none() => {
                    found.push(difference(Problem::ReaderFieldMissingDefaultValue, path, field.name.clone()));
                }
                None => {}
            }
            path.truncate(path.len() - 2);
        }
        found
    }
}

/// The reader's name first, then its aliases.
fn writer_field<'w>(field: &Field, written: &'w [Field]) -> Option<&'w Field> {
    let by_name = |name: &String| written.iter().find(|candidate| candidate.name == *name);
    by_name(&field.name).or_else(|| field.aliases.iter().find_map(by_name))
}

fn name_difference(reader: &Named, writer: &Named, path: &Path) -> Vec<Difference> {
    if reader.name.simple == writer.name.simple || reader.aliases.contains(&writer.name) {
        return Vec::new();
    }
    let detail = format!("expected: {}", writer.name.full());
    vec![difference(Problem::NameMismatch, &child(path, "name"), detail)]
}

fn symbol_difference(symbols: &[String], default: Option<&str>, written: &[String], path: &Path) -> Option<Difference> {
    let missing: Vec<&str> = written.iter().filter(|symbol| !symbols.contains(symbol)).map(String::as_str).collect();
    if missing.is_empty() || default.is_some() {
        return None;
    }
    Some(difference(Problem::MissingEnumSymbols, &child(path, "symbols"), format!("[{}]", missing.join(", "))))
}

/// Whether a value of the writer's type can be promoted to the reader's.
fn reads(reader: Primitive, writer: Primitive) -> bool {
    use Primitive::{Bytes, Double, Float, Int, Long, String};
    reader == writer
        || matches!(
            (reader, writer),
            (Long, Int) | (Float, Int | Long) | (Double, Int | Long | Float) | (String, Bytes) | (Bytes, String)
        )
}

fn difference(problem: Problem, path: &[String], detail: String) -> Difference {
    Difference { problem, path: format!("/{}", path.join("/")), detail }
}

fn child(path: &Path, step: &str) -> Path {
    path.iter().cloned().chain([step.to_owned()]).collect()
}

fn extend(found: &mut Vec<Difference>, more: Vec<Difference>) {
    let room = DIFFERENCES_MAX.saturating_sub(found.len());
    found.extend(more.into_iter().take(room));
}

#[cfg(test)]
mod tests;
