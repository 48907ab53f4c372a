//! The log directories of this broker: their locks, the folders in them, their checkpoints.
//!
//! A new partition goes where the fewest are. What was known at the last stop (checkpoints, clean or not) is read
//! once, when the directories are taken into possession.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use twinstream_log::{Checkpoint, DirectoryError, LastStop, LogDirectory, LogError, LogMetrics, Opening};
use twinstream_log::{LogConfig, OpenFiles, PartitionLog};
use twinstream_model::{ClusterId, NodeId, Offset, TopicId, TopicPartition};
use uuid::Uuid;

/// The locked directories.
#[derive(Debug)]
pub(crate) struct Directories {
    dirs: Vec<Dir>,
    /// Who opens the files of all logs.
    files: Arc<OpenFiles>,
    /// Whether the controller has heard how the last run ended.
    reported: Arc<AtomicBool>,
}

/// What the controller is told about the directories.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The directories' random ids: one that was wiped has a new one.
    pub(crate) ids: Vec<Uuid>,
    /// Whether the last run closed all logs.
    pub(crate) clean: bool,
    pub(crate) holds_partitions: bool,
    /// Whether what the last run wrote may be lost although the machine did not restart: a flush failed, or the file system was
    /// mounted anew.
    pub(crate) doubtful: bool,
    /// Set when the controller has been told. Until then no stop may be marked as clean: after a power loss the next start
    /// would say that it has everything.
    pub(crate) reported: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Dir {
    directory: Mutex<LogDirectory>,
    path: PathBuf,
    history: History,
    /// Folders that were there at the start and belong to no open partition yet.
    unopened: Mutex<Vec<TopicPartition>>,
}

/// What the last owner wrote down.
#[derive(Debug)]
struct History {
    last_stop: LastStop,
    recovery_points: BTreeMap<TopicPartition, Offset>,
    log_starts: BTreeMap<TopicPartition, Offset>,
    high_watermarks: BTreeMap<TopicPartition, Offset>,
}

impl Directories {
    /// Locks the directories and reads what they say about the last run.
    pub(crate) fn open(paths: &[PathBuf], node: NodeId, files: Arc<OpenFiles>) -> Result<Directories, DirectoryError> {
        let mut dirs = Vec::with_capacity(paths.len());
        for path in paths {
            let directory = LogDirectory::open(path, node)?;
            directory.remove_deleted()?;
            let history = History::read(&directory)?;
            let unopened = Mutex::new(directory.partitions()?);
            let dir = Dir { directory: Mutex::new(directory), path: path.clone(), history, unopened };
            dir.note_if_checked()?;
            dirs.push(dir);
        }
        Ok(Directories { dirs, files, reported: Arc::default() })
    }

    /// Who these directories are and how their last run ended.
    pub(crate) fn identity(&self) -> Identity {
        let is_new = |dir: &Dir| dir.directory.lock().meta().is_none();
        Identity {
            ids: self.dirs.iter().map(|dir| dir.directory.lock().id()).collect(),
            clean: self.dirs.iter().all(|dir| dir.history.is_clean() || is_new(dir)),
            holds_partitions: self.dirs.iter().any(|dir| !dir.unopened.lock().is_empty()),
            doubtful: self.dirs.iter().any(|dir| dir.is_doubtful() && !is_new(dir)),
            reported: Arc::clone(&self.reported),
        }
    }

    /// The cluster that the directories belong to, `None` if all are new.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.dirs.iter().find_map(|dir| dir.directory.lock().meta().map(|meta| meta.cluster.clone()))
    }

    /// Ties the directories to a cluster, or checks that they are tied to it.
    pub(super) fn claim(&self, cluster: &ClusterId) -> Result<(), DirectoryError> {
        self.dirs.iter().try_for_each(|dir| dir.directory.lock().claim(cluster).map(|_| ()))
    }

    /// The paths, which the indexes of all other calls count.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.dirs.iter().map(|dir| &dir.path)
    }

    pub(super) fn len(&self) -> usize {
        self.dirs.len()
    }

    /// Size and free space of a directory's file system.
    pub(crate) fn space(&self, dir: usize) -> Result<(u64, u64), LogError> {
        self.dirs[dir].directory.lock().space()
    }

    /// The directory that has a folder of this partition from an earlier run.
    pub(super) fn holder(&self, at: &TopicPartition) -> Option<usize> {
        self.dirs.iter().position(|dir| dir.unopened.lock().contains(at))
    }

    /// Folders that no partition of the image claimed.
    pub(super) fn unopened(&self) -> Vec<(usize, TopicPartition)> {
        let each = self.dirs.iter().enumerate();
        each.flat_map(|(i, dir)| dir.unopened.lock().iter().map(|at| (i, at.clone())).collect::<Vec<_>>()).collect()
    }

    /// Opens the log of a folder that is there.
    pub(super) fn open_log(
        &self,
        dir: usize,
        at: &TopicPartition,
        config: LogConfig,
        metrics: LogMetrics,
        now: i64,
    ) -> Result<PartitionLog, LogError> {
        let dir = &self.dirs[dir];
        let known = |offsets: &BTreeMap<TopicPartition, Offset>| offsets.get(at).copied().unwrap_or(Offset(0));
        let opening = Opening {
            config,
            metrics,
            last_stop: dir.history.last_stop,
            recovery_point: known(&dir.history.recovery_points),
            log_start: known(&dir.history.log_starts),
            high_watermark: known(&dir.history.high_watermarks),
            now,
            files: Arc::clone(&self.files),
        };
        let log = PartitionLog::open(&dir.path.join(at.to_string()), opening)?;
        dir.unopened.lock().retain(|other| other != at);
        dir.note_if_checked()?;
        Ok(log)
    }

    /// Makes the log of a new partition.
    pub(super) fn create_log(
        &self,
        dir: usize,
        at: &TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        metrics: LogMetrics,
        now: i64,
    ) -> Result<PartitionLog, LogError> {
        let path = self.dirs[dir].path.join(at.to_string());
        let opening = Opening { files: Arc::clone(&self.files), ..Opening::fresh(config, metrics, now) };
        PartitionLog::create(&path, topic_id, opening)
    }

    /// Renames the folder of a partition that was never opened, so that it goes.
    pub(super) fn discard_unopened(&self, dir: usize, at: &TopicPartition) -> Result<PathBuf, LogError> {
        let dir = &self.dirs[dir];
        let from = dir.path.join(at.to_string());
        let to = dir.path.join(deleted_name(at));
        std::fs::rename(&from, &to).map_err(|source| LogError::Io { action: "rename", path: from, source })?;
        dir.unopened.lock().retain(|other| other != at);
        dir.note_if_checked()?;
        Ok(to)
    }

    /// Writes a checkpoint of one directory. Partitions that are still unopened keep what was known of them.
    pub(super) fn write_checkpoint(
        &self,
        dir: usize,
        kind: Checkpoint,
        offsets: &HashMap<TopicPartition, Offset>,
    ) -> Result<(), LogError> {
        let dir = &self.dirs[dir];
        let before = match kind {
            Checkpoint::RecoveryPoint => &dir.history.recovery_points,
            Checkpoint::LogStart => &dir.history.log_starts,
            Checkpoint::Replication => &dir.history.high_watermarks,
        };
        let unopened = dir.unopened.lock().clone();
        let mut all: BTreeMap<_, _> = offsets.iter().map(|(at, offset)| (at.clone(), *offset)).collect();
        all.extend(unopened.into_iter().filter_map(|at| before.get(&at).map(|offset| (at, *offset))));
        dir.directory.lock().write_checkpoint(kind, &all)
    }

    /// Notes that all logs of a directory were closed. A directory that came up unclean stays so as long as it has
    /// folders that were not opened and so not repaired, and as long as the controller does not know.
    pub(super) fn mark_clean(&self, dir: usize) -> Result<(), LogError> {
        let dir = &self.dirs[dir];
        let is_known = dir.history.is_clean() || self.reported.load(Ordering::Acquire);
        match is_known && (dir.history.is_clean() || dir.unopened.lock().is_empty()) {
            true => dir.directory.lock().mark_clean_shutdown(),
            false => Ok(()),
        }
    }
}

impl Dir {
    fn is_doubtful(&self) -> bool {
        self.history.last_stop == LastStop::Unknown && !self.unopened.lock().is_empty()
    }

    /// Once every log was opened, and so checked, a crash of this process costs the next one no check of them all.
    fn note_if_checked(&self) -> Result<(), LogError> {
        let checked = self.history.last_stop == LastStop::Unknown && self.unopened.lock().is_empty();
        if checked { self.directory.lock().mark_checked() } else { Ok(()) }
    }
}

impl History {
    fn is_clean(&self) -> bool {
        self.last_stop == LastStop::Clean
    }

    fn read(directory: &LogDirectory) -> Result<History, LogError> {
        Ok(History {
            last_stop: directory.take_last_stop()?,
            recovery_points: read_hint(directory, Checkpoint::RecoveryPoint)?,
            log_starts: read_hint(directory, Checkpoint::LogStart)?,
            high_watermarks: read_hint(directory, Checkpoint::Replication)?,
        })
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

/// Bytes that a file name may have.
const NAME_BYTES_MAX: usize = 255;

/// `<topic>-<partition>.<unique>-delete`, with the topic cut if the name would be too long.
pub(super) fn deleted_name(at: &TopicPartition) -> String {
    let suffix = format!("-{}.{}{}", at.partition, Uuid::new_v4().simple(), twinstream_log::DELETE_SUFFIX);
    let topic = at.topic.as_str();
    let room = NAME_BYTES_MAX.saturating_sub(suffix.len()).min(topic.len());
    format!("{}{suffix}", &topic[..room])
}
