//! Redoes checksums in a damaged input, so that a fuzzer gets behind them.
//!
//! A mutated byte under a checksum ends at the checksum, which one target could show in a second. The first byte of an
//! input therefore says whether its checksums are made good; both ways are tried.

use twinstream_protocol::batch::{BatchHeader, HEADER_BYTES};

const BATCH_CRC: usize = 17;
const BATCH_COVERED: usize = 21;
const SNAPSHOT_CRC: usize = 2;
const SNAPSHOT_COVERED: usize = 6;
const FRAME_MAGIC: &[u8] = b"TWQF";
const FRAME_HEADER_BYTES: usize = 12;
const QUORUM_HEADER_BYTES: usize = 14;

/// Splits off the byte that says whether `seal` makes the rest good.
pub(crate) fn sealed(input: &[u8], seal: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let Some((how, rest)) = input.split_first() else { return Vec::new() };
    let mut bytes = rest.to_vec();
    if how & 1 == 1 {
        seal(&mut bytes);
    }
    bytes
}

/// Each record batch, as far as their lengths lead.
pub(crate) fn batches(bytes: &mut [u8]) {
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let end = at.saturating_add(header.len).min(bytes.len());
        if end - at < HEADER_BYTES {
            return;
        }
        put(bytes, at + BATCH_CRC, crc32c::crc32c(&bytes[at + BATCH_COVERED..end]));
        at = end;
    }
}

/// Kafka's snapshot of producers.
pub(crate) fn producer_snapshot(bytes: &mut [u8]) {
    if bytes.len() >= SNAPSHOT_COVERED {
        put(bytes, SNAPSHOT_CRC, crc32c::crc32c(&bytes[SNAPSHOT_COVERED..]));
    }
}

/// The header of a quorum file and each frame that begins with its magic.
pub(crate) fn quorum_log(bytes: &mut [u8]) {
    let mut at = quorum_header(bytes);
    while let Some(found) = bytes[at..].windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC) {
        at += found;
        let Some(length) = number(bytes, at + 4) else { return };
        let Some(payload) = bytes.get(at + FRAME_HEADER_BYTES..at.saturating_add(FRAME_HEADER_BYTES + length)) else {
            return;
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&(length as u32).to_be_bytes()), payload);
        put(bytes, at + 8, crc);
        at += FRAME_HEADER_BYTES + length;
    }
}

/// The header of a quorum file and the state behind it.
pub(crate) fn quorum_snapshot(bytes: &mut [u8]) {
    let at = quorum_header(bytes);
    if let Some(state) = bytes.get(at + 8..) {
        put(bytes, at + 4, crc32c::crc32c(state));
    }
}

/// Where the header ends.
fn quorum_header(bytes: &mut [u8]) -> usize {
    let Some(length) = number(bytes, 6) else { return bytes.len() };
    let end = QUORUM_HEADER_BYTES.saturating_add(length).min(bytes.len());
    if end > QUORUM_HEADER_BYTES {
        put(bytes, 10, crc32c::crc32c(&bytes[QUORUM_HEADER_BYTES..end]));
    }
    end
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(number) as usize)
}

fn put(bytes: &mut [u8], at: usize, crc: u32) {
    bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
}
