//! `.txnindex`: the aborted transactions whose markers lie in a segment, in Kafka's format.
//!
//! ```text
//! version i16 (0) | producer id i64 | first offset i64 | last offset i64 (the marker) | last stable offset i64
//! ```
//! Picture: a segment in which nothing was aborted has no such file, and most logs have none at all. So what is in
//! memory is how many entries each file has and the last one; a reader of committed records opens a file only when
//! something in it concerns him. The file is a function of the log: it is written when a marker is replayed and is made
//! again from the log when it does not fit.
//!
//! Invariants: entries ascend by the offset of their marker, which lies in the segment. An entry is written after the
//! marker it tells of and before the snapshot of producers that knows of the end, so that whoever replays from a
//! snapshot finds what is missing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use twinstream_model::{Offset, ProducerId};

use crate::LogError;
use crate::files::{self, DELETED, TXN_INDEX};
use crate::transactions::AbortedTransaction;

const VERSION: i16 = 0;
const ENTRY_BYTES: usize = 34;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AbortedEntry {
    pub(crate) producer_id: ProducerId,
    pub(crate) first: Offset,
    /// Of the marker.
    pub(crate) last: Offset,
    /// Below it nothing was undecided when the marker was written: who has read that far needs no later entries.
    pub(crate) last_stable: Offset,
}

impl AbortedEntry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_be_bytes());
        for number in [self.producer_id.0, self.first.0, self.last.0, self.last_stable.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<AbortedEntry> {
        let number = |at: usize| Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes.get(..2)? != VERSION.to_be_bytes() {
            return None;
        }
        Some(AbortedEntry {
            producer_id: ProducerId(number(2)?),
            first: Offset(number(10)?),
            last: Offset(number(18)?),
            last_stable: Offset(number(26)?),
        })
    }

    /// Whether it can follow `before` in the index of a segment that begins at `base`.
    fn fits(&self, base: Offset, before: Option<&AbortedEntry>) -> bool {
        self.producer_id.0 >= 0
            && self.last >= base
            && self.first >= Offset(0)
            && self.first <= self.last
            && before.is_none_or(|before| before.last < self.last)
    }
}

/// The indexes of a log, by the base of their segments. A copy costs nothing and tells what there was when it was made;
/// [`TxnIndexes::has_all_of`] says whether the files are still what it tells of.
#[derive(Clone, Debug, Default)]
pub(crate) struct TxnIndexes {
    files: Arc<BTreeMap<Offset, TxnIndex>>,
    /// How often entries went.
    losses: u64,
}

#[derive(Clone, Debug, Default)]
struct TxnIndex {
    entries: usize,
    /// `None` until the file was looked at.
    last: Option<AbortedEntry>,
    /// Whether bytes may be newer than the last flush.
    dirty: bool,
}

/// Compares entries with the segment at this offset.
pub(crate) type Agrees<'a> = &'a dyn Fn(Offset, &[AbortedEntry]) -> Result<Result<(), String>, LogError>;

/// What a file holds that does not fit.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) base: Offset,
    pub(crate) what: String,
}

impl TxnIndexes {
    /// Takes over the files of these segments; what they hold is looked at when somebody needs it.
    pub(crate) fn of(bases: impl IntoIterator<Item = Offset>) -> TxnIndexes {
        let doubtful = |base| (base, TxnIndex { dirty: true, ..TxnIndex::default() });
        TxnIndexes { files: Arc::new(bases.into_iter().map(doubtful).collect()), losses: 0 }
    }

    /// Whether nothing that an earlier copy tells of went since.
    pub(crate) fn has_all_of(&self, earlier: &TxnIndexes) -> bool {
        self.losses == earlier.losses
    }

    fn files_mut(&mut self) -> &mut BTreeMap<Offset, TxnIndex> {
        Arc::make_mut(&mut self.files)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Entries of all files that were looked at.
    pub(crate) fn count(&self) -> u64 {
        self.files.values().map(|index| index.entries as u64).sum()
    }

    /// Looks at every file that was not looked at yet; those that do not fit are told, for the caller to make them again.
    /// `agrees` compares entries with the records of the segment at an offset, or says why they differ.
    pub(crate) fn check(&mut self, dir: &Path, agrees: Agrees<'_>) -> Result<Vec<Unfit>, LogError> {
        let mut unfit = Vec::new();
        for (base, index) in self.files_mut().iter_mut().filter(|(_, index)| index.last.is_none()) {
            let loaded = match load(&path(dir, *base), *base)? {
                Ok(entries) => agrees(*base, &entries)?.map(|()| entries),
                unfit => unfit,
            };
            match loaded {
                Ok(entries) => {
                    index.entries = entries.len();
                    index.last = entries.last().copied();
                }
                Err(what) => unfit.push(Unfit { base: *base, what }),
            }
        }
        Ok(unfit)
    }

    /// Adds an entry to the index of the segment at `base`, unless it is there already.
    pub(crate) fn append(&mut self, dir: &Path, base: Offset, entry: AbortedEntry) -> Result<(), LogError> {
        let index = self.files_mut().entry(base).or_default();
        if index.last.is_some_and(|last| last.last >= entry.last) {
            return Ok(());
        }
        let path = path(dir, base);
        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
        entry.encode(&mut bytes);
        let write = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            file.write_all_at(&bytes, (index.entries * ENTRY_BYTES) as u64)
        };
        write().map_err(LogError::io("write", &path))?;
        *index = TxnIndex { entries: index.entries + 1, last: Some(entry), dirty: true };
        Ok(())
    }

    /// The aborted transactions that concern a reader of `from` to `upper`, whose segment begins at `base`.
    pub(crate) fn collect(
        &self,
        folder: &RwLock<PathBuf>,
        base: Offset,
        from: Offset,
        upper: Offset,
    ) -> Result<Vec<AbortedTransaction>, LogError> {
        let found = self.entries(folder, base, from, upper)?;
        let told =
            |entry: &AbortedEntry| AbortedTransaction { producer_id: entry.producer_id, first_offset: entry.first };
        Ok(found.iter().map(told).collect())
    }

    /// The entries behind [`TxnIndexes::collect`]. The folder stays where it is only until a file is open.
    pub(crate) fn entries(
        &self,
        folder: &RwLock<PathBuf>,
        base: Offset,
        from: Offset,
        upper: Offset,
    ) -> Result<Vec<AbortedEntry>, LogError> {
        let mut found = Vec::new();
        for (base, index) in self.files.range(base..) {
            if index.last.is_some_and(|last| last.last < from) {
                continue;
            }
            let (path, file) = open(&folder.read(), *base)?;
            if collect_from(&path, &file, index.entries, from, upper, &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    /// Forgets what lies at or behind a new end of the log. Files go from the last one on. Returns the base of an index that
    /// does not fit any more and has to be made again.
    pub(crate) fn truncate(&mut self, dir: &Path, end: Offset) -> Result<Option<Offset>, LogError> {
        for base in self.files.keys().copied().filter(|base| *base >= end).collect::<Vec<_>>().into_iter().rev() {
            self.forget(base);
            files::remove(&path(dir, base))?;
        }
        self.losses += 1;
        let Some((base, index)) = self.files_mut().iter_mut().next_back() else { return Ok(None) };
        let (base, path) = (*base, path(dir, *base));
        let Ok(entries) = load(&path, base)? else {
            self.forget(base);
            return files::remove(&path).map(|()| Some(base));
        };
        let kept = entries.partition_point(|entry| entry.last < end);
        if kept == 0 {
            self.forget(base);
            return files::remove(&path).map(|()| None);
        }
        let cut = OpenOptions::new().write(true).open(&path);
        let cut = cut.and_then(|file| file.set_len((kept * ENTRY_BYTES) as u64));
        cut.map_err(LogError::io("truncate", &path))?;
        *index = TxnIndex { entries: kept, last: Some(entries[kept - 1]), dirty: true };
        Ok(None)
    }

    /// The index of a segment is no part of the log any more; false if there was none.
    pub(crate) fn forget(&mut self, base: Offset) -> bool {
        let is_known = self.files.contains_key(&base);
        if is_known {
            self.files_mut().remove(&base);
            self.losses += 1;
        }
        is_known
    }

    /// Renames the index of a segment that goes; returns the file to remove.
    pub(crate) fn mark_deleted(&mut self, dir: &Path, base: Offset) -> Result<Option<PathBuf>, LogError> {
        if !self.forget(base) {
            return Ok(None);
        }
        let path = path(dir, base);
        let deleted = files::offset_file(dir, base, &format!("{TXN_INDEX}{DELETED}"));
        match std::fs::rename(&path, &deleted) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LogError::io("rename", &path)(error)),
            _ => Ok(Some(deleted)),
        }
    }

    /// A compacted segment has these entries, and its file is in place.
    pub(crate) fn replaced(&mut self, base: Offset, entries: &[AbortedEntry]) {
        match entries.last() {
            Some(last) => {
                let index = TxnIndex { entries: entries.len(), last: Some(*last), dirty: false };
                self.files_mut().insert(base, index);
                self.losses += 1;
            }
            None => _ = self.forget(base),
        }
    }

    /// Who wanted to flush files did not flush all of them.
    pub(crate) fn doubt(&mut self) {
        self.files_mut().values_mut().for_each(|index| index.dirty = true);
    }

    /// The files that have to be flushed; who asks does.
    pub(crate) fn take_dirty(&mut self, dir: &Path) -> Result<Vec<(PathBuf, File)>, LogError> {
        let dirty = self.files_mut().iter_mut().filter(|(_, index)| index.dirty && index.last.is_some());
        dirty
            .map(|(base, index)| {
                index.dirty = false;
                open(dir, *base)
            })
            .collect()
    }
}

/// Makes the file of a compacted segment; the caller flushes it.
pub(crate) fn write_new(path: &Path, entries: &[AbortedEntry]) -> Result<File, LogError> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    entries.iter().for_each(|entry| entry.encode(&mut bytes));
    let written = File::create(path).and_then(|file| file.write_all_at(&bytes, 0).map(|()| file));
    written.map_err(LogError::io("write", path))
}

fn open(dir: &Path, base: Offset) -> Result<(PathBuf, File), LogError> {
    let path = path(dir, base);
    let file = File::open(&path).map_err(LogError::io("open", &path))?;
    Ok((path, file))
}

pub(crate) fn path(dir: &Path, base: Offset) -> PathBuf {
    files::offset_file(dir, base, TXN_INDEX)
}

/// Reads a whole file. The inner error says why it does not fit its segment.
fn load(path: &Path, base: Offset) -> Result<Result<Vec<AbortedEntry>, String>, LogError> {
    let Some(bytes) = files::read_if_exists(path)? else { return Ok(Err("file is gone".to_owned())) };
    Ok(decode(&bytes, base))
}

/// The entries of an index of the segment at `base`, or why it is none.
pub(crate) fn decode(bytes: &[u8], base: Offset) -> Result<Vec<AbortedEntry>, String> {
    if !bytes.len().is_multiple_of(ENTRY_BYTES) {
        return Err(format!("{} bytes are no whole number of entries", bytes.len()));
    }
    let mut entries: Vec<AbortedEntry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for (i, bytes) in bytes.chunks_exact(ENTRY_BYTES).enumerate() {
        match AbortedEntry::decode(bytes).filter(|entry| entry.fits(base, entries.last())) {
            Some(entry) => entries.push(entry),
            None => return Err(format!("entry {i} makes no sense")),
        }
    }
    match (entries.is_empty(), unstable(&entries)) {
        (true, _) => Err("file is empty".to_owned()),
        (_, Some(entry)) => Err(format!("entry of the marker at {} says too much is stable", entry.last)),
        _ => Ok(entries),
    }
}

/// The first entry that calls an offset stable at which a transaction was open: one that a later marker aborted. A reader
/// who believes it is not told of that one.
fn unstable(entries: &[AbortedEntry]) -> Option<&AbortedEntry> {
    let mut open_since = Offset(i64::MAX);
    let mut found = None;
    for entry in entries.iter().rev() {
        if entry.last_stable > entry.last.next() || (open_since < entry.last && entry.last_stable > open_since) {
            found = Some(entry);
        }
        open_since = open_since.min(entry.first);
    }
    found
}

/// Adds the entries that overlap with a range; true if no later file can have one.
fn collect_from(
    path: &Path,
    file: &File,
    count: usize,
    from: Offset,
    upper: Offset,
    found: &mut Vec<AbortedEntry>,
) -> Result<bool, LogError> {
    let at = |i: usize| -> Result<AbortedEntry, LogError> {
        let mut bytes = [0; ENTRY_BYTES];
        file.read_exact_at(&mut bytes, (i * ENTRY_BYTES) as u64).map_err(LogError::io("read", path))?;
        AbortedEntry::decode(&bytes).ok_or_else(|| LogError::damaged(path, format!("entry {i} has another version")))
    };
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match at(middle)?.last < from {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    for i in low..count {
        let entry = at(i)?;
        if entry.first < upper {
            found.push(entry);
        }
        if entry.last_stable >= upper {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
