//! What the kernel keeps in memory of a file.
//!
//! Picture: a range that is in the page cache is sent by `sendfile` without waiting; one that is not would hold the
//! thread until the disk has answered. `cachestat(2)` tells (Linux 6.5). Before that a read that may not wait
//! (`RWF_NOWAIT`) of a byte here and there gives a good guess.
//!
//! Not a promise: memory pressure may take a page between the question and the use. That costs one wait.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;

const PAGE: u64 = 4096;
/// Distance of the samples where the system cannot be asked: that of the kernel's read-ahead.
const SAMPLE_DISTANCE: u64 = 128 << 10;
/// The number of `cachestat` is the same on all architectures that came after the table was unified; that is all we run on.
const SYS_CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct CachestatRange {
    offset: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether all of this range is in the page cache.
pub(crate) fn holds(file: &File, bytes: &Range<u64>) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let pages = (bytes.end - 1) / PAGE - bytes.start / PAGE + 1;
    match cached_pages(file, bytes) {
        Some(cached) => cached >= pages,
        None => samples_hold(file, bytes),
    }
}

/// `None` where the kernel does not know the question.
fn cached_pages(file: &File, bytes: &Range<u64>) -> Option<u64> {
    static UNKNOWN: AtomicBool = AtomicBool::new(false);
    if UNKNOWN.load(Ordering::Relaxed) {
        return None;
    }
    let range = CachestatRange { offset: bytes.start, len: bytes.end - bytes.start };
    let mut stat = Cachestat::default();
    // SAFETY: both pointers are to live values of the layout that the call documents, and the descriptor is open.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0) };
    if result == 0 {
        return Some(stat.cached);
    }
    UNKNOWN.store(true, Ordering::Relaxed); // no such call, or a filter that does not let it through
    None
}

fn samples_hold(file: &File, bytes: &Range<u64>) -> bool {
    let inner = (bytes.start..bytes.end).step_by(SAMPLE_DISTANCE as usize);
    inner.chain([bytes.end - 1]).all(|position| {
        let mut byte = [0];
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], position, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == 1)
    })
}

/// Asks the kernel to begin reading a range. A refusal costs only time.
pub(crate) fn will_need(file: &File, bytes: &Range<u64>) {
    advise(file, bytes, Advice::WillNeed);
}

/// Lets the kernel drop a range that nobody will read soon. What is dirty stays.
pub(crate) fn not_needed(file: &File, bytes: &Range<u64>) {
    advise(file, bytes, Advice::DontNeed);
}

fn advise(file: &File, bytes: &Range<u64>, advice: Advice) {
    let Some(len) = std::num::NonZeroU64::new(bytes.end.saturating_sub(bytes.start)) else { return };
    if let Err(error) = rustix::fs::fadvise(file, bytes.start, Some(len), advice) {
        tracing::debug!(%error, "advice about the page cache was refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn fresh_bytes_are_in_the_cache_and_both_ways_of_asking_agree() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 300_000]).unwrap();
        assert!(holds(&file, &(0..300_000)));
        assert!(holds(&file, &(4_095..4_097)));
        assert!(samples_hold(&file, &(0..300_000)));
        assert!(holds(&file, &(5..5)));
    }

    #[test]
    fn what_lies_behind_the_end_is_not_held() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100]).unwrap();
        assert!(!samples_hold(&file, &(50..200)));
    }
}
