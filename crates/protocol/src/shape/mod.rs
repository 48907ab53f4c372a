//! A walk over a message's bytes before it is decoded, to bound what decoding may allocate.
//!
//! The generated codec believes the length of an array and allocates for it before it reads the first element: a
//! frame of twenty bytes can ask for hundreds of gigabytes, and a failed allocation ends the process. This walk reads
//! the same bytes by a table of shapes and allocates nothing: a length that the frame cannot hold, and more elements in
//! all than the table allows, are errors. What passes decodes within a bounded multiple of the frame.
//!
//! Invariants: the walk reads exactly what the codec reads (a test holds this for every version of the tables, and
//! [`decode`] looks); a type without a shape cannot be decoded here. Not here: headers (`frame`), our own requests between
//! nodes, whose decoders bound themselves.

mod answers; // what brokers answer
mod requests; // what clients ask
mod walk; // the walk itself

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

pub use self::answers::ANSWERS;
pub use self::requests::REQUESTS;
use self::walk::Walk;

/// The first flexible version of an API that has none.
const NEVER: i16 = i16::MAX;

/// The body of one API's request or answer, over a range of versions.
#[derive(Debug)]
pub struct Shape {
    api_key: i16,
    min: i16,
    max: i16,
    /// The first version with compact lengths and tagged fields.
    flexible: i16,
    /// Elements of all arrays together.
    elements_max: usize,
    fields: &'static [Field],
}

impl Shape {
    /// The API whose request or answer this is.
    pub fn api_key(&self) -> i16 {
        self.api_key
    }

    /// The versions that it covers.
    pub fn versions(&self) -> RangeInclusive<i16> {
        self.min..=self.max
    }

    /// Walks a body to the end of its last field; the number of bytes behind that. They are ignored, because Kafka does so
    /// and clients rely on it: librdkafka from 2.11 on leaves three bytes behind a Metadata request for all topics.
    pub fn check(&self, version: i16, body: &[u8]) -> Result<usize, ShapeError> {
        if !self.versions().contains(&version) {
            return Err(ShapeError::Unknown(version));
        }
        let flexible = version >= self.flexible;
        let Self { elements_max, .. } = *self;
        let mut walk = Walk { rest: body, version, flexible, elements_max, elements_left: elements_max };
        walk.fields(self.fields)?;
        Ok(walk.rest.len())
    }
}

/// A message of the codec whose shape is known, so that its bytes can be decoded within a bound.
pub trait Shaped: Decodable {
    const SHAPE: &'static Shape;
}

#[derive(Debug)]
struct Field {
    kind: Kind,
    since: i16,
    until: i16,
    /// It is not among the fields but behind them, under this number.
    tag: Option<usize>,
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
    Structure(&'static [Field]),
    /// A struct that may be absent: a byte, then the struct if it was 1.
    Optional(&'static [Field]),
}

impl Field {
    const fn new(kind: Kind) -> Self {
        Self { kind, since: 0, until: i16::MAX, tag: None }
    }

    const fn since(self, version: i16) -> Self {
        Self { since: version, ..self }
    }

    const fn until(self, version: i16) -> Self {
        Self { until: version, ..self }
    }

    const fn tagged(self, tag: usize) -> Self {
        Self { tag: Some(tag), ..self }
    }

    fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
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

const fn structure(fields: &'static [Field]) -> Field {
    Field::new(Kind::Structure(fields))
}

const fn option(fields: &'static [Field]) -> Field {
    Field::new(Kind::Optional(fields))
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("the body ends early")]
    Truncated,
    #[error("a length is malformed")]
    BadLength,
    #[error("tagged field {0} is longer or shorter than it says")]
    TagLength(usize),
    #[error("it has more than {0} elements")]
    TooManyElements(usize),
    #[error("the shape of version {0} is not known")]
    Unknown(i16),
}

/// Why a body could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The codec's own words.
    #[error("{0}")]
    Codec(String),
    #[error("the codec read {codec} bytes of it where its shape has {shape}")]
    Parted { codec: usize, shape: usize },
}

/// The message in a body. Bytes behind it are ignored, see [`Shape::check`].
pub fn decode<T: Shaped>(mut body: Bytes, version: i16) -> Result<T, DecodeError> {
    let length = body.len();
    let behind = T::SHAPE.check(version, &body)?;
    // The codec is generated code over untrusted bytes: a panic in it is the sender's malformed message, not our fault.
    let decoded = catch_unwind(AssertUnwindSafe(|| T::decode(&mut body, version)));
    let message = match decoded {
        Ok(decoded) => decoded.map_err(|error| DecodeError::Codec(error.to_string()))?,
        Err(panic) => return Err(DecodeError::Codec(panic_text(panic.as_ref()))),
    };
    match body.len() == behind {
        true => Ok(message),
        false => Err(DecodeError::Parted { codec: length - body.len(), shape: length - behind }),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the codec panicked: {}", text.unwrap_or("without a message"))
}

/// A table of messages: the type, its API, first and last version, the first flexible one, the fields.
macro_rules! shapes {
    ($all:ident, $elements_max:expr;
     $( $message:ident: $api:ident, $min:literal, $max:literal, $flexible:expr, $fields:expr; )*) => {
        $(
            impl Shaped for $message {
                const SHAPE: &'static Shape = &Shape {
                    api_key: ApiKey::$api as i16,
                    min: $min,
                    max: $max,
                    flexible: $flexible,
                    elements_max: $elements_max,
                    fields: $fields,
                };
            }
        )*

        /// The whole table.
        pub const $all: &[&Shape] = &[ $( <$message as Shaped>::SHAPE, )* ];
    };
}

use shapes;
