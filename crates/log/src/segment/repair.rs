//! Bringing a segment into order whose end may be torn, and cutting one.
//!
//! Picture: below the recovery point everything was on the disk once; what the last owner wrote behind it is read to the
//! last byte. The index leads to where that begins, if it can be believed, and is built anew from there on.
//!
//! ```text
//!   batches   | good | good | hole | good | good | torn
//!   index       ^entry  ^recovery point           ^ cut here
//! ```
//! A batch above the recovery point that is not whole, with nothing good behind it, is a torn tail and is cut. With good
//! batches behind it, it was changed on the disk, and is kept as a hole that nobody can read until it is repaired; except
//! that after the machine went down, what lies behind a hole above the recovery point may be older than the hole, so it is
//! cut, too.
//!
//! Below the recovery point nothing is torn. If the last batches there are not good, or gone, the segment ends in a hole
//! that reaches up to the recovery point, and takes no more batches: nobody knows how many bytes were there, so a repair
//! may give the file another length. Where not a byte is left, [`STAND_IN`] marks the hole for all later looks.

use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use twinstream_model::{LeaderEpoch, Offset};
use twinstream_protocol::batch::{BatchHeader, HEADER_BYTES};

use super::check::{Before, Walk};
use super::scan::{self, Tail};
use super::{Ordering, Segment};
use crate::index::OffsetEntry;
use crate::open_files::Place;
use crate::{Damage, LastStop, LogConfig, LogError};

/// What stands in the place of batches that are gone without a trace. It can be taken for no batch, now or at a later start.
const STAND_IN: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

/// What is known of a segment before it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) recovery_point: Offset,
    pub(crate) last_stop: LastStop,
    /// Up to where something else than the recovery point tells that the log reached. A checkpoint is text without a
    /// checksum; a changed digit must not make records out of nothing.
    pub(crate) told: Offset,
    /// Where the next segment begins, if there is one.
    pub(crate) next: Option<Offset>,
    /// Whether segments adjoin, so that a gap between two of them is a loss: compaction makes gaps, too.
    pub(crate) adjoins: bool,
    /// The newest epoch of the segments before it, as far as they were read: the first batch has to fit to it, too.
    pub(crate) epoch: LeaderEpoch,
}

/// What a look at a segment brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// The log ends here: what came behind was cut.
    pub(crate) is_cut: bool,
    /// It ends in a hole behind which nothing is left, so it takes no more batches.
    pub(crate) ends_in_hole: bool,
    /// The epochs of the batches that were read, from where the first of them begins. That of the first batch behind a
    /// hole is there in any case.
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
}

/// What a batch is that is not good.
enum Fault {
    /// Changed on the disk; what follows is good.
    Hole(Damage),
    /// Changed on the disk, and nothing that follows can be kept.
    End(Damage),
    Torn,
}

impl Segment {
    /// Opens a segment that may reach beyond the recovery point. `before_cut` is called before something is cut off, to take
    /// away what follows.
    pub(crate) fn open(
        place: &Place,
        base: Offset,
        found: Found,
        config: &LogConfig,
        before_cut: &dyn Fn() -> Result<(), LogError>,
    ) -> Result<(Segment, Scanned), LogError> {
        let segment = Segment::unread(place, base, config)?;
        if found.last_stop != LastStop::Clean {
            segment.doubt();
        }
        let reach = segment.reach();
        segment.next.store(found.next.map_or(reach, |next| next.min(reach)).0, Ordering::Release);
        let mut start = match segment.resume(found) {
            Ok(start) => start,
            Err(LogError::Damaged { what, .. }) => {
                tracing::warn!(segment = %segment.log_path().display(), what, "rebuilding the indexes of a segment");
                segment.resume_at_start()?
            }
            Err(error) => return Err(error),
        };
        start.before.epoch = start.before.epoch.max(found.epoch);
        let scanned = segment.recover(start, found, before_cut)?;
        Ok((segment, scanned))
    }

    /// An earlier process may have left bytes that are not on the disk.
    fn doubt(&self) {
        let inner = self.inner.read();
        [&self.file, inner.offsets.handle(), inner.times.handle()].iter().for_each(|handle| handle.doubt());
    }

    /// Takes from the indexes what lies below the recovery point; returns where to begin to read. What does not fit is
    /// [`LogError::Damaged`].
    fn resume(&self, found: Found) -> Result<Walk, LogError> {
        let damaged = |what: &str| Err(LogError::damaged(&self.log_path(), what));
        let mut inner = self.inner.write();
        inner.offsets.read()?;
        inner.times.read()?;
        let size = self.size();
        if size == 0 {
            let is_empty = inner.offsets.last().is_none() && inner.times.last().is_none();
            return if is_empty {
                Ok(self.walk_from_start())
            } else {
                damaged("indexes of an empty segment have entries")
            };
        }
        if found.last_stop == LastStop::Unknown {
            // The index of the segment that grew need not have been on the disk.
            drop(inner);
            return self.resume_at_start();
        }
        inner.offsets.check_order()?;
        inner.times.check_order()?;
        let below = found.recovery_point.0.saturating_sub(self.base.0);
        inner.offsets.keep(|entry| i64::from(entry.relative) < below)?;
        inner.times.keep(|entry| i64::from(entry.relative) < below)?;
        let last = inner.offsets.last();
        drop(inner);
        match last {
            Some(last) if u64::from(last.position) >= size => damaged("offset index points behind the end"),
            Some(last) if last.position > 0 => self.resume_at(last),
            _ => self.resume_at_first(),
        }
    }

    fn resume_at(&self, last: OffsetEntry) -> Result<Walk, LogError> {
        let damaged = |what: &str| Err(LogError::damaged(&self.log_path(), what));
        let position = u64::from(last.position);
        let Ok(Some(at)) = self.find(position, |_| true) else { return damaged("offset index leads to no batch") };
        let Ok(Some(first)) = self.find(0, |_| true) else { return damaged("the first batch cannot be read") };
        if at.position != position || at.header.base_offset.0 > self.base.0 + i64::from(last.relative) {
            return damaged("offset index leads to another batch");
        }
        let file = self.file.get()?;
        let before = self.before(&file, &self.inner.read().offsets, position)?;
        if before.admits(&at.header, self.next_offset()).is_err() {
            return damaged("leads to a batch that contradicts the one before it");
        }
        let mut inner = self.inner.write();
        let relative = at.header.base_offset.0 - self.base.0;
        let times = inner.times.last_where(|entry| i64::from(entry.relative) < relative)?;
        inner.reset(self.base);
        inner.take_times(self.base, times);
        inner.first_timestamp = Some(first.header.max_timestamp);
        inner.resumed_at = Some(position);
        Ok(Walk::from(position, before))
    }

    /// Indexes that have entries for the first batch only, or none.
    fn resume_at_first(&self) -> Result<Walk, LogError> {
        let mut inner = self.inner.write();
        inner.reset(self.base);
        inner.resumed_at = inner.offsets.last().map(|entry| u64::from(entry.position));
        Ok(self.walk_from_start())
    }

    /// The indexes are built anew.
    fn resume_at_start(&self) -> Result<Walk, LogError> {
        let mut inner = self.inner.write();
        inner.offsets.clear()?;
        inner.times.clear()?;
        inner.reset(self.base);
        Ok(self.walk_from_start())
    }

    fn walk_from_start(&self) -> Walk {
        Walk::from(0, Before { next: self.base, epoch: LeaderEpoch::NONE })
    }

    /// Reads, checks and indexes everything from `walk` on; cuts what is torn.
    fn recover(
        &self,
        mut walk: Walk,
        found: Found,
        before_cut: &dyn Fn() -> Result<(), LogError>,
    ) -> Result<Scanned, LogError> {
        let mut scanned = Scanned::default();
        let size = self.size();
        while walk.reached < size {
            let Some((position, why)) = self.read_on(&mut walk, &mut scanned)? else { break };
            match self.judge(position, walk.before, found)? {
                Fault::Hole(hole) => {
                    walk = Walk::from(hole.bytes.end, Before { next: hole.offsets.end, ..walk.before });
                    self.add_damage(hole, &why);
                }
                Fault::End(hole) => {
                    self.end_in(hole, before_cut, &why)?;
                    scanned.ends_in_hole = true;
                    return Ok(scanned);
                }
                Fault::Torn => {
                    let cut_bytes = size - position;
                    tracing::warn!(segment = %self.log_path().display(), position, cut_bytes, why, "cutting a torn tail");
                    before_cut()?;
                    self.cut_at(position, walk.before.next)?;
                    self.next.store(walk.before.next.0, Ordering::Release);
                    scanned.is_cut = true;
                    return Ok(scanned);
                }
            }
        }
        self.next.store(walk.before.next.0, Ordering::Release);
        self.recover_missing(&mut scanned, found, before_cut)?;
        Ok(scanned)
    }

    /// What the batch at `position`, which is not good, has to be taken for.
    fn judge(&self, position: u64, before: Before, found: Found) -> Result<Fault, LogError> {
        let is_power_loss = found.last_stop == LastStop::Unknown;
        let was_flushed = before.next < found.recovery_point;
        if is_power_loss && !was_flushed {
            return Ok(Fault::Torn);
        }
        let Some(hole) = self.measure(position, before, self.extent(), None)? else { return Ok(Fault::Torn) };
        let is_followed = hole.bytes.end < self.size() || found.next.is_some();
        let is_newer = is_power_loss && hole.offsets.end > found.recovery_point;
        Ok(match is_followed && !is_newer {
            true => Fault::Hole(hole),
            false if was_flushed && found.recovery_point <= self.reach() => {
                Fault::End(Damage { bytes: position..self.size(), offsets: before.next..found.recovery_point, ..hole })
            }
            false => Fault::Torn,
        })
    }

    /// All batches are good; looks whether some are missing behind the last one.
    fn recover_missing(
        &self,
        scanned: &mut Scanned,
        found: Found,
        before_cut: &dyn Fn() -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let reached = self.next_offset();
        let is_gap =
            found.last_stop == LastStop::Unknown && found.adjoins && found.next.is_some_and(|next| next > reached);
        let is_short = found.next.is_none() && found.told > reached;
        let was_flushed = reached < found.recovery_point && found.recovery_point <= self.reach();
        if was_flushed && (is_gap || is_short) {
            let size = self.size();
            let hole = Damage { base: self.base, bytes: size..size, offsets: reached..found.recovery_point };
            self.end_in(hole, before_cut, "the file ends before records that were on the disk")?;
            scanned.ends_in_hole = true;
        } else if is_gap {
            let next = found.next.map(|next| next.0);
            tracing::warn!(segment = %self.log_path().display(), end = reached.0, next, "cutting the log behind this segment: what came next was not on the disk");
            before_cut()?;
            scanned.is_cut = true;
        }
        Ok(())
    }

    /// Has the segment, and the log, end in a hole that reaches up to the recovery point. Without bytes it begins where
    /// something is cut off, or missing.
    pub(super) fn end_in(
        &self,
        mut hole: Damage,
        before_cut: &dyn Fn() -> Result<(), LogError>,
        why: &str,
    ) -> Result<(), LogError> {
        if hole.bytes.is_empty() {
            let start = hole.bytes.start;
            hole.bytes.end = start + STAND_IN.len() as u64;
            // Before anything goes, so that the log looks whole at no time.
            let file = self.file.get_for_writing()?;
            file.write_all_at(&STAND_IN, start).map_err(LogError::io("write", &self.log_path()))?;
            self.set_len(hole.bytes.end)?;
            self.inner.write().offsets.keep(|entry| u64::from(entry.position) < start)?;
        }
        let relative = hole.offsets.start.0 - self.base.0;
        self.inner.write().times.keep(|entry| i64::from(entry.relative) < relative)?;
        self.next.store(hole.offsets.end.0, Ordering::Release);
        self.add_damage(hole, why);
        // The segment that begins behind it hides that anything is missing, so this has to be on the disk before.
        self.seal()?;
        self.sync()?;
        before_cut()
    }

    /// Whether it ends in a hole, so that it can take no batches: nobody knows where they would have to begin.
    pub(crate) fn ends_in_hole(&self) -> bool {
        self.checked.damage().last().is_some_and(|hole| hole.bytes.end >= self.size())
    }

    /// Indexes tell of offsets in 31 bits, so what claims more than that was never written here.
    fn reach(&self) -> Offset {
        Offset(self.base.0.saturating_add(i64::from(i32::MAX) + 1))
    }

    /// Reads good batches, up to one that is not.
    fn read_on(&self, walk: &mut Walk, scanned: &mut Scanned) -> Result<Option<(u64, String)>, LogError> {
        let start = walk.reached;
        let limit = self.next_offset();
        let (mut failure, mut suspect) = (None, None);
        // The last batch is believed when the next one fits to it: its offset and epoch have no checksum.
        let mut last: Option<(u64, BatchHeader, LeaderEpoch)> = None;
        let mut is_first = true;
        let mut believe = |(position, header, epoch): (u64, BatchHeader, LeaderEpoch)| {
            if std::mem::take(&mut is_first) || header.leader_epoch > epoch {
                scanned.epochs.push((header.leader_epoch, header.base_offset));
            }
            self.index(&mut self.inner.write(), position, &header, self.index_interval)
        };
        let tail = scan::checked(&*self.file.get()?, start, self.size(), |position, header| {
            let epoch = walk.before.epoch;
            walk.step(position, header, limit).inspect_err(|_| suspect = walk.suspect(header, limit))?;
            match last.replace((position, *header, epoch)).map_or(Ok(()), &mut believe) {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(error) => {
                    failure = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        match suspect {
            Some(_) => walk.step_back(),
            None => last.map_or(Ok(()), believe)?,
        }
        self.checked.note(start..walk.reached);
        match tail.map_err(LogError::io("read", &self.log_path()))? {
            Tail::Whole => Ok(None),
            Tail::Damaged { position, why } => Ok(Some((suspect.unwrap_or(position), why))),
        }
    }

    /// Cuts the file at a border behind which nothing is good, and the indexes so that they tell of offsets below `next`.
    fn cut_at(&self, position: u64, next: Offset) -> Result<(), LogError> {
        self.set_len(position)?;
        let mut inner = self.inner.write();
        inner.offsets.keep(|entry| u64::from(entry.position) < position)?;
        inner.times.keep(|entry| i64::from(entry.relative) < next.0 - self.base.0)
    }

    /// Cuts the segment at the batch that holds `offset`. Only what lies behind the last index entry that stays is read.
    pub(crate) fn truncate_to(&self, offset: Offset, config: &LogConfig) -> Result<(), LogError> {
        let found = self.around_damage(|| self.locate(offset))?;
        let hole = self.checked.damage_at(offset).map(|hole| (hole.bytes.start, hole.offsets.start));
        let found = hole.or(found.map(|found| (found.position, found.header.base_offset)));
        // Nothing lies there, but a closed segment counts the gap behind its records, too.
        let Some((position, base)) = found else { return self.load_tail(config) };
        self.set_len(position)?;
        {
            let mut inner = self.inner.write();
            inner.offsets.keep(|entry| u64::from(entry.position) < position)?;
            inner.times.keep(|entry| i64::from(entry.relative) < base.0.saturating_sub(self.base.0))?;
        }
        self.load_tail(config)
    }

    /// Cuts the file at a batch border and has the indexes tell of nothing behind it.
    pub(super) fn reset_to(&self, len: u64, config: &LogConfig) -> Result<(), LogError> {
        self.set_len(len)?;
        self.inner.write().offsets.keep(|entry| u64::from(entry.position) < len)?;
        self.load_tail(config)?;
        let next = self.next_offset().0 - self.base.0;
        self.inner.write().times.keep(|entry| i64::from(entry.relative) < next)?;
        self.load_tail(config)
    }

    /// Looks at the headers from the last index entry on, to learn what indexes do not tell. The segment grows from here.
    fn load_tail(&self, config: &LogConfig) -> Result<(), LogError> {
        let start = {
            let mut inner = self.inner.write();
            inner.reset(self.base);
            let times = inner.times.last();
            inner.take_times(self.base, times);
            let start = inner.offsets.last().map_or(0, |last| u64::from(last.position));
            inner.resumed_at = inner.offsets.last().map(|_| start);
            start
        };
        let mut next = self.base;
        let mut failure = None;
        self.for_each_header(start, |position, header: &BatchHeader| {
            next = header.next_offset();
            if failure.is_none() {
                failure = self.index(&mut self.inner.write(), position, header, config.index_interval_bytes).err();
            }
        })?;
        let last_hole = self.checked.damage().last().map_or(self.base, |hole| hole.offsets.end);
        self.next.store(next.max(last_hole).0, Ordering::Release);
        if start > 0 {
            let first = self.find(0, |_| true)?;
            self.inner.write().first_timestamp = first.map(|found| found.header.max_timestamp);
        }
        failure.map_or(Ok(()), Err)
    }

    fn set_len(&self, len: u64) -> Result<(), LogError> {
        self.size.store(len, Ordering::Release);
        self.checked.cut(len);
        let file = self.file.get_for_writing()?;
        file.set_len(len).map_err(LogError::io("truncate", &self.log_path()))
    }
}
