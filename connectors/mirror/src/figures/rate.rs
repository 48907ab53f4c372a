//! How much a second was copied of late, as MirrorMaker 2's rates are. Pure.
//!
//! Picture: two halves of half a minute, as in `age`; the rate is what both hold by the time that they cover. A partition
//! that copies nothing comes down to 0 within a minute.

const WINDOW_MS: i64 = 30_000;

/// Records and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    pub records: f64,
    pub bytes: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Half {
    records: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// When the newer half began.
    since: i64,
    newer: Half,
    older: Half,
}

impl Rate {
    pub(crate) fn add(&mut self, records: u64, bytes: u64, now: i64) {
        self.turn(now);
        self.newer.records += records;
        self.newer.bytes += bytes;
    }

    fn turn(&mut self, now: i64) {
        let past = now - self.since;
        if !(0..WINDOW_MS).contains(&past) {
            let next_half = (0..2 * WINDOW_MS).contains(&past);
            self.older = if next_half { self.newer } else { Half::default() };
            self.newer = Half::default();
            self.since = if next_half { self.since + WINDOW_MS } else { now };
        }
    }

    /// Of the last thirty to sixty seconds.
    pub(crate) fn rates(&mut self, now: i64) -> Rates {
        self.turn(now);
        let seconds = (WINDOW_MS + now - self.since) as f64 / 1000.0;
        let per_second = |newer: u64, older: u64| (newer + older) as f64 / seconds;
        Rates {
            records: per_second(self.newer.records, self.older.records),
            bytes: per_second(self.newer.bytes, self.older.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_rises_with_what_is_copied_and_falls_to_nothing() {
        let begin = 1_000_000;
        let mut rate = Rate::default();
        rate.add(300, 3_000, begin);
        assert_eq!(rate.rates(begin), Rates { records: 10.0, bytes: 100.0 });
        rate.add(300, 3_000, begin + 30_000);
        assert_eq!(rate.rates(begin + 30_000), Rates { records: 20.0, bytes: 200.0 });
        assert_eq!(rate.rates(begin + 200_000), Rates::default());
    }
}
