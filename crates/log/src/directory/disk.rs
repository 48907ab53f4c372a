//! The disk under a log directory, as all logs of the directory see it.
//!
//! Picture: one flag that says whether the directory may be used at all, one that says whether it is full, and a count of
//! the bytes that are not on the disk yet. A write or flush that fails takes the whole directory out (KIP-112): what the
//! kernel could not write it may have dropped, and nobody knows whose pages those were. A disk that is full is no failure:
//! nothing was lost, so the write is taken back and tried again by whoever asked.
//!
//! ```text
//!   fine ──ENOSPC──▶ full ──▶ fine         as often as it takes
//!   fine, full ──any other error──▶ failed, until the process starts again
//! ```
//! Invariants: a failed directory stays failed, the first cause counts. The last bytes of a file system belong to metadata,
//! committed offsets and checkpoints ([`Disk::check_room`]), so that a cluster whose records fill the disk can still be told
//! to delete some.
//!
//! Not here: who leads what is on the disk (broker), when to flush (`flusher`).

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::LogError;

/// Of the reserve, this part may be appended between two looks at the free space: somebody else may have filled the disk
/// since the last.
const LOOK_SHARE: u64 = 4;
/// Bytes between two looks, where the reserve is smaller than that.
const LOOK_EVERY_MIN: i64 = 256 << 10;
/// No more than this part of a file system is held back.
const RESERVE_SHARE_MAX: u64 = 16;

type Hook = Box<dyn Fn(&str) + Send + Sync>;

/// Shared by all logs of one directory.
pub struct Disk {
    path: PathBuf,
    reserve: u64,
    failure: OnceLock<String>,
    on_failure: OnceLock<Hook>,
    /// The last append did not fit.
    full: AtomicBool,
    /// Bytes until the free space is looked at again.
    until_look: AtomicI64,
    looking: Mutex<()>,
    unflushed: AtomicU64,
    /// Bytes that were flushed since the last checkpoint.
    flushed: AtomicU64,
    /// What the file system is flushed by. Open from the start: the kernel tells each descriptor of the write-backs that
    /// failed since it was opened, but one that is opened later hears nothing of those that somebody else was told of.
    file_system: Mutex<Option<File>>,
}

impl Disk {
    /// A disk whose last `reserve` bytes are kept from records.
    pub fn new(path: &Path, reserve: u64) -> Arc<Disk> {
        Arc::new(Disk {
            path: path.to_owned(),
            reserve,
            failure: OnceLock::new(),
            on_failure: OnceLock::new(),
            full: AtomicBool::new(false),
            until_look: AtomicI64::new(0),
            looking: Mutex::default(),
            unflushed: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            file_system: Mutex::default(),
        })
    }

    /// From now on no failed write-back goes unheard. For a directory that exists.
    pub fn watch(&self) -> Result<(), LogError> {
        let mut file_system = self.file_system.lock();
        if file_system.is_none() {
            *file_system = Some(File::open(&self.path).map_err(LogError::io("open", &self.path))?);
        }
        Ok(())
    }

    /// The log directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What happens when the directory fails; there can be one such hook. It is called once, by whoever met the failure and
    /// perhaps under a log's locks, so it should only tell somebody else.
    pub fn on_failure(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        if self.on_failure.set(Box::new(hook)).is_err() {
            tracing::warn!(dir = %self.path.display(), "log directory has somebody who hears of its failure already");
        }
        if let (Some(cause), Some(hook)) = (self.failure.get(), self.on_failure.get()) {
            hook(cause); // it failed before anybody listened; hearing of it twice does no harm
        }
    }

    /// Takes the directory out of use for the rest of this process. True for the first to say so.
    pub fn fail(&self, cause: &str) -> bool {
        let is_first = self.failure.set(cause.to_owned()).is_ok();
        if is_first {
            if let Err(error) = super::forget_checked(Some(&self.path)) {
                tracing::warn!(error = %error.chain(), "the next start may check these logs less than it should");
            }
            tracing::error!(dir = %self.path.display(), cause, "log directory has failed and is out of use until the broker restarts");
            if let Some(hook) = self.on_failure.get() {
                hook(cause);
            }
        }
        is_first
    }

    /// Why the directory is out of use, `None` while it works.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        match self.failure() {
            Some(cause) => Err(LogError::Offline { dir: self.path.clone(), cause: cause.to_owned() }),
            None => Ok(()),
        }
    }

    /// Whether records may take these bytes and leave the reserve alone. Looks at the file system only now and then, and
    /// before every append while there is no room.
    pub(crate) fn check_room(&self, bytes: usize) -> Result<(), LogError> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.until_look.fetch_sub(bytes, Ordering::Relaxed) > bytes {
            return Ok(());
        }
        let Some(_alone) = self.looking.try_lock() else { return Ok(()) }; // somebody looks
        let (total, free) = match space(&self.path) {
            Ok(space) => space,
            Err(_) => return Ok(()), // the write itself will say what is wrong
        };
        let reserve = self.reserve.min(total / RESERVE_SHARE_MAX);
        if free <= reserve.saturating_add(bytes.unsigned_abs()) {
            self.until_look.store(0, Ordering::Relaxed);
            return Err(self.note_full(LogError::Reserve { dir: self.path.clone(), free, reserve }));
        }
        let room = i64::try_from(free - reserve).unwrap_or(i64::MAX);
        let step = i64::try_from(reserve / LOOK_SHARE).unwrap_or(i64::MAX).max(LOOK_EVERY_MIN);
        self.until_look.store(step.min(room / 2), Ordering::Relaxed);
        self.note_room();
        Ok(())
    }

    /// Something did not fit; says so when it is the first.
    pub(crate) fn note_full(&self, error: LogError) -> LogError {
        self.until_look.store(0, Ordering::Relaxed);
        if !self.full.swap(true, Ordering::AcqRel) {
            tracing::error!(dir = %self.path.display(), error = %error.chain(), "log directory is full, producers are refused until there is room");
        }
        error
    }

    fn note_room(&self) {
        if self.full.load(Ordering::Relaxed) && self.full.swap(false, Ordering::AcqRel) {
            tracing::info!(dir = %self.path.display(), "log directory has room again");
        }
    }

    /// Whether the last append did not fit.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Has the kernel write all of the file system that is not on the disk, and waits for it. One that reports a failure has
    /// failed: nobody knows whose bytes they were.
    pub(crate) fn flush_all(&self) -> Result<(), LogError> {
        let flushed = self.watch().and_then(|()| {
            let file_system = self.file_system.lock();
            let flushed = file_system.as_ref().map_or(Ok(()), rustix::fs::syncfs);
            flushed.map_err(|error| LogError::io("flush the file system of", &self.path)(error.into()))
        });
        flushed.inspect_err(|error| {
            // A disk that was full when the kernel wrote back has lost what it did not write.
            if !error.is_out_of_descriptors() {
                self.fail(&error.chain());
            }
        })
    }

    /// Bytes of all logs that are not on the disk yet.
    pub fn unflushed(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }

    /// Bytes that were flushed since the last call of [`Disk::forget_flushed`].
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_flushed(&self) {
        self.flushed.store(0, Ordering::Relaxed);
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let debug = &mut f.debug_struct("Disk");
        debug.field("path", &self.path).field("failure", &self.failure).finish_non_exhaustive()
    }
}

/// Size of a file system and what is free for us, in bytes.
pub(super) fn space(path: &Path) -> Result<(u64, u64), LogError> {
    let stat = rustix::fs::statvfs(path).map_err(|e| LogError::io("inspect", path)(e.into()))?;
    Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// What one log has appended since its last flush; the disk counts the sum over all.
#[derive(Debug)]
pub(crate) struct Unflushed {
    disk: Arc<Disk>,
    bytes: AtomicU64,
}

impl Unflushed {
    /// For a log that has `bytes` which an earlier process has perhaps not flushed.
    pub(crate) fn new(disk: &Arc<Disk>, bytes: u64) -> Unflushed {
        let unflushed = Unflushed { disk: Arc::clone(disk), bytes: AtomicU64::new(0) };
        unflushed.add(bytes);
        unflushed
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.disk.unflushed.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A flush begins: what comes from now on is counted anew.
    pub(crate) fn take(&self) -> u64 {
        let taken = self.bytes.swap(0, Ordering::Relaxed);
        self.disk.unflushed.fetch_sub(taken, Ordering::Relaxed);
        self.disk.flushed.fetch_add(taken, Ordering::Relaxed);
        taken
    }
}

impl Drop for Unflushed {
    fn drop(&mut self) {
        self.take();
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn first_failure_counts_and_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path(), 0);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&heard);
        disk.on_failure(move |cause| hears.lock().push(cause.to_owned()));
        assert!(disk.check().is_ok());
        assert!(disk.fail("first"));
        assert!(!disk.fail("second"));
        assert_eq!(disk.failure(), Some("first"));
        assert_eq!(*heard.lock(), ["first"]);
        assert!(matches!(disk.check(), Err(LogError::Offline { .. })));
    }

    #[test]
    fn who_listens_late_hears_of_the_failure_too() {
        let disk = Disk::new(Path::new("/nowhere"), 0);
        disk.fail("gone");
        let heard = Arc::new(AtomicBool::new(false));
        let hears = Arc::clone(&heard);
        disk.on_failure(move |_| hears.store(true, Ordering::Release));
        assert!(heard.load(Ordering::Acquire));
    }

    #[test]
    fn reserve_is_kept_from_records() {
        let dir = tempfile::tempdir().unwrap();
        let (_, free) = space(dir.path()).unwrap();
        assert!(Disk::new(dir.path(), 0).check_room(1).is_ok());
        // The reserve is a part of the file system at most, so what is larger than all of it has to be asked for.
        let disk = Disk::new(dir.path(), 0);
        let refused = disk.check_room(usize::try_from(free.saturating_mul(2)).unwrap());
        assert!(refused.unwrap_err().is_out_of_space());
        assert!(disk.is_full());
        assert!(disk.check_room(1).is_ok());
        assert!(!disk.is_full());
    }

    #[test]
    fn unflushed_bytes_are_summed_up_and_go_with_their_log() {
        let disk = Disk::new(Path::new("/nowhere"), 0);
        let (one, other) = (Unflushed::new(&disk, 0), Unflushed::new(&disk, 0));
        one.add(10);
        other.add(5);
        assert_eq!(disk.unflushed(), 15);
        assert_eq!(one.take(), 10);
        assert_eq!((disk.unflushed(), one.get()), (5, 0));
        drop(other);
        assert_eq!(disk.unflushed(), 0);
    }

    #[test]
    fn lack_of_space_is_told_from_failures() {
        let error = |kind: rustix::io::Errno| LogError::io("write", Path::new("f"))(io::Error::from(kind));
        assert!(error(rustix::io::Errno::NOSPC).is_out_of_space());
        assert!(error(rustix::io::Errno::DQUOT).is_out_of_space());
        assert!(!error(rustix::io::Errno::IO).is_out_of_space());
        assert!(!LogError::Closed.is_out_of_space());
    }
}
