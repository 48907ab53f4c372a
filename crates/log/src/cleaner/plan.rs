//! What of a log may be compacted, and whether it is time.
//!
//! Only whole segments are cleaned, never the active one, never from the last stable offset on (which is at most the
//! high watermark), and none that is younger than `min.compaction.lag.ms`. It is time when more than
//! `min.cleanable.dirty.ratio` of the bytes are dirty, or when a dirty record is older than `max.compaction.lag.ms`
//! (KIP-354).

use twinstream_model::Offset;

use crate::{LogConfig, LogError};

/// What is asked of a segment. Some of it may have to be read.
pub(crate) trait Facts {
    fn base(&self) -> Offset;
    fn size(&self) -> u64;
    fn max_timestamp(&self) -> Result<Option<i64>, LogError>;
    fn first_timestamp(&self) -> Result<Option<i64>, LogError>;
}

/// Where the log stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Up to where it was compacted, `None` if it never was.
    pub(crate) cleaned_to: Option<Offset>,
    pub(crate) start: Offset,
    pub(crate) last_stable: Offset,
    pub(crate) end: Offset,
}

/// The uncompacted part of a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dirt {
    pub first_dirty: Offset,
    /// Base of the first segment that must not be touched.
    pub first_uncleanable: Offset,
    pub clean_bytes: u64,
    pub cleanable_bytes: u64,
    /// How long ago the oldest dirty record should have been compacted, 0 if it still has time.
    pub overdue_ms: i64,
}

impl Dirt {
    /// Dirty bytes of all that may be cleaned.
    pub fn ratio(&self) -> f64 {
        match self.clean_bytes + self.cleanable_bytes {
            0 => 0.0,
            total => self.cleanable_bytes as f64 / total as f64,
        }
    }

    /// Whether to compact now.
    pub fn is_due(&self, config: &LogConfig) -> bool {
        let is_overdue = self.overdue_ms > 0 && self.cleanable_bytes > 0;
        config.cleanup.compact && (is_overdue || self.ratio() > config.min_cleanable_dirty_ratio)
    }
}

/// Looks at the segments of a log, the last of which is the active one.
pub(crate) fn survey<S: Facts>(segments: &[S], bounds: Bounds, config: &LogConfig, now: i64) -> Result<Dirt, LogError> {
    let (closed, active) = match segments.split_last() {
        Some((active, closed)) => (closed, active.base()),
        None => (segments, bounds.end),
    };
    // A checkpoint from before the log start moved, or from a log that was cut since, says nothing.
    let valid = bounds.cleaned_to.filter(|at| (bounds.start..=bounds.end).contains(at));
    let first_dirty = valid.unwrap_or(bounds.start);
    let dirty = match first_dirty < active {
        true => &closed[holder(closed, first_dirty)..],
        false => &[],
    };
    let stable = closed.get(holder(closed, bounds.last_stable)).filter(|_| bounds.last_stable < active);
    let mut first_uncleanable = stable.map_or(active, Facts::base).min(active);
    if config.min_compaction_lag_ms > 0 {
        let youngest = now.saturating_sub(config.min_compaction_lag_ms);
        for segment in dirty {
            if segment.max_timestamp()?.is_some_and(|newest| newest > youngest) {
                first_uncleanable = first_uncleanable.min(segment.base());
                break;
            }
        }
    }
    let bytes = |of: &mut dyn Iterator<Item = &S>| of.map(Facts::size).sum();
    let dirty_base = dirty.first().map_or(active, Facts::base);
    Ok(Dirt {
        first_dirty,
        first_uncleanable: first_uncleanable.max(first_dirty.min(active)),
        clean_bytes: bytes(&mut closed.iter().take_while(|segment| segment.base() < dirty_base)),
        cleanable_bytes: bytes(&mut dirty.iter().take_while(|segment| segment.base() < first_uncleanable)),
        overdue_ms: overdue(dirty, config, now)?,
    })
}

/// Index of the segment that holds an offset; the number of segments if it lies behind them.
fn holder<S: Facts>(closed: &[S], offset: Offset) -> usize {
    closed.partition_point(|segment| segment.base() <= offset).saturating_sub(1)
}

fn overdue<S: Facts>(dirty: &[S], config: &LogConfig, now: i64) -> Result<i64, LogError> {
    if config.max_compaction_lag_ms == i64::MAX {
        return Ok(0);
    }
    let mut oldest: Option<i64> = None;
    for segment in dirty {
        if let Some(first) = segment.first_timestamp()?.filter(|first| *first > 0) {
            oldest = Some(oldest.map_or(first, |oldest| oldest.min(first)));
        }
    }
    let due = now.saturating_sub(config.max_compaction_lag_ms.max(0));
    Ok(oldest.map_or(0, |oldest| due.saturating_sub(oldest).max(0)))
}

#[cfg(test)]
mod tests;
