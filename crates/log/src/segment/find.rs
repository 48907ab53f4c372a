//! Finding batches: by offset, by time, one after the other.
//!
//! Picture: an index entry says where to begin, the headers from there on say the rest. What an index says is believed only
//! as far as the headers bear it out: the batch where an entry leads must be a batch, and not lie behind what is
//! wanted. If it does not fit, either the batch is damaged or the index. The way from the entry before tells: where it
//! arrives at this very position, a batch was there.
//!
//! Damaged stretches that are known are passed over. Not here: what is done about new ones (`partition_log::damage`).

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use twinstream_model::Offset;
use twinstream_protocol::batch::{BatchHeader, NO_TIMESTAMP};

use super::scan::{self, Tail};
use super::{Located, Segment};
use crate::LogError;
use crate::page_cache::Patience;

impl Segment {
    /// Fails if waiting may be needed and is not wanted.
    pub(crate) fn may_wait(&self, patience: Patience) -> Result<(), LogError> {
        match patience {
            Patience::Waits => Ok(()),
            Patience::Refuses => Err(LogError::io("read", &self.log_path())(io::ErrorKind::WouldBlock.into())),
        }
    }

    /// The batch that holds `offset`, or the first one behind it.
    pub(crate) fn locate(&self, offset: Offset) -> Result<Option<Located>, LogError> {
        self.locate_with(Patience::Waits, offset)
    }

    pub(crate) fn locate_with(&self, patience: Patience, offset: Offset) -> Result<Option<Located>, LogError> {
        self.ensure_loaded(patience)?;
        if let Some(recent) = self.inner.read().find_recent(offset) {
            return Ok(Some(recent));
        }
        match self.locate_by_index(offset, patience)? {
            Lookup::Found(found) => Ok(found),
            Lookup::Odd(position) => {
                self.may_wait(patience)?;
                self.mend_index(position)?;
                match self.locate_by_index(offset, patience)? {
                    Lookup::Found(found) => Ok(found),
                    Lookup::Odd(position) => Err(self.damaged_batch(position, "its offset does not fit".to_owned())),
                }
            }
        }
    }

    fn locate_by_index(&self, offset: Offset, patience: Patience) -> Result<Lookup, LogError> {
        let relative = offset.0.saturating_sub(self.base.0);
        let entry = self.inner.read().offsets.floor(patience, relative)?;
        let from = entry.map_or(0, |entry| u64::from(entry.position));
        // The last offset of a batch that lies here or behind.
        let key = entry.map(|entry| Offset(self.base.0 + i64::from(entry.relative)));
        let size = self.size();
        let limit = self.next_offset(); // after the size, so that no batch lies above it
        let (mut first, mut found, mut misplaced) = (None, None, None);
        let (mut next, mut met_key) = (self.base, key.is_none());
        let walked = self.walk(from, size, patience, |position, header| {
            first.get_or_insert((position, header.base_offset));
            if header.base_offset < next || header.next_offset() > limit {
                misplaced = Some(position);
                return ControlFlow::Break(());
            }
            next = header.next_offset();
            met_key |= Some(header.last_offset()) == key;
            if header.last_offset() < offset {
                return ControlFlow::Continue(());
            }
            found = Some(Located { position, header: *header });
            ControlFlow::Break(())
        });
        let is_odd = match (first, &walked) {
            (None, Err(LogError::DamagedBatch { position, .. })) => *position == from,
            (Some((position, base)), _) => position == from && base > offset,
            (None, _) => false,
        };
        if is_odd && from > 0 {
            return Ok(Lookup::Odd(from));
        }
        if let Some(position) = misplaced {
            return Err(self.damaged_batch(position, "its offsets do not fit".to_owned()));
        }
        let passed = |found: &Located| self.damage_in(&(from..found.position)).is_some();
        if found.is_some_and(|found| !met_key && !passed(&found)) {
            // The batch of the entry may have another offset now, and be passed over.
            self.may_wait(patience)?;
            if self.diagnose(from, None)?.is_some() {
                return Err(self.damaged_batch(from, "its offsets do not fit".to_owned()));
            }
        }
        walked.map(|()| Lookup::Found(found))
    }

    /// An index entry led to `position`, where no batch is that fits. Builds the index anew, unless it is the batch.
    fn mend_index(&self, position: u64) -> Result<(), LogError> {
        let before = self.inner.read().offsets.last_where(|entry| u64::from(entry.position) < position)?;
        let from = before.map_or(0, |entry| u64::from(entry.position));
        let mut arrives = false;
        let walked = self.walk(from, self.size(), Patience::Waits, |at, _| {
            arrives = at == position;
            if at < position { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match walked {
            Err(LogError::DamagedBatch { position: at, what, .. }) if at == position => {
                Err(self.damaged_batch(position, what))
            }
            Ok(()) if arrives => Err(self.damaged_batch(position, "its offset does not fit".to_owned())),
            _ => self.rebuild_indexes("it does not lead to batches"),
        }
    }

    /// The first batch from `position` on, a border, of which `wanted` holds.
    pub(crate) fn find(
        &self,
        position: u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<Located>, LogError> {
        let mut found = None;
        self.walk(position, self.size(), Patience::Waits, |position, header| match wanted(header) {
            true => {
                found = Some(Located { position, header: *header });
                ControlFlow::Break(())
            }
            false => ControlFlow::Continue(()),
        })?;
        Ok(found)
    }

    /// Calls `each` with the place of every batch from `position` on, a border. Damage that is met is marked and passed
    /// over; so only for who has the segment alone: whoever opens or cuts the log.
    pub(crate) fn for_each_header(
        &self,
        mut position: u64,
        mut each: impl FnMut(u64, &BatchHeader),
    ) -> Result<(), LogError> {
        loop {
            let walked = self.walk(position, self.size(), Patience::Waits, |at, header| {
                each(at, header);
                ControlFlow::Continue(())
            });
            let Err(LogError::DamagedBatch { position: bad, what, .. }) = walked else { return walked };
            position = self.mark(bad, what)?;
        }
    }

    /// Looks for something; damage that is in the way is marked, and the search goes around it. Only for who has the segment
    /// alone.
    pub(crate) fn around_damage<T>(&self, look: impl Fn() -> Result<T, LogError>) -> Result<T, LogError> {
        let mut met = None;
        loop {
            match look() {
                Err(LogError::DamagedBatch { position, what, .. }) if met != Some(position) => {
                    self.mark(position, what)?;
                    met = Some(position);
                }
                found => return found,
            }
        }
    }

    /// Marks the damage at a position; returns where it ends.
    fn mark(&self, position: u64, why: String) -> Result<u64, LogError> {
        match self.diagnose(position, None)? {
            Some(damage) => {
                let end = damage.bytes.end;
                self.add_damage(damage, &why);
                Ok(end)
            }
            None => Err(self.damaged_batch(position, why)),
        }
    }

    /// Visits the headers from `position` to `end`, without those that are known to be damaged.
    pub(super) fn walk(
        &self,
        mut position: u64,
        end: u64,
        patience: Patience,
        mut visit: impl FnMut(u64, &BatchHeader) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        if position >= end {
            return Ok(());
        }
        let file = patience.open(&self.file)?;
        let mut stopped = false;
        for hole in self.checked.damage() {
            if hole.bytes.end <= position {
                continue;
            }
            if stopped || hole.bytes.start >= end {
                break;
            }
            self.walk_whole(&file, position, hole.bytes.start, patience, |at, header| {
                let next = visit(at, header);
                stopped = next.is_break();
                next
            })?;
            position = position.max(hole.bytes.end);
        }
        if stopped {
            return Ok(());
        }
        self.walk_whole(&file, position, end, patience, visit)
    }

    fn walk_whole(
        &self,
        file: &File,
        position: u64,
        end: u64,
        patience: Patience,
        mut visit: impl FnMut(u64, &BatchHeader) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let failed = |error| LogError::io("read", &self.log_path())(error);
        let mut last = None;
        let tail = scan::headers_with(patience, file, position, end, |at, header| {
            last = Some((at, header.len));
            visit(at, header)
        });
        let Tail::Damaged { position, why } = tail.map_err(failed)? else { return Ok(()) };
        // If the length of the batch before is what is wrong, no batch ever began here.
        self.may_wait(patience)?;
        if let Some((at, len)) = last {
            let before = scan::checked(file, at, at + len as u64, |_, _| Ok(ControlFlow::Continue(())));
            if let Tail::Damaged { position, why } = before.map_err(failed)? {
                return Err(self.damaged_batch(position, why));
            }
        }
        Err(self.damaged_batch(position, why))
    }

    pub(super) fn damaged_batch(&self, position: u64, what: String) -> LogError {
        LogError::DamagedBatch { path: self.log_path(), position, what }
    }

    /// The largest timestamp and the last offset of its batch, `None` without records or timestamps.
    pub(crate) fn max_timestamp(&self) -> Result<Option<(i64, Offset)>, LogError> {
        self.ensure_loaded(Patience::Waits)?;
        let inner = self.inner.read();
        Ok((inner.max_timestamp != NO_TIMESTAMP).then_some((inner.max_timestamp, inner.max_timestamp_offset)))
    }

    /// A position at or before the first batch with a timestamp of at least `timestamp`.
    pub(crate) fn floor_position_by_time(&self, timestamp: i64) -> Result<u64, LogError> {
        self.ensure_loaded(Patience::Waits)?;
        match self.position_by_time(timestamp)? {
            Some(position) => Ok(position),
            None => {
                self.rebuild_indexes("timestamps are not those of the records")?;
                Ok(self.position_by_time(timestamp)?.unwrap_or(0))
            }
        }
    }

    /// `None` if the entry is not borne out by the batch that it names.
    fn position_by_time(&self, timestamp: i64) -> Result<Option<u64>, LogError> {
        // Up to the entry's offset all timestamps are at most the entry's, which is below the wanted one.
        let entry = self.inner.read().times.floor(Patience::Waits, timestamp.saturating_sub(1))?;
        let Some(entry) = entry else { return Ok(Some(0)) };
        let offset = Offset(self.base.0 + i64::from(entry.relative));
        if let Some(hole) = self.checked.damage_at(offset) {
            return Ok(Some(hole.bytes.end)); // the batch that would bear it out is damaged
        }
        let found = self.locate(offset)?;
        Ok(found.filter(|found| found.header.max_timestamp == entry.timestamp).map(|found| found.position))
    }

    /// The position of a batch about `bytes` before the end, for a look at the latest batches.
    pub(crate) fn position_before_end(&self, bytes: u64) -> Result<u64, LogError> {
        self.ensure_loaded(Patience::Waits)?;
        let wanted = self.size.load(Ordering::Acquire).saturating_sub(bytes);
        let entry = self.inner.read().offsets.last_where(|entry| u64::from(entry.position) <= wanted)?;
        let Some(entry) = entry else { return Ok(0) };
        let found = self.locate(Offset(self.base.0 + i64::from(entry.relative)))?;
        Ok(found.map_or(0, |found| found.position))
    }
}

enum Lookup {
    Found(Option<Located>),
    /// The index leads to this position, and no batch that fits is there.
    Odd(u64),
}
