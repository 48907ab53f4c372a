//! The sparse indexes of a segment, in Kafka's file formats.
//!
//! `.index` maps offsets to file positions (8 bytes an entry), `.timeindex` maps timestamps to offsets (12
//! bytes). Both are hints: an entry says "from here on, scan", so a missing tail only costs time and a
//! damaged file is rebuilt from the log. Recent entries wait in memory and are written in groups, because
//! one system call for every 4 KiB of log would cost more than the entry is worth.
//!
//! Invariants: keys ascend strictly; entries on disk come before those in memory.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::LogError;
use crate::open_files::Handle;
use crate::page_cache::Patience;

/// Entries that wait in memory before they are written.
const PENDING_MAX: usize = 256;
/// A search on disk that is down to this many entries reads them at once.
const BLOCK_ENTRIES: usize = 256;
/// Entries that are taken out at once.
const BETWEEN_MAX: usize = 64 * 1024;

pub(crate) trait Entry: Copy + std::fmt::Debug {
    const BYTES: usize;
    fn encode(self, out: &mut Vec<u8>);
    /// Reads an entry from exactly [`Entry::BYTES`] bytes.
    fn decode(bytes: &[u8]) -> Self;
    /// What ascends from entry to entry.
    fn key(self) -> i64;
}

/// "The batch whose last offset is `base + relative` begins at `position`."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) relative: u32,
    pub(crate) position: u32,
}

/// "Up to offset `base + relative` no timestamp is above this one."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: i64,
    pub(crate) relative: u32,
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> OffsetEntry {
        OffsetEntry { relative: u32_at(bytes, 0), position: u32_at(bytes, 4) }
    }

    fn key(self) -> i64 {
        i64::from(self.relative)
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> TimeEntry {
        let timestamp = (i64::from(u32_at(bytes, 0)) << 32) | i64::from(u32_at(bytes, 4));
        TimeEntry { timestamp, relative: u32_at(bytes, 8) }
    }

    fn key(self) -> i64 {
        self.timestamp
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[derive(Debug)]
pub(crate) struct Index<E> {
    handle: Arc<Handle>,
    /// Entries in the file.
    stored: usize,
    /// Entries that follow those of the file.
    pending: Vec<E>,
    last: Option<E>,
}

impl<E: Entry> Index<E> {
    /// Stands for a file that [`Index::read`] looks at.
    pub(crate) fn unread(handle: &Arc<Handle>) -> Index<E> {
        Index::of(handle, 0)
    }

    /// Looks at the file. One that is missing, or whose end makes no sense, is [`LogError::Damaged`].
    pub(crate) fn read(&mut self) -> Result<(), LogError> {
        let damaged = |what: String| Err(LogError::damaged(&self.handle.path(), what));
        let file = match self.handle.get() {
            Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return damaged("file is missing".to_owned());
            }
            file => file?,
        };
        let len = file.metadata().map_err(LogError::io("inspect", &self.handle.path()))?.len() as usize;
        if !len.is_multiple_of(E::BYTES) {
            return damaged(format!("{len} bytes are no whole number of entries"));
        }
        self.stored = len / E::BYTES;
        self.pending.clear();
        let end = self.read_block(Patience::Waits, self.stored.saturating_sub(2), self.stored)?;
        let mut end = end.chunks_exact(E::BYTES).map(E::decode);
        self.last = end.next();
        if let Some(last) = end.next() {
            let before = self.last.replace(last);
            if before.is_some_and(|before| last.key() <= before.key()) {
                return damaged(format!("its last key, {}, does not ascend", last.key()));
            }
        }
        Ok(())
    }

    /// Makes the file anew, without entries.
    pub(crate) fn create(handle: &Arc<Handle>) -> Result<Index<E>, LogError> {
        handle.create()?;
        Ok(Index::of(handle, 0))
    }

    fn of(handle: &Arc<Handle>, stored: usize) -> Index<E> {
        Index { handle: Arc::clone(handle), stored, pending: Vec::new(), last: None }
    }

    fn last_stored(&self) -> Result<Option<E>, LogError> {
        match self.stored {
            0 => Ok(None),
            stored => self.read_stored(Patience::Waits, stored - 1).map(Some),
        }
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(crate) fn last(&self) -> Option<E> {
        self.last
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.stored + self.pending.len()) * E::BYTES
    }

    /// Adds an entry, unless its key does not ascend.
    pub(crate) fn push(&mut self, entry: E) -> Result<(), LogError> {
        if self.last.is_some_and(|last| entry.key() <= last.key()) {
            return Ok(());
        }
        self.pending.push(entry);
        self.last = Some(entry);
        if self.pending.len() >= PENDING_MAX {
            self.write_out()?;
        }
        Ok(())
    }

    /// Hands waiting entries to the file.
    pub(crate) fn write_out(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * E::BYTES);
        self.pending.iter().for_each(|entry| entry.encode(&mut bytes));
        let position = (self.stored * E::BYTES) as u64;
        let file = self.handle.get_for_writing()?;
        file.write_all_at(&bytes, position).map_err(LogError::io("write", &self.handle.path()))?;
        self.stored += self.pending.len();
        self.pending.clear();
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.handle.sync()
    }

    /// Empties the index, to be built anew.
    pub(crate) fn clear(&mut self) -> Result<(), LogError> {
        self.handle.get_or_create()?;
        self.set_len(0)?;
        self.pending.clear();
        self.stored = 0;
        self.last = None;
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), LogError> {
        let file = self.handle.get_for_writing()?;
        file.set_len(len).map_err(LogError::io("truncate", &self.handle.path()))
    }

    /// Forgets the entries from the first one on for which `holds` is false.
    pub(crate) fn keep(&mut self, holds: impl Fn(E) -> bool) -> Result<(), LogError> {
        let pending = self.pending.partition_point(|entry| holds(*entry));
        self.pending.truncate(pending);
        if pending == 0 {
            let stored = self.partition_point(Patience::Waits, holds)?;
            if stored < self.stored {
                self.set_len((stored * E::BYTES) as u64)?;
                self.stored = stored;
            }
        }
        self.last = match self.pending.last() {
            Some(last) => Some(*last),
            None => self.last_stored()?,
        };
        Ok(())
    }

    /// The last entry with a key of at most `key`.
    pub(crate) fn floor(&self, patience: Patience, key: i64) -> Result<Option<E>, LogError> {
        if self.last.is_some_and(|last| last.key() <= key) {
            return Ok(self.last); // readers are mostly near the end
        }
        self.last_where_with(patience, |entry| entry.key() <= key)
    }

    /// The last entry for which `holds` is true; it must be true for all entries before that one.
    pub(crate) fn last_where(&self, holds: impl Fn(E) -> bool) -> Result<Option<E>, LogError> {
        self.last_where_with(Patience::Waits, holds)
    }

    fn last_where_with(&self, patience: Patience, holds: impl Fn(E) -> bool) -> Result<Option<E>, LogError> {
        match self.pending.partition_point(|entry| holds(*entry)) {
            0 => match self.partition_point(patience, holds)? {
                0 => Ok(None),
                found => self.read_stored(patience, found - 1).map(Some),
            },
            found => Ok(Some(self.pending[found - 1])),
        }
    }

    /// The entries between those for which `before` is true and those for which `until` is not. Both must be true for a
    /// first part of the entries only. Takes no more than [`BETWEEN_MAX`].
    pub(crate) fn between(&self, before: impl Fn(E) -> bool, until: impl Fn(E) -> bool) -> Result<Vec<E>, LogError> {
        let from = self.partition_point(Patience::Waits, &before)?;
        let to = self.partition_point(Patience::Waits, &until)?.min(from.saturating_add(BETWEEN_MAX));
        let stored = if from < to { self.read_block(Patience::Waits, from, to)? } else { Vec::new() };
        let pending = self.pending.iter().copied().filter(|entry| !before(*entry) && until(*entry));
        Ok(stored.chunks_exact(E::BYTES).map(E::decode).chain(pending).collect())
    }

    /// Number of stored entries, from the first on, for which `holds` is true.
    fn partition_point(&self, patience: Patience, holds: impl Fn(E) -> bool) -> Result<usize, LogError> {
        let (mut low, mut high) = (0, self.stored);
        while high - low > BLOCK_ENTRIES {
            let middle = low + (high - low) / 2;
            match holds(self.read_stored(patience, middle)?) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let block = self.read_block(patience, low, high)?;
        Ok(low + block.chunks_exact(E::BYTES).take_while(|bytes| holds(E::decode(bytes))).count())
    }

    fn read_stored(&self, patience: Patience, at: usize) -> Result<E, LogError> {
        self.read_block(patience, at, at + 1).map(|bytes| E::decode(&bytes))
    }

    fn read_block(&self, patience: Patience, from: usize, to: usize) -> Result<Vec<u8>, LogError> {
        let failed = |error| LogError::io("read", &self.handle.path())(error);
        let mut bytes = vec![0; (to - from) * E::BYTES];
        let wanted = bytes.len();
        let file = patience.open(&self.handle)?;
        match patience.read_at(&file, &mut bytes, (from * E::BYTES) as u64, wanted).map_err(failed)? {
            read if read == wanted => Ok(bytes),
            _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Checks that keys ascend, for files that a crash or a stranger may have left.
    pub(crate) fn check_order(&self) -> Result<(), LogError> {
        let mut last = i64::MIN;
        let mut from = 0;
        while from < self.stored {
            let to = self.stored.min(from + 4096);
            for bytes in self.read_block(Patience::Waits, from, to)?.chunks_exact(E::BYTES) {
                let key = E::decode(bytes).key();
                if key <= last {
                    return Err(LogError::damaged(&self.handle.path(), format!("key {key} follows {last}")));
                }
                last = key;
            }
            from = to;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
