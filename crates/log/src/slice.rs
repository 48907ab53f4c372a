//! A range of a segment file, for readers.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::page_cache;
use crate::segment::{Moment, Segment};

/// Bytes of a file that hold record batches; the last batch may be cut, as in any Fetch answer.
///
/// The file stays readable as long as the slice lives, even after its segment was deleted. A slice says where records
/// lie, not that they are good: before its bytes go anywhere, [`FileSlice::readiness`] has to be [`Readiness::Ready`] or
/// [`crate::PartitionLog::make_ready`] has to have answered with it.
#[derive(Clone, Debug)]
pub struct FileSlice {
    pub file: Arc<File>,
    pub position: u64,
    pub len: usize,
    pub(crate) segment: Arc<Segment>,
}

/// Whether a slice may be sent, and without waiting for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Checked, and in the page cache as far as the system can tell.
    Ready,
    /// This process has not checked all of it.
    Unchecked,
    /// Checked once, but not all of it is in the page cache.
    Cold,
}

impl FileSlice {
    /// What has to happen before the bytes are sent. Cheap: no disk, at most two system calls, and none for what was
    /// appended a moment ago.
    pub fn readiness(&self) -> Readiness {
        self.readiness_at(Moment::now())
    }

    pub(crate) fn readiness_at(&self, now: Moment) -> Readiness {
        match self.segment.is_checked(&self.bytes()) {
            false => Readiness::Unchecked,
            true if self.segment.is_fresh(self.position, now) => Readiness::Ready,
            true => match page_cache::holds(&self.file, &self.bytes()) {
                true => Readiness::Ready,
                false => Readiness::Cold,
            },
        }
    }

    /// Asks for the bytes, and for `more` behind them, to be brought into memory, and does not wait until they are there.
    pub fn will_be_needed(&self, more: u64) {
        let Range { start, end } = self.bytes();
        page_cache::will_need(&self.file, &(start..end.saturating_add(more)));
    }

    /// Where in the file it lies.
    pub(crate) fn bytes(&self) -> Range<u64> {
        self.position..self.position + self.len as u64
    }

    /// Copies the bytes into memory, as they are.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len];
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes)
    }
}
