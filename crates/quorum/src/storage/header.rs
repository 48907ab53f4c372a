//! The first bytes of each file of the quorum: what it is, in which version, and a few facts, under a checksum.

use std::path::Path;

use super::{
    StorageError,
    frame::{number32, number64},
};

const FIXED_BYTES: usize = 14; // magic, version, body length, CRC32C of the body
/// Facts are a few numbers, and the members with three numbers each.
const BODY_BYTES_MAX: usize = 64 * 1024 + crate::MEMBERS_MAX * 24;

/// One kind of file.
pub(super) struct FileKind {
    pub(super) name: &'static str,
    pub(super) magic: u32,
    pub(super) version: u16,
}

/// Version 1 named voters by node alone. They cannot be taken over: nobody knows which directories they had.
const VERSION: u16 = 2;
pub(super) const LOG_FILE: FileKind = FileKind { name: "quorum log", magic: 0x5457_514c, version: VERSION }; // "TWQL"
pub(super) const SNAPSHOT_FILE: FileKind = FileKind { name: "quorum snapshot", magic: 0x5457_5153, version: VERSION }; // "TWQS"

/// Lists of numbers: first the plain ones, then each list with its length in front.
pub(super) fn encode(kind: &FileKind, body: &[u64]) -> Vec<u8> {
    let body: Vec<u8> = body.iter().flat_map(|number| number.to_be_bytes()).collect();
    let mut out = Vec::with_capacity(FIXED_BYTES + body.len());
    out.extend_from_slice(&kind.magic.to_be_bytes());
    out.extend_from_slice(&kind.version.to_be_bytes());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// The numbers of a header and where it ends.
pub(super) fn decode(kind: &FileKind, path: &Path, bytes: &[u8]) -> Result<(Vec<u64>, usize), StorageError> {
    let damaged = |what: &'static str| StorageError::Damaged { path: path.to_owned(), at: 0, what };
    let magic = number32(bytes, 0).ok_or_else(|| damaged("the file header is cut short"))?;
    if magic != kind.magic {
        return Err(damaged("the file does not start with its magic number"));
    }
    let version = bytes.get(4..6).ok_or_else(|| damaged("the file header is cut short"))?;
    let version = u16::from_be_bytes([version[0], version[1]]);
    if version != kind.version {
        return Err(StorageError::OtherVersion {
            path: path.to_owned(),
            kind: kind.name,
            found: version,
            known: kind.version,
        });
    }
    let length = number32(bytes, 6).ok_or_else(|| damaged("the file header is cut short"))? as usize;
    let crc = number32(bytes, 10).ok_or_else(|| damaged("the file header is cut short"))?;
    let end = FIXED_BYTES + length.min(BODY_BYTES_MAX);
    let body = bytes.get(FIXED_BYTES..end).ok_or_else(|| damaged("the file header is cut short"))?;
    if crc32c::crc32c(body) != crc || !body.len().is_multiple_of(8) {
        return Err(damaged("the file header fails its checksum"));
    }
    let numbers = (0..body.len() / 8).filter_map(|index| number64(body, index * 8)).collect();
    Ok((numbers, end))
}

/// Takes numbers off a header in the order they were written.
pub(super) struct Numbers(std::vec::IntoIter<u64>);

impl Numbers {
    pub(super) fn new(numbers: Vec<u64>) -> Self {
        Self(numbers.into_iter())
    }

    pub(super) fn one(&mut self) -> Option<u64> {
        self.0.next()
    }

    /// An index of the log. One beyond the signed numbers that offsets are was never written, and could not be counted on from.
    pub(super) fn index(&mut self) -> Option<u64> {
        self.one().filter(|index| i64::try_from(*index).is_ok_and(|index| index < i64::MAX))
    }

    pub(super) fn list(&mut self) -> Option<Vec<u64>> {
        let length = self.one()?;
        if length > self.0.len() as u64 {
            return None;
        }
        Some(self.0.by_ref().take(length as usize).collect())
    }

    /// A bare newer field would be a newer version, so more numbers than expected are damage.
    pub(super) fn end(self) -> Option<()> {
        (self.0.len() == 0).then_some(())
    }
}
