//! What producers were told of their transactions, held against what readers of committed records saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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
    /// A transaction is open though its producer has none.
    Hanging(String),
    /// A producer that is alone with its name was told that it is not.
    Fenced(String),
}

impl Anomaly {
    fn name(&self) -> &'static str {
        match self {
            Self::AbortedRead(_) => "aborted read",
            Self::LostWrite(_) => "lost write",
            Self::Torn(_) => "torn transaction",
            Self::Duplicate(_) => "duplicate",
            Self::Hanging(_) => "hanging transaction",
            Self::Fenced(_) => "producer fenced by itself",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::AbortedRead(text)
        | Self::LostWrite(text)
        | Self::Torn(text)
        | Self::Duplicate(text)
        | Self::Hanging(text)
        | Self::Fenced(text)) = self;
        write!(f, "{}: {text}", self.name())
    }
}

/// Counts by name.
pub(super) fn summary(anomalies: &[Anomaly]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for anomaly in anomalies {
        *counts.entry(anomaly.name()).or_default() += 1;
    }
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

/// Transactions with their values.
#[derive(Clone, Debug, Default)]
pub struct Ledger(BTreeMap<String, Told>);

#[derive(Clone, Debug)]
struct Told {
    values: BTreeSet<String>,
    outcome: Outcome,
}

impl Ledger {
    /// A transaction is aborted until its producer asks for more.
    pub fn begin(&mut self, transaction: &str) {
        self.0.insert(transaction.to_owned(), Told { values: BTreeSet::new(), outcome: Outcome::Aborted });
    }

    pub fn wrote(&mut self, transaction: &str, value: &str) {
        self.told(transaction).values.insert(value.to_owned());
    }

    pub fn ended(&mut self, transaction: &str, outcome: Outcome) {
        self.told(transaction).outcome = outcome;
    }

    fn told(&mut self, transaction: &str) -> &mut Told {
        self.0.get_mut(transaction).expect("a transaction that has begun")
    }

    pub fn count(&self, outcome: Outcome) -> usize {
        self.0.values().filter(|told| told.outcome == outcome).count()
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What is wrong with what readers of committed records saw.
    pub fn judge(&self, seen: &[String]) -> Vec<Anomaly> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for value in seen {
            *times.entry(value).or_default() += 1;
        }
        let mut anomalies = Vec::new();
        for (transaction, told) in &self.0 {
            let there: Vec<&String> = told.values.iter().filter(|value| times.contains_key(value.as_str())).collect();
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
            ledger.begin(transaction);
            ledger.wrote(transaction, &format!("{transaction}1"));
            ledger.wrote(transaction, &format!("{transaction}2"));
            ledger.ended(transaction, outcome);
        }
        ledger
    }

    fn judged(seen: &[&str]) -> String {
        summary(&told().judge(&seen.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()))
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
    }
}
