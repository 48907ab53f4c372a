//! Bytes are checked before they go out, and what is damaged stays.
//!
//! Picture: a slice that this process has not checked, or that is no longer in memory, is read once in a place where
//! waiting is allowed; then it may be sent. What turns out to be damaged is marked: reads that touch it fail with
//! its offsets, all other ranges go on. A repair puts the bytes of another replica in place, and nothing else: where other
//! batches lie never changes by one, so the bytes have to take exactly the room of the damage. Only where a segment that
//! takes no more batches ends in damage, nobody knows how much there was; what is put there has to reach exactly up to the
//! offset at which the next segment begins instead.
//!
//! Invariants: damage is marked after a second look, and only if nobody cut the log meanwhile, because a log that is cut
//! while it is checked looks damaged. No lock is held while it is measured, which may take a second: readers of committed
//! records come here with the indexes of aborted transactions in their hands, for which a writer may wait. Not here: how a check is done (`segment::check`), where good bytes come from (broker).

use std::sync::Arc;

use twinstream_model::Offset;
use twinstream_protocol::batch::{BatchHeader, batches, whole_batches};

use super::PartitionLog;
use crate::checked::Damage;
use crate::segment::{Segment, Verdict};
use crate::{FileSlice, LogError, ReadError};

impl PartitionLog {
    /// Reads and checks a slice, about `max_bytes` of it and at least one batch, so that it may be sent without waiting.
    /// Returns what is ready, which begins where the slice begins and may be shorter. Waits for the disk.
    pub fn make_ready(&self, slice: &FileSlice, max_bytes: usize) -> Result<FileSlice, ReadError> {
        let wanted = slice.bytes();
        let step = wanted.start..wanted.end.min(wanted.start.saturating_add(max_bytes as u64)).max(wanted.start + 1);
        let good = match slice.segment.check(step, self.behind(&slice.segment).as_ref())? {
            Verdict::Good(reached) => reached,
            Verdict::Bad { position, why } => {
                self.mark_damage(&slice.segment, position, &why)?;
                if position == wanted.start {
                    return Err(self.damaged(&slice.segment, position));
                }
                position
            }
        };
        let len = usize::try_from(good.min(wanted.end) - wanted.start).unwrap_or(slice.len);
        Ok(FileSlice { len, ..slice.clone() })
    }

    /// What is known to be damaged, in offset order.
    pub fn damage(&self) -> Vec<Damage> {
        self.segments.load().iter().flat_map(|segment| segment.damage()).collect()
    }

    /// Whether anything is known to be damaged.
    pub fn is_damaged(&self) -> bool {
        self.segments.load().iter().any(|segment| segment.is_damaged())
    }

    /// Bytes that a repair of this damage has to bring; `None` if that is not known.
    pub fn room_of(&self, damage: &Damage) -> Option<u64> {
        (!is_open_ended(&self.segments.load(), damage)).then_some(damage.bytes.end - damage.bytes.start)
    }

    /// Puts the records of another replica in place of damaged ones. They are taken if they are good, are exactly those
    /// that are missing, and take exactly the room of the damage, if that is known: replicas are copies of bytes.
    pub fn repair(&self, damage: &Damage, records: &[u8]) -> Result<Repaired, LogError> {
        self.check_usable()?;
        let _uncut = self.flushing.lock(); // appends go on: they are far behind, and this waits for the disk
        let segments = self.segments.load_full();
        let holder = segments.iter().find(|segment| segment.base() == damage.base && segment.damage().contains(damage));
        let Some(segment) = holder else { return Ok(Repaired::Gone) };
        let is_open_ended = is_open_ended(&segments, damage);
        let good = match missing(records, damage) {
            Ok(good) if good.len() as u64 == damage.bytes.end - damage.bytes.start => good,
            Ok(good) if is_open_ended && end_of(good) == Some(damage.offsets.end) => good,
            Ok(good) if is_open_ended => {
                let (wanted, end) = (damage.offsets.end, end_of(good).unwrap_or(damage.offsets.start));
                return Ok(Repaired::Unfit(format!("its batches end at offset {end}, not at {wanted}")));
            }
            Ok(good) => return Ok(Repaired::Unfit(format!("it has {} bytes there", good.len()))),
            Err(why) => return Ok(Repaired::Unfit(why)),
        };
        let spliced =
            segment.splice(damage, good, self.behind(segment).as_ref()).map_err(|error| self.poison(error))?;
        if spliced && is_open_ended {
            segment.rebuild_indexes("its last batches were had back").map_err(|error| self.poison(error))?;
        }
        match spliced {
            true => Ok(Repaired::Done),
            false => Ok(Repaired::Unfit("its batches do not fit between ours".to_owned())),
        }
    }

    /// The first batch of the segment behind this one, against which the last batch of this one is held.
    pub(crate) fn behind(&self, segment: &Segment) -> Option<BatchHeader> {
        let segments = self.segments.load();
        let next = segments.get(segments.partition_point(|other| other.base() <= segment.base()))?;
        let first = next.find(0, |_| true).ok()??;
        (first.position == 0).then_some(first.header)
    }

    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }

    pub(crate) fn cuts_seen(&self) -> Option<u64> {
        self.cuts.seen()
    }

    pub(crate) fn is_uncut_since(&self, seen: Option<u64>) -> bool {
        self.cuts.are(seen)
    }

    /// Looks again at a batch that seems damaged, and marks what is.
    pub(crate) fn mark_damage(&self, segment: &Arc<Segment>, position: u64, why: &str) -> Result<(), LogError> {
        let uncut = self.cuts.seen();
        if position >= segment.size() {
            return Ok(()); // it was cut meanwhile
        }
        let Some(damage) = segment.diagnose(position, self.behind(segment).as_ref())? else { return Ok(()) };
        self.cuts.unless_cut(uncut, || segment.add_damage(damage, why));
        Ok(())
    }

    /// Marks the damage that somebody met who looked into a segment.
    pub(super) fn or_damage<T>(&self, segment: &Arc<Segment>, found: Result<T, LogError>) -> Result<T, ReadError> {
        match found {
            Err(LogError::DamagedBatch { position, what, .. }) => {
                self.mark_damage(segment, position, &what)?;
                Err(self.damaged(segment, position))
            }
            found => Ok(found?),
        }
    }

    /// The error of who reads at `position`.
    pub(super) fn damaged(&self, segment: &Segment, position: u64) -> ReadError {
        match segment.damage_in(&(position..position + 1)) {
            Some(damage) => ReadError::of(segment, &damage),
            None => ReadError::Storage(LogError::DamagedBatch {
                path: segment.log_path(),
                position,
                what: "it changed while it was read".to_owned(),
            }),
        }
    }
}

/// Whether the damage is the end of a segment that takes no more batches, so that what was there may have been longer.
fn is_open_ended(segments: &[Arc<Segment>], damage: &Damage) -> bool {
    let closed = segments.split_last().map_or(&[][..], |(_, closed)| closed);
    closed.iter().any(|segment| segment.base() == damage.base && damage.bytes.end >= segment.size())
}

/// Where the last of these batches ends.
fn end_of(records: &[u8]) -> Option<Offset> {
    batches(records).map_while(Result::ok).last().map(|batch| batch.header().next_offset())
}

/// What became of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    Done,
    /// The other replica has something else, for this reason.
    Unfit(String),
    /// The damage is no more: the records were deleted, or cut, or repaired by somebody else.
    Gone,
}

/// The bytes of the batches that the damage took.
fn missing<'a>(records: &'a [u8], damage: &Damage) -> Result<&'a [u8], String> {
    let (mut start, mut end, mut at) = (None, 0, 0);
    let records = whole_batches(records).map_err(|error| error.to_string())?;
    for batch in batches(records) {
        let batch = batch.map_err(|error| error.to_string())?;
        let header = batch.header();
        if header.base_offset < damage.offsets.start && header.next_offset() > damage.offsets.start {
            return Err(format!("its batch at offset {} begins before the damage", header.base_offset));
        }
        if damage.offsets.contains(&header.base_offset) {
            batch.check_crc().map_err(|error| error.to_string())?;
            start.get_or_insert(at);
            end = at + batch.len();
        }
        at += batch.len();
    }
    Ok(&records[start.unwrap_or(0)..end])
}

impl ReadError {
    pub(super) fn of(segment: &Segment, damage: &Damage) -> ReadError {
        ReadError::Damaged {
            path: segment.log_path(),
            position: damage.bytes.start,
            offset: damage.offsets.start,
            end: damage.offsets.end,
        }
    }
}

#[cfg(test)]
mod tests;
