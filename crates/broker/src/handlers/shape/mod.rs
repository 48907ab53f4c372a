//! A walk over a request's bytes before it is decoded, to bound what decoding may allocate.
//!
//! The generated codec believes the length of an array and allocates for it before it reads the first element: a
//! frame of twenty bytes can ask for hundreds of gigabytes, and a failed allocation ends the process. This walk reads
//! the same bytes by a table of shapes and allocates nothing: a length that the frame cannot hold, and more than
//! [`ELEMENTS_MAX`] elements in all, are errors. What passes decodes within a bounded multiple of the frame.
//!
//! Invariants: every row of the handler table has a shape that covers its versions (a test holds this, and that the
//! codec reads exactly what the walk reads).

use kafka_protocol::messages::ApiKey;

mod table;

/// Elements of all arrays of one request together. A request about every partition of a large cluster has some
/// hundred thousand.
pub(crate) const ELEMENTS_MAX: usize = 1_000_000;

/// The first flexible version of an API that has none.
const NEVER: i16 = i16::MAX;

/// The body of one API's request, over a range of versions.
#[derive(Debug)]
pub(crate) struct Shape {
    api_key: i16,
    min: i16,
    max: i16,
    /// The first version with compact lengths and tagged fields.
    flexible: i16,
    fields: &'static [Field],
}

impl Shape {
    const fn new(api: ApiKey, min: i16, max: i16, flexible: i16, fields: &'static [Field]) -> Self {
        Self { api_key: api as i16, min, max, flexible, fields }
    }
}

#[derive(Debug)]
struct Field {
    kind: Kind,
    since: i16,
    until: i16,
}

#[derive(Debug)]
enum Kind {
    Fixed(usize),
    Text,
    Blob,
    /// An array of numbers of this size.
    Items(usize),
    Texts,
    Array(&'static [Field]),
    /// A struct that may be absent: a byte, then the struct if it was 1.
    Optional(&'static [Field]),
}

impl Field {
    const fn new(kind: Kind) -> Self {
        Self { kind, since: 0, until: i16::MAX }
    }

    const fn since(self, version: i16) -> Self {
        Self { since: version, ..self }
    }

    const fn until(self, version: i16) -> Self {
        Self { until: version, ..self }
    }
}

const fn fixed(size: usize) -> Field {
    Field::new(Kind::Fixed(size))
}

const fn text() -> Field {
    Field::new(Kind::Text)
}

const fn blob() -> Field {
    Field::new(Kind::Blob)
}

const fn items(size: usize) -> Field {
    Field::new(Kind::Items(size))
}

const fn texts() -> Field {
    Field::new(Kind::Texts)
}

const fn array(fields: &'static [Field]) -> Field {
    Field::new(Kind::Array(fields))
}

const fn option(fields: &'static [Field]) -> Field {
    Field::new(Kind::Optional(fields))
}

/// Why a body is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShapeError {
    #[error("the body ends early")]
    Truncated,
    #[error("a length is malformed")]
    BadLength,
    #[error("it has more than {ELEMENTS_MAX} elements")]
    TooManyElements,
    #[error("its shape is not known")]
    Unknown,
}

/// Walks the body of a request to the end of its last field. What lies behind that is ignored, because Kafka does so and
/// clients rely on it: librdkafka from 2.11 on leaves three bytes behind a Metadata request for all topics.
pub(crate) fn check(api_key: i16, version: i16, body: &[u8]) -> Result<(), ShapeError> {
    let covers = |shape: &&Shape| shape.api_key == api_key && (shape.min..=shape.max).contains(&version);
    let shape = table::SHAPES.iter().find(covers).ok_or(ShapeError::Unknown)?;
    let mut walk = Walk { rest: body, version, flexible: version >= shape.flexible, elements_left: ELEMENTS_MAX };
    walk.fields(shape.fields)
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements_left: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Result<(), ShapeError> {
        for field in fields {
            if (field.since..=field.until).contains(&self.version) {
                self.field(&field.kind)?;
            }
        }
        if self.flexible { self.tagged_fields() } else { Ok(()) }
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
            Kind::Optional(fields) => match self.byte()? {
                1 => self.fields(fields),
                _ => Ok(()),
            },
        }
    }

    fn text(&mut self) -> Result<(), ShapeError> {
        let length = if self.flexible { self.compact_length()? } else { self.short_length()? };
        self.skip(length)
    }

    /// The number of elements of an array. Each takes at least one byte, so a count over the rest is a lie.
    fn count(&mut self) -> Result<usize, ShapeError> {
        let count = if self.flexible { self.compact_length()? } else { self.classic_length()? };
        if count > self.rest.len() {
            return Err(ShapeError::Truncated);
        }
        self.elements_left = self.elements_left.checked_sub(count).ok_or(ShapeError::TooManyElements)?;
        Ok(count)
    }

    fn tagged_fields(&mut self) -> Result<(), ShapeError> {
        let count = self.varint()?;
        for _ in 0..count {
            self.elements_left = self.elements_left.checked_sub(1).ok_or(ShapeError::TooManyElements)?;
            self.varint()?;
            let size = self.varint()?;
            self.skip(size)?;
        }
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

    fn take(&mut self, length: usize) -> Result<&[u8], ShapeError> {
        if length > self.rest.len() {
            return Err(ShapeError::Truncated);
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
