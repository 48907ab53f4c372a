//! Which offset of the source became which one of the target, for one partition. Pure.
//!
//! Picture: a list of *runs* (upstream, downstream, length). Within a run both sides count alike, so a partition that is
//! copied without holes has one run, however long it is; a marker of a transaction, a compacted record or a restart begins
//! the next one. Runs stand in *chunks*, which are what is stored: only the last chunk changes while records are copied.
//! Invariants: O1 upstream and downstream both ascend from run to run, so either side leads to the other. O2 an answer never
//! lies behind what was asked for: where the map does not know, a reader sees a record again and misses none. O3 what was
//! copied last wins: offsets that were copied twice lead to the second copy. O4 memory is bounded: beyond [`CHUNKS_MAX`] the
//! oldest runs are thinned out, every second one at a time, so that what is recent stays exact and what is old becomes coarse.
//! Not here: the topic that keeps it (`syncs`), its bytes ([`stored`]).

pub(crate) mod place; // whose records they are
pub(crate) mod stored;

use std::collections::{BTreeMap, BTreeSet};

use twinstream_client::protocol::batch::OffsetRun;
use twinstream_model::Offset;

/// Runs of a chunk: what is written again when the last run grows, at most some hundred bytes.
pub(crate) const CHUNK_RUNS: usize = 64;
/// 4,096 runs of 24 bytes: about 100 KB for a partition of nothing but short transactions, and an hour of exactness for one
/// transaction each second.
pub(crate) const CHUNKS_MAX: usize = 64;

/// Records that lie side by side on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub up: i64,
    pub down: i64,
    pub len: i64,
}

impl Run {
    pub(crate) fn up_end(self) -> i64 {
        self.up + self.len
    }

    pub(crate) fn down_end(self) -> i64 {
        self.down + self.len
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetMap {
    /// By the upstream offset of their first run; never empty.
    chunks: BTreeMap<i64, Vec<Run>>,
    /// Chunks that differ from what is stored, or are stored and no longer there.
    unsaved: BTreeSet<i64>,
}

impl OffsetMap {
    /// These records, which ascend, are on the target at dense offsets from `base` on.
    pub(crate) fn copied(&mut self, runs: &[OffsetRun], base: Offset) {
        let mut down = base.0;
        for run in runs {
            let len = i64::from(run.length);
            if len > 0 {
                self.add(Run { up: run.from.0, down, len });
            }
            down += len;
        }
    }

    fn add(&mut self, run: Run) {
        self.cut(run);
        let Some((&key, chunk)) = self.chunks.iter_mut().next_back() else {
            self.begin(run);
            return;
        };
        if let Some(last) = chunk.last_mut()
            && last.up_end() == run.up
            && last.down_end() == run.down
        {
            last.len += run.len;
        } else if chunk.len() < CHUNK_RUNS {
            chunk.push(run);
        } else {
            self.begin(run);
            return;
        }
        self.unsaved.insert(key);
    }

    fn begin(&mut self, run: Run) {
        self.chunks.insert(run.up, vec![run]);
        self.unsaved.insert(run.up);
        if self.chunks.len() > CHUNKS_MAX {
            self.thin();
        }
    }

    /// Forgets what a new run replaces: the same upstream offsets, copied again, and a target that lost its end.
    fn cut(&mut self, new: Run) {
        while let Some((&key, chunk)) = self.chunks.iter_mut().next_back() {
            let Some(last) = chunk.last_mut() else { break };
            if last.up_end() <= new.up && last.down_end() <= new.down {
                break;
            }
            self.unsaved.insert(key);
            last.len = (new.up - last.up).min(new.down - last.down);
            if last.len <= 0 {
                chunk.pop();
            }
            if chunk.is_empty() {
                self.chunks.remove(&key);
            }
        }
    }

    /// Of the two oldest chunks becomes one, with every second run.
    fn thin(&mut self) {
        let (Some((first, mut runs)), Some((second, more))) = (self.chunks.pop_first(), self.chunks.pop_first()) else {
            return;
        };
        runs.extend(more);
        self.chunks.insert(first, runs.into_iter().step_by(2).collect());
        self.unsaved.extend([first, second]);
    }

    /// Where a reader goes on that has read everything before `up`: exact where the map has a run; in a hole of the source
    /// the record behind it; beyond the end the end. `None` before the first run, unless the target begins with it.
    pub(crate) fn to_target(&self, up: Offset) -> Option<Offset> {
        let Some((_, chunk)) = self.chunks.range(..=up.0).next_back() else {
            return self.first().filter(|first| first.down == 0).map(|_| Offset(0));
        };
        let at = chunk.partition_point(|run| run.up <= up.0);
        let run = chunk.get(at.checked_sub(1)?)?;
        Some(Offset(run.down + (up.0 - run.up).min(run.len)))
    }

    /// The same from the target to the source.
    pub(crate) fn to_source(&self, down: Offset) -> Option<Offset> {
        let chunk = self.chunks.values().rev().find(|chunk| chunk.first().is_some_and(|run| run.down <= down.0))?;
        let at = chunk.partition_point(|run| run.down <= down.0);
        let run = chunk.get(at.checked_sub(1)?)?;
        Some(Offset(run.up + (down.0 - run.down).min(run.len)))
    }

    /// The run that `up` lies in or behind, and all that follow.
    pub(crate) fn runs_from(&self, up: Offset) -> impl Iterator<Item = Run> {
        let key = self.chunks.range(..=up.0).next_back().map_or(up.0, |(key, _)| *key);
        let mut runs = self.chunks.range(key..).flat_map(|(_, chunk)| chunk).copied().peekable();
        let mut before = None;
        while let Some(run) = runs.next_if(|run| run.up <= up.0) {
            before = Some(run);
        }
        before.into_iter().chain(runs)
    }

    pub(crate) fn first(&self) -> Option<Run> {
        self.chunks.values().next().and_then(|chunk| chunk.first()).copied()
    }

    /// What is to be stored: chunks by key, `None` for one that is gone. Removals come first, so that a reader that stops in
    /// between knows less and nothing wrong.
    pub(crate) fn take_unsaved(&mut self) -> Vec<(i64, Option<Vec<Run>>)> {
        let keys = std::mem::take(&mut self.unsaved);
        let mut changes: Vec<_> = keys.into_iter().map(|key| (key, self.chunks.get(&key).cloned())).collect();
        changes.sort_by_key(|(key, runs)| (runs.is_some(), *key));
        changes
    }

    /// These were not stored after all.
    pub(crate) fn not_saved(&mut self, keys: impl IntoIterator<Item = i64>) {
        self.unsaved.extend(keys);
    }

    /// Takes over a stored chunk.
    pub(crate) fn replay(&mut self, key: i64, runs: Option<Vec<Run>>) {
        match runs.filter(|runs| !runs.is_empty()) {
            Some(runs) => _ = self.chunks.insert(key, runs),
            None => _ = self.chunks.remove(&key),
        }
    }

    #[cfg(test)]
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.chunks.values().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests;
