//! Whether anything of what a source task has on its way arrives. Pure: time comes as an argument.
//!
//! A target that is away is waited for as long as a delivery may take (`delivery.timeout.ms`, two minutes), which is long for
//! a task that shows as running. So what is told is how long nothing has arrived though something is on its way; one
//! acknowledgement, or nothing left to wait for, ends it.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than an election; what is slow but moves is acknowledged more often.
pub(super) const SHOWN_AFTER: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct Stillness {
    /// Something has been on its way, and nothing has arrived.
    since: Option<Instant>,
    arrived: u64,
    is_shown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is to be shown.
    Still,
    Moves,
}

impl Stillness {
    pub(super) fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// A look at what is on its way, and at how many records have arrived by now; what has changed by it.
    pub(super) fn look(&mut self, now: Instant, is_under_way: bool, arrived: u64) -> Option<Turn> {
        if !is_under_way || arrived != self.arrived {
            self.arrived = arrived;
            self.since = is_under_way.then_some(now);
            return std::mem::take(&mut self.is_shown).then_some(Turn::Moves);
        }
        let since = *self.since.get_or_insert(now);
        let is_due = !self.is_shown && now >= since + SHOWN_AFTER;
        self.is_shown |= is_due;
        is_due.then_some(Turn::Still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_arrives_for_a_while_is_told_once_and_so_is_its_end() {
        let (mut stillness, began) = (Stillness::default(), Instant::now());
        let mut look =
            |seconds, under_way, arrived| stillness.look(began + Duration::from_secs(seconds), under_way, arrived);
        assert_eq!([look(0, false, 0), look(100, false, 0)], [None, None], "there is nothing to copy");
        assert_eq!([look(100, true, 0), look(114, true, 0)], [None, None]);
        assert_eq!([look(115, true, 0), look(900, true, 0)], [Some(Turn::Still), None]);
        assert_eq!([look(901, true, 1), look(902, true, 1)], [Some(Turn::Moves), None]);
        assert_eq!([look(910, true, 2), look(917, true, 2)], [None, None], "slow, and it moves");
        assert_eq!([look(925, true, 2), look(926, false, 2)], [Some(Turn::Still), Some(Turn::Moves)], "given up");
        assert_eq!([look(990, true, 2), look(1_004, true, 2)], [None, None], "counted from when it left");
    }
}
