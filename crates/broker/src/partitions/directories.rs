//! The log directories of this broker: their locks, the folders in them, their checkpoints.
//!
//! A new partition goes where the fewest are. What was known at the last stop (checkpoints, clean or not) is read
//! once, when the directories are taken into possession. A directory that cannot be opened, or fails later, is offline:
//! every call about it answers [`LogError::Offline`], and the others go on.

mod dir; // one of them
mod twins; // which of several folders of a partition is used

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use twinstream_log::{
    Checkpoint, DELETE_SUFFIX, DirectoryError, Disk, FUTURE_SUFFIX, Identity as FolderIdentity, LogConfig, LogError,
    LogMetrics, OpenFiles, Opening, PartitionLog, STRAY_SUFFIX, compare_identity, read_left, write_identity,
};
use twinstream_model::{ClusterId, NodeId, Offset, PartitionIndex, TopicId, TopicPartition};
use uuid::Uuid;

use self::dir::{Dir, Held};
use super::absent::Absent;

/// The locked directories.
#[derive(Debug)]
pub(crate) struct Directories {
    dirs: Vec<Dir>,
    /// Who opens the files of all logs.
    files: Arc<OpenFiles>,
    /// Whether the controller has heard how the last run ended.
    reported: Arc<AtomicBool>,
    absent: Arc<Absent>,
    /// Unfinished copies of earlier runs that nobody went on with yet.
    futures: Mutex<Vec<Future>>,
    /// Withheld folders of partitions that are in another directory. They have to go.
    superseded: Mutex<Vec<(usize, TopicPartition)>>,
}

/// The folder of a copy that was not finished (KIP-113).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Future {
    pub(super) at: TopicPartition,
    pub(super) dir: usize,
    pub(super) folder: String,
}

/// What the controller is told about the directories.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The directories' random ids: one that was wiped has a new one. Those that could not be opened are missing.
    pub(crate) ids: Vec<Uuid>,
    /// What may lie in those that could not be opened.
    pub(crate) absent: Arc<Absent>,
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

impl Directories {
    /// Locks the directories and reads what they say about the last run. Of each, the last `reserve` bytes are kept from
    /// records. Those that cannot be opened are offline; when none can, there is nothing to start with.
    pub(crate) fn open(
        paths: &[PathBuf],
        node: NodeId,
        reserve: u64,
        files: Arc<OpenFiles>,
    ) -> Result<Directories, DirectoryError> {
        let dirs = paths.iter().map(|path| Dir::open(path, node, reserve)).collect::<Result<Vec<_>, _>>()?;
        if let [first, ..] = &dirs[..]
            && dirs.iter().all(|dir| dir.held.is_none())
        {
            return Err(first.check().map(|_| ()).expect_err("it was not opened").into());
        }
        let futures = futures(&dirs)?;
        let unseen = dirs.iter().filter(|dir| dir.working().is_none()).count();
        let mut directories = Directories {
            dirs,
            files,
            reported: Arc::default(),
            absent: Arc::default(),
            futures: Mutex::new(futures),
            superseded: Mutex::default(),
        };
        directories.resolve_twins(unseen > 0);
        let held = directories.dirs.iter().filter_map(|dir| dir.held.as_ref());
        directories.absent = Arc::new(Absent::new(unseen, held.flat_map(Held::usable).collect()));
        Ok(directories)
    }

    /// Who these directories are and how their last run ended.
    pub(crate) fn identity(&self) -> Identity {
        let held = || self.dirs.iter().filter_map(|dir| dir.held.as_ref());
        Identity {
            ids: held().map(|dir| dir.directory.lock().id()).collect(),
            absent: Arc::clone(&self.absent),
            clean: held().all(|dir| dir.history.is_clean() || dir.is_new()),
            holds_partitions: held().any(|dir| !dir.folders.lock().unopened.is_empty()),
            doubtful: held().any(|dir| dir.is_doubtful() && !dir.is_new()),
            reported: Arc::clone(&self.reported),
        }
    }

    /// The cluster that the directories belong to, `None` if all are new.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        let held = self.dirs.iter().filter_map(|dir| dir.held.as_ref());
        held.into_iter().find_map(|dir| dir.directory.lock().meta().map(|meta| meta.cluster.clone()))
    }

    /// Ties the directories to a cluster, or checks that they are tied to it.
    pub(super) fn claim(&self, cluster: &ClusterId) -> Result<(), DirectoryError> {
        for dir in &self.dirs {
            let Some(held) = dir.working() else { continue };
            match held.directory.lock().claim(cluster) {
                Ok(_) => {}
                Err(DirectoryError::Log(error @ LogError::Io { .. })) => drop(dir.judge::<()>(Err(error))),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Who opens the files of all logs.
    pub(crate) fn files(&self) -> &OpenFiles {
        &self.files
    }

    /// The paths, which the indexes of all other calls count.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.dirs.iter().map(|dir| &dir.path)
    }

    pub(super) fn len(&self) -> usize {
        self.dirs.len()
    }

    /// The disk under a directory.
    pub(crate) fn disk(&self, dir: usize) -> &Arc<Disk> {
        &self.dirs[dir].disk
    }

    /// Whether a directory is in use.
    pub(crate) fn works(&self, dir: usize) -> bool {
        self.dirs[dir].working().is_some()
    }

    /// How many directories are out of use.
    pub(crate) fn offline_count(&self) -> usize {
        self.dirs.iter().filter(|dir| dir.working().is_none()).count()
    }

    /// Whether a log may be made for a partition that has no folder.
    pub(super) fn may_make(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.absent.may_make(topic, partition)
    }

    /// Looks whether a directory can still be used. Only for one that seems to work.
    pub(super) fn probe(&self, dir: usize) -> Result<(), LogError> {
        let dir = &self.dirs[dir];
        let probed = dir.check()?.directory.lock().probe();
        dir.judge(probed)
    }

    /// Size and free space of a directory's file system.
    pub(crate) fn space(&self, dir: usize) -> Result<(u64, u64), LogError> {
        self.dirs[dir].check()?.directory.lock().space()
    }

    /// The directory that has a folder of this partition from an earlier run. Of several, which is rare, one of this topic.
    pub(super) fn holder(&self, at: &TopicPartition, wanted: TopicId) -> Option<usize> {
        let holders = self.holders(at);
        let is_of_topic = |dir: &usize| {
            matches!(self.identity_of(*dir, at, wanted), Ok(FolderIdentity::Same | FolderIdentity::OneByteOff))
        };
        let of_topic = if holders.len() > 1 { holders.iter().copied().find(is_of_topic) } else { None };
        of_topic.or(holders.first().copied())
    }

    /// All directories that have such a folder, which no partition has open.
    pub(super) fn holders(&self, at: &TopicPartition) -> Vec<usize> {
        let holds = |dir: &usize| self.dirs[*dir].held.as_ref().is_some_and(|held| held.may_use(at));
        (0..self.dirs.len()).filter(holds).collect()
    }

    /// Folders that no partition of the image claimed.
    pub(super) fn unopened(&self) -> Vec<(usize, TopicPartition)> {
        let each = self.dirs.iter().enumerate().filter_map(|(i, dir)| Some((i, dir.held.as_ref()?)));
        each.flat_map(|(i, held)| held.folders.lock().unopened.iter().map(|at| (i, at.clone())).collect::<Vec<_>>())
            .collect()
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
        let opening = self.opening(dir, at, config, metrics, now)?;
        let dir = &self.dirs[dir];
        let log = dir.judge(PartitionLog::open(&dir.path.join(at.to_string()), opening))?;
        dir.judge(dir.check()?.claimed(at))?;
        Ok(log)
    }

    /// What the last owner of a directory knew about a log.
    fn opening(
        &self,
        dir: usize,
        at: &TopicPartition,
        config: LogConfig,
        metrics: LogMetrics,
        now: i64,
    ) -> Result<Opening, LogError> {
        let dir = &self.dirs[dir];
        let held = dir.check()?;
        let known = |kind: Checkpoint| held.history.of(kind).get(at).copied().unwrap_or(Offset(0));
        Ok(Opening {
            config,
            metrics,
            last_stop: held.history.last_stop,
            recovery_point: known(Checkpoint::RecoveryPoint),
            log_start: known(Checkpoint::LogStart),
            high_watermark: known(Checkpoint::Replication),
            cleaned_to: held.history.of(Checkpoint::Cleaner).get(at).copied(),
            aborted_count: held.history.of(Checkpoint::Aborted).get(at).and_then(|count| u64::try_from(count.0).ok()),
            now,
            files: Arc::clone(&self.files),
            disk: Arc::clone(&dir.disk),
        })
    }

    /// Up to where a log was on the disk when this process started, as the last owner wrote down.
    pub(super) fn recovery_point(&self, dir: usize, at: &TopicPartition) -> Offset {
        let held = self.dirs[dir].held.as_ref();
        held.and_then(|held| held.history.recovery_points.get(at).copied()).unwrap_or(Offset(0))
    }

    /// Sees to it that a log can be made. What is there under its name is put aside, unless it is what an attempt to make
    /// this very partition has begun; returns where.
    pub(super) fn make_way(
        &self,
        dir: usize,
        at: &TopicPartition,
        topic_id: TopicId,
    ) -> Result<Option<PathBuf>, LogError> {
        let is_withheld = self.dirs[dir].check()?.folders.lock().withheld.contains(at);
        if !is_withheld && (!self.has_folder(dir, at) || self.is_begun(dir, at, topic_id)?) {
            return Ok(None);
        }
        self.rename_unopened(dir, at, &stray_name(at)).map(Some)
    }

    fn is_begun(&self, dir: usize, at: &TopicPartition, topic_id: TopicId) -> Result<bool, LogError> {
        let was_left = match read_left(&self.folder(dir, at)) {
            Err(LogError::Damaged { .. }) => true,
            read => self.dirs[dir].judge(read)?.is_some(),
        };
        match self.identity_of(dir, at, topic_id) {
            Ok(FolderIdentity::Other(_)) => Ok(false),
            // One without an identity has nothing that was flushed.
            Ok(_) | Err(LogError::Damaged { .. }) => Ok(!was_left),
            Err(error) => Err(error),
        }
    }

    /// Makes the log of a new partition, for which there is room (see [`Directories::make_way`]).
    pub(super) fn create_log(
        &self,
        dir: usize,
        at: &TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        metrics: LogMetrics,
        now: i64,
    ) -> Result<PartitionLog, LogError> {
        let opening = self.fresh(dir, config, metrics, now)?;
        let dir = &self.dirs[dir];
        dir.judge(PartitionLog::create(&dir.path.join(at.to_string()), topic_id, opening))
    }

    /// Of a log without a history.
    fn fresh(&self, dir: usize, config: LogConfig, metrics: LogMetrics, now: i64) -> Result<Opening, LogError> {
        let dir = &self.dirs[dir];
        let last_stop = dir.check()?.history.last_stop;
        let (files, disk) = (Arc::clone(&self.files), Arc::clone(&dir.disk));
        Ok(Opening { files, disk, last_stop, ..Opening::fresh(config, metrics, now) })
    }

    /// Which topic a folder that is there says it belongs to.
    pub(super) fn identity_of(
        &self,
        dir: usize,
        at: &TopicPartition,
        wanted: TopicId,
    ) -> Result<FolderIdentity, LogError> {
        let dir = &self.dirs[dir];
        dir.check()?;
        dir.judge(compare_identity(&dir.path.join(at.to_string()), wanted))
    }

    /// Lets a folder belong to a topic.
    pub(super) fn restore_identity(&self, dir: usize, at: &TopicPartition, topic_id: TopicId) -> Result<(), LogError> {
        let dir = &self.dirs[dir];
        dir.check()?;
        dir.judge(write_identity(&dir.path.join(at.to_string()), topic_id))
    }

    /// Folders that were put aside, in this run and before.
    pub(super) fn strays(&self) -> Vec<PathBuf> {
        let working = self.dirs.iter().filter_map(|dir| Some((dir, dir.working()?)));
        let strays = working.filter_map(|(dir, held)| dir.judge(held.directory.lock().strays()).ok());
        strays.flatten().collect()
    }

    /// Renames the folder of a partition that was never opened.
    pub(super) fn rename_unopened(&self, dir: usize, at: &TopicPartition, name: &str) -> Result<PathBuf, LogError> {
        let dir = &self.dirs[dir];
        let held = dir.check()?;
        let from = dir.path.join(at.to_string());
        let to = dir.path.join(name);
        let renamed = std::fs::rename(&from, &to);
        dir.judge(renamed.map_err(|source| LogError::Io { action: "rename", path: from, source }))?;
        dir.judge(held.claimed(at))?;
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
        let held = dir.check()?;
        let unopened = held.folders.lock().unopened.clone();
        let mut all: BTreeMap<_, _> = offsets.iter().map(|(at, offset)| (at.clone(), *offset)).collect();
        let before = held.history.of(kind);
        all.extend(unopened.into_iter().filter_map(|at| before.get(&at).map(|offset| (at, *offset))));
        dir.judge(held.directory.lock().write_checkpoint(kind, &all))
    }

    /// Notes that all logs of a directory were closed. A directory that came up unclean stays so as long as it has
    /// folders that were not opened and so not repaired, and as long as the controller does not know.
    pub(super) fn mark_clean(&self, dir: usize) -> Result<(), LogError> {
        let held = self.dirs[dir].check()?;
        let is_known = held.history.is_clean() || self.reported.load(Ordering::Acquire);
        match is_known && (held.history.is_clean() || held.folders.lock().unopened.is_empty()) {
            true => held.directory.lock().mark_clean_shutdown(),
            false => Ok(()),
        }
    }
}

/// What is there of partitions that move from one directory to another.
impl Directories {
    /// The directory of a path, as clients name it.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        self.dirs.iter().position(|dir| absolute(&dir.path) == Path::new(path))
    }

    /// Takes over the unfinished copies of these partitions.
    pub(super) fn take_futures(&self, are_wanted: impl Fn(&TopicPartition) -> bool) -> Vec<Future> {
        let mut futures = self.futures.lock();
        let (taken, left) = futures.drain(..).partition(|future| are_wanted(&future.at));
        *futures = left;
        taken
    }

    /// Makes the folder of a copy.
    pub(super) fn create_future(
        &self,
        dir: usize,
        at: &TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        metrics: LogMetrics,
        now: i64,
    ) -> Result<PartitionLog, LogError> {
        let opening = self.fresh(dir, config, metrics, now)?;
        let dir = &self.dirs[dir];
        let folder = dir.path.join(future_name(at).unwrap_or_default());
        dir.judge(PartitionLog::create(&folder, topic_id, opening))
    }

    /// Opens the folder of a copy that was not finished. Nothing is known of it, so all of it is checked.
    pub(super) fn open_future(
        &self,
        dir: usize,
        folder: &str,
        config: LogConfig,
        metrics: LogMetrics,
        now: i64,
    ) -> Result<PartitionLog, LogError> {
        let opening = self.fresh(dir, config, metrics, now)?;
        let dir = &self.dirs[dir];
        dir.judge(PartitionLog::open(&dir.path.join(folder), opening))
    }

    /// Renames a folder that nobody has open.
    pub(super) fn rename(&self, dir: usize, from: &str, to: &str) -> Result<PathBuf, LogError> {
        let dir = &self.dirs[dir];
        dir.check()?;
        let (from, to) = (dir.path.join(from), dir.path.join(to));
        let renamed = std::fs::rename(&from, &to);
        dir.judge(renamed.map_err(|source| LogError::Io { action: "rename", path: from, source }))?;
        Ok(to)
    }
}

fn futures(dirs: &[Dir]) -> Result<Vec<Future>, DirectoryError> {
    let mut all = Vec::new();
    for (i, dir) in dirs.iter().enumerate() {
        let Some(held) = dir.working() else { continue };
        let found = held.directory.lock().futures()?;
        all.extend(found.into_iter().map(|(folder, at)| Future { at, dir: i, folder }));
    }
    Ok(all)
}

/// A directory as clients are told it.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Bytes that a file name may have.
const NAME_BYTES_MAX: usize = 255;

/// `<topic>-<partition>.<unique>-delete`, with the topic cut if the name would be too long.
pub(super) fn deleted_name(at: &TopicPartition) -> String {
    name_aside(at, DELETE_SUFFIX)
}

/// `<topic>-<partition>.<unique>-stray`, likewise.
pub(super) fn stray_name(at: &TopicPartition) -> String {
    name_aside(at, STRAY_SUFFIX)
}

/// `<topic>-<partition>.<unique>-future`, whole. `None` if that is too long for a name, as in Kafka.
pub(super) fn future_name(at: &TopicPartition) -> Option<String> {
    let name = format!("{at}.{}{FUTURE_SUFFIX}", Uuid::new_v4().simple());
    (name.len() <= NAME_BYTES_MAX).then_some(name)
}

fn name_aside(at: &TopicPartition, ending: &str) -> String {
    let suffix = format!("-{}.{}{ending}", at.partition, Uuid::new_v4().simple());
    let topic = at.topic.as_str();
    let room = NAME_BYTES_MAX.saturating_sub(suffix.len()).min(topic.len());
    format!("{}{suffix}", &topic[..room])
}
