//! One bell per follower: it rings when a partition that this broker leads has something new for that broker.
//!
//! Picture: a follower's fetch waits for hundreds of partitions at once. Hanging a bell into each of them, for each
//! fetch, would cost more than the fetch; so a follower has one bell on this broker, every partition that it copies
//! holds it, and who hears it looks where it rang. When nobody listens, ringing costs one atomic load.
//!
//! Bound: one bell per broker that is a replica of something led here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use twinstream_model::NodeId;

#[derive(Debug, Default)]
pub(crate) struct FollowerBells {
    bells: Mutex<BTreeMap<NodeId, Arc<FollowerBell>>>,
}

#[derive(Debug, Default)]
pub(crate) struct FollowerBell {
    notify: Notify,
    listeners: AtomicUsize,
}

/// Somebody who listens.
pub(crate) struct Listener {
    bell: Arc<FollowerBell>,
}

impl FollowerBells {
    /// The bell of a replica.
    pub(super) fn of(&self, node: NodeId) -> Arc<FollowerBell> {
        Arc::clone(self.bells.lock().entry(node).or_default())
    }

    /// Listens for a broker; `None` if it is a replica of nothing here.
    pub(crate) fn listen(&self, node: NodeId) -> Option<Listener> {
        let bell = Arc::clone(self.bells.lock().get(&node)?);
        bell.listeners.fetch_add(1, Ordering::SeqCst);
        // Pairs with the one in `ring`: either the listener sees what happened or is seen.
        fence(Ordering::SeqCst);
        Some(Listener { bell })
    }
}

impl FollowerBell {
    /// What happened must be visible before.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.listeners.load(Ordering::SeqCst) > 0 {
            self.notify.notify_waiters();
        }
    }
}

impl Listener {
    /// Resolves when the bell rings after this future was enabled.
    pub(crate) fn rung(&self) -> Notified<'_> {
        self.bell.notify.notified()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.bell.listeners.fetch_sub(1, Ordering::SeqCst);
    }
}
