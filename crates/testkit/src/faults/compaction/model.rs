//! What was written to a compacted topic, where, how it ended, and what readers may see of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::reading::{Found, Isolation, Reading};

/// How a record's transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It runs, or its producer does not know.
    Open,
    Committed,
    Aborted,
}

/// A record that was acknowledged, or may be there without that.
#[derive(Clone, Debug)]
struct Written {
    found: Found,
    transaction: u64,
    /// As acknowledged.
    offset: Option<i64>,
}

impl Written {
    /// Values are unique, so a record with one can only be this; tombstones of one key are alike.
    fn may_be_at(&self, offset: i64, found: &Found) -> bool {
        self.found == *found && self.offset.is_none_or(|at| at == offset)
    }
}

/// What a reader has asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) partition: i32,
    pub(super) isolation: Isolation,
    pub(super) at: Instant,
    /// How long a tombstone stays.
    pub(super) retention: Duration,
    /// Nobody writes any more, and the replica has told that it has everything.
    pub(super) is_whole: bool,
}

/// All partitions.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Records by partition and value; a tombstone stands under the text that its key ends with.
    written: BTreeMap<(i32, String), Written>,
    fates: BTreeMap<u64, (Fate, Option<Instant>)>,
    /// What any replica has ever shown.
    seen: BTreeMap<(i32, i64), Found>,
}

/// One model for writers and readers.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Model>>);

impl Shared {
    pub(super) fn begin(&self, transaction: u64) {
        self.0.lock().fates.insert(transaction, (Fate::Open, None));
    }

    pub(super) fn writes(&self, transaction: u64, partition: i32, name: &str, found: Found) {
        self.0.lock().written.insert((partition, name.to_owned()), Written { found, transaction, offset: None });
    }

    pub(super) fn wrote(&self, partition: i32, name: &str, offset: i64) {
        let mut model = self.0.lock();
        model.written.get_mut(&(partition, name.to_owned())).expect("a record that was sent").offset = Some(offset);
    }

    pub(super) fn ended(&self, transaction: u64, fate: Fate) {
        self.0.lock().fates.insert(transaction, (fate, Some(Instant::now())));
    }

    pub(super) fn copy(&self) -> Model {
        self.0.lock().clone()
    }

    /// Transactions whose end is known.
    pub(super) fn count_ended(&self) -> usize {
        self.0.lock().fates.values().filter(|(fate, _)| *fate != Fate::Open).count()
    }

    /// Notes what a replica showed; what has changed since anybody saw it.
    pub(super) fn saw(&self, partition: i32, reading: &Reading) -> Vec<String> {
        let mut model = self.0.lock();
        let mut faults = Vec::new();
        for (offset, found) in &reading.records {
            match model.seen.get(&(partition, *offset)) {
                Some(before) if before != found => {
                    faults.push(format!("offset {offset} was {before:?} and is {found:?}"));
                }
                Some(_) => {}
                None => _ = model.seen.insert((partition, *offset), found.clone()),
            }
        }
        faults
    }
}

impl Model {
    fn fate(&self, transaction: u64) -> (Fate, Option<Instant>) {
        self.fates.get(&transaction).copied().unwrap_or((Fate::Open, None))
    }

    /// Committed records, aborted ones, and tombstones among the committed.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let of = |fate: Fate| self.written.values().filter(move |written| self.fate(written.transaction).0 == fate);
        let tombstones = of(Fate::Committed).filter(|written| written.found.value.is_none()).count();
        (of(Fate::Committed).count(), of(Fate::Aborted).count(), tombstones)
    }

    /// The last committed record of each key of a partition.
    fn newest(&self, partition: i32) -> BTreeMap<&str, &Written> {
        let mut newest: BTreeMap<&str, &Written> = BTreeMap::new();
        for written in
            self.of_partition(partition).filter(|written| self.fate(written.transaction).0 == Fate::Committed)
        {
            let key = written.found.key.as_deref().expect("every record has a key");
            let known = newest.entry(key).or_insert(written);
            if written.offset > known.offset {
                *known = written;
            }
        }
        newest
    }

    fn of_partition(&self, partition: i32) -> impl Iterator<Item = &Written> {
        self.written.iter().filter(move |((of, _), _)| *of == partition).map(|(_, written)| written)
    }

    /// What was acknowledged.
    fn by_offset(&self, partition: i32) -> BTreeMap<i64, &Written> {
        self.of_partition(partition).filter_map(|written| Some((written.offset?, written))).collect()
    }

    /// What a record can be: what was acknowledged there; where nothing was, what it says, or any tombstone of this key that
    /// nobody heard of again.
    fn may_be<'a>(
        &'a self,
        partition: i32,
        by_offset: &BTreeMap<i64, &'a Written>,
        offset: i64,
        found: &Found,
    ) -> Vec<&'a Written> {
        match by_offset.get(&offset) {
            Some(written) => vec![written],
            None => self.of_partition(partition).filter(|written| written.may_be_at(offset, found)).collect(),
        }
    }

    /// What is wrong with a reading that began when the model was `known`, and ended when it was this.
    pub(super) fn judge(&self, known: &Self, asked: &Asked, reading: &Reading) -> Vec<String> {
        let mut faults = Vec::new();
        let by_offset = self.by_offset(asked.partition);
        for (offset, found) in &reading.records {
            let acknowledged = by_offset.get(offset);
            if let Some(written) = acknowledged.filter(|written| written.found != *found) {
                faults.push(format!("offset {offset} has {found:?}, {:?} was acknowledged there", written.found));
                continue;
            }
            let may_be = self.may_be(asked.partition, &by_offset, *offset, found);
            if may_be.is_empty() {
                let elsewhere = by_offset.values().find(|written| written.found == *found && found.value.is_some());
                faults.push(match elsewhere.and_then(|written| written.offset) {
                    Some(before) => format!("{found:?} has moved from offset {before} to {offset}"),
                    None => format!("{found:?} at offset {offset} was never written"),
                });
                continue;
            }
            // Aborted before the reader asked.
            let was_aborted = may_be.iter().all(|written| known.fate(written.transaction).0 == Fate::Aborted);
            if asked.isolation == Isolation::Committed && was_aborted {
                faults.push(format!("aborted read: {found:?} at offset {offset}"));
            }
        }
        faults.extend(self.missing(known, asked, reading));
        faults
    }

    /// Records that nothing has replaced and that are gone.
    fn missing(&self, known: &Self, asked: &Asked, reading: &Reading) -> Vec<String> {
        let end = if asked.isolation == Isolation::Committed { reading.last_stable } else { reading.high_watermark };
        let mut faults = Vec::new();
        for (key, written) in known.newest(asked.partition) {
            let offset = written.offset.expect("what was committed was acknowledged");
            // A reader may have come before the marker; a later record of the key, whose end nobody knows, may count.
            let is_replaced = self.of_partition(asked.partition).any(|later| {
                later.found.key.as_deref() == Some(key)
                    && later.offset.is_none_or(|later| later > offset)
                    && self.fate(later.transaction).0 != Fate::Aborted
            });
            // A replica may be a little behind, but not when all is over.
            let is_to_come = offset >= end && !asked.is_whole;
            if is_replaced || is_to_come || reading.records.contains_key(&offset) {
                continue;
            }
            let committed_at = known.fate(written.transaction).1.expect("committed at some time");
            if written.found.value.is_some() {
                faults.push(format!("lost write: {:?} of offset {offset}", written.found));
            } else if asked.at.duration_since(committed_at) < asked.retention {
                faults.push(format!("the tombstone of {key} at offset {offset} is gone before its time"));
            }
        }
        faults
    }

    /// Records that should have been cleaned away when nobody writes any more: replaced, aborted, or tombstones.
    pub(super) fn surplus(&self, partition: i32, reading: &Reading) -> usize {
        let newest = self.newest(partition);
        let wanted = |offset: i64, found: &Found| {
            let key = found.key.as_deref().unwrap_or_default();
            let is_newest = newest.get(key).is_some_and(|written| written.offset == Some(offset));
            let is_roll = key.starts_with(ROLL);
            is_roll || (is_newest && found.value.is_some())
        };
        let by_offset = self.by_offset(partition);
        let is_in_doubt = |offset: i64, found: &Found| {
            let may_be = self.may_be(partition, &by_offset, offset, found);
            may_be.iter().any(|written| self.fate(written.transaction).0 == Fate::Open)
        };
        let records = reading.records.iter();
        records.filter(|(offset, found)| !wanted(**offset, found) && !is_in_doubt(**offset, found)).count()
    }
}

/// Keys of records that are only there to close a segment.
pub(super) const ROLL: &str = "roll";

#[cfg(test)]
mod tests;
