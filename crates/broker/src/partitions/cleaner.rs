//! Compacts logs, always the one that needs it most.
//!
//! Picture: a task keeps `log.cleaner.threads` rounds going, each on a thread where blocking is allowed. A round looks at
//! all compacted logs of this broker, leaders and followers alike, takes the one with the largest dirty share of those
//! that are due, compacts it and notes how far it is clean. When a round finds nothing, all rest for
//! `log.cleaner.backoff.ms`. All rounds share one allowance of bytes per second.
//!
//! Invariants: a log is compacted by one round at a time; one that cannot be compacted is set aside with a warning and
//! does not keep others waiting. Memory: the keys and buffers of one log for each round, within the settings. A stop is
//! noticed at the next read or write.
//!
//! Not here: what a compaction does (`twinstream_log`), when records go by age or size (`background`).

mod aside; // logs that cannot be compacted
mod metrics; // under Kafka's names
mod pace; // bytes per second

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinstream_log::{Checkpoint, CleanError, Cleaned, CleanerLimits, Dirt};
use twinstream_model::TopicPartition;

use super::{Partition, PartitionManager, now_ms};
use crate::settings::CleanerSettings;
use crate::settings::live::LiveSettings;

use aside::Aside;
pub(crate) use metrics::CleanerMetrics;
use pace::{Allowance, Stopping};

/// Sees to it that logs are compacted.
pub(crate) struct Cleaner {
    manager: Arc<PartitionManager>,
    metrics: CleanerMetrics,
    /// What is being compacted. Held while a round chooses, so that two do not choose the same.
    busy: Mutex<HashSet<TopicPartition>>,
    aside: Mutex<Aside>,
    allowance: Allowance,
}

/// A log that a round takes on.
struct Choice {
    at: TopicPartition,
    partition: Arc<Partition>,
    dir: usize,
    dirt: Dirt,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// A log was compacted; there may be another one.
    Worked,
    /// Time for a rest.
    NothingToDo,
}

impl Cleaner {
    pub(crate) fn new(manager: Arc<PartitionManager>, metrics: CleanerMetrics) -> Arc<Self> {
        Arc::new(Self {
            manager,
            metrics,
            busy: Mutex::default(),
            aside: Mutex::default(),
            allowance: Allowance::default(),
        })
    }

    /// Works until `shutdown` fires.
    pub(crate) fn start(self: &Arc<Self>, tasks: &TaskTracker, shutdown: &CancellationToken) {
        tasks.spawn(Arc::clone(self).supervise(shutdown.clone()));
    }

    async fn supervise(self: Arc<Self>, shutdown: CancellationToken) {
        let mut rounds: JoinSet<Round> = JoinSet::new();
        let mut rests_until = tokio::time::Instant::now() + self.settings().backoff;
        while !shutdown.is_cancelled() {
            let settings = self.settings();
            let is_rested = tokio::time::Instant::now() >= rests_until;
            while settings.enabled && is_rested && rounds.len() < settings.threads {
                let (cleaner, stop) = (Arc::clone(&self), shutdown.clone());
                rounds.spawn_blocking(move || cleaner.round(&settings, &stop));
            }
            let wakes = if is_rested { tokio::time::Instant::now() + settings.backoff } else { rests_until };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep_until(wakes) => {}
                Some(ended) = rounds.join_next() => match ended {
                    Ok(Round::Worked) => {}
                    Ok(Round::NothingToDo) => rests_until = tokio::time::Instant::now() + settings.backoff,
                    Err(error) => {
                        tracing::error!(%error, "a compaction panicked");
                        self.metrics.panicked();
                        rests_until = tokio::time::Instant::now() + settings.backoff;
                    }
                }
            }
        }
        while rounds.join_next().await.is_some() {}
    }

    /// What counts at the moment.
    pub(super) fn settings(&self) -> CleanerSettings {
        let settings = self.manager.settings();
        settings.cleaner.live(&LiveSettings::new(settings, &self.manager.newest_image()))
    }

    pub(super) fn round(&self, settings: &CleanerSettings, stop: &CancellationToken) -> Round {
        let Some(choice) = self.choose() else { return Round::NothingToDo };
        let _busy = Busy { cleaner: self, at: choice.at.clone() };
        self.allowance.set(settings.bytes_per_second);
        let round = self.clean(&choice, &limits(settings), stop);
        self.show_aside();
        round
    }

    /// The due log with the largest dirty share, marked as busy.
    fn choose(&self) -> Option<Choice> {
        let mut busy = self.busy.lock();
        let now = now_ms();
        let mut best: Option<Choice> = None;
        let mut seen = metrics::Survey::default();
        self.aside.lock().release(Instant::now());
        for (at, (partition, dir)) in self.manager.all() {
            let log = partition.log();
            if !log.config().cleanup.compact || busy.contains(&at) || self.aside.lock().holds(&at) {
                continue;
            }
            if self.manager.is_moving(&at) {
                continue; // its copy would have neither all of the old segments nor all of the new ones
            }
            let dirt = match log.roll_overdue(now).and_then(|()| log.dirt(now)) {
                Ok(dirt) => dirt,
                Err(error) => {
                    self.set_aside(&at, dir, error.is_known(), &error.chain());
                    continue;
                }
            };
            seen.note(&dirt);
            let is_better = best.as_ref().is_none_or(|best| dirt.ratio() > best.dirt.ratio());
            if dirt.is_due(&log.config()) && is_better {
                best = Some(Choice { at, partition, dir, dirt });
            }
        }
        self.metrics.surveyed(&seen);
        self.show_aside();
        busy.extend(best.as_ref().map(|best| best.at.clone()));
        best
    }

    fn clean(&self, choice: &Choice, limits: &CleanerLimits, stop: &CancellationToken) -> Round {
        let started = Instant::now();
        let pace = Stopping { allowance: &self.allowance, stop };
        match choice.partition.log().clean(limits, &pace, now_ms()) {
            Ok(done) => {
                self.manager.write_checkpoint(Checkpoint::Cleaner, choice.dir);
                self.metrics.cleaned(&done, started.elapsed());
                report(choice, &done, started);
                return Round::Worked;
            }
            Err(CleanError::Interrupted | CleanError::Superseded) => {
                tracing::debug!(partition = %choice.at, "compaction ended early and will begin anew");
            }
            Err(CleanError::Log(error) | CleanError::Write(error)) => {
                self.set_aside(&choice.at, choice.dir, error.is_known(), &error.chain());
            }
            Err(error) => self.set_aside(&choice.at, choice.dir, false, &error.to_string()),
        }
        Round::NothingToDo // what got in the way may do so again at once
    }

    /// This log does not get compacted for a while. What is wrong with it may be known already: it is closed, or its disk
    /// is out of use.
    fn set_aside(&self, at: &TopicPartition, dir: usize, is_known: bool, why: &str) {
        if !is_known {
            tracing::warn!(partition = %at, why, "partition cannot be compacted and is set aside; it keeps growing");
        }
        self.aside.lock().add(at.clone(), dir, Instant::now());
    }

    /// Tells the metrics what is set aside, and how much of it is not compacted.
    fn show_aside(&self) {
        let mut aside = self.aside.lock();
        aside.retain(|at| self.manager.get(at).is_some());
        let mut by_dir = vec![(0, 0); self.manager.directories().paths().count()];
        for (at, dir) in aside.iter() {
            let Some(partition) = self.manager.get(at) else { continue };
            let bytes =
                partition.log().dirt(now_ms()).map_or_else(|_| partition.log().size(), |dirt| dirt.cleanable_bytes);
            by_dir[dir].0 += 1;
            by_dir[dir].1 += bytes;
        }
        for (path, (partitions, bytes)) in self.manager.directories().paths().zip(by_dir) {
            self.metrics.uncleanable(path, partitions, bytes);
        }
    }
}

/// A log that a round has taken on, until this is dropped.
struct Busy<'a> {
    cleaner: &'a Cleaner,
    at: TopicPartition,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.cleaner.busy.lock().remove(&self.at);
    }
}

/// Kafka halves the buffer, too: one part reads, one writes.
fn limits(settings: &CleanerSettings) -> CleanerLimits {
    let threads = settings.threads.max(1) as u64;
    let share = |bytes: u64| usize::try_from(bytes / threads).unwrap_or(usize::MAX);
    CleanerLimits {
        map_bytes: share(settings.dedupe_bytes),
        load_factor: settings.load_factor,
        io_bytes: share(settings.io_bytes) / 2,
    }
}

fn report(choice: &Choice, done: &Cleaned, started: Instant) {
    if done.without_key > 0 {
        tracing::warn!(partition = %choice.at, records = done.without_key, "removed records without a key from a compacted topic");
    }
    tracing::info!(
        partition = %choice.at,
        dirty_percent = (choice.dirt.ratio() * 100.0) as u64,
        bytes_before = done.bytes_before,
        bytes_after = done.bytes_after,
        records_before = done.records_before,
        records_after = done.records_after,
        segments_before = done.segments_before,
        segments_after = done.segments_after,
        elapsed_ms = started.elapsed().as_millis() as u64,
        "compacted a log"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_the_memory_for_keys() {
        let settings = CleanerSettings {
            enabled: true,
            threads: 2,
            backoff: std::time::Duration::ZERO,
            dedupe_bytes: 64 << 20,
            load_factor: 0.9,
            io_bytes: 1 << 20,
            bytes_per_second: f64::MAX,
        };
        assert_eq!(limits(&settings).map_bytes, 32 << 20);
        assert_eq!(limits(&CleanerSettings { dedupe_bytes: 8 << 20, ..settings }).map_bytes, 4 << 20);
    }
}
