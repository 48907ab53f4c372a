//! One target partition: what waits, what is under way, and the numbers that the broker knows it by. Pure.
//!
//! Picture: a row of batches. The first `sent` of them were sent in this round, the others wait behind them. An
//! acknowledgement takes the first one away. A failure that may pass ends the round: nothing more is sent until
//! everything under way has come back, then the row is sent again from its beginning.
//! Invariants: L1 batches leave in the order in which they came, also when sent again. L2 a batch keeps its sequence until
//! its fate is known, so that a broker that has it already says so (KIP-98). L3 nothing is sent behind a batch that failed
//! for good.
//! Not here: which broker leads the partition and when it may be asked ([`super::core`]).

use std::collections::VecDeque;

use bytes::Bytes;
use twinstream_model::{NodeId, ProducerEpoch, ProducerId, TopicPartition};
use twinstream_protocol::batch::{BatchHeader, ProducerStamp, add_sequence};

use super::{AlignedAppend, Moment};
use crate::error::ClientError;

/// Whom the broker knows an idempotent producer as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) ticket: u64,
    pub(super) bytes: Bytes,
    pub(super) aligned: Option<AlignedAppend>,
    /// By how much the sequence grows; 0 without numbers.
    pub(super) span: i32,
    pub(super) deadline: Moment,
    pub(super) tries: u32,
    pub(super) sequence: Option<i32>,
    /// It was acknowledged while the fate of one before it was open; sent again, it is a duplicate.
    pub(super) is_there: bool,
    /// Why it may not be sent at all; told when its turn has come.
    pub(super) refused: Option<Box<ClientError>>,
}

/// Where a lane is to be found by whoever sends next; it is in one place at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// Nothing to send, or it waits for answers.
    Idle,
    /// In the queue of its leader.
    Ready,
    /// Among those whose leader is looked up.
    Unplaced,
    /// Among those that wait for a producer id.
    Unnumbered,
    /// Among those that are not part of the open transaction yet.
    Unjoined,
    /// Among those that pause after a failure.
    Paused,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) at: TopicPartition,
    pub(super) leader: Option<NodeId>,
    pub(super) spot: Spot,
    pub(super) resume_at: Moment,
    /// Part of the open transaction.
    pub(super) joined: bool,
    /// Rounds in a row that failed.
    pub(super) failures: u32,
    /// Why the last round failed; told when time is over.
    pub(super) cause: Option<ClientError>,
    items: VecDeque<Item>,
    /// How many items left the row before the first of it.
    gone: u64,
    sent: usize,
    flying: usize,
    holding: bool,
    producer: Option<Producer>,
    next_sequence: i32,
    /// A batch with the present numbers was acknowledged, so the leader, and every replica that may follow it, checks what
    /// comes next against them. Before that it would take any sequence, also the second without the first.
    proven: bool,
    /// The sequences that the broker expects are not known any more.
    renumber: bool,
    /// The producer id whose epochs this partition has used up.
    worn_out: Option<ProducerId>,
}

impl Lane {
    pub(super) fn new(at: TopicPartition) -> Self {
        Self {
            at,
            leader: None,
            spot: Spot::Idle,
            resume_at: Moment::ZERO,
            joined: false,
            failures: 0,
            cause: None,
            items: VecDeque::new(),
            gone: 0,
            sent: 0,
            flying: 0,
            holding: false,
            producer: None,
            next_sequence: 0,
            proven: false,
            renumber: false,
            worn_out: None,
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.items.push_back(item);
    }

    /// The first batch that is not acknowledged.
    pub(super) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    /// The batch that is to be sent next, if one may be sent now. `window` is how many of a checked row may be under way.
    pub(super) fn sendable(&self, window: usize) -> Option<&Item> {
        let next = self.items.get(self.sent).filter(|next| !self.holding && next.refused.is_none())?;
        let is_checked = next.aligned.is_some() || self.proven;
        let window = if is_checked { window } else { 1 };
        (self.flying < window).then_some(next)
    }

    /// Whether the next batch is to be numbered, and nobody has said as whom.
    pub(super) fn lacks_producer(&self) -> bool {
        self.producer.is_none() && self.items.get(self.sent).is_some_and(|item| item.span > 0)
    }

    pub(super) fn has_worn_out(&self, id: ProducerId) -> bool {
        self.worn_out == Some(id)
    }

    pub(super) fn number_as(&mut self, producer: Producer) {
        self.producer = Some(producer);
        self.next_sequence = 0;
        self.proven = false;
    }

    /// Marks the next batch as under way and returns its place in the row, with the numbers that it carries.
    pub(super) fn take_off(&mut self) -> (u64, Option<ProducerStamp>) {
        let place = self.gone + self.sent as u64;
        let item = &mut self.items[self.sent];
        item.tries += 1;
        self.sent += 1;
        self.flying += 1;
        let Some(producer) = self.producer.filter(|_| item.span > 0) else { return (place, None) };
        let sequence = match item.sequence {
            Some(kept) => kept,
            None => {
                let fresh = self.next_sequence;
                self.next_sequence = add_sequence(fresh, item.span);
                *item.sequence.insert(fresh)
            }
        };
        (place, Some(ProducerStamp { id: producer.id, epoch: producer.epoch, base_sequence: sequence }))
    }

    /// How many batches stand before this one; `None` if it is not in the row any more.
    pub(super) fn index_of(&self, place: u64) -> Option<usize> {
        let index = usize::try_from(place.checked_sub(self.gone)?).ok()?;
        (index < self.items.len()).then_some(index)
    }

    pub(super) fn item(&self, index: usize) -> &Item {
        &self.items[index]
    }

    /// The first batch has arrived.
    pub(super) fn arrived(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.gone += 1;
        self.sent -= 1;
        self.flying -= 1;
        self.failures = 0;
        self.cause = None;
        self.proven |= item.sequence.is_some();
        self.end_round();
        Some(item)
    }

    /// A batch came back and is to be sent again.
    pub(super) fn came_back(&mut self, cause: ClientError) {
        // What fails behind the first failure fails because of it, and would hide it.
        if !self.holding {
            self.cause = Some(cause);
        }
        self.holding = true;
        self.flying -= 1;
        self.end_round();
    }

    /// Ends the round early, so that time may be found to be over.
    pub(super) fn hold(&mut self) {
        self.holding = true;
        self.end_round();
    }

    /// Acknowledged, but not the first one.
    pub(super) fn is_there(&mut self, index: usize) {
        self.items[index].is_there = true;
    }

    /// Whether a batch behind the first one is in the log already.
    pub(super) fn was_overtaken(&self) -> bool {
        self.items.iter().skip(1).any(|item| item.is_there)
    }

    pub(super) fn is_flying(&self) -> bool {
        self.flying > 0
    }

    /// Whether everything of a failed round has come back, and the row begins anew.
    fn end_round(&mut self) {
        if self.holding && self.flying == 0 {
            self.holding = false;
            self.sent = 0;
            if std::mem::take(&mut self.renumber) {
                self.start_over();
            }
        }
    }

    /// The next round has new sequences, under an epoch that the broker has not seen (KIP-360).
    pub(super) fn want_renumber(&mut self) {
        self.renumber = true;
    }

    fn start_over(&mut self) {
        let next = self.producer.and_then(|producer| {
            let epoch = producer.epoch.0.checked_add(1)?;
            Some(Producer { id: producer.id, epoch: ProducerEpoch(epoch) })
        });
        if next.is_none() {
            self.worn_out = self.producer.map(|producer| producer.id);
        }
        self.producer = next;
        self.next_sequence = 0;
        self.proven = false;
        self.items.iter_mut().for_each(|item| item.sequence = None);
    }

    /// Empties the row after a failure for good. Whether its batches are in the log stays open, so sequences start over.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = Item> + use<> {
        let items = std::mem::take(&mut self.items);
        self.gone += items.len() as u64;
        let was_numbered = items.iter().any(|item| item.sequence.is_some());
        (self.sent, self.flying, self.holding, self.renumber) = (0, 0, false, false);
        (self.failures, self.resume_at) = (0, Moment::ZERO);
        if was_numbered {
            self.start_over();
        }
        items.into_iter()
    }

    /// Called by tests after every step.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert!(self.flying <= self.sent && self.sent <= self.items.len(), "{self:?}");
        let mut expected: Option<i32> = None;
        for item in self.items.iter().take_while(|item| item.sequence.is_some()) {
            assert!(expected.is_none_or(|expected| Some(expected) == item.sequence), "{self:?}");
            expected = item.sequence.map(|sequence| add_sequence(sequence, item.span));
        }
        assert!(expected.is_none_or(|expected| expected == self.next_sequence), "{self:?}");
    }
}

/// How many sequences a batch takes: the broker counts offsets, of which a batch without holes has one per record.
pub(super) fn span_of(header: &BatchHeader) -> Option<i32> {
    header.last_offset_delta.checked_add(1).filter(|span| *span > 0)
}
