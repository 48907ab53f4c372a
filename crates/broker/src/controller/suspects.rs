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
//! The runtime may hand us a client's question before it tells us that a connection has ended. Therefore the sockets
//! themselves are looked at ([`Suspects::probe`]) before an answer.
//!
//! Invariants: a suspicion delays answers for at most [`PATIENCE`] after it came up, and no answer waits longer, also while
//! connections come and go; it fences nobody and moves nothing. The lock of the sockets is taken before that of the suspects.
//! A socket is watched no longer than its owner keeps it.
//!
//! Not here: fencing, which is the controller's.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::sync::Notify;
use twinstream_model::NodeId;

/// How long answers wait for what becomes of a suspect. An election of the controller and a decision of it take some ten
/// milliseconds; a node that is cut off is fenced only when its session ends, too long to keep clients waiting.
pub(super) const PATIENCE: Duration = Duration::from_millis(300);

/// The nodes under suspicion, by whoever has connections to nodes.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    since: Mutex<BTreeMap<NodeId, Instant>>,
    count: AtomicUsize,
    cleared: Notify,
    watched: Mutex<BTreeMap<NodeId, OwnedFd>>,
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

    /// Resolves when a suspicion turned out wrong after this call.
    pub(crate) fn cleared(&self) -> impl Future<Output = ()> + '_ {
        self.cleared.notified()
    }

    /// Lets [`Suspects::probe`] look at a connection that its owner keeps open. Every `watch` is followed by an
    /// [`Suspects::unwatch`] before the owner lets go of the socket, which would otherwise stay open.
    pub(super) fn watch(&self, node: NodeId, socket: &impl AsFd) {
        match socket.as_fd().try_clone_to_owned() {
            Ok(socket) => drop(self.watched.lock().insert(node, socket)),
            Err(error) => tracing::debug!(%node, %error, "connection is not watched"),
        }
    }

    pub(super) fn unwatch(&self, node: NodeId) {
        drop(self.watched.lock().remove(&node));
    }

    /// Suspects whose connection has ended by now. Costs a system call for each node that is connected to.
    pub(crate) fn probe(&self) {
        // Under the lock, which the owner takes before it connects again: else what it has cleared could be added after that.
        let watched = self.watched.lock();
        watched.iter().filter(|(_, socket)| has_ended(socket)).for_each(|(node, _)| self.add(*node));
    }
}

/// Whether the other side has closed a connection. What it sent stays for the owner to read.
fn has_ended(socket: &OwnedFd) -> bool {
    let mut byte = [0; 1];
    match recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, length)) => length == 0,
        Err(Errno::AGAIN | Errno::INTR) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn suspicion_is_not_renewed_and_ends_with_its_time_or_a_connection() {
        let (suspects, before) = (Suspects::default(), Instant::now());
        assert!(suspects.is_empty());
        suspects.add(NodeId(3));
        let added = Instant::now();
        assert!(suspects.wait_for(NodeId(3), before).is_some());
        assert!(suspects.wait_for(NodeId(4), before).is_none());
        suspects.add(NodeId(3));
        assert!(suspects.wait_for(NodeId(3), added + PATIENCE).is_none());
        suspects.clear(NodeId(3));
        assert!(suspects.is_empty());
        assert!(suspects.wait_for(NodeId(3), before).is_none());
    }

    #[test]
    fn socket_whose_other_end_is_closed_makes_a_suspect_and_one_with_unread_bytes_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let connected = TcpStream::connect(listener.local_addr().expect("bound")).expect("somebody listens");
        let (mut other, _) = listener.accept().expect("somebody connects");
        let suspects = Suspects::default();
        suspects.watch(NodeId(3), &connected);
        suspects.probe();
        assert!(suspects.is_empty());
        other.write_all(b"answer").expect("connected");
        suspects.probe();
        assert!(suspects.is_empty());
        suspects.unwatch(NodeId(3));

        let connected = TcpStream::connect(listener.local_addr().expect("bound")).expect("somebody listens");
        let (other, _) = listener.accept().expect("somebody connects");
        suspects.watch(NodeId(3), &connected);
        drop(other);
        // The end arrives over the loopback before `drop` returns.
        suspects.probe();
        assert!(suspects.wait_for(NodeId(3), Instant::now()).is_some());
    }
}
