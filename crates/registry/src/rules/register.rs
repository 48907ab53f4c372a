//! New schemas: parsed, found again, judged against older versions, given a version and an id.

use crate::avro::compat::{Direction, differences};
use crate::avro::{AvroSchema, parse, print};
use crate::error::ApiError;
use crate::level::Level;
use crate::state::{Content, Key, Reference, SchemaValue, State, SubjectVersion};

use super::mode::check_registrable;
use super::{Change, Submitted, VersionRef, effective_level, effective_normalize, resolve};

/// How deep references may lead.
const REFERENCE_DEPTH_MAX: usize = 32;

/// The outcome of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    /// The subject has it already.
    Existing {
        id: i32,
        version: i32,
    },
    New {
        id: i32,
        at: SubjectVersion,
        change: Change,
    },
}

/// A submitted schema, parsed and in the text that counts.
struct Parsed {
    avro: AvroSchema,
    text: String,
    references: Vec<Reference>,
}

impl Parsed {
    fn content(&self) -> Content {
        (self.text.clone(), "AVRO".to_owned(), self.references.clone())
    }
}

pub(crate) fn register(
    state: &State,
    subject: &str,
    submitted: &Submitted,
    default_level: Level,
) -> Result<Registration, ApiError> {
    check_subject(subject)?;
    let parsed = parse_submitted(state, subject, submitted)?;
    if let Some(value) = find_registered(state, subject, &parsed, submitted) {
        return Ok(Registration::Existing { id: value.id, version: value.version });
    }
    check_registrable(state, subject, submitted.id.is_some())?;
    match submitted.id {
        Some(id) => import(state, subject, &parsed, submitted, id),
        None => add(state, subject, &parsed, submitted, default_level),
    }
}

/// What the subject has already, with the id and the version that the client asks for.
fn find_registered<'s>(
    state: &'s State,
    subject: &str,
    parsed: &Parsed,
    submitted: &Submitted,
) -> Option<&'s SchemaValue> {
    let latest = state.live(subject).next_back().map(|(number, _)| number);
    let fits = |value: &&SchemaValue| {
        let version = match submitted.version {
            None => true,
            Some(VersionRef::Latest) => Some(value.version) == latest,
            Some(VersionRef::Number(number)) => value.version == number,
        };
        version && submitted.id.is_none_or(|id| id == value.id)
    };
    same_as(state, subject, parsed, submitted).find(fits)
}

/// The next version, if the older ones allow it.
fn add(
    state: &State,
    subject: &str,
    parsed: &Parsed,
    submitted: &Submitted,
    default_level: Level,
) -> Result<Registration, ApiError> {
    let level = effective_level(state, subject, default_level);
    let details = incompatibilities(state, subject, &parsed.avro, level, None)?;
    if !details.is_empty() {
        return Err(ApiError::Incompatible { subject: subject.to_owned(), details });
    }
    let version = next_version(state, subject);
    if matches!(submitted.version, Some(VersionRef::Number(number)) if number != version) {
        return Err(ApiError::InvalidSchema("Version is not one more than previous version".to_owned()));
    }
    let id = state.id_of(&parsed.content()).or_else(|| state.next_id());
    let id = id.ok_or_else(|| ApiError::Store("all schema ids are used up".to_owned()))?;
    Ok(new_version(subject, version, id, &parsed.text, &parsed.references))
}

/// A schema of another registry, under its id and, if it comes with one, its version. Nothing is compared with older
/// versions: they may come later. What an id or a version means is never changed, though.
fn import(
    state: &State,
    subject: &str,
    parsed: &Parsed,
    submitted: &Submitted,
    id: i32,
) -> Result<Registration, ApiError> {
    let normalize = normalizes(state, subject, submitted);
    let mut text = parsed.text.as_str();
    if let Some(known) = state.by_id(id, Some(subject)) {
        if !is_same(state, known, parsed, normalize) {
            let reason = format!("Overwrite new schema with id {id} in context . is not permitted.");
            return Err(ApiError::NotPermitted(reason));
        }
        text = known.schema(); // of other spelling perhaps: an id has one text
    }
    let version = match submitted.version {
        Some(VersionRef::Number(number)) => number,
        _ => next_version(state, subject),
    };
    if let Some(taken) = state.version(subject, version)
        && (taken.value.schema(), taken.value.references()) != (text, parsed.references.clone())
    {
        let other = taken.value.id;
        let reason = format!("Version {version} of subject {subject} is another schema already (id {other})");
        return Err(ApiError::NotPermitted(reason));
    }
    Ok(new_version(subject, version, id, text, &parsed.references))
}

fn next_version(state: &State, subject: &str) -> i32 {
    state.versions(subject).next_back().map_or(1, |(last, _)| last.saturating_add(1))
}

fn new_version(subject: &str, version: i32, id: i32, text: &str, references: &[Reference]) -> Registration {
    let at = SubjectVersion { subject: subject.to_owned(), version };
    let value = SchemaValue::new(&at, id, text, references);
    let change = Change::put(&Key::Schema(at.clone()), value.bytes());
    Registration::New { id, at, change }
}

/// The version of a subject that holds this schema.
pub(crate) fn find<'s>(
    state: &'s State,
    subject: &str,
    submitted: &Submitted,
    deleted: bool,
) -> Result<&'s SchemaValue, ApiError> {
    if state.versions(subject).find(|(_, version)| deleted || !version.value.deleted()).is_none() {
        return Err(ApiError::SubjectNotFound(subject.to_owned()));
    }
    let parsed = parse_submitted(state, subject, submitted)?;
    let live = same_as(state, subject, &parsed, submitted).next();
    let content = parsed.content();
    let gone = || state.versions(subject).map(|(_, version)| &version.value).rfind(|value| value.content() == content);
    live.or_else(|| if deleted { gone() } else { None }).ok_or(ApiError::SchemaNotFound)
}

/// Versions that hold this schema, newest first.
fn same_as<'s>(
    state: &'s State,
    subject: &str,
    parsed: &Parsed,
    submitted: &Submitted,
) -> impl Iterator<Item = &'s SchemaValue> {
    let normalize = normalizes(state, subject, submitted);
    let live = state.live(subject).map(|(_, version)| &version.value).rev();
    live.filter(move |value| is_same(state, value, parsed, normalize))
}

/// A version that was stored before in another spelling (by another registry) is compared as parsed.
fn is_same(state: &State, value: &SchemaValue, parsed: &Parsed, normalize: bool) -> bool {
    if value.content() == parsed.content() {
        return true;
    }
    let known = value.schema_type() == "AVRO" && value.references() == parsed.references;
    known && parse_known(state, value).is_ok_and(|avro| printed(&avro, normalize) == parsed.text)
}

/// The verdict on a schema against one version or, with `None`, against what the level asks for.
pub(crate) struct Checked {
    pub(crate) compatible: bool,
    pub(crate) messages: Vec<String>,
}

pub(crate) fn check_compatibility(
    state: &State,
    subject: &str,
    against: Option<VersionRef>,
    submitted: &Submitted,
    default_level: Level,
) -> Result<Checked, ApiError> {
    let parsed = parse_submitted(state, subject, submitted)?;
    let level = effective_level(state, subject, default_level);
    let only = match against {
        None => None,
        Some(VersionRef::Latest) => match state.live(subject).next_back() {
            Some((latest, _)) => Some(latest),
            None => return Ok(Checked { compatible: true, messages: Vec::new() }),
        },
        Some(VersionRef::Number(number)) => {
            let found = resolve(state, subject, VersionRef::Number(number), false);
            Some(found.map_err(|_| ApiError::VersionNotFound(number))?.version)
        }
    };
    let messages = incompatibilities(state, subject, &parsed.avro, level, only)?;
    Ok(Checked { compatible: messages.is_empty(), messages })
}

/// Differences to the versions that count, newest first; the first version that does not fit ends the search, as in
/// Confluent's registry, and is shown.
fn incompatibilities(
    state: &State,
    subject: &str,
    new: &AvroSchema,
    level: Level,
    only: Option<i32>,
) -> Result<Vec<String>, ApiError> {
    if level == Level::None {
        return Ok(Vec::new());
    }
    let count = if level.transitive() { usize::MAX } else { 1 };
    let counts = |(number, _): &(i32, &crate::state::Version)| only.is_none_or(|only| only == *number);
    for (number, version) in state.live(subject).rev().filter(counts).take(count) {
        let value = &version.value;
        if value.schema_type() != "AVRO" {
            return Ok(vec![format!(
                "{{errorType:'SCHEMA_TYPE_MISMATCH', description:'The schema type AVRO does not match {}', additionalInfo:'version {number}'}}",
                value.schema_type()
            )]);
        }
        let old = parse_known(state, value)?;
        let mut messages = Vec::new();
        if level.backward() {
            messages.extend(differences(new, &old).iter().map(|found| found.message(Direction::Backward)));
        }
        if level.forward() {
            messages.extend(differences(&old, new).iter().map(|found| found.message(Direction::Forward)));
        }
        if !messages.is_empty() {
            messages.push(format!("{{oldSchemaVersion: {number}}}"));
            messages.push(format!("{{oldSchema: '{}'}}", value.schema()));
            messages.push(format!("{{validateFields: 'false', compatibility: '{}'}}", level.name()));
            return Ok(messages);
        }
    }
    Ok(Vec::new())
}

fn check_subject(subject: &str) -> Result<(), ApiError> {
    if subject.is_empty() || subject.chars().any(char::is_control) || subject == "__GLOBAL" || subject == "__EMPTY" {
        return Err(ApiError::InvalidSubject(subject.to_owned()));
    }
    Ok(())
}

fn parse_submitted(state: &State, subject: &str, submitted: &Submitted) -> Result<Parsed, ApiError> {
    if submitted.schema.trim().is_empty() {
        return Err(ApiError::InvalidSchema("Empty schema".to_owned()));
    }
    let invalid = |reason: String| {
        let schema = &submitted.schema;
        ApiError::InvalidSchema(format!("Input schema is an invalid Avro schema, details: {reason}; schema: {schema}"))
    };
    let references = reference_texts(state, &submitted.references).map_err(&invalid)?;
    let avro = parse::parse(&submitted.schema, &references).map_err(|error| invalid(error.to_string()))?;
    let normalize = normalizes(state, subject, submitted);
    Ok(Parsed { text: printed(&avro, normalize), avro, references: submitted.references.clone() })
}

/// Parses a schema of the state. It was accepted once, so a failure is trouble in the topic.
fn parse_known(state: &State, value: &SchemaValue) -> Result<AvroSchema, ApiError> {
    let broken = |reason: String| {
        let place = format!("schema {} (subject {}, version {})", value.id, value.subject, value.version);
        ApiError::Store(format!("{place} cannot be read: {reason}"))
    };
    let references = reference_texts(state, &value.references()).map_err(&broken)?;
    parse::parse(value.schema(), &references).map_err(|error| broken(error.to_string()))
}

/// An imported schema is taken as it is.
fn normalizes(state: &State, subject: &str, submitted: &Submitted) -> bool {
    submitted.id.is_none() && (submitted.normalize || effective_normalize(state, subject))
}

fn printed(avro: &AvroSchema, normalize: bool) -> String {
    if normalize { print::normalized(avro) } else { print::canonical(avro) }
}

/// The texts behind references, each once and after those that it uses itself.
fn reference_texts(state: &State, references: &[Reference]) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    let mut seen = Vec::new();
    collect_references(state, references, REFERENCE_DEPTH_MAX, &mut seen, &mut texts)?;
    Ok(texts)
}

fn collect_references(
    state: &State,
    references: &[Reference],
    depth: usize,
    seen: &mut Vec<SubjectVersion>,
    texts: &mut Vec<String>,
) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("references lead deeper than {REFERENCE_DEPTH_MAX}"));
    }
    for reference in references {
        let at = SubjectVersion { subject: reference.subject.clone(), version: reference.version };
        if reference.version == -1 {
            return Err(format!("reference \"{}\" must give a version, not the latest one", reference.name));
        }
        if seen.contains(&at) {
            continue;
        }
        seen.push(at);
        // A deleted version still explains the schemas that were built on it.
        let Some(version) = state.version(&reference.subject, reference.version) else {
            return Err(format!(
                "no schema reference found for subject \"{}\" and version {}",
                reference.subject, reference.version
            ));
        };
        collect_references(state, &version.value.references(), depth - 1, seen, texts)?;
        texts.push(version.value.schema().to_owned());
    }
    Ok(())
}
