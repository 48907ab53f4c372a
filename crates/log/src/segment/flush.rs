//! From the page cache to the disk, and taking back what did not fit.

use std::sync::atomic::Ordering;

use super::Segment;
use crate::{LogConfig, LogError};

impl Segment {
    /// Waits until the records written so far are on the disk. The indexes of a segment that still grows need not be: what
    /// they tell of records behind the recovery point is built anew.
    pub(crate) fn sync_records(&self) -> Result<(), LogError> {
        self.file.sync()
    }

    /// Waits until everything written so far is on the disk.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.write_out()?;
        self.file.sync()?;
        let inner = self.inner.read();
        inner.offsets.sync().and_then(|()| inner.times.sync())
    }

    /// Undoes an append that failed in the middle: the file ends where readers end, and so do the indexes.
    pub(crate) fn take_back(&self, config: &LogConfig) -> Result<(), LogError> {
        self.reset_to(self.size.load(Ordering::Acquire), config)
    }
}
