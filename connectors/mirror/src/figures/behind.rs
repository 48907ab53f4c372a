//! How long the next record has waited at the source, by our own clock as far as we have watched. Pure.
//!
//! Picture: marks (time, end of the source at that time). What arrives at the target passes them. The last mark that was
//! passed tells when the next record was not there yet, so it waits since then at most. Of what was there before anybody
//! watched, the times of records tell: the next one is not older than the newest that arrived, as a rule.
//! Why not the times of records alone: a topic that rests for an hour would seem an hour late with its next record.

use std::collections::VecDeque;

/// Beyond this every second mark goes: the answer becomes coarse, and never smaller than it is.
pub(crate) const MARKS_MAX: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// (end, when it was that), both ascending; the first is the last that was passed, if any was.
    marks: VecDeque<(i64, i64)>,
    /// Time of the newest record that arrived.
    newest: Option<i64>,
}

impl Marks {
    /// The source ends there now, and everything before `arrived` is on the target.
    pub(crate) fn ends_at(&mut self, end: i64, arrived: i64, now: i64) {
        // A source that was cut, or made anew.
        while self.marks.back().is_some_and(|(mark, _)| *mark > end) {
            self.marks.pop_back();
        }
        match self.marks.back_mut() {
            Some((mark, at)) if *mark == end => *at = now,
            _ => self.marks.push_back((end, now)),
        }
        self.arrived(arrived);
        if self.marks.len() > MARKS_MAX {
            let mut index = 0;
            // The first is what was passed; the last is what is known now.
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    pub(crate) fn arrived(&mut self, arrived: i64) {
        while self.marks.get(1).is_some_and(|(end, _)| *end <= arrived) {
            self.marks.pop_front();
        }
    }

    pub(crate) fn newest(&mut self, timestamp: i64) {
        if timestamp > 0 {
            self.newest = Some(timestamp);
        }
    }

    /// How long the record at `arrived` waits at most.
    pub(crate) fn waited(&self, arrived: i64, now: i64) -> Option<i64> {
        let passed = self.marks.iter().take_while(|(end, _)| *end <= arrived).last();
        let since = passed.map(|(_, at)| *at).or(self.newest)?;
        Some((now - since).max(0))
    }
}
