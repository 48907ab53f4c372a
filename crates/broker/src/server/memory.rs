//! The bytes of requests that may be in memory at once, over all connections (`queued.max.request.bytes`).
//!
//! Picture: three lanes. A frame takes its whole length out of its lane before its body is read and gives it back when
//! the request is served; who finds the lane full waits in line while its bytes stay in the socket, which holds back the
//! client. Small frames have a lane of their own, so that heartbeats, fetches and commits pass however many large
//! produce requests queue. Large frames without records have one, too, so that they keep no producer out.
//!
//! A small request other than Produce counts only until it has been read: it may wait long for what it asks for (records,
//! the other members of its group), and a few hundred of those that wait must not keep everybody else out. A large one
//! that may wait so counts until it has been decoded, and its frame goes with it (`handlers::waits_for_others`).
//!
//! Invariants: the lanes together never hold more than the bound; each lane is first come, first served; a connection
//! reads one frame at a time, so no client gets more than a place in the line per connection. Taking the whole length at
//! once means that two half-read frames never wait for each other. In return somebody who announces much and sends little
//! would hold memory that others wait for: a frame that is slow while others wait is given up, see [`Incoming`].
//!
//! Not here: answers (`response`), and what a handler takes besides the frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Frames up to this size take the lane of small frames. Requests without records are rarely larger.
const SMALL_MAX: usize = 64 * 1024;

/// The lane of small frames has this share of the bound, and so has the one of large frames without records.
const SMALL_SHARE: u32 = 8;

/// A frame may take this long whatever its speed: a batch of a megabyte at 2 Mbit/s.
const PATIENCE: Duration = Duration::from_secs(5);

/// Beyond [`PATIENCE`] a frame must have come at this speed on average, or make room if others wait for memory.
const BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;

/// The bound, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct RequestMemory {
    small: Arc<Lane>,
    bare: Arc<Lane>,
    records: Arc<Lane>,
}

/// What a frame carries, which tells the lane of a large one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cargo {
    /// Records of producers or of the metadata quorum.
    Records,
    NoRecords,
}

#[derive(Debug)]
struct Lane {
    is_small: bool,
    free: Arc<Semaphore>,
    total: u32,
    waiting: AtomicUsize,
}

/// A frame's share of the memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    _permit: OwnedSemaphorePermit,
    lane: Arc<Lane>,
}

impl RequestMemory {
    pub(crate) fn new(total_bytes: u64) -> Self {
        let total = u32::try_from(total_bytes).unwrap_or(u32::MAX);
        let small = total / SMALL_SHARE;
        Self {
            small: Lane::new(true, small),
            bare: Lane::new(false, small),
            records: Lane::new(false, total - 2 * small),
        }
    }

    /// Requests whose length was read and that wait for room.
    pub(crate) fn waiting(&self) -> usize {
        [&self.small, &self.bare, &self.records].into_iter().map(|lane| lane.waiting.load(Ordering::Relaxed)).sum()
    }

    /// Whether a frame of this size goes among the small ones, whatever it carries.
    pub(crate) fn is_small(&self, frame_length: usize) -> bool {
        frame_length <= SMALL_MAX.min(self.small.total as usize)
    }

    /// Waits until a frame of this size may be held. A frame larger than its lane takes all of it.
    pub(crate) async fn reserve(&self, frame_length: usize, cargo: Cargo) -> Reservation {
        let lane = match cargo {
            _ if self.is_small(frame_length) => &self.small,
            Cargo::Records => &self.records,
            Cargo::NoRecords => &self.bare,
        };
        let wanted = u32::try_from(frame_length).unwrap_or(u32::MAX).min(lane.total);
        let permit = match Arc::clone(&lane.free).try_acquire_many_owned(wanted) {
            Ok(permit) => permit,
            Err(_) => lane.wait(wanted).await,
        };
        Reservation { _permit: permit, lane: Arc::clone(lane) }
    }
}

impl Reservation {
    /// Whether it is of the lane of small frames.
    pub(crate) fn is_small(&self) -> bool {
        self.lane.is_small
    }

    /// Whether others wait for what this one holds.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lane.waiting.load(Ordering::Relaxed) > 0
    }
}

impl Lane {
    fn new(is_small: bool, total: u32) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(total as usize));
        Arc::new(Self { is_small, free, total, waiting: AtomicUsize::new(0) })
    }

    async fn wait(&self, wanted: u32) -> OwnedSemaphorePermit {
        let _counted = Waiting::new(&self.waiting);
        let permit = Arc::clone(&self.free).acquire_many_owned(wanted).await;
        permit.expect("the semaphore of request memory is never closed")
    }
}

/// Counts who waits, also when the wait is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A frame whose length was read and whose bytes are still coming.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) length: usize,
    pub(crate) memory: Reservation,
    since: Instant,
}

impl Incoming {
    pub(crate) fn new(length: usize, memory: Reservation) -> Self {
        Self { length, memory, since: Instant::now() }
    }

    /// Whether this frame should make room: it is slow, and others wait for memory. Asking costs one load unless they do.
    pub(crate) fn is_in_the_way(&self, got: usize, now: Instant) -> bool {
        self.memory.is_wanted() && is_slow(got, now.duration_since(self.since))
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

fn is_slow(got: usize, age: Duration) -> bool {
    age > PATIENCE && (got as u64) < age.as_secs().saturating_mul(BYTES_PER_SECOND_MIN)
}

#[cfg(test)]
mod tests;
