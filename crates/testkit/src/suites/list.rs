//! What is expected of each test of a suite, as a file that a person edits.
//!
//! A line is `name expectation reason`: `pass`; `again "failure" reason` (the test may need a second try, if it said this
//! among other things at the first); `skip` (it leaves itself out here); `miss "failure" reason` (it fails here, and says
//! this; what fails otherwise is no miss); `both "failure" reason` (likewise, and it fails at Apache Kafka as well). `out`
//! is a test, a file or a folder that the judge does not run at all. All but `pass` have a reason. Empty lines and lines
//! that begin with `#` say nothing.
//!
//! Invariant: where a test had two tries, each of them is held against the line; the second one takes nothing back.

use std::collections::BTreeMap;
use std::fmt;

const LINES: &str = "`name pass`, `name skip|out reason`, `name again|miss|both \"failure\" reason`";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    Pass,
    /// At the first try, and why that is nothing to mend.
    Again(Failure),
    Skip(String),
    /// Whatever the test does at Kafka.
    Miss(Failure),
    /// At Kafka, too.
    Both(Failure),
    /// By its name or by that of its file or folder.
    LeftOut(String),
}

/// One that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// A part of what the test says then.
    words: String,
    reason: String,
}

/// How a test ended, with what it said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
    /// Two tries that differ, the first one first.
    Twice(Box<[Self; 2]>),
}

/// Expectations by the name of the test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    rows: BTreeMap<String, Expectation>,
}

/// What the judge says of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As the list says.
    Expected,
    /// Better than the list says.
    Better,
    Wrong(String),
}

impl List {
    /// Panics at a line that is none: the file is part of this crate.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut rows = BTreeMap::new();
        for line in lines {
            let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let rest = rest.trim_start();
            let (word, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let expectation =
                Expectation::parse(word, reason.trim()).unwrap_or_else(|| panic!("`{line}` is none of {LINES}"));
            assert!(rows.insert(name.to_owned(), expectation).is_none(), "{name} stands twice in the list");
        }
        Self { rows }
    }

    pub(super) fn of(&self, name: &str) -> Option<&Expectation> {
        self.rows.get(name)
    }

    /// What the list says something of.
    pub(super) fn names(&self) -> Vec<&str> {
        self.rows.keys().map(String::as_str).collect()
    }

    /// What the judge does not run, with the reasons.
    pub(super) fn left_out(&self) -> Vec<(&str, &str)> {
        let rows = self.rows.iter().filter_map(|(name, row)| match row {
            Expectation::LeftOut(reason) => Some((name.as_str(), reason.as_str())),
            _ => None,
        });
        rows.collect()
    }

    /// Names that the suite does not know any more; of what is left out only the suite itself knows that.
    pub(super) fn unknown<'a>(&'a self, known: &[&str]) -> Vec<&'a str> {
        let ran = self.rows.iter().filter(|(_, row)| !matches!(row, Expectation::LeftOut(_)));
        ran.map(|(name, _)| name.as_str()).filter(|name| !known.contains(name)).collect()
    }

    /// Judges one test by the list, and by how it ended against Apache Kafka, if it ran there.
    pub(super) fn judge(&self, name: &str, ours: &Outcome, kafka: Option<&Outcome>) -> Verdict {
        let Some(row) = self.of(name) else { return Verdict::Wrong(format!("is not in the list, and {ours}")) };
        match (row, kafka) {
            (Expectation::Skip(_) | Expectation::Miss(_) | Expectation::Both(_), _) if *ours == Outcome::Passed => {
                Verdict::Better
            }
            _ if !row.is_met_by(ours.tries()) => Verdict::Wrong(match row.failure() {
                Some(failure) => format!("{ours}; the list says `{}`", failure.words),
                None => ours.to_string(),
            }),
            (Expectation::Skip(_), Some(kafka)) if kafka.has_passed() => {
                Verdict::Wrong("leaves itself out here, and passes at Kafka".to_owned())
            }
            (Expectation::Both(_), Some(kafka)) if !kafka.tries().iter().all(Outcome::is_failure) => {
                Verdict::Wrong(format!("fails here, and at Kafka {kafka}"))
            }
            _ => Verdict::Expected,
        }
    }
}

impl Expectation {
    fn parse(word: &str, rest: &str) -> Option<Self> {
        match (word, rest.is_empty()) {
            ("pass", true) => Some(Self::Pass),
            ("skip", false) => Some(Self::Skip(rest.to_owned())),
            ("out", false) => Some(Self::LeftOut(rest.to_owned())),
            ("again", false) => Failure::parse(rest).map(Self::Again),
            ("miss", false) => Failure::parse(rest).map(Self::Miss),
            ("both", false) => Failure::parse(rest).map(Self::Both),
            _ => None,
        }
    }

    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Again(failure) | Self::Miss(failure) | Self::Both(failure) => Some(failure),
            Self::Pass | Self::Skip(_) | Self::LeftOut(_) => None,
        }
    }

    /// Whether a test that ended so, try by try, did what the line says.
    fn is_met_by(&self, tries: &[Outcome]) -> bool {
        match self {
            Self::Pass => tries.iter().all(|outcome| *outcome == Outcome::Passed),
            Self::Again(failure) => match tries {
                [Outcome::Passed] => true,
                [first, Outcome::Passed] => failure.is_told_by(first),
                _ => false,
            },
            Self::Skip(_) => tries.iter().all(|outcome| matches!(outcome, Outcome::Skipped(_))),
            Self::Miss(failure) | Self::Both(failure) => tries.iter().all(|outcome| failure.is_told_by(outcome)),
            Self::LeftOut(_) => false,
        }
    }
}

impl Failure {
    fn parse(text: &str) -> Option<Self> {
        let (words, reason) = text.strip_prefix('"')?.split_once('"')?;
        let (words, reason) = (words.trim().to_owned(), reason.trim().to_owned());
        let is_whole = !words.is_empty() && !reason.is_empty();
        is_whole.then_some(Self { words, reason })
    }

    fn is_told_by(&self, outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Failed(text) if text.contains(&self.words))
    }
}

impl Outcome {
    /// What both tries of a test come to.
    pub(super) fn then(&self, second: Self) -> Self {
        if *self == second { second } else { Self::Twice(Box::new([self.clone(), second])) }
    }

    fn tries(&self) -> &[Self] {
        match self {
            Self::Twice(tries) => &tries[..],
            one => std::slice::from_ref(one),
        }
    }

    /// At the last try.
    pub(super) fn has_passed(&self) -> bool {
        self.tries().last() == Some(&Self::Passed)
    }

    /// At any try, and did not pass at the last one.
    pub(super) fn has_failed(&self) -> bool {
        !self.has_passed() && self.tries().iter().any(Self::is_failure)
    }

    fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Skip(reason) => write!(f, "skip: {reason}"),
            Self::Again(Failure { words, reason }) => write!(f, "may need a second try, `{words}`: {reason}"),
            Self::Miss(Failure { words, reason }) => write!(f, "miss, `{words}`: {reason}"),
            Self::Both(Failure { words, reason }) => write!(f, "miss on both sides, `{words}`: {reason}"),
            Self::LeftOut(reason) => write!(f, "left out: {reason}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::Twice(tries) => write!(f, "at the first try {}; at the second {}", tries[0], tries[1]),
        }
    }
}

#[cfg(test)]
mod tests;
