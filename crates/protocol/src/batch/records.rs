//! The records inside a batch.
//!
//! A [`Records`] owns the unpacked bytes, or borrows them when the batch is not compressed, and lends one
//! [`Record`] after the other. Keys, values and headers are slices of it.

use std::borrow::Cow;

use twinstream_model::Offset;

use super::{Attributes, BatchError, BatchHeader};
use crate::compression::Compression;
use crate::varint;

/// The unpacked records of one batch.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    bytes: Cow<'a, [u8]>,
}

/// One record; everything is borrowed from the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Place in the batch, from 0; what KIP-467 reports as the batch index.
    pub index: usize,
    pub offset: Offset,
    /// Milliseconds since 1970: the producer's, or the broker's where the topic says so.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// The headers of a record, seen to be well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// One header of a record; its value may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> Records<'a> {
    pub(super) fn decode(header: BatchHeader, body: &'a [u8], limit: usize) -> Result<Records<'a>, BatchError> {
        let codec = header
            .attributes
            .compression()
            .ok_or(BatchError::UnknownCompression(header.attributes.0 & Attributes::COMPRESSION_MASK))?;
        let bytes = match codec {
            Compression::None => Cow::Borrowed(body),
            codec => Cow::Owned(codec.decompress(body, limit)?),
        };
        Ok(Records { header, bytes })
    }

    /// The bytes of all records, unpacked.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lends the records in order. Ends after the first error, also when their number is not the announced one.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: &self.header, rest: &self.bytes, index: 0, failed: false }
    }
}

impl<'r> IntoIterator for &'r Records<'_> {
    type Item = Result<Record<'r>, BatchError>;
    type IntoIter = RecordIter<'r>;

    fn into_iter(self) -> RecordIter<'r> {
        self.iter()
    }
}

/// Iterator of [`Records::iter`].
#[derive(Clone, Debug)]
pub struct RecordIter<'r> {
    header: &'r BatchHeader,
    rest: &'r [u8],
    index: usize,
    failed: bool,
}

impl<'r> Iterator for RecordIter<'r> {
    type Item = Result<Record<'r>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let announced = usize::try_from(self.header.record_count).unwrap_or(0);
        if self.index == announced && self.rest.is_empty() {
            return None;
        }
        let record = if self.index == announced || self.rest.is_empty() {
            let found = self.index + usize::from(self.index == announced);
            Err(BatchError::RecordCount { announced: self.header.record_count, found })
        } else {
            self.take_record().ok_or(BatchError::MalformedRecord { index: self.index })
        };
        self.failed = record.is_err();
        self.index += 1;
        Some(record)
    }
}

impl<'r> RecordIter<'r> {
    fn take_record(&mut self) -> Option<Record<'r>> {
        let len = usize::try_from(take_i32(&mut self.rest)?).ok()?;
        let (mut record, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        let (_attributes, tail) = record.split_first()?; // unused in this format
        record = tail;
        let timestamp_delta = take_i64(&mut record)?;
        let offset_delta = take_i32(&mut record)?;
        let key = take_nullable(&mut record)?;
        let value = take_nullable(&mut record)?;
        let headers = Headers::parse(record)?;
        Some(Record {
            index: self.index,
            offset: Offset(self.header.base_offset.0.checked_add(i64::from(offset_delta))?),
            timestamp: self.header.time_of(self.header.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
        })
    }
}

impl<'a> Headers<'a> {
    pub(super) fn parse(mut bytes: &'a [u8]) -> Option<Headers<'a>> {
        let count = usize::try_from(take_i32(&mut bytes)?).ok()?;
        let mut rest = bytes;
        for _ in 0..count {
            take_header(&mut rest)?;
        }
        rest.is_empty().then_some(Headers { count, bytes })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || match rest.is_empty() {
            true => None,
            false => take_header(&mut rest),
        })
    }
}

impl<'a> Header<'a> {
    /// The key as text; bytes that are no UTF-8 are replaced.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Option<Header<'a>> {
    Some(Header { key: take_nullable(bytes)??, value: take_nullable(bytes)? })
}

/// Outer `None`: malformed. Inner `None`: null.
pub(super) fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(len) = usize::try_from(take_i32(bytes)?) else {
        return Some(None);
    };
    let (value, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(Some(value))
}

fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let (value, len) = varint::read_i32(bytes)?;
    *bytes = &bytes[len..];
    Some(value)
}

fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let (value, len) = varint::read_i64(bytes)?;
    *bytes = &bytes[len..];
    Some(value)
}
