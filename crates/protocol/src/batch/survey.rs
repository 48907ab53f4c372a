//! A walk over the records of a batch that lends nothing and keeps nothing.
//!
//! Picture: a broker that must know whether records are sound, how late the latest is, which lack a key, or which of them
//! is the first of a time, walks over their frames and steps across keys and values. Compressed records are unpacked piece
//! by piece on the way. A [`Visitor`] that wants to see keys, too, gets them in pieces.
//!
//! Invariants: memory does not grow with the batch, whatever it claims; no more than the caller's limit is unpacked. A
//! survey that ends well has seen exactly the announced records, numbered from 0 without gaps, and nothing behind them.

use std::io::{self, BufRead};
use std::ops::ControlFlow;

use twinstream_model::Offset;

use super::{BatchError, BatchHeader, BatchView};
use crate::compression::{Compression, CompressionError, Window};

/// Unpacked bytes in memory at once.
const WINDOW_BYTES: usize = 16 * 1024;

/// What a walk shows of a key at once.
const KEY_PIECE_BYTES: usize = 4 * 1024;

/// What a walk tells of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Place in the batch, from 0.
    pub index: usize,
    pub offset: Offset,
    /// The producer's time, also where the batch says that the broker's counts; see [`BatchHeader::time_of`].
    pub timestamp: i64,
    pub has_key: bool,
    /// Tombstones have none.
    pub has_value: bool,
}

/// Who looks at the records that a walk passes.
pub trait Visitor {
    /// The next piece of the present record's key. Equal keys come in equal pieces.
    fn key(&mut self, _piece: &[u8]) {}

    /// The present record is passed; a break ends the walk.
    fn record(&mut self, record: Surveyed) -> ControlFlow<()>;
}

impl<F: FnMut(Surveyed) -> ControlFlow<()>> Visitor for F {
    fn record(&mut self, record: Surveyed) -> ControlFlow<()> {
        self(record)
    }
}

impl BatchView<'_> {
    /// Walks over all records of a batch as a producer makes it, of which no more than `limit` bytes may be unpacked.
    pub fn survey(&self, limit: usize, mut each: impl FnMut(Surveyed)) -> Result<(), BatchError> {
        let mut goes_on = |record| {
            each(record);
            ControlFlow::Continue(())
        };
        self.pass(limit, Numbered::ByPlace, &mut goes_on)
    }

    /// Walks over the records until the visitor has seen enough; no more than `limit` bytes may be unpacked. Compaction
    /// may have left gaps between offsets.
    pub fn walk(&self, limit: usize, visitor: &mut impl Visitor) -> Result<(), BatchError> {
        self.pass(limit, Numbered::Anyhow, visitor)
    }

    fn pass(&self, limit: usize, numbered: Numbered, visitor: &mut impl Visitor) -> Result<(), BatchError> {
        let header = self.header();
        let codec = header.codec()?;
        let walked = match codec {
            Compression::None => Walk::new(self.body(), usize::MAX).all(&header, numbered, visitor),
            _ => Walk::new(window(codec, self.body())?, limit).all(&header, numbered, visitor),
        };
        walked.map_err(|(index, fault)| fault.into_error(index, &header, codec, limit))
    }
}

/// Unpacks what it is asked for, and a little ahead.
pub(super) fn window(codec: Compression, packed: &[u8]) -> Result<Window<'_>, BatchError> {
    Ok(codec.window(packed, WINDOW_BYTES)?)
}

/// How offsets lie in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbered {
    /// The distance of a record from the base offset is its place.
    ByPlace,
    Anyhow,
}

/// What is wrong at a record.
pub(super) enum Fault {
    Form,
    Offset,
    Count,
    Large,
    Unreadable(io::Error),
}

impl Fault {
    pub(super) fn into_error(self, index: usize, header: &BatchHeader, codec: Compression, limit: usize) -> BatchError {
        match self {
            Fault::Form => BatchError::MalformedRecord { index },
            Fault::Offset => BatchError::RecordOffset { index },
            Fault::Count => BatchError::RecordCount { announced: header.record_count, found: index },
            Fault::Large => CompressionError::TooLarge { codec, limit }.into(),
            Fault::Unreadable(source) => codec.damaged(source).into(),
        }
    }
}

/// The beginning of a record.
pub(super) struct Frame {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
}

pub(super) struct Walk<R> {
    input: R,
    /// Bytes that may still be unpacked.
    limit: usize,
    /// Bytes of the present record that are still to come.
    left: usize,
    /// For a piece of a key that does not lie in one window.
    piece: Vec<u8>,
}

impl<R: BufRead> Walk<R> {
    pub(super) fn new(input: R, limit: usize) -> Walk<R> {
        Walk { input, limit, left: 0, piece: Vec::new() }
    }

    fn all(
        mut self,
        header: &BatchHeader,
        numbered: Numbered,
        visitor: &mut impl Visitor,
    ) -> Result<(), (usize, Fault)> {
        let count = usize::try_from(header.record_count).unwrap_or(0);
        for index in 0..count {
            let surveyed = self.record(header, index, numbered, visitor).map_err(|fault| (index, fault))?;
            if visitor.record(surveyed).is_break() {
                return Ok(());
            }
        }
        self.end(count)
    }

    /// Behind the last record there must be nothing.
    pub(super) fn end(&mut self, count: usize) -> Result<(), (usize, Fault)> {
        match self.input.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err((count + 1, Fault::Count)),
            Err(error) => Err((count, Fault::Unreadable(error))),
        }
    }

    /// Reads a record up to its key.
    pub(super) fn frame(&mut self) -> Result<Frame, Fault> {
        if self.rest()?.is_empty() {
            return Err(Fault::Count);
        }
        self.left = 5; // as long as a length can be
        let len = self.len()?.ok_or(Fault::Form)?;
        self.left = len;
        let _attributes = self.byte()?; // unused in this format
        let timestamp_delta = self.varint()?;
        let offset_delta = i32::try_from(self.varint()?).map_err(|_| Fault::Form)?;
        Ok(Frame { timestamp_delta, offset_delta })
    }

    fn record(
        &mut self,
        header: &BatchHeader,
        index: usize,
        numbered: Numbered,
        visitor: &mut impl Visitor,
    ) -> Result<Surveyed, Fault> {
        let Frame { timestamp_delta, offset_delta } = self.frame()?;
        if numbered == Numbered::ByPlace && usize::try_from(offset_delta) != Ok(index) {
            return Err(Fault::Offset);
        }
        let offset = header.base_offset.0.checked_add(i64::from(offset_delta)).ok_or(Fault::Form)?;
        let key = self.len()?;
        self.show_key(key.unwrap_or(0), visitor)?;
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
                offset: Offset(offset),
                timestamp: header.base_timestamp.wrapping_add(timestamp_delta),
                has_key: key.is_some(),
                has_value: value.is_some(),
            }),
            _ => Err(Fault::Form),
        }
    }

    fn show_key(&mut self, bytes: usize, visitor: &mut impl Visitor) -> Result<(), Fault> {
        self.take(bytes)?;
        let mut left = bytes;
        while left > 0 {
            let len = left.min(KEY_PIECE_BYTES);
            match self.rest()?.get(..len) {
                Some(piece) => {
                    visitor.key(piece);
                    self.input.consume(len);
                }
                None => {
                    let mut piece = std::mem::take(&mut self.piece);
                    piece.clear();
                    self.pieces(len, |bytes| piece.extend_from_slice(bytes))?;
                    visitor.key(&piece);
                    self.piece = piece;
                }
            }
            left -= len;
        }
        Ok(())
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
        self.pieces(bytes, |_| ())
    }

    /// Bytes of the present record that are still to come.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Hands out what is left of the present record.
    pub(super) fn drain(&mut self, each: impl FnMut(&[u8])) -> Result<(), Fault> {
        let left = self.left;
        self.take(left)?;
        self.pieces(left, each)
    }

    /// Hands out bytes that are claimed already.
    fn pieces(&mut self, bytes: usize, mut each: impl FnMut(&[u8])) -> Result<(), Fault> {
        let mut left = bytes;
        while left > 0 {
            let rest = self.rest()?;
            let here = rest.len().min(left);
            if here == 0 {
                return Err(Fault::Form);
            }
            each(&rest[..here]);
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
