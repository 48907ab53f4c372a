//! Who waits for something to happen in a partition.
//!
//! Picture: a waiter puts the same bell into every partition that it watches and takes it out again when it is
//! dropped, so that an idle partition does not gather the bells of polls that are long answered. Each bell says what
//! it is for, such as a high watermark of at least so much (a consumer, a producer with acks=all), so that nobody
//! wakes to find nothing. The common case, nobody waits, costs one atomic load. Followers have bells of their own
//! (`follower_bells`).
//!
//! Bound: one bell per request in hand and partition that it names.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use parking_lot::Mutex;
use tokio::sync::Notify;
use twinstream_model::Offset;

use super::Partition;

/// What a waiter wants to hear of, besides a change of leadership, which all hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    /// A high watermark of at least this.
    committed: Offset,
    /// A log that begins later, or replicas that do.
    starts: bool,
}

impl Interest {
    const NOTHING: Interest = Interest { committed: Offset(i64::MAX), starts: false };

    /// A high watermark of at least `offset`.
    pub(crate) fn committed(offset: Offset) -> Interest {
        Interest { committed: offset, ..Interest::NOTHING }
    }

    /// The start of the log, here or at a follower.
    pub(crate) fn starts() -> Interest {
        Interest { starts: true, ..Interest::NOTHING }
    }

    fn and(self, other: Interest) -> Interest {
        Interest { committed: self.committed.min(other.committed), starts: self.starts || other.starts }
    }

    fn hears(self, event: Event) -> bool {
        match event {
            Event::Committed(high_watermark) => high_watermark >= self.committed,
            Event::Started => self.starts,
            Event::Changed => true,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Committed(Offset),
    Started,
    /// Leadership, ISR, or the end of the partition.
    Changed,
}

#[derive(Debug)]
struct Bell {
    notify: Arc<Notify>,
    interest: Interest,
}

#[derive(Debug, Default)]
pub(super) struct Waiters {
    bells: Mutex<HashMap<u64, Bell>>,
    /// How many bells there are, so that ringing nobody takes no lock.
    count: AtomicUsize,
}

static NEXT_BELL: AtomicU64 = AtomicU64::new(0);

impl Waiters {
    /// Wakes those who want to hear of this. What happened must be visible before.
    pub(super) fn ring(&self, event: Event) {
        // Pairs with the increment in `add`: either the waiter sees what happened or we see the waiter.
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for bell in self.bells.lock().values().filter(|bell| bell.interest.hears(event)) {
            bell.notify.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.bells.lock().is_empty() && self.count.load(Ordering::SeqCst) == 0
    }

    fn add(&self, id: u64, notify: &Arc<Notify>, interest: Interest) {
        let mut bells = self.bells.lock();
        match bells.get_mut(&id) {
            // A request may name a partition twice.
            Some(bell) => bell.interest = bell.interest.and(interest),
            None => {
                bells.insert(id, Bell { notify: Arc::clone(notify), interest });
                self.count.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn remove(&self, id: u64) {
        if self.bells.lock().remove(&id).is_some() {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// One waiter and the partitions that it watches. What rings between its making and [`Wait::rung`] is not missed.
#[derive(Debug)]
pub(crate) struct Wait {
    id: u64,
    bell: Arc<Notify>,
    watched: Vec<Arc<Partition>>,
}

impl Wait {
    pub(crate) fn on(watched: impl IntoIterator<Item = (Arc<Partition>, Interest)>) -> Wait {
        let mut wait =
            Wait { id: NEXT_BELL.fetch_add(1, Ordering::Relaxed), bell: Arc::new(Notify::new()), watched: Vec::new() };
        for (partition, interest) in watched {
            partition.waiters().add(wait.id, &wait.bell, interest);
            wait.watched.push(partition);
        }
        // Pairs with the one in `ring`.
        fence(Ordering::SeqCst);
        wait
    }

    /// Resolves when something of interest happened in a watched partition since the last call.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.watched.iter().for_each(|partition| partition.waiters().remove(self.id));
    }
}
