//! A batch with some of its records only: what compaction leaves of it.
//!
//! Records that stay go from the stored batch into the new one piece by piece, unpacked on the way in and packed by the
//! same codec on the way out. Only what lies before a record's key is written anew, because timestamps count from the
//! first record of a batch or from its delete horizon.
//!
//! Invariants: memory holds a window of the old batch and the packed bytes of the new one, which may not exceed the
//! caller's limit. Offsets, the producer's stamp, epoch and flags are those of the old batch, and so is where it ends.

use std::io::{self, BufRead, Write};

use super::survey::{Fault, Walk, window};
use super::{
    ATTRIBUTES, Attributes, BASE_TIMESTAMP, BatchHeader, BatchView, BuildError, HEADER_BYTES, MAX_TIMESTAMP,
    NO_TIMESTAMP, RECORD_COUNT, RepackError,
};
use crate::compression::{Compression, CompressionSpec, Packer};
use crate::varint;

/// What of a batch stays, and how large it may be.
pub struct Excerpt<'a> {
    /// Whether the record at a place of the batch stays.
    pub stays: &'a dyn Fn(usize) -> bool,
    /// The time from which tombstones and markers may go; takes the place of the base timestamp (KIP-534).
    pub horizon: Option<i64>,
    /// What may be unpacked.
    pub unpacked_max: usize,
    /// How large the new batch may be.
    pub len_max: usize,
}

impl BatchView<'_> {
    /// The batch without the records that do not stay.
    pub fn excerpt(&self, wanted: &Excerpt<'_>) -> Result<Vec<u8>, RepackError> {
        let header = self.header();
        let codec = header.codec()?;
        let out = Output::begin(&header, codec, wanted)?;
        let out = match codec {
            Compression::None => fill(out, Walk::new(self.body(), usize::MAX))?,
            _ => fill(out, Walk::new(window(codec, self.body())?, wanted.unpacked_max))?,
        };
        out.end(self)
    }
}

fn fill<'a, R: BufRead>(mut out: Output<'a>, mut walk: Walk<R>) -> Result<Output<'a>, RepackError> {
    let (header, codec, limit) = (*out.header, out.spec.codec, out.wanted.unpacked_max);
    let broken = |(index, fault): (usize, Fault)| RepackError::from(fault.into_error(index, &header, codec, limit));
    let count = usize::try_from(header.record_count).unwrap_or(0);
    for index in 0..count {
        let frame = walk.frame().map_err(|fault| broken((index, fault)))?;
        if !(out.wanted.stays)(index) {
            walk.drain(|_| ()).map_err(|fault| broken((index, fault)))?;
            continue;
        }
        let time = header.time_of(header.base_timestamp.wrapping_add(frame.timestamp_delta));
        out.begin_record(time, frame.offset_delta, walk.left())?;
        let mut written = Ok(());
        walk.drain(|piece| {
            if written.is_ok() {
                written = out.write(piece);
            }
        })
        .map_err(|fault| broken((index, fault)))?;
        written?;
    }
    walk.end(count).map_err(broken)?;
    Ok(out)
}

/// The new batch.
struct Output<'a> {
    header: &'a BatchHeader,
    spec: CompressionSpec,
    wanted: &'a Excerpt<'a>,
    packer: Packer,
    /// The beginning of the present record.
    head: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl<'a> Output<'a> {
    fn begin(header: &'a BatchHeader, codec: Compression, wanted: &'a Excerpt<'a>) -> Result<Output<'a>, RepackError> {
        let spec = CompressionSpec::from(codec);
        let packer = spec.writer().map_err(|error| failed(spec, error))?;
        let (base_timestamp, max_timestamp) = (wanted.horizon.unwrap_or(NO_TIMESTAMP), NO_TIMESTAMP);
        Ok(Output { header, spec, wanted, packer, head: Vec::new(), count: 0, base_timestamp, max_timestamp })
    }

    /// Writes all of a record but its last `rest` bytes, from the key on.
    fn begin_record(&mut self, time: i64, offset_delta: i32, rest: usize) -> Result<(), RepackError> {
        if self.count == 0 {
            self.base_timestamp = self.wanted.horizon.unwrap_or(time);
            self.max_timestamp = time;
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(time);
        let mut numbers = vec![0]; // attributes, unused
        varint::write_i64(&mut numbers, time.wrapping_sub(self.base_timestamp));
        varint::write_i32(&mut numbers, offset_delta);
        let too_long = || BuildError::from(super::BatchTooLarge(numbers.len() + rest));
        let len = i32::try_from(numbers.len() + rest).map_err(|_| too_long())?;
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        varint::write_i32(&mut head, len);
        head.extend_from_slice(&numbers);
        self.write(&head)?;
        self.head = head;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RepackError> {
        self.packer.write_all(bytes).map_err(|error| failed(self.spec, error))?;
        check_len(HEADER_BYTES + self.packer.ready(), self.wanted.len_max)
    }

    fn end(self, batch: &BatchView<'_>) -> Result<Vec<u8>, RepackError> {
        let mut attributes = self.header.attributes.0;
        if self.wanted.horizon.is_some() {
            attributes |= Attributes::DELETE_HORIZON;
        }
        let max_timestamp = match self.header.attributes.is_log_append_time() && self.count > 0 {
            true => self.header.max_timestamp,
            false => self.max_timestamp,
        };
        let mut head = [0; HEADER_BYTES];
        head.copy_from_slice(&batch.bytes()[..HEADER_BYTES]);
        let mut put = |at: usize, value: &[u8]| head[at..at + value.len()].copy_from_slice(value);
        put(ATTRIBUTES, &attributes.to_be_bytes());
        put(BASE_TIMESTAMP, &self.base_timestamp.to_be_bytes());
        put(MAX_TIMESTAMP, &max_timestamp.to_be_bytes());
        put(RECORD_COUNT, &self.count.to_be_bytes());
        let body = self.packer.finish().map_err(|error| failed(self.spec, error))?;
        check_len(HEADER_BYTES + body.len(), self.wanted.len_max)?;
        Ok(super::builder::around(&head, &body).map_err(BuildError::from)?)
    }
}

fn check_len(len: usize, max: usize) -> Result<(), RepackError> {
    if len > max { Err(RepackError::TooLarge { len, max }) } else { Ok(()) }
}

fn failed(spec: CompressionSpec, error: io::Error) -> RepackError {
    BuildError::from(spec.failed(error)).into()
}

#[cfg(test)]
mod tests;
