//! The set of open partitions, kept in line with the metadata image.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use twinstream_log::{Checkpoint, DirectoryError, LogError, LogMetrics, remove_folder};
use twinstream_metadata::{Image, PartitionImage, TopicImage};
use twinstream_model::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use super::configs::{self, TopicConfig};
use super::directories::{Directories, deleted_name};
use super::now_ms;
use super::partition::{Leadership, Partition};
use crate::settings::Settings;

/// Threads that close logs at the end; each waits for the disk most of the time.
const CLOSING_THREADS: usize = 4;

/// Why the partitions cannot be brought in line with the image.
#[derive(Debug, thiserror::Error)]
pub enum PartitionsError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("cannot open partition {partition}: {}", source.chain())]
    Open { partition: TopicPartition, source: LogError },
}

/// All partitions that this broker holds.
pub(crate) struct PartitionManager {
    node: NodeId,
    settings: Arc<Settings>,
    directories: Directories,
    pub(super) metrics: LogMetrics,
    open: RwLock<HashMap<TopicPartition, Entry>>,
    /// What `reconcile` saw last; also makes sure that it runs once at a time.
    seen: Mutex<Image>,
    /// Folders of deleted partitions and when they go.
    doomed: Mutex<Vec<(i64, PathBuf)>>,
}

#[derive(Clone)]
struct Entry {
    partition: Arc<Partition>,
    dir: usize,
}

/// A partition that the image wants here and that is not open.
struct Wanted {
    at: TopicPartition,
    topic_id: TopicId,
    leadership: Leadership,
    config: TopicConfig,
    dir: usize,
    exists: bool,
}

impl PartitionManager {
    pub(crate) fn new(settings: Arc<Settings>, directories: Directories) -> PartitionManager {
        PartitionManager {
            node: settings.node.id,
            settings,
            directories,
            metrics: LogMetrics::new(),
            open: RwLock::default(),
            seen: Mutex::default(),
            doomed: Mutex::default(),
        }
    }

    pub(crate) fn metrics(&self) -> &LogMetrics {
        &self.metrics
    }

    pub(crate) fn directories(&self) -> &Directories {
        &self.directories
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The partition of this name, if it is open here.
    pub(crate) fn get(&self, at: &TopicPartition) -> Option<Arc<Partition>> {
        self.open.read().get(at).map(|entry| Arc::clone(&entry.partition))
    }

    /// Like [`PartitionManager::get`] for a name and number, without a [`TopicPartition`] at hand.
    pub(crate) fn find(&self, topic: &TopicName, partition: PartitionIndex) -> Option<Arc<Partition>> {
        self.get(&TopicPartition::new(topic.clone(), partition))
    }

    /// The partition, if this broker leads it in this epoch.
    pub(crate) fn led(&self, at: &TopicPartition, epoch: LeaderEpoch) -> Option<Arc<Partition>> {
        self.get(at).filter(|partition| partition.check_leader(epoch).is_ok())
    }

    /// All open partitions with the index of their directory, by name.
    pub(crate) fn all(&self) -> BTreeMap<TopicPartition, (Arc<Partition>, usize)> {
        let open = self.open.read();
        open.iter().map(|(at, entry)| (at.clone(), (Arc::clone(&entry.partition), entry.dir))).collect()
    }

    /// Makes logs, leadership and configuration agree with the image. Does file work and may take long at the
    /// first call, so call it where blocking is allowed. A partition that cannot be opened is an error after all
    /// others were; the next call tries it again.
    pub(crate) fn reconcile(&self, image: &Image) -> Result<(), PartitionsError> {
        let Some(cluster) = image.cluster_id() else {
            return Ok(()); // nothing is known yet
        };
        let mut seen = self.seen.lock();
        if seen.cluster_id() != Some(cluster) {
            self.directories.claim(cluster)?;
        }
        self.close_gone(image);
        self.update_open(&seen, image);
        let opened = self.open_wanted(image);
        *seen = image.clone();
        opened
    }

    /// Closes and deletes what the image had and has no more.
    fn close_gone(&self, image: &Image) {
        let gone: Vec<TopicPartition> = {
            let open = self.open.read();
            let is_gone =
                |(at, entry): &(&TopicPartition, &Entry)| !self.belongs(image, at, entry.partition.topic_id());
            open.iter().filter(is_gone).map(|(at, _)| at.clone()).collect()
        };
        for at in gone {
            let Some(entry) = self.open.write().remove(&at) else { continue };
            let delay = entry.partition.log().config().file_delete_delay_ms;
            // Who holds the partition still, a waiting fetch for one, hears that nobody leads it any more.
            entry.partition.set_leadership(Leadership { leader: None, ..entry.partition.leadership() });
            match entry.partition.log().close_for_deletion(&deleted_name(&at)) {
                Ok(folder) => self.doom(folder, delay),
                Err(error) => {
                    tracing::error!(partition = %at, error = %error.chain(), "cannot delete a partition's folder")
                }
            }
            tracing::info!(partition = %at, "deleted partition");
        }
    }

    fn belongs(&self, image: &Image, at: &TopicPartition, topic_id: TopicId) -> bool {
        let topic = image.topic(&at.topic).filter(|topic| topic.id == topic_id);
        topic.and_then(|topic| topic.partition(at.partition)).is_some_and(|p| p.replicas.contains(&self.node))
    }

    fn doom(&self, folder: PathBuf, delay_ms: i64) {
        self.doomed.lock().push((now_ms().saturating_add(delay_ms), folder));
    }

    /// Hands leadership and configuration to the partitions that are open.
    fn update_open(&self, before: &Image, image: &Image) {
        for topic in self.topics_here(image) {
            let reconfigured = configs::changed(before, image, self.node, &topic.name);
            let config = reconfigured.then(|| TopicConfig::of(&self.settings, image, &topic.name));
            for (index, partition) in self.partitions_here(topic) {
                let Some(open) = self.find(&topic.name, index) else { continue };
                open.set_leadership(Leadership::of(partition));
                if let Some(config) = &config {
                    open.log().set_config(config.log.clone());
                    open.set_min_insync_replicas(config.min_insync_replicas);
                }
            }
        }
    }

    fn topics_here<'i>(&self, image: &'i Image) -> impl Iterator<Item = &'i TopicImage> {
        let node = self.node;
        image
            .topics()
            .map(|topic| &**topic)
            .filter(move |topic| topic.partitions.iter().any(|p| p.replicas.contains(&node)))
    }

    fn partitions_here<'i>(&self, topic: &'i TopicImage) -> impl Iterator<Item = (PartitionIndex, &'i PartitionImage)> {
        let node = self.node;
        topic.iter().filter(move |(_, partition)| partition.replicas.contains(&node))
    }

    /// Opens what the image wants here, several logs at once: after a crash each may have to be scanned.
    fn open_wanted(&self, image: &Image) -> Result<(), PartitionsError> {
        let wanted = self.wanted(image)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let threads = (self.settings.log.recovery_threads_per_dir.max(1) * self.directories.len()).min(wanted.len());
        let count = wanted.len();
        let queue = Mutex::new(wanted);
        let failures: Mutex<Vec<PartitionsError>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let Some(next) = queue.lock().pop() else { return };
                        if let Err(error) = self.open_one(next) {
                            tracing::error!(%error, "partition is not available");
                            failures.lock().push(error);
                        }
                    }
                });
            }
        });
        tracing::debug!(partitions = count, threads, "opened partitions");
        match failures.into_inner().pop() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn wanted(&self, image: &Image) -> Result<Vec<Wanted>, PartitionsError> {
        let mut load: Vec<usize> = vec![0; self.directories.len()];
        self.open.read().values().for_each(|entry| load[entry.dir] += 1);
        let mut wanted = Vec::new();
        for topic in self.topics_here(image) {
            let mut config = None;
            for (index, partition) in self.partitions_here(topic) {
                let at = TopicPartition::new(topic.name.clone(), index);
                if self.open.read().contains_key(&at) {
                    continue;
                }
                let config = config.get_or_insert_with(|| TopicConfig::of(&self.settings, image, &topic.name));
                let holder = self.directories.holder(&at);
                let emptiest = (0..load.len()).min_by_key(|dir| load[*dir]).unwrap_or(0);
                let dir = holder.unwrap_or(emptiest);
                load[dir] += 1;
                wanted.push(Wanted {
                    at,
                    topic_id: topic.id,
                    leadership: Leadership::of(partition),
                    config: config.clone(),
                    dir,
                    exists: holder.is_some(),
                });
            }
        }
        Ok(wanted)
    }

    fn open_one(&self, wanted: Wanted) -> Result<(), PartitionsError> {
        let failed = |source| PartitionsError::Open { partition: wanted.at.clone(), source };
        let log_config = wanted.config.log.clone();
        let metrics = self.metrics.clone();
        let (at, dir) = (&wanted.at, wanted.dir);
        let mut log = None;
        if wanted.exists {
            let found =
                self.directories.open_log(dir, at, log_config.clone(), metrics.clone(), now_ms()).map_err(failed)?;
            if found.topic_id() == wanted.topic_id {
                log = Some(found);
            } else {
                // The topic was deleted and made again while this broker was away.
                tracing::info!(partition = %at, found = %found.topic_id(), wanted = %wanted.topic_id, "folder belongs to a deleted topic");
                let folder = found.close_for_deletion(&deleted_name(at)).map_err(failed)?;
                self.doom(folder, log_config.file_delete_delay_ms);
            }
        }
        let log = match log {
            Some(log) => log,
            None => {
                self.directories.create_log(dir, at, wanted.topic_id, log_config, metrics, now_ms()).map_err(failed)?
            }
        };
        let partition = Arc::new(Partition::new(self.node, log, wanted.leadership, wanted.config.min_insync_replicas));
        self.open.write().insert(wanted.at.clone(), Entry { partition, dir });
        Ok(())
    }

    /// Deletes folders whose topics are gone. Only for an image that is known to be caught up, because a folder of
    /// a topic that the image has not heard of yet looks the same.
    pub(crate) fn remove_strays(&self, image: &Image) {
        for (dir, at) in self.directories.unopened() {
            if image.partition(&at.topic, at.partition).is_some_and(|p| p.replicas.contains(&self.node)) {
                continue; // wanted, but it could not be opened
            }
            match self.directories.discard_unopened(dir, &at) {
                Ok(folder) => self.doom(folder, 0),
                Err(error) => {
                    tracing::error!(partition = %at, error = %error.chain(), "cannot delete a stray folder");
                    continue;
                }
            }
            tracing::info!(partition = %at, "deleted the folder of a topic that is gone");
        }
    }

    /// Removes folders of deleted partitions whose time has come.
    pub(super) fn remove_doomed(&self, now: i64) {
        let due: Vec<PathBuf> = {
            let mut doomed = self.doomed.lock();
            let (due, waiting) = doomed.drain(..).partition(|(at, _)| *at <= now);
            *doomed = waiting;
            due.into_iter().map(|(_, folder): (i64, PathBuf)| folder).collect()
        };
        for folder in due {
            if let Err(error) = remove_folder(&folder) {
                tracing::warn!(error = %error.chain(), "cannot remove the folder of a deleted partition");
            }
        }
    }

    /// Writes one kind of checkpoint of every directory.
    pub(super) fn write_checkpoints(&self, kind: Checkpoint) {
        let mut offsets: Vec<HashMap<TopicPartition, Offset>> = vec![HashMap::new(); self.directories.len()];
        for (at, (partition, dir)) in self.all() {
            let log = partition.log();
            let offset = match kind {
                Checkpoint::RecoveryPoint => log.recovery_point(),
                Checkpoint::Replication => log.high_watermark(),
                Checkpoint::LogStart => log.log_start_offset(),
            };
            offsets[dir].insert(at, offset);
        }
        for (dir, offsets) in offsets.iter().enumerate() {
            if let Err(error) = self.directories.write_checkpoint(dir, kind, offsets) {
                tracing::error!(?kind, error = %error.chain(), "cannot write a checkpoint");
            }
        }
    }

    /// Closes all logs and marks the directories whose logs closed well. Blocks; the last thing before the end.
    pub(crate) fn close(&self) {
        let all = self.all();
        let queue = Mutex::new(all.values().cloned().collect::<Vec<_>>());
        let failed: Mutex<Vec<usize>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..CLOSING_THREADS.min(all.len()) {
                scope.spawn(|| {
                    loop {
                        let Some((partition, dir)) = queue.lock().pop() else { return };
                        if let Err(error) = partition.log().close(now_ms()) {
                            tracing::error!(partition = %partition.id(), error = %error.chain(), "log did not close well");
                            failed.lock().push(dir);
                        }
                        partition.ring();
                    }
                });
            }
        });
        for kind in [Checkpoint::RecoveryPoint, Checkpoint::Replication, Checkpoint::LogStart] {
            self.write_checkpoints(kind);
        }
        let failed = failed.into_inner();
        for dir in (0..self.directories.len()).filter(|dir| !failed.contains(dir)) {
            if let Err(error) = self.directories.mark_clean(dir) {
                tracing::error!(error = %error.chain(), "cannot mark the shutdown as clean");
            }
        }
    }
}
