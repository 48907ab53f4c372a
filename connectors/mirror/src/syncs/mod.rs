//! What the source task writes about offsets: MirrorMaker's offset-syncs, and the exact offset map.
//!
//! Picture: each batch that the target acknowledged is noted in memory ([`CopiedTo::copied`]: a short lock, no wait). Two
//! writers in tokio tasks of their own write what changed every [`FLUSH_EVERY`], all partitions in one batch: chunks of the
//! map to the target, offset-syncs to where `offset-syncs.topic.location` says. At its start a task reads the map of its
//! partitions back, so that it goes on with the last run.
//! Invariants: S1 what is written is on the target already. S2 what could not be written is written later, and what replaced
//! it meanwhile instead of it: memory holds one map and one sync per partition, however long a cluster is away. S3 a cluster
//! that refuses offset-syncs holds up neither the map nor the copy; it is named in the log once, and counted.
//! Beside the map stands of what topic and epochs the copied records are ([`place`]); what it says first is written with
//! the next round, that it goes on every few seconds and at the end.
//! Partitions come and go while the task runs; for one that comes the map is read once more.
//! What a crash loses of the map (a quarter of a second) makes translations cautious there, never wrong.

mod due; // when a sync is written
pub(crate) mod formats; // bytes of MirrorMaker's records
pub(crate) mod settings;
pub(crate) mod topic_log; // a compacted topic
mod writers; // what runs beside the task

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::warn;
use twinstream_client::protocol::batch::OffsetRun;
use twinstream_client::{ClientError, ClientSettings, RawClient};
use twinstream_connect_api::TaskError;
use twinstream_model::{LeaderEpoch, Offset, TopicId, TopicPartition};

use self::due::{Due, Pair};
use self::formats::OffsetSync;
use self::settings::{Location, SyncSettings};
use self::topic_log::{Read, TopicLog};
use self::writers::{MapWriter, SyncWriter, SyncsAt};
use crate::away::patiently;
use crate::observer::CopiedTo;
use crate::offset_map::place::{self, Lived};
use crate::offset_map::{OffsetMap, Run, stored};

/// Checkpoints and group offsets can follow no faster than this.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// The map's topic is read at each start, and a segment in use is not compacted: small ones keep that short.
const MAP_TOPIC: [(&str, &str); 1] = [("segment.bytes", "16777216")];

/// The bookkeeping of one task.
pub(crate) struct Syncs {
    settings: SyncSettings,
    target: RawClient,
    kept: Arc<Kept>,
    writers: Mutex<JoinSet<()>>,
}

struct Kept {
    partitions: RwLock<Rows>,
    /// Those whose map changed, those with a sync, and those whose place is to be written soon or in a full round; each at
    /// most once.
    maps: Mutex<Vec<usize>>,
    syncs: Mutex<Vec<usize>>,
    places: Mutex<Vec<usize>>,
    moved: Mutex<Vec<usize>>,
    lag_max: i64,
    emit: bool,
    closing: AtomicBool,
    wake: Notify,
}

/// The partitions of a task. Numbers stay; a name that went and came again has a new one.
#[derive(Default)]
struct Rows {
    by_name: HashMap<TopicPartition, usize>,
    all: Vec<Arc<Mutex<Partition>>>,
}

struct Partition {
    name: TopicPartition,
    map: OffsetMap,
    due: Due,
    lived: Lived,
    /// It stands in `maps`, in `syncs`, in `places`, in `moved`.
    map_noted: bool,
    sync_noted: bool,
    place_noted: bool,
    moved_noted: bool,
}

/// What was taken to be written.
#[derive(Default)]
struct Taken {
    chunks: Vec<(usize, Vec<i64>)>,
    places: Vec<usize>,
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
        let what = || format!("read the offset map from topic {} on the target", settings.map_topic);
        let (kept, target_client, map_log) = patiently(what, || load(settings, target, partitions)).await?;
        let kept = Arc::new(kept);
        let mut writers = JoinSet::new();
        writers.spawn(MapWriter { kept: Arc::clone(&kept), log: map_log }.run());
        if settings.emit {
            let log = match settings.location {
                Location::Target => SyncsAt::Known(TopicLog::new(target_client.clone(), settings.syncs_topic.clone())),
                Location::Source => SyncsAt::Away(source.clone()),
            };
            writers.spawn(SyncWriter::new(Arc::clone(&kept), settings.clone(), log).run());
        }
        let (settings, target) = (settings.clone(), target_client);
        Ok(Arc::new(Self { settings, target, kept, writers: Mutex::new(writers) }))
    }

    /// Takes partitions on while the task runs, with what is stored of them. Asks once.
    pub(crate) async fn add(&self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let fresh = Kept::new(&self.settings, partitions);
        let mut log = TopicLog::new(self.target.clone(), self.settings.map_topic.clone());
        log.read_all(|read| fresh.replay(read)).await?;
        self.kept.join(fresh);
        Ok(())
    }

    /// Lets go of a partition: what is to be written of it is written, nothing more is heard.
    pub(crate) fn remove(&self, partition: &TopicPartition) {
        self.kept.rows_mut().by_name.remove(partition);
    }

    /// The target's id, if it tells one.
    pub(crate) fn target_cluster(&self) -> Option<String> {
        self.target.cluster_id()
    }

    /// Whose records were copied of a partition.
    pub(crate) fn lived(&self, partition: &TopicPartition) -> Lived {
        self.kept.find(partition).map(|(_, row)| lock(&row).lived.clone()).unwrap_or_default()
    }

    /// The worker has stored offsets.
    pub(crate) fn offsets_stored(&self) {
        self.kept.offsets_stored();
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
        self.kept.copied(partition, runs, base);
    }

    fn mirrored(&self, partition: &TopicPartition, from: Offset, next: Offset) {
        self.kept.mirrored(partition, from, next);
    }

    fn reached(&self, partition: &TopicPartition, topic_id: TopicId, next: Offset, epoch: LeaderEpoch) {
        self.kept.reached(partition, topic_id, next, epoch);
    }
}

impl Kept {
    fn new(settings: &SyncSettings, partitions: &[TopicPartition]) -> Self {
        let mut rows = Rows::default();
        partitions.iter().for_each(|name| rows.push(Partition::new(name.clone())));
        Self {
            partitions: RwLock::new(rows),
            maps: Mutex::default(),
            syncs: Mutex::default(),
            places: Mutex::default(),
            moved: Mutex::default(),
            lag_max: settings.lag_max,
            emit: settings.emit,
            closing: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    fn rows_mut(&self) -> std::sync::RwLockWriteGuard<'_, Rows> {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &TopicPartition) -> Option<(usize, Arc<Mutex<Partition>>)> {
        let rows = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let at = *rows.by_name.get(name)?;
        Some((at, Arc::clone(&rows.all[at])))
    }

    fn row(&self, at: usize) -> Arc<Mutex<Partition>> {
        Arc::clone(&self.partitions.read().unwrap_or_else(PoisonError::into_inner).all[at])
    }

    fn rows(&self) -> Vec<Arc<Mutex<Partition>>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// Takes over partitions that another one has read.
    fn join(&self, fresh: Kept) {
        let fresh = fresh.partitions.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut rows = self.rows_mut();
        for row in fresh.all {
            let name = lock(&row).name.clone();
            let at = rows.all.len();
            rows.by_name.insert(name, at);
            rows.all.push(row);
        }
    }

    fn copied(&self, name: &TopicPartition, runs: &[OffsetRun], base: Offset) {
        let Some((at, row)) = self.find(name) else { return };
        let mut kept = lock(&row);
        kept.map.copied(runs, base);
        if !std::mem::replace(&mut kept.map_noted, true) {
            lock(&self.maps).push(at);
        }
        self.note_sync(at, &mut kept, runs, base);
    }

    /// The map has nothing to say of them; MirrorMaker's clients read offset-syncs.
    fn mirrored(&self, name: &TopicPartition, from: Offset, next: Offset) {
        let Some((at, row)) = self.find(name) else { return };
        let (mut kept, mut from) = (lock(&row), from);
        while from < next {
            let length = u32::try_from(next.0 - from.0).unwrap_or(u32::MAX);
            self.note_sync(at, &mut kept, &[OffsetRun { from, length }], from);
            from = Offset(from.0 + i64::from(length));
        }
    }

    fn note_sync(&self, at: usize, kept: &mut Partition, runs: &[OffsetRun], base: Offset) {
        if !self.emit {
            return;
        }
        kept.due.copied(runs, base, self.lag_max);
        if !std::mem::replace(&mut kept.sync_noted, true) {
            lock(&self.syncs).push(at);
        }
    }

    fn reached(&self, name: &TopicPartition, topic_id: TopicId, next: Offset, epoch: LeaderEpoch) {
        let Some((at, row)) = self.find(name) else { return };
        let mut kept = lock(&row);
        if kept.lived.reached(topic_id, next, epoch) {
            self.note_place(at, &mut kept);
        } else if !std::mem::replace(&mut kept.moved_noted, true) {
            lock(&self.moved).push(at);
        }
    }

    fn note_place(&self, at: usize, kept: &mut Partition) {
        if !std::mem::replace(&mut kept.place_noted, true) {
            lock(&self.places).push(at);
        }
    }

    fn offsets_stored(&self) {
        for (at, row) in self.rows().into_iter().enumerate() {
            let mut kept = lock(&row);
            if kept.lived.is_unsure() && kept.lived.stored() {
                self.note_place(at, &mut kept);
            }
        }
    }

    fn replay(&self, read: Read<'_>) {
        let replayed = match read {
            Read::Anew => {
                for row in self.rows() {
                    let mut partition = lock(&row);
                    (partition.map, partition.lived) = (OffsetMap::default(), Lived::default());
                }
                return;
            }
            Read::Record { key, value } if place::is_key(key) => self.replay_place(key, value),
            Read::Record { key, value } => read_chunk(key, value).map(|(name, first, runs)| {
                if let Some((_, row)) = self.find(&name) {
                    lock(&row).map.replay(first, runs);
                }
            }),
        };
        if let Err(cause) = replayed {
            warn!(%cause, "a record of the offset map is left out");
        }
    }

    fn replay_place(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), formats::FormatError> {
        let name = place::read_key(key)?;
        let lived = value.map(Lived::read).transpose()?.unwrap_or_default();
        if let Some((_, row)) = self.find(&name) {
            lock(&row).lived = lived;
        }
        Ok(())
    }

    /// What is to be written now of map and places; in a full round also places that only moved.
    fn take_changes(&self, full: bool) -> (Taken, Records) {
        let (mut taken, mut records) = (Taken::default(), Records::new());
        for at in take(&self.maps) {
            let row = self.row(at);
            let mut partition = lock(&row);
            partition.map_noted = false;
            let unsaved = partition.map.take_unsaved();
            let name = &partition.name;
            records.extend(
                unsaved.iter().map(|(first, runs)| (stored::key(name, *first), runs.as_deref().map(stored::value))),
            );
            taken.chunks.push((at, unsaved.into_iter().map(|(first, _)| first).collect()));
        }
        let mut places = take(&self.places);
        if full {
            places.extend(take(&self.moved));
        }
        for at in places {
            let row = self.row(at);
            let mut partition = lock(&row);
            partition.place_noted = false;
            partition.moved_noted &= !full;
            records.push((place::key(&partition.name), Some(partition.lived.value())));
            taken.places.push(at);
        }
        (taken, records)
    }

    fn not_written(&self, taken: Taken) {
        for (at, chunks) in taken.chunks {
            let row = self.row(at);
            let mut partition = lock(&row);
            partition.map.not_saved(chunks);
            if !std::mem::replace(&mut partition.map_noted, true) {
                lock(&self.maps).push(at);
            }
        }
        for at in taken.places {
            self.note_place(at, &mut lock(&self.row(at)));
        }
    }

    /// The syncs to be written now; in a full round those that wait as well.
    fn take_syncs(&self, full: bool) -> (Vec<(usize, Pair)>, Records) {
        let (mut taken, mut records) = (Vec::new(), Records::new());
        let noted = take(&self.syncs);
        for at in noted {
            let row = self.row(at);
            let mut partition = lock(&row);
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
            let row = self.row(at);
            let mut partition = lock(&row);
            partition.due.not_written(pair);
            if !std::mem::replace(&mut partition.sync_noted, true) {
                lock(&self.syncs).push(at);
            }
        }
    }
}

impl Rows {
    fn push(&mut self, partition: Partition) {
        self.by_name.insert(partition.name.clone(), self.all.len());
        self.all.push(Arc::new(Mutex::new(partition)));
    }
}

impl Partition {
    fn new(name: TopicPartition) -> Self {
        Self {
            name,
            map: OffsetMap::default(),
            due: Due::default(),
            lived: Lived::default(),
            map_noted: false,
            sync_noted: false,
            place_noted: false,
            moved_noted: false,
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
