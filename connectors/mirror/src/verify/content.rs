//! Records of both sides, paired by runs of the offset map. Pure.
//!
//! Picture: within a run both sides count alike, so a record's partner has one offset and no other. Between two runs the source
//! has markers, aborted or compacted records; a record that a reader sees there was not copied, unless the map has forgotten
//! runs: then the target has records between them, too. Markers alone, which an exactly-once copy has between all its
//! transactions, are no copy. What the target has between two runs was copied twice, or is not ours.

use super::slice::{Entry, Slice};
use super::{Compared, Difference, Side, What};
use crate::offset_map::Run;

/// Compares from an offset of the source on. The runs ascend; the first may end before `from`. Whether compaction may have
/// removed records on one side only is the topic's setting.
pub(super) fn compare(
    source: &Slice,
    target: &Slice,
    from: i64,
    runs: impl IntoIterator<Item = Run>,
    compacted: bool,
) -> Compared {
    let mut pairing = Pairing {
        source: source.entries.iter().peekable(),
        target: target.entries.iter().peekable(),
        unreadable: (source, target),
        compacted,
        out: Compared { next: from, ..Compared::default() },
    };
    let mut before: Option<Run> = None;
    for run in runs {
        if run.up_end() > from {
            let is_whole = target.reach >= run.down;
            if !is_whole && pairing.out.next > from && pairing.has_before(run.up) {
                return pairing.finish(); // the next step begins with the hole, on both sides
            }
            pairing.hole(before, run, is_whole);
            let reach = source.reach.min(run.up);
            pairing.out.next = pairing.out.next.max(reach);
            if source.reach <= run.up {
                return pairing.finish();
            }
            let end = run.up_end().min(source.reach).min(run.up + target.reach - run.down);
            if end <= pairing.out.next {
                return pairing.finish();
            }
            pairing.run(run, end);
            pairing.out.next = end;
            if end < run.up_end() {
                return pairing.finish();
            }
        }
        before = Some(run);
    }
    // Behind the map: markers are passed, a record waits for its copy.
    let next = pairing.out.next;
    let waits = source.entries.iter().any(|entry| entry.offset >= next);
    let is_read = source.broken.iter().all(|broken| broken.next <= next);
    if before.is_some() && !waits && is_read {
        pairing.out.next = next.max(source.reach);
    }
    pairing.finish()
}

struct Pairing<'a, I: Iterator<Item = &'a Entry>> {
    source: std::iter::Peekable<I>,
    target: std::iter::Peekable<I>,
    unreadable: (&'a Slice, &'a Slice),
    compacted: bool,
    out: Compared,
}

impl<'a, I: Iterator<Item = &'a Entry>> Pairing<'a, I> {
    /// Whether the source has a record before this offset.
    fn has_before(&mut self, up: i64) -> bool {
        self.source.peek().is_some_and(|entry| entry.offset < up)
    }

    /// What lies before a run, behind the one before it. `is_whole`: the target's side of it is in the answer.
    fn hole(&mut self, before: Option<Run>, run: Run, is_whole: bool) {
        let is_dense = before.is_some_and(|before| before.down_end() == run.down);
        let mut copies = 0;
        while self.target.next_if(|entry| entry.offset < run.down).is_some() {
            copies += 1;
        }
        self.out.repeated += copies;
        let unread = |before: Run| self.unreadable.1.is_unreadable_within(before.down_end(), run.down);
        let is_bare = is_whole && copies == 0 && before.is_some_and(|before| !unread(before));
        while let Some(entry) = self.source.next_if(|entry| entry.offset < run.up) {
            if is_dense {
                self.differ(Some(entry.offset), None, What::Missing);
            } else if is_bare {
                self.alone(entry.offset, run.down, What::Missing);
            } else {
                self.out.unpaired += 1;
            }
        }
    }

    /// What lies within a run, up to an offset of the source.
    fn run(&mut self, run: Run, end: i64) {
        let first = run.down + (self.out.next - run.up);
        while self.target.next_if(|entry| entry.offset < first).is_some() {
            self.out.repeated += 1;
        }
        loop {
            let here = self.source.peek().map(|entry| entry.offset).filter(|offset| *offset < end);
            let there = self.target.peek().map(|entry| entry.offset - run.down + run.up).filter(|offset| *offset < end);
            match (here, there) {
                (None, None) => return,
                (Some(here), Some(there)) if here == there => self.pair(),
                (Some(here), there) if there.is_none_or(|there| here < there) => {
                    self.source.next();
                    self.alone(here, here - run.up + run.down, What::Missing);
                }
                (_, Some(there)) => {
                    self.target.next();
                    self.alone(there, there - run.up + run.down, What::Extra);
                }
                (Some(_), None) => return, // the arm above has taken it
            }
        }
    }

    fn pair(&mut self) {
        let (Some(source), Some(target)) = (self.source.next(), self.target.next()) else { return };
        self.out.records += 1;
        let parts = source.differs(target);
        if !parts.is_empty() {
            self.differ(Some(source.offset), Some(target.offset), What::Content(parts));
        }
    }

    /// A record without a partner.
    fn alone(&mut self, source: i64, target: i64, what: What) {
        let (there, here) = self.unreadable;
        if there.is_unreadable(source) || here.is_unreadable(target) {
            return; // told as damage
        }
        if self.compacted {
            self.out.removed += 1;
        } else {
            let offsets = if what == What::Missing { (Some(source), None) } else { (None, Some(target)) };
            self.differ(offsets.0, offsets.1, what);
        }
    }

    fn differ(&mut self, source: Option<i64>, target: Option<i64>, what: What) {
        self.out.differences.push(Difference { source, target, what });
    }

    fn finish(self) -> Compared {
        self.out
    }
}

/// Adds damage that no record shows: of batches that lie before `(source, target)` offsets, which were compared.
pub(super) fn add_damage(out: &mut Compared, source: &Slice, target: &Slice, before: (i64, i64)) {
    let mut more = Vec::new();
    for (slice, side, before) in [(source, Side::Source, before.0), (target, Side::Target, before.1)] {
        for broken in slice.broken.iter().filter(|broken| broken.from < before) {
            let at = |difference: &Difference| match side {
                Side::Source => difference.source,
                Side::Target => difference.target,
            };
            let is_named = out.differences.iter().filter_map(at).any(|at| (broken.from..broken.next).contains(&at));
            if !is_named || !broken.readable {
                let offset = Some(broken.from);
                let offsets = if side == Side::Source { (offset, None) } else { (None, offset) };
                let what = What::Broken(side, broken.why.clone());
                more.push(Difference { source: offsets.0, target: offsets.1, what });
            }
        }
    }
    out.differences.extend(more);
}
