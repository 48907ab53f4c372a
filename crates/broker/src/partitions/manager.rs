//! The set of open partitions, kept in line with the metadata image.
//!
//! Picture: an image comes, and what it changes here happens in the order of urgency: roles of open partitions (a new
//! leader serves milliseconds after its image), then folders of what is gone, then logs that have to be opened, which
//! after a crash may take seconds. Opening runs beside the next images; a log that is ready takes the role that the
//! newest image gives it.
//!
//! Invariants: at most one partition per name and number is open; a partition is put into the set and given its role
//! under the same lock under which images are taken over, so that it misses none; topics that an image did not touch
//! are not looked at.
//!
//! Not here: what a role does (`partition`), which folders there are (`directories`).

pub(super) mod changing; // a copy in another directory takes the place of its log
pub(super) mod left_behind; // folders that are not used any more
mod moving; // replicas that change their directory
mod opening; // logs that the image wants here
mod strays; // folders that belong to another topic than their name's

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use twinstream_log::{Checkpoint, DirectoryError, Flusher, LogError, LogMetrics, PartitionLog, remove_folder};
use twinstream_metadata::{Image, PartitionImage, TopicImage};
use twinstream_model::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use self::strays::Strangers;
use super::configs::{self, TopicConfig};
use super::directories::{Directories, deleted_name};
use super::failures::Failures;
use super::follower_bells::FollowerBells;
use super::moves::Moves;
use super::now_ms;
use super::partition::{Partition, RoleChange, Surroundings};
use super::replica_sessions::ReplicaSessions;
use crate::replication::IsrChanges;
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
    #[error("the folder of partition {partition} has the id {found} of another topic; trying again when more is known")]
    Stranger { partition: TopicPartition, found: TopicId },
}

/// Who fetches for the partitions that this broker follows.
pub(crate) trait Followers: Send + Sync {
    /// From now on this partition follows `leader` in `epoch`.
    fn follow(&self, partition: &Arc<Partition>, leader: NodeId, epoch: LeaderEpoch);
    /// It follows nobody any more.
    fn stop(&self, partition: &Partition);
}

/// What replication gives to partitions, and hears from them.
pub(crate) struct Replicas {
    pub(crate) isr: Arc<IsrChanges>,
    pub(crate) followers: Arc<dyn Followers>,
}

/// All partitions that this broker holds.
pub(crate) struct PartitionManager {
    node: NodeId,
    settings: Arc<Settings>,
    directories: Directories,
    /// One for each directory.
    flushers: Vec<Arc<Flusher>>,
    pub(super) failures: Arc<Failures>,
    /// For the flushers' threads.
    myself: Arc<OnceLock<Weak<PartitionManager>>>,
    pub(super) metrics: LogMetrics,
    replicas: Replicas,
    pub(crate) follower_bells: Arc<FollowerBells>,
    pub(crate) replica_sessions: ReplicaSessions,
    open: RwLock<HashMap<TopicPartition, Arc<Partition>>>,
    /// The image that was taken over last. Held while roles change and while a partition joins the set.
    seen: Mutex<Image>,
    /// Held by whoever opens logs, so that nobody opens one twice.
    opening: Mutex<()>,
    /// Held from the look at the logs to the written file: of two who write checkpoints the later must not be overtaken by
    /// one who looked before a log was cut.
    checkpointing: Mutex<()>,
    /// Folders of deleted partitions and when they go.
    doomed: Mutex<Vec<(i64, PathBuf)>>,
    strangers: Strangers,
    pub(super) moves: Moves,
    /// Open partitions whose copy here the image takes for out of use.
    aside: Mutex<BTreeSet<TopicPartition>>,
    /// Partitions that joined the set with damage.
    joined_damaged: AtomicU64,
}

impl PartitionManager {
    pub(crate) fn new(settings: Arc<Settings>, directories: Directories, replicas: Replicas) -> PartitionManager {
        let lanes = directories.len();
        let at_once = settings.text("num.replica.alter.log.dirs.threads").and_then(|text| text.trim().parse().ok());
        let doomed = directories.take_superseded().into_iter().map(|folder| (now_ms(), folder)).collect();
        let (failures, myself) = (Arc::<Failures>::default(), Arc::<OnceLock<Weak<PartitionManager>>>::default());
        let flushers = (0..directories.len()).map(|dir| {
            let named = Arc::clone(&failures);
            directories.disk(dir).on_failure(move |_| named.name_dir(dir));
            let manager = Arc::clone(&myself);
            let after_round = move || {
                if let Some(manager) = manager.get().and_then(Weak::upgrade) {
                    manager.write_checkpoint(Checkpoint::RecoveryPoint, dir);
                }
            };
            Arc::new(Flusher::new(Arc::clone(directories.disk(dir)), settings.log.flush_lag_bytes, after_round))
        });
        PartitionManager {
            flushers: flushers.collect(),
            failures,
            myself,
            node: settings.node.id,
            settings,
            directories,
            metrics: LogMetrics::new(),
            replicas,
            follower_bells: Arc::default(),
            replica_sessions: ReplicaSessions::default(),
            open: RwLock::default(),
            seen: Mutex::default(),
            opening: Mutex::default(),
            checkpointing: Mutex::default(),
            doomed: Mutex::new(doomed),
            strangers: Strangers::default(),
            moves: Moves::new(lanes, at_once.unwrap_or(lanes)),
            aside: Mutex::default(),
            joined_damaged: AtomicU64::new(0),
        }
    }

    pub(crate) fn metrics(&self) -> &LogMetrics {
        &self.metrics
    }

    pub(crate) fn directories(&self) -> &Directories {
        &self.directories
    }

    /// Lets the flushers write checkpoints.
    pub(super) fn introduce(self: &Arc<Self>) {
        self.myself.get_or_init(|| Arc::downgrade(self));
    }

    pub(super) fn newest_image(&self) -> Image {
        self.seen.lock().clone()
    }

    pub(super) fn stop_following(&self, partition: &Partition) {
        self.replicas.followers.stop(partition);
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// More than before means that a partition of the set has damage that it had not. Recovery counts a partition's
    /// before that is in the set, so one that joins with damage counts once more.
    pub(crate) fn damage_found(&self) -> u64 {
        self.directories.files().damage_found() + self.joined_damaged.load(Ordering::Acquire)
    }

    /// The partition of this name, if it is open here.
    pub(crate) fn get(&self, at: &TopicPartition) -> Option<Arc<Partition>> {
        self.open.read().get(at).map(Arc::clone)
    }

    /// Like [`PartitionManager::get`] for a name and number, without a [`TopicPartition`] at hand.
    pub(crate) fn find(&self, topic: &TopicName, partition: PartitionIndex) -> Option<Arc<Partition>> {
        self.get(&TopicPartition::new(topic.clone(), partition))
    }

    /// The partition, if this broker leads it in this epoch.
    pub(crate) fn led(&self, at: &TopicPartition, epoch: LeaderEpoch) -> Option<Arc<Partition>> {
        self.get(at).filter(|partition| partition.check_leader(epoch).is_ok())
    }

    /// Does something with each open partition. Nobody may open or close one meanwhile, so it should be quick.
    pub(crate) fn for_each(&self, mut work: impl FnMut(&Partition)) {
        self.open.read().values().for_each(|partition| work(partition));
    }

    /// All open partitions with the index of their directory, by name.
    pub(crate) fn all(&self) -> BTreeMap<TopicPartition, (Arc<Partition>, usize)> {
        let open = self.open.read();
        open.iter().map(|(at, partition)| (at.clone(), (Arc::clone(partition), partition.dir()))).collect()
    }

    /// Makes roles, logs and configuration agree with the image.
    #[cfg(test)]
    pub(crate) fn reconcile(&self, image: &Image) -> Result<(), PartitionsError> {
        self.take_over(image)?;
        self.open_wanted()
    }

    /// Hands an image to the partitions that are open: roles first, then configuration, then deletions. Quick, except
    /// for deletions, but does file work, so call it where blocking is allowed.
    pub(crate) fn take_over(&self, image: &Image) -> Result<(), PartitionsError> {
        let Some(cluster) = image.cluster_id() else {
            return Ok(()); // nothing is known yet
        };
        let mut seen = self.seen.lock();
        if seen.cluster_id() != Some(cluster) {
            self.directories.claim(cluster)?;
        }
        self.change_roles(&seen, image);
        self.change_configs(&seen, image);
        self.close_gone(image);
        *seen = image.clone();
        Ok(())
    }

    /// Gives the partitions of topics that changed their roles. When a broker changed, all leaders look at it.
    fn change_roles(&self, before: &Image, image: &Image) {
        let now = Instant::now();
        let same_brokers = before.brokers().eq(image.brokers());
        for topic in image.topics() {
            let is_same = before.topic(&topic.name).is_some_and(|known| Arc::ptr_eq(known, topic));
            if is_same && same_brokers {
                continue;
            }
            for (index, wanted) in self.partitions_here(topic) {
                let Some(partition) = self.find(&topic.name, index) else { continue };
                if partition.topic_id() == topic.id {
                    self.change_role(&partition, wanted, image, now);
                }
            }
        }
    }

    fn change_role(&self, partition: &Arc<Partition>, wanted: &PartitionImage, image: &Image, now: Instant) {
        self.note_aside(partition, wanted);
        match partition.take_over(wanted, image, now) {
            RoleChange::None => {}
            RoleChange::Leads => {
                self.replicas.followers.stop(partition);
                tracing::debug!(partition = %partition.id(), epoch = wanted.leader_epoch.0, "leads");
            }
            RoleChange::Follows { leader, epoch } => {
                self.replicas.followers.follow(partition, leader, epoch);
                tracing::debug!(partition = %partition.id(), epoch = epoch.0, leader = leader.0, "follows");
            }
            RoleChange::Idle => self.replicas.followers.stop(partition),
        }
    }

    fn note_aside(&self, partition: &Partition, wanted: &PartitionImage) {
        let mut aside = self.aside.lock();
        match wanted.offline.contains(&self.node) {
            true => drop(aside.insert(partition.id().clone())),
            false => drop(aside.remove(partition.id())),
        }
    }

    /// Partitions with a working log whose copy here the image takes for out of use. A log that failed stays so for this run.
    pub(super) fn aside(&self) -> Vec<Arc<Partition>> {
        let mut aside = self.aside.lock();
        if aside.is_empty() {
            return Vec::new();
        }
        let found: Vec<_> = aside.iter().filter_map(|at| self.get(at)).filter(|found| !found.has_failed()).collect();
        *aside = found.iter().map(|partition| partition.id().clone()).collect();
        found
    }

    /// Hands changed configs to the partitions that are open.
    fn change_configs(&self, before: &Image, image: &Image) {
        let changed = configs::Changed::between(before, image, self.node);
        for topic in self.topics_here(image).filter(|topic| changed.concerns(&topic.name)) {
            let config = TopicConfig::of(&self.settings, image, &topic.name);
            for (index, _) in self.partitions_here(topic) {
                let Some(open) = self.find(&topic.name, index) else { continue };
                open.set_log_config(config.log.clone());
                open.set_leader_settings(config.leader, Instant::now());
            }
        }
    }

    /// Closes and deletes what the image had and has no more.
    fn close_gone(&self, image: &Image) {
        let gone: Vec<TopicPartition> = {
            let open = self.open.read();
            let is_gone =
                |(at, partition): &(&TopicPartition, &Arc<Partition>)| !self.belongs(image, at, partition.topic_id());
            open.iter().filter(is_gone).map(|(at, _)| at.clone()).collect()
        };
        for at in &gone {
            let Some(partition) = self.open.write().remove(at) else { continue };
            // Who holds the partition still, a waiting fetch for one, hears that nobody leads it any more.
            partition.retire();
            self.replicas.followers.stop(&partition);
            self.delete_log(&partition);
        }
        if !gone.is_empty() {
            self.moves.look_again(); // those that are under way end, too
        }
    }

    fn delete_log(&self, partition: &Partition) {
        self.give_up(partition.seat());
        tracing::info!(partition = %partition.id(), "deleted partition");
    }

    fn belongs(&self, image: &Image, at: &TopicPartition, topic_id: TopicId) -> bool {
        let topic = image.topic(&at.topic).filter(|topic| topic.id == topic_id);
        topic.and_then(|topic| topic.partition(at.partition)).is_some_and(|p| p.replicas.contains(&self.node))
    }

    fn doom(&self, folder: PathBuf, delay_ms: i64) {
        self.doomed.lock().push((now_ms().saturating_add(delay_ms), folder));
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

    /// Deletes folders whose topics are gone, and decides about those that belong to another topic than the image's. Only for
    /// an image that is known to be caught up, because a folder of a topic that the image has not heard of yet looks the same.
    pub(crate) fn remove_strays(&self, image: &Image) {
        self.decide_about_strangers();
        for (dir, at) in self.directories.unopened() {
            if image.partition(&at.topic, at.partition).is_some_and(|p| p.replicas.contains(&self.node)) {
                self.put_twins_aside(&at);
                continue; // wanted, but it could not be opened
            }
            match self.directories.rename_unopened(dir, &at, &deleted_name(&at)) {
                Ok(folder) => self.doom(folder, 0),
                Err(error) if error.is_known() => continue, // its directory has failed
                Err(error) => {
                    tracing::error!(partition = %at, error = %error.chain(), "cannot delete a stray folder");
                    continue;
                }
            }
            tracing::info!(partition = %at, "deleted the folder of a topic that is gone");
        }
        self.remove_stray_futures(image);
    }

    /// Removes folders of deleted partitions whose time has come.
    pub(super) fn remove_doomed(&self, now: i64) {
        self.remove_left_behind();
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
    pub(crate) fn write_checkpoints(&self, kind: Checkpoint) {
        (0..self.directories.len()).for_each(|dir| self.write_checkpoint(kind, dir));
    }

    /// Writes one kind of checkpoint of one directory. For one that has failed there is nothing to write.
    pub(super) fn write_checkpoint(&self, kind: Checkpoint, dir: usize) {
        let _alone = self.checkpointing.lock();
        self.write_checkpoint_with(kind, dir, None);
    }

    /// The same, with a log that is about to come into the directory. The caller holds `checkpointing`.
    fn write_checkpoint_with(&self, kind: Checkpoint, dir: usize, coming: Option<(TopicPartition, Offset)>) {
        let mut offsets: HashMap<TopicPartition, Offset> = coming.into_iter().collect();
        for (at, partition) in self.open.read().iter() {
            let seat = partition.seat();
            let offset = if seat.dir == dir { checkpoint_of(&seat.log, kind) } else { None };
            if let Some(offset) = offset {
                offsets.insert(at.clone(), offset);
            }
        }
        match self.directories.write_checkpoint(dir, kind, &offsets) {
            Ok(()) => {}
            Err(error) if error.is_known() => {}
            Err(error) => tracing::error!(?kind, error = %error.chain(), "cannot write a checkpoint"),
        }
    }

    /// Closes all logs and marks the directories whose logs closed well. Blocks; the last thing before the end.
    pub(crate) fn close(&self) {
        self.flushers.iter().for_each(|flusher| flusher.stop());
        self.close_futures();
        let all = self.all();
        let queue = Mutex::new(all.values().cloned().collect::<Vec<_>>());
        let failed: Mutex<Vec<usize>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..CLOSING_THREADS.min(all.len()) {
                scope.spawn(|| {
                    loop {
                        let Some((partition, dir)) = queue.lock().pop() else { return };
                        if let Err(error) = partition.log().close(now_ms()) {
                            if !error.is_known() {
                                tracing::error!(partition = %partition.id(), error = %error.chain(), "log did not close well");
                            }
                            failed.lock().push(dir);
                        }
                        partition.ring();
                    }
                });
            }
        });
        use Checkpoint::{Aborted, Cleaner, LogStart, RecoveryPoint, Replication};
        [RecoveryPoint, Replication, LogStart, Cleaner, Aborted]
            .into_iter()
            .for_each(|kind| self.write_checkpoints(kind));
        let failed = failed.into_inner();
        for dir in (0..self.directories.len()).filter(|dir| !failed.contains(dir)) {
            if let Err(error) = self.directories.mark_clean(dir)
                && !error.is_known()
            {
                tracing::error!(error = %error.chain(), "cannot mark the shutdown as clean");
            }
        }
    }
}

/// What a checkpoint says of a log, if it says something.
fn checkpoint_of(log: &PartitionLog, kind: Checkpoint) -> Option<Offset> {
    match kind {
        Checkpoint::RecoveryPoint => Some(log.recovery_point_to_write()),
        Checkpoint::Replication => Some(log.high_watermark()),
        Checkpoint::LogStart => Some(log.start_to_write()),
        Checkpoint::Cleaner => log.cleaned_to(),
        Checkpoint::Aborted => i64::try_from(log.aborted_count()).ok().filter(|count| *count > 0).map(Offset),
    }
}
