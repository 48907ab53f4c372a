//! What Kafka's verifiable programs print: one event in JSON a line.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::ledger::books::Reading;

type Place = (i32, i64);

/// The values of a log by partition and offset.
pub(super) type Log = BTreeMap<Place, String>;

/// What a reader of our own got.
pub(super) fn log_of(text: &str) -> Log {
    let reading = Reading::of("log", text);
    reading.entries.into_iter().map(|entry| ((entry.partition, entry.offset), entry.value)).collect()
}

fn events(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn place(event: &Value) -> Option<Place> {
    Some((i32::try_from(event["partition"].as_i64()?).ok()?, event["offset"].as_i64()?))
}

/// What producers were told.
#[derive(Clone, Debug, Default)]
pub(super) struct Produced {
    acknowledged: BTreeMap<String, Place>,
    failed: BTreeSet<String>,
}

impl Produced {
    pub(super) fn add(&mut self, text: &str) {
        for event in events(text) {
            let Some(value) = event["value"].as_str().map(str::to_owned) else { continue };
            match event["name"].as_str() {
                Some("producer_send_success") => {
                    self.acknowledged.insert(value, place(&event).expect("a place"));
                }
                Some("producer_send_error") => _ = self.failed.insert(value),
                _ => {}
            }
        }
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Every acknowledged value is where its acknowledgement says; no value is there twice; nothing is there that nobody
    /// sent.
    pub(super) fn faults(&self, log: &Log) -> Vec<String> {
        let mut faults = Vec::new();
        if self.acknowledged.is_empty() {
            faults.push("nothing was produced".to_owned());
        }
        for (value, place) in &self.acknowledged {
            match log.get(place) {
                None => faults.push(format!("lost write: {value} was acknowledged at {place:?}, where nothing is")),
                Some(found) if found != value => {
                    faults
                        .push(format!("inconsistent offsets: {value} was acknowledged at {place:?}, where {found} is"));
                }
                Some(_) => {}
            }
        }
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        for (place, value) in log {
            if let Some(first) = seen.insert(value, *place) {
                faults.push(format!("duplicate: {value} is at {first:?} and at {place:?}"));
            }
            if !self.acknowledged.contains_key(value) && !self.failed.contains(value) {
                faults.push(format!("{value} at {place:?} is neither acknowledged nor failed"));
            }
        }
        faults
    }
}

/// One commit, of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Commit {
    ms: i64,
    member: String,
    partition: i32,
    offset: i64,
}

/// What the members of a group got and committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    values: BTreeMap<Place, String>,
    deliveries: usize,
    commits: Vec<Commit>,
    faults: Vec<String>,
}

impl Group {
    pub(super) fn add(&mut self, member: &str, text: &str) {
        // What this member has got of each partition.
        let mut read: BTreeMap<i32, i64> = BTreeMap::new();
        for event in events(text) {
            match event["name"].as_str() {
                Some("record_data") => {
                    let place = place(&event).expect("a place");
                    let value = event["value"].as_str().unwrap_or("").to_owned();
                    self.deliveries += 1;
                    read.insert(place.0, place.1);
                    if let Some(other) = self.values.insert(place, value.clone()).filter(|other| *other != value) {
                        self.faults.push(format!("inconsistent offsets: {place:?} is {other} and {value}"));
                    }
                }
                Some("offsets_committed") if event["success"] == true => {
                    let ms = event["timestamp"].as_i64().expect("a time");
                    for offset in event["offsets"].as_array().into_iter().flatten() {
                        let (partition, offset) = place(offset).expect("a place");
                        if read.get(&partition).is_none_or(|last| *last + 1 < offset) {
                            self.faults.push(format!("{member} committed {offset} of {partition} without reading it"));
                        }
                        self.commits.push(Commit { ms, member: member.to_owned(), partition, offset });
                    }
                }
                _ => {}
            }
        }
    }

    /// Different records.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn deliveries(&self) -> usize {
        self.deliveries
    }

    pub(super) fn commits(&self) -> usize {
        self.commits.len()
    }

    /// Every record of the log was delivered, as it is there; there are commits, and they do not go back.
    pub(super) fn faults(&self, log: &Log) -> Vec<String> {
        let mut faults = self.faults.clone();
        if self.commits.is_empty() {
            faults.push("nothing was committed".to_owned());
        }
        for (place, value) in log {
            match self.values.get(place) {
                None => faults.push(format!("unseen: {value} at {place:?} reached no member")),
                Some(found) if found != value => {
                    faults.push(format!("inconsistent offsets: {place:?} is {value} in the log, a member got {found}"));
                }
                Some(_) => {}
            }
        }
        let strangers = self.values.keys().filter(|place| !log.contains_key(place));
        faults.extend(strangers.map(|place| format!("lost write: a member got {place:?}, which is not in the log")));
        let mut commits: Vec<&Commit> = self.commits.iter().collect();
        // In one millisecond the order is not known, and the lower one may well have been first.
        commits.sort_by_key(|commit| (commit.partition, commit.ms, commit.offset));
        for pair in commits.windows(2) {
            if pair[0].partition == pair[1].partition && pair[0].offset > pair[1].offset {
                faults.push(format!("commit went back: {:?} after {:?}", pair[1], pair[0]));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests;
