//! What a log remembers of idempotent producers, to refuse gaps and to recognise repetitions.
//!
//! Picture: for each producer id the last five batches. A batch that continues the sequence is new, one
//! that equals a remembered batch is a repetition and gets the old answer, anything else is out of order.
//! The state is a function of the log: it is rebuilt by replaying batch headers on top of the newest
//! `.snapshot` file.
//!
//! Invariants: a producer's epoch never goes back; the batches of an entry are consecutive. Not here:
//! transactions (a later release), the wire codes of refusals.

mod snapshot; // the file format

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use twinstream_model::{Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchHeader, NO_SEQUENCE, add_sequence};

use crate::{AppendError, LogError};

/// Batches that a producer may have in flight, so also the repetitions that can reach us.
const BATCHES_REMEMBERED: usize = 5;
/// Producers that one partition remembers; beyond it, those that were silent longest are forgotten early.
const PRODUCERS_MAX: usize = 100_000;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Producers {
    entries: HashMap<ProducerId, Producer>,
}

#[derive(Clone, Debug, PartialEq)]
struct Producer {
    epoch: ProducerEpoch,
    /// Oldest first, never empty.
    batches: VecDeque<Remembered>,
    /// When it last wrote by our own clock, [`NEVER_HEARD`] if only the log tells. The timestamps of records cannot say
    /// it: who writes history (a mirror, an import) would be forgotten while it writes, and its repetitions appended.
    heard_ms: i64,
}

const NEVER_HEARD: i64 = i64::MIN;

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: Offset,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: i64,
}

impl Remembered {
    fn of(header: &BatchHeader) -> Remembered {
        Remembered {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        }
    }

    pub(crate) fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }

    fn first_sequence(&self) -> i32 {
        // The inverse of `add_sequence`, in the same ring of 2^31 numbers.
        ((i64::from(self.last_sequence) - i64::from(self.offset_delta)) & i64::from(i32::MAX)) as i32
    }

    fn repeats(&self, header: &BatchHeader) -> bool {
        self.first_sequence() == header.base_sequence && self.last_sequence == header.last_sequence()
    }
}

impl Producers {
    /// Decides about a batch that has no offset yet: new (`None`), a repetition, or refused.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Option<Remembered>, AppendError> {
        if !header.is_idempotent() {
            return Ok(None);
        }
        let Some(producer) = self.entries.get(&header.producer_id) else {
            return Ok(None); // Nothing is known any more, so any sequence may be the next one (KIP-360).
        };
        if header.producer_epoch < producer.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                id: header.producer_id,
                epoch: header.producer_epoch,
                current: producer.epoch,
            });
        }
        if header.producer_epoch > producer.epoch {
            return expect_sequence(header, 0).map(|()| None);
        }
        if let Some(repeated) = producer.batches.iter().find(|batch| batch.repeats(header)) {
            return Ok(Some(*repeated));
        }
        let last = producer.batches.back().map_or(NO_SEQUENCE, |batch| batch.last_sequence);
        let expected = if last == NO_SEQUENCE { 0 } else { add_sequence(last, 1) };
        expect_sequence(header, expected).map(|()| None)
    }

    /// Takes in a batch that stands in the log.
    pub(crate) fn replay(&mut self, header: &BatchHeader) {
        if !header.is_idempotent() || header.attributes.is_control() {
            return;
        }
        if self.entries.len() >= PRODUCERS_MAX && !self.entries.contains_key(&header.producer_id) {
            self.forget_silent();
        }
        let producer = self.entries.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            batches: VecDeque::new(),
            heard_ms: NEVER_HEARD,
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Remembered::of(header));
    }

    /// A producer has just written.
    pub(crate) fn hear(&mut self, id: ProducerId, now: i64) {
        if let Some(producer) = self.entries.get_mut(&id) {
            producer.heard_ms = now;
        }
    }

    /// A restart gives every producer its full time again.
    pub(crate) fn hear_all(&mut self, now: i64) {
        self.entries.values_mut().for_each(|producer| producer.heard_ms = now);
    }

    /// Takes over when producers wrote last from a state before the log was cut.
    pub(crate) fn hear_as(&mut self, before: &Producers) {
        for (id, producer) in &mut self.entries {
            if let Some(known) = before.entries.get(id) {
                producer.heard_ms = known.heard_ms;
            }
        }
    }

    /// Forgets producers that wrote nothing since `before`.
    pub(crate) fn expire(&mut self, before: i64) {
        self.entries.retain(|_, producer| producer.last_heard() >= before);
    }

    /// Puts older batches in front of the remembered ones, where they lead up to them without a gap.
    pub(crate) fn widen(&mut self, older: Producers) {
        for (id, mut older) in older.entries {
            let Some(known) = self.entries.get_mut(&id) else { continue };
            let last = known.batches.back().map(|batch| batch.last_offset);
            let same_end = older.batches.back().map(|batch| batch.last_offset) == last;
            if same_end && known.epoch == older.epoch && older.batches.len() > known.batches.len() {
                known.batches = std::mem::take(&mut older.batches);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Restores the state of the end of a log from a snapshot file.
    pub(crate) fn load(path: &Path) -> Result<Producers, LogError> {
        snapshot::read(path)
    }

    /// Writes the snapshot file. Not flushed: a torn one fails its checksum and is passed over.
    pub(crate) fn save(&self, path: &Path) -> Result<(), LogError> {
        snapshot::write(path, self)
    }

    /// Makes room for many newcomers at once, so that the search for the silent ones is rare.
    fn forget_silent(&mut self) {
        let mut timestamps: Vec<i64> = self.entries.values().map(Producer::last_heard).collect();
        let (_, cut, _) = timestamps.select_nth_unstable(PRODUCERS_MAX / 10);
        let cut = *cut;
        self.entries.retain(|_, producer| producer.last_heard() > cut);
    }
}

impl Producer {
    fn last_heard(&self) -> i64 {
        match self.heard_ms {
            NEVER_HEARD => self.batches.back().map_or(NEVER_HEARD, |batch| batch.timestamp),
            heard => heard,
        }
    }
}

fn expect_sequence(header: &BatchHeader, expected: i32) -> Result<(), AppendError> {
    if header.base_sequence == expected {
        return Ok(());
    }
    Err(AppendError::OutOfOrderSequence {
        id: header.producer_id,
        epoch: header.producer_epoch,
        expected,
        found: header.base_sequence,
    })
}

#[cfg(test)]
mod tests;
