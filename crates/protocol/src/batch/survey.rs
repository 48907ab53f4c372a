//! A walk over the records of a batch that lends nothing and keeps nothing.
//!
//! Picture: a broker that must know whether records are sound, how late the latest is, or which lack a key, walks over
//! their frames and steps across keys and values. Compressed records are unpacked piece by piece on the way.
//!
//! Invariants: memory does not grow with the batch, whatever it claims; no more than the caller's limit is unpacked. A
//! survey that ends well has seen exactly the announced records, numbered from 0 without gaps, and nothing behind them.

use std::io::{self, BufRead, BufReader};

use super::{BatchError, BatchHeader, BatchView};
use crate::compression::{Compression, CompressionError};

/// Unpacked bytes in memory at once.
const WINDOW_BYTES: usize = 16 * 1024;

/// What a survey tells of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Place in the batch, from 0.
    pub index: usize,
    /// The producer's time, also where the batch says that the broker's counts.
    pub timestamp: i64,
    pub has_key: bool,
}

impl BatchView<'_> {
    /// Walks over all records, of which no more than `limit` bytes may be unpacked.
    pub fn survey(&self, limit: usize, mut each: impl FnMut(Surveyed)) -> Result<(), BatchError> {
        let header = self.header();
        let codec = header.codec()?;
        match codec {
            Compression::None => Walk { input: self.body(), limit: usize::MAX, left: 0 }.all(&header, &mut each),
            _ => {
                let input = BufReader::with_capacity(WINDOW_BYTES, codec.reader(self.body())?);
                Walk { input, limit, left: 0 }.all(&header, &mut each)
            }
        }
        .map_err(|(index, fault)| match fault {
            Fault::Form => BatchError::MalformedRecord { index },
            Fault::Offset => BatchError::RecordOffset { index },
            Fault::Count => BatchError::RecordCount { announced: header.record_count, found: index },
            Fault::Large => CompressionError::TooLarge { codec, limit }.into(),
            Fault::Unreadable(source) => codec.damaged(source).into(),
        })
    }
}

/// What is wrong at a record.
enum Fault {
    Form,
    Offset,
    Count,
    Large,
    Unreadable(io::Error),
}

struct Walk<R> {
    input: R,
    /// Bytes that may still be unpacked.
    limit: usize,
    /// Bytes of the present record that are still to come.
    left: usize,
}

impl<R: BufRead> Walk<R> {
    fn all(mut self, header: &BatchHeader, each: &mut impl FnMut(Surveyed)) -> Result<(), (usize, Fault)> {
        let count = usize::try_from(header.record_count).unwrap_or(0);
        for index in 0..count {
            let surveyed = self.record(header, index).map_err(|fault| (index, fault))?;
            each(surveyed);
        }
        match self.input.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err((count + 1, Fault::Count)),
            Err(error) => Err((count, Fault::Unreadable(error))),
        }
    }

    fn record(&mut self, header: &BatchHeader, index: usize) -> Result<Surveyed, Fault> {
        if self.rest()?.is_empty() {
            return Err(Fault::Count);
        }
        self.left = 5; // as long as a length can be
        let len = self.len()?.ok_or(Fault::Form)?;
        self.left = len;
        let _attributes = self.byte()?; // unused in this format
        let timestamp_delta = self.varint()?;
        if usize::try_from(self.varint()?) != Ok(index) {
            return Err(Fault::Offset);
        }
        let key = self.len()?;
        self.skip(key.unwrap_or(0))?;
        let value = self.len()?;
        self.skip(value.unwrap_or(0))?;
        let headers = self.len()?.ok_or(Fault::Form)?;
        for _ in 0..headers {
            let name = self.len()?.ok_or(Fault::Form)?;
            self.skip(name)?;
            let value = self.len()?;
            self.skip(value.unwrap_or(0))?;
        }
        match self.left {
            0 => Ok(Surveyed {
                index,
                timestamp: header.base_timestamp.wrapping_add(timestamp_delta),
                has_key: key.is_some(),
            }),
            _ => Err(Fault::Form),
        }
    }

    fn rest(&mut self) -> Result<&[u8], Fault> {
        self.input.fill_buf().map_err(Fault::Unreadable)
    }

    /// A length or a count; `None` for the negative number that means null.
    fn len(&mut self) -> Result<Option<usize>, Fault> {
        let len = i32::try_from(self.varint()?).map_err(|_| Fault::Form)?;
        Ok(usize::try_from(len).ok())
    }

    fn varint(&mut self) -> Result<i64, Fault> {
        let mut value = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Fault::Form)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.take(1)?;
        let byte = *self.rest()?.first().ok_or(Fault::Form)?;
        self.input.consume(1);
        Ok(byte)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Fault> {
        self.take(bytes)?;
        let mut left = bytes;
        while left > 0 {
            let here = self.rest()?.len().min(left);
            if here == 0 {
                return Err(Fault::Form);
            }
            self.input.consume(here);
            left -= here;
        }
        Ok(())
    }

    /// Claims bytes of the record, before they are unpacked.
    fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.left = self.left.checked_sub(bytes).ok_or(Fault::Form)?;
        self.limit = self.limit.checked_sub(bytes).ok_or(Fault::Large)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
