//! Nodes in one process, joined by a transport that can be cut.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Hands messages straight to the other nodes' handles.
#[derive(Default)]
struct Wires {
    nodes: Mutex<HashMap<NodeId, QuorumHandle>>,
    cut: Mutex<HashSet<NodeId>>,
}

struct Wire {
    from: NodeId,
    wires: Arc<Wires>,
}

impl Transport for Wire {
    fn send(&self, message: Outgoing) -> Result<(), Undeliverable> {
        let is_cut = self.wires.cut.lock().expect("no panic").contains(&message.to);
        let nodes = self.wires.nodes.lock().expect("no panic");
        let Some(to) = nodes.get(&message.to).filter(|_| !is_cut) else { return Err(Undeliverable::NoAddress) };
        let delivered = to.step(self.from, &message.bytes).is_ok();
        if let Some(from) = nodes.get(&self.from).filter(|_| message.snapshot) {
            from.snapshot_sent(message.to, delivered);
        }
        Ok(())
    }
}

struct Node {
    handle: QuorumHandle,
    events: mpsc::Receiver<Event>,
    applied: Vec<Bytes>,
    through: u64,
    snapshot: Option<Bytes>,
    leading: bool,
}

struct Cluster {
    folder: tempfile::TempDir,
    voters: Vec<NodeId>,
    wires: Arc<Wires>,
    snapshot_after: u64,
}

impl Cluster {
    fn with_voters(voters: &[i32]) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            voters: voters.iter().copied().map(NodeId).collect(),
            wires: Arc::default(),
            snapshot_after: 1_000_000,
        }
    }

    fn directory(&self, node: i32) -> PathBuf {
        self.folder.path().join(node.to_string())
    }

    fn start(&self, node: i32) -> Node {
        let node = NodeId(node);
        let mut options = QuorumOptions::new(node, self.voters.clone(), self.directory(node.0));
        options.election_timeout = Duration::from_millis(200);
        options.snapshot_after_entries = self.snapshot_after;
        let wire = Wire { from: node, wires: self.wires.clone() };
        let (handle, events) = start(options, Arc::new(wire)).unwrap_or_else(|error| panic!("{error}"));
        self.wires.nodes.lock().expect("no panic").insert(node, handle.clone());
        Node { handle, events, applied: Vec::new(), through: 0, snapshot: None, leading: false }
    }

    fn cut(&self, node: i32) {
        self.wires.cut.lock().expect("no panic").insert(NodeId(node));
    }

    fn heal(&self, node: i32) {
        self.wires.cut.lock().expect("no panic").remove(&NodeId(node));
    }
}

impl Node {
    async fn take_event(&mut self) {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time");
        match event.expect("the quorum runs") {
            Event::Entries { entries, through } => {
                self.applied.extend(entries.into_iter().map(|entry| entry.data));
                self.through = through;
            }
            Event::Snapshot { index, data } => {
                self.applied.clear();
                self.through = index;
                self.snapshot = Some(data);
            }
            Event::Leading { .. } => self.leading = true,
            Event::Resigned => self.leading = false,
        }
    }

    async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached(self) {
            assert!(Instant::now() < deadline, "not in time: {what}; {:?}", self.handle.status());
            self.take_event().await;
        }
    }

    async fn propose(&self, text: &str) -> u64 {
        self.handle.propose(text.as_bytes().to_vec()).expect("room").await.expect("a leader")
    }

    async fn stop(self) {
        drop(self.events);
        self.handle.stop().await;
    }
}

#[tokio::test]
async fn a_sole_voter_leads_at_once() {
    let cluster = Cluster::with_voters(&[1]);
    let started = Instant::now();
    let mut node = cluster.start(1);
    node.until("leading", |node| node.leading).await;
    // Far below the election timeout of 200 ms times Raft's random factor; generous for a slow disk.
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(node.handle.leader(), Some(NodeId(1)));
    node.stop().await;
}

#[tokio::test]
async fn committed_entries_come_in_order_and_again_after_a_restart() {
    let cluster = Cluster::with_voters(&[1]);
    let mut node = cluster.start(1);
    node.until("leading", |node| node.leading).await;
    let proposals: Vec<Proposal> =
        (0..100).map(|n| node.handle.propose(format!("{n}").into_bytes()).expect("room")).collect();
    let mut last = 0;
    for proposal in proposals {
        let index = proposal.await.expect("a leader");
        assert!(index > last);
        last = index;
    }
    node.stop().await;
    let mut node = cluster.start(1);
    node.until("all entries", |node| node.applied.len() == 100).await;
    let expected: Vec<Bytes> = (0..100).map(|n| format!("{n}").into()).collect();
    assert_eq!(node.applied, expected);
    node.until("leading", |node| node.leading).await;
    node.stop().await;
}

#[tokio::test]
async fn a_learner_gets_what_was_committed_before_and_after_it_joined() {
    let cluster = Cluster::with_voters(&[1]);
    let mut leader = cluster.start(1);
    leader.until("leading", |node| node.leading).await;
    leader.propose("before").await;
    let mut learner = cluster.start(2);
    leader.handle.add_learner(NodeId(2), 0).expect("room").await.expect("a leader");
    leader.handle.add_learner(NodeId(2), 0).expect("room").await.expect("a second time is fine");
    leader.propose("after").await;
    learner.until("both entries", |node| node.applied.len() == 2).await;
    assert_eq!(learner.applied, ["before", "after"]);
    let status = learner.handle.status();
    assert_eq!((status.role, status.leader), (Role::Learner, Some(NodeId(1))));
    assert_eq!(leader.handle.status().learners, [NodeId(2)]);
    let refused = learner.handle.propose(b"not mine".to_vec()).expect("room").await;
    assert_eq!(refused, Err(ProposeError::NotLeader));
}

#[tokio::test]
async fn many_learners_may_join_at_the_same_time() {
    let cluster = Cluster::with_voters(&[1]);
    let mut leader = cluster.start(1);
    leader.until("leading", |node| node.leading).await;
    let joins: Vec<Proposal> = (2..10).map(|node| leader.handle.add_learner(NodeId(node), 0).expect("room")).collect();
    for join in joins {
        join.await.expect("a leader");
    }
    assert_eq!(leader.handle.status().learners, (2..10).map(NodeId).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_learner_that_fell_behind_the_log_gets_the_snapshot() {
    let cluster = Cluster { snapshot_after: 1000, ..Cluster::with_voters(&[1]) };
    let mut leader = cluster.start(1);
    leader.until("leading", |node| node.leading).await;
    let mut learner = cluster.start(2);
    leader.handle.add_learner(NodeId(2), 0).expect("room").await.expect("a leader");
    leader.propose("early").await;
    learner.until("the early entry", |node| node.applied.len() == 1).await;
    cluster.cut(2);
    let mut last = 0;
    for round in 0..10 {
        let proposals: Vec<Proposal> =
            (0..200).map(|n| leader.handle.propose(format!("{round}-{n}").into_bytes()).expect("room")).collect();
        for proposal in proposals {
            last = proposal.await.expect("a leader");
        }
    }
    leader.until("its own entries", |node| node.through >= last).await;
    assert!(leader.handle.wants_snapshot(leader.through, 0));
    leader.handle.save_snapshot(leader.through, Bytes::from_static(b"all of it"));
    leader.propose("late").await;
    cluster.heal(2);
    learner.until("the late entry", |node| node.applied.last().is_some_and(|entry| entry == "late")).await;
    assert_eq!(learner.snapshot.as_deref(), Some(&b"all of it"[..]));
    assert_eq!(learner.applied.len(), 1, "the rest came with the snapshot");

    // And the leader itself starts from its snapshot.
    leader.stop().await;
    let mut leader = cluster.start(1);
    leader.until("leading again", |node| node.leading).await;
    assert_eq!(leader.snapshot.as_deref(), Some(&b"all of it"[..]));
    assert_eq!(leader.applied, ["late"]);
    assert_eq!(leader.handle.status().learners, [NodeId(2)], "members are in the snapshot");
}

#[tokio::test]
async fn a_learner_that_lost_its_files_gets_the_log_again() {
    let cluster = Cluster::with_voters(&[1]);
    let mut leader = cluster.start(1);
    leader.until("leading", |node| node.leading).await;
    let mut learner = cluster.start(2);
    leader.handle.add_learner(NodeId(2), 0).expect("room").await.expect("a leader");
    leader.propose("one").await;
    learner.until("the first entry", |node| node.applied.len() == 1).await;
    learner.stop().await;
    std::fs::remove_dir_all(cluster.directory(2)).expect("the learner's files");
    let mut learner = cluster.start(2);
    let has = learner.handle.status().last_index;
    leader.handle.add_learner(NodeId(2), has).expect("room").await.expect("a leader");
    leader.propose("two").await;
    learner.until("both entries", |node| node.applied.len() == 2).await;
    assert_eq!(learner.applied, ["one", "two"]);
    assert_eq!(learner.handle.status().failed, None);
}

#[tokio::test]
async fn three_voters_survive_the_loss_of_their_leader() {
    let cluster = Cluster::with_voters(&[1, 2, 3]);
    let mut nodes: Vec<Node> = (1..=3).map(|node| cluster.start(node)).collect();
    let deadline = Instant::now() + PATIENCE;
    let first = loop {
        if let Some(at) = nodes.iter().position(|node| node.handle.is_leader()) {
            break at;
        }
        assert!(Instant::now() < deadline, "no leader in time");
        tokio::task::yield_now().await;
    };
    nodes[first].until("leading", |node| node.leading).await;
    nodes[first].propose("one").await;
    let lost = nodes.remove(first);
    cluster.cut(lost.handle.node_id().0);
    lost.stop().await;
    let second = loop {
        if let Some(at) = nodes.iter().position(|node| node.handle.is_leader()) {
            break at;
        }
        assert!(Instant::now() < deadline, "no second leader in time");
        tokio::task::yield_now().await;
    };
    nodes[second].until("leading", |node| node.leading).await;
    nodes[second].propose("two").await;
    for node in &mut nodes {
        node.until("both entries", |node| node.applied.len() == 2).await;
        assert_eq!(node.applied, ["one", "two"]);
    }
}

#[tokio::test]
async fn messages_that_do_not_belong_here_are_refused() {
    let cluster = Cluster::with_voters(&[1]);
    let mut node = cluster.start(1);
    node.until("leading", |node| node.leading).await;
    let step = |message: &raft::eraftpb::Message| {
        let bytes = protobuf::Message::write_to_bytes(message).expect("a message");
        node.handle.step(NodeId(2), &bytes)
    };
    let mut message = raft::eraftpb::Message::default();
    message.set_msg_type(raft::eraftpb::MessageType::MsgHeartbeatResponse);
    message.from = 9;
    message.to = 2;
    assert!(matches!(step(&message), Err(StepError::WrongSender { .. })));
    message.from = 3;
    message.to = 9;
    assert_eq!(step(&message), Err(StepError::WrongReceiver(9)));
    message.to = 2;
    message.set_msg_type(raft::eraftpb::MessageType::MsgPropose);
    assert!(matches!(step(&message), Err(StepError::WrongType(_))), "a peer must not write into the log");
    assert!(matches!(node.handle.step(NodeId(2), &[0xff; 40]), Err(StepError::Malformed(_))));
    let huge = vec![0; MESSAGE_BYTES_MAX + 1];
    assert!(matches!(node.handle.step(NodeId(2), &huge), Err(StepError::TooLarge(_))));
    node.propose("still alive").await;
}

#[tokio::test]
async fn an_oversize_proposal_is_refused() {
    let cluster = Cluster::with_voters(&[1]);
    let node = cluster.start(1);
    let refused = node.handle.propose(vec![0; PROPOSAL_BYTES_MAX + 1]).map(|_| ());
    assert_eq!(refused, Err(ProposeError::TooLarge(PROPOSAL_BYTES_MAX + 1)));
}

#[tokio::test]
async fn a_stopped_quorum_says_so() {
    let cluster = Cluster::with_voters(&[1]);
    let node = cluster.start(1);
    let handle = node.handle.clone();
    node.stop().await;
    let refused = match handle.propose(b"late".to_vec()) {
        Ok(proposal) => proposal.await,
        Err(error) => Err(error),
    };
    assert_eq!(refused, Err(ProposeError::Stopped));
}

#[test]
fn voters_are_required_and_node_ids_are_not_negative() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = QuorumOptions::new(NodeId(1), vec![], folder.path());
    assert!(matches!(none.check(), Err(QuorumError::NoVoters)));
    let negative = QuorumOptions::new(NodeId(-1), vec![NodeId(1)], folder.path());
    assert!(matches!(negative.check(), Err(QuorumError::NegativeNode(NodeId(-1)))));
}
