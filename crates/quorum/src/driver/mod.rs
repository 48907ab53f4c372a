//! The quorum thread: it alone touches the Raft state machine and its files.
//!
//! Picture: a loop of three steps. Take commands until the next tick is due (a burst of them at once, so that one fsync serves many
//! proposals), let Raft work, then handle what it made ready: send, write, fsync, send what had to wait for the fsync, and pass on
//! what is committed. The thread blocks on files and on a slow reader of events; nobody blocks on it.
//!
//! Invariants: the order inside [`Driver::handle_ready`] is Raft's (its crate documentation, "Processing the Ready State") and is what
//! makes the log safe; only one membership change is under way at a time; a panic or a failed write ends the thread and the reason
//! stays in [`Status::failed`].

mod pending; // who waits for which entry

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use protobuf::Message as _;
use raft::{
    RawNode, SnapshotStatus, StateRole,
    eraftpb::{ConfChange, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType, Snapshot},
};
use tokio::sync::{mpsc, oneshot, watch};
use twinstream_model::NodeId;

use self::pending::Pending;
use crate::{
    Event, MESSAGE_BYTES_MAX, Outgoing, ProposeError, QuorumEntry, QuorumError, QuorumHandle, QuorumOptions, Role,
    Status, StorageError, Transport, handle::Command, log_bridge, node_id, raft_id, storage::DiskStorage,
};

/// Commands that wait. A peer's messages beyond it are dropped, so it only has to cover a burst during one fsync.
const COMMANDS_MAX: usize = 1024;
/// Commands taken before Raft's output is handled: the size of a group commit.
const COMMANDS_PER_ROUND_MAX: usize = 256;
/// Events that wait for a slow reader before this thread waits too.
const EVENTS_MAX: usize = 64;
/// Ticks in one election timeout; a leader sends a heartbeat each tick.
const ELECTION_TICKS: usize = 10;
const APPEND_MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
const APPENDS_IN_FLIGHT_MAX: usize = 64;
/// Proposals beyond it answer busy.
const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
const COMMITTED_BYTES_PER_READY_MAX: u64 = 4 * 1024 * 1024;
/// Membership changes that wait their turn.
const MEMBER_CHANGES_MAX: usize = 256;

type Reply = oneshot::Sender<Result<u64, ProposeError>>;

/// Opens the files and starts the thread. The events begin with the stored snapshot, if there is one.
pub fn start(
    options: QuorumOptions,
    transport: Arc<dyn Transport>,
) -> Result<(QuorumHandle, mpsc::Receiver<Event>), QuorumError> {
    options.check()?;
    let storage = DiskStorage::open(&options)?;
    let (command_sender, commands) = sync_channel(COMMANDS_MAX);
    let (events, event_receiver) = mpsc::channel(EVENTS_MAX);
    let driver = Driver::new(&options, storage, transport, commands, events)?;
    let handle = QuorumHandle {
        node_id: options.node_id,
        commands: command_sender,
        status: driver.status.subscribe(),
        snapshot_after_entries: options.snapshot_after_entries,
    };
    thread::Builder::new()
        .name(format!("quorum-{}", options.node_id))
        .spawn(move || driver.run())
        .map_err(QuorumError::Thread)?;
    Ok((handle, event_receiver))
}

/// Why the thread ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("raft failed: {0}")]
    Raft(#[from] raft::Error),
    #[error("a committed membership change cannot be decoded: {0}")]
    BadMemberChange(#[from] protobuf::ProtobufError),
}

struct Driver {
    node: RawNode<DiskStorage>,
    transport: Arc<dyn Transport>,
    commands: Receiver<Command>,
    events: mpsc::Sender<Event>,
    status: watch::Sender<Status>,
    tick: Duration,
    sole_voter: bool,
    /// Members after each change that the log may still be cut at; the last one is in force.
    members: VecDeque<(u64, ConfState)>,
    pending: Pending,
    member_changes: VecDeque<(ConfChangeType, NodeId, Option<Reply>)>,
    /// The term for which [`Event::Leading`] was sent.
    leading: Option<u64>,
    /// Peers that a message did not reach, and whether it was a snapshot. Raft hears of it only between two Readys.
    lost: Vec<(NodeId, bool)>,
}

impl Driver {
    fn new(
        options: &QuorumOptions,
        storage: DiskStorage,
        transport: Arc<dyn Transport>,
        commands: Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, QuorumError> {
        let snapshot_index = storage.snapshot_index();
        let members = storage.members_at_start();
        let config = raft::Config {
            id: raft_id(options.node_id),
            election_tick: ELECTION_TICKS,
            heartbeat_tick: 1,
            applied: snapshot_index,
            max_size_per_msg: APPEND_MESSAGE_BYTES_MAX,
            max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: COMMITTED_BYTES_PER_READY_MAX,
            ..raft::Config::default()
        };
        let node = RawNode::new(&config, storage, &log_bridge::logger())
            .map_err(|error| QuorumError::Raft(error.to_string()))?;
        let (status, _) = watch::channel(status_of(&node));
        Ok(Self {
            node,
            transport,
            commands,
            events,
            status,
            tick: (options.election_timeout / ELECTION_TICKS as u32).max(Duration::from_millis(1)),
            sole_voter: options.voters == [options.node_id],
            members: VecDeque::from([(snapshot_index, members)]),
            pending: Pending::default(),
            member_changes: VecDeque::new(),
            leading: None,
            lost: Vec::new(),
        })
    }

    fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let reason = match ended {
            Ok(Ok(()) | Err(Ended::Stopped)) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(panic) => Some(panic_text(panic.as_ref())),
        };
        if let Some(reason) = reason {
            tracing::error!(reason, "the metadata quorum of this node has ended");
            self.status.send_modify(|status| {
                status.failed = Some(reason);
                status.leader = None;
            });
        }
        self.pending.fail_all(&ProposeError::Stopped);
    }

    fn serve(&mut self) -> Result<(), Ended> {
        if let Some(data) = self.node.store().snapshot_data()? {
            let index = self.node.store().snapshot_index();
            self.emit(Event::Snapshot { index, data: data.into() })?;
        }
        // What was committed before the restart comes first: Raft does not campaign over membership changes it has not applied.
        self.handle_all_ready()?;
        if self.sole_voter {
            self.node.campaign()?;
            self.handle_all_ready()?;
        }
        let mut next_tick = Instant::now() + self.tick;
        loop {
            self.take_commands(next_tick)?;
            if Instant::now() >= next_tick {
                self.node.tick();
                next_tick = Instant::now() + self.tick;
            }
            self.propose_member_change();
            self.handle_all_ready()?;
        }
    }

    /// Waits for a command or the tick, then takes what else is there.
    fn take_commands(&mut self, next_tick: Instant) -> Result<(), Ended> {
        let wait = next_tick.saturating_duration_since(Instant::now());
        let mut next = match self.commands.recv_timeout(wait) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Stopped),
        };
        let mut taken = 0;
        while let Some(command) = next {
            self.obey(command)?;
            taken += 1;
            if taken == COMMANDS_PER_ROUND_MAX {
                break;
            }
            next = self.commands.try_recv().ok();
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<(), Ended> {
        match command {
            Command::Propose { data, reply } => self.propose(data, reply),
            Command::AddLearner { node, last_index, reply } => self.add_learner(node, last_index, reply),
            Command::Step(message) => self.step(*message),
            Command::Unreachable(node) => self.node.report_unreachable(raft_id(node)),
            Command::SnapshotSent { to, delivered } => {
                let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.node.report_snapshot(raft_id(to), status);
            }
            Command::SaveSnapshot { index, data } => self.save_snapshot(index, &data)?,
            Command::Stop => {
                self.handle_all_ready()?;
                return Err(Ended::Stopped);
            }
        }
        Ok(())
    }

    fn propose(&mut self, data: Vec<u8>, reply: Reply) {
        if self.node.raft.state != StateRole::Leader {
            return answer(reply, Err(ProposeError::NotLeader));
        }
        match self.node.propose(Vec::new(), data) {
            Ok(()) => self.pending.add(self.node.raft.raft_log.last_index(), self.node.raft.term, reply),
            Err(_) => answer(reply, Err(ProposeError::Busy)),
        }
    }

    fn add_learner(&mut self, node: NodeId, last_index: u64, reply: Reply) {
        if self.node.raft.state != StateRole::Leader {
            return answer(reply, Err(ProposeError::NotLeader));
        }
        if self.member_changes.len() >= MEMBER_CHANGES_MAX {
            return answer(reply, Err(ProposeError::Busy));
        }
        if self.has_lost_its_log(node, last_index) {
            // The leader takes a confirmed entry for granted for ever, so only a new membership makes it send the log again.
            tracing::warn!(%node, last_index, "a learner has lost its log, it starts over");
            self.member_changes.push_back((ConfChangeType::RemoveNode, node, None));
        }
        self.member_changes.push_back((ConfChangeType::AddLearnerNode, node, Some(reply)));
    }

    fn has_lost_its_log(&self, node: NodeId, last_index: u64) -> bool {
        let id = raft_id(node);
        let is_voter = self.members.back().is_some_and(|(_, members)| members.voters.contains(&id));
        !is_voter && self.node.raft.prs().get(id).is_some_and(|progress| progress.matched > last_index)
    }

    /// Raft turns a change that is proposed while another is under way into nothing, so they go one by one.
    fn propose_member_change(&mut self) {
        while self.node.raft.state == StateRole::Leader && !self.node.raft.has_pending_conf() {
            let Some((kind, node, reply)) = self.member_changes.pop_front() else { return };
            if kind == ConfChangeType::AddLearnerNode && self.is_member(node) {
                reply.into_iter().for_each(|reply| answer(reply, Ok(self.node.raft.raft_log.committed)));
                continue;
            }
            let mut change = ConfChange { node_id: raft_id(node), ..ConfChange::default() };
            change.set_change_type(kind);
            match (self.node.propose_conf_change(Vec::new(), change), reply) {
                (Ok(()), Some(reply)) => {
                    self.pending.add(self.node.raft.raft_log.last_index(), self.node.raft.term, reply);
                }
                (Err(_), Some(reply)) => answer(reply, Err(ProposeError::Busy)),
                (_, None) => {}
            }
        }
    }

    fn is_member(&self, node: NodeId) -> bool {
        let id = raft_id(node);
        self.members.back().is_some_and(|(_, members)| members.voters.contains(&id) || members.learners.contains(&id))
    }

    fn step(&mut self, mut message: Message) {
        let (from, kind) = (message.from, message.get_msg_type());
        if kind == MessageType::MsgHeartbeat && message.commit > self.node.raft.raft_log.last_index() {
            // The leader remembers entries that this node has lost with its files. Raft would panic; the leader learns of it when
            // this node joins again.
            message.commit = self.node.raft.raft_log.committed;
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(from, ?kind, %error, "message of a peer not taken");
        }
    }

    fn save_snapshot(&mut self, index: u64, data: &Bytes) -> Result<(), Ended> {
        let members = self.members.iter().rev().find(|(since, _)| *since <= index).map(|(_, members)| members.clone());
        let Some(members) = members else { return Ok(()) };
        if index <= self.node.raft.raft_log.applied && self.node.mut_store().compact(index, members, data)? {
            while self.members.get(1).is_some_and(|(since, _)| *since <= index) {
                self.members.pop_front();
            }
            tracing::debug!(index, bytes = data.len(), "metadata snapshot stored");
        }
        Ok(())
    }

    fn handle_all_ready(&mut self) -> Result<(), Ended> {
        while self.node.has_ready() {
            self.handle_ready()?;
            for (to, snapshot) in std::mem::take(&mut self.lost) {
                self.report_lost(to, snapshot);
            }
        }
        self.publish_status();
        Ok(())
    }

    fn handle_ready(&mut self) -> Result<(), Ended> {
        let mut ready = self.node.ready();
        if ready.ss().is_some_and(|state| state.raft_state != StateRole::Leader) {
            self.resign()?;
        }
        self.send(ready.take_messages());
        if !ready.snapshot().is_empty() {
            self.install_snapshot(ready.snapshot().clone())?;
        }
        self.pass_on(ready.take_committed_entries())?;
        let entries = ready.take_entries();
        self.node.mut_store().persist(&entries, ready.hs(), ready.must_sync())?;
        self.send(ready.take_persisted_messages());
        let mut light = self.node.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.node.mut_store().note_commit(commit)?;
        }
        self.send(light.take_messages());
        self.pass_on(light.take_committed_entries())?;
        self.node.advance_apply();
        Ok(())
    }

    fn install_snapshot(&mut self, snapshot: Snapshot) -> Result<(), Ended> {
        self.node.mut_store().install_snapshot(&snapshot)?;
        let metadata = snapshot.get_metadata();
        self.members = VecDeque::from([(metadata.index, metadata.get_conf_state().clone())]);
        let index = metadata.index;
        self.emit(Event::Snapshot { index, data: snapshot.data.to_vec().into() })
    }

    fn pass_on(&mut self, committed: Vec<Entry>) -> Result<(), Ended> {
        let Some(through) = committed.last().map(|entry| entry.index) else { return Ok(()) };
        let mut entries = Vec::new();
        let mut done = Vec::new();
        let mut own_term_begun = None;
        for entry in committed {
            done.push((entry.index, entry.term));
            match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => own_term_begun = Some(entry.term),
                EntryType::EntryNormal => {
                    let data = Bytes::from(entry.data.to_vec());
                    entries.push(QuorumEntry { index: entry.index, term: entry.term, data });
                }
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => self.change_members(&entry)?,
            }
        }
        self.emit(Event::Entries { entries, through })?;
        // Whoever is told of a commit finds it in the status, too.
        self.publish_status();
        for (index, term) in done {
            self.pending.committed(index, term);
        }
        if own_term_begun == Some(self.node.raft.term) && self.node.raft.state == StateRole::Leader {
            self.lead()?;
        }
        Ok(())
    }

    fn change_members(&mut self, entry: &Entry) -> Result<(), Ended> {
        let members = if entry.get_entry_type() == EntryType::EntryConfChange {
            let change = ConfChange::parse_from_bytes(&entry.data)?;
            self.node.apply_conf_change(&change)?
        } else {
            let change = ConfChangeV2::parse_from_bytes(&entry.data)?;
            self.node.apply_conf_change(&change)?
        };
        self.members.push_back((entry.index, members));
        Ok(())
    }

    fn lead(&mut self) -> Result<(), Ended> {
        let term = self.node.raft.term;
        if self.leading != Some(term) {
            self.leading = Some(term);
            self.emit(Event::Leading { term })?;
        }
        Ok(())
    }

    fn resign(&mut self) -> Result<(), Ended> {
        self.pending.fail_all(&ProposeError::Superseded);
        for reply in self.member_changes.drain(..).filter_map(|(_, _, reply)| reply) {
            answer(reply, Err(ProposeError::NotLeader));
        }
        if self.leading.take().is_some() {
            self.emit(Event::Resigned)?;
        }
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let Some(to) = node_id(message.to) else { continue };
            let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
            let bytes = match message.write_to_bytes() {
                Ok(bytes) if bytes.len() <= MESSAGE_BYTES_MAX => Bytes::from(bytes),
                Ok(bytes) => {
                    tracing::error!(%to, bytes = bytes.len(), "message to a peer is over the bound and cannot be sent");
                    self.lost.push((to, snapshot));
                    continue;
                }
                Err(error) => {
                    tracing::error!(%to, %error, "message to a peer cannot be encoded");
                    continue;
                }
            };
            if let Err(error) = self.transport.send(Outgoing { to, bytes, snapshot }) {
                tracing::trace!(%to, %error, "message to a peer dropped");
                self.lost.push((to, snapshot));
            }
        }
    }

    fn report_lost(&mut self, to: NodeId, snapshot: bool) {
        self.node.report_unreachable(raft_id(to));
        if snapshot {
            self.node.report_snapshot(raft_id(to), SnapshotStatus::Failure);
        }
    }

    /// A reader that is gone means the process is going down.
    fn emit(&mut self, event: Event) -> Result<(), Ended> {
        self.events.blocking_send(event).map_err(|_| Ended::Stopped)
    }

    fn publish_status(&self) {
        let next = status_of(&self.node);
        self.status.send_if_modified(|status| {
            let changed = *status != next;
            *status = next;
            changed
        });
    }
}

fn status_of(node: &RawNode<DiskStorage>) -> Status {
    let members = node.raft.prs().conf().to_conf_state();
    let nodes = |ids: &[u64]| {
        let mut nodes: Vec<NodeId> = ids.iter().copied().filter_map(node_id).collect();
        nodes.sort();
        nodes
    };
    let voter = members.voters.contains(&node.raft.id);
    let role = match node.raft.state {
        StateRole::Leader => Role::Leader,
        StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        StateRole::Follower if voter => Role::Follower,
        StateRole::Follower => Role::Learner,
    };
    Status {
        role,
        leader: node_id(node.raft.leader_id),
        term: node.raft.term,
        committed: node.raft.raft_log.committed,
        last_index: node.raft.raft_log.last_index(),
        voters: nodes(&members.voters),
        learners: nodes(&members.learners),
        failed: None,
    }
}

/// Nobody may be waiting any more, which is fine.
fn answer(reply: Reply, outcome: Result<u64, ProposeError>) {
    if reply.send(outcome).is_err() {
        tracing::trace!("nobody waits for this proposal any more");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("raft panicked: {}", text.unwrap_or_else(|| "no message".to_owned()))
}
