//! What is where: all that acknowledgements and polls tell of values and offsets.

use std::collections::{BTreeMap, BTreeSet};

use super::Log;
use super::transactions::Transactions;
use crate::history::{Event, Outcome, Value, What, Worker};

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
    /// Values that any reader polled, and the first time.
    pub polled: BTreeMap<Value, u64>,
    /// Values that a reader of committed records polled, and the first time.
    pub read: BTreeMap<Value, u64>,
    /// What readers of committed records polled after all was healed, ...
    pub last_reading: Log<BTreeSet<Value>>,
    /// ... and what anybody did.
    pub last_log: Log<BTreeSet<Value>>,
    /// The furthest end that a reader met after all was healed; without one, the last reading proves nothing.
    pub last_end: BTreeMap<i32, i64>,
    /// The furthest offset that a reader of committed records polled at any time.
    pub furthest: BTreeMap<i32, i64>,
    pub healed_us: Option<u64>,
    pub transactions: Transactions,
    /// Readers that see what is not committed.
    uncommitted: BTreeSet<Worker>,
}

impl Places {
    pub(super) fn of(events: &[Event]) -> Self {
        let mut places = Self::default();
        for event in events {
            places.transactions.take_in(event);
            places.take_in(event);
        }
        for value in places.read.keys() {
            places.transactions.was_read(*value);
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
            What::Polled { partition, records } => self.take_poll(event, *partition, records),
            What::ReadsUncommitted => _ = self.uncommitted.insert(event.worker),
            What::End { partition, offset, asked_us } if self.healed_us.is_some_and(|healed| *asked_us >= healed) => {
                let end = self.last_end.entry(*partition).or_default();
                *end = (*end).max(*offset);
            }
            // Broken again: an earlier reading was not the last one.
            What::Fault { .. } => {
                self.healed_us = None;
                self.last_reading.clear();
                self.last_log.clear();
                self.last_end.clear();
            }
            What::Healed => self.healed_us = Some(event.at_us),
            What::End { .. } | What::Unknown { .. } | What::Assigned { .. } | What::Garbage { .. } => {}
            What::Begin | What::Ending { .. } | What::Ended { .. } => {}
            What::Member { .. } | What::Committed { .. } => {}
        }
    }

    fn take_poll(&mut self, event: &Event, partition: i32, records: &[(i64, Value)]) {
        let (is_last, reads_committed) = (self.healed_us.is_some(), self.reads_committed(event.worker));
        for (offset, value) in records {
            self.see(partition, *offset, *value);
            self.polled.entry(*value).or_insert(event.at_us);
            if is_last {
                self.last_log.entry(partition).or_default().entry(*offset).or_default().insert(*value);
            }
            if !reads_committed {
                continue;
            }
            self.read.entry(*value).or_insert(event.at_us);
            let furthest = self.furthest.entry(partition).or_insert(*offset);
            *furthest = (*furthest).max(*offset);
            if is_last {
                self.last_reading.entry(partition).or_default().entry(*offset).or_default().insert(*value);
            }
        }
    }

    fn see(&mut self, partition: i32, offset: i64, value: Value) {
        self.log.entry(partition).or_default().entry(offset).or_default().insert(value);
        self.places.entry(value).or_default().insert((partition, offset));
    }

    pub(super) fn was_read(&self, value: Value) -> bool {
        self.read.contains_key(&value)
    }

    pub(super) fn reads_committed(&self, reader: Worker) -> bool {
        !self.uncommitted.contains(&reader)
    }

    /// Where a value was acknowledged, and since when readers of committed records must find it; `None` for what may be
    /// missing. Of a transaction all values are due once it is committed.
    pub(super) fn due(&self, value: Value) -> Option<(i64, u64)> {
        let send = self.sends.get(&value)?;
        let Some(transaction) = self.transactions.of(value) else { return send.acknowledged };
        let since_us = transaction.committed_us().filter(|_| !send.failed)?;
        Some((send.acknowledged.map_or(-1, |(offset, _)| offset), since_us))
    }

    /// Whether readers of committed records see a value, as far as one can tell.
    fn is_committed(&self, value: Value) -> bool {
        self.transactions.of(value).is_none_or(|transaction| transaction.fate() == Outcome::Committed)
    }

    /// Values before an offset that whoever has read that far has seen: readers must find them, or others did.
    pub(super) fn to_be_read_before(&self, partition: i32, end: i64) -> impl Iterator<Item = (i64, Value)> + '_ {
        let known = self.log.get(&partition).into_iter().flat_map(move |log| log.range(..end));
        let values = known.flat_map(|(offset, values)| values.iter().map(move |value| (*offset, *value)));
        values.filter(|(_, value)| self.due(*value).is_some() || self.was_read(*value))
    }

    /// Values that the last reading found, for partitions whose end it reached.
    pub(super) fn found_at_last(&self) -> BTreeSet<Value> {
        let complete = self.last_reading.iter().filter(|(partition, _)| self.last_end.contains_key(partition));
        complete.flat_map(|(_, log)| log.values().flatten().copied()).collect()
    }

    /// A known value between two offsets, both excluded.
    pub(super) fn between(&self, partition: i32, after: i64, before: i64) -> Option<(i64, Value)> {
        self.find_between(partition, after, before, |_| true)
    }

    /// The same, of those that this reader must see.
    pub(super) fn between_for(&self, reader: Worker, partition: i32, after: i64, before: i64) -> Option<(i64, Value)> {
        let sees_all = !self.reads_committed(reader);
        self.find_between(partition, after, before, |value| sees_all || self.is_committed(value))
    }

    fn find_between(
        &self,
        partition: i32,
        after: i64,
        before: i64,
        counts: impl Fn(Value) -> bool,
    ) -> Option<(i64, Value)> {
        if after + 1 >= before {
            return None;
        }
        let mut known = self.log.get(&partition)?.range(after + 1..before);
        known.find_map(|(offset, values)| Some((*offset, *values.iter().find(|value| counts(**value))?)))
    }
}
