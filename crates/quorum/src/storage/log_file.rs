//! The one live file of the quorum log.
//!
//! Picture: an append-only file of frames. An entry whose index is not past the end replaces everything from that index on, so a
//! conflict with a new leader needs no rewriting. Compaction writes a new file (the next *generation*) with what is kept and removes
//! the old one, so there is exactly one log file at any time, apart from the moment between those two steps.
//!
//! Reading cuts a torn tail: a bad last frame with no whole frame behind it, because nobody was told of it before its fsync. A bad
//! frame with good ones behind it is damage, and damage is refused.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use raft::eraftpb::{Entry, HardState};
use uuid::Uuid;

use super::{
    StorageError, files, frame,
    frame::Frame,
    header::{self, LOG_FILE, Numbers},
};

const PREFIX: &str = "log-";
/// The log is compacted long before; a larger file is not ours.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// What the header of a log file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// Whose log this is, as raft id.
    pub(super) owner: u64,
    /// The random id of the folder. It is in the log itself, so that a node cannot lose the one and keep the other.
    pub(super) directory: Uuid,
    /// The entry before the first in the file.
    pub(super) index: u64,
    pub(super) term: u64,
}

/// An open log file with its content.
pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    generation: u64,
    pub(super) base: Base,
    pub(super) entries: VecDeque<Entry>,
    pub(super) hard_state: HardState,
}

impl LogFile {
    /// The newest generation in the folder, if there is any; older ones are removed.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>, StorageError> {
        let mut generations = files::numbered(folder, PREFIX)?;
        let Some((generation, path)) = generations.pop() else { return Ok(None) };
        let log = Self::read(generation, path)?;
        for (_, old) in generations {
            files::remove(&old)?;
        }
        Ok(Some(log))
    }

    /// A new generation that holds exactly this.
    pub(super) fn create(
        folder: &Path,
        generation: u64,
        base: Base,
        entries: VecDeque<Entry>,
        hard_state: HardState,
    ) -> Result<Self, StorageError> {
        let path = folder.join(format!("{PREFIX}{generation:020}"));
        let (high, low) = base.directory.as_u64_pair();
        let numbers = [base.owner, high, low, base.index, base.term];
        let head = header::encode(&LOG_FILE, &numbers);
        let mut frames = Vec::new();
        frame::encode_hard_state(&hard_state, &mut frames);
        for entry in &entries {
            frame::encode_entry(entry, &mut frames);
        }
        files::write_whole(&path, &[&head, &frames])?;
        let file = open_to_append(&path)?;
        Ok(Self { file, path, generation, base, entries, hard_state })
    }

    /// The next generation in place of this one.
    pub(super) fn succeed(&mut self, base: Base, entries: VecDeque<Entry>) -> Result<(), StorageError> {
        let folder = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        let next = Self::create(&folder, self.generation + 1, base, entries, self.hard_state.clone())?;
        files::remove(&self.path)?;
        *self = next;
        Ok(())
    }

    pub(super) fn last_index(&self) -> u64 {
        self.base.index + self.entries.len() as u64
    }

    pub(super) fn term(&self, index: u64) -> Option<u64> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let position = index.checked_sub(self.base.index + 1)?;
        self.entries.get(position as usize).map(|entry| entry.term)
    }

    /// Writes entries and hard state; on disk for sure only after [`Self::flush`].
    pub(super) fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), StorageError> {
        let mut bytes = Vec::new();
        for entry in entries {
            frame::encode_entry(entry, &mut bytes);
        }
        if let Some(state) = hard_state {
            frame::encode_hard_state(state, &mut bytes);
        }
        self.file.write_all(&bytes).map_err(files::io("append to", &self.path))?;
        for entry in entries {
            self.take_in(entry.clone(), 0)?;
        }
        if let Some(state) = hard_state {
            self.hard_state = state.clone();
        }
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(files::io("flush", &self.path))
    }

    fn read(generation: u64, path: PathBuf) -> Result<Self, StorageError> {
        let mut file = File::open(&path).map_err(files::io("open", &path))?;
        let length = file.metadata().map_err(files::io("read", &path))?.len();
        if length > FILE_BYTES_MAX {
            return Err(StorageError::Damaged { path, at: 0, what: "the file is larger than any log can be" });
        }
        let mut bytes = Vec::with_capacity(length as usize);
        file.read_to_end(&mut bytes).map_err(files::io("read", &path))?;
        let (numbers, start) = header::decode(&LOG_FILE, &path, &bytes)?;
        let base = read_base(numbers).ok_or_else(|| StorageError::Damaged {
            path: path.clone(),
            at: 0,
            what: "the file header lacks a fact",
        })?;
        let file = open_to_append(&path)?;
        let mut log = Self { file, path, generation, base, entries: VecDeque::new(), hard_state: HardState::default() };
        let end = log.read_frames(&bytes, start)?;
        if end < bytes.len() {
            log.cut(end, bytes.len())?;
        }
        Ok(log)
    }

    /// Takes in all whole frames; returns where the last one ends.
    fn read_frames(&mut self, bytes: &[u8], start: usize) -> Result<usize, StorageError> {
        let mut at = start;
        while at < bytes.len() {
            let Some((frame, size)) = frame::decode(&bytes[at..]) else {
                if frame::any_whole(&bytes[at + 1..]) {
                    return Err(self.damaged(at, "a frame is broken and whole frames follow it"));
                }
                break;
            };
            match frame {
                Frame::Entry(entry) => self.take_in(entry, at)?,
                Frame::HardState(state) => self.hard_state = state,
            }
            at += size;
        }
        if self.hard_state.commit > self.last_index() {
            return Err(self.damaged(at, "entries are missing that were committed"));
        }
        Ok(at)
    }

    fn take_in(&mut self, entry: Entry, at: usize) -> Result<(), StorageError> {
        let index = entry.index;
        if index <= self.base.index || index > self.last_index() + 1 {
            return Err(self.damaged(at, "an entry does not follow the one before it"));
        }
        self.entries.truncate((index - self.base.index - 1) as usize);
        self.entries.push_back(entry);
        Ok(())
    }

    fn cut(&mut self, end: usize, length: usize) -> Result<(), StorageError> {
        tracing::warn!(path = %self.path.display(), kept_bytes = end, cut_bytes = length - end, "torn tail cut off");
        self.file.set_len(end as u64).map_err(files::io("cut", &self.path))?;
        self.file.sync_all().map_err(files::io("flush", &self.path))
    }

    fn damaged(&self, at: usize, what: &'static str) -> StorageError {
        StorageError::Damaged { path: self.path.clone(), at: at as u64, what }
    }
}

fn read_base(numbers: Vec<u64>) -> Option<Base> {
    let mut numbers = Numbers::new(numbers);
    let owner = numbers.one()?;
    let directory = Uuid::from_u64_pair(numbers.one()?, numbers.one()?);
    let (index, term) = (numbers.index()?, numbers.one()?);
    numbers.end()?;
    Some(Base { owner, directory, index, term })
}

fn open_to_append(path: &Path) -> Result<File, StorageError> {
    OpenOptions::new().append(true).open(path).map_err(files::io("open", path))
}
