//! The batches of a segment, one after the other, with every byte checked.
//!
//! Reads go in large pieces into one buffer, which grows to a batch that is larger. A batch that is cut, out of order or
//! fails its checksum is an error that names the place: compaction must not give damaged bytes a new checksum.

use std::fmt::Display;
use std::fs::File;
use std::sync::Arc;

use twinstream_model::Offset;
use twinstream_protocol::batch::{BatchHeader, BatchView, HEADER_BYTES};

use super::{CleanError, Pace};
use crate::segment::Segment;
use crate::{LogError, files};

pub(super) struct Source<'a> {
    segment: &'a Segment,
    pace: &'a dyn Pace,
    file: Arc<File>,
    io_bytes: usize,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins, and how much of it holds bytes.
    start: u64,
    filled: usize,
    /// Of the next batch.
    position: u64,
    end: u64,
    next_offset: Offset,
}

/// A batch and where it lies.
pub(super) struct Found<'a> {
    pub(super) batch: BatchView<'a>,
    pub(super) position: u64,
    /// Whether nothing lies behind it in its segment.
    pub(super) is_last: bool,
}

impl<'a> Source<'a> {
    /// Begins at `position`, which must be a batch border.
    pub(super) fn new(
        segment: &'a Arc<Segment>,
        position: u64,
        io_bytes: usize,
        pace: &'a dyn Pace,
    ) -> Result<Source<'a>, LogError> {
        let file = segment.slice(0, 0)?.file;
        let (io_bytes, end) = (io_bytes.max(HEADER_BYTES), segment.size());
        let next_offset = segment.base();
        Ok(Source {
            segment,
            pace,
            file,
            io_bytes,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            position,
            end,
            next_offset,
        })
    }

    /// The next batch, `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Found<'_>>, CleanError> {
        let position = self.position;
        if position >= self.end {
            return Ok(None);
        }
        self.fill(HEADER_BYTES)?;
        let header = BatchHeader::parse(self.bytes()).map_err(|error| self.damaged(error.to_string()))?;
        if position + header.len as u64 > self.end {
            return Err(self.damaged(format!("batch of {} bytes is cut after {}", header.len, self.end - position)));
        }
        if header.base_offset < self.next_offset || header.last_offset_delta < 0 {
            return Err(
                self.damaged(format!("offset {} where {} or more is due", header.base_offset, self.next_offset))
            );
        }
        self.fill(header.len)?;
        self.next_offset = header.next_offset();
        self.position += header.len as u64;
        let from = (position - self.start) as usize;
        let checked =
            BatchView::parse(&self.buffer[from..self.filled]).and_then(|batch| batch.check_crc().map(|()| batch));
        match checked {
            Ok(batch) => Ok(Some(Found { batch, position, is_last: self.position == self.end })),
            Err(error) => Err(damaged(self.segment, position, error.to_string())),
        }
    }

    /// What is in memory from the next batch on.
    fn bytes(&self) -> &[u8] {
        &self.buffer[(self.position - self.start) as usize..self.filled]
    }

    /// Sees to it that `len` bytes from the next batch on are in memory, or what there is of them.
    fn fill(&mut self, len: usize) -> Result<(), CleanError> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let len = len.min(left);
        let held = self.position >= self.start && self.position + len as u64 <= self.start + self.filled as u64;
        if held {
            return Ok(());
        }
        let wanted = len.max(self.io_bytes).min(left);
        self.pace.spent(wanted as u64)?;
        self.buffer.resize(wanted, 0);
        self.buffer.shrink_to(len.max(self.io_bytes));
        let read = files::read_up_to(&self.file, &mut self.buffer, self.position);
        self.filled = read.map_err(LogError::io("read", &self.segment.log_path()))?;
        self.start = self.position;
        match self.filled < len {
            true => Err(self.damaged("file ends early".to_owned())),
            false => Ok(()),
        }
    }

    fn damaged(&self, why: String) -> CleanError {
        damaged(self.segment, self.position, why)
    }
}

pub(super) fn damaged(segment: &Segment, position: u64, why: String) -> CleanError {
    CleanError::Damaged { path: segment.log_path(), position, why }
}

/// For a batch that is as its producer sent it, and cannot be worked with.
pub(super) fn unworkable(segment: &Segment, position: u64, why: impl Display) -> CleanError {
    CleanError::Unworkable { path: segment.log_path(), position, why: why.to_string() }
}
