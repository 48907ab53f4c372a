//! What became of each transaction.
//!
//! A producer is told, or it is not. One that never asked for a commit cannot have been committed, whatever it was told
//! (KIP-98); one whose producer does not know was committed if a reader of committed records saw any of its values.

use std::collections::BTreeMap;

use crate::history::{Event, Outcome, Value, What, Worker};

/// One transaction of one worker.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub worker: Worker,
    pub began_us: u64,
    /// When its commit was asked for.
    pub commit_us: Option<u64>,
    outcome: Option<(Outcome, u64)>,
    /// What it polled, and where.
    pub polled: Vec<(i32, Value)>,
    /// A value of it that a reader of committed records saw.
    seen: Option<Value>,
}

impl Transaction {
    /// What its producer knows.
    pub(super) fn told(&self) -> Outcome {
        match (self.outcome, self.commit_us) {
            (Some((outcome @ (Outcome::Committed | Outcome::Aborted), _)), _) => outcome,
            (_, Some(_)) => Outcome::Unknown,
            (_, None) => Outcome::Aborted,
        }
    }

    /// What we know.
    pub(super) fn fate(&self) -> Outcome {
        match self.told() {
            Outcome::Unknown if self.seen.is_some() => Outcome::Committed,
            told => told,
        }
    }

    /// Since when it was committed: the moment at which its producer was told, or asked.
    pub(super) fn committed_us(&self) -> Option<u64> {
        if self.fate() != Outcome::Committed {
            return None;
        }
        self.outcome.map(|(_, at_us)| at_us).or(self.commit_us)
    }

    pub(super) fn how_committed(&self) -> String {
        match (self.told(), self.seen) {
            (Outcome::Unknown, Some(seen)) => format!("committed, since {seen} of the same transaction was read"),
            _ => "committed".to_owned(),
        }
    }

    pub(super) fn how_aborted(&self) -> &'static str {
        if self.commit_us.is_none() { "was never to be committed" } else { "was aborted" }
    }
}

/// All transactions of a history, in the order of their beginnings.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    all: Vec<Transaction>,
    open: BTreeMap<Worker, usize>,
    of_values: BTreeMap<Value, usize>,
}

impl Transactions {
    pub(super) fn take_in(&mut self, event: &Event) {
        if matches!(event.what, What::Begin) {
            let (worker, began_us) = (event.worker, event.at_us);
            let new = Transaction { worker, began_us, commit_us: None, outcome: None, polled: Vec::new(), seen: None };
            self.open.insert(worker, self.all.len());
            self.all.push(new);
            return;
        }
        let Some(index) = self.open.get(&event.worker).copied() else { return };
        let transaction = &mut self.all[index];
        match &event.what {
            What::Send { values, .. } => self.of_values.extend(values.iter().map(|value| (*value, index))),
            What::Polled { partition, records } => {
                transaction.polled.extend(records.iter().map(|(_, value)| (*partition, *value)));
            }
            What::Ending { commit: true } => transaction.commit_us = transaction.commit_us.or(Some(event.at_us)),
            What::Ended { outcome } => {
                transaction.outcome = Some((*outcome, event.at_us));
                self.open.remove(&event.worker);
            }
            _ => {}
        }
    }

    /// A reader of committed records saw this value.
    pub(super) fn was_read(&mut self, value: Value) {
        if let Some(index) = self.of_values.get(&value) {
            self.all[*index].seen.get_or_insert(value);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Transaction> {
        self.all.iter()
    }

    pub(super) fn get(&self, index: usize) -> &Transaction {
        &self.all[index]
    }

    /// The transaction that a value was sent in.
    pub(super) fn of(&self, value: Value) -> Option<&Transaction> {
        self.index_of(value).map(|index| &self.all[index])
    }

    pub(super) fn index_of(&self, value: Value) -> Option<usize> {
        self.of_values.get(&value).copied()
    }

    pub(super) fn are_of_one(&self, one: Value, other: Value) -> bool {
        self.index_of(one).is_some() && self.index_of(one) == self.index_of(other)
    }
}
