//! From the page cache to the disk, and taking back what did not fit.

use std::sync::atomic::Ordering;

use super::Segment;
use crate::{LogConfig, LogError};

impl Segment {
    /// Hands the index entries of a segment that still grows to the system, if there is room. They are hints: without them a
    /// start after a kill reads more, and the next flush tries again.
    pub(crate) fn offer_index(&self) -> Result<(), LogError> {
        match self.write_out() {
            Err(error) if error.is_passing() => {
                tracing::debug!(error = %error.chain(), "index entries stay in memory");
                Ok(())
            }
            written => written,
        }
    }

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
