//! The `.snapshot` file: Kafka's ProducerSnapshot of version 1.
//!
//! ```text
//! version i16 | crc32c u32 of what follows | count i32 | count times:
//!   producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32 |
//!   timestamp i64 | coordinator epoch i32 | first offset of the open transaction i64
//! ```
//! Only the last batch of each producer is kept, as in Kafka. Sequence and offset are -1 without one.

use std::fs;
use std::path::Path;

use twinstream_model::{Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::NO_SEQUENCE;

use super::{Producer, Producers, Remembered};
use crate::LogError;

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;
const NO_TRANSACTION: i64 = -1;

pub(super) fn write(path: &Path, producers: &Producers) -> Result<(), LogError> {
    fs::write(path, encode(producers)).map_err(LogError::io("write", path))
}

pub(super) fn read(path: &Path) -> Result<Producers, LogError> {
    let bytes = fs::read(path).map_err(LogError::io("read", path))?;
    let version = bytes.first_chunk::<2>().map(|v| i16::from_be_bytes(*v));
    match version {
        Some(VERSION) => decode(&bytes).ok_or_else(|| LogError::damaged(path, "checksum or length is wrong")),
        // All the rest is as this version has it, so the version is what is wrong.
        Some(_) if decode(&bytes).is_some() => Err(LogError::damaged(path, "version is wrong")),
        Some(newer) if newer > VERSION => {
            Err(LogError::NewerVersion { path: path.to_owned(), found: newer.to_string(), known: VERSION as u32 })
        }
        _ => Err(LogError::damaged(path, "no version")),
    }
}

fn encode(producers: &Producers) -> Vec<u8> {
    let mut ids: Vec<&ProducerId> = producers.entries.keys().collect();
    ids.sort(); // the same state always has the same bytes
    let mut body = Vec::with_capacity(4 + ids.len() * ENTRY_BYTES);
    body.extend_from_slice(&(ids.len() as i32).to_be_bytes());
    for id in ids {
        encode_entry(&mut body, *id, &producers.entries[id]);
    }
    let mut out = VERSION.to_be_bytes().to_vec();
    out.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

fn encode_entry(out: &mut Vec<u8>, id: ProducerId, producer: &Producer) {
    let nothing = Remembered { last_sequence: NO_SEQUENCE, last_offset: Offset::NONE, offset_delta: 0, timestamp: 0 };
    let last = producer.batches.back().unwrap_or(&nothing);
    out.extend_from_slice(&id.0.to_be_bytes());
    out.extend_from_slice(&producer.epoch.0.to_be_bytes());
    out.extend_from_slice(&last.last_sequence.to_be_bytes());
    out.extend_from_slice(&last.last_offset.0.to_be_bytes());
    out.extend_from_slice(&last.offset_delta.to_be_bytes());
    out.extend_from_slice(&producer.timestamp.to_be_bytes());
    out.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
    out.extend_from_slice(&producer.open.map_or(NO_TRANSACTION, |first| first.0).to_be_bytes());
}

fn decode(bytes: &[u8]) -> Option<Producers> {
    let body = bytes.get(6..)?;
    let crc = u32::from_be_bytes(bytes.get(2..6)?.try_into().ok()?);
    let count = usize::try_from(i32::from_be_bytes(bytes.get(6..HEADER_BYTES)?.try_into().ok()?)).ok()?;
    let entries = bytes.get(HEADER_BYTES..)?;
    if crc32c::crc32c(body) != crc || count.checked_mul(ENTRY_BYTES)? != entries.len() {
        return None;
    }
    let mut producers = Producers::default();
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let (id, producer) = decode_entry(entry)?;
        producers.entries.insert(id, producer);
    }
    Some(producers)
}

fn decode_entry(entry: &[u8]) -> Option<(ProducerId, Producer)> {
    let i32_at = |at: usize| Some(i32::from_be_bytes(entry.get(at..at + 4)?.try_into().ok()?));
    let i64_at = |at: usize| Some(i64::from_be_bytes(entry.get(at..at + 8)?.try_into().ok()?));
    let epoch = i16::from_be_bytes(entry.get(8..10)?.try_into().ok()?);
    let timestamp = i64_at(26)?;
    let last = Remembered {
        last_sequence: i32_at(10)?,
        last_offset: Offset(i64_at(14)?),
        offset_delta: i32_at(22)?,
        timestamp,
    };
    let producer = Producer {
        batches: Some(last).filter(|last| last.last_offset >= Offset(0)).into_iter().collect(),
        timestamp,
        coordinator_epoch: i32_at(34)?,
        open: Some(Offset(i64_at(38)?)).filter(|first| *first >= Offset(0)),
        ..Producer::new(ProducerEpoch(epoch))
    };
    Some((ProducerId(i64_at(0)?), producer))
}
