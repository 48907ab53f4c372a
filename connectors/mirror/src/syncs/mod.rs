//! What the source task writes about offsets: MirrorMaker's offset-syncs, and the exact offset map.
//!
//! Picture: each batch that the target acknowledged is noted in memory ([`CopiedTo::copied`]: a short lock, no wait). Two
//! writers in tokio tasks of their own write what changed every [`FLUSH_EVERY`], all partitions in one batch: chunks of the
//! map to the target, offset-syncs to where `offset-syncs.topic.location` says. At its start a task reads the map of its
//! partitions back, so that it goes on with the last run.
//! Invariants: S1 what is written is on the target already. S2 what could not be written is written later, and what replaced
//! it meanwhile instead of it: memory holds one map and one sync per partition, however long a cluster is away. S3 a cluster
//! that refuses offset-syncs holds up neither the map nor the copy; it is named in the log once, and counted.
//! What a crash loses of the map (a quarter of a second) makes translations cautious there, never wrong.

mod due; // when a sync is written
pub(crate) mod formats; // bytes of MirrorMaker's records
pub(crate) mod settings;
pub(crate) mod topic_log; // a compacted topic
mod writers; // what runs beside the task

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::warn;
use twinstream_client::protocol::batch::OffsetRun;
use twinstream_client::{ClientError, ClientSettings, RawClient};
use twinstream_connect_api::TaskError;
use twinstream_connect_api::error::trace_of;
use twinstream_model::{Offset, TopicPartition};

use self::due::{Due, Pair};
use self::formats::OffsetSync;
use self::settings::{Location, SyncSettings};
use self::topic_log::{Read, TopicLog};
use self::writers::{MapWriter, SyncWriter, SyncsAt};
use crate::observer::CopiedTo;
use crate::offset_map::{OffsetMap, Run, stored};

/// Checkpoints and group offsets can follow no faster than this.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// The map's topic is read at each start, and a segment in use is not compacted: small ones keep that short.
const MAP_TOPIC: [(&str, &str); 1] = [("segment.bytes", "16777216")];

/// A task waits as long for a target that is away when it begins as it does for a source.
const AWAY_MAX: Duration = Duration::from_secs(30 * 60);
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// The bookkeeping of one task.
pub(crate) struct Syncs {
    kept: Arc<Kept>,
    writers: Mutex<JoinSet<()>>,
}

struct Kept {
    by_name: HashMap<TopicPartition, usize>,
    partitions: Vec<Mutex<Partition>>,
    /// Those whose map changed, and those with a sync; each at most once.
    maps: Mutex<Vec<usize>>,
    syncs: Mutex<Vec<usize>>,
    lag_max: i64,
    emit: bool,
    closing: AtomicBool,
    wake: Notify,
}

struct Partition {
    name: TopicPartition,
    map: OffsetMap,
    due: Due,
    /// It stands in `maps`, in `syncs`.
    map_noted: bool,
    sync_noted: bool,
}

type Records = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Syncs {
    /// Makes the map's topic, reads the map of these partitions, and starts to follow.
    pub(crate) async fn open(
        settings: &SyncSettings,
        source: &ClientSettings,
        target: &ClientSettings,
        partitions: &[TopicPartition],
    ) -> Result<Arc<Self>, TaskError> {
        let until = Instant::now() + AWAY_MAX;
        let mut is_told = false;
        let (kept, target, map_log) = loop {
            match load(settings, target, partitions).await {
                Ok(loaded) => break loaded,
                Err(cause) if cause.is_retriable() && Instant::now() < until => {
                    if !std::mem::replace(&mut is_told, true) {
                        let cause = trace_of(&cause);
                        warn!(topic = %settings.map_topic, cause, "the offset map cannot be read, nothing is copied yet");
                    }
                    sleep(AWAY_PAUSE).await;
                }
                Err(cause) => {
                    let what = format!("read the offset map from topic {} on the target", settings.map_topic);
                    return Err(TaskError::fatal(what).caused_by(cause));
                }
            }
        };
        let kept = Arc::new(kept);
        let mut writers = JoinSet::new();
        writers.spawn(MapWriter { kept: Arc::clone(&kept), log: map_log }.run());
        if settings.emit {
            let log = match settings.location {
                Location::Target => SyncsAt::Known(TopicLog::new(target, settings.syncs_topic.clone())),
                Location::Source => SyncsAt::Away(source.clone()),
            };
            writers.spawn(SyncWriter::new(Arc::clone(&kept), settings.clone(), log).run());
        }
        Ok(Arc::new(Self { kept, writers: Mutex::new(writers) }))
    }

    /// Writes what is left and ends; waits no longer than `within`.
    pub(crate) async fn close(&self, within: Duration) {
        self.kept.closing.store(true, Ordering::Release);
        self.kept.wake.notify_waiters();
        let mut writers = std::mem::take(&mut *lock(&self.writers));
        let all = async { while writers.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            warn!("the last changes of the offset map or offset-syncs are not written: their cluster does not answer");
        }
    }
}

async fn load(
    settings: &SyncSettings,
    target: &ClientSettings,
    partitions: &[TopicPartition],
) -> Result<(Kept, RawClient, TopicLog), ClientError> {
    let target = RawClient::connect(target).await?;
    let mut log = TopicLog::new(target.clone(), settings.map_topic.clone());
    log.ensure(settings.replicas, &MAP_TOPIC).await?;
    let kept = Kept::new(settings, partitions);
    log.read_all(|read| kept.replay(read)).await?;
    Ok((kept, target, log))
}

impl CopiedTo for Syncs {
    fn copied(&self, partition: &TopicPartition, runs: &[OffsetRun], base: Offset) {
        let Some(&at) = self.kept.by_name.get(partition) else { return };
        self.kept.copied(at, runs, base);
    }
}

impl Kept {
    fn new(settings: &SyncSettings, partitions: &[TopicPartition]) -> Self {
        let partition = |name: &TopicPartition| {
            let (map, due) = (OffsetMap::default(), Due::default());
            Mutex::new(Partition { name: name.clone(), map, due, map_noted: false, sync_noted: false })
        };
        Self {
            by_name: partitions.iter().cloned().enumerate().map(|(at, name)| (name, at)).collect(),
            partitions: partitions.iter().map(partition).collect(),
            maps: Mutex::default(),
            syncs: Mutex::default(),
            lag_max: settings.lag_max,
            emit: settings.emit,
            closing: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    fn copied(&self, at: usize, runs: &[OffsetRun], base: Offset) {
        let mut kept = lock(&self.partitions[at]);
        kept.map.copied(runs, base);
        if !std::mem::replace(&mut kept.map_noted, true) {
            lock(&self.maps).push(at);
        }
        if self.emit {
            kept.due.copied(runs, base, self.lag_max);
            if !std::mem::replace(&mut kept.sync_noted, true) {
                lock(&self.syncs).push(at);
            }
        }
    }

    fn replay(&self, read: Read<'_>) {
        match read {
            Read::Anew => self.partitions.iter().for_each(|partition| lock(partition).map = OffsetMap::default()),
            Read::Record { key, value } => match read_chunk(key, value) {
                Ok((name, first, runs)) => {
                    if let Some(&at) = self.by_name.get(&name) {
                        lock(&self.partitions[at]).map.replay(first, runs);
                    }
                }
                Err(cause) => warn!(%cause, "a record of the offset map is left out"),
            },
        }
    }

    /// The chunks to be written now, and whose they are.
    fn take_chunks(&self) -> (Vec<(usize, Vec<i64>)>, Records) {
        let (mut taken, mut records) = (Vec::new(), Records::new());
        let noted = take(&self.maps);
        for at in noted {
            let mut partition = lock(&self.partitions[at]);
            partition.map_noted = false;
            let unsaved = partition.map.take_unsaved();
            let name = &partition.name;
            records.extend(
                unsaved.iter().map(|(first, runs)| (stored::key(name, *first), runs.as_deref().map(stored::value))),
            );
            taken.push((at, unsaved.into_iter().map(|(first, _)| first).collect()));
        }
        (taken, records)
    }

    fn chunks_not_written(&self, taken: Vec<(usize, Vec<i64>)>) {
        for (at, chunks) in taken {
            let mut partition = lock(&self.partitions[at]);
            partition.map.not_saved(chunks);
            if !std::mem::replace(&mut partition.map_noted, true) {
                lock(&self.maps).push(at);
            }
        }
    }

    /// The syncs to be written now; in a full round those that wait as well.
    fn take_syncs(&self, full: bool) -> (Vec<(usize, Pair)>, Records) {
        let (mut taken, mut records) = (Vec::new(), Records::new());
        let noted = take(&self.syncs);
        for at in noted {
            let mut partition = lock(&self.partitions[at]);
            if let Some((upstream, downstream)) = partition.due.take(full) {
                let sync = OffsetSync { partition: partition.name.clone(), upstream, downstream };
                records.push((sync.key(), Some(sync.value())));
                taken.push((at, (upstream, downstream)));
            }
            partition.sync_noted = partition.due.is_waiting();
            if partition.sync_noted {
                lock(&self.syncs).push(at);
            }
        }
        (taken, records)
    }

    fn syncs_not_written(&self, taken: Vec<(usize, Pair)>) {
        for (at, pair) in taken {
            let mut partition = lock(&self.partitions[at]);
            partition.due.not_written(pair);
            if !std::mem::replace(&mut partition.sync_noted, true) {
                lock(&self.syncs).push(at);
            }
        }
    }
}

type Chunk = (TopicPartition, i64, Option<Vec<Run>>);

pub(crate) fn read_chunk(key: &[u8], value: Option<&[u8]>) -> Result<Chunk, formats::FormatError> {
    let (name, first) = stored::read_key(key)?;
    let runs = value.map(|value| stored::read_value(first, value)).transpose()?;
    Ok((name, first, runs))
}

/// Empties a list. A function, because a guard in the head of a loop would be held until the loop's end.
fn take(list: &Mutex<Vec<usize>>) -> Vec<usize> {
    std::mem::take(&mut *lock(list))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
