//! Where, per group, the last record ends that did more to its offsets than to commit one.
//!
//! Picture: an offset that counts has a record, and whoever is told of it waits for that record. An offset that was deleted,
//! or that a marker moved or dropped, has none to wait for, so the end of the record that did it is marked on its group.
//! That a transaction has offsets pending leaves no mark: it is only told to those who then ask again.
//!
//! Invariants: a mark never goes back. [`MARKS_MAX`] groups have a mark of their own; all others share the newest of those
//! that were given up, which is too late for some of them and too early for none. It is old by then, hence committed,
//! unless so many groups change in one moment.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_model::{GroupId, Offset};

/// Groups that change between two commits of the log are far fewer.
const MARKS_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct Marks {
    of_group: BTreeMap<GroupId, Offset>,
    oldest_first: BTreeSet<(Offset, GroupId)>,
    /// The newest of those that were given up.
    of_others: Offset,
}

impl Default for Marks {
    fn default() -> Self {
        Marks { of_group: BTreeMap::new(), oldest_first: BTreeSet::new(), of_others: Offset(0) }
    }
}

impl Marks {
    pub(super) fn get(&self, group: &GroupId) -> Offset {
        self.of_group.get(group).copied().unwrap_or(self.of_others)
    }

    pub(super) fn set(&mut self, group: &GroupId, end: Offset) {
        if let Some(before) = self.of_group.insert(group.clone(), end) {
            self.oldest_first.remove(&(before, group.clone()));
        }
        self.oldest_first.insert((end, group.clone()));
        if self.of_group.len() > MARKS_MAX
            && let Some((end, oldest)) = self.oldest_first.pop_first()
        {
            self.of_group.remove(&oldest);
            self.of_others = self.of_others.max(end);
        }
    }

    /// Panics if the two sides do not agree; for tests and simulation.
    pub(super) fn check_invariants(&self) {
        let marks: BTreeSet<_> = self.of_group.iter().map(|(group, end)| (*end, group.clone())).collect();
        assert_eq!(self.oldest_first, marks, "marks of groups");
        assert!(marks.len() <= MARKS_MAX, "{} marks", marks.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_whose_mark_was_given_up_is_never_taken_for_older_than_it_is() {
        let mut marks = Marks::default();
        let group = |number: usize| GroupId::from(format!("g{number}").as_str());
        let changes = 3 * MARKS_MAX;
        let mut newest = BTreeMap::new();
        for change in 0..changes {
            // Every other time a group that changes often.
            let changed = if change % 2 == 0 { group(0) } else { group(change) };
            marks.set(&changed, Offset(change as i64));
            newest.insert(changed, Offset(change as i64));
            marks.check_invariants();
        }
        assert!(newest.iter().all(|(group, end)| marks.get(group) >= *end));
        assert_eq!(marks.get(&group(0)), Offset(changes as i64 - 2), "what changed lately is known exactly");
        assert!(
            marks.get(&group(changes + 1)) < Offset((changes - MARKS_MAX) as i64),
            "the others wait for old records"
        );
    }
}
