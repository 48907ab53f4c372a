//! Which bytes of a segment this process has checked, and which it knows to be damaged.
//!
//! Picture: most segments need one number. What this process appended or recovered reaches from `from` to the end, so a
//! segment that was made here has `from = 0`. What lies before was written by an earlier process and is checked piece
//! by piece, as readers or the scrub come to it; the pieces are kept until they adjoin.
//!
//! Invariants: ranges are sorted, disjoint and lie below `from`; damage is sorted and disjoint. Both begin and end at
//! batch borders. Forgetting a range only costs another check, so their number is bounded.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use twinstream_model::Offset;

/// Checked pieces that are remembered of one segment.
const RANGES_MAX: usize = 64;
/// Damaged pieces that are kept apart; more grow together with their neighbours.
const DAMAGES_MAX: usize = 64;

/// A stretch of a segment that does not hold what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Of the segment.
    pub base: Offset,
    /// The bytes.
    pub bytes: Range<u64>,
    /// The offsets that are not readable: those between the good batches on either side.
    pub offsets: Range<Offset>,
}

#[derive(Debug)]
pub(crate) struct Checked {
    /// From here on everything is checked.
    from: AtomicU64,
    is_damaged: AtomicBool,
    pieces: Mutex<Pieces>,
}

#[derive(Debug, Default)]
struct Pieces {
    ranges: Vec<Range<u64>>,
    damage: Vec<Damage>,
}

impl Checked {
    /// Nothing below `from` is checked, and everything that comes behind it will be.
    pub(crate) fn from(from: u64) -> Checked {
        Checked { from: AtomicU64::new(from), is_damaged: AtomicBool::new(false), pieces: Mutex::default() }
    }

    /// Whether all these bytes are checked, and good.
    pub(crate) fn covers(&self, bytes: &Range<u64>) -> bool {
        bytes.start >= self.from.load(Ordering::Acquire) || bytes.is_empty() || self.unchecked(bytes).is_none()
    }

    /// The first stretch of these bytes that is not checked.
    pub(crate) fn unchecked(&self, bytes: &Range<u64>) -> Option<Range<u64>> {
        let pieces = self.pieces.lock();
        let end = bytes.end.min(self.from.load(Ordering::Acquire));
        let mut start = bytes.start;
        for range in &pieces.ranges {
            if range.end <= start {
                continue;
            }
            if range.start > start {
                return (start < end).then(|| start..end.min(range.start));
            }
            start = range.end;
        }
        (start < end).then_some(start..end)
    }

    /// These bytes are checked, and good.
    pub(crate) fn note(&self, bytes: Range<u64>) {
        if bytes.is_empty() || bytes.start >= self.from.load(Ordering::Acquire) {
            return;
        }
        let mut pieces = self.pieces.lock();
        let Range { mut start, mut end } = bytes;
        pieces.ranges.retain(|range| {
            let apart = range.end < start || range.start > end;
            if !apart {
                (start, end) = (start.min(range.start), end.max(range.end));
            }
            apart
        });
        let from = self.from.load(Ordering::Acquire);
        if end >= from {
            self.from.store(start.min(from), Ordering::Release);
            return;
        }
        let at = pieces.ranges.partition_point(|range| range.start < start);
        pieces.ranges.insert(at, start..end);
        if pieces.ranges.len() > RANGES_MAX {
            let smallest = (0..pieces.ranges.len()).min_by_key(|i| pieces.ranges[*i].end - pieces.ranges[*i].start);
            smallest.map(|i| pieces.ranges.remove(i));
        }
    }

    /// These bytes are to be checked again; the file has `size` bytes.
    pub(crate) fn forget(&self, bytes: &Range<u64>, size: u64) {
        let mut pieces = self.pieces.lock();
        let tail = self.from.load(Ordering::Acquire)..size;
        let without =
            |range: Range<u64>| [range.start..range.end.min(bytes.start), range.start.max(bytes.end)..range.end];
        let all = pieces.ranges.drain(..).chain([tail]).flat_map(without);
        let mut left: Vec<Range<u64>> = all.filter(|range| range.start < range.end).collect();
        let reaches_end = left.pop_if(|last| last.end == size);
        self.from.store(reaches_end.map_or(size, |last| last.start), Ordering::Release);
        pieces.ranges = left;
    }

    /// The file ends here now.
    pub(crate) fn cut(&self, size: u64) {
        let mut pieces = self.pieces.lock();
        pieces.ranges.iter_mut().for_each(|range| range.end = range.end.min(size));
        pieces.ranges.retain(|range| range.start < range.end);
        pieces.damage.retain(|damage| damage.bytes.start < size);
        self.is_damaged.store(!pieces.damage.is_empty(), Ordering::Release);
        self.from.fetch_min(size, Ordering::AcqRel);
    }

    /// Adds damage; false if it was known.
    pub(crate) fn add_damage(&self, mut found: Damage, size: u64) -> bool {
        self.forget(&found.bytes, size);
        let mut pieces = self.pieces.lock();
        let covers = |known: &Damage| known.bytes.start <= found.bytes.start && found.bytes.end <= known.bytes.end;
        if pieces.damage.iter().any(covers) {
            return false;
        }
        let crowded = pieces.damage.len() >= DAMAGES_MAX;
        pieces.damage.retain(|known| {
            let apart = known.bytes.end < found.bytes.start || known.bytes.start > found.bytes.end;
            if !apart || crowded {
                found.bytes = found.bytes.start.min(known.bytes.start)..found.bytes.end.max(known.bytes.end);
                found.offsets = found.offsets.start.min(known.offsets.start)..found.offsets.end.max(known.offsets.end);
            }
            apart && !crowded
        });
        let at = pieces.damage.partition_point(|known| known.bytes.start < found.bytes.start);
        pieces.damage.insert(at, found);
        self.is_damaged.store(true, Ordering::Release);
        true
    }

    /// The damage, with which the file ends, reaches up to here now. Returns what it has become.
    pub(crate) fn resize_damage(&self, known: &Damage, end: u64) -> Damage {
        let resized = Damage { bytes: known.bytes.start..end, ..known.clone() };
        let mut pieces = self.pieces.lock();
        pieces.damage.iter_mut().filter(|damage| *damage == known).for_each(|damage| damage.clone_from(&resized));
        self.from.fetch_min(end, Ordering::AcqRel);
        resized
    }

    /// The damage is no more.
    pub(crate) fn clear_damage(&self, gone: &Damage) {
        let mut pieces = self.pieces.lock();
        pieces.damage.retain(|known| known != gone);
        self.is_damaged.store(!pieces.damage.is_empty(), Ordering::Release);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    pub(crate) fn damage(&self) -> Vec<Damage> {
        match self.is_damaged.load(Ordering::Acquire) {
            true => self.pieces.lock().damage.clone(),
            false => Vec::new(),
        }
    }

    /// The damage that took this offset.
    pub(crate) fn damage_at(&self, offset: Offset) -> Option<Damage> {
        if !self.is_damaged.load(Ordering::Acquire) {
            return None;
        }
        self.pieces.lock().damage.iter().find(|damage| damage.offsets.contains(&offset)).cloned()
    }

    /// The first damage that these bytes touch.
    pub(crate) fn damage_in(&self, bytes: &Range<u64>) -> Option<Damage> {
        if !self.is_damaged.load(Ordering::Acquire) {
            return None;
        }
        let pieces = self.pieces.lock();
        let touches = |damage: &&Damage| damage.bytes.start < bytes.end && bytes.start < damage.bytes.end;
        pieces.damage.iter().find(touches).cloned()
    }
}

#[cfg(test)]
mod tests;
