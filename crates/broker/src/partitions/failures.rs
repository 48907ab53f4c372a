//! Log directories and logs that fail while the broker runs (KIP-112).
//!
//! Picture: whoever meets a failure names it here and goes on; one task draws the conclusions. The partitions concerned are
//! offline at once, so that clients look elsewhere. Then the controller is told, which gives their leaderships to other
//! in-sync replicas; partitions of other directories notice nothing. The task also looks at each directory now and then,
//! because nobody else would notice that an idle disk has gone.
//!
//! ```text
//!   write or flush fails ─▶ directory offline ─▶ its partitions offline ─▶ controller ─▶ leaders elsewhere
//! ```
//! Invariants: a failure is never tried again in this process; a broker that cannot tell the controller within
//! `log.dir.failure.timeout.ms` stops, because others would wait for it for ever, and so does one without any directory.
//!
//! Bound: what is named is a set of this broker's partitions and directories.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use twinstream_model::{PartitionIndex, TopicId, TopicPartition};

use super::{PartitionManager, PartitionsError};
use crate::BrokerError;
use crate::context::Broker;

/// How often directories are looked at.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What failed and was not dealt with yet.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    named: Mutex<Named>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Named {
    dirs: BTreeSet<usize>,
    partitions: BTreeSet<TopicPartition>,
}

impl Failures {
    fn is_empty(&self) -> bool {
        let named = self.named.lock();
        named.dirs.is_empty() && named.partitions.is_empty()
    }

    /// A log is out of use.
    pub(super) fn name(&self, partition: &TopicPartition) {
        self.named.lock().partitions.insert(partition.clone());
        self.bell.notify_one();
    }

    /// A directory is out of use.
    pub(super) fn name_dir(&self, dir: usize) {
        self.named.lock().dirs.insert(dir);
        self.bell.notify_one();
    }
}

/// Watches over the directories. Returns when the broker has to stop.
pub(crate) async fn watch(broker: Arc<Broker>) -> BrokerError {
    let failures = Arc::clone(&broker.partitions.failures);
    let offline_dirs = broker
        .metrics
        .registry
        .gauge("kafka_log_logmanager_offlinelogdirectorycount", "Log directories that failed, or could not be opened.");
    offline_dirs.set(broker.partitions.offline_directories());
    let mut reports: JoinSet<Result<(), BrokerError>> = JoinSet::new();
    let mut probes: JoinSet<()> = JoinSet::new();
    let mut ticks = tokio::time::interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = failures.bell.notified() => {}
            // A disk that hangs holds up the next look and nothing else.
            _ = ticks.tick(), if probes.is_empty() => {
                let partitions = Arc::clone(&broker.partitions);
                probes.spawn_blocking(move || partitions.probe());
            }
            Some(_) = probes.join_next() => {}
            Some(reported) = reports.join_next() => match reported {
                Ok(Err(error)) => return error,
                Ok(Ok(())) => {}
                Err(_) => return BrokerError::Ended("telling the controller of failed disks"),
            },
        }
        if failures.is_empty() {
            continue;
        }
        let partitions = Arc::clone(&broker.partitions);
        let offline = tokio::task::spawn_blocking(move || partitions.take_offline()).await;
        let Ok(offline) = offline else { return BrokerError::Ended("taking failed disks out of use") };
        offline_dirs.set(broker.partitions.offline_directories());
        if !broker.partitions.has_directory() {
            return BrokerError::NoDirectoryLeft;
        }
        if !offline.is_empty() {
            reports.spawn(report(Arc::clone(&broker), offline));
        }
    }
}

async fn report(broker: Arc<Broker>, offline: Vec<(TopicId, PartitionIndex)>) -> Result<(), BrokerError> {
    let limit = broker.settings.log.directory_failure_timeout;
    match broker.controller.report_offline(&offline, limit).await {
        Ok(()) => {
            tracing::info!(partitions = offline.len(), "the controller knows which copies are out of use");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, partitions = offline.len(), "cannot tell the controller which copies are out of use");
            Err(BrokerError::FailureNotReported { limit_ms: limit.as_millis() })
        }
    }
}

impl PartitionManager {
    /// Looks at each directory that works; what is wrong with one is named by its disk.
    fn probe(&self) {
        for dir in (0..self.directories().len()).filter(|dir| self.directories().works(*dir)) {
            if let Err(error) = self.directories().probe(dir) {
                tracing::debug!(error = %error.chain(), "log directory does not answer well");
            }
        }
    }

    fn offline_directories(&self) -> i64 {
        i64::try_from(self.directories().offline_count()).unwrap_or(i64::MAX)
    }

    fn has_directory(&self) -> bool {
        (0..self.directories().len()).any(|dir| self.directories().works(dir))
    }

    /// A log that cannot be opened is no use until somebody mends it: others take over, if there are others.
    pub(super) fn name_unopened(&self, error: &PartitionsError) {
        if let PartitionsError::Stranger { .. } = error {
            return tracing::debug!(%error, "partition is not opened yet");
        }
        tracing::error!(%error, "partition is not available");
        if let PartitionsError::Open { partition, source } = error
            && !source.is_passing()
            && !source.is_known()
        {
            self.failures.name(partition);
        }
    }

    /// Puts out of use what was named; returns which partitions of this broker that are.
    pub(super) fn take_offline(&self) -> Vec<(TopicId, PartitionIndex)> {
        let named = std::mem::take(&mut *self.failures.named.lock());
        let mut offline = BTreeSet::new();
        for (at, (partition, dir)) in self.all() {
            if named.dirs.contains(&dir) || named.partitions.contains(&at) {
                partition.take_offline();
                self.stop_following(&partition);
                offline.insert((partition.topic_id(), at.partition));
            }
        }
        let image = self.newest_image();
        for at in &named.partitions {
            // Those that could not be opened are in no set.
            offline.extend(image.topic(&at.topic).map(|topic| (topic.id, at.partition)));
        }
        let hidden = self.directories().unopened().into_iter().filter(|(dir, _)| named.dirs.contains(dir));
        for (_, at) in hidden {
            offline.extend(image.topic(&at.topic).map(|topic| (topic.id, at.partition)));
        }
        for dir in &named.dirs {
            let (disk, partitions) = (self.directories().disk(*dir), offline.len());
            tracing::error!(dir = %disk.path().display(), cause = disk.failure(), partitions, "partitions of a failed log directory are offline here, other replicas take over");
        }
        offline.into_iter().collect()
    }
}
