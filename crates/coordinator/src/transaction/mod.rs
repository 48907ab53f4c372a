//! One transaction coordinator shard: decides transaction requests, replays transaction records.
//!
//! Picture: a table of transactional ids, each with its producer and at most one transaction ([`TransactionState`]
//! has the diagram). A producer is initialized, adds partitions, ends the transaction; the outcome is a record of
//! this shard first and markers in the partitions then. Nobody else decides: markers only repeat what is stored.
//!
//! Each transition is one record with the whole state of the id, so loading means to take the newest one. Volatile
//! are the deadlines, how many markers of an ending transaction are written, and on which connections older
//! clients were heard.
//!
//! Invariants: T1 of one producer id the epoch never goes back, and no producer is ever given an epoch twice, or one
//! that a marker was written with (but by its own end of the transaction). T2 an outcome that is committed never
//! changes. T3 a transaction that runs has a deadline, one that ends an effect under way or a deadline: none hangs.
//!
//! Not here: wire versions (`handlers` of the broker), bytes (`codec`), producer ids (the controller's), who sends
//! markers (the runtime), what partitions do with them (`log`), KIP-939's two-phase commit.

mod admin; // describe, list
mod codec;
mod config;
mod ending; // how a transaction ends
mod expiry; // what time does
mod init; // who may be the producer
mod partitions; // what a transaction touches
mod pattern;
mod record;
mod request;
mod state;

use std::collections::BTreeMap;

use twinstream_model::{ErrorCode, Offset, TransactionalId};

pub use codec::{decode, encode};
pub use config::TransactionConfig;
pub use pattern::IdPattern;
pub use record::{Layout, Record, TransactionMetadata};
pub use request::{
    AddPartitions, AddPartitionsAnswer, Answer, Connection, Description, Effect, EndTxn, InitProducerId, ListFilter,
    Listing, MarkersWritten, Producer, Refusal, Request, TransactionState, TransactionVersion, WriteMarkers,
};

use crate::engine::{Now, Shard, Token, append_error};
use crate::{Deadlines, engine};
use state::Transaction;

/// The shard's kind of decision.
pub type Decision = engine::Decision<TransactionShard>;

/// All transactional ids of one partition of `__transaction_state`.
pub struct TransactionShard {
    transactions: BTreeMap<TransactionalId, Transaction>,
    deadlines: Deadlines<Timer>,
    config: TransactionConfig,
}

/// What falls due. Field order is the order in which simultaneous deadlines fire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The transaction has taken too long.
    Timeout(TransactionalId),
    /// All markers are written, and the record that says so shall be stored.
    Complete(TransactionalId),
    /// Ids that nobody uses are looked for.
    Expiry,
}

/// What remains to be done once the records of a decision are in the log.
pub enum Then {
    /// The transaction's time begins.
    Begin(TransactionalId),
    /// The transaction is over.
    Complete(TransactionalId),
    /// The transaction was aborted because of its timeout.
    Abort(TransactionalId),
}

/// What an operator may want to read in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Initialized {
        transactional_id: TransactionalId,
        producer: Producer,
    },
    /// A new producer came while the one before it had a transaction, which is aborted.
    Replaced {
        transactional_id: TransactionalId,
    },
    TimedOut {
        transactional_id: TransactionalId,
        producer: Producer,
        timeout_ms: i32,
    },
    Completed {
        transactional_id: TransactionalId,
        state: TransactionState,
    },
    NotStored {
        transactional_id: TransactionalId,
        what: &'static str,
        error: ErrorCode,
    },
    IdsExpired {
        ids: usize,
    },
}

impl TransactionShard {
    pub fn new(config: TransactionConfig) -> TransactionShard {
        TransactionShard { transactions: BTreeMap::new(), deadlines: Deadlines::default(), config }
    }

    /// How many transactional ids the shard knows, by state; for metrics.
    pub fn count_by_state(&self) -> BTreeMap<TransactionState, usize> {
        let mut counts = BTreeMap::new();
        for transaction in self.transactions.values() {
            *counts.entry(transaction.stored.state).or_default() += 1;
        }
        counts
    }

    /// Panics if the books of any transaction do not add up; for tests and simulation.
    pub fn check_invariants(&self) {
        for (id, transaction) in &self.transactions {
            transaction.check_invariants();
            let has_clock = self.deadlines.get(&Timer::Timeout(id.clone())).is_some();
            let runs = transaction.stored.state == TransactionState::Ongoing;
            assert!(has_clock == (runs && transaction.stored.timeout_ms != i32::MAX), "{id}: clock {has_clock}");
        }
    }

    fn record(&self, id: &TransactionalId, value: TransactionMetadata) -> Record {
        let has_tags = self.config.version > TransactionVersion::V0 || value.client_version.bumps_epoch();
        let layout = if has_tags { Layout::V1 } else { Layout::V0 };
        Record { transactional_id: id.clone(), value: Some(TransactionMetadata { layout, ..value }) }
    }
}

impl Shard for TransactionShard {
    type Request = Request;
    type Answer = Answer;
    type Record = Record;
    type Event = Event;
    type Then = Then;
    type Effect = Effect;

    fn decide(&mut self, now: Now, token: Token, request: Request) -> Decision {
        match request {
            Request::InitProducerId(init) => self.init_producer_id(now, token, &init),
            Request::AddPartitions(add) => self.add_partitions(now, token, add),
            Request::EndTxn(end) => self.end_txn(now, token, &end),
            Request::MarkersWritten(report) => self.markers_written(now, token, &report),
            Request::Describe(id) => self.describe(token, &id),
            Request::List(filter) => self.list(now, token, &filter),
            Request::SetVersion(version) => {
                self.config.version = version;
                Decision::answer(token, Answer::SetVersion(ErrorCode::None))
            }
        }
    }

    fn expire(&mut self, now: Now) -> Option<Decision> {
        let decision = match self.deadlines.pop_due(now.monotonic_ms)? {
            Timer::Timeout(id) => self.abort_timed_out(now, id),
            Timer::Complete(id) => self.complete(now, &id),
            Timer::Expiry => self.expire_ids(now),
        };
        Some(decision)
    }

    fn replay(&mut self, _offset: Offset, record: &Record) {
        let id = &record.transactional_id;
        if record.value.as_ref().is_none_or(|value| value.state != TransactionState::Ongoing) {
            self.deadlines.cancel(&Timer::Timeout(id.clone()));
        }
        let Some(value) = &record.value else {
            self.transactions.remove(id);
            return;
        };
        match self.transactions.get_mut(id) {
            Some(transaction) => transaction.adopt(value.clone()),
            None => {
                self.transactions.insert(id.clone(), Transaction::new(value.clone()));
            }
        }
    }

    fn stored(&mut self, now: Now, then: Then) -> Decision {
        match then {
            Then::Begin(id) => {
                self.start_clock(now, id);
                Decision::default()
            }
            Then::Complete(id) => self.completed(id),
            Then::Abort(_) => Decision::default(),
        }
    }

    fn not_stored(&mut self, now: Now, then: Then, error: ErrorCode) -> Decision {
        match then {
            Then::Begin(_) => Decision::default(), // nothing has begun
            Then::Complete(id) => self.complete_later(now, id, error),
            Then::Abort(id) => self.abort_later(now, id, error),
        }
    }

    fn failed(answer: Answer, error: ErrorCode) -> Answer {
        answer.failed(append_error(error))
    }

    fn loaded(&mut self, now: Now) -> Decision {
        let mut decision = Decision::default();
        self.resume_clocks(now);
        self.resume_end(now, &mut decision);
        decision
    }

    fn unload(&mut self, _error: ErrorCode) -> Vec<(Token, Answer)> {
        self.transactions.clear();
        self.deadlines = Deadlines::default();
        Vec::new() // nothing is ever parked
    }

    fn next_deadline(&self) -> Option<u64> {
        self.deadlines.next()
    }

    fn record_bytes(record: &Record) -> usize {
        record.approximate_bytes()
    }
}

#[cfg(test)]
mod tests;
