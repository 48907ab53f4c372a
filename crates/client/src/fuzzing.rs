//! The decoders of this crate as functions of bytes, for the fuzz targets in `crates/fuzz`. No part of its face.

use crate::raw;

/// The assignment of a group's member, as its leader laid it out.
pub fn assignment(bytes: &[u8]) {
    // A partition takes four bytes, so what comes out is bounded by what goes in.
    assert!(raw::assigned_partitions(bytes) <= bytes.len() / 4);
}
