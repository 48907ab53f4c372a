//! What is expected of each test of a suite, as a file that a person edits.
//!
//! A line is `name expectation reason`: `pass`; `again` (the test may need a second try); `skip` (it leaves itself out
//! here); `miss "failure" reason` (it fails here, and says this among other things; what fails otherwise is no miss).
//! `out` is a test, a file or a folder that the judge does not run at all. All but `pass` have a reason. Empty lines and
//! lines that begin with `#` say nothing.

use std::collections::BTreeMap;
use std::fmt;

const MISS: &str = "name miss \"failure\" reason";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    Pass,
    /// What fails at the first try, and why that is nothing to mend.
    Again(String),
    Skip(String),
    Miss(Miss),
    /// By its name or by that of its file or folder.
    LeftOut(String),
}

/// One known failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Miss {
    /// A part of what the test says then.
    failure: String,
    reason: String,
}

/// How a test ended, with what it said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// With how it ended at the first.
    PassedAtSecondTry(String),
    Skipped(String),
    Failed(String),
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
            let expectation = Expectation::parse(word, reason.trim())
                .unwrap_or_else(|| panic!("`{line}` is none of `name pass`, `name again|skip|out reason`, `{MISS}`"));
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
        let wrong = |text: String| Verdict::Wrong(text);
        match (self.of(name), ours) {
            (None, outcome) => wrong(format!("is not in the list, and {outcome}")),
            (Some(Expectation::Pass | Expectation::Again(_)), Outcome::Passed) => Verdict::Expected,
            (Some(Expectation::Skip(_) | Expectation::Miss(_)), Outcome::Passed) => Verdict::Better,
            (Some(Expectation::Again(_)), Outcome::PassedAtSecondTry(_)) => Verdict::Expected,
            (Some(Expectation::Miss(miss)), Outcome::Failed(text)) => match text.contains(&miss.failure) {
                true => Verdict::Expected,
                false => wrong(format!("{ours}; the list says `{}`", miss.failure)),
            },
            (Some(Expectation::Skip(_)), Outcome::Skipped(_)) => match kafka {
                Some(Outcome::Passed | Outcome::PassedAtSecondTry(_)) => {
                    wrong("leaves itself out here, and passes at Kafka".to_owned())
                }
                _ => Verdict::Expected,
            },
            (Some(_), outcome) => wrong(outcome.to_string()),
        }
    }
}

impl Expectation {
    fn parse(word: &str, rest: &str) -> Option<Self> {
        match (word, rest.is_empty()) {
            ("pass", true) => Some(Self::Pass),
            ("again", false) => Some(Self::Again(rest.to_owned())),
            ("skip", false) => Some(Self::Skip(rest.to_owned())),
            ("out", false) => Some(Self::LeftOut(rest.to_owned())),
            ("miss", false) => {
                let (failure, reason) = rest.strip_prefix('"')?.split_once('"')?;
                let (failure, reason) = (failure.trim().to_owned(), reason.trim().to_owned());
                let is_whole = !failure.is_empty() && !reason.is_empty();
                is_whole.then_some(Self::Miss(Miss { failure, reason }))
            }
            _ => None,
        }
    }
}

impl Outcome {
    /// What both tries of a test come to.
    pub(super) fn then(&self, second: Self) -> Self {
        match (self, second) {
            (Self::Passed, Self::Passed) => Self::Passed,
            (first, Self::Passed) => Self::PassedAtSecondTry(first.to_string()),
            (Self::Failed(first), Self::Failed(second)) if *first != second => {
                Self::Failed(format!("{second}; at the first try: {first}"))
            }
            (_, second) => second,
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Skip(reason) => write!(f, "skip: {reason}"),
            Self::Again(reason) => write!(f, "may need a second try: {reason}"),
            Self::Miss(Miss { failure, reason }) => write!(f, "miss, `{failure}`: {reason}"),
            Self::LeftOut(reason) => write!(f, "left out: {reason}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::PassedAtSecondTry(first) => write!(f, "passed at the second try; at the first {first}"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
