//! The decoders of this crate as functions of bytes, for the fuzz targets in `crates/fuzz`. No part of its face.

use std::path::Path;

use raft::Storage as _;
use twinstream_model::NodeId;

use crate::membership::{Change, SnapshotBody};
use crate::storage::DiskStorage;
use crate::{QuorumOptions, envelope};

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);

/// A message that a peer says it is from node 2 to node 1.
pub fn message(bytes: &[u8]) {
    if let Ok(incoming) = envelope::decode(ME, PEER, bytes) {
        assert_eq!(incoming.from, PEER);
        SnapshotBody::decode(&incoming.message.get_snapshot().data).ok();
    }
    if let Ok((change, _)) = Change::read(bytes) {
        assert!(change.node >= NodeId(0));
    }
    if let Ok(body) = SnapshotBody::decode(bytes) {
        assert_eq!(SnapshotBody::decode(&body.encode()).ok(), Some(body));
    }
}

/// Opens the folder of node 1's quorum, whose files may hold anything. What opens must open again and hold the same.
pub fn folder(folder: &Path) {
    let options = QuorumOptions::new(ME, folder);
    let Ok(first) = DiskStorage::open(&options).and_then(|storage| Ok((facts(&storage), storage.snapshot_state()?)))
    else {
        return;
    };
    let second = DiskStorage::open(&options).and_then(|storage| Ok((facts(&storage), storage.snapshot_state()?)));
    assert_eq!(second.ok().as_ref(), Some(&first), "a folder that was opened opens again");
}

fn facts(storage: &DiskStorage) -> [u64; 4] {
    let state = storage.initial_state().unwrap_or_default().hard_state;
    let first = storage.first_index().unwrap_or_default();
    let last = storage.last_index().unwrap_or_default();
    [first, last, state.commit, state.term]
}
