//! Whether a write may go through, decided from versions alone.
//!
//! Internal: each write adds one. External: the writer brings the version (the sink brings the record's offset) and
//! only a newer one wins, or with `external_gte` one as new. A deletion leaves a version behind (see
//! `writer::Tombstones`), else a late, older write would bring the document back.

use crate::error::ApiError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionRule {
    Internal,
    External(i64),
    ExternalGte(i64),
}

/// What is known about an id before the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Current {
    pub version: i64,
    pub deleted: bool,
}

impl VersionRule {
    pub(crate) fn parse(version: Option<i64>, version_type: Option<&str>) -> Result<VersionRule, ApiError> {
        let invalid = |reason: String| {
            ApiError::new(400, "action_request_validation_exception", format!("Validation Failed: 1: {reason};"))
        };
        match (version_type.unwrap_or("internal"), version) {
            ("internal", None) => Ok(VersionRule::Internal),
            ("internal", Some(_)) => Err(invalid(
                "internal versioning can not be used for optimistic concurrency control; use version_type external"
                    .to_owned(),
            )),
            ("external", Some(version)) if version >= 0 => Ok(VersionRule::External(version)),
            ("external_gte", Some(version)) if version >= 0 => Ok(VersionRule::ExternalGte(version)),
            (kind @ ("external" | "external_gte"), version) => Err(invalid(format!(
                "version_type [{kind}] needs a version of 0 or more, got {}",
                version.map_or("none".to_owned(), |v| v.to_string())
            ))),
            (other, _) => Err(ApiError::illegal(format!("No version type match [{other}]"))),
        }
    }

    /// The version that the document has after the write, or the conflict.
    pub(crate) fn next(self, id: &str, current: Option<Current>) -> Result<i64, ApiError> {
        let known = current.map(|current| current.version);
        match self {
            VersionRule::Internal => Ok(known.map_or(1, |version| version.saturating_add(1))),
            VersionRule::External(version) if known.is_none_or(|known| version > known) => Ok(version),
            VersionRule::ExternalGte(version) if known.is_none_or(|known| version >= known) => Ok(version),
            VersionRule::External(version) => Err(conflict(id, known, version, "higher or equal to")),
            VersionRule::ExternalGte(version) => Err(conflict(id, known, version, "higher than")),
        }
    }
}

fn conflict(id: &str, known: Option<i64>, version: i64, relation: &str) -> ApiError {
    let known = known.unwrap_or(-1);
    let reason =
        format!("[{id}]: version conflict, current version [{known}] is {relation} the one provided [{version}]");
    ApiError::new(409, "version_conflict_engine_exception", reason)
}

pub(crate) fn already_exists(id: &str, current: Current) -> ApiError {
    let reason = format!("[{id}]: version conflict, document already exists (current version [{}])", current.version);
    ApiError::new(409, "version_conflict_engine_exception", reason)
}
