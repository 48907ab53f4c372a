//! Stored records as bytes: Kafka's primitive types, and why bytes may be no record.
//!
//! Each shard has its records and their layouts next to it (`group::codec`, `transaction::codec`); here is what
//! the layouts are made of. Keys start with a 16-bit number that names the kind of record, values with one that
//! names the version of their layout.
//!
//! A kind of record that we do not know may come from a newer release and is skipped by the loader, with a
//! warning, as Kafka does. A *value* newer than we know under a key that we do know is refused: to skip it
//! would mean to lose a fact silently.

mod cursor;

use bytes::Bytes;
use thiserror::Error;

pub(crate) use cursor::{Reader, Writer};

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("record of kind {0} is not known to this release")]
    UnknownKind(i16),
    #[error(
        "{what} has version {version}, this release reads up to {max}: it was written by a newer release, \
         start that one"
    )]
    UnknownVersion { what: &'static str, version: i16, max: i16 },
    #[error("record without a key")]
    NoKey,
    #[error("{what} ends early or is malformed")]
    Malformed { what: &'static str },
}

/// Why a record cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} has {len} bytes, the record format allows {max}")]
pub struct EncodeError {
    pub field: &'static str,
    pub len: usize,
    pub max: usize,
}

/// The bytes of a record; a value of `None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub key: Bytes,
    pub value: Option<Bytes>,
}
