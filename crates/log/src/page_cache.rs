//! What the kernel keeps in memory of a file.
//!
//! Picture: a range that is in the page cache is sent by `sendfile` without waiting; one that is not would hold the
//! thread until the disk has answered. `cachestat(2)` tells (Linux 6.5). Before that a read that may not wait
//! (`RWF_NOWAIT`) of a byte here and there gives a good guess.
//!
//! A look-up that may not wait at all ([`Patience::Refuses`]) reads with the same flag and gives up where it would have to.
//!
//! On a file system that cannot say (overlayfs keeps its pages elsewhere and counts none) records pass for cold: they are
//! read once more before they are sent, and nothing waits where it should not.
//!
//! Not a promise: memory pressure may take a page between the question and the use. That costs one wait.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

use crate::open_files::Handle;
use crate::{LogError, files};

/// What [`bring_into_memory`] reads in one call.
const BRING_STEP: usize = 64 << 10;
/// Distance of the samples where the system cannot be asked: that of the kernel's read-ahead.
const SAMPLE_DISTANCE: u64 = 128 << 10;
/// The number of `cachestat` is the same on all architectures that came after the table was unified; that is all we run on.
const SYS_CACHESTAT: libc::c_long = 451;

/// Whether a read may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Waits,
    /// What is not in memory is [`io::ErrorKind::WouldBlock`].
    Refuses,
}

impl Patience {
    /// Reads up to `buffer.len()` bytes at a position, `wanted` of them at least; less only at the end of the file.
    pub(crate) fn read_at(self, file: &File, buffer: &mut [u8], position: u64, wanted: usize) -> io::Result<usize> {
        match self {
            Patience::Waits => files::read_up_to(file, buffer, position),
            Patience::Refuses => read_in_memory(file, buffer, position, wanted),
        }
    }

    /// A file for a look-up.
    pub(crate) fn open(self, handle: &Arc<Handle>) -> Result<Arc<File>, LogError> {
        match self {
            Patience::Waits => handle.get(),
            Patience::Refuses => handle.get_open().ok_or_else(|| would_wait("open", &handle.path())),
        }
    }
}

fn would_wait(action: &'static str, path: &Path) -> LogError {
    LogError::io(action, path)(io::ErrorKind::WouldBlock.into())
}

fn read_in_memory(file: &File, buffer: &mut [u8], position: u64, wanted: usize) -> io::Result<usize> {
    let wanted = wanted.min(buffer.len());
    let mut filled = 0;
    while filled < wanted {
        let into = &mut [IoSliceMut::new(&mut buffer[filled..])];
        match rustix::io::preadv2(file, into, position + filled as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            // A file system without such reads is one in memory, or a layer above another (overlayfs); the others are what
            // kernels and filters say that do not know the call or the flag.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                return files::read_up_to(file, buffer, position);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

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

/// Whether all of this range of a file is in memory. Cheap: no disk, two system calls.
pub fn is_in_memory(file: &File, bytes: &Range<u64>) -> bool {
    holds(file, bytes)
}

/// Brings a range of a file into memory, and waits for the disk.
pub fn bring_into_memory(file: &File, bytes: &Range<u64>) -> io::Result<()> {
    will_need(file, bytes);
    let mut buffer = vec![0; BRING_STEP];
    let mut position = bytes.start;
    while position < bytes.end {
        let step = usize::try_from(bytes.end - position).unwrap_or(BRING_STEP).min(BRING_STEP);
        match files::read_up_to(file, &mut buffer[..step], position)? {
            0 => break, // the file ends here
            read => position += read as u64,
        }
    }
    Ok(())
}

/// Whether all of this range is in the page cache.
pub(crate) fn holds(file: &File, bytes: &Range<u64>) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let page = page_size();
    let pages = (bytes.end - 1) / page - bytes.start / page + 1;
    match cached_pages(file, bytes) {
        // Pages that are still on their way from the disk count for the kernel; the last of them arrives last.
        Some(cached) => cached >= pages && has_arrived(file, bytes.end - 1),
        None => samples_hold(file, bytes),
    }
}

/// The unit in which `cachestat` counts: 4 KiB on most machines, 16 or 64 on some.
fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    // SAFETY: the call takes no memory of ours.
    *SIZE.get_or_init(|| {
        u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|size| *size > 0).unwrap_or(4096)
    })
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
    inner.chain([bytes.end - 1]).all(|position| has_arrived(file, position))
}

/// Whether the byte at this position can be read without waiting.
fn has_arrived(file: &File, position: u64) -> bool {
    matches!(read_in_memory(file, &mut [0], position, 1), Ok(1))
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
