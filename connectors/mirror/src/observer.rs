//! What became of batches that were handed to the worker: how much of a partition is under way, what its figures are, and
//! which offsets its records have on the target.
//!
//! Picture: before a batch leaves `poll` it is noted in the queue of its partition; the worker tells each one that the
//! target acknowledged, in order, and the note leaves the queue. So one partition whose target is slow is held back by
//! itself and does not fill what the task may have under way. A batch that the target finds too large closes the
//! partition's lane; the task takes what was under way back and hands it on anew, in smaller batches, in a new lane.
//! Invariants: O1 notes of a partition stand in the order of their positions, and are those of its present lane. O2 nothing
//! here waits: a lock is held for a push or a pop. O3 a second refusal without a delivery between fails the task.
//! A partition is found by the address of its lane, which is what the worker knows it by too.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use twinstream_connect_api::{AfterRefusal, RawLane, RawObserver, Refusal};
use twinstream_model::{ErrorCode, Offset, TopicPartition};

use crate::engine::At;
use crate::metrics::PartitionMetrics;
use crate::request::{Ready, Run};

/// Who keeps which offset of the source became which one of the target.
pub(crate) trait CopiedTo: Send + Sync {
    /// These records are on the target, at dense offsets from `base_offset` on. In order per partition; must not block.
    fn copied(&self, partition: &TopicPartition, runs: &[Run], base_offset: Offset);
}

pub(crate) struct Observer {
    /// By the engine's numbers.
    partitions: Vec<UnderWay>,
    /// By the address of the lane, which lives as long as its entry.
    by_lane: RwLock<HashMap<usize, At>>,
    copied_to: Option<Arc<dyn CopiedTo>>,
    /// Partitions whose lane was closed.
    refused: Mutex<Vec<At>>,
    /// Something was acknowledged, or refused.
    pub news: Notify,
}

struct UnderWay {
    source: TopicPartition,
    target: TopicPartition,
    metrics: Arc<PartitionMetrics>,
    bytes: AtomicUsize,
    queue: Mutex<Queue>,
}

struct Queue {
    lane: Arc<RawLane>,
    notes: VecDeque<Note>,
    /// The lane is closed; nothing was delivered since the last one was.
    closed: bool,
    suspect: bool,
}

/// A batch that was handed on.
struct Note {
    from: Offset,
    next: i64,
    bytes: usize,
    records: u32,
    max_timestamp: i64,
    runs: Vec<Run>,
}

impl Observer {
    /// The partitions of a task, in the engine's order.
    pub(crate) fn new(
        partitions: Vec<(TopicPartition, Arc<RawLane>, Arc<PartitionMetrics>)>,
        copied_to: Option<Arc<dyn CopiedTo>>,
    ) -> Observer {
        let by_lane = partitions.iter().enumerate().map(|(at, (_, lane, _))| (address(lane), at)).collect();
        let under_way = |(source, lane, metrics): (_, Arc<RawLane>, _)| {
            let target = lane.target.clone();
            let queue = Queue { lane, notes: VecDeque::new(), closed: false, suspect: false };
            UnderWay { source, target, metrics, bytes: AtomicUsize::new(0), queue: Mutex::new(queue) }
        };
        Observer {
            partitions: partitions.into_iter().map(under_way).collect(),
            by_lane: RwLock::new(by_lane),
            copied_to,
            refused: Mutex::default(),
            news: Notify::new(),
        }
    }

    pub(crate) fn target(&self, at: At) -> &TopicPartition {
        &self.partitions[at].target
    }

    pub(crate) fn metrics(&self, at: At) -> &PartitionMetrics {
        &self.partitions[at].metrics
    }

    /// Bytes of a partition that were handed on and not acknowledged.
    pub(crate) fn under_way(&self, at: At) -> usize {
        self.partitions[at].bytes.load(Ordering::Relaxed)
    }

    /// Notes a batch before it is handed on, and says into which lane. `None`: the lane is closed, and the batch will come
    /// again.
    pub(crate) fn handed_on(&self, at: At, ready: &mut Ready) -> Option<Arc<RawLane>> {
        let partition = &self.partitions[at];
        let mut queue = partition.queue();
        if queue.closed {
            return None;
        }
        let runs = std::mem::take(&mut ready.runs);
        let note = Note {
            from: runs.first().map_or(ready.next, |run| run.from),
            next: ready.next.0,
            bytes: ready.bytes.len(),
            records: ready.records,
            max_timestamp: ready.max_timestamp,
            runs,
        };
        partition.bytes.fetch_add(note.bytes, Ordering::Relaxed);
        queue.notes.push_back(note);
        Some(Arc::clone(&queue.lane))
    }

    /// Opens new lanes for partitions whose lane was closed; each with the position that it goes back to.
    pub(crate) fn reopen(&self) -> Vec<(At, Offset)> {
        let refused = std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        refused.into_iter().filter_map(|at| Some((at, self.reopen_one(at)?))).collect()
    }

    fn reopen_one(&self, at: At) -> Option<Offset> {
        let partition = &self.partitions[at];
        let mut queue = partition.queue();
        let back_to = queue.notes.front().map(|note| note.from);
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
        (queue.closed, queue.suspect) = (false, true);
        partition.bytes.store(0, Ordering::Relaxed);
        back_to
    }

    fn of(&self, lane: &Arc<RawLane>) -> Option<At> {
        self.by_lane.read().unwrap_or_else(PoisonError::into_inner).get(&address(lane)).copied()
    }
}

impl RawObserver for Observer {
    fn delivered(&self, lane: &Arc<RawLane>, next: i64, base_offset: Offset) {
        let Some(partition) = self.of(lane).map(|at| &self.partitions[at]) else { return };
        let now = now_ms();
        while let Some(note) = partition.pop(next) {
            partition.bytes.fetch_sub(note.bytes, Ordering::Relaxed);
            partition.metrics.copied(note.records, note.bytes, (now - note.max_timestamp).max(0));
            // A broker that knows only that it has the batch already does not say where.
            if let (Some(copied_to), true) = (&self.copied_to, note.next == next && base_offset >= Offset(0)) {
                copied_to.copied(&partition.source, &note.runs, base_offset);
            }
        }
        self.news.notify_one();
    }

    /// Only what smaller batches mend: what the target takes may have changed since it was asked.
    fn refused(&self, lane: &Arc<RawLane>, refusal: &Refusal<'_>) -> AfterRefusal {
        let too_large = matches!(refusal.code, Some(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge));
        let Some(at) = self.of(lane).filter(|_| too_large) else { return AfterRefusal::FailTask };
        let mut queue = self.partitions[at].queue();
        if queue.suspect || queue.notes.is_empty() {
            return AfterRefusal::FailTask;
        }
        queue.closed = true;
        drop(queue);
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(at);
        self.news.notify_one();
        AfterRefusal::CloseLane
    }
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

fn address(lane: &Arc<RawLane>) -> usize {
    Arc::as_ptr(lane) as usize
}

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
