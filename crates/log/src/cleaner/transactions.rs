//! Follows transactions through a cleaning: which batches were aborted, and which markers are needed still.
//!
//! Picture: the segments are read in order, and with them what their indexes say of aborted transactions. A batch of an
//! aborted transaction goes at once, since no reader of committed records sees it. A marker has to stay as long as a
//! batch of its transaction does, so it goes at the earliest in a cleaning that meets no batch of it; when exactly is
//! the business of its delete horizon. The new index of aborted transactions holds those whose marker stays because a
//! batch of them was still met.
//!
//! Invariants: aborted transactions are told before the offsets at which they begin are read.

use std::collections::{BTreeMap, HashMap, HashSet};

use twinstream_model::{Offset, ProducerId};
use twinstream_protocol::batch::BatchHeader;

use crate::transactions::{Marker, Outcome};
use crate::txn_index::AbortedEntry;

#[derive(Debug, Default)]
pub(super) struct CleanedTransactions {
    /// Told of and not begun yet, by first offset and producer.
    announced: BTreeMap<(Offset, ProducerId), AbortedEntry>,
    aborting: HashMap<ProducerId, Aborting>,
    committing: HashSet<ProducerId>,
    /// What the new segment's index has to say.
    index: Vec<AbortedEntry>,
}

#[derive(Debug)]
struct Aborting {
    entry: AbortedEntry,
    has_batches: bool,
}

impl CleanedTransactions {
    /// Takes note of aborted transactions. Telling twice does not matter.
    pub(super) fn announce(&mut self, aborted: impl IntoIterator<Item = AbortedEntry>) {
        self.announced.extend(aborted.into_iter().map(|entry| ((entry.first, entry.producer_id), entry)));
    }

    /// A batch of data; true if its transaction was aborted.
    pub(super) fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.attributes.is_transactional() {
            return false;
        }
        if let Some(aborting) = self.aborting.get_mut(&header.producer_id) {
            aborting.has_batches = true;
            return true;
        }
        self.committing.insert(header.producer_id);
        false
    }

    /// A control batch; true if nothing needs it any more, because no batch of its transaction was met.
    pub(super) fn is_needless(&mut self, header: &BatchHeader, marker: Option<Marker>) -> bool {
        self.begin_up_to(header.last_offset());
        match marker.map(|marker| marker.outcome) {
            Some(Outcome::Abort) => match self.aborting.remove(&header.producer_id) {
                Some(Aborting { entry, has_batches: true }) => {
                    self.index.push(entry);
                    false
                }
                _ => true,
            },
            Some(Outcome::Commit) => !self.committing.remove(&header.producer_id),
            // An empty batch stands for a transaction that is gone; other kinds of control batches stay.
            None => header.record_count == 0,
        }
    }

    /// The entries for the index of the segment that was made last.
    pub(super) fn take_index(&mut self) -> Vec<AbortedEntry> {
        std::mem::take(&mut self.index)
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(first) = self.announced.first_entry().filter(|first| first.key().0 <= offset) {
            let entry = first.remove();
            self.aborting.entry(entry.producer_id).or_insert(Aborting { entry, has_batches: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleaner::keep::tests::{control, data};

    fn entry(producer: i64, first: i64, last: i64) -> AbortedEntry {
        let (producer_id, last_stable) = (ProducerId(producer), Offset(last + 1));
        AbortedEntry { producer_id, first: Offset(first), last: Offset(last), last_stable }
    }

    fn marker(outcome: Outcome) -> Option<Marker> {
        Some(Marker { outcome, coordinator_epoch: 0 })
    }

    #[test]
    fn batches_of_an_aborted_transaction_go_and_its_marker_stays_as_long_as_they_were_met() {
        let mut cleaned = CleanedTransactions::default();
        cleaned.announce([entry(1, 10, 14)]);
        assert!(!cleaned.is_aborted(&data(1, 8, 2)), "an earlier transaction of the producer");
        assert!(!cleaned.is_needless(&control(1, 9), marker(Outcome::Commit)));
        assert!(cleaned.is_aborted(&data(1, 10, 2)));
        assert!(!cleaned.is_aborted(&data(2, 12, 2)), "of somebody else");
        assert!(!cleaned.is_needless(&control(1, 14), marker(Outcome::Abort)));
        assert_eq!(cleaned.take_index(), [entry(1, 10, 14)]);
        assert!(cleaned.take_index().is_empty());
    }

    #[test]
    fn markers_without_batches_are_needless() {
        let mut cleaned = CleanedTransactions::default();
        cleaned.announce([entry(1, 10, 14)]);
        assert!(cleaned.is_needless(&control(1, 14), marker(Outcome::Abort)));
        assert!(cleaned.is_needless(&control(2, 15), marker(Outcome::Commit)));
        assert!(cleaned.take_index().is_empty());
    }

    #[test]
    fn empty_control_batches_are_needless_and_other_kinds_stay() {
        let mut cleaned = CleanedTransactions::default();
        let emptied = BatchHeader { record_count: 0, ..control(1, 14) };
        assert!(cleaned.is_needless(&emptied, None));
        assert!(!cleaned.is_needless(&control(1, 15), None));
    }
}
