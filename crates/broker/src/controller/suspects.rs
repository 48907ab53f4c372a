//! Nodes whose connection broke a moment ago, so that what they lead is about to move.
//!
//! Picture: when a process dies, clients and nodes see their connections break in the same millisecond. Clients ask for
//! metadata at once, before the controller has moved the leaderships, and would hear of the dead leader once more; many
//! then ask again only after a second. So an answer that would name a suspect as leader waits until the image moves on.
//!
//! ```text
//!   a connection breaks ─▶ suspect ─▶ connected again          no suspect any more
//!                                 ├─▶ fenced, leaders moved     the image says so, nobody waits
//!                                 ╰─▶ PATIENCE is over          the usual answer: the node may only be cut off from here
//! ```
//! Invariants: a suspicion delays answers once, for at most [`PATIENCE`], and changes none; without suspects nothing is
//! looked at but one atomic.
//!
//! Not here: fencing, which is the controller's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use twinstream_model::NodeId;

/// How long answers wait for what becomes of a suspect. An election of the controller and a decision of it take some ten
/// milliseconds; a node that is cut off is fenced only when its session ends, which is too long to keep clients waiting.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

/// The nodes under suspicion, by whoever has connections to nodes.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    since: Mutex<BTreeMap<NodeId, Instant>>,
    count: AtomicUsize,
    cleared: Notify,
}

impl Suspects {
    /// The connection to a node broke, or it cannot be reached. A suspicion that lasts is not renewed.
    pub(crate) fn add(&self, node: NodeId) {
        let mut since = self.since.lock();
        since.entry(node).or_insert_with(Instant::now);
        self.count.store(since.len(), Ordering::Release);
    }

    /// The node was reached.
    pub(crate) fn clear(&self, node: NodeId) {
        if self.is_empty() {
            return;
        }
        let mut since = self.since.lock();
        if since.remove(&node).is_some() {
            self.count.store(since.len(), Ordering::Release);
            self.cleared.notify_waiters();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Until when an answer that names this node as a leader should wait, if it should.
    pub(crate) fn wait_for(&self, node: NodeId, now: Instant) -> Option<Instant> {
        let until = *self.since.lock().get(&node)? + PATIENCE;
        (now < until).then_some(until)
    }

    /// Resolves when a suspicion turned out wrong.
    pub(crate) fn cleared(&self) -> impl Future<Output = ()> + '_ {
        self.cleared.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicion_is_not_renewed_and_ends_with_its_time_or_a_connection() {
        let suspects = Suspects::default();
        assert!(suspects.is_empty());
        suspects.add(NodeId(3));
        let until = suspects.wait_for(NodeId(3), Instant::now()).expect("a fresh suspicion");
        suspects.add(NodeId(3));
        assert_eq!(suspects.wait_for(NodeId(3), Instant::now()), Some(until));
        assert_eq!(suspects.wait_for(NodeId(3), until), None);
        assert_eq!(suspects.wait_for(NodeId(4), Instant::now()), None);
        suspects.clear(NodeId(3));
        assert!(suspects.is_empty());
        assert_eq!(suspects.wait_for(NodeId(3), Instant::now()), None);
    }
}
