//! Where groups stand in partitions, and what the partitions' leader says of it.

use twinstream_metadata::codec::{DecodeError, Reader, Writer};
use twinstream_model::{Offset, PartitionIndex, TopicId};

/// Positions in one request. More are asked for in several.
pub(crate) const POSITIONS_MAX: usize = 4096;

/// Topic id, partition and offset.
const POSITION_BYTES: usize = 16 + 4 + 8;
/// End and time.
const STANDING_BYTES: usize = 8 + 8;
/// An end or a time that is not known.
const UNKNOWN: i64 = -1;

/// What a group has read: everything before `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
    pub(crate) offset: Offset,
}

/// What the leader of its partition says of a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Where the committed part of the log ends; `None` from a broker that does not lead it.
    pub(crate) end: Option<Offset>,
    /// The time of the batch that the position is in, if the log goes on there and its records have times.
    pub(crate) time_ms: Option<i64>,
}

pub(crate) fn write_positions(out: &mut Writer, positions: &[Position]) {
    out.u32(positions.len() as u32);
    for Position { topic_id, partition, offset } in positions {
        out.uuid(topic_id.0);
        out.i32(partition.0);
        out.i64(offset.0);
    }
}

pub(crate) fn read_positions(reader: &mut Reader<'_>) -> Result<Vec<Position>, DecodeError> {
    let count = reader.list_len(POSITION_BYTES)?;
    if count > POSITIONS_MAX {
        return Err(reader.bad_value(count as i64));
    }
    let mut positions = Vec::with_capacity(count);
    for _ in 0..count {
        let (topic_id, partition) = (TopicId(reader.uuid()?), PartitionIndex(reader.i32()?));
        positions.push(Position { topic_id, partition, offset: Offset(reader.i64()?) });
    }
    reader.end()?;
    Ok(positions)
}

/// In the order of the positions.
pub(crate) fn write_standings(standings: &[Standing]) -> Vec<u8> {
    let mut out = Writer::default();
    out.u32(standings.len() as u32);
    for standing in standings {
        out.i64(standing.end.map_or(UNKNOWN, |end| end.0));
        out.i64(standing.time_ms.unwrap_or(UNKNOWN));
    }
    out.bytes
}

pub(crate) fn read_standings(payload: &[u8]) -> Result<Vec<Standing>, DecodeError> {
    let mut reader = Reader::new("standing of groups", payload);
    let count = reader.list_len(STANDING_BYTES)?;
    let mut standings = Vec::with_capacity(count);
    for _ in 0..count {
        let known = |value: i64| Some(value).filter(|value| *value >= 0);
        let (end, time) = (reader.i64()?, reader.i64()?);
        standings.push(Standing { end: known(end).map(Offset), time_ms: known(time) });
    }
    reader.end()?;
    Ok(standings)
}

#[cfg(test)]
mod tests {
    use twinstream_model::TopicId;

    use super::*;

    #[test]
    fn positions_and_standings_come_back() {
        let positions = vec![
            Position { topic_id: TopicId::NONE, partition: PartitionIndex(3), offset: Offset(17) },
            Position { topic_id: TopicId::NONE, partition: PartitionIndex(0), offset: Offset(0) },
        ];
        let mut out = Writer::default();
        write_positions(&mut out, &positions);
        assert_eq!(read_positions(&mut Reader::new("test", &out.bytes)), Ok(positions));
        let standings =
            vec![Standing { end: Some(Offset(20)), time_ms: Some(1_000) }, Standing { end: None, time_ms: None }];
        assert_eq!(read_standings(&write_standings(&standings)), Ok(standings));
    }

    #[test]
    fn no_length_is_believed() {
        assert!(read_positions(&mut Reader::new("test", &[0xff; 8])).is_err());
        assert!(read_standings(&[0, 0, 0, 9]).is_err());
        let many = [&(POSITIONS_MAX as u32 + 1).to_be_bytes()[..], &vec![0; POSITION_BYTES * (POSITIONS_MAX + 1)]];
        assert!(read_positions(&mut Reader::new("test", &many.concat())).is_err());
    }
}
