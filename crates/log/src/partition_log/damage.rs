//! Bytes are checked before they go out, and what is damaged stays.
//!
//! Picture: a slice that this process has not checked, or that is no longer in memory, is read once in a place where
//! waiting is allowed; then it may be sent. What turns out to be damaged is marked: reads that touch it fail with
//! its offsets, all other ranges go on.
//!
//! Invariants: damage is marked under the writer's lock and after a second look, because a log that is cut while it is
//! checked looks damaged. Not here: how a check is done (`segment::check`), where good bytes come from (broker).

use std::sync::Arc;

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
        let good = match slice.segment.check(step)? {
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

    /// Looks again at a batch that seems damaged, and marks what is.
    pub(super) fn mark_damage(&self, segment: &Arc<Segment>, position: u64, why: &str) -> Result<(), LogError> {
        let _quiet = self.writer.lock();
        if position >= segment.size() {
            return Ok(()); // it was cut meanwhile
        }
        let Some(damage) = segment.diagnose(position)? else { return Ok(()) };
        segment.add_damage(damage, why);
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
