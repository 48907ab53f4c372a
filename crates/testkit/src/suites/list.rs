//! What is expected of each test of a suite, as a file that a person edits.
//!
//! A line is `name expectation reason`: `pass`, or with a reason `skip` (the test leaves itself out here) or `miss` (it
//! fails here). `out` is a test, a file or a folder that the judge does not run at all. Empty lines and lines that begin
//! with `#` say nothing.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    Pass,
    Skip(String),
    Miss(String),
    /// By its name or by that of its file or folder.
    LeftOut(String),
}

/// How a test ended, with what it said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
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
            let reason = reason.trim().to_owned();
            let expectation = match (word, reason.is_empty()) {
                ("pass", true) => Expectation::Pass,
                ("skip", false) => Expectation::Skip(reason),
                ("miss", false) => Expectation::Miss(reason),
                ("out", false) => Expectation::LeftOut(reason),
                _ => panic!("`{line}` is none of `name pass` and `name skip|miss|out reason`"),
            };
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
            Expectation::Pass | Expectation::Skip(_) | Expectation::Miss(_) => None,
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
            (Some(Expectation::Miss(_)), Outcome::Passed) => Verdict::Better,
            (Some(Expectation::Miss(_)), _) | (Some(Expectation::Pass), Outcome::Passed) => Verdict::Expected,
            (Some(Expectation::Skip(_)), Outcome::Passed) => Verdict::Better,
            (Some(Expectation::Skip(_)), Outcome::Skipped(_)) => match kafka {
                Some(Outcome::Passed) => wrong("leaves itself out here, and passes at Kafka".to_owned()),
                _ => Verdict::Expected,
            },
            (Some(_), outcome) => wrong(outcome.to_string()),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Skip(reason) => write!(f, "skip: {reason}"),
            Self::Miss(reason) => write!(f, "miss: {reason}"),
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
        }
    }
}

#[cfg(test)]
mod tests;
