//! Nodes in one process, joined by a transport whose links can be cut.
//!
//! The state that the entries make is the list of all texts that were proposed; it is also what snapshots hold, so that every node can
//! be asked for the whole history at any time.

mod basics; // one voter, learners, what is refused
mod elections; // leaders that go
mod membership; // voters that come, go and lose their files
mod nemesis; // random faults

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const ELECTION_TIMEOUT: Duration = Duration::from_millis(200);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether it was reached in this time; for those to whom it does not matter much.
async fn wait_at_most(limit: Duration, mut reached: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !reached() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
}

/// Hands messages straight to the other nodes' handles.
#[derive(Default)]
struct Wires {
    nodes: Mutex<HashMap<NodeId, QuorumHandle>>,
    /// Links that lose everything, from and to.
    cut: Mutex<HashSet<(NodeId, NodeId)>>,
    /// Messages that a node has sent and another one got.
    delivered: Mutex<HashMap<NodeId, usize>>,
}

struct Wire {
    from: NodeId,
    wires: Arc<Wires>,
}

impl Transport for Wire {
    fn send(&self, message: Outgoing) -> Result<(), Undeliverable> {
        let is_cut = locked(&self.wires.cut).contains(&(self.from, message.to));
        let (from, to) = {
            let nodes = locked(&self.wires.nodes);
            (nodes.get(&self.from).cloned(), nodes.get(&message.to).cloned())
        };
        let delivered = !is_cut && to.is_some_and(|to| to.step(self.from, &message.bytes).is_ok());
        if let Some(from) = from.filter(|_| message.snapshot) {
            from.snapshot_sent(message.to, delivered);
        }
        if !delivered {
            return Err(Undeliverable::QueueFull);
        }
        *locked(&self.wires.delivered).entry(self.from).or_default() += 1;
        Ok(())
    }
}

/// What one node has made of the events.
#[derive(Default)]
struct State {
    applied: Vec<String>,
    through: u64,
    last_snapshot: u64,
    /// Snapshots that came from the leader or from disk.
    snapshots: usize,
    leading: bool,
}

impl State {
    fn take(&mut self, event: Event) {
        match event {
            Event::Entries { entries, through } => {
                assert!(through > self.through, "entries come in order");
                let texts = entries.into_iter().map(|entry| String::from_utf8_lossy(&entry.data).into_owned());
                self.applied.extend(texts);
                self.through = through;
            }
            Event::Snapshot { index, data } => {
                self.applied = String::from_utf8_lossy(&data).split_terminator('\n').map(str::to_owned).collect();
                (self.through, self.last_snapshot) = (index, index);
                self.snapshots += 1;
            }
            Event::Leading { .. } => self.leading = true,
            Event::Resigned => self.leading = false,
        }
    }

    fn to_snapshot(&self) -> Bytes {
        self.applied.iter().flat_map(|text| [text.as_str(), "\n"]).collect::<String>().into()
    }
}

#[derive(Clone)]
struct Node {
    handle: QuorumHandle,
    state: Arc<Mutex<State>>,
}

struct Cluster {
    folder: tempfile::TempDir,
    wires: Arc<Wires>,
    snapshot_after: u64,
    catch_up_timeout: Duration,
    election_timeout: Duration,
}

impl Cluster {
    fn new() -> Self {
        Self::with_snapshots_after(1_000_000)
    }

    fn with_snapshots_after(snapshot_after: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            folder,
            wires: Arc::default(),
            snapshot_after,
            catch_up_timeout: PATIENCE,
            election_timeout: ELECTION_TIMEOUT,
        }
    }

    fn directory(&self, node: i32) -> PathBuf {
        self.folder.path().join(node.to_string())
    }

    /// Opens a node's files; a node without files is new.
    fn start(&self, node: i32) -> Node {
        let node = NodeId(node);
        let mut options = QuorumOptions::new(node, self.directory(node.0));
        options.election_timeout = self.election_timeout;
        options.catch_up_timeout = self.catch_up_timeout;
        options.snapshot_after_entries = self.snapshot_after;
        let wire = Wire { from: node, wires: self.wires.clone() };
        let (handle, events) = start(options, Arc::new(wire)).unwrap_or_else(|error| panic!("{error}"));
        locked(&self.wires.nodes).insert(node, handle.clone());
        let node = Node { handle, state: Arc::default() };
        tokio::spawn(follow(node.clone(), events));
        node
    }

    /// Nobody waits for a timeout: what happens happens for another reason.
    fn without_timeouts() -> Self {
        Self { election_timeout: Duration::from_secs(3600), ..Self::new() }
    }

    async fn alone(&self, node: i32) -> Node {
        let node = self.start(node);
        node.handle.form_alone().await.expect("a new node");
        node.until_leading().await;
        node
    }

    /// A new quorum of these voters.
    async fn formed(&self, voters: &[i32]) -> Vec<Node> {
        let nodes: Vec<Node> = voters.iter().map(|voter| self.start(*voter)).collect();
        let map: BTreeMap<NodeId, Uuid> = nodes.iter().map(Node::id).collect();
        for node in &nodes {
            // A majority may lead already, and its first messages make the others members.
            let formed = node.handle.form(map.clone()).await;
            assert!(matches!(formed, Ok(_) | Err(MemberError::Formed)), "{formed:?}");
        }
        nodes
    }

    /// Ends a node; its files stay.
    async fn stop(&self, node: Node) {
        locked(&self.wires.nodes).remove(&node.handle.node_id());
        node.handle.stop().await;
    }

    /// Ends a node, and the others notice.
    async fn kill(&self, node: Node) {
        let gone = node.handle.node_id();
        self.stop(node).await;
        for other in locked(&self.wires.nodes).values() {
            other.peer_gone(gone);
        }
    }

    /// Waits until a node that asks for votes has done so many times.
    async fn until_it_gives_up_hope(&self, node: &Node) {
        wait_until("asking for votes", || node.handle.status().role == Role::Candidate).await;
        let sent = || locked(&self.wires.delivered).get(&node.handle.node_id()).copied().unwrap_or_default();
        let before = sent();
        wait_until("more requests for votes", || sent() > before + 20).await;
    }

    fn wipe(&self, node: i32) {
        std::fs::remove_dir_all(self.directory(node)).expect("the files of a node that was stopped");
    }

    fn isolate(&self, node: i32) {
        let node = NodeId(node);
        let others: Vec<NodeId> = (0..20).map(NodeId).collect();
        locked(&self.wires.cut).extend(others.iter().flat_map(|other| [(node, *other), (*other, node)]));
    }

    fn heal(&self) {
        locked(&self.wires.cut).clear();
    }
}

async fn follow(node: Node, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        let mut state = locked(&node.state);
        state.take(event);
        if node.handle.wants_snapshot(state.through, state.last_snapshot) {
            node.handle.save_snapshot(state.through, state.to_snapshot());
            state.last_snapshot = state.through;
        }
    }
}

impl Node {
    fn id(&self) -> (NodeId, Uuid) {
        (self.handle.node_id(), self.handle.directory_id())
    }

    fn number(&self) -> i32 {
        self.handle.node_id().0
    }

    fn applied(&self) -> Vec<String> {
        locked(&self.state).applied.clone()
    }

    fn is_leading(&self) -> bool {
        locked(&self.state).leading
    }

    fn voters(&self) -> Vec<i32> {
        self.handle.status().voters.iter().map(|(node, _)| node.0).collect()
    }

    fn learners(&self) -> Vec<i32> {
        self.handle.status().learners.iter().map(|(node, _)| node.0).collect()
    }

    async fn until(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached(&locked(&self.state)) {
            assert!(Instant::now() < deadline, "not in time: {what}; {:?}", self.handle.status());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn until_leading(&self) {
        self.until("leading", |state| state.leading).await;
    }

    async fn until_applied(&self, text: &str) {
        self.until(text, |state| state.applied.iter().any(|applied| applied == text)).await;
    }

    async fn propose(&self, text: &str) -> Result<u64, ProposeError> {
        self.handle.propose(text.as_bytes().to_vec())?.await
    }

    /// Proposes what must be committed.
    async fn write(&self, text: &str) -> u64 {
        self.propose(text).await.expect("a leader")
    }
}

/// The node that leads and has told so. `nodes` are those that can.
async fn leader(nodes: &[Node]) -> Node {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(leader) = nodes.iter().find(|node| node.is_leading() && node.handle.is_leader()) {
            return leader.clone();
        }
        let statuses: Vec<Status> = nodes.iter().map(|node| node.handle.status()).collect();
        assert!(Instant::now() < deadline, "no leader in time: {statuses:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn without(nodes: &[Node], gone: &Node) -> Vec<Node> {
    nodes.iter().filter(|node| node.number() != gone.number()).cloned().collect()
}
