//! AddPartitionsToTxn, and the verification that a partition is in a transaction (KIP-890).
//!
//! The next transaction's first partition mostly comes while the markers of the one before are on their way. To
//! refuse it would make the client pause for longer than that takes, so it waits here a moment, and what waits for
//! one transaction is stored as one record.

use std::collections::BTreeSet;

use twinstream_model::{ErrorCode, TransactionalId};

use super::request::{AddPartitions, AddPartitionsAnswer, Answer, TransactionState, TransactionVersion};
use super::state::{RequestKind, Transaction};
use super::{Decision, Then, Timer, TransactionShard};
use crate::{Now, Token};

/// How long partitions wait for the end of the transaction before; Kafka's brokers repeat their requests for as long
/// (`add.partitions.to.txn.retry.backoff.max.ms`).
const WAIT_MS_MAX: u64 = 100;

/// Requests of one transactional id that wait. Each partition that is produced to may ask, at every retry.
const WAITING_MAX: usize = 64;

impl TransactionShard {
    pub(super) fn add_partitions(&mut self, now: Now, token: Token, request: AddPartitions) -> Decision {
        let answer = |answer| Decision::answer(token, Answer::AddPartitions(answer));
        let id = request.transactional_id.clone();
        if id.as_str().is_empty() {
            return answer(AddPartitionsAnswer::all(ErrorCode::InvalidRequest));
        }
        let Some(transaction) = self.transactions.get_mut(&id) else {
            return answer(AddPartitionsAnswer::all(ErrorCode::InvalidProducerIdMapping));
        };
        if request.verify_only {
            return answer(verify(transaction, request));
        }
        if let Err(error) = check(transaction, &request) {
            return answer(AddPartitionsAnswer::all(error));
        }
        if !transaction.stored.state.is_ending() {
            return self.extend(now, &id, vec![(token, request)]);
        }
        if transaction.waiting.len() >= WAITING_MAX {
            return answer(AddPartitionsAnswer::all(ErrorCode::ConcurrentTransactions));
        }
        if transaction.waiting.is_empty() {
            self.deadlines.set(Timer::Waiting(id), now.monotonic_ms.saturating_add(WAIT_MS_MAX));
        }
        transaction.waiting.push((token, request));
        Decision::default()
    }

    /// Stores what checked requests add; a transaction begins by it if there is none.
    fn extend(&self, now: Now, id: &TransactionalId, requests: Vec<(Token, AddPartitions)>) -> Decision {
        let mut decision = Decision::default();
        let Some(transaction) = self.transactions.get(id) else { return decision };
        let mut added = BTreeSet::new();
        let mut version = TransactionVersion::default();
        for (token, request) in requests {
            version = request.version;
            added.extend(request.partitions);
            decision.answers.push((token, Answer::AddPartitions(AddPartitionsAnswer::all(ErrorCode::None))));
        }
        let stored = &transaction.stored;
        let is_running = stored.state == TransactionState::Ongoing;
        if is_running && added.is_subset(&stored.partitions) {
            return decision; // nothing to store
        }
        if !is_running {
            decision.then = Some(Then::Begin(id.clone()));
        }
        decision.records.push(self.record(id, stored.with_partitions(&added, version, now.wall_ms)));
        decision
    }

    /// The transaction before is over.
    pub(super) fn extend_by_waiting(&mut self, now: Now, id: &TransactionalId) -> Decision {
        let waiting = self.take_waiting(id);
        if waiting.is_empty() { Decision::default() } else { self.extend(now, id, waiting) }
    }

    /// The transaction before takes too long.
    pub(super) fn refuse_waiting(&mut self, id: &TransactionalId) -> Decision {
        let refused = AddPartitionsAnswer::all(ErrorCode::ConcurrentTransactions);
        let waiting = self.take_waiting(id).into_iter();
        let answers = waiting.map(|(token, _)| (token, Answer::AddPartitions(refused.clone()))).collect();
        Decision { answers, ..Decision::default() }
    }

    fn take_waiting(&mut self, id: &TransactionalId) -> Vec<(Token, AddPartitions)> {
        self.deadlines.cancel(&Timer::Waiting(id.clone()));
        self.transactions.get_mut(id).map(|transaction| std::mem::take(&mut transaction.waiting)).unwrap_or_default()
    }
}

/// While a transaction ends only the pair with which its producer goes on counts. To others nothing but "later" can
/// be said before it is over.
fn check(transaction: &mut Transaction, request: &AddPartitions) -> Result<(), ErrorCode> {
    let stored = &transaction.stored;
    let current = stored.producer_after();
    if stored.state.is_ending() && request.producer != current {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    if request.producer.id != current.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if request.producer.epoch != current.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    let is_older_protocol = !request.version.bumps_epoch();
    if is_older_protocol && !transaction.heard.note(request.producer, RequestKind::Adding, request.connection) {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    Ok(())
}

fn verify(transaction: &Transaction, request: AddPartitions) -> AddPartitionsAnswer {
    let stored = &transaction.stored;
    if stored.producer.id != request.producer.id {
        return AddPartitionsAnswer::all(ErrorCode::InvalidProducerIdMapping);
    }
    if stored.producer.epoch != request.producer.epoch {
        return AddPartitionsAnswer::all(ErrorCode::ProducerFenced);
    }
    if stored.state.is_ending() {
        return AddPartitionsAnswer::all(ErrorCode::ConcurrentTransactions);
    }
    let missing = request.partitions.into_iter().filter(|partition| !stored.partitions.contains(partition)).collect();
    AddPartitionsAnswer { error: ErrorCode::None, missing }
}
