//! What a log remembers of idempotent producers, to refuse gaps and to recognise repetitions.
//!
//! Picture: for each producer id the last five batches. A batch that continues the sequence is new, one
//! that equals a remembered batch is a repetition and gets the old answer, anything else is out of order.
//! The state is a function of the log: it is rebuilt by replaying batch headers on top of the newest
//! `.snapshot` file.
//!
//! A producer may have one transaction open; its first batch and its marker are noted on the way, so that whoever replays
//! knows of every transaction that begins and ends. A batch that would begin one needs the word of its coordinator
//! (`verification`), else a batch that was long on its way would begin a transaction that nobody ends.
//!
//! Invariants: the batches of an entry are consecutive; a producer with an open transaction is not forgotten; an epoch, of
//! a producer or of the coordinator that ends its transactions, never goes back. Not here: what open transactions mean to
//! readers (`transactions`), the wire codes of refusals.

mod snapshot; // the file format
mod verification; // producers that wait for the word of their coordinator

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use twinstream_model::{Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchHeader, NO_SEQUENCE, NO_TIMESTAMP, add_sequence};

use crate::transactions::{Completed, Marker, Step};
use crate::{AppendError, LogError, MarkerEpoch, Origin};

pub use verification::{Applicant, VerificationGuard};
pub(crate) use verification::{Verification, Verifications};

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

/// A producer as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// [`NO_SEQUENCE`] if it wrote nothing in its epoch.
    pub last_sequence: i32,
    /// Of its newest batch or marker.
    pub last_timestamp: i64,
    /// Of the newest marker, -1 without one.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub open_since: Option<Offset>,
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
    /// Decides about a batch of records that has no offset yet: new (`None`), a repetition, or refused. `verification` is
    /// what its producer waits for.
    pub(crate) fn check(
        &self,
        header: &BatchHeader,
        origin: Origin,
        verification: Option<&Verification>,
    ) -> Result<Option<Remembered>, AppendError> {
        let known = self.entries.get(&header.producer_id);
        if let Some(producer) = known {
            producer.check_epoch(header)?;
            if let Some(repeated) = producer.find_repeated(header) {
                return Ok(Some(*repeated));
            }
        }
        if header.attributes.is_transactional() {
            check_transaction(known, header, origin, verification)?;
        }
        // What coordinators write has no sequence.
        if header.base_sequence != NO_SEQUENCE {
            check_sequence(known, header, verification)?;
        }
        match known {
            Some(producer) if producer.open.is_some() && !header.attributes.is_transactional() => {
                Err(AppendError::OutsideTransaction { id: header.producer_id })
            }
            _ => Ok(None),
        }
    }

    /// Decides about the end of a transaction.
    pub(crate) fn check_marker(
        &self,
        header: &BatchHeader,
        marker: Option<Marker>,
        origin: Origin,
    ) -> Result<(), AppendError> {
        let Some(producer) = self.entries.get(&header.producer_id) else { return Ok(()) };
        producer.check_epoch(header)?;
        // Whoever loads the transaction anew, or did not hear the answer, writes the marker again (KAFKA-19999).
        let is_repeated = producer.open.is_none();
        let is_newer = header.producer_epoch > producer.epoch;
        if origin == Origin::Marker(MarkerEpoch::Newer) && !is_newer && !is_repeated {
            return Err(producer.stale(header));
        }
        match marker {
            Some(marker) if marker.coordinator_epoch < producer.coordinator_epoch => {
                let (found, current) = (marker.coordinator_epoch, producer.coordinator_epoch);
                Err(AppendError::CoordinatorFenced { id: header.producer_id, found, current })
            }
            _ => Ok(()),
        }
    }

    /// Whether the producer's transaction is open. One of a newer epoch is not the one that is known.
    pub(crate) fn has_open(&self, id: ProducerId, epoch: ProducerEpoch) -> Result<bool, AppendError> {
        match self.entries.get(&id) {
            Some(producer) if epoch < producer.epoch => {
                Err(AppendError::InvalidProducerEpoch { id, epoch, current: producer.epoch })
            }
            known => Ok(known.is_some_and(|producer| producer.is_open_in(epoch))),
        }
    }

    pub(crate) fn remembers(&self, id: ProducerId) -> bool {
        self.entries.contains_key(&id)
    }

    /// The newest batch of a producer that has no transaction open.
    pub(crate) fn last_at_rest(&self, id: ProducerId) -> Option<Offset> {
        let known = self.entries.get(&id).filter(|producer| producer.open.is_none())?;
        Some(known.batches.back()?.last_offset)
    }

    pub(crate) fn forget(&mut self, id: ProducerId) {
        self.entries.remove(&id);
    }

    /// Where the oldest batch begins that could be recognised again.
    pub(crate) fn oldest_batch(&self, id: ProducerId) -> Option<Offset> {
        Some(self.entries.get(&id)?.batches.front()?.base_offset())
    }

    pub(crate) fn active(&self) -> Vec<ActiveProducer> {
        let view = |(id, producer): (&ProducerId, &Producer)| ActiveProducer {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.batches.back().map_or(NO_SEQUENCE, |batch| batch.last_sequence),
            last_timestamp: producer.timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            open_since: producer.open,
        };
        self.entries.iter().map(view).collect()
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

    /// Ends the transactions from before `at` that are not open in the state `known` of then; where they begin. Who
    /// replayed from the start of the log on takes one that began below it for one that begins there.
    pub(crate) fn settle(&mut self, known: &Producers, at: Offset) -> Vec<Offset> {
        let mut settled = Vec::new();
        for (id, producer) in &mut self.entries {
            let open_then = known.entries.get(id).and_then(|producer| producer.open);
            let is_open = |first: Offset| open_then.is_some_and(|then| then <= first);
            settled.extend(producer.open.take_if(|first| *first < at && !is_open(*first)));
        }
        settled
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
        // With their ids, so that none of many that were heard at the same time, as after a start, takes all others with it.
        let mut heard: Vec<(i64, ProducerId)> =
            self.entries.iter().map(|(id, producer)| (producer.last_heard(), *id)).collect();
        let (_, cut, _) = heard.select_nth_unstable(PRODUCERS_MAX / 10);
        let cut = *cut;
        self.entries.retain(|id, producer| producer.open.is_some() || (producer.last_heard(), *id) > cut);
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

    fn check_epoch(&self, header: &BatchHeader) -> Result<(), AppendError> {
        if header.producer_epoch < self.epoch { Err(self.stale(header)) } else { Ok(()) }
    }

    fn stale(&self, header: &BatchHeader) -> AppendError {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        AppendError::InvalidProducerEpoch { id, epoch, current: self.epoch }
    }

    fn find_repeated(&self, header: &BatchHeader) -> Option<&Remembered> {
        let may_repeat = header.base_sequence != NO_SEQUENCE && header.producer_epoch == self.epoch;
        self.batches.iter().find(|batch| may_repeat && batch.repeats(header))
    }

    fn is_open_in(&self, epoch: ProducerEpoch) -> bool {
        self.open.is_some() && self.epoch == epoch
    }

    fn last_heard(&self) -> i64 {
        match self.heard_ms {
            NEVER_HEARD => self.timestamp,
            heard => heard,
        }
    }
}

/// A batch of a transaction needs one that is open here, or the word of its coordinator that it may begin one.
fn check_transaction(
    known: Option<&Producer>,
    header: &BatchHeader,
    origin: Origin,
    verification: Option<&Verification>,
) -> Result<(), AppendError> {
    let is_allowed = match origin {
        Origin::Unverified | Origin::Coordinator => true,
        Origin::Verified(guard) => verification.is_some_and(|waiting| waiting.guard == guard),
        Origin::Client | Origin::Marker(_) => false,
    };
    match is_allowed || known.is_some_and(|producer| producer.is_open_in(header.producer_epoch)) {
        true => Ok(()),
        false => Err(AppendError::NotInTransaction { id: header.producer_id, epoch: header.producer_epoch }),
    }
}

fn check_sequence(
    known: Option<&Producer>,
    header: &BatchHeader,
    verification: Option<&Verification>,
) -> Result<(), AppendError> {
    let has_batches = known.is_some_and(|producer| !producer.batches.is_empty());
    match verification {
        // Each transaction has an epoch of its own and begins at 0, whatever was forgotten.
        Some(waiting) if waiting.adds && !has_batches => expect_sequence(header, 0)?,
        Some(waiting) if header.base_sequence > waiting.lowest_sequence => {
            expect_sequence(header, waiting.lowest_sequence)?;
        }
        _ => {}
    }
    match known {
        None => Ok(()), // nothing is known any more, so any sequence may be the next one (KIP-360)
        Some(producer) if header.producer_epoch > producer.epoch => expect_sequence(header, 0),
        Some(producer) => {
            let last = producer.batches.back().map_or(NO_SEQUENCE, |batch| batch.last_sequence);
            expect_sequence(header, if last == NO_SEQUENCE { 0 } else { add_sequence(last, 1) })
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
