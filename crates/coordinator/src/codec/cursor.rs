//! Kafka's primitive types: fixed lengths in the older versions of a record, varint lengths in the flexible ones.
//!
//! The reader never trusts a length: what is not there is [`DecodeError::Malformed`].

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::{DecodeError, EncodeError};

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Reader<'a> {
        Reader { rest: bytes, what, flexible: false }
    }

    pub(crate) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    pub(crate) fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub(crate) fn string(&mut self) -> Result<String, DecodeError> {
        self.nullable_string()?.ok_or_else(|| self.malformed())
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<String>, DecodeError> {
        let len = if self.flexible { self.compact_len()? } else { i64::from(self.i16()?) };
        let Some(bytes) = self.nullable_slice(len)? else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| self.malformed())?;
        Ok(Some(text.to_owned()))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = if self.flexible { self.compact_len()? } else { i64::from(self.i32()?) };
        let bytes = self.nullable_slice(len)?.ok_or_else(|| self.malformed())?;
        Ok(Bytes::copy_from_slice(bytes))
    }

    pub(crate) fn array_len(&mut self) -> Result<usize, DecodeError> {
        self.nullable_array_len()?.ok_or_else(|| self.malformed())
    }

    pub(crate) fn nullable_array_len(&mut self) -> Result<Option<usize>, DecodeError> {
        let len = if self.flexible { self.compact_len()? } else { i64::from(self.i32()?) };
        match usize::try_from(len) {
            Ok(len) => Ok(Some(len)),
            Err(_) if len == -1 => Ok(None),
            Err(_) => Err(self.malformed()),
        }
    }

    /// Hands each tagged field to `visit`; nothing to do in versions that have none.
    pub(crate) fn tagged_fields(&mut self, mut visit: impl FnMut(u32, &[u8])) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let len = self.varint()? as usize;
            visit(tag, self.take(len)?);
        }
        Ok(())
    }

    fn nullable_slice(&mut self, len: i64) -> Result<Option<&'a [u8]>, DecodeError> {
        match usize::try_from(len) {
            Ok(len) => self.take(len).map(Some),
            Err(_) if len == -1 => Ok(None),
            Err(_) => Err(self.malformed()),
        }
    }

    fn compact_len(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from(self.varint()?) - 1)
    }

    pub(crate) fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array::<1>()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| self.malformed());
            }
        }
        Err(self.malformed())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(head)
    }

    fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { what: self.what }
    }
}

pub(crate) struct Writer<'a> {
    out: &'a mut BytesMut,
    flexible: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut BytesMut, flexible: bool) -> Writer<'a> {
        Writer { out, flexible }
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    /// The length of an array that follows, `None` for one that is null.
    pub(crate) fn array_len(&mut self, len: Option<usize>) {
        match len {
            Some(len) if self.flexible => self.varint(len as u32 + 1),
            None if self.flexible => self.varint(0),
            Some(len) => self.out.put_i32(len as i32),
            None => self.out.put_i32(-1),
        }
    }

    /// Tagged fields in ascending order of their tags; nothing in versions that have none.
    pub(crate) fn tagged_fields(&mut self, fields: &[(u32, &[u8])]) {
        if !self.flexible {
            return;
        }
        self.varint(fields.len() as u32);
        for (tag, field) in fields {
            self.varint(*tag);
            self.varint(field.len() as u32);
            self.out.put_slice(field);
        }
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.out.put_slice(value.as_bytes());
    }

    pub(crate) fn string(&mut self, field: &'static str, text: &str) -> Result<(), EncodeError> {
        const MAX: usize = i16::MAX as usize; // Kafka's bound for strings, compact ones included
        if text.len() > MAX {
            return Err(EncodeError { field, len: text.len(), max: MAX });
        }
        if self.flexible {
            self.varint(text.len() as u32 + 1);
        } else {
            self.out.put_i16(text.len() as i16);
        }
        self.out.put_slice(text.as_bytes());
        Ok(())
    }

    pub(crate) fn nullable_string(&mut self, field: &'static str, text: Option<&str>) -> Result<(), EncodeError> {
        match text {
            Some(text) => self.string(field, text)?,
            None if self.flexible => self.varint(0),
            None => self.out.put_i16(-1),
        }
        Ok(())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.array_len(Some(bytes.len()));
        self.out.put_slice(bytes);
    }

    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }
}
