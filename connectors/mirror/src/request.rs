//! From what a fetch brought of one partition to batches that the target takes. Pure.
//!
//! Picture: most batches go as they are, as a piece of the answer's own memory; the sender gives them a new header. Their
//! records are neither read nor unpacked nor copied. Records are *written anew* (same bytes from the key on, dense offsets,
//! and the same codec unless another one is wished) where that must be or pays:
//! - a batch begins before the position: a restart in its middle must not copy the first records again;
//! - it has holes, left by compaction: brokers refuse those from a client;
//! - it carries the broker's append time, which readers take for the time of its records;
//! - it is larger than the target's topic takes: it becomes several;
//! - it is packed by another codec than the one that is wished ([`Wishes`]);
//! - its records are to take along where they have been;
//! - it is one of several small ones in a row: they become few, because Kafka takes one batch per partition and request.
//!
//! Control batches are never copied; they end transactions that exist on the source only. For a reader of committed records
//! they tell, with the answer's list of aborted transactions, which batches are left out. Where records take along where they
//! have been, those that have been at the target are left out; if nothing else is there, a batch without bytes says how far
//! they go, so that they are not read again after a restart.
//! Invariants: Q1 records keep their order. Q2 a batch that leaves is not longer than the target takes; what is written anew
//! has passed its checksum, and what goes as it is keeps one that the target checks. Q3 each batch tells the position after
//! it; the last one's counts in what was passed behind it.
//! Not here: base offset, epoch, producer and delete horizon of a header (the sender's), where to go on after an error (the
//! engine's).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use twinstream_client::protocol::batch::{
    BatchError, BatchHeader, BatchJoiner, BatchView, JoinBounds, JoinedBatch, Passage, RepackError, batches,
};
use twinstream_client::protocol::compression::{Compression, CompressionSpec};
use twinstream_model::{LeaderEpoch, Offset, ProducerId};

pub(crate) use twinstream_client::protocol::batch::OffsetRun as Run;

use crate::aligned::run::Piece;
use crate::provenance::Path;

/// Batches that are not packed are joined below this size: to copy a record costs less than what a broker spends on a
/// batch, until batches are as large as a request should be.
const PLAIN_SMALL: usize = 64 << 10;
/// Packed batches are joined below this size only, because packing is the dearest thing that can be done to records: at
/// about 100 MB/s the most that this unpacks to takes as long as a broker takes for one more batch.
const PACKED_SMALL: usize = 2 << 10;
/// Joined batches are not made larger, whatever the target takes: Kafka's own default for the largest batch, and what one
/// answer brings of a partition.
const JOINED_BYTES_MAX: usize = 1 << 20;
/// What one batch may unpack to; more is a broken or hostile batch. It is unpacked window by window, so this bounds time.
const UNPACKED_BYTES_MAX: usize = 256 << 20;
/// A marker's one record is a few bytes.
const MARKER_BYTES_MAX: usize = 1 << 10;
/// Kafka's way to say that there is none.
const NO_TIMESTAMP: i64 = -1;
/// In a marker's key, behind the version: 0 aborts.
const ABORT: [u8; 2] = [0, 0];

#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("batch at offset {offset} cannot be copied")]
    Batch { offset: Offset, source: BatchError },
    #[error("records from offset {offset} on cannot be packed again: {reason}")]
    Build { offset: Offset, reason: String },
    #[error(
        "a record at or after offset {offset} takes a batch of {len} bytes, the target's topic takes {max}; raise max.message.bytes there"
    )]
    TooLarge { offset: Offset, len: usize, max: usize },
}

/// One batch for the target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ready {
    pub bytes: Bytes,
    pub records: u32,
    /// The offset of its first record.
    pub from: Offset,
    /// The position after it.
    pub next: Offset,
    /// The offsets that its records have at the source, in order.
    pub runs: Vec<Run>,
    pub max_timestamp: i64,
}

impl Ready {
    /// No records: what else is told at this position.
    pub(crate) fn nothing(position: Offset) -> Ready {
        let (from, next) = (position, position);
        Ready { bytes: Bytes::new(), records: 0, from, next, runs: Vec::new(), max_timestamp: NO_TIMESTAMP }
    }
}

impl From<Piece> for Ready {
    /// Offsets are those of the source, so there is no run to remember.
    fn from(piece: Piece) -> Ready {
        let Piece { bytes, records, from, next, max_timestamp, .. } = piece;
        Ready { bytes, records, from, next, runs: Vec::new(), max_timestamp }
    }
}

/// What is to become of records on their way; nothing unless it is said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes<'a> {
    /// How batches are packed; `None`: as they are stored.
    pub compression: Option<CompressionSpec>,
    /// What records take along; `None`: nothing.
    pub path: Option<&'a Path>,
}

/// What an answer comes to.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Prepared {
    pub batches: Vec<Ready>,
    /// Records of aborted transactions that are left out.
    pub aborted: u64,
    /// Records that are left out because they have been at the target.
    pub echoes: u64,
}

/// How far an answer reaches: the position after its last whole batch, and that one's epoch. Reads headers only.
pub(crate) fn reach(answer: &[u8], position: Offset) -> Result<Option<(Offset, LeaderEpoch)>, RequestError> {
    let mut reached = None;
    let mut next = position;
    for view in batches(answer) {
        let header = match view {
            Ok(view) => view.header(),
            // The answer's size limit; the rest comes with the next fetch.
            Err(BatchError::Truncated { .. }) => break,
            Err(source) => return Err(RequestError::Batch { offset: next, source }),
        };
        if header.next_offset() > next {
            next = header.next_offset();
            reached = Some((next, header.leader_epoch));
        }
    }
    Ok(reached)
}

/// Makes batches of what an answer holds from the position on, each at most `len_max` bytes. `aborted` is the answer's list
/// of aborted transactions, empty for a reader that copies everything.
pub(crate) fn prepare(
    answer: &Bytes,
    aborted: &[(ProducerId, Offset)],
    position: Offset,
    len_max: usize,
    wishes: Wishes<'_>,
) -> Result<Prepared, RequestError> {
    let mut preparing = Preparing {
        answer,
        wishes,
        from: position,
        position,
        len_max,
        transactions: Transactions::new(aborted),
        pending: Pending::Nothing,
        out: Prepared::default(),
    };
    for view in batches(answer) {
        match view {
            Ok(view) => preparing.take(view)?,
            Err(BatchError::Truncated { .. }) => break,
            Err(source) => return Err(RequestError::Batch { offset: preparing.position, source }),
        }
    }
    preparing.flush()?;
    let next = preparing.position;
    match preparing.out.batches.last_mut() {
        Some(last) => last.next = next,
        None if preparing.out.echoes > 0 => {
            preparing.out.batches.push(Ready { next, ..Ready::nothing(position) });
        }
        None => {}
    }
    Ok(preparing.out)
}

struct Preparing<'a> {
    answer: &'a Bytes,
    wishes: Wishes<'a>,
    /// Records before it were copied already.
    from: Offset,
    /// Behind what was taken.
    position: Offset,
    len_max: usize,
    transactions: Transactions,
    pending: Pending<'a>,
    out: Prepared,
}

/// What has not left yet, because what follows may join it.
enum Pending<'a> {
    Nothing,
    /// A small batch; alone it goes as it is.
    One(BatchView<'a>, CompressionSpec),
    /// Records that are written anew, from this offset on.
    Several(Box<BatchJoiner>, CompressionSpec, Offset),
}

impl<'a> Preparing<'a> {
    fn take(&mut self, view: BatchView<'a>) -> Result<(), RequestError> {
        let header = view.header();
        if header.next_offset() <= self.position {
            return Ok(());
        }
        let failed = |source| RequestError::Batch { offset: header.base_offset, source };
        let codec = header.codec().map_err(failed)?;
        let is_aborted = self.transactions.pass(&view, &header).map_err(failed)?;
        if is_aborted {
            self.out.aborted += u64::try_from(header.record_count).unwrap_or(0);
        } else if !header.attributes.is_control() && header.record_count > 0 {
            let packed = self.wishes.compression.unwrap_or_else(|| codec.into());
            match self.way(&header, codec, packed) {
                Way::AsItIs => {
                    self.flush()?;
                    self.out.batches.push(whole(self.answer, &view, &header));
                }
                Way::Joinable => self.join(view, packed)?,
                Way::Anew => {
                    let mut joiner = self.joiner(packed)?;
                    self.add(&mut joiner, &view)?;
                    self.pending = Pending::Several(joiner, packed, header.base_offset);
                }
            }
        }
        self.position = header.next_offset();
        Ok(())
    }

    fn way(&self, header: &BatchHeader, codec: Compression, packed: CompressionSpec) -> Way {
        let is_dense = i64::from(header.record_count) == i64::from(header.last_offset_delta) + 1;
        let is_append_time = header.attributes.is_log_append_time();
        if !is_dense || is_append_time || header.base_offset < self.from || header.len > self.len_max {
            return Way::Anew;
        }
        if packed.codec != codec || self.wishes.path.is_some() {
            return Way::Anew;
        }
        let small = if codec == Compression::None { PLAIN_SMALL } else { PACKED_SMALL };
        if header.len < small { Way::Joinable } else { Way::AsItIs }
    }

    fn join(&mut self, view: BatchView<'a>, packed: CompressionSpec) -> Result<(), RequestError> {
        let fits = match &self.pending {
            Pending::Nothing => false,
            Pending::One(_, other) | Pending::Several(_, other, _) => *other == packed,
        };
        if !fits {
            self.flush()?;
            self.pending = Pending::One(view, packed);
            return Ok(());
        }
        let offset = view.base_offset();
        let mut joiner = self.joiner(packed)?;
        self.add(&mut joiner, &view)?;
        self.pending = Pending::Several(joiner, packed, offset);
        Ok(())
    }

    /// What records are written to that are to be packed so; what cannot stand before them in the same batch leaves.
    fn joiner(&mut self, packed: CompressionSpec) -> Result<Box<BatchJoiner>, RequestError> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Several(joiner, other, _) if other == packed => Ok(joiner),
            Pending::One(first, other) if other == packed => {
                let mut joiner = self.fresh(packed);
                self.add(&mut joiner, &first)?;
                Ok(joiner)
            }
            other => {
                self.pending = other;
                self.flush()?;
                Ok(self.fresh(packed))
            }
        }
    }

    fn fresh(&self, packed: CompressionSpec) -> Box<BatchJoiner> {
        // What is left of the answer, if all of it goes to this one batch.
        let passed = self.out.batches.iter().map(|batch| batch.bytes.len()).sum::<usize>();
        let expected = self.answer.len().saturating_sub(passed);
        Box::new(BatchJoiner::new(packed, JoinBounds { good: JOINED_BYTES_MAX, max: self.len_max, expected }))
    }

    fn add(&mut self, joiner: &mut BatchJoiner, view: &BatchView<'_>) -> Result<(), RequestError> {
        let offset = view.base_offset();
        view.check_crc().map_err(|source| RequestError::Batch { offset, source })?;
        match self.wishes.path {
            None => joiner.add(view, self.from, UNPACKED_BYTES_MAX),
            Some(path) => {
                let echoes = &mut self.out.echoes;
                joiner.add_through(view, self.from, UNPACKED_BYTES_MAX, &mut |record, changed| {
                    let passage = path.pass(record, changed);
                    *echoes += u64::from(passage == Passage::LeftOut);
                    passage
                })
            }
        }
        .map_err(|cause| repack_error(offset, cause))?;
        self.out.batches.extend(joiner.take_done().into_iter().map(joined));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RequestError> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => {}
            Pending::One(view, _) => self.out.batches.push(whole(self.answer, &view, &view.header())),
            Pending::Several(joiner, _, offset) => {
                let done = joiner.finish().map_err(|cause| repack_error(offset, cause))?;
                self.out.batches.extend(done.into_iter().map(joined));
            }
        }
        Ok(())
    }
}

/// What becomes of a batch.
enum Way {
    AsItIs,
    /// As it is, unless its neighbours are small as well.
    Joinable,
    Anew,
}

fn whole(answer: &Bytes, view: &BatchView<'_>, header: &BatchHeader) -> Ready {
    let records = u32::try_from(header.record_count).unwrap_or(0);
    Ready {
        bytes: answer.slice_ref(view.bytes()),
        records,
        from: header.base_offset,
        next: header.next_offset(),
        runs: vec![Run { from: header.base_offset, length: records }],
        max_timestamp: header.max_timestamp,
    }
}

fn joined(batch: JoinedBatch) -> Ready {
    let end = batch.runs.last().map_or(0, |run| run.from.0 + i64::from(run.length));
    Ready {
        bytes: Bytes::from(batch.bytes),
        records: batch.records,
        from: batch.runs.first().map_or(Offset(end), |run| run.from),
        next: Offset(end),
        runs: batch.runs,
        max_timestamp: batch.max_timestamp,
    }
}

fn repack_error(offset: Offset, cause: RepackError) -> RequestError {
    match cause {
        RepackError::Batch(source) => RequestError::Batch { offset, source },
        RepackError::TooLarge { len, max } => RequestError::TooLarge { offset, len, max },
        RepackError::Build(cause) => RequestError::Build { offset, reason: cause.to_string() },
    }
}

/// Which producers are in a transaction that was aborted, at the present place of an answer (KIP-98).
pub(crate) struct Transactions {
    /// (first offset, producer) of aborted transactions that begin further on, by offset.
    ahead: VecDeque<(Offset, ProducerId)>,
    aborted: BTreeSet<ProducerId>,
}

impl Transactions {
    pub(crate) fn new(list: &[(ProducerId, Offset)]) -> Transactions {
        let sorted: BTreeMap<(Offset, ProducerId), ()> = list.iter().map(|(id, first)| ((*first, *id), ())).collect();
        Transactions { ahead: sorted.into_keys().collect(), aborted: BTreeSet::new() }
    }

    /// Takes note of a batch; whether it belongs to an aborted transaction.
    pub(crate) fn pass(&mut self, view: &BatchView<'_>, header: &BatchHeader) -> Result<bool, BatchError> {
        while self.ahead.front().is_some_and(|(first, _)| *first <= header.last_offset()) {
            self.aborted.extend(self.ahead.pop_front().map(|(_, producer)| producer));
        }
        if self.aborted.is_empty() || !header.attributes.is_transactional() {
            return Ok(false);
        }
        if header.attributes.is_control() {
            if is_abort_marker(view)? {
                self.aborted.remove(&header.producer_id);
            }
            return Ok(false);
        }
        Ok(self.aborted.contains(&header.producer_id))
    }
}

fn is_abort_marker(view: &BatchView<'_>) -> Result<bool, BatchError> {
    let records = view.records(MARKER_BYTES_MAX)?;
    let marker = records.iter().next().transpose()?;
    Ok(marker.and_then(|marker| marker.key).and_then(|key| key.get(2..4)).is_some_and(|kind| kind == ABORT))
}
