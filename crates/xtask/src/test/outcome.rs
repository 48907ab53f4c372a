//! Reads what libtest printed.
//!
//! Invariants: only the summary lines give numbers (`test result: ok. 3 passed; 0 failed; 1 ignored; ...`), only the
//! lines `    some::name` under the last `failures:` give names.

use crate::test::Counts;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    passed: usize,
    failed: usize,
    ignored: usize,
    failures: Vec<String>,
}

impl Outcome {
    pub(super) fn parse(text: &str) -> Self {
        let mut outcome = Self::default();
        for line in text.lines() {
            if let Some(numbers) = line.strip_prefix("test result: ") {
                outcome.passed += number_before(numbers, " passed");
                outcome.failed += number_before(numbers, " failed");
                outcome.ignored += number_before(numbers, " ignored");
            } else if let Some(name) = line.strip_prefix("    ").filter(|name| !name.contains(' ')) {
                outcome.failures.push(name.to_owned());
            }
        }
        outcome
    }

    pub(super) fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// Counts, with those failures skipped that only say that a judge is missing.
    pub(super) fn counts(&self, without_judge: &[String]) -> Counts {
        let excused = without_judge.iter().filter(|test| self.failures.contains(test)).count().min(self.failed);
        Counts { passed: self.passed, failed: self.failed - excused, skipped: self.ignored + excused }
    }
}

fn number_before(text: &str, unit: &str) -> usize {
    let Some((before, _)) = text.split_once(unit) else { return 0 };
    before.rsplit(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
