//! Record batches of magic 2 (KIP-98) as views over bytes.
//!
//! Picture: a log and a Produce or Fetch body are both a row of batches. A [`BatchView`] looks at one of
//! them in place; nothing is copied and nothing is unpacked until [`BatchView::records`] is called. The
//! checksum covers everything from the attributes on, so the base offset and the leader epoch, which a
//! broker assigns, can change without touching it.
//!
//! ```text
//!  0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc u32 |
//! 21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64 |
//! 43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records
//! ```
//!
//! Invariants: a view covers exactly one batch whose magic is 2 and whose length is at least the header's.
//! Not here: who may send what (see the log's validation), older formats (refused).

mod builder; // writes a batch
mod edit; // patches header fields, with or without the checksum
mod excerpt; // some of the records, in a batch of their own
mod join; // records of several batches, in batches of their own
mod records; // the records inside
mod restamp; // a header for another log, without reading the records
mod survey; // whether they are sound, without lending them
mod tail; // a record from its key on

pub use builder::{BatchBuilder, BatchTooLarge, BuildError, ProducerStamp, RepackError};
pub use edit::{BatchMut, HeaderMut};
pub use excerpt::Excerpt;
pub use join::{BatchJoiner, JoinBounds, JoinedBatch, OffsetRun, Passage};
pub use records::{Header, Headers, Record, Records};
pub use restamp::{restamped, restamped_in_transaction};
pub use survey::{Surveyed, Visitor};
pub use tail::RecordTail;

use thiserror::Error;
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::compression::{Compression, CompressionError};

/// Bytes before the records of a batch.
pub const HEADER_BYTES: usize = 61;
/// Bytes that the length field does not count: base offset and the length itself.
pub const LENGTH_OVERHEAD: usize = 12;
/// The only format that we store.
pub const MAGIC: i8 = 2;
/// "No timestamp" in timestamp fields.
pub const NO_TIMESTAMP: i64 = -1;
/// "No sequence" of producers without idempotence.
pub const NO_SEQUENCE: i32 = -1;

pub(crate) const BASE_OFFSET: usize = 0;
pub(crate) const LENGTH: usize = 8;
pub(crate) const LEADER_EPOCH: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC: usize = 17;
pub(crate) const ATTRIBUTES: usize = 21;
pub(crate) const LAST_OFFSET_DELTA: usize = 23;
pub(crate) const BASE_TIMESTAMP: usize = 27;
pub(crate) const MAX_TIMESTAMP: usize = 35;
pub(crate) const PRODUCER_ID: usize = 43;
pub(crate) const PRODUCER_EPOCH: usize = 51;
pub(crate) const BASE_SEQUENCE: usize = 53;
pub(crate) const RECORD_COUNT: usize = 57;

/// The flags in a batch's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(crate) const COMPRESSION_MASK: i16 = 0b111;
    pub(crate) const LOG_APPEND_TIME: i16 = 1 << 3;
    pub(crate) const TRANSACTIONAL: i16 = 1 << 4;
    pub(crate) const CONTROL: i16 = 1 << 5;
    pub(crate) const DELETE_HORIZON: i16 = 1 << 6;

    /// The codec, `None` if the bits name no codec.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_id((self.0 & Self::COMPRESSION_MASK) as u8)
    }

    /// Whether the timestamps are the broker's clock and not the producer's.
    pub fn is_log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }

    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker for readers and not data.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp holds the time from which tombstones may go (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

#[derive(Debug, Error)]
pub enum BatchError {
    #[error("batch ends early: {have} of {need} bytes")]
    Truncated { have: usize, need: usize },
    #[error("batch length {0} is smaller than a batch header")]
    BadLength(i32),
    #[error("message format {0} is not supported, use format 2")]
    UnsupportedMagic(i8),
    #[error("batch fails its checksum: stored {stored:#010x}, computed {computed:#010x}")]
    BadCrc { stored: u32, computed: u32 },
    #[error("compression type {0} is not known")]
    UnknownCompression(i16),
    #[error(transparent)]
    Compression(#[from] CompressionError),
    #[error("record {index} of the batch is malformed")]
    MalformedRecord { index: usize },
    #[error("record {index} of the batch is not numbered by its place")]
    RecordOffset { index: usize },
    #[error("batch announces {announced} records, but holds {found}")]
    RecordCount { announced: i32, found: usize },
}

/// One batch in place. Getters never fail: the header was seen to be whole when the view was made.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Looks at the batch at the start of `bytes`, which may go on behind it.
    pub fn parse(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        let len = whole_batch_len(bytes)?;
        let bytes = bytes.get(..len).ok_or(BatchError::Truncated { have: bytes.len(), need: len })?;
        Ok(BatchView { bytes })
    }

    /// The whole batch, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as stored, which is compressed if the attributes say so.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Length in bytes, header included.
    #[expect(clippy::len_without_is_empty, reason = "a batch always has a header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn header(&self) -> BatchHeader {
        BatchHeader::read(self.bytes)
    }

    pub fn base_offset(&self) -> Offset {
        self.header().base_offset
    }

    pub fn last_offset(&self) -> Offset {
        self.header().last_offset()
    }

    pub fn attributes(&self) -> Attributes {
        self.header().attributes
    }

    pub fn record_count(&self) -> i32 {
        self.header().record_count
    }

    pub fn max_timestamp(&self) -> i64 {
        self.header().max_timestamp
    }

    /// Compares the stored checksum with the bytes.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let stored = self.header().crc;
        let computed = crc32c::crc32c(&self.bytes[ATTRIBUTES..]);
        if stored != computed {
            return Err(BatchError::BadCrc { stored, computed });
        }
        Ok(())
    }

    /// The batch without its records: what stays when compaction keeps only its offsets and its producer's sequences.
    pub fn emptied(&self) -> Vec<u8> {
        builder::emptied(self)
    }

    /// Unpacks all records at once, which may take up to `limit` bytes of memory; what a client sent may be packed so well
    /// that only a small limit is a bound, see [`BatchView::walk`].
    pub fn records(&self, limit: usize) -> Result<Records<'a>, BatchError> {
        Records::decode(self.header(), self.body(), limit)
    }
}

/// The header fields of a batch, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Whole length in bytes, header included (not the wire field, which leaves out 12 bytes).
    pub len: usize,
    pub leader_epoch: LeaderEpoch,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header; the batch's records need not follow. For scans of files.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        whole_batch_len(bytes)?;
        Ok(BatchHeader::read(bytes))
    }

    fn read(b: &[u8]) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(i64_at(b, BASE_OFFSET)),
            len: i32_at(b, LENGTH) as usize + LENGTH_OVERHEAD,
            leader_epoch: LeaderEpoch(i32_at(b, LEADER_EPOCH)),
            crc: i32_at(b, CRC) as u32,
            attributes: Attributes(i16_at(b, ATTRIBUTES)),
            last_offset_delta: i32_at(b, LAST_OFFSET_DELTA),
            base_timestamp: i64_at(b, BASE_TIMESTAMP),
            max_timestamp: i64_at(b, MAX_TIMESTAMP),
            producer_id: ProducerId(i64_at(b, PRODUCER_ID)),
            producer_epoch: ProducerEpoch(i16_at(b, PRODUCER_EPOCH)),
            base_sequence: i32_at(b, BASE_SEQUENCE),
            record_count: i32_at(b, RECORD_COUNT),
        }
    }

    /// What readers take for the time of a record that has this time of its producer: the broker's, where the batch says so.
    pub fn time_of(&self, timestamp: i64) -> i64 {
        if self.attributes.is_log_append_time() { self.max_timestamp } else { timestamp }
    }

    /// The codec of the records; an error if the attributes name none.
    pub fn codec(&self) -> Result<Compression, BatchError> {
        let unknown = BatchError::UnknownCompression(self.attributes.0 & Attributes::COMPRESSION_MASK);
        self.attributes.compression().ok_or(unknown)
    }

    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// The time from which tombstones and markers of this batch may go, if compaction has reached it (KIP-534).
    pub fn delete_horizon(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// The offset after the last one of this batch.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// Whether the producer numbers its batches.
    pub fn is_idempotent(&self) -> bool {
        self.producer_id != ProducerId::NONE
    }

    /// The sequence of the last record; sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        add_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// Adds to a sequence number, which wraps from `i32::MAX` to 0.
pub fn add_sequence(sequence: i32, increment: i32) -> i32 {
    ((i64::from(sequence) + i64::from(increment)) & i64::from(i32::MAX)) as i32
}

/// Walks the batches of a buffer; a cut or broken batch is the last item, as an error.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// Iterator of [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = BatchView::parse(self.rest);
        self.rest = match &batch {
            Ok(batch) => &self.rest[batch.len()..],
            Err(_) => &[],
        };
        Some(batch)
    }
}

/// The bytes that are whole batches; a Fetch answer may end in the middle of one.
pub fn whole_batches(bytes: &[u8]) -> Result<&[u8], BatchError> {
    let mut len = 0;
    for batch in batches(bytes) {
        match batch {
            Ok(batch) => len += batch.len(),
            Err(BatchError::Truncated { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(&bytes[..len])
}

/// Length of the batch at the start of `bytes`, of which at least the header must be there.
fn whole_batch_len(bytes: &[u8]) -> Result<usize, BatchError> {
    let truncated = |need| BatchError::Truncated { have: bytes.len(), need };
    if bytes.len() > MAGIC_AT && bytes[MAGIC_AT] as i8 != MAGIC {
        return Err(BatchError::UnsupportedMagic(bytes[MAGIC_AT] as i8));
    }
    if bytes.len() < HEADER_BYTES {
        return Err(truncated(HEADER_BYTES));
    }
    let length = i32_at(bytes, LENGTH);
    match usize::try_from(length) {
        Ok(len) if len >= HEADER_BYTES - LENGTH_OVERHEAD => Ok(len + LENGTH_OVERHEAD),
        _ => Err(BatchError::BadLength(length)),
    }
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    (i64::from(i32_at(bytes, at)) << 32) | i64::from(i32_at(bytes, at + 4) as u32)
}

#[cfg(test)]
mod tests;
