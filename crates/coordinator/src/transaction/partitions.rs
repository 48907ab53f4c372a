//! AddPartitionsToTxn, and the verification that a partition is in a transaction (KIP-890).

use twinstream_model::ErrorCode;

use super::request::{AddPartitions, AddPartitionsAnswer, Answer, TransactionState};
use super::state::{LATE, RequestKind, Transaction};
use super::{Decision, Then, TransactionShard};
use crate::{Now, Token};

impl TransactionShard {
    pub(super) fn add_partitions(&mut self, now: Now, token: Token, request: AddPartitions) -> Decision {
        let answer = |answer| Decision::answer(token, Answer::AddPartitions(answer));
        if request.transactional_id.as_str().is_empty() {
            return answer(AddPartitionsAnswer::all(ErrorCode::InvalidRequest));
        }
        let Some(transaction) = self.transactions.get_mut(&request.transactional_id) else {
            return answer(AddPartitionsAnswer::all(ErrorCode::InvalidProducerIdMapping));
        };
        if request.verify_only {
            return answer(verify(transaction, request));
        }
        if let Err(error) = check(transaction, &request) {
            return answer(AddPartitionsAnswer::all(error));
        }
        let mut decision = answer(AddPartitionsAnswer::all(ErrorCode::None));
        let stored = &transaction.stored;
        let is_running = stored.state == TransactionState::Ongoing;
        if is_running && request.partitions.is_subset(&stored.partitions) {
            return decision; // nothing to store
        }
        let next = stored.with_partitions(&request.partitions, request.version, now.wall_ms);
        if !is_running {
            decision.then = Some(Then::Begin(request.transactional_id.clone()));
        }
        decision.records.push(self.record(&request.transactional_id, next));
        decision
    }
}

/// While a transaction ends its producer has no pair that counts: a `V2` producer may already use the next one,
/// so only "later" can be said.
fn check(transaction: &mut Transaction, request: &AddPartitions) -> Result<(), ErrorCode> {
    let stored = &transaction.stored;
    if stored.state.is_ending() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    if stored.producer.id != request.producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if stored.producer.epoch != request.producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    let is_older_protocol = !request.version.bumps_epoch();
    if is_older_protocol && !transaction.heard.note(request.producer, RequestKind::Adding, request.connection) {
        return Err(LATE);
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
