//! The descriptors of all logs of a broker: a bounded cache.
//!
//! Picture: ten thousand partitions have thirty thousand files and more, most of which nobody touches for hours. A
//! [`Handle`] stands for a file whether it is open or not; who needs it gets a descriptor, and when there are too many
//! a hand goes round the handles and closes the first that was not used since it last came by (second chance).
//!
//! Invariants: F1 a file of records that may have bytes which are not on the disk is flushed before its descriptor is closed,
//! because the kernel tells of a failed write-back only those who had the file open. Indexes can be had again. F2 a flush that failed here is not
//! forgotten: from then on the handle gives out no descriptor for writing and every flush of it fails. F3 a descriptor
//! that a reader holds outlives the closing; the bound counts what the cache holds, readers are bounded by their
//! requests. F4 who needs a descriptor, on a thread of the runtime perhaps, closes clean files only; the dirty ones that
//! the hand meets are flushed and closed by a thread of the cache, and the bound is exceeded meanwhile by [`SURPLUS_MAX`]
//! at most. Beyond that whoever comes flushes and closes himself, so nobody ever waits for that thread to come.
//!
//! Not here: which files there are (`segment`), when a flush is due (`partition_log::flush`).

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};
use twinstream_model::Offset;

use crate::{LogError, files};

/// The default bound is at most this: on many machines a process may have 20,000, and connections need theirs.
const DEFAULT_MAX: usize = 6_000;

/// Dirty files that wait to be closed, at most, and so also those that are flushed at once: one commit of the file
/// system's journal serves them all. By as many the bound may be exceeded meanwhile.
const SURPLUS_MAX: usize = 64;
/// A small cache is exceeded by this part of its bound only.
const SURPLUS_SHARE: usize = 8;

/// The bounded cache, shared by all logs of a broker.
#[derive(Debug)]
pub struct OpenFiles {
    max: usize,
    open: AtomicUsize,
    /// How often a file was found to be damaged.
    damaged: AtomicU64,
    /// The open handles in the order in which the hand passes them, without those in `surplus`.
    ring: Mutex<VecDeque<Weak<Handle>>>,
    surplus: Mutex<Surplus>,
    /// Has the surplus closed by somebody else; false if nobody can be had.
    delegate: fn(&Arc<OpenFiles>) -> bool,
}

/// Dirty files that are to be flushed and closed.
#[derive(Debug, Default)]
struct Surplus {
    files: Vec<Weak<Handle>>,
    /// Whether there is a thread that sees to them.
    is_served: bool,
}

impl OpenFiles {
    /// Keeps at most `max` files open; one at least.
    pub fn new(max: usize) -> Arc<OpenFiles> {
        OpenFiles::with_delegate(max, close_on_a_thread)
    }

    fn with_delegate(max: usize, delegate: fn(&Arc<OpenFiles>) -> bool) -> Arc<OpenFiles> {
        Arc::new(OpenFiles {
            max: max.max(1),
            open: AtomicUsize::new(0),
            damaged: AtomicU64::new(0),
            ring: Mutex::default(),
            surplus: Mutex::default(),
            delegate,
        })
    }

    /// What a process with this limit of open files should keep open.
    pub fn default_max(limit: Option<u64>) -> usize {
        let half = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
        half.min(DEFAULT_MAX)
    }

    /// Descriptors that the cache holds.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub fn max(&self) -> usize {
        self.max
    }

    /// How often a file of a log was found to be damaged: more than before means that there is something to repair.
    pub fn damage_found(&self) -> u64 {
        self.damaged.load(Ordering::Acquire)
    }

    /// By how much the bound may be exceeded while dirty files are flushed.
    fn surplus_max(&self) -> usize {
        SURPLUS_MAX.min(self.max / SURPLUS_SHARE)
    }

    fn admit(self: &Arc<OpenFiles>, handle: &Arc<Handle>) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.ring.lock().push_back(Arc::downgrade(handle));
        self.close_clean();
        let over = self.open().saturating_sub(self.max);
        if over > 0 && (over > self.surplus_max() || !self.delegate_surplus()) {
            self.close_surplus();
        }
    }

    /// Closes clean files that were not used lately until the bound holds. Dirty ones that are met are put aside; when
    /// there are enough of these, the hand rests.
    fn close_clean(&self) {
        let mut left = 2 * self.ring.lock().len(); // once for the marks of use; who is busy all the time is passed over
        while self.open() > self.max && left > 0 {
            left -= 1;
            let Some(next) = self.ring.lock().pop_front() else { break };
            let Some(handle) = next.upgrade() else { continue };
            match handle.try_close() {
                Closing::Closed => {}
                Closing::InUse => self.ring.lock().push_back(next),
                Closing::Dirty => {
                    let mut surplus = self.surplus.lock();
                    surplus.files.push(next);
                    if surplus.files.len() >= SURPLUS_MAX {
                        break;
                    }
                }
            }
        }
    }

    /// Whether somebody else closes the surplus.
    fn delegate_surplus(self: &Arc<OpenFiles>) -> bool {
        let mut surplus = self.surplus.lock();
        if !surplus.is_served {
            surplus.is_served = (self.delegate)(self);
        }
        surplus.is_served
    }

    /// Flushes the dirty files that were put aside, and closes as many of them as are too many.
    fn close_surplus(&self) {
        let files = std::mem::take(&mut self.surplus.lock().files);
        let handles: Vec<_> = files.iter().filter_map(Weak::upgrade).collect();
        if self.open() > self.max {
            handles.iter().for_each(|handle| handle.begin_flush());
        }
        for handle in handles {
            let is_flushed = self.open() > self.max && handle.flush_quietly();
            if !(is_flushed && matches!(handle.try_close(), Closing::Closed)) {
                // The hand comes to it first: it is clean now.
                self.ring.lock().push_front(Arc::downgrade(&handle));
            }
        }
    }

    /// What the thread does: closes the surplus until there is none.
    fn serve_surplus(&self) {
        loop {
            self.close_surplus();
            let mut surplus = self.surplus.lock();
            if surplus.files.is_empty() {
                surplus.is_served = false;
                return;
            }
        }
    }
}

/// A thread that ends when there is no surplus: mostly there is none for hours.
fn close_on_a_thread(files: &Arc<OpenFiles>) -> bool {
    let files = Arc::clone(files);
    let spawned = std::thread::Builder::new().name("close-files".to_owned()).spawn(move || files.serve_surplus());
    spawned.inspect_err(|error| tracing::warn!(%error, "cannot start a thread that closes files")).is_ok()
}

/// What came of trying to close a file.
enum Closing {
    Closed,
    InUse,
    /// It has to be flushed before.
    Dirty,
}

/// Where the files of one log are, and who opens them.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder; it may get another name. Locked while a path into it is used, and never while the
    /// disk is waited for: who moves it may be on a thread of the runtime.
    pub(crate) dir: Arc<RwLock<PathBuf>>,
    pub(crate) files: Arc<OpenFiles>,
}

impl Place {
    pub(crate) fn new(dir: &Path, files: Arc<OpenFiles>) -> Place {
        Place { dir: Arc::new(RwLock::new(dir.to_owned())), files }
    }
}

/// What a file is called: `<offset>.<extension><suffix>`, where the suffix is empty for a part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    base: Offset,
    extension: &'static str,
    suffix: &'static str,
}

impl Name {
    fn within(self, dir: &Path) -> PathBuf {
        match self.suffix {
            "" => files::offset_file(dir, self.base, self.extension),
            suffix => files::offset_file(dir, self.base, &format!("{}{suffix}", self.extension)),
        }
    }
}

/// One file, open or not.
#[derive(Debug)]
pub(crate) struct Handle {
    place: Place,
    /// Locked before the place's `dir`.
    name: RwLock<Name>,
    file: RwLock<Option<Arc<File>>>,
    /// Since the hand came by.
    used: AtomicBool,
    /// Whether bytes may be newer than the last flush. Set while `file` is locked for reading, so that nobody closes
    /// the file between that and the write.
    dirty: AtomicBool,
    /// Held by whoever flushes: `dirty` is taken back before the disk has answered, and nobody may take that for done.
    flushing: Mutex<()>,
    /// Why bytes that were written may never reach the disk.
    lost: OnceLock<String>,
}

impl Handle {
    /// Stands for a file that may be there. It counts as flushed; [`Handle::doubt`] says otherwise.
    pub(crate) fn new(place: &Place, base: Offset, extension: &'static str, suffix: &'static str) -> Arc<Handle> {
        Arc::new(Handle {
            place: place.clone(),
            name: RwLock::new(Name { base, extension, suffix }),
            file: RwLock::default(),
            used: AtomicBool::new(true),
            dirty: AtomicBool::new(false),
            flushing: Mutex::default(),
            lost: OnceLock::new(),
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path_as(*self.name.read())
    }

    fn path_as(&self, name: Name) -> PathBuf {
        name.within(&self.place.dir.read())
    }

    /// The file for readers.
    pub(crate) fn get(self: &Arc<Handle>) -> Result<Arc<File>, LogError> {
        if let Some(file) = &*self.file.read() {
            self.note_use();
            return Ok(Arc::clone(file));
        }
        self.open(false, OpenOptions::new().read(true).write(true))
    }

    /// The file for a writer; it counts as dirty from now on, and again from the moment at which the writer lets it go: a
    /// flush may come between the two, and what is written after it is not on the disk.
    pub(crate) fn get_for_writing(self: &Arc<Handle>) -> Result<Writing, LogError> {
        self.check_lost()?;
        let open = self.file.read().as_ref().map(|file| {
            self.dirty.store(true, Ordering::Release);
            self.note_use();
            Arc::clone(file)
        });
        let file = match open {
            Some(file) => file,
            None => self.open(true, OpenOptions::new().read(true).write(true))?,
        };
        Ok(Writing { handle: Arc::clone(self), file })
    }

    /// The file for readers, if it is open.
    pub(crate) fn get_open(&self) -> Option<Arc<File>> {
        let file = self.file.read().clone()?;
        self.note_use();
        Some(file)
    }

    /// The file, which is made if it does not exist.
    pub(crate) fn get_or_create(self: &Arc<Handle>) -> Result<Arc<File>, LogError> {
        self.open(false, OpenOptions::new().read(true).write(true).create(true).truncate(false))
    }

    /// Makes the file anew, empty. An empty file has nothing that a flush could lose, except that it is empty.
    pub(crate) fn create(self: &Arc<Handle>) -> Result<Arc<File>, LogError> {
        let file = self.get_or_create()?;
        if file.metadata().map_err(LogError::io("inspect", &self.path()))?.len() > 0 {
            self.get_for_writing()?.set_len(0).map_err(LogError::io("truncate", &self.path()))?;
        }
        Ok(file)
    }

    fn open(self: &Arc<Handle>, dirty: bool, options: &OpenOptions) -> Result<Arc<File>, LogError> {
        let file = {
            let mut slot = self.file.write();
            if dirty {
                self.dirty.store(true, Ordering::Release);
            }
            if let Some(file) = &*slot {
                return Ok(Arc::clone(file));
            }
            // Nobody moves the folder meanwhile, and another partition cannot be where it was.
            let name = self.name.read();
            let dir = self.place.dir.read();
            let path = name.within(&dir);
            let file = Arc::new(options.open(&path).map_err(LogError::io("open", &path))?);
            *slot = Some(Arc::clone(&file));
            file
        };
        self.note_use();
        self.place.files.admit(self);
        Ok(file)
    }

    fn note_use(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// An earlier process may have left bytes that are not on the disk.
    pub(crate) fn doubt(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Tells that what the file holds is damaged.
    pub(crate) fn note_damage(&self) {
        self.place.files.damaged.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Waits until everything written so far is on the disk.
    pub(crate) fn sync(self: &Arc<Handle>) -> Result<(), LogError> {
        let _alone = self.flushing.lock();
        self.check_lost()?;
        if !self.is_dirty() {
            return Ok(());
        }
        let file = self.get()?;
        self.dirty.store(false, Ordering::Release);
        file.sync_data().map_err(|error| self.lose(error))
    }

    fn check_lost(&self) -> Result<(), LogError> {
        match self.lost.get() {
            Some(why) => Err(LogError::io("flush", &self.path())(io::Error::other(why.clone()))),
            None => Ok(()),
        }
    }

    fn lose(&self, error: io::Error) -> LogError {
        let why = self.lost.get_or_init(|| error.to_string());
        self.dirty.store(true, Ordering::Release);
        tracing::error!(path = %self.path().display(), why, "what was written to a file may not be on the disk");
        LogError::io("flush", &self.path())(error)
    }

    /// The hand comes by.
    fn try_close(&self) -> Closing {
        if self.used.swap(false, Ordering::Relaxed) {
            return Closing::InUse;
        }
        let Some(mut slot) = self.file.try_write() else { return Closing::InUse };
        if self.is_dirty() && !self.is_hint() {
            return Closing::Dirty;
        }
        if slot.take().is_some() {
            self.place.files.open.fetch_sub(1, Ordering::Relaxed);
        }
        Closing::Closed
    }

    /// Whether the file can be had from the records again, so that a write of it that failed unseen costs only time. It
    /// stays dirty when it is closed.
    fn is_hint(&self) -> bool {
        self.name.read().extension != files::LOG
    }

    /// Has the kernel begin to write, so that the flushes of many files do not wait for one another.
    fn begin_flush(&self) {
        let Some(file) = self.file.read().clone() else { return };
        // SAFETY: the descriptor is open, and the call touches no memory of ours.
        let begun = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
        if begun != 0 {
            tracing::debug!(path = %self.path().display(), "writing was not begun ahead of a flush");
        }
    }

    /// Flushes on behalf of the cache; a failure is kept for the log's own next flush.
    fn flush_quietly(&self) -> bool {
        let Some(_alone) = self.flushing.try_lock() else { return false };
        let Some(file) = self.file.read().clone() else { return true };
        self.dirty.store(false, Ordering::Release);
        file.sync_data().map_err(|error| self.lose(error)).is_ok()
    }

    /// Gives the file another suffix, the empty one to make it a part of the log.
    pub(crate) fn rename(&self, suffix: &'static str) -> Result<PathBuf, LogError> {
        let mut name = self.name.write();
        let dir = self.place.dir.read();
        let (from, to) = (name.within(&dir), Name { suffix, ..*name }.within(&dir));
        std::fs::rename(&from, &to).map_err(LogError::io("rename", &from))?;
        name.suffix = suffix;
        Ok(to)
    }
}

/// A file in the hands of who writes it. To be let go before others may take what was written for written.
#[derive(Debug)]
pub(crate) struct Writing {
    handle: Arc<Handle>,
    file: Arc<File>,
}

impl std::ops::Deref for Writing {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.handle.dirty.store(true, Ordering::Release);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.file.get_mut().is_some() {
            self.place.files.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
