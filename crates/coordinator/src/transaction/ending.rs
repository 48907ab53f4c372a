//! The end of a transaction: decided by EndTxn, by another producer or by the clock, then written to its
//! partitions, then complete.
//!
//! ```text
//! EndTxn, fencing ─▶ PrepareCommit or PrepareAbort ─▶ committed ─▶ Effect::WriteMarkers ─▶ MarkersWritten, until
//!                    all partitions have their marker ─▶ CompleteCommit or CompleteAbort
//! ```
//!
//! The producer is answered as soon as the outcome is committed; until the transaction is complete it hears
//! CONCURRENT_TRANSACTIONS when it wants to begin the next one. [`Event::Completed`] is when to ask again.

use std::collections::BTreeSet;

use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId, TopicPartition, TransactionalId};

use super::record::TransactionMetadata;
use super::request::{
    Answer, Effect, EndTxn, MarkersWritten, Producer, Refusal, TransactionState, TransactionVersion, WriteMarkers,
};
use super::state::{LATE, RequestKind, Transaction};
use super::{Decision, Event, Then, Timer, TransactionShard};
use crate::{Now, Token};

/// Pause before the record that a transaction is complete is tried again, when the log has refused it. Short,
/// because the producer waits for it.
const COMPLETE_PAUSE_MS: u64 = 200;

enum Verdict {
    /// The transaction has ended as the producer wants, before.
    Done(Producer),
    Ending(TransactionMetadata),
}

impl TransactionShard {
    pub(super) fn end_txn(&mut self, now: Now, token: Token, request: &EndTxn) -> Decision {
        match self.judge_end(now, request) {
            Ok(Verdict::Done(producer)) => Decision::answer(token, Answer::EndTxn(Ok(producer))),
            Ok(Verdict::Ending(next)) => {
                let producer = next.completed(now.wall_ms).producer; // what it goes on with
                let mut decision = self.begin_end(now, &request.transactional_id, next);
                decision.answers.push((token, Answer::EndTxn(Ok(producer))));
                decision
            }
            Err(refusal) => Decision::answer(token, Answer::EndTxn(Err(refusal))),
        }
    }

    fn judge_end(&mut self, now: Now, request: &EndTxn) -> Result<Verdict, Refusal> {
        if request.transactional_id.as_str().is_empty() {
            return Err(Refusal::Error(ErrorCode::InvalidRequest));
        }
        let Some(transaction) = self.transactions.get_mut(&request.transactional_id) else {
            return Err(Refusal::Error(ErrorCode::InvalidProducerIdMapping));
        };
        if request.version.bumps_epoch() {
            judge_v2(&transaction.stored, request, now)
        } else {
            judge_v0(transaction, request, now).map_err(Refusal::Error)
        }
    }

    /// Stores that a transaction ends and has its markers written. One that has no partitions is complete at
    /// once: both states go into one batch.
    pub(super) fn begin_end(&self, now: Now, id: &TransactionalId, next: TransactionMetadata) -> Decision {
        let mut decision = Decision::default();
        if next.partitions.is_empty() {
            let completed = next.completed(now.wall_ms);
            decision.records = vec![self.record(id, next), self.record(id, completed)];
        } else {
            decision.effects.push(write_markers(id, &next, next.partitions.clone()));
            decision.records.push(self.record(id, next));
        }
        decision
    }

    pub(super) fn markers_written(&mut self, now: Now, token: Token, report: &MarkersWritten) -> Decision {
        let id = &report.transactional_id;
        let mut decision = match self.transactions.get_mut(id) {
            Some(transaction) if is_awaited(transaction, report) => {
                transaction.unmarked.retain(|partition| !report.partitions.contains(partition));
                self.complete(now, id)
            }
            _ => Decision::default(),
        };
        decision.answers.push((token, Answer::MarkersWritten(ErrorCode::None)));
        decision
    }

    /// Stores that a transaction is complete, if it is.
    pub(super) fn complete(&self, now: Now, id: &TransactionalId) -> Decision {
        let mut decision = Decision::default();
        if let Some(transaction) = self.transactions.get(id).filter(|transaction| transaction.is_marked()) {
            decision.records.push(self.record(id, transaction.stored.completed(now.wall_ms)));
            decision.then = Some(Then::Complete(id.clone()));
        }
        decision
    }

    pub(super) fn completed(&self, id: TransactionalId) -> Decision {
        let mut decision = Decision::default();
        if let Some(transaction) = self.transactions.get(&id) {
            let stored = &transaction.stored;
            decision.events.push(Event::Completed { transactional_id: id, state: stored.state });
        }
        decision
    }

    /// The markers are written and stay so; only the record is missing.
    pub(super) fn complete_later(&mut self, now: Now, id: TransactionalId, error: ErrorCode) -> Decision {
        let due_ms = now.monotonic_ms.saturating_add(COMPLETE_PAUSE_MS);
        self.deadlines.set(Timer::Complete(id.clone()), due_ms);
        let mut decision = Decision::default();
        decision.events.push(Event::NotStored { transactional_id: id, what: "completion", error });
        decision
    }

    /// What the coordinator before this one has decided and perhaps not carried out.
    pub(super) fn resume_end(&mut self, now: Now, decision: &mut Decision) {
        for (id, transaction) in &self.transactions {
            if transaction.is_marked() {
                self.deadlines.set(Timer::Complete(id.clone()), now.monotonic_ms);
            } else if transaction.stored.state.is_ending() {
                decision.effects.push(write_markers(id, &transaction.stored, transaction.unmarked.clone()));
            }
        }
    }
}

fn is_awaited(transaction: &Transaction, report: &MarkersWritten) -> bool {
    transaction.stored.state.is_ending() && transaction.stored.producer == report.producer
}

fn write_markers(id: &TransactionalId, ending: &TransactionMetadata, partitions: BTreeSet<TopicPartition>) -> Effect {
    Effect::WriteMarkers(WriteMarkers {
        transactional_id: id.clone(),
        producer: ending.producer,
        commit: ending.state == TransactionState::PrepareCommit,
        partitions,
        version: ending.client_version,
    })
}

/// Protocols before `V2`: nothing in a request tells a repeated one from the end of the next transaction, so the
/// state alone decides.
fn judge_v0(transaction: &mut Transaction, request: &EndTxn, now: Now) -> Result<Verdict, ErrorCode> {
    let stored = &transaction.stored;
    if stored.producer.id != request.producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if stored.producer.epoch != request.producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    if !transaction.heard.note(request.producer, RequestKind::Ending, request.connection) {
        return Err(LATE);
    }
    match stored.state {
        TransactionState::Ongoing => {
            let next = stored.ending(request.commit, TransactionVersion::V0, None, now.wall_ms);
            Ok(Verdict::Ending(next))
        }
        TransactionState::CompleteCommit if request.commit => Ok(Verdict::Done(stored.producer)),
        TransactionState::CompleteAbort if !request.commit => Ok(Verdict::Done(stored.producer)),
        state if state.is_ending() => Err(ErrorCode::ConcurrentTransactions),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

/// How a `V2` request relates to the state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    /// The transaction that is there, or one that never had a partition.
    ThisEnd,
    /// The one that ended before: its answer was lost.
    LastEnd,
}

/// KIP-890: each end has its epoch, so a repeated request is known, and cannot touch the next transaction.
///
/// |                | abort, repeated | abort     | commit, repeated | commit    |
/// |----------------|-----------------|-----------|------------------|-----------|
/// | Ongoing        | fenced          | ends      | fenced           | ends      |
/// | Empty          | fenced          | new epoch | fenced           | invalid   |
/// | CompleteAbort  | done            | new epoch | invalid          | invalid   |
/// | CompleteCommit | invalid         | new epoch | done             | invalid   |
fn judge_v2(stored: &TransactionMetadata, request: &EndTxn, now: Now) -> Result<Verdict, Refusal> {
    if stored.state.is_ending() {
        // First of all: once it is complete the producer may have another id.
        return Err(Refusal::Error(ErrorCode::ConcurrentTransactions));
    }
    let means = meaning(stored, request.producer).map_err(Refusal::Error)?;
    let has_ended_so = match stored.state {
        TransactionState::CompleteCommit => request.commit,
        TransactionState::CompleteAbort => !request.commit,
        _ => false,
    };
    match means {
        Means::LastEnd if has_ended_so => Ok(Verdict::Done(stored.producer)),
        Means::ThisEnd if stored.state == TransactionState::Ongoing || !request.commit => {
            let next_id = id_after(stored.producer, request.fresh)?;
            Ok(Verdict::Ending(stored.ending(request.commit, request.version, next_id, now.wall_ms)))
        }
        _ => Err(Refusal::Error(ErrorCode::InvalidTxnState)),
    }
}

fn meaning(stored: &TransactionMetadata, producer: Producer) -> Result<Means, ErrorCode> {
    // The epoch must come from an end. Otherwise it belongs to a producer of an older protocol that was initialized
    // since, and to tell it to the one before would make two of them.
    let is_over = matches!(stored.state, TransactionState::CompleteCommit | TransactionState::CompleteAbort)
        && stored.client_version.bumps_epoch();
    let has_new_id =
        stored.producer.epoch == ProducerEpoch(0) && stored.previous_producer_id == producer.id && producer.is_last();
    if stored.producer.id != producer.id && !has_new_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if stored.producer == producer {
        return Ok(Means::ThisEnd);
    }
    let has_new_epoch = stored.producer.epoch == producer.epoch_above() && !stored.producer.is_beyond_last();
    if is_over && (has_new_epoch || has_new_id) {
        return Ok(Means::LastEnd);
    }
    Err(ErrorCode::ProducerFenced)
}

/// The id with which a producer goes on that ends its last transaction with the present one.
pub(super) fn id_after(producer: Producer, fresh: Option<ProducerId>) -> Result<Option<ProducerId>, Refusal> {
    if !producer.is_exhausted() {
        return Ok(None);
    }
    fresh.map(Some).ok_or(Refusal::NeedsProducerId)
}
