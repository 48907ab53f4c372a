//! Chunks of an offset map as records of its topic. Pure.
//!
//! Key: int16 version, string source topic, int32 partition, int64 upstream offset of the first run. Value: int16 version,
//! int64 downstream offset of the first run, varint its length, and for each further run varints: upstream records and
//! downstream records between it and the run before, its length. No value: the chunk is gone. Numbers are big-endian and
//! strings have an int16 length before them, as in MirrorMaker's records; varints are unsigned LEB128.
//! Version 0. What is newer, cut short or out of order is refused.

use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

use super::{CHUNK_RUNS, Run};
use crate::syncs::formats::{FormatError, Reader, put_string};

const VERSION: i16 = 0;
/// Bits of a varint of 64 bits.
const VARINT_BITS: u32 = 63;

pub(crate) fn key(partition: &TopicPartition, first: i64) -> Vec<u8> {
    let mut bytes = VERSION.to_be_bytes().to_vec();
    put_string(&mut bytes, partition.topic.as_str());
    bytes.extend(partition.partition.0.to_be_bytes());
    bytes.extend(first.to_be_bytes());
    bytes
}

pub(crate) fn read_key(bytes: &[u8]) -> Result<(TopicPartition, i64), FormatError> {
    let mut reader = Reader::new(bytes);
    check_version(&mut reader)?;
    let topic = TopicName::parse(&reader.string()?).map_err(|_| FormatError::Broken("topic"))?;
    let partition = PartitionIndex(reader.int()?);
    let first = reader.long()?;
    reader.end()?;
    Ok((TopicPartition::new(topic, partition), first))
}

pub(crate) fn value(runs: &[Run]) -> Vec<u8> {
    let mut bytes = VERSION.to_be_bytes().to_vec();
    let mut before: Option<Run> = None;
    for run in runs {
        match before {
            None => bytes.extend(run.down.to_be_bytes()),
            Some(before) => {
                put_varint(&mut bytes, run.up - before.up_end());
                put_varint(&mut bytes, run.down - before.down_end());
            }
        }
        put_varint(&mut bytes, run.len);
        before = Some(*run);
    }
    bytes
}

/// `first` is the key's.
pub(crate) fn read_value(first: i64, bytes: &[u8]) -> Result<Vec<Run>, FormatError> {
    let mut reader = Reader::new(bytes);
    check_version(&mut reader)?;
    let (mut up, mut down) = (first, reader.long()?);
    let mut runs: Vec<Run> = Vec::new();
    loop {
        let len = varint(&mut reader)?;
        let ends = up.checked_add(len).zip(down.checked_add(len));
        let (up_end, down_end) = ends.filter(|_| up >= 0 && down >= 0 && len > 0).ok_or(FormatError::Broken("run"))?;
        runs.push(Run { up, down, len });
        if reader.is_empty() {
            return Ok(runs);
        }
        if runs.len() >= CHUNK_RUNS {
            return Err(FormatError::Broken("number of runs"));
        }
        let (gap_up, gap_down) = (varint(&mut reader)?, varint(&mut reader)?);
        let next = up_end.checked_add(gap_up).zip(down_end.checked_add(gap_down));
        (up, down) = next.ok_or(FormatError::Broken("run"))?;
    }
}

fn check_version(reader: &mut Reader<'_>) -> Result<(), FormatError> {
    match reader.short()? {
        VERSION => Ok(()),
        version => Err(FormatError::Version(version)),
    }
}

fn put_varint(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = number as u64;
    while rest >= 0x80 {
        bytes.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// At most `i64::MAX`.
fn varint(reader: &mut Reader<'_>) -> Result<i64, FormatError> {
    let mut number = 0_i64;
    for shift in (0..VARINT_BITS).step_by(7) {
        let byte = reader.byte()?;
        number |= i64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(FormatError::Broken("varint"))
}
