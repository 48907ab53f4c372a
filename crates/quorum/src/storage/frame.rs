//! Frames of the quorum log: how one entry or hard state lies in the file.
//!
//! A frame is magic, length, CRC32C of length and payload, payload. The magic lets recovery look for a good frame behind a bad one,
//! which tells damage from a torn tail.

use raft::eraftpb::{Entry, EntryType, HardState};

pub(super) const HEADER_BYTES: usize = 12;
const MAGIC: u32 = 0x5457_5146; // "TWQF"
/// A proposal and its fields fit; a longer length is damage.
const PAYLOAD_BYTES_MAX: usize = crate::PROPOSAL_BYTES_MAX + 1024;

const KIND_ENTRY: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const ENTRY_FIELDS_BYTES: usize = 18;
const HARD_STATE_BYTES: usize = 25;

/// What a frame holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    Entry(Entry),
    HardState(HardState),
}

pub(super) fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(KIND_ENTRY);
        out.push(entry_type_code(entry.get_entry_type()));
        out.extend_from_slice(&entry.term.to_be_bytes());
        out.extend_from_slice(&entry.index.to_be_bytes());
        out.extend_from_slice(&entry.data);
    });
}

pub(super) fn encode_hard_state(state: &HardState, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(KIND_HARD_STATE);
        out.extend_from_slice(&state.term.to_be_bytes());
        out.extend_from_slice(&state.vote.to_be_bytes());
        out.extend_from_slice(&state.commit.to_be_bytes());
    });
}

fn frame(out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    payload(out);
    let length = (out.len() - start - HEADER_BYTES) as u32;
    out[start..start + 4].copy_from_slice(&MAGIC.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
    let crc = checksum(length, &out[start + HEADER_BYTES..]);
    out[start + 8..start + 12].copy_from_slice(&crc.to_be_bytes());
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_be_bytes()), payload)
}

/// The frame at the start of `bytes` and its size, or `None` when none is whole there.
pub(super) fn decode(bytes: &[u8]) -> Option<(Frame, usize)> {
    if number32(bytes, 0)? != MAGIC {
        return None;
    }
    let length = number32(bytes, 4)?;
    let crc = number32(bytes, 8)?;
    if length as usize > PAYLOAD_BYTES_MAX {
        return None;
    }
    let end = HEADER_BYTES + length as usize;
    let payload = bytes.get(HEADER_BYTES..end)?;
    if checksum(length, payload) != crc {
        return None;
    }
    Some((decode_payload(payload)?, end))
}

/// Whether a whole frame starts anywhere in `bytes`.
pub(super) fn any_whole(bytes: &[u8]) -> bool {
    let magic = MAGIC.to_be_bytes();
    let starts = bytes.windows(magic.len()).enumerate().filter(|(_, window)| *window == magic);
    starts.into_iter().any(|(at, _)| decode(&bytes[at..]).is_some())
}

fn decode_payload(payload: &[u8]) -> Option<Frame> {
    match *payload.first()? {
        KIND_ENTRY if payload.len() >= ENTRY_FIELDS_BYTES => {
            let mut entry = Entry {
                term: number64(payload, 2)?,
                index: number64(payload, 10)?,
                data: payload[ENTRY_FIELDS_BYTES..].to_vec().into(),
                ..Entry::default()
            };
            entry.set_entry_type(entry_type_of(payload[1])?);
            Some(Frame::Entry(entry))
        }
        KIND_HARD_STATE if payload.len() == HARD_STATE_BYTES => {
            let (term, vote, commit) = (number64(payload, 1)?, number64(payload, 9)?, number64(payload, 17)?);
            Some(Frame::HardState(HardState { term, vote, commit, ..HardState::default() }))
        }
        _ => None,
    }
}

fn entry_type_code(entry_type: EntryType) -> u8 {
    match entry_type {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    }
}

fn entry_type_of(code: u8) -> Option<EntryType> {
    Some(match code {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return None,
    })
}

pub(super) fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

pub(super) fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at + 8)?;
    Some(u64::from_be_bytes(field.try_into().ok()?))
}
