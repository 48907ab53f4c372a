//! InitProducerId: who may be the producer of a transactional id from now on.
//!
//! A new producer takes the id over: whoever had it before is fenced by a higher epoch, and a transaction that it
//! left open is aborted first. A producer that wants to go on after an error names what it has (KIP-360) and is
//! refused if it is not the newest.

use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId};

use super::ending::id_after;
use super::record::TransactionMetadata;
use super::request::{Answer, InitProducerId, Producer, Refusal, TransactionState};
use super::{Decision, Event, TransactionShard};
use crate::{Now, Token};

enum Verdict {
    /// The producer is what the new state says.
    Initialized(TransactionMetadata),
    /// Another producer's transaction is in the way.
    Fenced(TransactionMetadata),
}

impl TransactionShard {
    pub(super) fn init_producer_id(&self, now: Now, token: Token, request: &InitProducerId) -> Decision {
        let id = &request.transactional_id;
        match self.judge_init(now, request) {
            Ok(Verdict::Initialized(next)) => {
                let producer = next.producer;
                let mut decision = Decision::answer(token, Answer::InitProducerId(Ok(producer)));
                decision.events.push(Event::Initialized { transactional_id: id.clone(), producer });
                decision.records.push(self.record(id, next));
                decision
            }
            Ok(Verdict::Fenced(next)) => {
                let mut decision = self.begin_end(now, id, next);
                // The producer comes back, finds the transaction aborted, and gets an epoch above that of the abort.
                let refusal = Refusal::Error(ErrorCode::ConcurrentTransactions);
                decision.answers.push((token, Answer::InitProducerId(Err(refusal))));
                decision.events.push(Event::Replaced { transactional_id: id.clone() });
                decision
            }
            Err(refusal) => Decision::answer(token, Answer::InitProducerId(Err(refusal))),
        }
    }

    fn judge_init(&self, now: Now, request: &InitProducerId) -> Result<Verdict, Refusal> {
        if request.transactional_id.as_str().is_empty() {
            return Err(Refusal::Error(ErrorCode::InvalidRequest));
        }
        if !(1..=self.config.timeout_ms_max).contains(&request.timeout_ms) {
            return Err(Refusal::Error(ErrorCode::InvalidTransactionTimeout));
        }
        let Some(transaction) = self.transactions.get(&request.transactional_id) else {
            // A producer that names an id of old is one whose transactional id was forgotten: it starts anew.
            let fresh = request.fresh.ok_or(Refusal::NeedsProducerId)?;
            return Ok(Verdict::Initialized(TransactionMetadata::first(fresh, request.timeout_ms, now.wall_ms)));
        };
        let stored = &transaction.stored;
        if stored.state.is_ending() {
            return Err(Refusal::Error(ErrorCode::ConcurrentTransactions));
        }
        if request.producer.is_some_and(|producer| !may_go_on(stored, producer)) {
            return Err(Refusal::Error(ErrorCode::ProducerFenced));
        }
        if stored.state == TransactionState::Ongoing {
            // Whoever has begun a transaction has heard of its last epoch: one that names an older epoch was fenced since, and
            // would abort what the producer after it has begun.
            if request.producer.is_some_and(|producer| producer != stored.producer) {
                return Err(Refusal::Error(ErrorCode::ProducerFenced));
            }
            return self.fence(now, stored, request.fresh).map(Verdict::Fenced);
        }
        next_producer(stored, request).map(|(producer, last_epoch)| {
            Verdict::Initialized(stored.initialized(producer, last_epoch, request.timeout_ms, now.wall_ms))
        })
    }

    /// A `V2` producer may take the abort for its own and go on, so it needs an epoch that it may have.
    fn fence(
        &self,
        now: Now,
        stored: &TransactionMetadata,
        fresh: Option<ProducerId>,
    ) -> Result<TransactionMetadata, Refusal> {
        let version = self.config.version;
        let next_id = if version.bumps_epoch() { id_after(stored.producer, fresh)? } else { None };
        Ok(stored.fenced(version, next_id, now.wall_ms))
    }
}

/// Whether the producer id is the present one, or the one before it, whose epochs were used up: then the producer
/// may not have heard of its new id.
fn may_go_on(stored: &TransactionMetadata, producer: Producer) -> bool {
    producer.id == stored.producer.id || (producer.id == stored.previous_producer_id && producer.is_exhausted())
}

/// What the producer becomes, and from which epoch it says to come.
fn next_producer(stored: &TransactionMetadata, request: &InitProducerId) -> Result<(Producer, ProducerEpoch), Refusal> {
    let current = stored.producer;
    let expected = request.producer.map(|producer| producer.epoch);
    let is_known = expected.is_none_or(|epoch| epoch == current.epoch);
    let is_repeated = !is_known && expected == Some(stored.last_epoch);
    if !is_known && !is_repeated {
        return Err(Refusal::Error(ErrorCode::ProducerFenced));
    }
    if is_repeated && !current.is_beyond_last() {
        // The request was carried out before, and the answer lost. A new producer would have cleared `last_epoch`.
        return Ok((current, stored.last_epoch));
    }
    let last_epoch = expected.unwrap_or(ProducerEpoch::NONE);
    if current.is_exhausted() {
        let fresh = request.fresh.ok_or(Refusal::NeedsProducerId)?;
        return Ok((Producer { id: fresh, epoch: ProducerEpoch(0) }, last_epoch));
    }
    Ok((Producer { epoch: current.epoch_above(), ..current }, last_epoch))
}
