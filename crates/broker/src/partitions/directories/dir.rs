//! One log directory: what it holds, as long as it works.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use twinstream_log::{Checkpoint, DirectoryError, Disk, LastStop, LogDirectory, LogError};
use twinstream_model::{NodeId, Offset, TopicPartition};

#[derive(Debug)]
pub(super) struct Dir {
    pub(super) path: PathBuf,
    pub(super) disk: Arc<Disk>,
    /// `None` if it could not be opened at the start.
    pub(super) held: Option<Held>,
}

/// What this process has of a directory that it could open.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) directory: Mutex<LogDirectory>,
    pub(super) history: History,
    pub(super) folders: Mutex<Folders>,
}

/// Folders that were there at the start.
#[derive(Debug)]
pub(super) struct Folders {
    /// Those that belong to no open partition yet.
    pub(super) unopened: BTreeSet<TopicPartition>,
    /// Those of them that are not used, because the partition is in another directory, or may be.
    pub(super) withheld: BTreeSet<TopicPartition>,
}

/// What the last owner wrote down.
#[derive(Debug)]
pub(super) struct History {
    pub(super) last_stop: LastStop,
    pub(super) recovery_points: BTreeMap<TopicPartition, Offset>,
    pub(super) log_starts: BTreeMap<TopicPartition, Offset>,
    pub(super) high_watermarks: BTreeMap<TopicPartition, Offset>,
    pub(super) cleaned: BTreeMap<TopicPartition, Offset>,
    pub(super) aborted: BTreeMap<TopicPartition, Offset>,
}

impl Dir {
    /// Takes a directory into possession. One that the system cannot give us is offline, and said to be; one that belongs
    /// to somebody else, or was written by a newer program, is an error.
    pub(super) fn open(path: &Path, node: NodeId, reserve: u64) -> Result<Dir, DirectoryError> {
        let disk = Disk::new(path, reserve);
        let watched = |held| disk.watch().map(|()| held).map_err(DirectoryError::from);
        let held = match Held::open(path, node).and_then(watched) {
            Ok(held) => Some(held),
            Err(DirectoryError::Log(error @ LogError::Io { .. })) => {
                disk.fail(&error.chain());
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Dir { path: path.to_owned(), disk, held })
    }

    /// What it holds, unless it is out of use.
    pub(super) fn working(&self) -> Option<&Held> {
        self.held.as_ref().filter(|_| self.disk.failure().is_none())
    }

    /// What it holds, or why it is out of use.
    pub(super) fn check(&self) -> Result<&Held, LogError> {
        self.working().ok_or_else(|| LogError::Offline {
            dir: self.path.clone(),
            cause: self.disk.failure().unwrap_or("it could not be opened").to_owned(),
        })
    }

    /// A file of the directory itself, and not of one log, could not be written: unless there is just no room, nothing else
    /// will go well here.
    pub(super) fn judge<T>(&self, outcome: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error) = outcome.as_ref()
            && error.is_disk_failure()
        {
            self.disk.fail(&error.chain());
        }
        outcome
    }
}

impl Held {
    fn open(path: &Path, node: NodeId) -> Result<Held, DirectoryError> {
        let directory = LogDirectory::open(path, node)?;
        directory.remove_deleted()?;
        let history = History::read(&directory)?;
        let unopened = directory.partitions()?.into_iter().collect();
        let folders = Mutex::new(Folders { unopened, withheld: BTreeSet::new() });
        let held = Held { directory: Mutex::new(directory), history, folders };
        held.note_if_checked()?;
        Ok(held)
    }

    pub(super) fn is_new(&self) -> bool {
        self.directory.lock().meta().is_none()
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.history.last_stop == LastStop::Unknown && !self.folders.lock().unopened.is_empty()
    }

    /// Whether there is a folder of this partition to be opened.
    pub(super) fn may_use(&self, at: &TopicPartition) -> bool {
        let folders = self.folders.lock();
        folders.unopened.contains(at) && !folders.withheld.contains(at)
    }

    /// All of those.
    pub(super) fn usable(&self) -> Vec<TopicPartition> {
        let folders = self.folders.lock();
        folders.unopened.difference(&folders.withheld).cloned().collect()
    }

    /// The folder was opened, or is gone.
    pub(super) fn claimed(&self, at: &TopicPartition) -> Result<(), LogError> {
        let mut folders = self.folders.lock();
        folders.unopened.remove(at);
        folders.withheld.remove(at);
        drop(folders);
        self.note_if_checked()
    }

    /// Once every log was opened, and so checked, a crash of this process costs the next one no check of them all.
    fn note_if_checked(&self) -> Result<(), LogError> {
        let checked = self.history.last_stop == LastStop::Unknown && self.folders.lock().unopened.is_empty();
        if checked { self.directory.lock().mark_checked() } else { Ok(()) }
    }
}

impl History {
    pub(super) fn is_clean(&self) -> bool {
        self.last_stop == LastStop::Clean
    }

    fn read(directory: &LogDirectory) -> Result<History, LogError> {
        Ok(History {
            last_stop: directory.take_last_stop()?,
            recovery_points: read_hint(directory, Checkpoint::RecoveryPoint)?,
            log_starts: read_hint(directory, Checkpoint::LogStart)?,
            high_watermarks: read_hint(directory, Checkpoint::Replication)?,
            cleaned: read_hint(directory, Checkpoint::Cleaner)?,
            aborted: read_hint(directory, Checkpoint::Aborted)?,
        })
    }

    pub(super) fn of(&self, kind: Checkpoint) -> &BTreeMap<TopicPartition, Offset> {
        match kind {
            Checkpoint::RecoveryPoint => &self.recovery_points,
            Checkpoint::LogStart => &self.log_starts,
            Checkpoint::Replication => &self.high_watermarks,
            Checkpoint::Cleaner => &self.cleaned,
            Checkpoint::Aborted => &self.aborted,
        }
    }
}

/// A damaged checkpoint is as good as none: logs are checked from their beginning.
fn read_hint(directory: &LogDirectory, kind: Checkpoint) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
    match directory.read_checkpoint(kind) {
        Err(LogError::Damaged { path, what }) => {
            tracing::warn!(path = %path.display(), what, "passing over a damaged checkpoint");
            Ok(BTreeMap::new())
        }
        read => read,
    }
}
