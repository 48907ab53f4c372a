//! Opens the logs that the image wants here.
//!
//! Picture: several threads take partitions from one list. After a crash each log is checked from its recovery point
//! on, so a long list says every second how far it has come.
//!
//! Invariants: a log that cannot be opened costs its partition only, and is tried again with the next call; a
//! partition that is ready takes its role from the newest image, not from the one that wanted it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use twinstream_log::{Checkpoint, PartitionLog};
use twinstream_metadata::Image;
use twinstream_model::{TopicId, TopicPartition};

use crate::settings::live::LiveSettings;

use super::{Partition, PartitionManager, PartitionsError, Surroundings, TopicConfig, now_ms};

/// How often a long opening says how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A partition that the image wants here and that is not open.
pub(super) struct Wanted {
    pub(super) at: TopicPartition,
    pub(super) topic_id: TopicId,
    config: TopicConfig,
    pub(super) dir: usize,
    exists: bool,
}

impl PartitionManager {
    /// Opens what the last image wants here, several logs at once. A partition that cannot be opened is an error after
    /// all others were; the next call tries it again. May take long.
    pub(crate) fn open_wanted(&self) -> Result<(), PartitionsError> {
        let _alone = self.opening.lock();
        let image = self.seen.lock().clone();
        let wanted = self.wanted(&image);
        if wanted.is_empty() {
            return Ok(());
        }
        let threads = self.recovery_threads(&image).min(wanted.len());
        let total = wanted.len();
        let queue = Mutex::new(VecDeque::from(wanted));
        let failures: Mutex<Vec<PartitionsError>> = Mutex::default();
        let (done, running) = (AtomicUsize::new(0), AtomicUsize::new(threads));
        std::thread::scope(|scope| {
            let watcher = std::thread::current();
            for _ in 0..threads {
                let (queue, failures, done, running) = (&queue, &failures, &done, &running);
                let watcher = watcher.clone();
                scope.spawn(move || {
                    let _leaving = Leaving { running, watcher };
                    loop {
                        let Some(next) = queue.lock().pop_front() else { return };
                        if let Err(error) = self.open_one(next) {
                            self.name_unopened(&error);
                            failures.lock().push(error);
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            report_progress(total, &done, &running);
        });
        tracing::debug!(partitions = total, threads, "opened partitions");
        match failures.into_inner().pop() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Logs that may be opened at once.
    pub(in crate::partitions) fn recovery_threads(&self, image: &Image) -> usize {
        let live = LiveSettings::new(&self.settings, image);
        let per_dir = live.integer("num.recovery.threads.per.data.dir", self.settings.log.recovery_threads_per_dir);
        per_dir.max(1) * self.directories.len()
    }

    fn wanted(&self, image: &Image) -> Vec<Wanted> {
        let mut load: Vec<usize> = vec![0; self.directories.len()];
        let cordoned = LiveSettings::new(&self.settings, image).cordoned_dirs();
        self.open.read().values().for_each(|partition| load[partition.dir()] += 1);
        let mut wanted = Vec::new();
        for topic in self.topics_here(image) {
            let mut config = None;
            for (index, _) in self.partitions_here(topic) {
                let at = TopicPartition::new(topic.name.clone(), index);
                if self.open.read().contains_key(&at) {
                    continue;
                }
                let config = config.get_or_insert_with(|| TopicConfig::of(&self.settings, image, &topic.name));
                let holder = self.directories.holder(&at, topic.id);
                let usable = (0..load.len()).filter(|dir| self.directories.works(*dir));
                let emptiest = usable.min_by_key(|dir| (cordoned[*dir], load[*dir]));
                let may_make = self.directories.may_make(topic.id, index);
                let chosen = self.moves.chosen(&at).filter(|dir| self.directories.works(*dir));
                let fresh = chosen.or(emptiest).filter(|_| may_make);
                let Some(dir) = holder.or(fresh).filter(|dir| self.directories.works(*dir)) else {
                    continue; // its log is out of reach, or there is no directory left
                };
                load[dir] += 1;
                let exists = holder.is_some();
                wanted.push(Wanted { at, topic_id: topic.id, config: config.clone(), dir, exists });
            }
        }
        wanted
    }

    fn open_one(&self, wanted: Wanted) -> Result<(), PartitionsError> {
        let log = self.open_log(&wanted)?;
        if log.recovery_point() < self.directories.recovery_point(wanted.dir, &wanted.at) {
            // Records are gone that were on the disk. Before others take their offsets: the next start must check those.
            self.write_checkpoint(Checkpoint::RecoveryPoint, wanted.dir);
        }
        let around = Surroundings {
            node: self.node,
            isr: Arc::clone(&self.replicas.isr),
            followers: Arc::clone(&self.follower_bells),
            room: self.room(wanted.dir),
            failures: Arc::clone(&self.failures),
        };
        let partition = Partition::new(log, wanted.config.leader, around);
        self.admit(partition, wanted);
        Ok(())
    }

    fn open_log(&self, wanted: &Wanted) -> Result<PartitionLog, PartitionsError> {
        let (at, dir) = (&wanted.at, wanted.dir);
        let failed = |source| PartitionsError::Open { partition: at.clone(), source };
        let config = || wanted.config.log.clone();
        if wanted.exists && self.is_ours(wanted)? {
            return self.directories.open_log(dir, at, config(), self.metrics.clone(), now_ms()).map_err(failed);
        }
        self.make_way(dir, at, wanted.topic_id).map_err(failed)?;
        let created = self.directories.create_log(dir, at, wanted.topic_id, config(), self.metrics.clone(), now_ms());
        created.map_err(failed)
    }

    /// Puts a partition into the set with the role that the newest image gives it; if that has dropped it meanwhile,
    /// its log goes.
    fn admit(&self, partition: Arc<Partition>, Wanted { at, topic_id, config, .. }: Wanted) {
        let seen = self.seen.lock();
        let topic = seen.topic(&at.topic).filter(|topic| topic.id == topic_id);
        let image = topic.and_then(|topic| topic.partition(at.partition));
        let Some(image) = image.filter(|image| image.replicas.contains(&self.node)) else {
            return self.delete_log(&partition);
        };
        let newest = TopicConfig::of(&self.settings, &seen, &at.topic);
        if newest != config {
            partition.set_log_config(newest.log);
            partition.set_leader_settings(newest.leader, Instant::now());
        }
        self.moves.settled(&at);
        self.open.write().insert(at.clone(), Arc::clone(&partition));
        if partition.log().is_damaged() {
            self.joined_damaged.fetch_add(1, Ordering::AcqRel);
        }
        self.change_role(&partition, image, &seen, Instant::now());
        drop(seen);
        self.put_twins_aside(&at);
        self.resume_move(&partition);
    }
}

/// A thread that opens logs; when it leaves, by a panic too, whoever reports progress hears of it.
struct Leaving<'a> {
    running: &'a AtomicUsize,
    watcher: std::thread::Thread,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Release);
        self.watcher.unpark();
    }
}

fn report_progress(total: usize, done: &AtomicUsize, running: &AtomicUsize) {
    let mut next = Instant::now() + PROGRESS_INTERVAL;
    while running.load(Ordering::Acquire) > 0 {
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        if Instant::now() >= next {
            tracing::info!(done = done.load(Ordering::Relaxed), total, "recovering logs");
            next += PROGRESS_INTERVAL;
        }
    }
}
