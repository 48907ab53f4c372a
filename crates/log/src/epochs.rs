//! Where each leader's reign began in the log: `leader-epoch-checkpoint` in Kafka's text format.
//!
//! Picture: what the headers of all batches say, in short. So the file is a hint: it is written without waiting for the
//! disk, flushed before the recovery point passes what it tells of, and behind the recovery point a log that is opened
//! after a power loss tells itself. The last entry may be of an epoch without records yet: that of a new leader.
//!
//! Invariants: epochs and start offsets both ascend strictly. Not here: who is leader.

use std::ops::Range;
use std::path::{Path, PathBuf};

use twinstream_model::{LeaderEpoch, Offset};

use crate::{LogError, checkpoint, files};

const FILE: &str = "leader-epoch-checkpoint";

/// The epochs of a mirror's promotions are multiples of this. Where those began, two clusters went different ways: that stays known
/// when the records are gone, as long as the file is there.
const ERA: i32 = 1 << 10;
/// So many begins of eras before the log's start.
const ERAS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Epochs {
    path: PathBuf,
    entries: Vec<(LeaderEpoch, Offset)>,
    /// Whether the file has these entries.
    saved: bool,
    /// Whether the file was flushed since it was written.
    flushed: bool,
}

impl Epochs {
    /// Reads the file; `false` means that it is missing or damaged and must be rebuilt from the log.
    pub(crate) fn load(dir: &Path) -> Result<(Epochs, bool), LogError> {
        let path = dir.join(FILE);
        let (entries, known) = match checkpoint::read_epochs(&path) {
            Ok(Some(entries)) if ascends(&entries) => (entries, true),
            Ok(_) | Err(LogError::Damaged { .. }) => (Vec::new(), false),
            Err(error) => return Err(error),
        };
        Ok((Epochs { path, entries, saved: known, flushed: false }, known))
    }

    /// Notes that the record at `offset`, the log end of this moment, is of `epoch`; false if that changes nothing.
    pub(crate) fn note(&mut self, epoch: LeaderEpoch, offset: Offset) -> bool {
        if epoch < LeaderEpoch(0) || self.latest() == Some((epoch, offset)) {
            return false;
        }
        // An epoch without records leaves no trace, even if it is newer: its leader wrote nothing, and a later one went on
        // with records of an older epoch that it had not seen.
        let emptied = self.truncate_end(offset);
        if self.latest().is_some_and(|(latest, _)| epoch <= latest) {
            return emptied;
        }
        self.entries.push((epoch, offset));
        self.saved = false;
        true
    }

    /// Puts what a scan of the log has found in place of what was known from its begin on. What begins in a hole was not
    /// seen and stays, unless what comes behind the hole contradicts it.
    pub(crate) fn rewrite(&mut self, found: &[(LeaderEpoch, Offset)], holes: &[Range<Offset>]) {
        let Some((_, from)) = found.first() else { return };
        let before = (self.entries.clone(), self.saved);
        let fits = |(epoch, start): &&(LeaderEpoch, Offset)| {
            let behind = found.iter().find(|(_, at)| at > start);
            *start >= *from
                && holes.iter().any(|hole| hole.contains(start))
                && behind.is_none_or(|(behind, _)| epoch <= behind)
        };
        let mut all: Vec<_> = before.0.iter().filter(fits).chain(found).copied().collect();
        all.sort_by_key(|(_, start)| *start);
        self.truncate_end(*from);
        for (epoch, offset) in all {
            self.note(epoch, offset);
        }
        self.saved = before.1 && before.0 == self.entries;
    }

    pub(crate) fn latest(&self) -> Option<(LeaderEpoch, Offset)> {
        self.entries.last().copied()
    }

    /// The epoch in which the record at `offset` was written.
    pub(crate) fn epoch_at(&self, offset: Offset) -> LeaderEpoch {
        let found = self.entries.iter().rev().find(|(_, start)| *start <= offset);
        found.map_or(LeaderEpoch::NONE, |(epoch, _)| *epoch)
    }

    /// Largest epoch of at most `requested` and where it ended; Kafka's rules for OffsetForLeaderEpoch.
    pub(crate) fn end_of(&self, requested: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let (latest, _) = self.latest()?;
        if requested == latest {
            return Some((requested, log_end));
        }
        let higher = self.entries.iter().position(|(epoch, _)| *epoch > requested)?;
        let end = self.entries[higher].1;
        match higher {
            0 => Some((requested, end)),
            _ => Some((self.entries[higher - 1].0, end)),
        }
    }

    /// Forgets what lies at or behind a new log end.
    pub(crate) fn truncate_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.iter().rposition(|(_, start)| *start < end).map_or(0, |last| last + 1);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        self.saved &= !changed;
        changed
    }

    /// Lets the log begin later: the epoch at the new start is kept, older ones go, but not where an era began.
    pub(crate) fn truncate_start(&mut self, start: Offset) -> bool {
        let older = self.entries.iter().take_while(|(_, begin)| *begin <= start).count();
        let Some(last) = older.checked_sub(1) else { return false };
        let era = |at: usize| self.entries[at].0.0 / ERA;
        let begins_era = |at: usize| era(at) > 0 && at.checked_sub(1).is_none_or(|before| era(before) != era(at));
        let mut kept: Vec<_> = (0..last).filter(|at| begins_era(*at)).map(|at| self.entries[at]).collect();
        kept.drain(..kept.len().saturating_sub(ERAS_MAX));
        let (epoch, begin) = self.entries[last];
        kept.push((epoch, if begins_era(last) { begin } else { begin.max(start) }));
        kept.extend_from_slice(&self.entries[older..]);
        let changed = kept != self.entries;
        self.entries = kept;
        self.saved &= !changed;
        changed
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.saved = false;
    }

    /// Has what another log with the same records has.
    pub(crate) fn take_over(&mut self, other: &Epochs) {
        if self.entries != other.entries {
            self.entries.clone_from(&other.entries);
            self.saved = false;
        }
    }

    /// The folder has moved.
    pub(crate) fn moved(&mut self, dir: &Path) {
        self.path = dir.join(FILE);
    }

    /// Writes the file if it says something else.
    pub(crate) fn save(&mut self) -> Result<(), LogError> {
        if !self.saved {
            files::replace_unsynced(&self.path, checkpoint::format_epochs(&self.entries).as_bytes())?;
            self.saved = true;
            self.flushed = false;
        }
        Ok(())
    }

    /// Who wanted to flush the file did not.
    pub(crate) fn doubt(&mut self) {
        self.flushed = false;
    }

    /// The file, if somebody has to flush it; who asks does.
    pub(crate) fn take_unflushed(&mut self) -> Option<PathBuf> {
        let due = !self.flushed && self.path.exists();
        self.flushed |= due;
        due.then(|| self.path.clone())
    }
}

fn ascends(entries: &[(LeaderEpoch, Offset)]) -> bool {
    entries.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let entries = entries.iter().map(|(e, o)| (LeaderEpoch(*e), Offset(*o))).collect();
        Epochs { path: PathBuf::new(), entries, saved: true, flushed: true }
    }

    /// The same under a name that a variable does not hide.
    fn by(entries: &[(i32, i64)]) -> Epochs {
        epochs(entries)
    }

    fn end_of(epochs: &Epochs, requested: i32) -> Option<(i32, i64)> {
        epochs.end_of(LeaderEpoch(requested), Offset(100)).map(|(e, o)| (e.0, o.0))
    }

    #[test]
    fn end_of_an_epoch_is_the_start_of_the_next() {
        let epochs = epochs(&[(2, 0), (4, 10), (7, 50)]);
        assert_eq!(end_of(&epochs, 7), Some((7, 100)));
        assert_eq!(end_of(&epochs, 4), Some((4, 50)));
        assert_eq!(end_of(&epochs, 5), Some((4, 50)));
        assert_eq!(end_of(&epochs, 1), Some((1, 0)));
        assert_eq!(end_of(&epochs, 8), None);
    }

    #[test]
    fn epoch_without_records_is_replaced() {
        let mut epochs = epochs(&[(1, 0), (2, 10)]);
        assert!(epochs.note(LeaderEpoch(5), Offset(10)));
        assert!(!epochs.note(LeaderEpoch(5), Offset(12)));
        assert_eq!(epochs.entries, [(LeaderEpoch(1), Offset(0)), (LeaderEpoch(5), Offset(10))]);
    }

    #[test]
    fn epoch_of_a_leader_that_wrote_nothing_gives_way_to_an_older_one_with_records() {
        let mut epochs = epochs(&[(1, 0), (5, 10)]);
        assert!(!epochs.note(LeaderEpoch(5), Offset(10)));
        assert!(epochs.note(LeaderEpoch(3), Offset(10)));
        assert_eq!(epochs.entries, [(LeaderEpoch(1), Offset(0)), (LeaderEpoch(3), Offset(10))]);
        // More records of an epoch that is known: the empty one behind it goes, and no other comes.
        let more = |mut epochs: Epochs| {
            assert!(epochs.note(LeaderEpoch(1), Offset(10)));
            epochs.entries
        };
        assert_eq!(more(by(&[(1, 0), (5, 10)])), [(LeaderEpoch(1), Offset(0))]);
    }

    #[test]
    fn scan_of_the_log_overrules_the_file() {
        let mut epochs = epochs(&[(1, 0), (2, 10), (3, 20)]);
        epochs.rewrite(&[(LeaderEpoch(2), Offset(10)), (LeaderEpoch(3), Offset(20))], &[]);
        assert!(epochs.saved);
        epochs.rewrite(&[(LeaderEpoch(2), Offset(10)), (LeaderEpoch(4), Offset(15))], &[]);
        assert_eq!(
            epochs.entries,
            [(LeaderEpoch(1), Offset(0)), (LeaderEpoch(2), Offset(10)), (LeaderEpoch(4), Offset(15))]
        );
        assert!(!epochs.saved);
        // The stretch begins in the middle of an epoch.
        epochs.rewrite(&[(LeaderEpoch(4), Offset(17))], &[]);
        assert_eq!(epochs.latest(), Some((LeaderEpoch(4), Offset(15))));
    }

    #[test]
    fn scan_overrules_the_file_around_a_hole_and_the_file_tells_of_the_hole() {
        let hole = Offset(10)..Offset(20);
        let rewritten = |file: &[(i32, i64)], found: &[(i32, i64)]| {
            let mut epochs = epochs(file);
            epochs.rewrite(&by(found).entries, std::slice::from_ref(&hole));
            epochs.entries.iter().map(|(epoch, start)| (epoch.0, start.0)).collect::<Vec<_>>()
        };
        // Wrong before the hole, and lacking what is behind it.
        assert_eq!(rewritten(&[(1, 0), (2, 7)], &[(1, 0), (2, 5), (2, 20), (4, 25)]), [(1, 0), (2, 5), (4, 25)]);
        // The epoch behind the hole began in it.
        assert_eq!(rewritten(&[(1, 0), (3, 15)], &[(1, 0), (3, 20)]), [(1, 0), (3, 15)]);
        assert_eq!(rewritten(&[(1, 0)], &[(1, 0), (3, 20)]), [(1, 0), (3, 20)]);
        // What the file says of the hole cannot be.
        assert_eq!(rewritten(&[(1, 0), (5, 15)], &[(1, 0), (3, 20)]), [(1, 0), (3, 20)]);
        // Nothing is left behind it.
        assert_eq!(rewritten(&[(1, 0), (2, 12)], &[(1, 0)]), [(1, 0), (2, 12)]);
    }

    #[test]
    fn where_an_era_began_outlives_its_records() {
        let mut epochs = epochs(&[(3, 0), (1024, 20), (1025, 40), (2048, 60), (2049, 70), (2050, 80)]);
        assert!(epochs.truncate_start(Offset(50)));
        assert_eq!(epochs.entries, by(&[(1024, 20), (1025, 50), (2048, 60), (2049, 70), (2050, 80)]).entries);
        assert_eq!(end_of(&epochs, 1023), Some((1023, 20)), "where the logs parted");
        assert!(epochs.truncate_start(Offset(90)));
        assert_eq!(epochs.entries, by(&[(1024, 20), (2048, 60), (2050, 90)]).entries);
        assert_eq!([1023, 2047].map(|epoch| end_of(&epochs, epoch)), [Some((1023, 20)), Some((1024, 60))]);
        assert!(!epochs.truncate_start(Offset(90)));
        assert!(ascends(&epochs.entries));
        // The epoch at the start is itself the first of its era.
        let mut promoted = by(&[(3, 0), (1024, 20)]);
        assert!(promoted.truncate_start(Offset(50)));
        assert_eq!(promoted.entries, by(&[(1024, 20)]).entries);
    }

    #[test]
    fn eras_that_are_kept_are_bounded() {
        let many: Vec<(i32, i64)> = (0..200).map(|era| (era * ERA, i64::from(era))).collect();
        let mut epochs = epochs(&many);
        assert!(epochs.truncate_start(Offset(150)));
        assert_eq!(epochs.entries.len(), ERAS_MAX + 50);
        assert_eq!(epochs.entries[0], (LeaderEpoch(86 * ERA), Offset(86)));
    }

    #[test]
    fn start_and_end_cut_the_history() {
        let mut epochs = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(epochs.truncate_start(Offset(15)));
        assert_eq!(epochs.entries, [(LeaderEpoch(2), Offset(15)), (LeaderEpoch(3), Offset(20))]);
        assert!(epochs.truncate_end(Offset(20)));
        assert_eq!(epochs.epoch_at(Offset(17)), LeaderEpoch(2));
        assert_eq!(epochs.epoch_at(Offset(3)), LeaderEpoch::NONE);
    }
}
