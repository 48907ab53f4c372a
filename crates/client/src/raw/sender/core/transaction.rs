//! Which partitions are part of the open transaction, and how it ends.
//!
//! Picture: with a transactional id all that is sent is part of a transaction. It needs no beginning: a lane whose batch is
//! next and that is not *joined* waits until the coordinator has heard of its partition. A commit waits until everything
//! given before it has arrived, then asks for the end; what is given meanwhile is kept for the next transaction.
//! Invariants: X1 no batch leaves before its partition has joined. X2 between a commit and its end nothing leaves at all.
//! X3 after a failure nothing is sent or committed any more: the transaction is *broken*, and only whoever takes the
//! transactional id anew ends it. X4 an end without an answer is asked for again, which a coordinator answers as the first
//! time as long as the producer is the same (the epoch does not change below `transaction.version` 2).
//! Bounds: what is kept is the caller's to bound, as everything that is under way.

use std::collections::VecDeque;
use std::time::Duration;

use twinstream_model::{ErrorCode, TopicPartition};

use super::{Core, LaneId, Spot};
use crate::error::ClientError;
use crate::raw::sender::{Moment, Outgoing, SendFailure};

/// Markers are written within milliseconds; Kafka's producers wait 20 of them.
const CONCURRENT_PAUSE: Duration = Duration::from_millis(5);

/// What the coordinator is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::raw::sender) enum Verb {
    Join(Vec<TopicPartition>),
    Commit,
}

#[derive(Default)]
pub(super) struct Transaction {
    /// One question at a time.
    is_asked: bool,
    /// Lanes that wait to join; those that are asked for are on their way and not here.
    unjoined: Vec<LaneId>,
    /// Lanes that have joined.
    members: Vec<LaneId>,
    /// A commit is wanted; the moment by which it must have ended.
    ending: Option<Moment>,
    kept: VecDeque<(TopicPartition, Outgoing)>,
    broken: Option<ClientError>,
    end: Option<Result<(), ClientError>>,
}

impl Core {
    /// Ends the transaction with a commit, as soon as all that was given has arrived.
    pub(in crate::raw::sender) fn commit(&mut self, now: Moment) {
        let deadline = now + self.options.delivery_timeout;
        let Some(transaction) = &mut self.transaction else { return };
        transaction.ending.get_or_insert(deadline);
    }

    pub(in crate::raw::sender) fn pop_end(&mut self) -> Option<Result<(), ClientError>> {
        self.transaction.as_mut()?.end.take()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.end.is_some())
    }

    pub(super) fn is_ending(&self) -> bool {
        self.transaction.as_ref().is_some_and(|t| t.ending.is_some() || t.end.is_some() || !t.kept.is_empty())
    }

    /// A batch, unless it has to wait for the end of the transaction before its own.
    pub(super) fn kept_for_the_next(&mut self, to: &TopicPartition, batch: Outgoing) -> Option<Outgoing> {
        match &mut self.transaction {
            Some(transaction) if transaction.ending.is_some() => {
                transaction.kept.push_back((to.clone(), batch));
                None
            }
            _ => Some(batch),
        }
    }

    /// Why nothing more is sent.
    pub(super) fn broken(&self) -> Option<&ClientError> {
        self.transaction.as_ref()?.broken.as_ref()
    }

    pub(super) fn break_transaction(&mut self, error: &ClientError) {
        if let Some(transaction) = &mut self.transaction {
            transaction.broken.get_or_insert_with(|| error.clone());
        }
    }

    /// Puts a lane among those that wait to join, if it has not.
    pub(super) fn wait_to_join(&mut self, id: LaneId) -> bool {
        let Some(transaction) = self.transaction.as_mut().filter(|_| !self.lanes[id as usize].joined) else {
            return false;
        };
        self.lanes[id as usize].spot = Spot::Unjoined;
        transaction.unjoined.push(id);
        true
    }

    /// Whether the coordinator is to be asked for something as soon as the time has come.
    pub(super) fn asks_coordinator(&self) -> bool {
        let Some(transaction) = self.transaction.as_ref().filter(|transaction| !transaction.is_asked) else {
            return false;
        };
        let is_over = transaction.ending.is_some() && self.under_way == 0;
        is_over || !transaction.unjoined.is_empty()
    }

    /// The next question for the coordinator.
    pub(super) fn coordinate(&mut self, now: Moment) -> Option<Verb> {
        if !self.asks_coordinator() {
            return None;
        }
        let transaction = self.transaction.as_mut()?;
        if !transaction.unjoined.is_empty() {
            transaction.is_asked = true;
            let waiting = std::mem::take(&mut transaction.unjoined);
            return Some(Verb::Join(waiting.into_iter().map(|id| self.lanes[id as usize].at.clone()).collect()));
        }
        if let Some(broken) = transaction.broken.clone() {
            self.ended(now, Err(broken));
            return None;
        }
        if transaction.members.is_empty() {
            self.ended(now, Ok(())); // nothing was sent
            return None;
        }
        transaction.is_asked = true;
        Some(Verb::Commit)
    }

    /// The coordinator did what it was asked for, or not.
    pub(in crate::raw::sender) fn coordinated(&mut self, now: Moment, verb: Verb, result: Result<(), ClientError>) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.is_asked = false;
        let is_late = transaction.ending.is_some_and(|deadline| deadline <= now);
        match &result {
            // The markers of the transaction before are being written; this is the usual answer after a commit.
            Err(error) if error.code() == Some(ErrorCode::ConcurrentTransactions) => {
                self.ask_after = now + CONCURRENT_PAUSE;
            }
            result => self.pause_questions(now, result.is_ok()),
        }
        match (verb, result) {
            (Verb::Join(partitions), result) => self.joined(now, &partitions, result),
            (Verb::Commit, Err(error)) if error.is_retriable() && !is_late => {}
            (Verb::Commit, result) => self.ended(now, result),
        }
    }

    fn joined(&mut self, now: Moment, partitions: &[TopicPartition], result: Result<(), ClientError>) {
        for at in partitions {
            let id = self.lane_of(at);
            let lane = &mut self.lanes[id as usize];
            lane.spot = Spot::Idle;
            match &result {
                Err(error) if !error.is_retriable() => {
                    self.give_up(id, error, None);
                    continue;
                }
                Err(error) => lane.cause = Some(error.clone()),
                Ok(()) => {
                    lane.joined = true;
                    self.transaction.iter_mut().for_each(|transaction| transaction.members.push(id));
                }
            }
            self.settle(now, id);
        }
    }

    fn ended(&mut self, now: Moment, result: Result<(), ClientError>) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.ending = None;
        let members = std::mem::take(&mut transaction.members);
        if let Err(error) = &result {
            transaction.broken.get_or_insert_with(|| error.clone());
        }
        transaction.end = Some(result);
        let kept = std::mem::take(&mut transaction.kept);
        members.into_iter().for_each(|id| self.lanes[id as usize].joined = false);
        for (to, batch) in kept {
            self.send(now, &to, batch);
        }
    }
}

/// Whether a successor has taken the transactional id: whoever hears this must never try again.
pub fn is_fenced(error: &ClientError) -> bool {
    matches!(error.code(), Some(ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced))
}

impl SendFailure {
    /// A successor has taken the transactional id.
    pub fn is_fenced(&self) -> bool {
        is_fenced(&self.error)
    }
}
