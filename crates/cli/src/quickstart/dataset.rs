//! The bundled events and their schema.

use bytes::Bytes;
use serde_json::Value;

use crate::failure::Failure;

/// A week of earthquakes; `data/README.md` has source and licence.
const EVENTS: &str = include_str!("../../data/earthquakes.ndjson");
pub(super) const SCHEMA: &str = include_str!("../../../../schemas/avro/earthquake.avsc");

pub(super) const TOPIC: &str = "earthquakes";
pub(super) const SUBJECT: &str = "earthquakes-value";

pub(super) struct Event {
    pub key: Bytes,
    pub json: Value,
}

pub(super) fn events() -> Result<Vec<Event>, Failure> {
    EVENTS.lines().enumerate().map(|(index, line)| event(line).ok_or_else(|| broken(index))).collect()
}

fn event(line: &str) -> Option<Event> {
    let json: Value = serde_json::from_str(line).ok()?;
    let key = Bytes::copy_from_slice(json.get("id")?.as_str()?.as_bytes());
    Some(Event { key, json })
}

fn broken(index: usize) -> Failure {
    Failure::new(format!("line {} of the bundled events cannot be read", index + 1)).next("build the binary again")
}

#[cfg(test)]
mod tests;
