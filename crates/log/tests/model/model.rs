//! What a reader must see.

use std::collections::{BTreeMap, BTreeSet};

/// A record, or the end of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: i64,
    pub(crate) what: What,
    /// The transaction that it belongs to, by its producer: each has one of its own.
    pub(crate) transaction: Option<i64>,
    /// Where its batch begins and ends. A compaction keeps both.
    pub(crate) batch: (i64, i64),
    /// Of the leader that wrote it.
    pub(crate) epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A key and a value; no value is a tombstone.
    Record {
        key: u8,
        value: Option<u16>,
    },
    Commit,
    Abort,
}

/// A batch as it was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) base: i64,
    pub(crate) last: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The newest leader's.
    pub(crate) epoch: i32,
    /// Records and markers that were not compacted away, by offset.
    pub(crate) entries: BTreeMap<i64, Entry>,
    /// Batches as they were appended, for what a cut takes.
    pub(crate) batches: Vec<Stored>,
    /// When a compaction first reached the batch of a tombstone.
    pub(crate) reached: BTreeMap<i64, i64>,
}

/// A visible record: offset, key, value.
pub(crate) type Seen = (i64, u8, Option<u16>);

impl Model {
    /// Takes in a batch that was appended.
    pub(crate) fn append(&mut self, whats: &[What], transaction: Option<i64>) {
        let (base, last) = (self.end, self.end + whats.len() as i64 - 1);
        for (offset, what) in (base..).zip(whats) {
            let entry = Entry { offset, what: what.clone(), transaction, batch: (base, last), epoch: self.epoch };
            self.entries.insert(offset, entry);
        }
        self.batches.push(Stored { base, last });
        self.end = last + 1;
    }

    /// The log ends here now; batches that reached beyond it are gone whole.
    pub(crate) fn cut(&mut self, end: i64) {
        self.entries.retain(|_, entry| entry.batch.1 < end);
        self.batches.retain(|batch| batch.last < end);
        self.reached.retain(|offset, _| *offset < end);
        self.end = end;
        self.start = self.start.min(end);
    }

    /// The log begins here now.
    pub(crate) fn begin(&mut self, start: i64) {
        self.start = start;
    }

    /// Every record that is there, whatever became of its transaction.
    pub(crate) fn uncommitted(&self) -> Vec<Seen> {
        self.records().map(|(seen, _)| seen).collect()
    }

    /// The records of no transaction or of a committed one, up to the last stable offset.
    pub(crate) fn committed(&self, stable: i64) -> Vec<Seen> {
        let aborted = self.aborted();
        let visible = self.records().filter(|(seen, transaction)| {
            seen.0 < stable && transaction.is_none_or(|transaction| !aborted.contains(&transaction))
        });
        visible.map(|(seen, _)| seen).collect()
    }

    fn records(&self) -> impl Iterator<Item = (Seen, Option<i64>)> {
        self.entries.range(self.start..).filter_map(|(offset, entry)| match entry.what {
            What::Record { key, value } => Some(((*offset, key, value), entry.transaction)),
            What::Commit | What::Abort => None,
        })
    }

    /// Up to where readers of committed records go: where the first open transaction begins, or the end.
    ///
    /// Two answers are right as long as a transaction is open of which records lie before the start of the log. Who
    /// remembers it stops at the start, as Kafka does; who has read the log again from its start on does not know of it.
    /// None of its hidden records is seen either way.
    pub(crate) fn last_stable(&self) -> [i64; 2] {
        let first = |open: BTreeMap<i64, i64>| open.into_values().min().unwrap_or(self.end).max(self.start);
        [first(self.open_from(self.start)), first(self.open_from(0))]
    }

    /// Transactions without an end, and where they begin.
    pub(crate) fn open(&self) -> BTreeMap<i64, i64> {
        self.open_from(0)
    }

    fn open_from(&self, start: i64) -> BTreeMap<i64, i64> {
        let mut open = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| entry.batch.1 >= start) {
            let Some(transaction) = entry.transaction else { continue };
            match entry.what {
                What::Record { .. } => _ = open.entry(transaction).or_insert(entry.batch.0),
                What::Commit | What::Abort => _ = open.remove(&transaction),
            }
        }
        open
    }

    fn aborted(&self) -> BTreeSet<i64> {
        let aborts = self.entries.values().filter(|entry| entry.what == What::Abort);
        aborts.filter_map(|entry| entry.transaction).collect()
    }

    /// Holds what a compaction up to `cleaned_to` left against its rules, and takes it over.
    pub(crate) fn compacted(&mut self, left: &[Seen], cleaned_to: i64, now: i64, delete_retention_ms: i64) {
        let before: BTreeMap<i64, (u8, Option<u16>)> =
            self.uncommitted().into_iter().map(|(offset, key, value)| (offset, (key, value))).collect();
        let left: BTreeMap<i64, (u8, Option<u16>)> =
            left.iter().map(|(offset, key, value)| (*offset, (*key, *value))).collect();
        for (offset, record) in &left {
            assert_eq!(before.get(offset), Some(record), "a compaction makes nothing up: {offset}");
        }
        let aborted = self.aborted();
        let is_aborted = |offset: &i64| self.entries[offset].transaction.is_some_and(|id| aborted.contains(&id));
        let mut newest: BTreeMap<u8, i64> = BTreeMap::new();
        for (offset, (key, _)) in before.iter().filter(|(offset, _)| !is_aborted(offset)) {
            newest.insert(*key, *offset);
        }
        for (offset, (key, value)) in &before {
            if left.contains_key(offset) {
                // Its batch notes when it was reached, as a whole (KIP-534).
                if self.entries[offset].batch.0 < cleaned_to && value.is_none() {
                    self.reached.entry(*offset).or_insert(now);
                }
                continue;
            }
            if is_aborted(offset) {
                continue; // nobody sees it, so it may go from the whole of a segment that is copied
            }
            assert!(*offset < cleaned_to, "{offset} is gone, compacted was to {cleaned_to}");
            let is_newest = newest.get(key) == Some(offset);
            let horizon = self.reached.get(offset).map(|reached| reached + delete_retention_ms);
            let may_go = !is_newest || (value.is_none() && horizon.is_some_and(|horizon| now > horizon));
            assert!(may_go, "{offset} was the newest of key {key}, reached {:?}, now {now}", self.reached.get(offset));
        }
        let start = self.start;
        self.entries.retain(|offset, entry| {
            *offset < start || !matches!(entry.what, What::Record { .. }) || left.contains_key(offset)
        });
    }
}
