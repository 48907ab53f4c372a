//! Snapshot files: the whole state at one index, so that the log before it can go.
//!
//! The header names index, term and members; the state follows with its length and checksum. The file is complete or absent, because
//! it gets its name only after its fsync. A snapshot that fails its checksum is refused: the log before it is gone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use raft::eraftpb::{ConfState, Snapshot};

use super::{
    StorageError, files,
    frame::number32,
    header::{self, Numbers, SNAPSHOT_FILE},
};

const PREFIX: &str = "snapshot-";

/// A snapshot on disk; its state is read when a peer needs it.
#[derive(Clone, Debug)]
pub(super) struct SnapshotFile {
    path: PathBuf,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) members: ConfState,
}

impl SnapshotFile {
    /// The newest snapshot in the folder, checked; older ones are removed.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>, StorageError> {
        let mut found = files::numbered(folder, PREFIX)?;
        let Some((_, path)) = found.pop() else { return Ok(None) };
        let (snapshot, _) = read(&path)?;
        for (_, old) in found {
            files::remove(&old)?;
        }
        Ok(Some(snapshot))
    }

    /// Stores a state and removes the snapshot before it.
    pub(super) fn save(
        folder: &Path,
        previous: Option<&Self>,
        (index, term): (u64, u64),
        members: ConfState,
        data: &[u8],
    ) -> Result<Self, StorageError> {
        let path = folder.join(format!("{PREFIX}{index:020}"));
        let mut numbers = vec![index, term];
        for list in [&members.voters, &members.learners] {
            numbers.push(list.len() as u64);
            numbers.extend_from_slice(list);
        }
        let head = header::encode(&SNAPSHOT_FILE, &numbers);
        let length = (data.len() as u32).to_be_bytes();
        let crc = crc32c::crc32c(data).to_be_bytes();
        files::write_whole(&path, &[&head, &length, &crc, data])?;
        if let Some(previous) = previous.filter(|previous| previous.path != path) {
            files::remove(&previous.path)?;
        }
        Ok(Self { path, index, term, members })
    }

    /// The state, read from disk.
    pub(super) fn data(&self) -> Result<Vec<u8>, StorageError> {
        read(&self.path).map(|(_, data)| data)
    }

    /// The snapshot in Raft's form.
    pub(super) fn to_raft(&self) -> Result<Snapshot, StorageError> {
        let mut snapshot = Snapshot { data: self.data()?.into(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index;
        metadata.term = self.term;
        metadata.set_conf_state(self.members.clone());
        Ok(snapshot)
    }
}

fn read(path: &Path) -> Result<(SnapshotFile, Vec<u8>), StorageError> {
    let bytes = fs::read(path).map_err(files::io("read", path))?;
    let (numbers, at) = header::decode(&SNAPSHOT_FILE, path, &bytes)?;
    let damaged = |what| StorageError::Damaged { path: path.to_owned(), at: at as u64, what };
    let (index, term, members) = read_facts(numbers).ok_or_else(|| damaged("the file header lacks a fact"))?;
    let length = number32(&bytes, at).ok_or_else(|| damaged("the state is cut short"))? as usize;
    let crc = number32(&bytes, at + 4).ok_or_else(|| damaged("the state is cut short"))?;
    let data = &bytes[at + 8..];
    if data.len() != length || crc32c::crc32c(data) != crc {
        return Err(damaged("the state fails its checksum"));
    }
    Ok((SnapshotFile { path: path.to_owned(), index, term, members }, data.to_vec()))
}

fn read_facts(numbers: Vec<u64>) -> Option<(u64, u64, ConfState)> {
    let mut numbers = Numbers::new(numbers);
    let (index, term) = (numbers.one()?, numbers.one()?);
    let (voters, learners) = (numbers.list()?, numbers.list()?);
    numbers.end()?;
    Some((index, term, ConfState::from((voters, learners))))
}
