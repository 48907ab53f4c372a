//! Disk space that is set aside ahead of the end of a growing segment.
//!
//! Picture: a file system that finds a place for each 4 KiB block only when it must (ext4's delayed allocation) pays for
//! that at every write: it counts the block against the free space, the quota and the group's memory, and notes it in
//! three structures. An append into blocks that are there already costs a quarter less, and partitions that grow side by
//! side do not lie interleaved on the disk. So a segment that has proved to grow reserves a step ahead.
//!
//! Invariants: the length of the file does not change, so nobody who reads it notices; a step is at most half of what
//! the segment holds and at most [`STEP_MAX`], so that ten thousand small partitions waste nothing; nothing is reserved
//! where the disk runs low; what is left over is given back when the segment is closed, and after a crash when the
//! segment is cut, grows on or is deleted. Reserving is never needed: every failure only means to go on without.
//!
//! Not here: `preallocate`, which reserves a whole segment at its start because the topic asks for it.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, Timespec, Timestamps, UTIME_OMIT};

/// Below this size a segment reserves nothing: most partitions never grow, or slowly.
const SIZE_MIN: u64 = 1 << 20;
/// Larger steps were measured to bring nothing more.
const STEP_MAX: u64 = 16 << 20;
/// With less than this free, space is for those who write it.
const FREE_MIN: u64 = 1 << 30;
/// No further attempt for this segment.
const OFF: u64 = u64::MAX;

/// How far a segment's file has space.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    /// Up to this position nothing is to be done: 0 in the beginning, [`OFF`] where reserving does not work.
    to: AtomicU64,
}

impl Reserved {
    /// Makes sure that there is space behind a write of `bytes` at `start`, if the segment is one that grows.
    pub(crate) fn ahead_of(&self, file: &File, start: u64, bytes: u64, segment_bytes: u64) {
        let end = start + bytes;
        let reserved = self.to.load(Ordering::Relaxed);
        if end <= reserved || end < SIZE_MIN {
            return;
        }
        let target = target(end, segment_bytes);
        let from = reserved.max(start);
        let reached = if is_roomy(file) { reserve(file, from, target) } else { target };
        self.to.store(reached, Ordering::Relaxed);
    }

    /// Whether there may be something to give back.
    pub(crate) fn is_used(&self) -> bool {
        !matches!(self.to.load(Ordering::Relaxed), 0 | OFF)
    }

    /// Gives back what lies behind the last batch, when the segment takes no more of them.
    pub(crate) fn give_back(&self, file: &File, size: u64) {
        let reserved = self.to.swap(OFF, Ordering::Relaxed);
        if reserved == OFF || reserved <= size {
            return;
        }
        if let Err(error) = release(file, size) {
            tracing::debug!(%error, "reserved disk space stays with its segment");
        }
    }
}

fn target(end: u64, segment_bytes: u64) -> u64 {
    let step = (end / 2).min(STEP_MAX);
    (end + step).min(segment_bytes).max(end)
}

/// Whether the disk has so much space that some may lie idle.
fn is_roomy(file: &File) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= FREE_MIN)
}

/// Reserves the range; how far there is space now.
fn reserve(file: &File, from: u64, to: u64) -> u64 {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, to.saturating_sub(from).max(1)) {
        Ok(()) => to,
        Err(error) => {
            tracing::debug!(%error, "disk space cannot be reserved");
            OFF
        }
    }
}

/// Cuts the file at its end, which frees the blocks behind it, and leaves the time of the last write as it was: retention
/// goes by it where records have no timestamps.
fn release(file: &File, size: u64) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    file.set_len(size)?;
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let written = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: omitted, last_modification: written })?)
}

#[cfg(test)]
mod tests;
