//! Lets readers, who take no lock, notice that the log was cut under them.
//!
//! Picture: a counter that is odd while somebody cuts. Who reads it before and after and finds the same even number has
//! seen one log; else what was found may be half of the old one and half of the new, such as a range of a file that
//! was measured before the cut and now holds what was written since.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(super) struct Cuts {
    count: AtomicU64,
    /// Held by whoever begins to cut, and by whoever notes something of a log that must not be cut meanwhile.
    beginning: Mutex<()>,
}

/// Somebody cuts, until this is dropped. There is one at a time, the holder of the writer.
pub(super) struct Cutting<'a>(&'a AtomicU64);

impl Cuts {
    pub(super) fn begin(&self) -> Cutting<'_> {
        let _alone = self.beginning.lock();
        self.count.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        Cutting(&self.count)
    }

    /// Does something short if nobody has cut since, and lets nobody begin to before it is done.
    pub(super) fn unless_cut(&self, seen: Option<u64>, note: impl FnOnce()) {
        let _alone = self.beginning.lock();
        if self.are(seen) {
            note();
        }
    }

    /// What to compare with later; `None` while somebody cuts.
    pub(super) fn seen(&self) -> Option<u64> {
        let seen = self.count.load(Ordering::Acquire);
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
