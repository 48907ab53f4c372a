//! The walk itself: reads what the codec will read, and allocates nothing.

use super::{Field, Kind, ShapeError};

const TEXT_BYTES_MAX: usize = i16::MAX as usize;

pub(super) struct Walk<'a> {
    pub(super) rest: &'a [u8],
    pub(super) version: i16,
    pub(super) flexible: bool,
    pub(super) elements_max: usize,
    pub(super) elements_left: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn fields(&mut self, fields: &[Field]) -> Result<(), ShapeError> {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.field(&field.kind)?;
            }
        }
        if self.flexible { self.tagged_fields(fields) } else { Ok(()) }
    }

    fn field(&mut self, kind: &Kind) -> Result<(), ShapeError> {
        match kind {
            Kind::Fixed(size) => self.skip(*size),
            Kind::Text => self.text(),
            Kind::Blob => {
                let length = if self.flexible { self.compact_length()? } else { self.classic_length()? };
                self.skip(length)
            }
            Kind::Items(size) => {
                let count = self.count()?;
                self.skip(count.checked_mul(*size).ok_or(ShapeError::BadLength)?)
            }
            Kind::Texts => {
                for _ in 0..self.count()? {
                    self.text()?;
                }
                Ok(())
            }
            Kind::Array(fields) => {
                for _ in 0..self.count()? {
                    self.fields(fields)?;
                }
                Ok(())
            }
            Kind::Structure(fields) => self.fields(fields),
            Kind::Optional(fields) => match self.byte()? {
                1 => self.fields(fields),
                _ => Ok(()),
            },
        }
    }

    /// Kafka takes no longer text than the classic length can say, in the compact form either.
    fn text(&mut self) -> Result<(), ShapeError> {
        let length = if self.flexible { self.compact_length()? } else { self.short_length()? };
        if length > TEXT_BYTES_MAX { Err(ShapeError::BadLength) } else { self.skip(length) }
    }

    /// The number of elements of an array. Each takes at least one byte, so a count over the rest is a lie.
    fn count(&mut self) -> Result<usize, ShapeError> {
        let count = if self.flexible { self.compact_length()? } else { self.classic_length()? };
        if count > self.rest.len() {
            return Err(ShapeError::Truncated);
        }
        self.spend(count)?;
        Ok(count)
    }

    /// The codec reads a tag that it knows without a look at the length in front of it. So what is inside must be as long
    /// as it says, or the codec would go on in another place than this walk.
    fn tagged_fields(&mut self, fields: &[Field]) -> Result<(), ShapeError> {
        let count = self.varint()?;
        for _ in 0..count {
            self.spend(1)?;
            let tag = self.varint()?;
            let size = self.varint()?;
            let known = fields.iter().find(|field| field.tag == Some(tag) && field.is_in(self.version));
            match known {
                Some(field) => self.tagged_field(tag, size, field)?,
                None => self.skip(size)?,
            }
        }
        Ok(())
    }

    fn tagged_field(&mut self, tag: usize, size: usize, field: &Field) -> Result<(), ShapeError> {
        let behind = self.rest.len().checked_sub(size).ok_or(ShapeError::Truncated)?;
        self.field(&field.kind)?;
        if self.rest.len() == behind { Ok(()) } else { Err(ShapeError::TagLength(tag)) }
    }

    fn spend(&mut self, elements: usize) -> Result<(), ShapeError> {
        let left = self.elements_left.checked_sub(elements);
        self.elements_left = left.ok_or(ShapeError::TooManyElements(self.elements_max))?;
        Ok(())
    }

    /// A length of 32 bits; -1 is null.
    fn classic_length(&mut self) -> Result<usize, ShapeError> {
        let bytes = self.take(4)?;
        match i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) {
            -1 => Ok(0),
            length => usize::try_from(length).map_err(|_| ShapeError::BadLength),
        }
    }

    /// A length of 16 bits; -1 is null.
    fn short_length(&mut self) -> Result<usize, ShapeError> {
        let bytes = self.take(2)?;
        match i16::from_be_bytes([bytes[0], bytes[1]]) {
            -1 => Ok(0),
            length => usize::try_from(length).map_err(|_| ShapeError::BadLength),
        }
    }

    /// A length plus one as a varint; 0 is null.
    fn compact_length(&mut self) -> Result<usize, ShapeError> {
        Ok(self.varint()?.saturating_sub(1))
    }

    fn varint(&mut self) -> Result<usize, ShapeError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let value = u32::try_from(value).map_err(|_| ShapeError::BadLength)?;
                return usize::try_from(value).map_err(|_| ShapeError::BadLength);
            }
        }
        Err(ShapeError::BadLength)
    }

    fn byte(&mut self) -> Result<u8, ShapeError> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn skip(&mut self, length: usize) -> Result<(), ShapeError> {
        self.take(length).map(|_| ())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ShapeError> {
        if length > self.rest.len() {
            return Err(ShapeError::Truncated);
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }
}
