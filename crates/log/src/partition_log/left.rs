//! The mark of a log that its replica leaves for a copy in another directory, `left.metadata` in its folder.
//!
//! Picture: between the moment at which the copy gets the partition's name and the removal of the folder that was left
//! there are two folders of one partition, on two disks of which a start may see only one. Which of them is the partition
//! cannot be told from their records: a replica that went on in the copy may have been cut, or emptied. So the folder that
//! is left says before the change where the replica goes.
//!
//! Invariants: the mark is on the disk before the copy has its name, or there is none. It names the copy's folder, so that
//! whoever finds that folder under its old name knows that nothing came of the change.
//!
//! Not here: which folder is used at a start (broker).

use std::path::Path;

use twinstream_model::ClusterId;
use uuid::Uuid;

use super::PartitionLog;
use crate::{LogError, files};

const LEFT_FILE: &str = "left.metadata";
const LEFT_VERSION: u32 = 0;

/// Where the replica of a folder was about to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The id of the other directory (KIP-858).
    pub directory: Uuid,
    /// The copy's folder there, before it got the partition's name.
    pub copy: String,
}

impl PartitionLog {
    /// Marks this log as left for `copy` in the directory of that id, for good: waits for the disk. What another attempt
    /// wrote does not count any more.
    pub fn mark_left(&self, directory: Uuid, copy: &PartitionLog) -> Result<(), LogError> {
        let copy = copy.dir.read().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.check_usable()?;
        // Held, so that the mark does not come into a folder that somebody makes where this one was.
        let dir = self.dir.read();
        write_left(&dir, &Left { directory, copy })
    }

    /// Nothing came of it.
    pub fn unmark_left(&self) -> Result<(), LogError> {
        remove_left(&self.dir.read())
    }
}

/// What the folder of a partition says about where its replica went; `None` if that did not leave.
pub fn read_left(folder: &Path) -> Result<Option<Left>, LogError> {
    let path = folder.join(LEFT_FILE);
    let Some(bytes) = files::read_if_exists(&path)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match field("version:").map(str::parse::<u32>) {
        Some(Ok(LEFT_VERSION)) => {}
        Some(Ok(newer)) => {
            return Err(LogError::NewerVersion { path, found: newer.to_string(), known: LEFT_VERSION });
        }
        _ => return Err(LogError::damaged(&path, "version is missing")),
    }
    let directory = field("directory_id:").and_then(|id| ClusterId::from(id).to_uuid());
    let copy = field("copy:").map(str::to_owned);
    match directory.zip(copy) {
        Some((directory, copy)) => Ok(Some(Left { directory, copy })),
        None => Err(LogError::damaged(&path, "it does not say where the replica went")),
    }
}

/// Marks a folder that nobody has open, see [`PartitionLog::mark_left`].
pub fn write_left(folder: &Path, left: &Left) -> Result<(), LogError> {
    let directory = ClusterId::from_uuid(left.directory);
    let text = format!("version: {LEFT_VERSION}\ndirectory_id: {}\ncopy: {}\n", directory.as_str(), left.copy);
    files::replace(&folder.join(LEFT_FILE), text.as_bytes())
}

/// Removes the mark from a folder. One that a power loss brings back names a copy that never got the partition's name.
pub fn remove_left(folder: &Path) -> Result<(), LogError> {
    files::remove(&folder.join(LEFT_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_says_where_the_replica_went_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_left(dir.path()).unwrap(), None);
        let left = Left { directory: Uuid::new_v4(), copy: "t-0.0123-future".to_owned() };
        write_left(dir.path(), &left).unwrap();
        assert_eq!(read_left(dir.path()).unwrap(), Some(left));
        remove_left(dir.path()).unwrap();
        remove_left(dir.path()).unwrap();
        assert_eq!(read_left(dir.path()).unwrap(), None);
    }

    #[test]
    fn mark_that_cannot_be_read_is_an_error_and_not_none() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "version: 0\n", "version: 0\ndirectory_id: x\ncopy: y\n", "version: 7\n"] {
            std::fs::write(dir.path().join(LEFT_FILE), text).unwrap();
            assert!(read_left(dir.path()).is_err(), "{text:?}");
        }
    }
}
