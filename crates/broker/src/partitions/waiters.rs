//! Who waits for something to happen in a partition.
//!
//! Picture: a waiter puts the same bell into every partition that it watches and takes it out again when it is
//! dropped, so that an idle partition does not gather the bells of polls that are long answered. The common
//! case, nobody waits, costs one atomic load per append.
//!
//! Bound: one bell per request in hand and partition that it names.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Partition;

#[derive(Debug, Default)]
pub(super) struct Waiters {
    bells: Mutex<HashMap<u64, Arc<Notify>>>,
    /// How many bells there are, so that ringing nobody takes no lock.
    count: AtomicUsize,
}

static NEXT_BELL: AtomicU64 = AtomicU64::new(0);

impl Waiters {
    /// Wakes all that watch the partition.
    pub(super) fn ring(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for bell in self.bells.lock().values() {
            bell.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.bells.lock().is_empty() && self.count.load(Ordering::SeqCst) == 0
    }

    fn add(&self, id: u64, bell: &Arc<Notify>) {
        self.bells.lock().insert(id, Arc::clone(bell));
        self.count.fetch_add(1, Ordering::SeqCst);
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
    pub(crate) fn on(partitions: impl IntoIterator<Item = Arc<Partition>>) -> Wait {
        let id = NEXT_BELL.fetch_add(1, Ordering::Relaxed);
        let bell = Arc::new(Notify::new());
        let watched: Vec<Arc<Partition>> = partitions.into_iter().collect();
        watched.iter().for_each(|partition| partition.waiters().add(id, &bell));
        Wait { id, bell, watched }
    }

    /// Resolves when something happened in a watched partition since the last call.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.watched.iter().for_each(|partition| partition.waiters().remove(self.id));
    }
}
