//! What producers were told of their transactions, held against what readers of committed records saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::load::Refusal;

/// How a transaction ended, as far as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// The producer aborted it, or gave it up without ever having asked for its commit.
    Aborted,
    /// The producer asked for a commit, and does not know.
    Unknown,
}

/// What is wrong, by the names of Jepsen's Kafka checker where it has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    AbortedRead(String),
    LostWrite(String),
    Torn(String),
    Duplicate(String),
    /// A value that nobody wrote to that partition.
    Garbage(String),
    /// Values of one producer that come in another order than it wrote them.
    Reordered(String),
    /// A transaction is open though its producer has none.
    Hanging(String),
    /// A producer that is alone with its name was told that it is not.
    Fenced(String),
    /// A producer got no good answer for as long as it tried.
    Unanswered(String),
}

impl Anomaly {
    /// What a producer met that is alone with its name.
    pub fn of(transaction: &str, refusal: &Refusal) -> Self {
        let text = format!("{transaction}: {refusal}");
        if refusal.gave_up { Self::Unanswered(text) } else { Self::Fenced(text) }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::AbortedRead(_) => "aborted read",
            Self::LostWrite(_) => "lost write",
            Self::Torn(_) => "torn transaction",
            Self::Duplicate(_) => "duplicate",
            Self::Garbage(_) => "garbage read",
            Self::Reordered(_) => "reordered",
            Self::Hanging(_) => "hanging transaction",
            Self::Fenced(_) => "producer fenced by itself",
            Self::Unanswered(_) => "producer without an answer",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::AbortedRead(text)
        | Self::LostWrite(text)
        | Self::Torn(text)
        | Self::Duplicate(text)
        | Self::Garbage(text)
        | Self::Reordered(text)
        | Self::Hanging(text)
        | Self::Fenced(text)
        | Self::Unanswered(text)) = self;
        write!(f, "{}: {text}", self.name())
    }
}

/// Counts by name.
pub(super) fn counts(anomalies: &[Anomaly]) -> BTreeMap<&'static str, usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for anomaly in anomalies {
        *counts.entry(anomaly.name()).or_default() += 1;
    }
    counts
}

pub(super) fn summary(anomalies: &[Anomaly]) -> String {
    counts(anomalies).iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

/// Committed values by partition, in the order of the log.
pub type Seen = BTreeMap<i32, Vec<String>>;

/// Transactions with their values.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    told: BTreeMap<String, Told>,
    /// Of values.
    next: usize,
}

#[derive(Clone, Debug)]
struct Told {
    producer: String,
    /// Where each value was written to, and as the how manyth of its ledger.
    values: BTreeMap<String, (i32, usize)>,
    outcome: Outcome,
}

impl Ledger {
    /// A transaction is aborted until its producer asks for more.
    pub fn begin(&mut self, producer: &str, transaction: &str) {
        let told = Told { producer: producer.to_owned(), values: BTreeMap::new(), outcome: Outcome::Aborted };
        self.told.insert(transaction.to_owned(), told);
    }

    /// A value that is written only once.
    pub fn wrote(&mut self, transaction: &str, partition: i32, value: &str) {
        let number = self.next;
        self.next += 1;
        self.told(transaction).values.insert(value.to_owned(), (partition, number));
    }

    pub fn ended(&mut self, transaction: &str, outcome: Outcome) {
        self.told(transaction).outcome = outcome;
    }

    fn told(&mut self, transaction: &str) -> &mut Told {
        self.told.get_mut(transaction).expect("a transaction that has begun")
    }

    pub fn count(&self, outcome: Outcome) -> usize {
        self.told.values().filter(|told| told.outcome == outcome).count()
    }

    /// A ledger of other producers.
    pub fn extend(&mut self, other: Self) {
        self.told.extend(other.told);
    }

    /// What is wrong with what readers of committed records saw.
    pub fn judge(&self, seen: &Seen) -> Vec<Anomaly> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for value in seen.values().flatten() {
            *times.entry(value).or_default() += 1;
        }
        let mut anomalies = Vec::new();
        for (transaction, told) in &self.told {
            let there: Vec<&String> = told.values.keys().filter(|value| times.contains_key(value.as_str())).collect();
            let text = || format!("{} of {} records of {transaction} are there", there.len(), told.values.len());
            match told.outcome {
                Outcome::Committed if there.is_empty() && !told.values.is_empty() => {
                    anomalies.push(Anomaly::LostWrite(text()));
                }
                Outcome::Committed | Outcome::Unknown if !there.is_empty() && there.len() < told.values.len() => {
                    anomalies.push(Anomaly::Torn(text()));
                }
                Outcome::Aborted if !there.is_empty() => anomalies.push(Anomaly::AbortedRead(text())),
                _ => {}
            }
            let doubled = there.iter().filter(|value| times[value.as_str()] > 1);
            anomalies.extend(doubled.map(|value| Anomaly::Duplicate((*value).clone())));
        }
        anomalies.extend(self.misplaced(seen));
        anomalies
    }

    /// Values that nobody wrote there, and those that come after later ones of their producer.
    fn misplaced(&self, seen: &Seen) -> Vec<Anomaly> {
        let values = self.told.values().flat_map(|told| told.values.iter().map(move |(value, at)| (value, (told, at))));
        let written: BTreeMap<&String, (&Told, &(i32, usize))> = values.collect();
        let mut anomalies = Vec::new();
        for (partition, values) in seen {
            let mut last: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
            let mut known = BTreeSet::new();
            for value in values {
                let Some((told, (_, number))) = written.get(value).filter(|(_, (of, _))| of == partition) else {
                    anomalies.push(Anomaly::Garbage(format!("{value:?} in partition {partition}")));
                    continue;
                };
                // A duplicate is one anomaly, not two.
                if !known.insert(value) {
                    continue;
                }
                match last.get(told.producer.as_str()) {
                    Some((later, after)) if later > number => {
                        anomalies.push(Anomaly::Reordered(format!("{value} after {after} in partition {partition}")));
                    }
                    _ => _ = last.insert(&told.producer, (*number, value)),
                }
            }
        }
        anomalies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Ledger {
        let mut ledger = Ledger::default();
        for (transaction, outcome) in
            [("c", Outcome::Committed), ("d", Outcome::Committed), ("a", Outcome::Aborted), ("u", Outcome::Unknown)]
        {
            ledger.begin("p", transaction);
            ledger.wrote(transaction, 0, &format!("{transaction}1"));
            ledger.wrote(transaction, 0, &format!("{transaction}2"));
            ledger.ended(transaction, outcome);
        }
        ledger
    }

    fn judged_in(partition: i32, seen: &[&str]) -> String {
        let seen = seen.iter().map(|value| (*value).to_owned()).collect();
        summary(&told().judge(&BTreeMap::from([(partition, seen)])))
    }

    fn judged(seen: &[&str]) -> String {
        judged_in(0, seen)
    }

    #[test]
    fn whole_transactions_are_clean() {
        assert_eq!(judged(&["c1", "c2", "d1", "d2"]), "");
        assert_eq!(judged(&["c1", "c2", "d1", "d2", "u1", "u2"]), "");
    }

    #[test]
    fn each_anomaly_has_its_name() {
        assert_eq!(judged(&["d1", "d2"]), "1 lost write");
        assert_eq!(judged(&["c1", "d1", "d2"]), "1 torn transaction");
        assert_eq!(judged(&["c1", "c2", "d1", "d2", "a1"]), "1 aborted read");
        assert_eq!(judged(&["c1", "c2", "d1", "d2", "u2"]), "1 torn transaction");
        assert_eq!(judged(&["c1", "c1", "c2", "d1", "d2"]), "1 duplicate");
        assert_eq!(judged(&["c1", "c2", "d1", "d2", "x"]), "1 garbage read");
        assert_eq!(judged(&["c1", "d1", "c2", "d2"]), "1 reordered");
        assert_eq!(judged_in(1, &["c1", "c2", "d1", "d2"]), "4 garbage read");
    }

    #[test]
    fn producers_are_in_no_order_among_each_other() {
        let (mut ledger, mut other) = (told(), Ledger::default());
        other.begin("q", "e");
        other.wrote("e", 0, "e1");
        other.wrote("e", 0, "e2");
        other.ended("e", Outcome::Committed);
        ledger.extend(other);
        let seen = ["c1", "e1", "c2", "d1", "d2", "e2"].map(str::to_owned).to_vec();
        assert_eq!(summary(&ledger.judge(&BTreeMap::from([(0, seen)]))), "");
    }

    #[test]
    fn silence_is_not_a_fence() {
        let refusal = |gave_up| Refusal { step: "EndTxn", code: None, reason: String::new(), in_doubt: true, gave_up };
        assert_eq!(summary(&[Anomaly::of("t", &refusal(true))]), "1 producer without an answer");
        assert_eq!(summary(&[Anomaly::of("t", &refusal(false))]), "1 producer fenced by itself");
    }
}
