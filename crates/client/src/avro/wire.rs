//! Confluent's framing: one zero byte, the schema's id as four bytes big-endian, the datum.

use bytes::{BufMut, Bytes, BytesMut};

use crate::schema_registry::SchemaId;

/// The first byte of a framed value.
pub const MAGIC: u8 = 0;
const HEADER_BYTES: usize = 5;

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    #[error("{0} bytes are too few for a schema id; the value was not written with a schema registry's serializer")]
    TooShort(usize),
    #[error("first byte is {0}, not 0; the value was not written with a schema registry's serializer")]
    NotFramed(u8),
}

/// Puts the frame before a datum.
pub fn frame(id: SchemaId, datum: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEADER_BYTES + datum.len());
    framed.put_u8(MAGIC);
    framed.put_i32(id);
    framed.put_slice(datum);
    framed.freeze()
}

/// The schema's id and the datum of a framed value.
pub fn split(framed: &[u8]) -> Result<(SchemaId, &[u8]), WireError> {
    match framed {
        [MAGIC, a, b, c, d, datum @ ..] => Ok((i32::from_be_bytes([*a, *b, *c, *d]), datum)),
        [MAGIC, ..] | [] => Err(WireError::TooShort(framed.len())),
        [other, ..] => Err(WireError::NotFramed(*other)),
    }
}
