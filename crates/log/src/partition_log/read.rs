//! Reading a log: by offset, by time, by epoch.
//!
//! Nothing here takes the writer's lock. A reader works on the row of segments that it saw first; segments
//! that are deleted meanwhile stay readable through their open files. A log that is cut meanwhile is another one, so the
//! reader gets nothing from it.

use std::ops::ControlFlow;
use std::sync::Arc;

use twinstream_model::{LeaderEpoch, Offset};
use twinstream_protocol::batch::{BatchView, NO_TIMESTAMP, Surveyed};

use super::PartitionLog;
use crate::page_cache::Patience;
use crate::segment::{Located, Segment};
use crate::{FileSlice, LogError, ReadError};

/// What a read found.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// Whole batches, except that the last may be cut by the size limit; `None` if there is nothing to read.
    pub slice: Option<FileSlice>,
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
    pub log_end_offset: Offset,
}

impl ReadResult {
    /// Bytes that were found.
    pub fn len(&self) -> usize {
        self.slice.as_ref().map_or(0, |slice| slice.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl PartitionLog {
    /// Reads from the batch that holds `from`, whole, up to about `max_bytes` and not beyond `upper`.
    ///
    /// With `at_least_one` the first batch comes whole even if it is larger than `max_bytes`. A reader at
    /// `upper` gets nothing, one outside the log an error.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
        upper: Offset,
    ) -> Result<ReadResult, ReadError> {
        self.read_with(Patience::Waits, Wanted { from, upper, max_bytes, at_least_one })
    }

    /// Like [`PartitionLog::read`], but never waits for the disk: `None` if finding the records takes that. Whether their
    /// bytes are in memory is for [`FileSlice::readiness`] to say.
    pub fn read_at_once(
        &self,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
        upper: Offset,
    ) -> Result<Option<ReadResult>, ReadError> {
        match self.read_with(Patience::Refuses, Wanted { from, upper, max_bytes, at_least_one }) {
            Err(ReadError::Storage(error)) if error.would_wait() => Ok(None),
            read => read.map(Some),
        }
    }

    /// Where the log stands, as a read tells that finds nothing.
    pub fn read_nothing(&self) -> ReadResult {
        ReadResult {
            slice: None,
            log_start_offset: self.log_start_offset(),
            high_watermark: self.high_watermark(),
            log_end_offset: self.log_end_offset(),
        }
    }

    fn read_with(&self, patience: Patience, wanted: Wanted) -> Result<ReadResult, ReadError> {
        let Wanted { from, upper, .. } = wanted;
        let cuts = self.cuts.seen();
        // The end is read first: segments that are announced with it are then surely visible.
        let end = self.log_end_offset();
        let start = self.log_start_offset();
        if from < start || from > end {
            return Err(ReadError::OutOfRange { requested: from, start, end });
        }
        let found = match from < upper.min(end) {
            true => self.find_slice(patience, Wanted { upper: upper.min(end), ..wanted }),
            false => Ok(None),
        };
        // Nothing, not even an error, of a log that was cut meanwhile: the next read finds the one that there is.
        let slice = if self.cuts.are(cuts) { found? } else { None };
        Ok(ReadResult { slice, log_start_offset: start, high_watermark: self.high_watermark(), log_end_offset: end })
    }

    fn find_slice(&self, patience: Patience, wanted: Wanted) -> Result<Option<FileSlice>, ReadError> {
        let segments = self.segments.load();
        let first = segments.partition_point(|segment| segment.base() <= wanted.from).saturating_sub(1);
        for segment in &segments[first..] {
            match self.find_in(patience, segment, wanted)? {
                // Nothing of this segment at or behind `from`: the next one goes on (offsets may have gaps).
                Found::Nothing => continue,
                Found::Beyond => return Ok(None),
                Found::Slice(slice) => return Ok(slice),
            }
        }
        Ok(None)
    }

    /// Looks into one segment. Damage that is met on the way is marked, and the search goes on around it.
    fn find_in(&self, patience: Patience, segment: &Arc<Segment>, wanted: Wanted) -> Result<Found, ReadError> {
        let mut met = None;
        loop {
            if let Some(hole) = segment.damage_at(wanted.from) {
                return Err(ReadError::of(segment, &hole));
            }
            match find_around_damage(patience, segment, wanted) {
                Err(ReadError::Storage(LogError::DamagedBatch { position, what, .. })) if met != Some(position) => {
                    segment.may_wait(patience)?;
                    self.mark_damage(segment, position, &what)?;
                    met = Some(position);
                }
                // Indexes that were built anew on the way may have found damage, too.
                found => {
                    return match segment.damage_at(wanted.from) {
                        Some(hole) => Err(ReadError::of(segment, &hole)),
                        None => found,
                    };
                }
            }
        }
    }

    /// The first record with a timestamp of at least `timestamp`, in offset order.
    pub fn offset_for_time(&self, timestamp: i64) -> Result<Option<TimestampedOffset>, ReadError> {
        let start = self.log_start_offset();
        let end = self.log_end_offset();
        for segment in self.segments.load().iter() {
            let reaches = segment.max_timestamp()?.is_some_and(|(max, _)| max >= timestamp);
            if segment.next_offset() <= start || !reaches {
                continue;
            }
            let mut position = self.or_damage(segment, segment.floor_position_by_time(timestamp))?;
            while let Some(found) =
                self.or_damage(segment, segment.find(position, |header| header.max_timestamp >= timestamp))?
            {
                if let Some(hit) = self.record_in(segment, found, start, |t| t >= timestamp)? {
                    return Ok((hit.offset < end).then_some(hit));
                }
                position = found.position + found.header.len as u64;
            }
        }
        Ok(None)
    }

    /// The time of the batch that holds `offset`, or of the first one behind it: that of its first record, or of its append
    /// where the log says so. Costs a look-up in the index and the headers behind it; no records are read.
    pub fn batch_time(&self, offset: Offset) -> Result<Option<i64>, ReadError> {
        let from = offset.max(self.log_start_offset());
        for segment in self.segments.load().iter().filter(|segment| segment.next_offset() > from) {
            if let Some(found) = self.or_damage(segment, segment.locate(from))? {
                let time = found.header.time_of(found.header.base_timestamp);
                return Ok(Some(time).filter(|time| *time != NO_TIMESTAMP));
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp, `None` if no record has one.
    pub fn max_timestamp(&self) -> Result<Option<TimestampedOffset>, ReadError> {
        let segments = self.segments.load_full();
        let mut best: Option<(i64, Offset, &Arc<Segment>)> = None;
        for segment in segments.iter() {
            if let Some((timestamp, offset)) = segment.max_timestamp()?
                && best.is_none_or(|(largest, ..)| timestamp > largest)
            {
                best = Some((timestamp, offset, segment));
            }
        }
        let Some((timestamp, offset, segment)) = best else { return Ok(None) };
        match self.or_damage(segment, segment.locate(offset))? {
            Some(found) => self.record_in(segment, found, self.log_start_offset(), |t| t == timestamp),
            None => Ok(None),
        }
    }

    /// The first record of a batch, at or behind `start`, whose timestamp is wanted. Compressed records are unpacked piece
    /// by piece: how much they are is the producer's choice.
    fn record_in(
        &self,
        segment: &Arc<Segment>,
        found: Located,
        start: Offset,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let slice = segment.slice(found.position, found.header.len)?;
        let bytes = slice.read().map_err(LogError::io("read", &segment.log_path()))?;
        let batch = BatchView::parse(&bytes)?;
        if let Err(wrong) = batch.check_crc() {
            self.mark_damage(segment, found.position, &wrong.to_string())?;
            return Err(self.damaged(segment, found.position));
        }
        let mut hit = None;
        batch.walk(self.config.load().decompressed_bytes_max, &mut |record: Surveyed| {
            let (offset, timestamp) = (record.offset, found.header.time_of(record.timestamp));
            if offset < start || timestamp == NO_TIMESTAMP || !wanted(timestamp) {
                return ControlFlow::Continue(());
            }
            hit = Some(TimestampedOffset { timestamp, offset, leader_epoch: found.header.leader_epoch });
            ControlFlow::Break(())
        })?;
        Ok(hit)
    }

    /// The largest epoch of at most `epoch` and the offset at which it ended, by Kafka's rules; `None` if the
    /// log knows no such epoch.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if epoch < LeaderEpoch(0) {
            return None;
        }
        self.epochs.read().end_of(epoch, self.log_end_offset())
    }

    /// The epoch of the newest record.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.read().latest().map(|(epoch, _)| epoch)
    }

    /// The epoch in which the record at an offset was written, `LeaderEpoch::NONE` if that is not known.
    pub fn epoch_at(&self, offset: Offset) -> LeaderEpoch {
        self.epochs.read().epoch_at(offset)
    }
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    from: Offset,
    upper: Offset,
    max_bytes: usize,
    at_least_one: bool,
}

/// What one segment has of it.
enum Found {
    Nothing,
    /// The next batch is none that the reader may see.
    Beyond,
    /// `None` if the batch is too large for the reader.
    Slice(Option<FileSlice>),
}

fn find_around_damage(patience: Patience, segment: &Arc<Segment>, wanted: Wanted) -> Result<Found, ReadError> {
    let Some(first) = segment.locate_with(patience, wanted.from)? else { return Ok(Found::Nothing) };
    if first.header.base_offset >= wanted.upper {
        return Ok(Found::Beyond);
    }
    let Some(bytes) = bytes_of(patience, segment, first, wanted)? else { return Ok(Found::Slice(None)) };
    let len = match segment.damage_in(&(bytes.start..bytes.start + bytes.len)) {
        Some(hole) if hole.bytes.start <= bytes.start => return Err(ReadError::of(segment, &hole)),
        Some(hole) => hole.bytes.start - bytes.start,
        None => bytes.len,
    };
    Ok(Found::Slice(Some(segment.slice(bytes.start, usize::try_from(len).unwrap_or(usize::MAX))?)))
}

struct Stretch {
    start: u64,
    len: u64,
}

/// The bytes of a segment from a batch on, within the limits.
fn bytes_of(
    patience: Patience,
    segment: &Segment,
    first: Located,
    wanted: Wanted,
) -> Result<Option<Stretch>, LogError> {
    // The size first: batches that are appended meanwhile are then surely not in it when the offsets say that
    // nothing lies beyond `upper`.
    let size = segment.size();
    let end = match segment.next_offset() <= wanted.upper {
        true => size,
        // Batches that reach beyond `upper` must not be seen.
        false => segment.locate_with(patience, wanted.upper)?.map_or(size, |beyond| beyond.position.min(size)),
    };
    let available = end.saturating_sub(first.position);
    let len = match first.header.len {
        // Half a batch as the only answer would help nobody.
        whole if whole > wanted.max_bytes && !wanted.at_least_one => 0,
        whole => (wanted.max_bytes.max(whole) as u64).min(available),
    };
    Ok((len > 0).then_some(Stretch { start: first.position, len }))
}

#[cfg(test)]
mod tests;
