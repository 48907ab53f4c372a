//! What is where: all that acknowledgements and polls tell of values and offsets.

use std::collections::{BTreeMap, BTreeSet};

use super::Log;
use crate::history::{Event, Value, What};

/// What the producer of a value was told, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Send {
    pub partition: i32,
    pub sent_us: u64,
    /// Offset, -1 where the client was not told it, and when the acknowledgement came.
    pub acknowledged: Option<(i64, u64)>,
    pub failed: bool,
}

impl Send {
    pub(super) fn in_doubt(&self) -> bool {
        self.acknowledged.is_none() && !self.failed
    }
}

/// Everything known of the logs.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub sends: BTreeMap<Value, Send>,
    /// Values that were seen at an offset, by whomever.
    pub log: Log<BTreeSet<Value>>,
    /// Where a value was seen: partition and offset.
    pub places: BTreeMap<Value, BTreeSet<(i32, i64)>>,
    /// Values that some reader polled, and the first time.
    pub read: BTreeMap<Value, u64>,
    /// What readers polled after all was healed.
    pub last_reading: Log<BTreeSet<Value>>,
    /// The furthest end that a reader met after all was healed; without one, the last reading proves nothing.
    pub last_end: BTreeMap<i32, i64>,
    /// The furthest offset that was polled at any time.
    pub furthest: BTreeMap<i32, i64>,
    pub healed_us: Option<u64>,
}

impl Places {
    pub(super) fn of(events: &[Event]) -> Self {
        let mut places = Self::default();
        for event in events {
            places.take_in(event);
        }
        places
    }

    fn take_in(&mut self, event: &Event) {
        match &event.what {
            What::Send { partition, values } => {
                for value in values {
                    let send = Send { partition: *partition, sent_us: event.at_us, ..Send::default() };
                    self.sends.insert(*value, send);
                }
            }
            What::Sent { partition, values, offset } => {
                for (index, value) in (0..).zip(values) {
                    let offset = if *offset < 0 { -1 } else { offset + index };
                    self.sends.entry(*value).or_default().acknowledged = Some((offset, event.at_us));
                    if offset >= 0 {
                        self.see(*partition, offset, *value);
                    }
                }
            }
            What::Failed { values, .. } => {
                for value in values {
                    self.sends.entry(*value).or_default().failed = true;
                }
            }
            What::Polled { partition, records } => self.polled(event.at_us, *partition, records),
            What::End { partition, offset, asked_us } if self.healed_us.is_some_and(|healed| *asked_us >= healed) => {
                let end = self.last_end.entry(*partition).or_default();
                *end = (*end).max(*offset);
            }
            // Broken again: an earlier reading was not the last one.
            What::Fault { .. } => {
                self.healed_us = None;
                self.last_reading.clear();
                self.last_end.clear();
            }
            What::Healed => self.healed_us = Some(event.at_us),
            What::End { .. } | What::Unknown { .. } | What::Assigned { .. } | What::Garbage { .. } => {}
        }
    }

    fn polled(&mut self, at_us: u64, partition: i32, records: &[(i64, Value)]) {
        for (offset, value) in records {
            self.see(partition, *offset, *value);
            self.read.entry(*value).or_insert(at_us);
            let furthest = self.furthest.entry(partition).or_insert(*offset);
            *furthest = (*furthest).max(*offset);
            if self.healed_us.is_some() {
                self.last_reading.entry(partition).or_default().entry(*offset).or_default().insert(*value);
            }
        }
    }

    fn see(&mut self, partition: i32, offset: i64, value: Value) {
        self.log.entry(partition).or_default().entry(offset).or_default().insert(value);
        self.places.entry(value).or_default().insert((partition, offset));
    }

    pub(super) fn was_polled(&self, value: Value) -> bool {
        self.read.contains_key(&value)
    }

    /// Values that the last reading found, for partitions whose end it reached.
    pub(super) fn found_at_last(&self) -> BTreeSet<Value> {
        let complete = self.last_reading.iter().filter(|(partition, _)| self.last_end.contains_key(partition));
        complete.flat_map(|(_, log)| log.values().flatten().copied()).collect()
    }

    /// A known value between two offsets, both excluded.
    pub(super) fn between(&self, partition: i32, after: i64, before: i64) -> Option<(i64, Value)> {
        if after + 1 >= before {
            return None;
        }
        let log = self.log.get(&partition)?;
        let (offset, values) = log.range(after + 1..before).next()?;
        Some((*offset, *values.first()?))
    }
}
