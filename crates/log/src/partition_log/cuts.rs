//! Lets readers, who take no lock, notice that the log was cut under them.
//!
//! Picture: a counter that is odd while somebody cuts. Who reads it before and after and finds the same even number has
//! seen one log; else what was found may be half of the old one and half of the new, such as a range of a file that
//! was measured before the cut and now holds what was written since.

use std::sync::atomic::{AtomicU64, Ordering, fence};

#[derive(Debug, Default)]
pub(super) struct Cuts(AtomicU64);

/// Somebody cuts, until this is dropped. There is one at a time, the holder of the writer.
pub(super) struct Cutting<'a>(&'a AtomicU64);

impl Cuts {
    pub(super) fn begin(&self) -> Cutting<'_> {
        self.0.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        Cutting(&self.0)
    }

    /// What to compare with later; `None` while somebody cuts.
    pub(super) fn seen(&self) -> Option<u64> {
        let seen = self.0.load(Ordering::Acquire);
        seen.is_multiple_of(2).then_some(seen)
    }

    /// Whether nobody has cut since.
    pub(super) fn are(&self, seen: Option<u64>) -> bool {
        fence(Ordering::SeqCst);
        seen.is_some() && seen == self.seen()
    }
}

impl Drop for Cutting<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
