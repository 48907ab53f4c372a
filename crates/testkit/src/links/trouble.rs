//! What befalls a link, and how it is drawn.
//!
//! Five kinds, each of which comes once before any comes again, one or two at a time. Pure; who does it is `world`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::faults::Dice;

/// One in so many draws is two troubles at once ...
const TWO_AT_ONCE: u64 = 3;
/// ... and one in so many lasts longer than requests wait.
const LONG: u64 = 8;
const SHORT_MS: (u64, u64) = (200, 6_000);
const LONG_MS: (u64, u64) = (32_000, 40_000);

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    WorkerKilled,
    SourceKilled,
    TargetKilled,
    SourceCut,
    TargetCut,
}

impl Trouble {
    pub(super) const ALL: [Self; 5] =
        [Self::WorkerKilled, Self::SourceKilled, Self::TargetKilled, Self::SourceCut, Self::TargetCut];

    fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "kills of the worker",
            Self::SourceKilled => "of source brokers",
            Self::TargetKilled => "of target brokers",
            Self::SourceCut => "cuts between worker and source",
            Self::TargetCut => "between worker and target",
        }
    }
}

/// Some troubles, and how long they last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    pub troubles: Vec<Trouble>,
    pub lasts: Duration,
}

/// What has not come in this turn, and how often each has come.
#[derive(Debug, Default)]
pub(super) struct Deck {
    left: Vec<Trouble>,
    drawn: BTreeMap<Trouble, usize>,
}

impl Deck {
    /// `may_be_long` is for runs that have the time.
    pub(super) fn draw(&mut self, dice: &mut Dice, may_be_long: bool) -> Draw {
        let count = if dice.between(1, TWO_AT_ONCE) == 1 { 2 } else { 1 };
        let mut troubles: Vec<Trouble> = Vec::new();
        while troubles.len() < count {
            if self.left.is_empty() {
                self.left = dice.shuffled(&Trouble::ALL);
            }
            // At the seam of two turns the same one could come twice.
            let at = self.left.iter().rposition(|trouble| !troubles.contains(trouble)).expect("five different ones");
            troubles.push(self.left.remove(at));
        }
        for trouble in &troubles {
            *self.drawn.entry(*trouble).or_default() += 1;
        }
        let (low, high) = if may_be_long && dice.between(1, LONG) == 1 { LONG_MS } else { SHORT_MS };
        Draw { troubles, lasts: Duration::from_millis(dice.between(low, high)) }
    }

    /// Whether each kind has come.
    pub(super) fn has_shown_all(&self) -> bool {
        Trouble::ALL.iter().all(|trouble| self.drawn.contains_key(trouble))
    }
}

impl fmt::Display for Deck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |trouble: Trouble| self.drawn.get(&trouble).copied().unwrap_or(0);
        let counted = Trouble::ALL.map(|trouble| format!("{} {}", count(trouble), trouble.name()));
        f.write_str(&counted.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_comes_once_before_any_comes_again_and_never_twice_at_once() {
        for seed in 0..50 {
            let (mut deck, mut dice) = (Deck::default(), Dice::new(seed));
            let mut came: Vec<Trouble> = Vec::new();
            while came.len() < 3 * Trouble::ALL.len() {
                let draw = deck.draw(&mut dice, false);
                assert!(matches!(draw.troubles.len(), 1 | 2));
                assert!(draw.troubles.windows(2).all(|two| two[0] != two[1]), "{draw:?}");
                assert!(draw.lasts <= Duration::from_millis(SHORT_MS.1));
                came.extend(draw.troubles);
            }
            let least = Trouble::ALL.map(|kind| came.iter().filter(|other| **other == kind).count());
            assert!(least.iter().all(|count| (3..=4).contains(count)), "seed {seed}: {least:?}");
            assert!(deck.has_shown_all());
        }
    }

    #[test]
    fn a_seed_draws_the_same_again_and_long_ones_only_where_there_is_time() {
        let draws = |long| {
            let (mut deck, mut dice) = (Deck::default(), Dice::new(7));
            (0..40).map(|_| deck.draw(&mut dice, long)).collect::<Vec<_>>()
        };
        assert_eq!(draws(true), draws(true));
        assert!(draws(true).iter().any(|draw| draw.lasts > Duration::from_secs(30)));
        assert!(draws(false).iter().all(|draw| draw.lasts < Duration::from_secs(7)));
    }

    #[test]
    fn counts_are_told_by_kind() {
        let mut deck = Deck::default();
        assert!(!deck.has_shown_all());
        deck.drawn.insert(Trouble::TargetCut, 2);
        assert!(deck.to_string().ends_with("0 cuts between worker and source, 2 between worker and target"));
    }
}
