//! Snapshot files: the whole state at one index, so that the log before it can go.
//!
//! The header names index, term and members; the state follows with its length and checksum, unless this is the first snapshot of a
//! quorum, which only says who its members are. The file is complete or absent, because
//! it gets its name only after its fsync. A snapshot that fails its checksum is refused: the log before it is gone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use raft::eraftpb::Snapshot;
use twinstream_model::NodeId;
use uuid::Uuid;

use super::{
    StorageError, files,
    frame::number32,
    header::{self, Numbers, SNAPSHOT_FILE},
};
use crate::{
    membership::{Membership, SnapshotBody},
    node_id, raft_id,
};

const PREFIX: &str = "snapshot-";

/// A snapshot on disk; its state is read when a peer needs it.
#[derive(Clone, Debug)]
pub(super) struct SnapshotFile {
    path: PathBuf,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) members: Membership,
    has_state: bool,
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
        body: SnapshotBody,
    ) -> Result<Self, StorageError> {
        let SnapshotBody { members, state } = body;
        let path = folder.join(format!("{PREFIX}{index:020}"));
        let mut numbers = vec![index, term, u64::from(state.is_some())];
        for map in [&members.voters, &members.learners] {
            numbers.push(map.len() as u64 * 3);
            numbers.extend(map.iter().flat_map(|(node, directory)| {
                let (high, low) = directory.as_u64_pair();
                [raft_id(*node), high, low]
            }));
        }
        let (has_state, data) = (state.is_some(), state.as_deref().unwrap_or_default());
        let head = header::encode(&SNAPSHOT_FILE, &numbers);
        let length = (data.len() as u32).to_be_bytes();
        let crc = crc32c::crc32c(data).to_be_bytes();
        files::write_whole(&path, &[&head, &length, &crc, data])?;
        if let Some(previous) = previous.filter(|previous| previous.path != path) {
            files::remove(&previous.path)?;
        }
        Ok(Self { path, index, term, members, has_state })
    }

    /// The state, read from disk; `None` for the first snapshot of a quorum.
    pub(super) fn state(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let (_, data) = read(&self.path)?;
        Ok(self.has_state.then_some(data))
    }

    /// The snapshot in Raft's form, with these members.
    pub(super) fn to_raft(&self, members: Membership) -> Result<Snapshot, StorageError> {
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index;
        metadata.term = self.term;
        metadata.set_conf_state(members.conf_state());
        snapshot.data = SnapshotBody { members, state: self.state()? }.encode().into();
        Ok(snapshot)
    }
}

fn read(path: &Path) -> Result<(SnapshotFile, Vec<u8>), StorageError> {
    let bytes = fs::read(path).map_err(files::io("read", path))?;
    let (numbers, at) = header::decode(&SNAPSHOT_FILE, path, &bytes)?;
    let damaged = |what| StorageError::Damaged { path: path.to_owned(), at: at as u64, what };
    let snapshot = read_facts(path, numbers).ok_or_else(|| damaged("the file header lacks a fact"))?;
    let length = number32(&bytes, at).ok_or_else(|| damaged("the state is cut short"))? as usize;
    let crc = number32(&bytes, at + 4).ok_or_else(|| damaged("the state is cut short"))?;
    let data = &bytes[at + 8..];
    if data.len() != length || crc32c::crc32c(data) != crc {
        return Err(damaged("the state fails its checksum"));
    }
    Ok((snapshot, data.to_vec()))
}

fn read_facts(path: &Path, numbers: Vec<u64>) -> Option<SnapshotFile> {
    let mut numbers = Numbers::new(numbers);
    let (index, term, has_state) = (numbers.index()?, numbers.one()?, numbers.one()? == 1);
    let members = Membership { voters: read_map(&numbers.list()?)?, learners: read_map(&numbers.list()?)? };
    numbers.end()?;
    Some(SnapshotFile { path: path.to_owned(), index, term, members, has_state })
}

fn read_map(numbers: &[u64]) -> Option<BTreeMap<NodeId, Uuid>> {
    let (members, rest) = numbers.as_chunks::<3>();
    if !rest.is_empty() {
        return None;
    }
    members.iter().map(|[id, high, low]| Some((node_id(*id)?, Uuid::from_u64_pair(*high, *low)))).collect()
}
