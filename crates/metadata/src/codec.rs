//! Reading and writing the plain fields of metadata records: big-endian numbers, length-prefixed text and lists.
//!
//! A reader never trusts a length: it is checked against what is left before anything is allocated.

use thiserror::Error;
use uuid::Uuid;

/// Why bytes are not metadata records.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("{what} ends after {left} bytes where {needed} are needed")]
    Truncated { what: &'static str, needed: usize, left: usize },
    #[error("{what} has {left} bytes after its last field")]
    TrailingBytes { what: &'static str, left: usize },
    #[error("{what} is not valid UTF-8")]
    NotUtf8 { what: &'static str },
    #[error("{what} has the impossible value {value}")]
    BadValue { what: &'static str, value: i64 },
    #[error(
        "{what} version {found} is newer than {newest}, the newest this release reads; start the release that wrote it, or a later one"
    )]
    NewerVersion { what: &'static str, found: u16, newest: u16 },
    #[error("record kind {kind} is not known to this release; start the release that wrote it, or a later one")]
    UnknownKind { kind: u16 },
}

/// Appends fields to a byte vector.
#[derive(Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.bytes.extend_from_slice(value.as_bytes());
    }

    pub fn uuid_option(&mut self, value: Option<Uuid>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            self.uuid(value);
        }
    }

    pub fn uuid_list(&mut self, values: &[Uuid]) {
        self.u32(values.len() as u32);
        for value in values {
            self.uuid(*value);
        }
    }

    pub fn text(&mut self, value: &str) {
        self.u32(value.len() as u32);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    pub fn text_option(&mut self, value: Option<&str>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            self.text(value);
        }
    }

    pub fn blob(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.bytes.extend_from_slice(value);
    }

    pub fn i32_list(&mut self, values: impl ExactSizeIterator<Item = i32>) {
        self.u32(values.len() as u32);
        for value in values {
            self.i32(value);
        }
    }
}

/// Takes fields off a byte slice; `what` names the record in errors.
pub struct Reader<'a> {
    pub what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    pub fn take(&mut self, needed: usize) -> Result<&'a [u8], DecodeError> {
        if needed > self.bytes.len() {
            return Err(DecodeError::Truncated { what: self.what, needed, left: self.bytes.len() });
        }
        let (head, tail) = self.bytes.split_at(needed);
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.bad_value(i64::from(other))),
        }
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub fn uuid_option(&mut self) -> Result<Option<Uuid>, DecodeError> {
        if self.bool()? { self.uuid().map(Some) } else { Ok(None) }
    }

    pub fn uuid_list(&mut self) -> Result<Vec<Uuid>, DecodeError> {
        let length = self.list_len(16)?;
        (0..length).map(|_| self.uuid()).collect()
    }

    pub fn text(&mut self) -> Result<String, DecodeError> {
        let length = self.u32()? as usize;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { what: self.what })?;
        Ok(text.to_owned())
    }

    pub fn blob(&mut self) -> Result<Vec<u8>, DecodeError> {
        let length = self.u32()? as usize;
        self.take(length).map(<[u8]>::to_vec)
    }

    pub fn text_option(&mut self) -> Result<Option<String>, DecodeError> {
        if self.bool()? { self.text().map(Some) } else { Ok(None) }
    }

    /// The length of a list whose items take at least `item_bytes_min` each, so a wrong length cannot make us allocate.
    pub fn list_len(&mut self, item_bytes_min: usize) -> Result<usize, DecodeError> {
        let length = self.u32()? as usize;
        let needed = length.saturating_mul(item_bytes_min);
        if needed > self.left() {
            return Err(DecodeError::Truncated { what: self.what, needed, left: self.left() });
        }
        Ok(length)
    }

    pub fn i32_list(&mut self) -> Result<Vec<i32>, DecodeError> {
        let length = self.list_len(4)?;
        (0..length).map(|_| self.i32()).collect()
    }

    pub fn bad_value(&self, value: i64) -> DecodeError {
        DecodeError::BadValue { what: self.what, value }
    }

    pub fn end(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(DecodeError::TrailingBytes { what: self.what, left: self.left() })
    }
}
