//! The quorum's files: one log file, at most one snapshot, one lock.
//!
//! Picture: `log-<generation>` holds the id of the folder, the hard state and the entries after its base, `snapshot-<index>` the
//! members and the state at `index`; the base is never past the snapshot. A folder without a snapshot belongs to no quorum yet. All
//! retained entries are also in memory, which compaction keeps small.
//!
//! Invariants: entries and votes are fsynced before [`DiskStorage::persist`] returns when Raft asks for it; a file appears under its
//! name only when complete; what cannot be trusted is refused with its path, never skipped.
//! Not here: when to compact (`driver`), what a snapshot holds (`metadata`).

mod files; // durable writing
mod frame; // one entry in the file
mod header; // first bytes of each file
mod log_file; // the live log
mod snapshot_file; // the state at one index

use std::{
    collections::VecDeque,
    fs::{self, File, TryLockError},
    path::PathBuf,
};

use raft::{
    GetEntriesContext, RaftState, Storage,
    eraftpb::{Entry, HardState, Snapshot},
};
use thiserror::Error;
use twinstream_model::{ClusterId, NodeId};
use uuid::Uuid;

use self::{
    log_file::{Base, LogFile},
    snapshot_file::SnapshotFile,
};
use crate::{
    membership::{BadMembership, Membership, SnapshotBody},
    node_id,
    options::QuorumOptions,
    raft_id,
};

/// Entries kept before a snapshot, so that a learner a little behind needs no snapshot.
const TRAILING_ENTRIES: u64 = 500;
const LOCK_FILE: &str = "lock";

/// Why the files cannot be used.
#[derive(Debug, Error)]
pub enum StorageError {
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{} is damaged at byte {at}: {what}; empty the folder and the node joins anew (a copy of it may only be put back if no other \
         voter is left, because it has forgotten its votes)",
        path.display()
    )]
    Damaged { path: PathBuf, at: u64, what: &'static str },
    #[error(
        "{} is a {kind} of version {found} and this release knows version {known}; start the release that wrote it, or empty the \
         folder to join anew",
        path.display()
    )]
    OtherVersion { path: PathBuf, kind: &'static str, found: u16, known: u16 },
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error("{} belongs to node {found}, this is node {expected}; check node.id and metadata.log.dir", path.display())]
    OtherNode { path: PathBuf, found: i64, expected: NodeId },
    #[error("a snapshot of the leader does not say who the members are: {0}")]
    BadSnapshot(String),
}

impl From<StorageError> for raft::Error {
    fn from(error: StorageError) -> Self {
        Self::Store(raft::StorageError::Other(Box::new(error)))
    }
}

impl From<BadMembership> for StorageError {
    fn from(error: BadMembership) -> Self {
        Self::BadSnapshot(error.to_string())
    }
}

/// Everything of the quorum that is on disk.
pub(crate) struct DiskStorage {
    folder: PathBuf,
    log: LogFile,
    snapshot: Option<SnapshotFile>,
    /// The members in force, which a snapshot that is sent to one of them is amended with.
    members: Membership,
    _lock: File,
}

impl DiskStorage {
    pub(crate) fn open(options: &QuorumOptions) -> Result<Self, StorageError> {
        let folder = options.directory.clone();
        fs::create_dir_all(&folder).map_err(files::io("create", &folder))?;
        let lock = lock(&folder)?;
        let snapshot = SnapshotFile::open(&folder)?;
        let log = match LogFile::open(&folder)? {
            Some(log) => log,
            None if snapshot.is_some() => {
                let what = "the log that belongs to this snapshot is missing";
                return Err(StorageError::Damaged { path: folder, at: 0, what });
            }
            None => {
                let (owner, directory) = (raft_id(options.node_id), Uuid::new_v4());
                tracing::info!(directory_id = %ClusterId::from_uuid(directory), path = %folder.display(), "new folder of the metadata quorum");
                let base = Base { owner, directory, index: 0, term: 0 };
                LogFile::create(&folder, 1, base, VecDeque::new(), HardState::default())?
            }
        };
        let members = snapshot.as_ref().map(|snapshot| snapshot.members.clone()).unwrap_or_default();
        let mut storage = Self { folder, log, snapshot, members, _lock: lock };
        storage.check_identity(options.node_id)?;
        storage.join_log_and_snapshot()?;
        Ok(storage)
    }

    fn check_identity(&self, node: NodeId) -> Result<(), StorageError> {
        let (path, base) = (self.folder.clone(), &self.log.base);
        if base.owner == raft_id(node) {
            return Ok(());
        }
        let found = node_id(base.owner).map_or(-1, |node| i64::from(node.0));
        Err(StorageError::OtherNode { path, found, expected: node })
    }

    /// A crash may have come between a received snapshot and the log that starts at it.
    fn join_log_and_snapshot(&mut self) -> Result<(), StorageError> {
        let Some(snapshot) = &self.snapshot else {
            if self.log.base.index == 0 {
                return Ok(());
            }
            let what = "the snapshot that the log starts at is missing";
            return Err(StorageError::Damaged { path: self.folder.clone(), at: 0, what });
        };
        let (index, term) = (snapshot.index, snapshot.term);
        if index < self.log.base.index {
            let what = "the snapshot is older than the start of the log";
            return Err(StorageError::Damaged { path: self.folder.clone(), at: 0, what });
        }
        if self.log.term(index) == Some(term) {
            self.log.hard_state.commit = self.log.hard_state.commit.max(index);
            return Ok(());
        }
        // A leader sends a snapshot to who is behind it, so what was committed here is part of it and stays.
        if index <= self.log.hard_state.commit {
            let what = "the snapshot and the log disagree about an entry that was committed";
            return Err(StorageError::Damaged { path: self.folder.clone(), at: 0, what });
        }
        self.restart_log_at(index, term)
    }

    fn restart_log_at(&mut self, index: u64, term: u64) -> Result<(), StorageError> {
        let state = &mut self.log.hard_state;
        state.commit = state.commit.max(index);
        state.term = state.term.max(term);
        let base = Base { index, term, ..self.log.base.clone() };
        self.log.succeed(base, VecDeque::new())
    }

    /// Everything up to here is in the snapshot and needs no replay.
    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    /// The state at the snapshot; there is none before the first one that the owner of the state has handed over.
    pub(crate) fn snapshot_state(&self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.snapshot.as_ref().map(SnapshotFile::state).transpose()?.flatten())
    }

    /// The members at the snapshot; the log may change them.
    pub(crate) fn members_at_start(&self) -> Membership {
        self.snapshot.as_ref().map(|snapshot| snapshot.members.clone()).unwrap_or_default()
    }

    /// The random id of the folder.
    pub(crate) fn directory(&self) -> Uuid {
        self.log.base.directory
    }

    /// Other members are in force now.
    pub(crate) fn set_members(&mut self, members: Membership) {
        self.members = members;
    }

    /// Writes what a Ready brought; with `sync` it is on disk when this returns.
    pub(crate) fn persist(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
        sync: bool,
    ) -> Result<(), StorageError> {
        if !entries.is_empty() || hard_state.is_some() {
            self.log.append(entries, hard_state)?;
        }
        if sync { self.log.flush() } else { Ok(()) }
    }

    /// The commit index moved. Not flushed: after a crash Raft finds it again.
    pub(crate) fn note_commit(&mut self, commit: u64) -> Result<(), StorageError> {
        let mut state = self.log.hard_state.clone();
        state.commit = commit;
        self.log.append(&[], Some(&state))
    }

    /// Takes in a snapshot of the leader, which replaces the log.
    pub(crate) fn install_snapshot(&mut self, snapshot: &Snapshot) -> Result<SnapshotBody, StorageError> {
        let body = SnapshotBody::decode(&snapshot.data)?;
        let at = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        let saved = SnapshotFile::save(&self.folder, self.snapshot.as_ref(), at, body.clone())?;
        self.snapshot = Some(saved);
        self.restart_log_at(at.0, at.1)?;
        Ok(body)
    }

    /// Stores our own state at `index` and drops the log before it, but for a short tail. Answers false when the log has no such
    /// entry any more, because a later snapshot came in between.
    pub(crate) fn compact(&mut self, index: u64, members: Membership, state: &[u8]) -> Result<bool, StorageError> {
        let Some(term) = self.log.term(index).filter(|_| index > self.snapshot_index()) else { return Ok(false) };
        let body = SnapshotBody { members, state: Some(state.to_vec()) };
        let saved = SnapshotFile::save(&self.folder, self.snapshot.as_ref(), (index, term), body)?;
        self.snapshot = Some(saved);
        let keep_from = index.saturating_sub(TRAILING_ENTRIES);
        let Some(base_term) = self.log.term(keep_from).filter(|_| keep_from > self.log.base.index) else {
            return Ok(true);
        };
        let kept = self.log.entries.iter().filter(|entry| entry.index > keep_from).cloned().collect();
        let base = Base { index: keep_from, term: base_term, ..self.log.base.clone() };
        self.log.succeed(base, kept)?;
        Ok(true)
    }
}

fn lock(folder: &std::path::Path) -> Result<File, StorageError> {
    let path = folder.join(LOCK_FILE);
    let file = File::create(&path).map_err(files::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(StorageError::Io { doing: "lock", path, source }),
    }
}

impl Storage for DiskStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.log.hard_state.clone(), conf_state: self.members_at_start().conf_state() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.log.base.index {
            return Err(raft::Error::Store(raft::StorageError::Compacted));
        }
        if high > self.log.last_index() + 1 {
            return Err(raft::Error::Store(raft::StorageError::Unavailable));
        }
        let first = self.log.base.index + 1;
        let range = (low - first) as usize..(high - first) as usize;
        let mut entries: Vec<Entry> = self.log.entries.range(range).cloned().collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.log.term(index) {
            Some(term) => Ok(term),
            None if index < self.log.base.index => Err(raft::Error::Store(raft::StorageError::Compacted)),
            None => Err(raft::Error::Store(raft::StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    /// The stored snapshot for one member. Raft's receiver refuses a snapshot that it is not a member of, so a member that joined
    /// after it is added as a learner, which is what the entry that follows in its log does anyway.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let unavailable = raft::Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable);
        let Some(snapshot) = self.snapshot.as_ref().filter(|snapshot| snapshot.index >= request_index) else {
            return Err(unavailable);
        };
        let mut members = snapshot.members.clone();
        let node = node_id(to).filter(|node| members.directory(*node).is_none());
        if let Some((node, directory)) = node.and_then(|node| Some((node, self.members.directory(node)?))) {
            members.learners.insert(node, directory);
        }
        Ok(snapshot.to_raft(members)?)
    }
}

#[cfg(test)]
mod tests;
