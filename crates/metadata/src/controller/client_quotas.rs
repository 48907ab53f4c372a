//! Storing client quotas, by the rules of Kafka's `ClientQuotaControlManager`.
//!
//! Whether a name in an `ip` entity can be resolved is for the caller to find out, who has a network.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use twinstream_model::ErrorCode;

use super::{Controller, Decision, Mode, draft::Draft};
use crate::{
    image::{QuotaEntity, QuotaEntityType, QuotaValue},
    record::Record,
};

/// What somebody wants of the quotas of one entity, still in the wire's terms.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaAlteration {
    /// Type and name of each part. Of several parts of one type the last counts.
    pub entity: BTreeMap<String, Option<String>>,
    /// Quotas with their new values, `None` to remove one.
    pub changes: Vec<(String, Option<f64>)>,
}

/// Why the quotas of an entity were not changed. The words are Kafka's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum QuotaError {
    #[error("Invalid empty client quota entity")]
    NoEntity,
    #[error("Unhandled client quota entity type: {0}")]
    UnknownType(String),
    #[error("Empty {0} not supported")]
    EmptyName(&'static str),
    #[error("Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId")]
    IpWithOthers,
    #[error("Invalid configuration key {0}")]
    UnknownKey(String),
    #[error("Duplicate quota key {0} not updating quota for this entity")]
    DuplicateKey(String),
    #[error("Ignoring duplicate entity {0}")]
    DuplicateEntity(String),
    #[error("Quota {0} must be greater than 0")]
    NotPositive(String),
    #[error("Proposed value for {key} is too large for {kind}.")]
    TooLarge { key: String, kind: &'static str },
    #[error("{0} cannot be a fractional value.")]
    Fraction(String),
}

impl QuotaError {
    /// The error on the wire.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::InvalidRequest
    }
}

/// What kind of number a quota is.
#[derive(Clone, Copy)]
enum Kind {
    Int,
    Long,
    Double,
}

const OF_CLIENTS: &[(&str, Kind)] = &[
    ("consumer_byte_rate", Kind::Long),
    ("controller_mutation_rate", Kind::Double),
    ("producer_byte_rate", Kind::Long),
    ("request_percentage", Kind::Double),
];
const OF_ADDRESSES: &[(&str, Kind)] = &[("connection_creation_rate", Kind::Int)];

impl Controller {
    /// Decides about each alteration, in its order. An entity changes wholly or not at all; of an entity that is named twice the
    /// first alteration counts.
    pub fn alter_client_quotas(
        &self,
        alterations: &[QuotaAlteration],
        mode: Mode,
    ) -> Decision<Vec<Result<(), QuotaError>>> {
        let mut draft = self.draft();
        let mut answers = Vec::with_capacity(alterations.len());
        let mut seen = BTreeSet::new();
        for alteration in alterations {
            answers.push(match seen.insert(&alteration.entity) {
                true => alter(&mut draft, alteration),
                false => Err(QuotaError::DuplicateEntity(words(&alteration.entity))),
            });
        }
        mode.decide(draft, answers)
    }
}

fn alter(draft: &mut Draft, alteration: &QuotaAlteration) -> Result<(), QuotaError> {
    let entity = entity_of(&alteration.entity)?;
    let known = if entity.parts.contains_key(&QuotaEntityType::Ip) { OF_ADDRESSES } else { OF_CLIENTS };
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, wanted) in &alteration.changes {
        if !seen.insert(key) {
            return Err(QuotaError::DuplicateKey(key.clone()));
        }
        let current = draft.image.client_quota(&entity, key);
        let value = match wanted {
            Some(value) => Some(check_value(known, key, *value)?),
            None => None,
        };
        if value != current {
            records.push(Record::ClientQuota { entity: entity.clone(), key: key.clone(), value });
        }
    }
    records.into_iter().for_each(|record| draft.push(record));
    Ok(())
}

/// An entity that may have quotas.
fn entity_of(parts: &BTreeMap<String, Option<String>>) -> Result<QuotaEntity, QuotaError> {
    let mut entity = QuotaEntity::default();
    for (kind, name) in parts {
        let kind = QuotaEntityType::from_name(kind).ok_or_else(|| QuotaError::UnknownType(kind.clone()))?;
        if name.as_deref() == Some("") {
            return Err(QuotaError::EmptyName(kind.name()));
        }
        entity.parts.insert(kind, name.clone());
    }
    match entity.parts.contains_key(&QuotaEntityType::Ip) {
        _ if entity.parts.is_empty() => Err(QuotaError::NoEntity),
        true if entity.parts.len() > 1 => Err(QuotaError::IpWithOthers),
        _ => Ok(entity),
    }
}

fn check_value(known: &[(&str, Kind)], key: &str, value: f64) -> Result<QuotaValue, QuotaError> {
    let name = || key.to_owned();
    let Some((_, kind)) = known.iter().find(|(known, _)| *known == key) else {
        return Err(QuotaError::UnknownKey(name()));
    };
    if value <= 0.0 || value.is_nan() {
        return Err(QuotaError::NotPositive(name()));
    }
    let (max, kind) = match kind {
        Kind::Double => return Ok(QuotaValue(value)),
        Kind::Int => (f64::from(i32::MAX), "an INT"),
        Kind::Long => (i64::MAX as f64, "a LONG"),
    };
    if value > max {
        return Err(QuotaError::TooLarge { key: name(), kind });
    }
    if (value % 1.0).abs() > 1e-6 {
        return Err(QuotaError::Fraction(name()));
    }
    Ok(QuotaValue(value))
}

fn words(entity: &BTreeMap<String, Option<String>>) -> String {
    let parts = entity.iter().map(|(kind, name)| format!("{kind}={}", name.as_deref().unwrap_or("<default>")));
    parts.collect::<Vec<_>>().join(", ")
}
