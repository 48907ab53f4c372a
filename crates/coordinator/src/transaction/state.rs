//! What the shard knows of one transactional id, and how one stored state follows from another.
//!
//! Picture: the functions of [`TransactionMetadata`] are the arrows of the state diagram
//! ([`TransactionState`]). Each makes the next record from the present one and changes nothing; who may follow
//! which arrow is decided elsewhere (`init`, `partitions`, `ending`).
//!
//! Epochs: the largest, 32767, is never given to a producer, so that whoever has 32766 can still be fenced. A
//! producer that has come to 32766 gets a new id with epoch 0: when it is initialized, or, as a `V2` producer,
//! when its transaction ends.

use std::collections::BTreeSet;

use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId, TopicPartition};

use super::record::{Layout, TransactionMetadata};
use super::request::{Connection, Producer, TransactionState, TransactionVersion};

/// The last epoch that a producer is given.
const EPOCH_MAX: i16 = i16::MAX - 1;

/// One transactional id.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    /// As the newest record says.
    pub(super) stored: TransactionMetadata,
    /// Volatile. Whose marker is not known to be written; empty unless the transaction is ending.
    pub(super) unmarked: BTreeSet<TopicPartition>,
    /// Volatile.
    pub(super) heard: Heard,
}

/// What a request on a connection that was given up gets: no answer, its connection is closed. The request may have been
/// judged wrongly, where a proxy opened connections in another order than the client; then the producer repeats it on a
/// new connection, which is the newest. An answer would let it ask on the old one for ever.
pub(super) const LATE: ErrorCode = ErrorCode::NetworkException;

/// The newest connections on which a producer that speaks an older protocol than `V2` was heard. One for each
/// kind of request: some clients spread kinds over connections, none uses two for one kind at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    producer: Option<Producer>,
    adding: Option<Connection>,
    ending: Option<Connection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Adding,
    Ending,
}

impl Transaction {
    pub(super) fn new(stored: TransactionMetadata) -> Transaction {
        let mut transaction = Transaction { stored, unmarked: BTreeSet::new(), heard: Heard::default() };
        transaction.unmarked = transaction.to_mark();
        transaction
    }

    /// Takes over what a newer record says.
    pub(super) fn adopt(&mut self, stored: TransactionMetadata) {
        self.stored = stored;
        self.unmarked = self.to_mark();
    }

    fn to_mark(&self) -> BTreeSet<TopicPartition> {
        if self.stored.state.is_ending() { self.stored.partitions.clone() } else { BTreeSet::new() }
    }

    /// Whether every partition has its marker and only the record that says so is missing.
    pub(super) fn is_marked(&self) -> bool {
        self.stored.state.is_ending() && self.unmarked.is_empty()
    }

    /// Panics if the books do not add up.
    pub(super) fn check_invariants(&self) {
        let stored = &self.stored;
        assert!(stored.state.is_stored(), "{stored:?}");
        assert!(stored.producer.id >= ProducerId(0) && stored.producer.epoch >= ProducerEpoch(0), "{stored:?}");
        if stored.state.is_idle() {
            assert!(stored.partitions.is_empty(), "{stored:?}");
            assert!(stored.next_producer_id == ProducerId::NONE, "{stored:?}");
        } else {
            assert!(stored.start_ms >= 0, "{stored:?}");
        }
        assert!(self.unmarked.is_subset(&stored.partitions), "{self:?}");
        assert!(stored.state.is_ending() || self.unmarked.is_empty(), "{self:?}");
    }
}

impl Heard {
    /// Notes a request of `producer`; `false` if it is from the past (see [`EndTxn::connection`]).
    ///
    /// [`EndTxn::connection`]: super::EndTxn::connection
    pub(super) fn note(&mut self, producer: Producer, kind: RequestKind, connection: Option<Connection>) -> bool {
        if self.producer != Some(producer) {
            *self = Heard { producer: Some(producer), ..Heard::default() };
        }
        let newest = match kind {
            RequestKind::Adding => &mut self.adding,
            RequestKind::Ending => &mut self.ending,
        };
        if connection.is_some() && connection < *newest {
            return false;
        }
        *newest = connection.max(*newest);
        true
    }
}

impl TransactionMetadata {
    /// A transactional id is used for the first time.
    pub(super) fn first(fresh: ProducerId, timeout_ms: i32, now_ms: i64) -> TransactionMetadata {
        TransactionMetadata {
            producer: Producer { id: fresh, epoch: ProducerEpoch(0) },
            previous_producer_id: fresh,
            next_producer_id: ProducerId::NONE,
            last_epoch: ProducerEpoch::NONE,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            last_update_ms: now_ms,
            start_ms: -1,
            client_version: TransactionVersion::V0,
            layout: Layout::V1,
        }
    }

    /// A producer is initialized again, as `producer`.
    pub(super) fn initialized(
        &self,
        producer: Producer,
        last_epoch: ProducerEpoch,
        timeout_ms: i32,
        now_ms: i64,
    ) -> TransactionMetadata {
        let next = self.follow(TransactionState::Empty, now_ms);
        TransactionMetadata { producer, last_epoch, timeout_ms, partitions: BTreeSet::new(), start_ms: -1, ..next }
    }

    /// Partitions are added, by which a transaction begins if there is none.
    pub(super) fn with_partitions(
        &self,
        added: &BTreeSet<TopicPartition>,
        client_version: TransactionVersion,
        now_ms: i64,
    ) -> TransactionMetadata {
        let mut next = self.follow(TransactionState::Ongoing, now_ms);
        if self.state.is_idle() {
            next.start_ms = now_ms;
        }
        next.partitions.extend(added.iter().cloned());
        next.client_version = client_version;
        next
    }

    /// The producer ends its transaction. With `V2` that takes an epoch, and an id with which to go on if it was
    /// the last one.
    pub(super) fn ending(
        &self,
        commit: bool,
        client_version: TransactionVersion,
        next_producer_id: Option<ProducerId>,
        now_ms: i64,
    ) -> TransactionMetadata {
        let state = if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        let mut next = self.follow(state, now_ms);
        if client_version.bumps_epoch() {
            next.producer.epoch = self.producer.epoch_above();
            next.last_epoch = self.producer.epoch;
        }
        if self.state.is_idle() {
            next.start_ms = now_ms; // a V2 producer aborts what never had a partition
        }
        next.next_producer_id = next_producer_id.unwrap_or(ProducerId::NONE);
        next.client_version = client_version;
        next
    }

    /// The coordinator aborts the transaction and fences its producer: another one takes its place, or time is
    /// up. `server_version` is that of the cluster, since no client asks. Without a `next_producer_id` a `V2` producer
    /// with the last epoch cannot take the abort for its own.
    pub(super) fn fenced(
        &self,
        server_version: TransactionVersion,
        next_producer_id: Option<ProducerId>,
        now_ms: i64,
    ) -> TransactionMetadata {
        let mut next = self.follow(TransactionState::PrepareAbort, now_ms);
        next.producer.epoch = self.producer.epoch_above();
        next.next_producer_id = next_producer_id.unwrap_or(ProducerId::NONE);
        if server_version.bumps_epoch() {
            // As if the producer had aborted itself, so that its own late abort is taken for a repeated one.
            next.last_epoch = self.producer.epoch;
            next.client_version = server_version;
        } else {
            next.last_epoch = ProducerEpoch::NONE;
            next.client_version = TransactionVersion::V0;
        }
        next
    }

    /// All markers are written.
    pub(super) fn completed(&self, now_ms: i64) -> TransactionMetadata {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        let mut next = self.follow(state, now_ms);
        if self.next_producer_id != ProducerId::NONE {
            next.producer = Producer { id: self.next_producer_id, epoch: ProducerEpoch(0) };
        }
        next.next_producer_id = ProducerId::NONE;
        next.partitions = BTreeSet::new();
        next
    }

    /// The present state in another one's name; what an arrow does not change stays.
    fn follow(&self, state: TransactionState, now_ms: i64) -> TransactionMetadata {
        TransactionMetadata { state, previous_producer_id: self.producer.id, last_update_ms: now_ms, ..self.clone() }
    }
}

impl Producer {
    /// Whether the next epoch may not be given to a producer any more.
    pub(super) fn is_exhausted(self) -> bool {
        self.epoch >= ProducerEpoch(EPOCH_MAX)
    }

    /// Whether this is the pair with which the last producer of the id was fenced.
    pub(super) fn is_beyond_last(self) -> bool {
        self.epoch > ProducerEpoch(EPOCH_MAX)
    }

    /// Whether this is the last pair of its id that a producer was given.
    pub(super) fn is_last(self) -> bool {
        self.epoch == ProducerEpoch(EPOCH_MAX)
    }

    /// The epoch that fences this one. There is always one unless bytes came from elsewhere.
    pub(super) fn epoch_above(self) -> ProducerEpoch {
        ProducerEpoch(self.epoch.0.saturating_add(1))
    }
}
