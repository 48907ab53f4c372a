//! What a judge says at its end: tests that did not pass on both sides, counts, and what is not as the list says.

use std::collections::BTreeMap;

use super::list::{List, Outcome, Verdict};

pub(super) type Outcomes = BTreeMap<String, Outcome>;

/// How the tests of a suite ended on one side or on both.
pub(super) struct Report<'a> {
    /// As `librdkafka's tests, classic protocol`.
    pub title: &'a str,
    pub list: &'a List,
    /// Those that ran.
    pub tests: &'a [&'a str],
    /// All that the suite has.
    pub known: &'a [&'a str],
    pub ours: Option<&'a Outcomes>,
    pub kafka: Option<&'a Outcomes>,
}

impl Report<'_> {
    /// Whether ours did what the list says.
    pub(super) fn print(&self) -> bool {
        let mut complaints = Vec::new();
        let mut better = Vec::new();
        eprintln!("\n{}, what did not pass on both sides:", self.title);
        for name in self.tests.iter().copied() {
            let (here, there) = (self.ours.and_then(|all| all.get(name)), self.kafka.and_then(|all| all.get(name)));
            if here.into_iter().chain(there).any(|outcome| *outcome != Outcome::Passed) {
                self.print_row(name, here, there);
            }
            match here.map(|here| self.list.judge(name, here, there)) {
                Some(Verdict::Wrong(text)) => complaints.push(format!("{name} {text}")),
                Some(Verdict::Better) => better.push(name),
                Some(Verdict::Expected) | None => {}
            }
        }
        let unknown = self.list.unknown(self.known).into_iter();
        complaints.extend(unknown.map(|name| format!("{name} is in the list, not in the suite")));
        for (name, reason) in self.list.left_out() {
            eprintln!("left out: {name}: {reason}");
        }
        for (who, outcomes) in [("Twinstream", self.ours), ("Apache Kafka 4.3.1", self.kafka)] {
            if let Some(outcomes) = outcomes {
                eprintln!("{who}, {}: {}", self.title, counts(outcomes));
            }
        }
        if !better.is_empty() {
            eprintln!("better than the list says, take their reasons away: {}", better.join(", "));
        }
        for complaint in &complaints {
            eprintln!("FAILED {complaint}");
        }
        complaints.is_empty()
    }

    fn print_row(&self, name: &str, ours: Option<&Outcome>, kafka: Option<&Outcome>) {
        let text = |outcome: Option<&Outcome>| outcome.map_or_else(|| "-".to_owned(), Outcome::to_string);
        eprintln!("  {name}\n    Twinstream: {}\n    Kafka:      {}", text(ours), text(kafka));
        if let Some(expectation) = self.list.of(name) {
            eprintln!("    list:       {expectation}");
        }
    }
}

fn counts(outcomes: &Outcomes) -> String {
    let count = |is: fn(&Outcome) -> bool| outcomes.values().filter(|outcome| is(outcome)).count();
    let passed = count(|outcome| *outcome == Outcome::Passed);
    let again = count(|outcome| *outcome != Outcome::Passed && outcome.has_passed());
    let failed = count(Outcome::has_failed);
    let skipped = outcomes.len() - passed - again - failed;
    format!("{passed} passed, {again} at the second try, {failed} failed, {skipped} skipped")
}

/// How tests ended that ran once more, beside how they ended at first.
pub(super) fn add_second_try(outcomes: &mut Outcomes, again: Outcomes) {
    for (name, second) in again {
        let both = match outcomes.get(&name) {
            Some(first) => first.then(second),
            None => second,
        };
        outcomes.insert(name, both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_failed_and_then_left_itself_out_is_counted_as_failed() {
        let failed = || Outcome::Failed("the broker is gone".to_owned());
        let skipped = || Outcome::Skipped("left out".to_owned());
        let named = |(name, outcome): (&str, Outcome)| (name.to_owned(), outcome);
        let first = [("a", failed()), ("b", failed()), ("c", skipped()), ("d", Outcome::Passed)].map(named);
        let mut outcomes = Outcomes::from(first);
        add_second_try(&mut outcomes, Outcomes::from([("a", skipped()), ("b", Outcome::Passed)].map(named)));
        assert_eq!(counts(&outcomes), "1 passed, 1 at the second try, 1 failed, 1 skipped");
    }
}
