//! Smallest, largest and mean value of the last minute or less, as MirrorMaker 2's sampled figures are. Pure.
//!
//! Picture: two halves of half a minute; the older one is dropped when the newer one is full. So a summary covers 30 to 60
//! seconds, takes a few words, and a value costs a few instructions.

/// As Kafka's `metrics.sample.window.ms`.
const WINDOW_MS: i64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub last: i64,
    pub min: i64,
    pub max: i64,
    pub avg: f64,
}

impl Eq for Summary {}

#[derive(Debug, Default)]
pub(crate) struct Spread {
    last: Option<i64>,
    /// When the newer half began.
    since: i64,
    newer: Half,
    older: Half,
}

#[derive(Debug, Clone, Copy, Default)]
struct Half {
    count: u64,
    sum: i64,
    min: i64,
    max: i64,
}

impl Half {
    fn add(&mut self, value: i64) {
        let first = self.count == 0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.sum = self.sum.saturating_add(value);
        self.count += 1;
    }
}

impl Spread {
    pub(crate) fn add(&mut self, value: i64, now: i64) {
        let past = now - self.since;
        if !(0..WINDOW_MS).contains(&past) {
            self.older = if past < 2 * WINDOW_MS { self.newer } else { Half::default() };
            self.newer = Half::default();
            self.since = now;
        }
        self.newer.add(value);
        self.last = Some(value);
    }

    /// `None` before the first value; when the last minute had none, the last one stands for all.
    pub(crate) fn summary(&self, now: i64) -> Option<Summary> {
        let last = self.last?;
        let past = now - self.since;
        let halves = [(self.newer, past < 2 * WINDOW_MS), (self.older, past < WINDOW_MS)];
        let mut halves =
            halves.into_iter().filter(|(half, is_young)| *is_young && half.count > 0).map(|(half, _)| half);
        let Some(first) = halves.next() else { return Some(Summary { last, min: last, max: last, avg: last as f64 }) };
        let all = halves.fold(first, |all, half| Half {
            count: all.count + half.count,
            sum: all.sum.saturating_add(half.sum),
            min: all.min.min(half.min),
            max: all.max.max(half.max),
        });
        Some(Summary { last, min: all.min, max: all.max, avg: all.sum as f64 / all.count as f64 })
    }
}
