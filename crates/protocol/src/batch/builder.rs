//! Writes one batch of magic 2.
//!
//! Records are appended to an uncompressed body; [`BatchBuilder::build`] packs it, writes the header and
//! the checksum. The builder is for batches that we make ourselves (coordinators, the raw client,
//! recompression); batches of producers pass through as they are.

use std::io::{ErrorKind, Read, Write};

use thiserror::Error;
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::{
    ATTRIBUTES, Attributes, BatchError, BatchView, CRC, HEADER_BYTES, LENGTH_OVERHEAD, MAGIC, NO_SEQUENCE, NO_TIMESTAMP,
};
use crate::compression::{Compression, CompressionError, CompressionSpec};
use crate::varint;

/// What an idempotent producer writes into its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub base_sequence: i32,
}

#[derive(Debug, Error)]
#[error("batch of {0} bytes does not fit the length field, make smaller batches")]
pub struct BatchTooLarge(pub usize);

/// Collects records and writes them as one batch.
#[derive(Clone, Debug, Default)]
pub struct BatchBuilder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    compression: CompressionSpec,
    flags: i16,
    log_append_time: Option<i64>,
    delete_horizon: Option<i64>,
    producer: Option<ProducerStamp>,
    body: Vec<u8>,
    count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    pub fn new() -> BatchBuilder {
        BatchBuilder { leader_epoch: LeaderEpoch::NONE, last_offset_delta: -1, ..BatchBuilder::default() }
    }

    pub fn with_base_offset(mut self, offset: Offset) -> Self {
        self.base_offset = offset;
        self
    }

    pub fn with_leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = epoch;
        self
    }

    pub fn with_compression(mut self, compression: impl Into<CompressionSpec>) -> Self {
        self.compression = compression.into();
        self
    }

    pub fn with_producer(mut self, stamp: ProducerStamp) -> Self {
        self.producer = Some(stamp);
        self
    }

    /// Marks the batch as one of markers, such as the end of a transaction.
    pub fn with_control(mut self) -> Self {
        self.flags |= Attributes::CONTROL;
        self
    }

    pub fn with_transactional(mut self) -> Self {
        self.flags |= Attributes::TRANSACTIONAL;
        self
    }

    /// Gives all records the broker's time instead of their own.
    pub fn with_log_append_time(mut self, timestamp: i64) -> Self {
        self.flags |= Attributes::LOG_APPEND_TIME;
        self.log_append_time = Some(timestamp);
        self
    }

    /// Notes the time from which tombstones and markers in this batch may go. It takes the place of the base timestamp
    /// (KIP-534), so it has to be set before the first record.
    pub fn with_delete_horizon(mut self, horizon: i64) -> Self {
        assert!(self.count == 0, "timestamps count from the horizon");
        self.flags |= Attributes::DELETE_HORIZON;
        self.delete_horizon = Some(horizon);
        self
    }

    /// Lets the batch end at a later offset than its last record: what compaction removes from a batch leaves the offsets
    /// and with them the sequences of its producer.
    pub fn end_at_delta(&mut self, last_offset_delta: i32) -> &mut Self {
        assert!(last_offset_delta >= self.last_offset_delta, "a batch ends behind its records");
        self.last_offset_delta = last_offset_delta;
        self
    }

    /// Appends a record at the next offset.
    pub fn append<'h>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> &mut Self {
        self.append_at_delta(self.last_offset_delta + 1, timestamp, key, value, headers)
    }

    /// Appends a record at a given distance from the base offset, which must be beyond the last one.
    pub fn append_at_delta<'h>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> &mut Self {
        assert!(offset_delta > self.last_offset_delta, "offsets of a batch ascend");
        if self.count == 0 {
            self.base_timestamp = self.delete_horizon.unwrap_or(timestamp);
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset_delta = offset_delta;
        self.count += 1;
        let mut record = vec![0]; // attributes, unused
        varint::write_i64(&mut record, timestamp.wrapping_sub(self.base_timestamp));
        varint::write_i32(&mut record, offset_delta);
        write_nullable(&mut record, key);
        write_nullable(&mut record, value);
        write_headers(&mut record, headers);
        varint::write_i32(&mut self.body, record.len() as i32);
        self.body.extend_from_slice(&record);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn record_count(&self) -> i32 {
        self.count
    }

    /// Size that the batch would have without compression.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Packs the records and writes the batch.
    pub fn build(self) -> Result<Vec<u8>, BuildError> {
        let body = self.compression.compress(&self.body)?;
        let attributes = self.flags | self.compression.codec as i16;
        let (base_timestamp, max_timestamp) = match self.count {
            0 => (NO_TIMESTAMP, NO_TIMESTAMP),
            _ => (self.base_timestamp, self.log_append_time.unwrap_or(self.max_timestamp)),
        };
        let stamp = self.producer.unwrap_or(ProducerStamp {
            id: ProducerId::NONE,
            epoch: ProducerEpoch::NONE,
            base_sequence: NO_SEQUENCE,
        });
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(&self.base_offset.0.to_be_bytes());
        out.extend_from_slice(&wire_length(HEADER_BYTES + body.len())?.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.0.to_be_bytes());
        out.push(MAGIC as u8);
        out.extend_from_slice(&[0; 4]); // checksum, below
        out.extend_from_slice(&attributes.to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        out.extend_from_slice(&base_timestamp.to_be_bytes());
        out.extend_from_slice(&max_timestamp.to_be_bytes());
        out.extend_from_slice(&stamp.id.0.to_be_bytes());
        out.extend_from_slice(&stamp.epoch.0.to_be_bytes());
        out.extend_from_slice(&stamp.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&body);
        seal(&mut out);
        Ok(out)
    }
}

/// Why a batch could not be written.
#[derive(Debug, Error)]
pub enum BuildError {
    #[error(transparent)]
    Compression(#[from] CompressionError),
    #[error(transparent)]
    TooLarge(#[from] BatchTooLarge),
}

/// Why a batch could not be packed by another codec.
#[derive(Debug, Error)]
pub enum RepackError {
    #[error("batch has {len} bytes or more when it is packed anew, {max} are allowed")]
    TooLarge { len: usize, max: usize },
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Unpacked bytes in memory at once while they are packed again.
const WINDOW_BYTES: usize = 32 * 1024;

impl BatchView<'_> {
    /// The same batch with its records packed by another codec, in at most `max` bytes. Works piece by piece; how much
    /// the records unpack to is for a survey to limit before.
    pub fn repack(&self, to: CompressionSpec, max: usize) -> Result<Vec<u8>, RepackError> {
        let codec = self.header().codec()?;
        let mut reader = codec.reader(self.body()).map_err(BatchError::from)?;
        let failed = |source| BuildError::from(to.failed(source));
        let mut packer = to.writer().map_err(failed)?;
        let mut window = vec![0; WINDOW_BYTES];
        loop {
            let read = match reader.read(&mut window) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(BatchError::from(codec.damaged(error)).into()),
            };
            packer.write_all(&window[..read]).map_err(failed)?;
            let len = HEADER_BYTES + packer.ready();
            if len > max {
                return Err(RepackError::TooLarge { len, max });
            }
        }
        let body = packer.finish().map_err(failed)?;
        Ok(self.with_body(&body, to.codec)?)
    }

    /// The same batch around other bytes, which are records packed by `codec`.
    fn with_body(&self, body: &[u8], codec: Compression) -> Result<Vec<u8>, BuildError> {
        let attributes = (self.attributes().0 & !Attributes::COMPRESSION_MASK) | codec as i16;
        let mut head = [0; HEADER_BYTES];
        head.copy_from_slice(&self.bytes()[..HEADER_BYTES]);
        head[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
        Ok(around(&head, body)?)
    }

    /// The same batch with its records packed by another codec; `unpacked` are its records as plain bytes.
    pub fn recompress(&self, unpacked: &[u8], to: CompressionSpec) -> Result<Vec<u8>, BuildError> {
        self.with_body(&to.compress(unpacked)?, to.codec)
    }
}

/// A batch of a header and packed records, with its length and its checksum.
pub(super) fn around(head: &[u8; HEADER_BYTES], body: &[u8]) -> Result<Vec<u8>, BatchTooLarge> {
    let length = wire_length(HEADER_BYTES + body.len())?;
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    out[super::LENGTH..super::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    seal(&mut out);
    Ok(out)
}

/// See [`BatchView::emptied`].
pub(super) fn emptied(batch: &BatchView<'_>) -> Vec<u8> {
    let attributes = batch.attributes().0 & !(Attributes::COMPRESSION_MASK | Attributes::DELETE_HORIZON);
    let length = (HEADER_BYTES - LENGTH_OVERHEAD) as i32;
    let mut out = batch.bytes()[..HEADER_BYTES].to_vec();
    let mut put = |at: usize, value: &[u8]| out[at..at + value.len()].copy_from_slice(value);
    put(super::LENGTH, &length.to_be_bytes());
    put(ATTRIBUTES, &attributes.to_be_bytes());
    put(super::BASE_TIMESTAMP, &NO_TIMESTAMP.to_be_bytes());
    put(super::RECORD_COUNT, &0i32.to_be_bytes());
    seal(&mut out);
    out
}

fn wire_length(len: usize) -> Result<i32, BatchTooLarge> {
    i32::try_from(len - LENGTH_OVERHEAD).map_err(|_| BatchTooLarge(len))
}

pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

pub(super) fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write_i32(out, -1),
        Some(bytes) => {
            varint::write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

fn write_headers<'h>(out: &mut Vec<u8>, headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>) {
    let mut bytes = Vec::new();
    let mut count = 0;
    for (key, value) in headers {
        write_nullable(&mut bytes, Some(key));
        write_nullable(&mut bytes, value);
        count += 1;
    }
    varint::write_i32(out, count);
    out.extend_from_slice(&bytes);
}
