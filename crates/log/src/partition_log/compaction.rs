//! Runs a compaction and puts its segments in the place of those they were made from.
//!
//! Picture: while segments are copied nobody waits; the log is read and written as ever. Only the exchange takes locks,
//! and on the disk it is done in steps of which each can be the last:
//!
//! ```text
//! 1 files .cleaned are written and flushed        crash: they are removed at the next start
//! 2 they are renamed to .swap, names are flushed   from here on a start finishes the exchange
//! 3 old files are renamed to .deleted              readers who have them open go on
//! 4 .swap files get their names, names are flushed
//! 5 the .deleted ones go after file.delete.delay.ms
//! ```
//! Invariants: who cuts the log is kept out while segments are exchanged (they hold `flushing`, too); retention may take
//! segments away before, then the exchange does not happen; everything up to the end of a cleaning is on the disk before
//! anything goes. Not here: what stays (`cleaner`), when it is time (broker).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use twinstream_model::Offset;

use super::PartitionLog;
use crate::cleaner::copy::{Bounded, Cleaning, Job};
use crate::cleaner::groups::{self, Member};
use crate::cleaner::{self, Bounds, Facts};
use crate::files::{self, CLEANED, SNAPSHOT, SWAP, TXN_INDEX};
use crate::segment::Segment;
use crate::txn_index::{self, AbortedEntry, TxnIndexes};
use crate::{CleanError, Cleaned, CleanerLimits, Dirt, LogConfig, LogError, Pace};

pub(super) const NEVER_CLEANED: i64 = -1;

impl Facts for Arc<Segment> {
    fn base(&self) -> Offset {
        Segment::base(self)
    }

    fn size(&self) -> u64 {
        Segment::size(self)
    }

    fn max_timestamp(&self) -> Result<Option<i64>, LogError> {
        Ok(Segment::max_timestamp(self)?.map(|(timestamp, _)| timestamp).or_else(|| self.modified_ms()))
    }

    fn first_timestamp(&self) -> Result<Option<i64>, LogError> {
        Ok(self.find(0, |_| true)?.map(|found| found.header.max_timestamp))
    }
}

impl PartitionLog {
    /// Up to where the log was compacted, `None` if it never was.
    pub fn cleaned_to(&self) -> Option<Offset> {
        Some(Offset(self.cleaned_to.load(Ordering::Acquire))).filter(|at| at.0 != NEVER_CLEANED)
    }

    /// What of the log is not compacted yet.
    pub fn dirt(&self, now: i64) -> Result<Dirt, LogError> {
        self.check_usable()?;
        let bounds = Bounds {
            cleaned_to: self.cleaned_to(),
            start: self.log_start_offset(),
            last_stable: self.last_stable_offset(),
            end: self.log_end_offset(),
        };
        cleaner::survey(&self.segments.load(), bounds, &self.config.load(), now)
    }

    /// Begins a new segment if the active one holds a record that is due for compaction by its age: a log that nobody
    /// appends to would keep it for ever (Kafka rolls with the next append only).
    pub fn roll_overdue(&self, now: i64) -> Result<(), LogError> {
        let config = self.config.load();
        if config.max_compaction_lag_ms == i64::MAX || !config.cleanup.compact {
            return Ok(());
        }
        self.check_usable()?;
        let mut writer = self.writer.lock();
        let active = self.active();
        let first = Facts::first_timestamp(&active)?.filter(|first| *first > 0);
        if first.is_some_and(|first| now.saturating_sub(first) > config.max_compaction_lag_ms) {
            let rolled = self.roll(&mut writer, self.log_end_offset(), &config);
            rolled.map_err(|error| self.poison_unless_full(error))?;
        }
        Ok(())
    }

    /// Compacts what may be compacted, one cleaning at a time. Damage that it meets is marked, as that which readers meet.
    pub fn clean(&self, limits: &CleanerLimits, pace: &dyn Pace, now: i64) -> Result<Cleaned, CleanError> {
        let cleaned = self.clean_whole(limits, pace, now);
        if let Err(CleanError::Damaged { path, position, why }) = &cleaned {
            let segments = self.segments.load_full();
            if let Some(segment) = segments.iter().find(|segment| segment.log_path() == *path) {
                self.mark_damage(segment, *position, why)?;
            }
        }
        cleaned
    }

    /// Cleans as far as the keys of the dirty part fit into the map.
    fn clean_whole(&self, limits: &CleanerLimits, pace: &dyn Pace, now: i64) -> Result<Cleaned, CleanError> {
        let mut alone = self.cleaning.lock();
        *alone += 1;
        let uncut = self.cuts.seen();
        let dirt = self.dirt(now)?;
        let config = LogConfig { preallocate: false, ..LogConfig::clone(&self.config.load()) };
        let closed = self.bounded_below(dirt.first_uncleanable);
        let aborted = |from, upper| self.aborted_entries(from, upper);
        let producers = self.writer.lock().producers.last_records();
        let job = Job { config: &config, limits, pace, producers, aborted: &aborted, now };
        let clean = closed.iter().take_while(|(_, end)| *end <= dirt.first_dirty).count();
        let mut cleaning = Cleaning::begin(&job, &closed[clean..], dirt.first_dirty)?;
        let mut done = Cleaned::default();
        if let Some(end) = cleaning.end() {
            // A record must not go from the disk for the sake of a newer one that a power loss could take.
            if self.recovery_point() < end {
                self.flush(now)?;
            }
            let sources = &closed[..closed.partition_point(|(segment, _)| segment.base() < end)];
            self.clean_groups(&mut cleaning, sources, &config, uncut, &mut done)?;
            self.cleaned_to.fetch_max(end.0, Ordering::AcqRel);
        }
        cleaning.note(&mut done);
        Ok(done)
    }

    fn clean_groups(
        &self,
        cleaning: &mut Cleaning<'_>,
        sources: &[Bounded],
        config: &LogConfig,
        uncut: Option<u64>,
        done: &mut Cleaned,
    ) -> Result<(), CleanError> {
        let member = |(segment, end): &Bounded| -> Result<Member, LogError> {
            Ok(Member {
                base: segment.base(),
                end: *end,
                bytes: segment.size(),
                index_bytes: segment.index_bytes_max()?,
            })
        };
        let members = sources.iter().map(member).collect::<Result<Vec<Member>, LogError>>()?;
        let groups = groups::group(&members, u64::from(config.segment_bytes), u64::from(config.index_bytes_max));
        for group in groups {
            let ends_cleaning = group.end == sources.len();
            let group = &sources[group];
            let fresh = self.clean_group(cleaning, group, ends_cleaning, config, uncut)?;
            done.bytes_before += group.iter().map(|(segment, _)| segment.size()).sum::<u64>();
            done.bytes_after += fresh.size();
            done.segments_before += group.len();
            done.segments_after += 1;
        }
        Ok(())
    }

    /// Makes one segment of several and exchanges them.
    fn clean_group(
        &self,
        cleaning: &mut Cleaning<'_>,
        group: &[Bounded],
        ends_cleaning: bool,
        config: &LogConfig,
        uncut: Option<u64>,
    ) -> Result<Arc<Segment>, CleanError> {
        self.check_usable()?;
        let base = group[0].0.base();
        let fresh = Arc::new(Segment::create_as(&self.place, base, CLEANED, config)?);
        let exchanged = cleaning.copy(group, ends_cleaning, &fresh).and_then(|aborted| {
            let old: Vec<&Arc<Segment>> = group.iter().map(|(segment, _)| segment).collect();
            self.exchange(&Exchange { old: &old, fresh: &fresh, aborted: &aborted, now: cleaning.now() }, uncut)
        });
        match exchanged {
            Ok(()) => Ok(fresh),
            Err(error) => {
                let error = self.judge(error);
                if self.check_not_poisoned().is_ok() {
                    self.discard(&fresh)?;
                }
                Err(error)
            }
        }
    }

    /// A write that failed is no more to be trusted here than elsewhere.
    fn judge(&self, error: CleanError) -> CleanError {
        match error {
            CleanError::Write(error) => CleanError::Write(self.poison_unless_full(error)),
            other => other,
        }
    }

    /// The files of a segment that became no part of the log.
    fn discard(&self, fresh: &Segment) -> Result<(), LogError> {
        for suffix in [CLEANED, SWAP] {
            let dir = self.dir.read();
            files::remove(&files::offset_file(&dir, fresh.base(), &format!("{TXN_INDEX}{suffix}")))?;
        }
        super::recovery::remove_paths(&fresh.mark_deleted()?)
    }

    /// Puts the new segment in the place of the old ones, if these are still what was read.
    fn exchange(&self, exchange: &Exchange<'_>, uncut: Option<u64>) -> Result<(), CleanError> {
        let _uncut = self.flushing.lock();
        self.check_usable()?;
        if !self.cuts.are(uncut) || !self.is_in_place(exchange.old) {
            return Err(CleanError::Superseded);
        }
        exchange.announce(&self.dir).map_err(CleanError::Write)?;
        self.sync_in_folder(Path::to_owned).map_err(CleanError::Write)?;
        let mut writer = self.writer.lock();
        self.check_usable()?; // from here on the folder stays where it is
        let dir = self.dir.read().clone();
        if !self.is_in_place(exchange.old) {
            return Err(CleanError::Superseded);
        }
        let mut indexes = self.aborted.write();
        let gone = exchange.rename(&dir, &mut indexes).map_err(|error| self.poison(error))?;
        self.segments.store(Arc::new(exchange.apply(&self.segments.load())));
        let due = exchange.now.saturating_add(self.config.load().file_delete_delay_ms);
        writer.doomed.push((due, gone));
        drop(indexes);
        drop(writer);
        self.sync_in_folder(Path::to_owned).map_err(|error| self.poison(error).into())
    }

    /// Whether these segments are still neighbours in the log.
    fn is_in_place(&self, old: &[&Arc<Segment>]) -> bool {
        let row = self.segments.load();
        let at = row.partition_point(|segment| segment.base() < old[0].base());
        let here = row.get(at..at + old.len());
        here.is_some_and(|here| here.iter().zip(old).all(|(here, old)| Arc::ptr_eq(here, old)))
    }

    /// The closed segments that begin below an offset, each with the base of the one behind it.
    fn bounded_below(&self, upper: Offset) -> Vec<Bounded> {
        let row = self.segments.load();
        let pairs = row.windows(2).map(|pair| (Arc::clone(&pair[0]), pair[1].base()));
        // By their ends: a log that starts inside of the segment of an open transaction has `upper` inside of it, too.
        pairs.take_while(|(_, end)| *end <= upper).collect()
    }
}

/// Segments that go, and the one that comes.
struct Exchange<'a> {
    old: &'a [&'a Arc<Segment>],
    fresh: &'a Arc<Segment>,
    /// What the index of aborted transactions of the new one says.
    aborted: &'a [AbortedEntry],
    now: i64,
}

impl Exchange<'_> {
    fn index(&self, dir: &Path, suffix: &str) -> PathBuf {
        files::offset_file(dir, self.fresh.base(), &format!("{TXN_INDEX}{suffix}"))
    }

    /// From here on, and when the names are flushed, a start finishes the exchange. The folder may move at any time.
    fn announce(&self, folder: &RwLock<PathBuf>) -> Result<(), LogError> {
        if !self.aborted.is_empty() {
            let (path, file) = {
                let dir = folder.read();
                let path = self.index(&dir, CLEANED);
                let file = txn_index::write_new(&path, self.aborted)?;
                (path, file)
            };
            file.sync_all().map_err(LogError::io("flush", &path))?;
            let dir = folder.read();
            rename(&self.index(&dir, CLEANED), &self.index(&dir, SWAP))?;
        }
        self.fresh.rename(SWAP)?;
        Ok(())
    }

    /// Gives old and new files their names; returns those that go.
    fn rename(&self, dir: &Path, indexes: &mut TxnIndexes) -> Result<Vec<PathBuf>, LogError> {
        let base = self.fresh.base();
        let mut gone = Vec::new();
        for segment in self.old.iter().rev() {
            gone.extend(segment.mark_deleted()?);
            gone.extend(indexes.mark_deleted(dir, segment.base())?);
            if segment.base() != base {
                gone.push(files::offset_file(dir, segment.base(), SNAPSHOT));
            }
        }
        if !self.aborted.is_empty() {
            rename(&self.index(dir, SWAP), &self.index(dir, ""))?;
        }
        self.fresh.rename("")?;
        indexes.replaced(base, self.aborted);
        Ok(gone)
    }

    /// The row of segments without the old ones and with the new one.
    fn apply(&self, row: &[Arc<Segment>]) -> Vec<Arc<Segment>> {
        let stays = |segment: &&Arc<Segment>| !self.old.iter().any(|gone| Arc::ptr_eq(gone, segment));
        let mut row: Vec<Arc<Segment>> = row.iter().filter(stays).cloned().collect();
        row.insert(row.partition_point(|segment| segment.base() < self.fresh.base()), Arc::clone(self.fresh));
        row
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), LogError> {
    fs::rename(from, to).map_err(LogError::io("rename", from))
}

#[cfg(test)]
mod tests;
