//! An allocator that knows how much was in use at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting { used: AtomicUsize::new(0), peak: AtomicUsize::new(0) };

struct Counting {
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl Counting {
    fn took(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.peak.fetch_max(used, Ordering::SeqCst);
    }
}

// Vectors grow and shrink by the default `realloc`, which takes the new bytes before it gives the old ones back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.used.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: as above, and it came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

/// By how much the memory in use grew at most during some work of all threads.
pub(crate) fn growth_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATOR.used.load(Ordering::SeqCst);
    ALLOCATOR.peak.store(before, Ordering::SeqCst);
    let done = work();
    (done, ALLOCATOR.peak.load(Ordering::SeqCst).saturating_sub(before))
}
