//! DescribeTransactions and ListTransactions.

use twinstream_model::{ErrorCode, TransactionalId};

use super::request::{Answer, Description, ListFilter, Listing};
use super::state::Transaction;
use super::{Decision, TransactionShard};
use crate::{Now, Token};

impl TransactionShard {
    pub(super) fn describe(&self, token: Token, id: &TransactionalId) -> Decision {
        let description = match self.transactions.get(id) {
            _ if id.as_str().is_empty() => Err(ErrorCode::InvalidRequest),
            Some(transaction) => Ok(describe_transaction(transaction)),
            None => Err(ErrorCode::TransactionalIdNotFound),
        };
        Decision::answer(token, Answer::Describe(description))
    }

    pub(super) fn list(&self, now: Now, token: Token, filter: &ListFilter) -> Decision {
        let wanted = self.transactions.iter().filter(|(id, transaction)| is_wanted(id, transaction, filter, now));
        let listings = wanted.map(|(id, transaction)| Listing {
            transactional_id: id.clone(),
            producer_id: transaction.stored.producer.id,
            state: transaction.stored.state,
        });
        Decision::answer(token, Answer::List(Ok(listings.collect())))
    }
}

fn describe_transaction(transaction: &Transaction) -> Description {
    let stored = &transaction.stored;
    let partitions = if stored.state.is_ending() { &transaction.unmarked } else { &stored.partitions };
    Description {
        producer: stored.producer,
        state: stored.state,
        timeout_ms: stored.timeout_ms,
        start_ms: stored.start_ms,
        partitions: partitions.clone(),
    }
}

/// As in Kafka an id that has had no transaction yet, whose start is -1, has been running for longer than anybody
/// asks for.
fn is_wanted(id: &TransactionalId, transaction: &Transaction, filter: &ListFilter, now: Now) -> bool {
    let stored = &transaction.stored;
    let runs_ms = now.wall_ms.saturating_sub(stored.start_ms);
    (filter.producer_ids.is_empty() || filter.producer_ids.contains(&stored.producer.id))
        && filter.states.as_ref().is_none_or(|states| states.contains(&stored.state))
        && filter.longer_than_ms.is_none_or(|ms| ms < 0 || runs_ms > ms)
        && filter.id_pattern.as_ref().is_none_or(|pattern| pattern.matches(id.as_str()))
}
