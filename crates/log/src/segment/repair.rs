//! Bringing a segment into order whose end may be torn, and cutting one.
//!
//! Picture: below the recovery point everything was on the disk once; what the last owner wrote behind it is read to the
//! last byte. The index leads to where that begins, if it can be believed, and is built anew from there on.
//!
//! ```text
//!   batches   | good | good | hole | good | good | torn
//!   index       ^entry  ^recovery point           ^ cut here
//! ```
//! A batch that is not whole with nothing good behind it is a torn tail and is cut. With good batches behind it, it was
//! changed on the disk, and is kept as a hole that nobody can read until it is repaired; except that after the machine
//! went down, what lies behind a hole above the recovery point may be older than the hole, so it is cut, too.

use std::ops::ControlFlow;

use twinstream_model::{LeaderEpoch, Offset};
use twinstream_protocol::batch::BatchHeader;

use super::check::{Before, Walk};
use super::scan::{self, Tail};
use super::{Ordering, Segment};
use crate::index::OffsetEntry;
use crate::open_files::Place;
use crate::{Damage, LastStop, LogConfig, LogError};

/// What is known of a segment before it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) recovery_point: Offset,
    pub(crate) last_stop: LastStop,
    /// Where the next segment begins, if there is one.
    pub(crate) next: Option<Offset>,
    /// The newest epoch of the segments before it, as far as they were read: the first batch has to fit to it, too.
    pub(crate) epoch: LeaderEpoch,
}

/// What a look at a segment brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Bytes that were cut off its end.
    pub(crate) cut_bytes: u64,
    /// The epochs of the batches that were read, from where the first of them begins.
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
    /// Whether some of it could not be read.
    pub(crate) has_holes: bool,
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
        // Indexes tell of offsets in 31 bits, so what claims more than that was never written here.
        let reach = base.0.saturating_add(i64::from(i32::MAX) + 1);
        segment.next.store(found.next.map_or(reach, |next| next.0.min(reach)), Ordering::Release);
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
            let may_keep = found.last_stop != LastStop::Unknown || walk.before.next < found.recovery_point;
            let hole = if may_keep { self.hole_at(position, walk.before, found)? } else { None };
            match hole {
                Some(hole) => {
                    walk = Walk::from(hole.bytes.end, Before { next: hole.offsets.end, ..walk.before });
                    self.add_damage(hole, &why);
                    scanned.has_holes = true;
                }
                None => {
                    scanned.cut_bytes = size - position;
                    tracing::warn!(segment = %self.log_path().display(), position, cut_bytes = scanned.cut_bytes, why, "cutting a torn tail");
                    before_cut()?;
                    self.cut_at(position, walk.before.next)?;
                    break;
                }
            }
        }
        self.next.store(walk.before.next.0, Ordering::Release);
        Ok(scanned)
    }

    /// Reads good batches, up to one that is not.
    fn read_on(&self, walk: &mut Walk, scanned: &mut Scanned) -> Result<Option<(u64, String)>, LogError> {
        let start = walk.reached;
        let limit = self.next_offset();
        let (mut failure, mut suspect) = (None, None);
        // The last batch is believed when the next one fits to it: its offset and epoch have no checksum.
        let mut last: Option<(u64, BatchHeader, LeaderEpoch)> = None;
        let mut believe = |(position, header, epoch): (u64, BatchHeader, LeaderEpoch)| {
            if scanned.epochs.is_empty() || header.leader_epoch > epoch {
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

    /// The damage at a position, if good batches follow, here or in the next segment.
    fn hole_at(&self, position: u64, before: Before, found: Found) -> Result<Option<Damage>, LogError> {
        let damage = self.measure(position, before, self.extent(), None)?;
        Ok(damage.filter(|damage| damage.bytes.end < self.size() || found.next.is_some()))
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
