//! What became of batches that were handed to the worker: how much of a partition is under way, what its figures are, and
//! which offsets its records have on the target.
//!
//! Picture: before a batch leaves `poll` it is noted in the queue of its partition; the worker tells each one that the
//! target acknowledged, in order, and the note leaves the queue. So one partition whose target is slow is held back by
//! itself and does not fill what the task may have under way. A batch that the target refuses closes the partition's lane;
//! the task hears what was wrong with it and goes on in a new lane.
//! Invariants: O1 notes of a partition stand in the order of their positions, and are those of its present lane. O2 nothing
//! here waits: a lock is held for a push or a pop. O3 what comes of a lane that was left changes nothing.
//! A partition is found by the address of its lane, which is what the worker knows it by too.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use twinstream_connect_api::{AfterRefusal, RawLane, RawObserver, Refusal};
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::engine::{At, Complaint};
use crate::figures::Heard;
use crate::metrics::PartitionMetrics;
use crate::request::{Ready, Run};

/// Who keeps which offset of the source became which one of the target.
pub(crate) trait CopiedTo: Send + Sync {
    /// These records are on the target, at dense offsets from `base_offset` on. In order per partition; must not block.
    fn copied(&self, partition: &TopicPartition, runs: &[Run], base_offset: Offset);

    /// Records from `from` up to `next` are on the target at the same offsets. In order per partition; must not block.
    fn mirrored(&self, partition: &TopicPartition, from: Offset, next: Offset);

    /// Everything of this topic before `next` is on the target; the record before it is of that epoch. Must not block.
    fn reached(&self, partition: &TopicPartition, topic_id: TopicId, next: Offset, epoch: LeaderEpoch);
}

pub(crate) struct Observer {
    /// By the engine's numbers; those that went are `None`, with their figures.
    partitions: RwLock<Vec<Option<Arc<UnderWay>>>>,
    /// By the address of the lane, which lives as long as its entry.
    by_lane: RwLock<HashMap<usize, At>>,
    copied_to: Option<Arc<dyn CopiedTo>>,
    /// Partitions whose lane was closed.
    refused: Mutex<Vec<(At, Complaint)>>,
    /// Something was acknowledged, or refused.
    pub news: Notify,
}

/// One partition: its names, and what of it is under way.
pub(crate) struct UnderWay {
    source: TopicPartition,
    pub target: TopicPartition,
    pub metrics: Arc<PartitionMetrics>,
    bytes: AtomicUsize,
    queue: Mutex<Queue>,
}

struct Queue {
    lane: Arc<RawLane>,
    notes: VecDeque<Note>,
    /// The lane is closed; nothing was delivered since the last one was.
    closed: bool,
    suspect: bool,
    /// It keeps the source's offsets, so that a refusal is a matter between the two logs.
    aligned: bool,
    /// Where the next batch begins.
    position: Offset,
}

/// A batch that was handed on.
struct Note {
    from: Offset,
    next: i64,
    bytes: usize,
    records: u32,
    max_timestamp: i64,
    runs: Vec<Run>,
    /// It keeps the source's offsets.
    aligned: bool,
    /// Of the last batch of an answer: the topic, and the epoch behind which the position stands.
    reached: Option<(TopicId, LeaderEpoch)>,
}

/// A lane that was closed, and what is known of why.
pub(crate) struct Closed {
    pub at: At,
    /// Where the first batch begins that did not arrive.
    pub back_to: Option<Offset>,
    pub complaint: Complaint,
}

impl Observer {
    pub(crate) fn new(copied_to: Option<Arc<dyn CopiedTo>>) -> Observer {
        Observer {
            partitions: RwLock::default(),
            by_lane: RwLock::default(),
            copied_to,
            refused: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// Takes a partition on; its number is the next one, as the engine's.
    pub(crate) fn add(&self, source: TopicPartition, lane: Arc<RawLane>, metrics: Arc<PartitionMetrics>) -> At {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let at = partitions.len();
        self.by_lane.write().unwrap_or_else(PoisonError::into_inner).insert(address(&lane), at);
        let target = lane.target.clone();
        let queue =
            Queue { lane, notes: VecDeque::new(), closed: false, suspect: false, aligned: false, position: Offset(0) };
        let (bytes, queue) = (AtomicUsize::new(0), Mutex::new(queue));
        partitions.push(Some(Arc::new(UnderWay { source, target, metrics, bytes, queue })));
        at
    }

    /// Lets go of a partition: what comes of it is not heard any more.
    pub(crate) fn remove(&self, at: At) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let Some(partition) = partitions.get_mut(at).and_then(Option::take) else { return };
        let lane = address(&partition.queue().lane);
        self.by_lane.write().unwrap_or_else(PoisonError::into_inner).remove(&lane);
    }

    /// `None` for one that went.
    pub(crate) fn partition(&self, at: At) -> Option<Arc<UnderWay>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(at)?.clone()
    }

    /// Bytes of a partition that were handed on and not acknowledged.
    pub(crate) fn under_way(&self, at: At) -> usize {
        self.partition(at).map_or(0, |partition| partition.bytes.load(Ordering::Relaxed))
    }

    /// Whether nothing of a partition is under way.
    pub(crate) fn is_clear(&self, at: At) -> bool {
        self.partition(at).is_none_or(|partition| {
            let queue = partition.queue();
            queue.notes.is_empty() && !queue.closed
        })
    }

    /// Notes a batch before it is handed on, and says into which lane. `None`: the lane is closed, and the batch will come
    /// again.
    pub(crate) fn handed_on(
        &self,
        at: At,
        ready: &mut Ready,
        aligned: bool,
        reached: Option<(TopicId, LeaderEpoch)>,
    ) -> Option<Arc<RawLane>> {
        let partition = self.partition(at)?;
        let mut queue = partition.queue();
        if queue.closed {
            return None;
        }
        let note = Note {
            from: ready.from,
            next: ready.next.0,
            bytes: ready.bytes.len(),
            records: ready.records,
            max_timestamp: ready.max_timestamp,
            runs: std::mem::take(&mut ready.runs),
            aligned,
            reached,
        };
        partition.bytes.fetch_add(note.bytes, Ordering::Relaxed);
        queue.notes.push_back(note);
        queue.aligned = aligned;
        Some(Arc::clone(&queue.lane))
    }

    /// What a fetch told, and the next one asks from `position` on.
    pub(crate) fn fetched(&self, at: At, position: Offset, heard: &Heard) {
        let Some(partition) = self.partition(at) else { return };
        let mut queue = partition.queue();
        queue.position = position;
        partition.metrics.heard(heard, queue.arrived());
    }

    /// Opens new lanes for partitions whose lane was closed.
    pub(crate) fn reopen(&self) -> Vec<Closed> {
        let refused = std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        let reopened = refused.into_iter().filter_map(|(at, complaint)| {
            let partition = self.partition(at)?;
            let mut queue = partition.queue();
            let back_to = queue.notes.front().map(|note| note.from);
            self.open(at, &partition, &mut queue);
            queue.suspect = true;
            Some(Closed { at, back_to, complaint })
        });
        reopened.collect()
    }

    /// Leaves a partition's lane for a new one: what is said of batches in the old one does not count any more.
    pub(crate) fn renew(&self, at: At) {
        let Some(partition) = self.partition(at) else { return };
        let mut queue = partition.queue();
        let suspect = queue.suspect;
        self.open(at, &partition, &mut queue);
        queue.suspect = suspect;
        drop(queue);
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != at);
    }

    fn open(&self, at: At, partition: &UnderWay, queue: &mut Queue) {
        let old = Arc::clone(&queue.lane);
        let lane = RawLane {
            target: old.target.clone(),
            source_partition: old.source_partition.clone(),
            source_offset: old.source_offset,
        };
        queue.lane = Arc::new(lane);
        let mut by_lane = self.by_lane.write().unwrap_or_else(PoisonError::into_inner);
        by_lane.remove(&address(&old));
        by_lane.insert(address(&queue.lane), at);
        queue.notes.clear();
        queue.closed = false;
        partition.bytes.store(0, Ordering::Relaxed);
    }

    fn of(&self, lane: &Arc<RawLane>) -> Option<At> {
        self.by_lane.read().unwrap_or_else(PoisonError::into_inner).get(&address(lane)).copied()
    }
}

impl RawObserver for Observer {
    fn delivered(&self, lane: &Arc<RawLane>, next: i64, base_offset: Offset) {
        let Some(partition) = self.of(lane).and_then(|at| self.partition(at)) else { return };
        let mut newest = None;
        while let Some(note) = partition.pop(next) {
            partition.bytes.fetch_sub(note.bytes, Ordering::Relaxed);
            if note.records > 0 {
                partition.metrics.copied(note.records, note.bytes);
                newest = Some(note.max_timestamp);
            }
            // A broker that knows only that it has the batch already does not say where.
            if let (Some(copied_to), true) = (&self.copied_to, note.next == next && base_offset >= Offset(0))
                && !note.runs.is_empty()
            {
                copied_to.copied(&partition.source, &note.runs, base_offset);
            }
            if let (Some(copied_to), true) = (&self.copied_to, note.aligned && note.records > 0) {
                copied_to.mirrored(&partition.source, note.from, Offset(note.next));
            }
            if let (Some(copied_to), Some((topic_id, epoch))) = (&self.copied_to, note.reached) {
                copied_to.reached(&partition.source, topic_id, Offset(note.next), epoch);
            }
        }
        let queue = partition.queue();
        partition.metrics.arrived(queue.arrived(), newest);
        drop(queue);
        self.news.notify_one();
    }

    /// What smaller batches mend, as what the target takes may have changed since it was asked; what a mark of the topic
    /// explains; and everything about a mirror, whose own log end says where it goes on.
    fn refused(&self, lane: &Arc<RawLane>, refusal: &Refusal<'_>) -> AfterRefusal {
        let known = self.of(lane).and_then(|at| Some((at, self.partition(at)?)));
        let Some((at, partition)) = known else { return AfterRefusal::CloseLane };
        let mut queue = partition.queue();
        let is_passing = queue.aligned || matches!(refusal.code, Some(ErrorCode::PolicyViolation));
        if !is_passing && (!is_too_large(refusal.code) || queue.suspect || queue.notes.is_empty()) {
            return AfterRefusal::FailTask;
        }
        queue.closed = true;
        let complaint = Complaint { code: refusal.code, why: refusal.error.trace(), again: queue.suspect };
        drop(queue);
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).push((at, complaint));
        self.news.notify_one();
        AfterRefusal::CloseLane
    }
}

pub(crate) fn is_too_large(code: Option<ErrorCode>) -> bool {
    matches!(code, Some(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge))
}

impl UnderWay {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self, next: i64) -> Option<Note> {
        let mut queue = self.queue();
        queue.suspect = false;
        queue.notes.pop_front_if(|note| note.next <= next)
    }
}

impl Queue {
    /// What comes before is on the target, or needs no copy: markers, and what is left out.
    fn arrived(&self) -> Offset {
        self.notes.front().map_or(self.position, |note| note.from)
    }
}

fn address(lane: &Arc<RawLane>) -> usize {
    Arc::as_ptr(lane) as usize
}

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
