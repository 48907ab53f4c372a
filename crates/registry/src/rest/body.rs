//! Request bodies: JSON objects of known members. An unknown member is refused by name, as Confluent's registry does,
//! unless the client says that it may send some.

use axum::http::HeaderMap;
use serde_json::{Map, Value as Json};

use crate::error::ApiError;
use crate::level::{Level, Mode};
use crate::rules::{ConfigUpdate, Submitted, VersionRef};
use crate::state::Reference;

const ACCEPT_UNKNOWN: &str = "x-confluent-accept-unknown-properties";

const SCHEMA_MEMBERS: &[&str] = &[
    "version",
    "id",
    "schemaType",
    "references",
    "metadata",
    "ruleSet",
    "schema",
    "schemaTagsToAdd",
    "schemaTagsToRemove",
    "propagateSchemaTags",
];

const CONFIG_MEMBERS: &[&str] = &[
    "alias",
    "aliasForDeks",
    "normalize",
    "validateFields",
    "validateNewSchemas",
    "validateRules",
    "compatibility",
    "compatibilityLevel",
    "compatibilityPolicy",
    "compatibilityGroup",
    "defaultMetadata",
    "overrideMetadata",
    "defaultRuleSet",
    "overrideRuleSet",
];

fn object(bytes: &[u8], headers: &HeaderMap, members: &[&str]) -> Result<Map<String, Json>, ApiError> {
    let json: Json =
        serde_json::from_slice(bytes).map_err(|error| ApiError::BadRequest(format!("body is not JSON: {error}")))?;
    let Json::Object(object) = json else {
        return Err(ApiError::BadRequest("body is not a JSON object".to_owned()));
    };
    let lenient = headers.get(ACCEPT_UNKNOWN).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    match object.keys().find(|key| !lenient && !members.contains(&key.as_str())) {
        Some(unknown) => Err(ApiError::UnknownField(unknown.clone())),
        None => Ok(object),
    }
}

/// A member that is there and not null, false or empty.
fn given<'o>(object: &'o Map<String, Json>, name: &str) -> Option<&'o Json> {
    object.get(name).filter(|value| match value {
        Json::Null | Json::Bool(false) => false,
        Json::Array(items) => !items.is_empty(),
        _ => true,
    })
}

fn text<'o>(object: &'o Map<String, Json>, name: &str) -> Result<Option<&'o str>, ApiError> {
    match object.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::BadRequest(format!("`{name}` is not a string"))),
    }
}

/// A schema to register, look up or check.
pub(super) fn submitted(bytes: &[u8], headers: &HeaderMap, normalize: bool) -> Result<Submitted, ApiError> {
    let object = object(bytes, headers, SCHEMA_MEMBERS)?;
    for name in ["metadata", "ruleSet", "schemaTagsToAdd", "schemaTagsToRemove"] {
        if given(&object, name).is_some() {
            return Err(ApiError::NotInThisRelease(format!("`{name}` of a schema is not in this release")));
        }
    }
    match text(&object, "schemaType")?.unwrap_or("AVRO") {
        "AVRO" | "" => {}
        kind @ ("JSON" | "PROTOBUF") => {
            return Err(ApiError::NotInThisRelease(format!("schema type {kind} is not in this release; AVRO is")));
        }
        other => return Err(ApiError::InvalidSchema(format!("Invalid schema type {other}"))),
    }
    Ok(Submitted {
        schema: text(&object, "schema")?.unwrap_or_default().to_owned(),
        references: references(&object)?,
        normalize,
        id: None,
        version: None,
    })
}

/// A schema to register. A registry that imports chooses its id, and perhaps its version.
pub(super) fn registration(bytes: &[u8], headers: &HeaderMap, normalize: bool) -> Result<Submitted, ApiError> {
    let object = object(bytes, headers, SCHEMA_MEMBERS)?;
    let id = number(&object, "id")?.filter(|id| *id >= 0);
    let version = match number(&object, "version")? {
        None | Some(0) => None,
        Some(number) => Some(VersionRef::parse(&number.to_string())?),
    };
    Ok(Submitted { id, version, ..submitted(bytes, headers, normalize)? })
}

fn number(object: &Map<String, Json>, name: &str) -> Result<Option<i32>, ApiError> {
    match object.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(json) => {
            let number = json.as_i64().and_then(|number| i32::try_from(number).ok());
            number.map(Some).ok_or_else(|| ApiError::BadRequest(format!("`{name}` is not a number of 32 bits")))
        }
    }
}

fn references(object: &Map<String, Json>) -> Result<Vec<Reference>, ApiError> {
    let wrong = || ApiError::BadRequest("`references` is a list of objects with name, subject and version".to_owned());
    match object.get("references") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(list)) => list.iter().map(|item| Reference::from_json(item).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// What `PUT /config` may set in this release.
pub(super) fn config_update(bytes: &[u8], headers: &HeaderMap) -> Result<ConfigUpdate, ApiError> {
    let object = object(bytes, headers, CONFIG_MEMBERS)?;
    let supported = ["compatibility", "compatibilityLevel", "normalize"];
    if let Some(name) = CONFIG_MEMBERS.iter().find(|name| !supported.contains(name) && given(&object, name).is_some()) {
        return Err(ApiError::NotInThisRelease(format!("config member `{name}` is not in this release")));
    }
    let level = text(&object, "compatibility")?.or(text(&object, "compatibilityLevel")?);
    let level = level.map(|name| Level::parse(name).ok_or(ApiError::InvalidCompatibility)).transpose()?;
    let normalize = object.get("normalize").and_then(Json::as_bool);
    if level.is_none() && normalize.is_none() {
        return Err(ApiError::InvalidCompatibility);
    }
    Ok(ConfigUpdate { level, normalize })
}

/// What `PUT /mode` sets; null takes the mode away.
pub(super) fn mode(bytes: &[u8], headers: &HeaderMap) -> Result<Option<Mode>, ApiError> {
    let object = object(bytes, headers, &["mode"])?;
    if object.get("mode").is_some_and(Json::is_null) {
        return Ok(None);
    }
    match Mode::parse(text(&object, "mode")?.unwrap_or_default()) {
        Some(Mode::Forward) => Err(ApiError::InvalidMode("Forward mode only supported on global level".to_owned())),
        Some(mode) => Ok(Some(mode)),
        None => Err(ApiError::InvalidMode("Invalid mode. Valid values are READWRITE, READONLY and IMPORT".to_owned())),
    }
}
