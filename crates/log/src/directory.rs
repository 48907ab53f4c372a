//! A log directory: the lock, the identity in `meta.properties`, the checkpoints, the partitions' folders.
//!
//! Picture: one process owns the directory as long as it holds the lock on `.lock`. The identity ties it to
//! one node of one cluster, so that mounting the wrong disk is noticed before anything is written. The
//! checkpoints are hints that make a start fast; a missing one costs a scan and never data.
//!
//! Invariants: nothing in the directory is touched before the lock is held.

mod disk; // what all logs of a directory share
mod meta; // meta.properties
mod running; // under which boot of the machine the logs were checked

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use thiserror::Error;
use twinstream_model::{ClusterId, NodeId, Offset, TopicName, TopicPartition};
use uuid::Uuid;

use crate::{LogError, checkpoint, files};

pub use disk::Disk;
pub(crate) use disk::Unflushed;
pub use meta::MetaProperties;

const LOCK: &str = ".lock";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Kafka's content of that file; the broker epoch is not known across restarts here.
const CLEAN_SHUTDOWN_CONTENT: &str = "{\"version\":0,\"brokerEpoch\":-1}";
/// Suffix of folders whose partition is gone.
pub const DELETE_SUFFIX: &str = "-delete";
/// Ends the name of a folder that was put aside because it seems to belong to another topic. Nothing removes it.
pub const STRAY_SUFFIX: &str = "-stray";

/// Ends the name of a folder that is becoming the copy of a partition of another directory:
/// `<topic>-<partition>.<unique>-future`, as Kafka has it (KIP-113).
pub const FUTURE_SUFFIX: &str = "-future";

/// The offset checkpoints of a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Up to where each log is known to be on the disk.
    RecoveryPoint,
    /// High watermarks.
    Replication,
    /// Log starts that were moved by DeleteRecords.
    LogStart,
    /// Up to where compacted logs are clean.
    Cleaner,
    /// How many aborted transactions the indexes of each log tell of. Not Kafka's, and no offset; written by a clean stop.
    Aborted,
}

impl Checkpoint {
    fn file(self) -> &'static str {
        match self {
            Checkpoint::RecoveryPoint => "recovery-point-offset-checkpoint",
            Checkpoint::Replication => "replication-offset-checkpoint",
            Checkpoint::LogStart => "log-start-offset-checkpoint",
            Checkpoint::Cleaner => "cleaner-offset-checkpoint",
            Checkpoint::Aborted => ".twinstream-aborted",
        }
    }
}

/// How the last owner of a directory ended, which says how much of its logs has to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastStop {
    /// It closed all logs: nothing has to be checked.
    Clean,
    /// Its process ended, and the machine did not: whatever was written is there, and only the last write of a log can
    /// be cut short.
    Killed,
    /// The machine may have gone down, and with it what was not flushed.
    Unknown,
}

#[derive(Debug, Error)]
pub enum DirectoryError {
    #[error("log directory {} is in use by another process, stop it or use another directory", .0.display())]
    Locked(PathBuf),
    #[error("log directory {} belongs to cluster {found}, this broker is of cluster {expected}; check log.dirs", path.display())]
    OtherCluster { path: PathBuf, found: ClusterId, expected: ClusterId },
    #[error("log directory {} belongs to node {found}, this broker is node {expected}; check node.id and log.dirs", path.display())]
    OtherNode { path: PathBuf, found: NodeId, expected: NodeId },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A log directory that this process owns.
#[derive(Debug)]
pub struct LogDirectory {
    path: PathBuf,
    node: NodeId,
    meta: Option<MetaProperties>,
    /// Written down with the rest of the identity; until then the next start makes another one.
    id: Uuid,
    lock: File,
}

impl LogDirectory {
    /// Takes the directory into possession, making it if need be.
    pub fn open(path: &Path, node: NodeId) -> Result<LogDirectory, DirectoryError> {
        fs::create_dir_all(path).map_err(LogError::io("create directory", path))?;
        let lock = lock(path)?;
        let meta = meta::read(path)?;
        match &meta {
            Some(meta) if meta.node != node => {
                Err(DirectoryError::OtherNode { path: path.to_owned(), found: meta.node, expected: node })
            }
            _ => {
                let id = directory_id(path, meta.as_ref())?;
                Ok(LogDirectory { path: path.to_owned(), node, meta, id, lock })
            }
        }
    }

    /// The random id of this directory. A directory that was wiped has another one (KIP-858).
    pub fn id(&self) -> Uuid {
        self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stored identity, `None` until [`LogDirectory::claim`] of a new directory.
    pub fn meta(&self) -> Option<&MetaProperties> {
        self.meta.as_ref()
    }

    /// Ties the directory to a cluster, or checks that it is tied to this one.
    pub fn claim(&mut self, cluster: &ClusterId) -> Result<&MetaProperties, DirectoryError> {
        let meta = match self.meta.take() {
            Some(meta) if meta.cluster != *cluster => {
                let found = meta.cluster.clone();
                self.meta = Some(meta);
                return Err(DirectoryError::OtherCluster { path: self.path.clone(), found, expected: cluster.clone() });
            }
            Some(meta) if !meta.directory.as_str().is_empty() => meta,
            _ => {
                let directory = ClusterId::from_uuid(self.id);
                let meta = MetaProperties { cluster: cluster.clone(), node: self.node, directory };
                meta::write(&self.path, &meta)?;
                meta
            }
        };
        Ok(self.meta.insert(meta))
    }

    /// The folder of a partition, whether it exists or not.
    pub fn partition_path(&self, at: &TopicPartition) -> PathBuf {
        self.path.join(at.to_string())
    }

    /// The partitions that have a folder here.
    pub fn partitions(&self) -> Result<Vec<TopicPartition>, LogError> {
        let mut found: Vec<TopicPartition> = self
            .folders()?
            .iter()
            .filter(|name| has_identity(&self.path.join(name)))
            .filter_map(|name| parse_folder(name))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Copies that were not finished: folder names with the partitions that they are of.
    pub fn futures(&self) -> Result<Vec<(String, TopicPartition)>, LogError> {
        let parsed = self.folders()?.into_iter().filter_map(|name| parse_future(&name).map(|at| (name, at)));
        let mut found: Vec<_> = parsed.collect();
        found.sort();
        Ok(found)
    }

    /// Removes what deletions of an earlier run left behind.
    pub fn remove_deleted(&self) -> Result<(), LogError> {
        for name in self.folders()?.iter().filter(|name| name.ends_with(DELETE_SUFFIX)) {
            remove_folder(&self.path.join(name))?;
        }
        Ok(())
    }

    /// Folders that were put aside, by path.
    pub fn strays(&self) -> Result<Vec<PathBuf>, LogError> {
        let names = self.folders()?.into_iter().filter(|name| name.ends_with(STRAY_SUFFIX));
        let mut strays: Vec<PathBuf> = names.map(|name| self.path.join(name)).collect();
        strays.sort();
        Ok(strays)
    }

    fn folders(&self) -> Result<Vec<String>, LogError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(LogError::io("list", &self.path))? {
            let entry = entry.map_err(LogError::io("list", &self.path))?;
            if let (true, Ok(name)) = (entry.path().is_dir(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    pub fn read_checkpoint(&self, kind: Checkpoint) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        checkpoint::read_offsets(&self.path.join(kind.file()))
    }

    pub fn write_checkpoint(
        &self,
        kind: Checkpoint,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), LogError> {
        let (path, text) = (self.path.join(kind.file()), checkpoint::format_offsets(offsets));
        match files::read_if_exists(&path)? {
            Some(present) if present == text.as_bytes() => Ok(()), // most of them are written for nothing
            _ => files::replace(&path, text.as_bytes()),
        }
    }

    /// How the last owner ended. To be asked once, before any log is opened: the mark of a clean stop is removed, because
    /// from now on logs are open.
    pub fn take_last_stop(&self) -> Result<LastStop, LogError> {
        let path = self.path.join(CLEAN_SHUTDOWN);
        let clean = path.exists();
        files::remove(&path)?;
        if clean {
            files::sync_dir(&self.path)?;
        }
        let last = match (clean, running::read(&self.path)?) {
            (true, _) => LastStop::Clean,
            (false, Some(mark)) if Some(&mark) == running::Mark::present(&self.path).as_ref() => LastStop::Killed,
            (false, _) => LastStop::Unknown,
        };
        match last {
            LastStop::Clean | LastStop::Killed => self.mark_checked()?,
            LastStop::Unknown => running::remove(&self.path)?,
        }
        Ok(last)
    }

    /// Notes that every log of the directory was opened and so checked in this boot of the machine. Only from then on
    /// a crash of the process is a [`LastStop::Killed`].
    pub fn mark_checked(&self) -> Result<(), LogError> {
        match running::Mark::present(&self.path) {
            Some(mark) if running::read(&self.path)?.as_ref() == Some(&mark) => Ok(()),
            Some(mark) => running::write(&self.path, &mark),
            None => Ok(()),
        }
    }

    /// Marks that all logs are closed and flushed.
    pub fn mark_clean_shutdown(&self) -> Result<(), LogError> {
        files::replace(&self.path.join(CLEAN_SHUTDOWN), CLEAN_SHUTDOWN_CONTENT.as_bytes())
    }

    /// Looks whether the directory can still be used, at the cost of two system calls: that the path leads to what was locked
    /// at the start, and not to an empty folder because a file system was unmounted, and that the file system takes
    /// changes. An idle disk would fail unnoticed otherwise.
    pub fn probe(&self) -> Result<(), LogError> {
        let path = self.path.join(LOCK);
        let ours = rustix::fs::fstat(&self.lock).map_err(|e| LogError::io("inspect", &path)(e.into()))?;
        let found = rustix::fs::stat(&path).map(|found| (found.st_dev, found.st_ino));
        if found != Ok((ours.st_dev, ours.st_ino)) {
            let gone = std::io::Error::other("the path leads elsewhere, was the file system unmounted?");
            return Err(LogError::io("inspect", &path)(gone));
        }
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let touched =
            rustix::fs::futimens(&self.lock, &rustix::fs::Timestamps { last_access: now, last_modification: now });
        touched.map_err(|e| LogError::io("touch", &path)(e.into()))
    }

    /// Size of the file system and what is free for us, in bytes.
    pub fn space(&self) -> Result<(u64, u64), LogError> {
        disk::space(&self.path)
    }
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let file = path.join(LOCK);
    let lock =
        OpenOptions::new().write(true).create(true).truncate(false).open(&file).map_err(LogError::io("open", &file))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DirectoryError::Locked(path.to_owned())),
        Err(error) => Err(LogError::io("lock", &file)(error.into()).into()),
    }
}

/// The id that is written down, or a new one. Kafka's directories of before KIP-858 have none.
fn directory_id(path: &Path, meta: Option<&MetaProperties>) -> Result<Uuid, LogError> {
    match meta.map(|meta| &meta.directory).filter(|id| !id.as_str().is_empty()) {
        Some(id) => {
            let damaged = || LogError::damaged(&path.join(meta::FILE), format!("directory.id {id} is not an id"));
            id.to_uuid().ok_or_else(damaged)
        }
        None => Ok(new_directory_id()),
    }
}

/// What was written to a log of this directory may not be in the page cache: the next owner has to check all of them, even
/// if only this process ends.
pub(crate) fn forget_checked(directory: Option<&Path>) -> Result<(), LogError> {
    directory.map_or(Ok(()), running::remove)
}

/// Kafka reserves ids whose text begins with a dash, because tools would take them for options.
fn new_directory_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if !ClusterId::from_uuid(id).as_str().starts_with('-') {
            return id;
        }
    }
}

/// The partition that a folder name stands for.
pub(crate) fn parse_folder(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    if !partition.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(TopicPartition::new(TopicName::parse(topic).ok()?, partition.parse::<i32>().ok()?))
}

/// The partition that the folder of an unfinished copy is of.
pub(crate) fn parse_future(name: &str) -> Option<TopicPartition> {
    let (folder, _unique) = name.strip_suffix(FUTURE_SUFFIX)?.rsplit_once('.')?;
    parse_folder(folder)
}

/// Whether a folder says which partition it is. A power loss may leave one that was just made without; it is made again.
fn has_identity(folder: &Path) -> bool {
    fs::metadata(folder.join(crate::partition_log::METADATA_FILE)).is_ok_and(|file| file.len() > 0)
}

/// Removes a folder and all in it; it may be gone already.
pub fn remove_folder(path: &Path) -> Result<(), LogError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LogError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
