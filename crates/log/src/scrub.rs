//! Data at rest is read again, bit by bit.
//!
//! Picture: a cursor goes over the segments of a log and has a step of it checked each time. What a step costs and
//! how often there is one is the caller's; so the bandwidth is bounded there. With the records the index entries that
//! lead to them are looked at; an index that is wrong is built anew.
//!
//! What is in the page cache is what readers get, so that is what is checked; what is not comes from the disk, and is
//! dropped from the cache again, so that a scrub does not push out what readers want.
//!
//! Not here: where good bytes come from (broker).

use twinstream_model::Offset;

use crate::page_cache;
use crate::segment::{Segment, Verdict};
use crate::{LogError, PartitionLog};

/// Where a scrub of a log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubCursor {
    /// Of the segment.
    base: Offset,
    position: u64,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    pub bytes: u64,
    /// Where to go on, `None` at the end of the log.
    pub next: Option<ScrubCursor>,
}

impl PartitionLog {
    /// Checks about `bytes_max` bytes from `cursor` on, one batch at least. Waits for the disk. Damage that is found is
    /// marked, as when a reader finds it.
    pub fn scrub(&self, cursor: ScrubCursor, bytes_max: u64) -> Result<Scrubbed, LogError> {
        self.check_usable()?;
        let segments = self.segments();
        let at = segments.iter().position(|segment| segment.base() >= cursor.base);
        let Some(at) = at else { return Ok(Scrubbed { bytes: 0, next: None }) };
        let segment = &segments[at];
        let following = segments.get(at + 1).map(|next| ScrubCursor { base: next.base(), position: 0 });
        let start = if segment.base() == cursor.base { cursor.position } else { 0 };
        let start = segment.damage_in(&(start..start + 1)).map_or(start, |hole| hole.bytes.end);
        if start >= segment.size() {
            return Ok(Scrubbed { bytes: 0, next: following });
        }
        let reached = self.scrub_stretch(segment, start, bytes_max)?;
        let next = match reached < segment.size() {
            true => Some(ScrubCursor { base: segment.base(), position: reached }),
            false => following,
        };
        Ok(Scrubbed { bytes: reached - start, next })
    }

    fn scrub_stretch(&self, segment: &std::sync::Arc<Segment>, start: u64, bytes_max: u64) -> Result<u64, LogError> {
        let cuts = self.cuts_seen();
        let stretch = start..(start + bytes_max.max(1)).min(segment.size());
        let file = segment.slice(start, 0)?.file;
        let was_cached = page_cache::holds(&file, &stretch);
        let mut batches = Vec::new();
        let verdict = segment.check_with(stretch.clone(), self.behind(segment).as_ref(), |position, header| {
            batches.push((position, *header))
        })?;
        if !was_cached {
            page_cache::not_needed(&file, &stretch);
        }
        if !self.is_uncut_since(cuts) {
            return Ok(segment.size()); // it is another log now; its next pass will see it
        }
        match verdict {
            Verdict::Good(reached) => {
                segment.check_index_entries(&batches)?;
                Ok(reached.max(start + 1))
            }
            Verdict::Bad { position, why } => {
                self.mark_damage(segment, position, &why)?;
                let hole = segment.damage_in(&(position..position + 1));
                Ok(hole.map_or(segment.size(), |hole| hole.bytes.end))
            }
        }
    }
}
