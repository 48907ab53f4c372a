//! Producers whose transactions are being verified with their coordinator before their first batch (KIP-890).
//!
//! Picture: a batch that would begin a transaction here waits outside while the coordinator is asked whether the
//! transaction knows of this partition. The answer may come late: the transaction may have ended meanwhile, and another
//! one of the same producer may have begun that knows nothing of this partition. So whoever waits holds a guard, and the
//! guard is void as soon as a transactional batch or a marker of the producer enters the log, from whomever.
//!
//! The lowest sequence that waits is remembered, too: a batch behind it that is verified sooner, because the first one met
//! a coordinator that was on the move, would let the first one be out of order for ever.
//!
//! Invariants: V1 a guard is given out once for a producer until it is void, and never again in the life of a log. V2
//! whoever appends with a void guard is refused. Not here: asking the coordinator (broker).

use std::collections::HashMap;

use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::BatchHeader;

/// Producers that wait at one partition at a time; beyond it, those that have waited longest are sent back.
const VERIFICATIONS_MAX: usize = 10_000;

/// Names one verification of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard(u64);

/// A batch that asks to begin a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applicant {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub base_sequence: i32,
    /// The coordinator adds the partition to the transaction rather than looks it up (transaction version 2), and every
    /// transaction has an epoch of its own.
    pub adds: bool,
}

/// A producer that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verification {
    pub(crate) guard: VerificationGuard,
    pub(crate) lowest_sequence: i32,
    pub(crate) adds: bool,
    epoch: ProducerEpoch,
    since_ms: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Verifications {
    entries: HashMap<ProducerId, Verification>,
    last: u64,
}

impl Verifications {
    /// A producer waits with this batch, perhaps behind another one of its own.
    pub(crate) fn begin(&mut self, applicant: &Applicant, now: i64) -> VerificationGuard {
        let Applicant { producer_id, epoch, base_sequence, adds } = *applicant;
        if self.entries.len() >= VERIFICATIONS_MAX && !self.entries.contains_key(&producer_id) {
            self.forget_oldest();
        }
        let next = VerificationGuard(self.last + 1);
        let fresh = Verification { guard: next, lowest_sequence: base_sequence, adds, epoch, since_ms: now };
        let entry = self.entries.entry(producer_id).or_insert(fresh);
        if entry.guard == next {
            self.last += 1;
        }
        if epoch > entry.epoch {
            *entry = Verification { guard: entry.guard, since_ms: entry.since_ms, ..fresh };
        } else if epoch == entry.epoch {
            entry.lowest_sequence = entry.lowest_sequence.min(base_sequence);
        }
        entry.guard
    }

    pub(crate) fn get(&self, id: ProducerId) -> Option<&Verification> {
        self.entries.get(&id)
    }

    /// A batch has entered the log: a transaction is open now, or has ended. The marker that ends a transaction of version
    /// 2 has the epoch of the next one, which may wait already.
    pub(crate) fn wrote(&mut self, header: &BatchHeader) {
        if !header.attributes.is_transactional() {
            return;
        }
        let is_of_next =
            |entry: &Verification| entry.adds && header.attributes.is_control() && header.producer_epoch == entry.epoch;
        if !self.get(header.producer_id).is_some_and(is_of_next) {
            self.entries.remove(&header.producer_id);
        }
    }

    /// Forgets those that wait since before `before`.
    pub(crate) fn expire(&mut self, before: i64) {
        self.entries.retain(|_, entry| entry.since_ms >= before);
    }

    /// Makes room for many at once, so that the search is rare.
    fn forget_oldest(&mut self) {
        let mut since: Vec<u64> = self.entries.values().map(|entry| entry.guard.0).collect();
        let (_, cut, _) = since.select_nth_unstable(VERIFICATIONS_MAX / 10);
        let cut = *cut;
        self.entries.retain(|_, entry| entry.guard.0 > cut);
    }
}

#[cfg(test)]
mod tests;
