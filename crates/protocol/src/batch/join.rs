//! Records of stored batches, in batches of their own: what a copy makes of runs of small batches, of batches with holes,
//! and of batches that are too large for where they go.
//!
//! Picture: a [`BatchJoiner`] takes records out of one batch after the other and writes them, numbered anew from 0 and
//! without holes, into batches of at most a given length. Only what lies before a record's key is written anew (length,
//! time, offset); key, value and headers go over in one piece. Packed records are unpacked on the way in and packed on the
//! way out, by the same codec or another one, window by window.
//!
//! Invariants: records keep their order, their own times and their bytes; what the broker's clock gave them becomes their
//! own time. A batch that is handed out is not longer than the limit. Which offsets its records had is told by
//! [`OffsetRun`]s. Memory holds a window of the old batch and the new one, and a record where somebody looks at each
//! ([`BatchJoiner::add_through`]), who may change what lies from its key on, or leave it out.
//! Not here: markers of transactions (control batches), which end transactions that only the old log has.

use std::io::{BufRead, Write};

use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::survey::{Fault, Frame, Walk, window};
use super::tail::RecordTail;
use super::{
    ATTRIBUTES, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, BatchHeader, BatchView, BuildError, HEADER_BYTES,
    LAST_OFFSET_DELTA, LEADER_EPOCH, LENGTH, LENGTH_OVERHEAD, MAGIC, MAGIC_AT, MAX_TIMESTAMP, NO_SEQUENCE,
    PRODUCER_EPOCH, PRODUCER_ID, RECORD_COUNT, RepackError,
};
use crate::compression::{Compression, CompressionSpec, Packer};
use crate::varint;

/// Length, attributes, time and offset of a record at their longest: 5 + 1 + 10 + 5 bytes.
const RECORD_HEAD_MAX: usize = 21;
/// What a codec may add to bytes that it cannot pack: frame headers, and a few bytes for each of its blocks, of which the
/// smallest has 16 KiB (gzip); a 512th is more than that, and so is this for short ones.
const PACKING_MARGIN: usize = 128;
/// What packed bytes may still come of what a codec has taken and not handed out: a block of zstd's in its buffer and one on the
/// way, 128 KiB each, is the most of any; and half as much again.
const UNREADY_MAX: usize = 384 << 10;
/// A batch is ended before its records are longer than this, however well they pack: readers unpack all of it at once.
const UNPACKED_GOOD: usize = 8 << 20;

/// Records that had consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRun {
    pub from: Offset,
    pub length: u32,
}

/// A batch of records that were taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedBatch {
    /// Base offset 0, no producer, no leader epoch.
    pub bytes: Vec<u8>,
    pub records: u32,
    pub max_timestamp: i64,
    /// The offsets that the records had, in their order.
    pub runs: Vec<OffsetRun>,
}

/// How long new batches become.
#[derive(Clone, Copy, Debug)]
pub struct JoinBounds {
    /// A batch is ended before it becomes longer than this, if it has more than one record.
    pub good: usize,
    /// No batch is longer.
    pub max: usize,
    /// What the next batch will probably take; saves growing.
    pub expected: usize,
}

/// What becomes of a record that somebody has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    AsItIs,
    /// With other bytes from the key on.
    Changed,
    LeftOut,
}

/// Looks at a record; what it is to be instead is written to the bytes, which are empty.
type Gate<'g> = &'g mut dyn FnMut(&RecordTail<'_>, &mut Vec<u8>) -> Passage;

/// Writes records of several batches into new ones.
pub struct BatchJoiner {
    spec: CompressionSpec,
    bounds: JoinBounds,
    open: Option<Open>,
    done: Vec<JoinedBatch>,
    /// The beginning of the present record.
    head: Vec<u8>,
    /// The present record from its key on, as it was and as it is to be, where somebody looks at it.
    tail: Vec<u8>,
    changed: Vec<u8>,
}

/// The batch that records go to at present.
struct Open {
    body: Body,
    /// Bytes of its records before packing.
    unpacked: usize,
    records: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    runs: Vec<OffsetRun>,
}

enum Body {
    /// With room for the header in front.
    Plain(Vec<u8>),
    Packed(Packer),
}

impl BatchJoiner {
    /// New batches are packed so, whatever the ones that they are made of.
    pub fn new(packed: impl Into<CompressionSpec>, bounds: JoinBounds) -> BatchJoiner {
        let (spec, good) = (packed.into(), bounds.good.min(bounds.max));
        let bounds = JoinBounds { good, ..bounds };
        let (head, tail, changed) = (Vec::new(), Vec::new(), Vec::new());
        BatchJoiner { spec, bounds, open: None, done: Vec::new(), head, tail, changed }
    }

    /// Takes the records of a batch over, from an offset on; no more than `unpacked_max` bytes may be unpacked.
    pub fn add(&mut self, batch: &BatchView<'_>, from: Offset, unpacked_max: usize) -> Result<(), RepackError> {
        self.add_all(batch, from, unpacked_max, None)
    }

    /// The same, past somebody who looks at each record.
    pub fn add_through(
        &mut self,
        batch: &BatchView<'_>,
        from: Offset,
        unpacked_max: usize,
        gate: Gate<'_>,
    ) -> Result<(), RepackError> {
        self.add_all(batch, from, unpacked_max, Some(gate))
    }

    fn add_all(
        &mut self,
        batch: &BatchView<'_>,
        from: Offset,
        limit: usize,
        gate: Option<Gate<'_>>,
    ) -> Result<(), RepackError> {
        let header = batch.header();
        match header.codec()? {
            Compression::None => self.fill(&header, Walk::new(batch.body(), usize::MAX), from, limit, gate),
            codec => self.fill(&header, Walk::new(window(codec, batch.body())?, limit), from, limit, gate),
        }
    }

    fn fill<R: BufRead>(
        &mut self,
        header: &BatchHeader,
        mut walk: Walk<R>,
        from: Offset,
        limit: usize,
        mut gate: Option<Gate<'_>>,
    ) -> Result<(), RepackError> {
        let codec = header.codec()?;
        let broken = |(index, fault): (usize, Fault)| RepackError::from(fault.into_error(index, header, codec, limit));
        let count = usize::try_from(header.record_count).unwrap_or(0);
        for index in 0..count {
            let Frame { timestamp_delta, offset_delta } = walk.frame().map_err(|fault| broken((index, fault)))?;
            let offset = header.base_offset.0.checked_add(i64::from(offset_delta));
            let offset = Offset(offset.ok_or_else(|| broken((index, Fault::Form)))?);
            if offset < from {
                walk.drain(|_| ()).map_err(|fault| broken((index, fault)))?;
                continue;
            }
            let time = header.time_of(header.base_timestamp.wrapping_add(timestamp_delta));
            if let Some(gate) = gate.as_mut() {
                self.tail.clear();
                let tail = &mut self.tail;
                walk.drain(|piece| tail.extend_from_slice(piece)).map_err(|fault| broken((index, fault)))?;
                self.pass(offset, time, gate).ok_or_else(|| broken((index, Fault::Form)))??;
                continue;
            }
            self.begin_record(offset, time, walk.left())?;
            let mut written = Ok(());
            walk.drain(|piece| {
                if written.is_ok() {
                    written = self.write(piece);
                }
            })
            .map_err(|fault| broken((index, fault)))?;
            written?;
        }
        walk.end(count).map_err(broken)
    }

    /// Lets somebody look at the record whose tail was read. `None`: it is malformed.
    fn pass(&mut self, offset: Offset, time: i64, gate: &mut Gate<'_>) -> Option<Result<(), RepackError>> {
        let (tail, mut changed) = (std::mem::take(&mut self.tail), std::mem::take(&mut self.changed));
        changed.clear();
        let passage = RecordTail::parse(&tail).map(|record| gate(&record, &mut changed));
        let done = passage.map(|passage| {
            let goes = match passage {
                Passage::LeftOut => return Ok(()),
                Passage::AsItIs => &tail,
                Passage::Changed => &changed,
            };
            self.begin_record(offset, time, goes.len())?;
            self.write(goes)
        });
        (self.tail, self.changed) = (tail, changed);
        done
    }

    /// Writes all of a record but its last `rest` bytes, from the key on; to a new batch where the present one is full.
    fn begin_record(&mut self, offset: Offset, time: i64, rest: usize) -> Result<(), RepackError> {
        let longest = RECORD_HEAD_MAX + rest;
        if self.open.as_ref().is_some_and(|open| open.at_most_with(longest) > self.bounds.good) {
            self.close()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::new(self.spec, time, self.bounds.expected.min(self.bounds.good))?),
        };
        let delta = i32::try_from(open.records).unwrap_or(i32::MAX);
        open.count(offset, time);
        let mut numbers = [0; RECORD_HEAD_MAX];
        let mut at = 1; // attributes, unused
        at += varint::put_i64(&mut numbers[at..], time.wrapping_sub(open.base_timestamp));
        at += varint::put_i64(&mut numbers[at..], i64::from(delta));
        let too_long = || BuildError::from(super::BatchTooLarge(at + rest));
        let len = i32::try_from(at + rest).map_err(|_| too_long())?;
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        varint::write_i32(&mut head, len);
        head.extend_from_slice(&numbers[..at]);
        let written = self.write(&head);
        self.head = head;
        written
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RepackError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.unpacked += bytes.len();
        match &mut open.body {
            Body::Plain(out) => out.extend_from_slice(bytes),
            Body::Packed(packer) => {
                packer.write_all(bytes).map_err(|error| BuildError::from(self.spec.failed(error)))?;
            }
        }
        Ok(())
    }

    /// Ends the present batch; records that follow go to another one.
    pub fn close(&mut self) -> Result<(), RepackError> {
        if let Some(open) = self.open.take() {
            let joined = open.finish(self.spec)?;
            let (len, max) = (joined.bytes.len(), self.bounds.max);
            if len > max {
                return Err(RepackError::TooLarge { len, max });
            }
            self.done.push(joined);
        }
        Ok(())
    }

    /// The batches that are complete.
    pub fn take_done(&mut self) -> Vec<JoinedBatch> {
        std::mem::take(&mut self.done)
    }

    /// Everything, in order.
    pub fn finish(mut self) -> Result<Vec<JoinedBatch>, RepackError> {
        self.close()?;
        Ok(self.done)
    }
}

/// How long a batch of so many bytes of records can become.
fn packed_at_most(unpacked: usize) -> usize {
    HEADER_BYTES + unpacked + unpacked / 512 + PACKING_MARGIN
}

impl Open {
    fn new(spec: CompressionSpec, first_time: i64, expected: usize) -> Result<Open, RepackError> {
        let body = match spec.codec {
            Compression::None => {
                let mut out = Vec::with_capacity(expected.max(HEADER_BYTES));
                out.resize(HEADER_BYTES, 0);
                Body::Plain(out)
            }
            _ => Body::Packed(spec.writer().map_err(|error| BuildError::from(spec.failed(error)))?),
        };
        let (base_timestamp, max_timestamp) = (first_time, first_time);
        Ok(Open { body, unpacked: 0, records: 0, base_timestamp, max_timestamp, runs: Vec::new() })
    }

    /// How long the batch can become with so many bytes of records more.
    fn at_most_with(&self, more: usize) -> usize {
        let unpacked = self.unpacked + more;
        match &self.body {
            Body::Packed(packer) if unpacked <= UNPACKED_GOOD => {
                packed_at_most(unpacked).min(packer.ready() + UNREADY_MAX + packed_at_most(more))
            }
            _ => packed_at_most(unpacked),
        }
    }

    fn count(&mut self, offset: Offset, time: i64) {
        self.records += 1;
        self.max_timestamp = self.max_timestamp.max(time);
        match self.runs.last_mut() {
            Some(run) if run.from.0 + i64::from(run.length) == offset.0 => run.length += 1,
            _ => self.runs.push(OffsetRun { from: offset, length: 1 }),
        }
    }

    fn finish(self, spec: CompressionSpec) -> Result<JoinedBatch, RepackError> {
        let mut bytes = match self.body {
            Body::Plain(out) => out,
            Body::Packed(packer) => {
                let body = packer.finish().map_err(|error| BuildError::from(spec.failed(error)))?;
                let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
                out.resize(HEADER_BYTES, 0);
                out.extend_from_slice(&body);
                out
            }
        };
        let length = i32::try_from(bytes.len() - LENGTH_OVERHEAD);
        let length = length.map_err(|_| BuildError::from(super::BatchTooLarge(bytes.len())))?;
        let count = i32::try_from(self.records).unwrap_or(i32::MAX);
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(BASE_OFFSET, &0i64.to_be_bytes());
        put(LENGTH, &length.to_be_bytes());
        put(LEADER_EPOCH, &LeaderEpoch::NONE.0.to_be_bytes());
        put(MAGIC_AT, &[MAGIC as u8]);
        put(ATTRIBUTES, &(spec.codec as i16).to_be_bytes());
        put(LAST_OFFSET_DELTA, &(count - 1).to_be_bytes());
        put(BASE_TIMESTAMP, &self.base_timestamp.to_be_bytes());
        put(MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        put(PRODUCER_ID, &ProducerId::NONE.0.to_be_bytes());
        put(PRODUCER_EPOCH, &ProducerEpoch::NONE.0.to_be_bytes());
        put(BASE_SEQUENCE, &NO_SEQUENCE.to_be_bytes());
        put(RECORD_COUNT, &count.to_be_bytes());
        super::builder::seal(&mut bytes);
        Ok(JoinedBatch { bytes, records: self.records, max_timestamp: self.max_timestamp, runs: self.runs })
    }
}

#[cfg(test)]
mod tests;
