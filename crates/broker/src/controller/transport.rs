//! The quorum's messages to other nodes.
//!
//! Picture: a task and a bounded queue per node. The task sends what has gathered in one request and waits for its answer, so slow
//! nodes get larger requests rather than more of them. What does not fit the queue is dropped; Raft repeats it.
//!
//! The task also is the crash detector: it reports a [`Loss`] when the connection breaks, and whether somebody still listens at the
//! address. A crashed process is noticed at once instead of after a session timeout, by the controller that fences its broker and by
//! the voters whose leader it was. Voters keep a connection to each other open also while they have nothing to say, because it can
//! only break while it is there.
//!
//! Invariants: a node that hangs or is cut off delays nobody but itself; every wait has a limit; what waited for a node while it could
//! not be reached is thrown away, since it was true then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;
use twinstream_model::{ClusterId, NodeId};
use twinstream_quorum::{Outgoing, QuorumHandle, Transport, Undeliverable};
use twinstream_telemetry::{Metrics, Reading};

use super::messages::{Envelope, InternalApi, read_answer, write_raft};
use super::peers::{PeerConnection, PeerError};
use super::suspects::Suspects;

/// Messages that wait for one node. Heartbeats are a few a second; appends are bounded by Raft's window of 64.
const QUEUE_MAX: usize = 256;
/// Bytes of messages in one request, unless a single message is larger.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// For the answer to a request, which says no more than that it arrived. A node that was stopped for longer is connected to anew,
/// and hears from us again this soon after it goes on.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// A request takes longer the larger it is; a snapshot is the only one for which that matters.
const BYTES_PER_SECOND_MIN: u32 = 8 * 1024 * 1024;
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
/// A node that comes back hears from us this late.
pub(super) const RETRY_PAUSE_MAX: Duration = Duration::from_millis(250);

/// What became of the connection to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It broke; the process may live on, or another one may have taken its place.
    Connection(NodeId),
    /// It broke and nobody listens at the address any more: the process is gone.
    Process(NodeId),
}

/// What every message of this node says about itself.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) node_id: NodeId,
    /// Known from the data directory, the log or the first registration; never changes after that.
    pub(crate) cluster: OnceLock<ClusterId>,
}

impl Identity {
    pub(crate) fn envelope(&self, to: NodeId) -> Envelope {
        Envelope { cluster: self.cluster.get().cloned(), from: self.node_id, to }
    }
}

/// What the quorum's messages to and from this node amount to.
#[derive(Debug, Default)]
pub(crate) struct QuorumTraffic {
    sent_bytes: AtomicU64,
    requests: AtomicU64,
    answers: AtomicU64,
    received_bytes: AtomicU64,
}

impl QuorumTraffic {
    /// A message of another node came in.
    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn asked(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Shows it under Kafka's names.
    pub(crate) fn declare(self: Arc<Self>, registry: &Metrics) {
        type Part = fn(&QuorumTraffic) -> &AtomicU64;
        const FIGURES: [(&str, &str, Part); 4] = [
            (
                "kafka_server_raftchannelmetrics_incoming_byte_total",
                "Bytes of the metadata quorum's messages that other nodes sent here.",
                |traffic| &traffic.received_bytes,
            ),
            (
                "kafka_server_raftchannelmetrics_outgoing_byte_total",
                "Bytes of the metadata quorum's requests from here.",
                |traffic| &traffic.sent_bytes,
            ),
            (
                "kafka_server_raftchannelmetrics_request_total",
                "Requests with messages of the metadata quorum from here.",
                |traffic| &traffic.requests,
            ),
            (
                "kafka_server_raftchannelmetrics_response_total",
                "Answers to the metadata quorum's requests from here.",
                |traffic| &traffic.answers,
            ),
        ];
        for (name, help, part) in FIGURES {
            let traffic = Arc::clone(&self);
            registry.declare(Reading::counter(name, help, move || part(&traffic).load(Ordering::Relaxed) as f64));
        }
    }
}

struct Peer {
    address: String,
    queue: mpsc::Sender<Outgoing>,
    stop: CancellationToken,
}

/// The queues to all known nodes.
pub(crate) struct PeerTransport {
    identity: Arc<Identity>,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    quorum: OnceLock<QuorumHandle>,
    losses: mpsc::Sender<Loss>,
    suspects: Arc<Suspects>,
    runtime: tokio::runtime::Handle,
    shutdown: CancellationToken,
    traffic: Arc<QuorumTraffic>,
}

impl PeerTransport {
    pub(crate) fn new(
        identity: Arc<Identity>,
        losses: mpsc::Sender<Loss>,
        suspects: Arc<Suspects>,
        shutdown: CancellationToken,
    ) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (peers, quorum, traffic) = (Mutex::default(), OnceLock::new(), Arc::default());
        Self { identity, peers, quorum, losses, suspects, runtime, shutdown, traffic }
    }

    pub(super) fn traffic(&self) -> &Arc<QuorumTraffic> {
        &self.traffic
    }

    /// The quorum needs the transport first.
    pub(crate) fn connect(&self, quorum: QuorumHandle) {
        if self.quorum.set(quorum).is_err() {
            tracing::debug!("transport has its quorum already");
        }
    }

    /// Sets where a node is reached. A changed address starts a new connection.
    pub(crate) fn set_address(&self, node: NodeId, address: String) {
        let mut peers = self.peers.lock();
        if node == self.identity.node_id || peers.get(&node).is_some_and(|peer| peer.address == address) {
            return;
        }
        let (queue, mut messages) = mpsc::channel(QUEUE_MAX);
        let stop = self.shutdown.child_token();
        let Some(quorum) = self.quorum.get().cloned() else { return };
        let mut link = Link {
            node,
            address: address.clone(),
            identity: Arc::clone(&self.identity),
            quorum,
            losses: self.losses.clone(),
            suspects: Arc::clone(&self.suspects),
            traffic: Arc::clone(&self.traffic),
            connection: None,
            opened: Instant::now(),
        };
        let stopped = stop.clone();
        self.runtime.spawn(async move {
            tokio::select! {
                () = link.run(&mut messages) => {}
                () = stopped.cancelled() => {}
            }
            // A snapshot may have been under way, and the leader waits to hear of it.
            link.throw_away(&mut messages);
            link.suspects.unwatch(node);
            link.quorum.snapshot_sent(node, false);
        });
        if let Some(old) = peers.insert(node, Peer { address, queue, stop }) {
            old.stop.cancel();
        }
    }
}

impl Transport for PeerTransport {
    fn send(&self, message: Outgoing) -> Result<(), Undeliverable> {
        let peers = self.peers.lock();
        let peer = peers.get(&message.to).ok_or(Undeliverable::NoAddress)?;
        peer.queue.try_send(message).map_err(|_| Undeliverable::QueueFull)
    }
}

/// One node's task.
struct Link {
    node: NodeId,
    address: String,
    identity: Arc<Identity>,
    quorum: QuorumHandle,
    losses: mpsc::Sender<Loss>,
    suspects: Arc<Suspects>,
    traffic: Arc<QuorumTraffic>,
    connection: Option<PeerConnection>,
    opened: Instant,
}

/// What a link does next.
enum Next {
    Message(Outgoing),
    /// There is nothing to say, but the connection is missed.
    Reconnect,
    Stopped,
}

impl Link {
    async fn run(&mut self, messages: &mut mpsc::Receiver<Outgoing>) {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let done = match self.next(messages).await {
                Next::Message(first) => self.send(gather(first, messages)).await,
                Next::Reconnect => self.reconnect().await,
                Next::Stopped => return,
            };
            match done {
                Ok(()) => pause = RETRY_PAUSE_MIN,
                Err(error) => {
                    tracing::debug!(node = %self.node, %error, "quorum messages lost");
                    self.throw_away(messages);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// The next thing to do; meanwhile watches whether the other process dies.
    async fn next(&mut self, messages: &mut mpsc::Receiver<Outgoing>) -> Next {
        let message = |received: Option<Outgoing>| received.map_or(Next::Stopped, Next::Message);
        while let Some(connection) = &mut self.connection {
            tokio::select! {
                received = messages.recv() => return message(received),
                () = connection.closed() => {}
            }
            self.connection_lost().await;
        }
        if !self.is_watched() {
            return message(messages.recv().await);
        }
        match messages.try_recv() {
            Ok(received) => Next::Message(received),
            Err(TryRecvError::Empty) => Next::Reconnect,
            Err(TryRecvError::Disconnected) => Next::Stopped,
        }
    }

    /// Voters want to know when another voter dies, whoever leads by then.
    fn is_watched(&self) -> bool {
        let status = self.quorum.status();
        let votes = |node: NodeId| status.voters.iter().any(|(voter, _)| *voter == node);
        votes(self.identity.node_id) && votes(self.node)
    }

    async fn reconnect(&mut self) -> Result<(), LinkError> {
        self.connection = Some(self.open().await?);
        Ok(())
    }

    /// Raft repeats what still matters when the node is back.
    fn throw_away(&self, messages: &mut mpsc::Receiver<Outgoing>) {
        while let Ok(message) = messages.try_recv() {
            if message.snapshot {
                self.quorum.snapshot_sent(self.node, false);
            }
        }
        self.quorum.unreachable(self.node);
    }

    /// The connection broke. A port that refuses says that the process is gone, anything else may be the network.
    async fn connection_lost(&mut self) {
        self.suspects.add(self.node);
        self.suspects.unwatch(self.node);
        self.connection = None;
        if self.opened.elapsed() < RETRY_PAUSE_MAX {
            // Who accepts connections and closes them at once is not asked again as fast as that goes.
            tokio::time::sleep(RETRY_PAUSE_MIN).await;
        }
        // A refusal is reported by the attempt itself.
        match self.open().await {
            Err(error) if error.is_refused() => return,
            opened => self.connection = opened.ok(),
        }
        self.report(Loss::Connection(self.node));
    }

    /// Connects. A process that came and went between two tries never had a connection that could break, so a port that refuses is
    /// reported each time; for a broker that is known to be gone it changes nothing.
    async fn open(&mut self) -> Result<PeerConnection, PeerError> {
        let opened = PeerConnection::open(&self.address).await;
        if opened.as_ref().is_err_and(PeerError::is_refused) {
            self.quorum.peer_gone(self.node);
            self.report(Loss::Process(self.node));
        }
        if let Ok(connection) = &opened {
            self.suspects.clear(self.node);
            self.suspects.watch(self.node, connection);
        }
        self.opened = Instant::now();
        opened
    }

    /// Never waits: whoever reads the reports is told again while the node stays away.
    fn report(&self, loss: Loss) {
        tracing::debug!(?loss, address = self.address, "connection to a node lost");
        if let Err(error) = self.losses.try_send(loss) {
            tracing::debug!(?loss, %error, "report of a lost connection dropped");
        }
    }

    async fn send(&mut self, batch: Vec<Outgoing>) -> Result<(), LinkError> {
        let has_snapshot = batch.iter().any(|message| message.snapshot);
        let sent = self.deliver(&batch).await;
        if has_snapshot {
            self.quorum.snapshot_sent(self.node, sent.is_ok());
        }
        sent
    }

    async fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), LinkError> {
        let mut body = self.identity.envelope(self.node).write();
        let messages: Vec<Bytes> = batch.iter().map(|message| message.bytes.clone()).collect();
        write_raft(&mut body, &messages);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let limit = ANSWER_LIMIT + Duration::from_secs(body.bytes.len() as u64) / BYTES_PER_SECOND_MIN;
        self.traffic.asked(body.bytes.len());
        let answer = match connection.ask(InternalApi::Raft, &body.bytes, limit).await {
            Ok(answer) => {
                self.traffic.answered();
                answer
            }
            Err(error) => {
                self.connection_lost().await;
                return Err(error.into());
            }
        };
        self.connection = Some(connection);
        match read_answer(&answer) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((code, message))) => Err(LinkError::Refused { code: code.name(), message }),
            Err(error) => Err(LinkError::Refused { code: "a malformed answer", message: error.to_string() }),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the node refused with {code}: {message}")]
    Refused { code: &'static str, message: String },
}

fn gather(first: Outgoing, messages: &mut mpsc::Receiver<Outgoing>) -> Vec<Outgoing> {
    let mut bytes = first.bytes.len();
    let mut batch = vec![first];
    while bytes < REQUEST_BYTES_MAX && batch.len() < QUEUE_MAX {
        let Ok(message) = messages.try_recv() else { break };
        bytes += message.bytes.len();
        batch.push(message);
    }
    batch
}

#[cfg(test)]
mod tests;
