//! Replicas on their way from one directory of this broker to another (KIP-113): what is under way, and the lanes in which it
//! goes on.
//!
//! Picture: one lane for each directory, a task that takes the moves into it in turn and does a step of each. A move that
//! has to wait (a throttle, a full disk, a damaged stretch) says how long and lets others pass.
//!
//! Invariants: there is one move for a partition at most; a step runs alone, and none runs after a move was cancelled.
//! Bounds: moves under way are at most the partitions of this broker; of all copies together
//! [`UNFLUSHED_BYTES_MAX`] wait for the disk; [`CHOSEN_MAX`] choices for partitions that are not here.
//!
//! Not here: what a step does (`manager::moving`). See docs/007.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use twinstream_log::PartitionLog;
use twinstream_model::{Offset, TopicPartition};
use twinstream_replication::throttle::Throttle;

use super::manager::left_behind::LeftBehind;
use super::partition::Seat;
use super::{Partition, PartitionManager};

/// Choices of directories that are remembered for partitions that may never come. Further ones are not.
const CHOSEN_MAX: usize = 100_000;
/// Bytes of all copies together that may be in the page cache only, besides those of the steps under way. Lanes give each move
/// a step in turn, so a bound for each copy would come to as many times that as there are moves.
const UNFLUSHED_BYTES_MAX: u64 = 64 << 20;
/// After a change that came to nothing because too much came meanwhile: for the first one, and how often that doubles.
const CHANGE_PAUSE: Duration = Duration::from_millis(100);
const CHANGE_PAUSE_DOUBLINGS: u32 = 7;
/// After a step that panicked.
const PANIC_PAUSE: Duration = Duration::from_secs(10);

/// All moves of a broker.
pub(super) struct Moves {
    /// Held by who answers a request, so that requests for one partition come one after the other.
    pub(super) requests: Mutex<()>,
    under_way: Mutex<BTreeMap<TopicPartition, Arc<Move>>>,
    /// Directories that somebody chose for partitions that are not here.
    chosen: Mutex<BTreeMap<TopicPartition, usize>>,
    /// One for each directory.
    lanes: Vec<Lane>,
    /// How many lanes may work at once.
    turns: Semaphore,
    pub(super) throttle: Mutex<Throttle>,
    pub(super) unflushed_bytes_max: u64,
    /// Folders that are not used any more and could not be removed yet; one for each directory and partition at most, since
    /// no replica moves to where one of it is, and before a log is made there it goes.
    pub(super) left_behind: Mutex<LeftBehind>,
}

#[derive(Default)]
struct Lane {
    queue: Mutex<VecDeque<(Instant, Arc<Move>)>>,
    bell: Notify,
}

/// One replica that changes its directory.
pub(super) struct Move {
    pub(super) partition: Arc<Partition>,
    pub(super) to: usize,
    pub(super) progress: Progress,
    work: Mutex<Work>,
}

/// How far a copy is, to be looked at without waiting for a step.
#[derive(Default)]
pub(super) struct Progress {
    bytes: AtomicU64,
    end: AtomicI64,
    unflushed: AtomicU64,
}

/// What steps work on.
pub(super) struct Work {
    pub(super) copy: Copy,
    pub(super) is_cancelled: bool,
    /// Compactions of the source that had begun when the copy was; with another one the copy begins anew.
    pub(super) compactions: Option<u64>,
    /// Changes to the copy that came to nothing.
    vain_changes: u32,
    /// Whether somebody was told why it does not go on.
    pub(super) has_complained: bool,
}

pub(super) enum Copy {
    /// A folder of an earlier run, to be opened.
    Left(String),
    Open(Arc<Seat>),
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Goes,
    Later(Duration),
    Ended,
}

impl Moves {
    pub(super) fn new(directories: usize, at_once: usize) -> Moves {
        Moves {
            requests: Mutex::default(),
            under_way: Mutex::default(),
            chosen: Mutex::default(),
            lanes: (0..directories).map(|_| Lane::default()).collect(),
            turns: Semaphore::new(at_once),
            throttle: Mutex::new(Throttle::new(None, Instant::now())),
            unflushed_bytes_max: UNFLUSHED_BYTES_MAX,
            left_behind: Mutex::default(),
        }
    }

    pub(super) fn of(&self, at: &TopicPartition) -> Option<Arc<Move>> {
        self.under_way.lock().get(at).cloned()
    }

    /// Everything that is under way, by name.
    pub(super) fn all(&self) -> Vec<Arc<Move>> {
        self.under_way.lock().values().cloned().collect()
    }

    /// Bytes of all copies that are in the page cache only.
    pub(super) fn unflushed(&self) -> u64 {
        self.under_way.lock().values().map(|under_way| under_way.progress.unflushed.load(Ordering::Acquire)).sum()
    }

    /// Begins a move. Whoever calls this holds `requests`, and has ended an earlier move of the same partition.
    pub(super) fn begin(&self, partition: &Arc<Partition>, to: usize, copy: Copy) {
        let work = Work { copy, is_cancelled: false, compactions: None, vain_changes: 0, has_complained: false };
        let work = Mutex::new(work);
        let progress = Progress::default();
        let begun = Arc::new(Move { partition: Arc::clone(partition), to, progress, work });
        let before = self.under_way.lock().insert(partition.id().clone(), Arc::clone(&begun));
        debug_assert!(before.is_none(), "two moves of {}", partition.id());
        self.push(begun, Instant::now());
    }

    /// It is not under way any more.
    pub(super) fn end(&self, ended: &Move) {
        let mut under_way = self.under_way.lock();
        if under_way.get(ended.partition.id()).is_some_and(|found| std::ptr::eq(&**found, ended)) {
            under_way.remove(ended.partition.id());
        }
    }

    fn push(&self, next: Arc<Move>, due: Instant) {
        let lane = &self.lanes[next.to];
        lane.queue.lock().push_back((due, next));
        lane.bell.notify_one();
    }

    /// Something changed for moves that wait.
    pub(super) fn look_again(&self) {
        for lane in &self.lanes {
            lane.queue.lock().iter_mut().for_each(|(due, _)| *due = Instant::now());
            lane.bell.notify_one();
        }
    }

    /// Remembers where a partition that is not here yet shall be made.
    pub(super) fn choose(&self, at: &TopicPartition, dir: usize) {
        let mut chosen = self.chosen.lock();
        if chosen.len() < CHOSEN_MAX || chosen.contains_key(at) {
            chosen.insert(at.clone(), dir);
        }
    }

    pub(super) fn chosen(&self, at: &TopicPartition) -> Option<usize> {
        self.chosen.lock().get(at).copied()
    }

    /// The partition is here.
    pub(super) fn settled(&self, at: &TopicPartition) {
        self.chosen.lock().remove(at);
    }
}

impl Move {
    /// Waits for the step that is under way.
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock()
    }
}

impl Work {
    /// A change came to nothing. Returns how long the next one has to wait: each costs flushes of both disks.
    pub(super) fn note_vain_change(&mut self) -> Duration {
        let pause = CHANGE_PAUSE * (1 << self.vain_changes.min(CHANGE_PAUSE_DOUBLINGS));
        self.vain_changes = self.vain_changes.saturating_add(1);
        pause
    }
}

impl Progress {
    pub(super) fn set(&self, copy: &PartitionLog) {
        self.bytes.store(copy.size(), Ordering::Release);
        self.unflushed.store(copy.unflushed(), Ordering::Release);
        self.end.store(copy.log_end_offset().0, Ordering::Release);
    }

    /// Bytes that were copied, and where the copy ends.
    pub(super) fn get(&self) -> (u64, Offset) {
        (self.bytes.load(Ordering::Acquire), Offset(self.end.load(Ordering::Acquire)))
    }
}

impl Lane {
    /// Waits for a move that is due.
    async fn next(&self) -> Arc<Move> {
        loop {
            let wakes = {
                let mut queue = self.queue.lock();
                let now = Instant::now();
                if let Some(at) = queue.iter().position(|(due, _)| *due <= now)
                    && let Some((_, next)) = queue.remove(at)
                {
                    return next;
                }
                queue.iter().map(|(due, _)| *due).min()
            };
            match wakes {
                None => self.bell.notified().await,
                Some(due) => tokio::select! {
                    () = self.bell.notified() => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                },
            }
        }
    }
}

/// Does the moves into one directory until `shutdown` fires.
pub(super) async fn run(manager: Arc<PartitionManager>, dir: usize, shutdown: CancellationToken) {
    loop {
        let next = tokio::select! {
            () = shutdown.cancelled() => return,
            next = manager.moves.lanes[dir].next() => next,
        };
        let turn = tokio::select! {
            () = shutdown.cancelled() => return,
            turn = manager.moves.turns.acquire() => turn,
        };
        let (of_step, step_of) = (Arc::clone(&manager), Arc::clone(&next));
        let step = tokio::task::spawn_blocking(move || of_step.move_on(&step_of)).await;
        drop(turn);
        let now = Instant::now();
        match step {
            Ok(Step::Goes) => manager.moves.push(next, now),
            Ok(Step::Later(pause)) => manager.moves.push(next, now + pause),
            Ok(Step::Ended) => {}
            Err(error) => {
                tracing::error!(partition = %next.partition.id(), %error, "a step of a move to another directory panicked");
                manager.moves.push(next, now + PANIC_PAUSE);
            }
        }
    }
}
