//! What time does: transactions that take too long are aborted, ids that nobody uses are forgotten.
//!
//! A transaction's time runs on the monotonic clock, so a clock that jumps aborts nothing. Only a coordinator that
//! takes over has to judge by the wall clock how much of it is left.

use twinstream_model::{ErrorCode, TransactionalId};

use super::record::{Record, TransactionMetadata};
use super::request::TransactionState;
use super::{Decision, Event, Then, Timer, TransactionShard};
use crate::Now;

/// The timeout of transactions that no clock ends, because they belong to a two-phase commit (KIP-939).
const NO_TIMEOUT_MS: i32 = i32::MAX;

impl TransactionShard {
    /// The transaction has begun.
    pub(super) fn start_clock(&mut self, now: Now, id: TransactionalId) {
        let Some(transaction) = self.transactions.get(&id) else { return };
        let timeout_ms = transaction.stored.timeout_ms;
        if timeout_ms != NO_TIMEOUT_MS {
            self.set_timeout(now, id, timeout_ms.max(0) as u64);
        }
    }

    /// The clocks of all transactions that were under way under another coordinator. They wait for no look: where
    /// coordinators change more often than they look, nobody's time would ever be over.
    pub(super) fn resume_clocks(&mut self, now: Now) {
        let running = self.transactions.iter().filter(|(_, t)| t.stored.state == TransactionState::Ongoing);
        let left: Vec<_> = running.filter_map(|(id, t)| Some((id.clone(), left_ms(&t.stored, now)?))).collect();
        for (id, left_ms) in left {
            self.deadlines.set(Timer::Timeout(id), now.monotonic_ms.saturating_add(left_ms));
        }
        self.schedule_expiry(now);
    }

    /// Deadlines fall on a grid, as if somebody looked every `timeout_check_interval_ms`.
    fn set_timeout(&mut self, now: Now, id: TransactionalId, after_ms: u64) {
        let interval_ms = self.config.timeout_check_interval_ms.max(1);
        let due_ms = now.monotonic_ms.saturating_add(after_ms);
        let look_ms = due_ms.div_ceil(interval_ms).saturating_mul(interval_ms);
        self.deadlines.set(Timer::Timeout(id), look_ms);
    }

    pub(super) fn abort_timed_out(&mut self, now: Now, id: TransactionalId) -> Decision {
        let running = self.transactions.get(&id).filter(|t| t.stored.state == TransactionState::Ongoing);
        let Some(transaction) = running else { return Decision::default() };
        let next = transaction.stored.fenced(self.config.version, None, now.wall_ms);
        let mut decision = self.begin_end(now, &id, next);
        decision.events.push(Event::TimedOut {
            transactional_id: id.clone(),
            producer: transaction.stored.producer,
            timeout_ms: transaction.stored.timeout_ms,
        });
        decision.then = Some(Then::Abort(id));
        decision
    }

    /// The log has refused the abort: it is tried again at the next look.
    pub(super) fn abort_later(&mut self, now: Now, id: TransactionalId, error: ErrorCode) -> Decision {
        self.set_timeout(now, id.clone(), 1);
        let mut decision = Decision::default();
        decision.events.push(Event::NotStored { transactional_id: id, what: "abort after the timeout", error });
        decision
    }

    pub(super) fn schedule_expiry(&mut self, now: Now) {
        let interval_ms = self.config.id_expiration_check_interval_ms.max(1);
        self.deadlines.set(Timer::Expiry, now.monotonic_ms.saturating_add(interval_ms));
    }

    /// Forgets the ids that have been idle for too long.
    pub(super) fn expire_ids(&mut self, now: Now) -> Decision {
        self.schedule_expiry(now);
        let newest_ms = now.wall_ms.saturating_sub(self.config.id_expiration_ms);
        let is_expired = |stored: &TransactionMetadata| stored.state.is_idle() && stored.last_update_ms <= newest_ms;
        let expired = self.transactions.iter().filter(|(_, transaction)| is_expired(&transaction.stored));
        let tombstone = |id: &TransactionalId| Record { transactional_id: id.clone(), value: None };
        let mut decision = Decision::default();
        decision.records.extend(expired.map(|(id, _)| tombstone(id)));
        if !decision.records.is_empty() {
            decision.events.push(Event::IdsExpired { ids: decision.records.len() });
        }
        decision
    }
}

/// How much of its time a transaction has left, by the wall clock; `None` if no clock ends it.
fn left_ms(stored: &TransactionMetadata, now: Now) -> Option<u64> {
    if stored.timeout_ms == NO_TIMEOUT_MS {
        return None;
    }
    let timeout_ms = i64::from(stored.timeout_ms.max(0));
    let spent_ms = now.wall_ms.saturating_sub(stored.start_ms);
    // Never more than all of it, whatever the clocks of two machines say.
    Some((timeout_ms.saturating_sub(spent_ms)).clamp(0, timeout_ms) as u64)
}
