//! What a log remembers of idempotent producers, to refuse gaps and to recognise repetitions.
//!
//! Picture: for each producer id the last five batches. A batch that continues the sequence is new, one
//! that equals a remembered batch is a repetition and gets the old answer, anything else is out of order.
//! The state is a function of the log: it is rebuilt by replaying batch headers on top of the newest
//! `.snapshot` file.
//!
//! A producer may have one transaction open; its first batch and its marker are noted on the way, so that whoever replays
//! knows of every transaction that begins and ends.
//!
//! Invariants: the batches of an entry are consecutive; a producer with an open transaction is not forgotten. Not here:
//! what open transactions mean to readers (`transactions`), the wire codes of refusals.

mod snapshot; // the file format

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use twinstream_model::{Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchHeader, NO_SEQUENCE, NO_TIMESTAMP, add_sequence};

use crate::transactions::{Completed, Marker, Step};
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
    /// Oldest first; empty if all that is known of it is a marker.
    batches: VecDeque<Remembered>,
    /// Of its newest batch or marker.
    timestamp: i64,
    /// Of the newest marker, [`NO_COORDINATOR`] without one.
    coordinator_epoch: i32,
    /// Where its open transaction begins.
    open: Option<Offset>,
    /// When it last wrote by our own clock, [`NEVER_HEARD`] if only the log tells. The timestamps of records cannot say
    /// it: who writes history (a mirror, an import) would be forgotten while it writes, and its repetitions appended.
    heard_ms: i64,
}

const NEVER_HEARD: i64 = i64::MIN;
const NO_COORDINATOR: i32 = -1;

/// What compaction has to keep of a producer, so that a log that is read again brings the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRecord {
    /// Last offset of the newest batch of data; `None` if only a marker is known.
    pub(crate) last_data: Option<Offset>,
    pub(crate) epoch: ProducerEpoch,
}

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
        // Markers and what coordinators write have no sequence.
        if !header.is_idempotent() || header.base_sequence == NO_SEQUENCE {
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

    /// Takes in a batch that stands in the log, with the marker if it is a control batch that has one. Returns what it
    /// did to the producer's transaction.
    pub(crate) fn replay(&mut self, header: &BatchHeader, marker: Option<Marker>) -> Option<Step> {
        if !header.is_idempotent() {
            return None;
        }
        let id = header.producer_id;
        if self.entries.len() >= PRODUCERS_MAX && !self.entries.contains_key(&id) {
            self.forget_silent();
        }
        let producer = self.entries.entry(id).or_insert_with(|| Producer::new(header.producer_epoch));
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        producer.timestamp = header.max_timestamp;
        match header.attributes.is_control() {
            true => producer.end(header, marker?),
            false => producer.write(header),
        }
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
        self.entries.retain(|_, producer| producer.open.is_some() || producer.last_heard() >= before);
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

    /// The transactions that are open, by where they begin.
    pub(crate) fn open_transactions(&self) -> impl Iterator<Item = (Offset, ProducerId)> {
        self.entries.iter().filter_map(|(id, producer)| Some((producer.open?, *id)))
    }

    /// What each producer wrote last.
    pub(crate) fn last_records(&self) -> HashMap<ProducerId, LastRecord> {
        let last = |producer: &Producer| LastRecord {
            last_data: producer.batches.back().map(|batch| batch.last_offset),
            epoch: producer.epoch,
        };
        self.entries.iter().map(|(id, producer)| (*id, last(producer))).collect()
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
        self.entries.retain(|_, producer| producer.open.is_some() || producer.last_heard() > cut);
    }
}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Producer {
        Producer {
            epoch,
            batches: VecDeque::new(),
            timestamp: NO_TIMESTAMP,
            coordinator_epoch: NO_COORDINATOR,
            open: None,
            heard_ms: NEVER_HEARD,
        }
    }

    fn write(&mut self, header: &BatchHeader) -> Option<Step> {
        if self.batches.len() == BATCHES_REMEMBERED {
            self.batches.pop_front();
        }
        self.batches.push_back(Remembered::of(header));
        if !header.attributes.is_transactional() || self.open.is_some() {
            return None;
        }
        self.open = Some(header.base_offset);
        Some(Step::Began { producer_id: header.producer_id, first: header.base_offset })
    }

    /// A marker without data before it changes nothing for readers, so it ends nothing.
    fn end(&mut self, header: &BatchHeader, marker: Marker) -> Option<Step> {
        self.coordinator_epoch = marker.coordinator_epoch;
        let first = self.open.take()?;
        let (producer_id, last) = (header.producer_id, header.last_offset());
        Some(Step::Ended(Completed { producer_id, first, last, outcome: marker.outcome }))
    }

    fn last_heard(&self) -> i64 {
        match self.heard_ms {
            NEVER_HEARD => self.timestamp,
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
