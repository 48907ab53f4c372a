//! A producer of transactions that notes each step in the history.

use twinstream_model::TopicPartition;

use super::Values;
use super::transactor::{Refusal, Transactor};
use crate::history::{Outcome, Pen, Value, What, Worker};

/// One worker, with one transactional id.
pub struct Author {
    pub transactor: Transactor,
    values: Values,
    pen: Pen,
}

impl Author {
    pub fn new(transactor: Transactor, pen: impl Into<Pen>) -> Self {
        let pen = pen.into();
        Self { transactor, values: Values { worker: pen.worker(), next: 0 }, pen }
    }

    pub fn worker(&self) -> Worker {
        self.values.worker
    }

    pub fn begin(&self) {
        self.pen.note(self.worker(), What::Begin);
    }

    /// Sends a batch of so many values.
    pub async fn send(&mut self, partition: &TopicPartition, count: u64) -> Result<(), Refusal> {
        let values: Vec<Value> = (0..count).map(|_| self.values.next()).collect();
        let index = partition.partition.0;
        self.pen.note(self.worker(), What::Send { partition: index, values: values.clone() });
        let (what, told) = match self.transactor.send(partition, &values).await {
            Ok(offset) => (What::Sent { partition: index, values, offset }, Ok(())),
            Err(refusal) if refusal.in_doubt => (What::Unknown { values, reason: refusal.to_string() }, Err(refusal)),
            Err(refusal) => (What::Failed { values, reason: refusal.to_string() }, Err(refusal)),
        };
        self.pen.note(self.worker(), what);
        told
    }

    /// Asks for the end; what is open is aborted where a commit was refused.
    pub async fn end(&mut self, commit: bool) -> Result<(), Refusal> {
        self.pen.note(self.worker(), What::Ending { commit });
        let told = self.transactor.end(commit).await;
        let outcome = match &told {
            Ok(()) if commit => Outcome::Committed,
            Err(refusal) if commit && refusal.in_doubt => Outcome::Unknown,
            Ok(()) | Err(_) => Outcome::Aborted,
        };
        self.pen.note(self.worker(), What::Ended { outcome });
        told
    }

    /// Leaves the transaction behind, to be ended by whoever takes the name, or by its timeout.
    pub fn leave(&self) {
        self.pen.note(self.worker(), What::Ended { outcome: Outcome::Aborted });
    }
}
