//! When MirrorMaker's offset-sync of a partition is written. Pure.
//!
//! MirrorMaker's own rule: at once for the first record, behind a hole, after the target lost its end, and when a reader that
//! uses the last sync would be `offset.lag.max` records off; everything else waits for the next full round.

use twinstream_client::protocol::batch::OffsetRun;
use twinstream_model::Offset;

/// (upstream, downstream) of one record.
pub(crate) type Pair = (Offset, Offset);

#[derive(Debug, Default)]
pub(crate) struct Due {
    previous: Option<(i64, i64)>,
    last_synced: Option<i64>,
    /// To be written at once.
    now: Option<Pair>,
    /// To be written with the next full round.
    later: Option<Pair>,
}

impl Due {
    pub(crate) fn copied(&mut self, runs: &[OffsetRun], base: Offset, lag_max: i64) {
        let mut down = base.0;
        for run in runs.iter().filter(|run| run.length > 0) {
            let length = i64::from(run.length);
            self.record(run.from.0, down, lag_max);
            if length > 1 {
                self.previous = Some((run.from.0 + length - 2, down + length - 2));
                self.record(run.from.0 + length - 1, down + length - 1, lag_max);
            }
            down += length;
        }
    }

    fn record(&mut self, up: i64, down: i64, lag_max: i64) {
        let follows = self.previous.is_some_and(|previous| up == previous.0 + 1 && down >= previous.1);
        let fresh = self.last_synced.is_some_and(|synced| down - (synced + 1) < lag_max);
        self.previous = Some((up, down));
        if follows && fresh {
            self.later = Some((Offset(up), Offset(down)));
        } else {
            self.now = Some((Offset(up), Offset(down)));
            self.later = None;
            self.last_synced = Some(down);
        }
    }

    /// What to write; a full round takes what waits as well.
    pub(crate) fn take(&mut self, full: bool) -> Option<Pair> {
        let now = self.now.take();
        match self.later.take_if(|_| full) {
            Some((up, down)) => {
                self.last_synced = Some(down.0);
                Some((up, down))
            }
            None => now,
        }
    }

    /// It was not written; what came meanwhile is newer.
    pub(crate) fn not_written(&mut self, pair: Pair) {
        self.now.get_or_insert(pair);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.now.is_some() || self.later.is_some()
    }
}
