//! Bytes that are not known to be good are checked, and what is wrong is measured.
//!
//! Picture: the checksum of a batch covers its records but not its place: offset, length and epoch are the broker's. So a
//! check also holds each batch against its neighbours: offsets and epochs ascend from batch to batch and stay below where
//! the segment ends. In a log without gaps that finds every changed offset.
//!
//! Where a batch is bad, its length may be what is bad. The next good batch is then looked for byte by byte; what makes it
//! good is its checksum and an offset in range. All between the last good batch and that one is the damage.
//!
//! Invariants: nothing here changes a file. Not here: what is done about damage (`partition_log::damage`).

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;

use twinstream_model::{LeaderEpoch, Offset};
use twinstream_protocol::batch::{BatchHeader, HEADER_BYTES, MAGIC};

use super::scan::{self, Tail};
use super::{Ordering, Segment};
use crate::checked::Damage;
use crate::index::{Index, OffsetEntry, TimeEntry};
use crate::page_cache::Patience;
use crate::{LogError, files};

/// Bytes that are read at once in search of the next good batch.
const SEARCH_BYTES: usize = 1 << 20;
/// Where the magic byte of a batch lies.
const MAGIC_AT: usize = 16;

/// What a batch has to fit to: what came before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) next: Offset,
    pub(super) epoch: LeaderEpoch,
}

/// How far a segment reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) size: u64,
    pub(super) next: Offset,
}

/// How far a check came.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Everything up to here is good.
    Good(u64),
    /// The batch here, or the one before it, is not.
    Bad { position: u64, why: String },
}

impl Segment {
    pub(crate) fn is_checked(&self, bytes: &Range<u64>) -> bool {
        self.checked.covers(bytes)
    }

    /// Reads and checks whole batches from `bytes.start`, a border, until `bytes.end` is reached. What is good is noted.
    /// `behind` is the first batch of the next segment, if there is one.
    pub(crate) fn check(&self, bytes: Range<u64>, behind: Option<&BatchHeader>) -> Result<Verdict, LogError> {
        self.check_with(bytes, behind, |_, _| {})
    }

    /// Like [`Segment::check`]; `visit` sees the good batches.
    pub(crate) fn check_with(
        &self,
        bytes: Range<u64>,
        behind: Option<&BatchHeader>,
        mut visit: impl FnMut(u64, &BatchHeader),
    ) -> Result<Verdict, LogError> {
        let file = self.file.get()?;
        let size = self.size();
        let limit = self.next_offset(); // after the size, so that no batch lies above it
        self.ensure_loaded(Patience::Waits)?;
        let before = self.before(&file, &self.inner.read().offsets, bytes.start)?;
        let mut walk = Walk::from(bytes.start, before);
        let mut suspect = None;
        let tail = scan::checked(&file, bytes.start, size, |position, header| {
            walk.step(position, header, limit).inspect_err(|_| suspect = walk.suspect(header, limit))?;
            visit(position, header);
            Ok(if walk.reached < bytes.end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        let mut bad = match tail.map_err(LogError::io("read", &self.log_path()))? {
            Tail::Damaged { position, why } => Some((suspect.unwrap_or(position), why)),
            Tail::Whole => None,
        };
        if bad.is_none() {
            // The neighbour behind the range may tell that the last batch of the range is wrong.
            let contradicted = |walk: &Walk, header: &BatchHeader, limit: Offset| {
                walk.suspect(header, limit).map(|position| (position, "the next batch contradicts it".to_owned()))
            };
            self.first_header(&file, walk.reached, size, |header| bad = contradicted(&walk, header, limit))?;
            if let Some(behind) = behind.filter(|_| walk.reached == size) {
                bad = contradicted(&walk, behind, behind.next_offset());
            }
        }
        let good = bad.as_ref().map_or(walk.reached, |(position, _)| *position);
        self.checked.note(bytes.start..good);
        Ok(bad.map_or(Verdict::Good(good), |(position, why)| Verdict::Bad { position, why }))
    }

    fn first_header(
        &self,
        file: &File,
        at: u64,
        size: u64,
        mut look: impl FnMut(&BatchHeader),
    ) -> Result<(), LogError> {
        let tail = scan::headers(file, at, size, |_, header| {
            look(header);
            ControlFlow::Break(())
        });
        tail.map(|_| ()).map_err(LogError::io("read", &self.log_path()))
    }

    /// Holds the index entries that lead to these batches, which adjoin and are good, against them; an index that does not
    /// fit is built anew.
    pub(crate) fn check_index_entries(&self, batches: &[(u64, BatchHeader)]) -> Result<(), LogError> {
        let Some(((start, first), (end, last))) = batches.first().zip(batches.last()) else { return Ok(()) };
        let relative = |offset: Offset| offset.0 - self.base.0;
        let end = end + last.len as u64; // an entry may lead into the middle of the last batch
        let (offsets, times) = {
            let inner = self.inner.read();
            let ascend = || -> Result<bool, LogError> {
                let positions = inner.offsets.between(|_| false, |_| true)?;
                let relatives = inner.times.between(|_| false, |_| true)?;
                Ok(inner.offsets.check_order().is_ok()
                    && inner.times.check_order().is_ok()
                    && positions.is_sorted_by_key(|entry| entry.position)
                    && relatives.is_sorted_by_key(|entry| entry.relative))
            };
            if *start == 0 && !ascend()? {
                drop(inner);
                return self.rebuild_indexes("its entries do not ascend");
            }
            let offsets = inner
                .offsets
                .between(|entry| u64::from(entry.position) < *start, |entry| u64::from(entry.position) < end)?;
            let times = inner.times.between(
                |entry| i64::from(entry.relative) < relative(first.base_offset),
                |entry| i64::from(entry.relative) <= relative(last.last_offset()),
            )?;
            (offsets, times)
        };
        let leads_well = |entry: &OffsetEntry| {
            let at = batches.binary_search_by_key(&u64::from(entry.position), |(position, _)| *position);
            at.is_ok_and(|at| relative(batches[at].1.base_offset) <= i64::from(entry.relative))
        };
        let tells_well = |entry: &TimeEntry| {
            let at = batches.partition_point(|(_, header)| relative(header.last_offset()) < i64::from(entry.relative));
            batches.get(at).is_some_and(|(_, header)| header.max_timestamp == entry.timestamp)
        };
        match offsets.iter().all(leads_well) && times.iter().all(tells_well) {
            true => Ok(()),
            false => self.rebuild_indexes("it does not fit the records"),
        }
    }

    /// Puts good bytes in place of damaged ones; false if they do not fit either. At the end of a segment that takes no more
    /// batches they may be more or fewer.
    pub(crate) fn splice(&self, damage: &Damage, good: &[u8], behind: Option<&BatchHeader>) -> Result<bool, LogError> {
        let file = self.file.get_for_writing()?;
        let path = self.log_path();
        file.write_all_at(good, damage.bytes.start).map_err(LogError::io("write", &path))?;
        let end = damage.bytes.start + good.len() as u64;
        let damage = match end == damage.bytes.end {
            true => damage.clone(),
            false => {
                file.set_len(end).map_err(LogError::io("write", &path))?;
                self.end_at(damage, end)
            }
        };
        self.file.sync()?;
        self.checked.clear_damage(&damage);
        match self.check(damage.bytes.start..end, behind)? {
            Verdict::Good(reached) if reached >= end => Ok(true),
            _ => {
                self.add_damage(damage, "what another replica has does not fit");
                Ok(false)
            }
        }
    }

    /// Has the damage and the segment end at `end`. Who looks meanwhile sees damage that reaches to the end in any case.
    fn end_at(&self, damage: &Damage, end: u64) -> Damage {
        let widest = self.checked.resize_damage(damage, end.max(damage.bytes.end));
        self.size.store(end, Ordering::Release);
        self.checked.resize_damage(&widest, end)
    }

    /// What the batch at `position` follows: the one before it, if the index leads there.
    pub(super) fn before(&self, file: &File, offsets: &Index<OffsetEntry>, position: u64) -> Result<Before, LogError> {
        let nothing = Before { next: self.base, epoch: LeaderEpoch::NONE };
        if position == 0 {
            return Ok(nothing);
        }
        let entry = offsets.last_where(|entry| u64::from(entry.position) < position)?;
        let mut from = entry.map_or(0, |entry| u64::from(entry.position));
        let mut before = nothing;
        // What a damaged batch says counts for nothing.
        let known = self.checked.damage();
        if let Some(hole) = known.iter().rev().find(|hole| hole.bytes.end <= position && hole.bytes.end > from) {
            (from, before.next) = (hole.bytes.end, hole.offsets.end);
        }
        let tail = scan::headers(file, from, position, |_, header| {
            before = before.then(header);
            ControlFlow::Continue(())
        });
        match tail.map_err(LogError::io("read", &self.log_path()))? {
            Tail::Whole => Ok(before),
            // The way there is damaged or the index is: nothing is known of the neighbour.
            Tail::Damaged { .. } => Ok(nothing),
        }
    }

    /// Measures the damage at `position`, a border; `None` if there is none.
    pub(crate) fn diagnose(&self, position: u64, behind: Option<&BatchHeader>) -> Result<Option<Damage>, LogError> {
        self.ensure_loaded(Patience::Waits)?;
        let file = self.file.get()?;
        let (before, extent) = {
            let inner = self.inner.read();
            (self.before(&file, &inner.offsets, position)?, self.extent())
        };
        self.measure(position, before, extent, behind)
    }

    /// Size and next offset, which belong together for who holds `inner`.
    pub(super) fn extent(&self) -> Extent {
        Extent { size: self.size(), next: self.next_offset() }
    }

    /// Like [`Segment::diagnose`], for who holds the index.
    pub(super) fn diagnose_in(
        &self,
        offsets: &Index<OffsetEntry>,
        position: u64,
        behind: Option<&BatchHeader>,
    ) -> Result<Option<Damage>, LogError> {
        let before = self.before(&*self.file.get()?, offsets, position)?;
        self.measure(position, before, self.extent(), behind)
    }

    /// Measures the damage at `position`, of which it is known what comes before.
    pub(super) fn measure(
        &self,
        position: u64,
        before: Before,
        extent: Extent,
        behind: Option<&BatchHeader>,
    ) -> Result<Option<Damage>, LogError> {
        let file = self.file.get()?;
        let Extent { size, next: limit } = extent;
        let mut walk = Walk::from(position, before);
        let tail = scan::checked(&file, position, size, |position, header| {
            walk.step(position, header, limit)?;
            Ok(ControlFlow::Break(()))
        });
        if let Tail::Whole = tail.map_err(LogError::io("read", &self.log_path()))? {
            let mut suspect = None;
            self.first_header(&file, walk.reached, size, |header| suspect = walk.suspect(header, limit))?;
            if let Some(behind) = behind.filter(|_| walk.reached == size) {
                suspect = walk.suspect(behind, behind.next_offset());
            }
            if suspect.is_none() {
                return Ok(None);
            }
        }
        let next = self.next_good(&file, position + 1, before, extent)?;
        let (end, next) = next.map_or((size, limit), |(at, header)| (at, header.base_offset));
        Ok(Some(Damage { base: self.base, bytes: position..end, offsets: before.next..next.max(before.next) }))
    }

    /// The first good batch at or behind `position` that may follow `before`.
    fn next_good(
        &self,
        file: &File,
        mut position: u64,
        before: Before,
        Extent { size, next: limit }: Extent,
    ) -> Result<Option<(u64, BatchHeader)>, LogError> {
        let mut window = vec![0; SEARCH_BYTES.min(usize::try_from(size).unwrap_or(SEARCH_BYTES))];
        while position + HEADER_BYTES as u64 <= size {
            let read =
                files::read_up_to(file, &mut window, position).map_err(LogError::io("read", &self.log_path()))?;
            if read < HEADER_BYTES {
                break;
            }
            for at in 0..=read - HEADER_BYTES {
                let bytes = &window[at..read];
                if bytes[MAGIC_AT] != MAGIC as u8 {
                    continue;
                }
                let Ok(header) = BatchHeader::parse(bytes) else { continue };
                let here = position + at as u64;
                if here + header.len as u64 > size || before.admits(&header, limit).is_err() {
                    continue;
                }
                let mut is_good = false;
                let checked = scan::checked(file, here, size, |_, _| {
                    is_good = true;
                    Ok(ControlFlow::Break(()))
                });
                checked.map_err(LogError::io("read", &self.log_path()))?;
                if is_good {
                    return Ok(Some((here, header)));
                }
            }
            position += (read - HEADER_BYTES + 1) as u64;
        }
        Ok(None)
    }

    /// Marks a stretch as damaged, and says so unless that was known.
    pub(crate) fn add_damage(&self, damage: Damage, why: &str) {
        let (first_offset, end_offset) = (damage.offsets.start.0, damage.offsets.end.0);
        let (position, bytes) = (damage.bytes.start, damage.bytes.end - damage.bytes.start);
        if self.checked.add_damage(damage, self.size()) {
            self.file.note_damage();
            let file = self.log_path();
            let folder = file.parent().and_then(|dir| dir.file_name()).map(|name| name.to_string_lossy().into_owned());
            tracing::error!(
                partition = folder.unwrap_or_default(),
                file = %file.display(),
                position,
                bytes,
                first_offset,
                end_offset,
                why,
                "records on the disk are damaged and not served until another replica repairs them"
            );
        }
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.checked.is_damaged()
    }

    pub(crate) fn damage(&self) -> Vec<Damage> {
        self.checked.damage()
    }

    /// The damage that took this offset.
    pub(crate) fn damage_at(&self, offset: Offset) -> Option<Damage> {
        self.checked.damage_at(offset)
    }

    /// The first damage that these bytes touch.
    pub(crate) fn damage_in(&self, bytes: &Range<u64>) -> Option<Damage> {
        self.checked.damage_in(bytes)
    }
}

/// A way over batches that have to fit to each other.
pub(super) struct Walk {
    pub(super) before: Before,
    /// Where the last batch lies, and what that one followed.
    last: Option<(u64, Before)>,
    /// Where the next batch lies.
    pub(super) reached: u64,
}

impl Walk {
    pub(super) fn from(position: u64, before: Before) -> Walk {
        Walk { before, last: None, reached: position }
    }

    pub(super) fn step(&mut self, position: u64, header: &BatchHeader, limit: Offset) -> Result<(), String> {
        self.before.admits(header, limit)?;
        self.last = Some((position, self.before));
        self.before = self.before.then(header);
        self.reached = position + header.len as u64;
        Ok(())
    }

    /// The last batch, if the next one does not fit to it and would fit without it.
    pub(super) fn suspect(&self, next: &BatchHeader, limit: Offset) -> Option<u64> {
        let (position, before) = self.last?;
        let is_odd = self.before.admits(next, limit).is_err() && before.admits(next, limit).is_ok();
        is_odd.then_some(position)
    }

    /// Takes the last step back.
    pub(super) fn step_back(&mut self) {
        if let Some((position, before)) = self.last.take() {
            (self.reached, self.before) = (position, before);
        }
    }
}

impl Before {
    fn then(self, header: &BatchHeader) -> Before {
        Before { next: header.next_offset(), epoch: self.epoch.max(header.leader_epoch) }
    }

    pub(super) fn admits(&self, header: &BatchHeader, limit: Offset) -> Result<(), String> {
        if header.base_offset < self.next || header.last_offset_delta < 0 || header.next_offset() > limit {
            let (base, end) = (header.base_offset, header.next_offset());
            return Err(format!("offsets {base} to {end} do not fit between {} and {limit}", self.next));
        }
        if header.leader_epoch < self.epoch && header.leader_epoch != LeaderEpoch::NONE {
            return Err(format!("epoch {} follows epoch {}", header.leader_epoch, self.epoch));
        }
        Ok(())
    }
}
