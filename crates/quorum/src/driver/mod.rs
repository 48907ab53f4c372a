//! The quorum thread: it alone touches the Raft state machine and its files.
//!
//! Picture: a loop of three steps. Take commands until the next tick is due (a burst of them at once, so that one fsync serves many
//! proposals), let Raft work, then handle what it made ready: send, write, fsync, send what had to wait for the fsync, and pass on
//! what is committed. The thread blocks on files and on a slow reader of events; nobody blocks on it.
//!
//! Invariants: the order inside [`Driver::handle_ready`] is Raft's (its crate documentation, "Processing the Ready State") and is what
//! makes the log safe; only one membership change is under way at a time; a panic or a failed write ends the thread and the reason
//! stays in [`Status::failed`].

mod election; // when the leader is known to be gone
mod members; // changes of the members
mod pending; // who waits for which entry
mod progress; // how far the members are

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use raft::{
    RawNode, SnapshotStatus, StateRole,
    eraftpb::{Entry, EntryType, Message, MessageType},
};
use tokio::sync::{mpsc, watch};
use twinstream_model::{ClusterId, NodeId};
use uuid::Uuid;

use self::{
    election::Elections,
    members::Members,
    pending::{Pending, Waiter, answer},
    progress::Contacts,
};
use crate::{
    Event, MESSAGE_BYTES_MAX, Outgoing, ProposeError, QuorumEntry, QuorumError, QuorumHandle, QuorumOptions, Role,
    Status, StorageError, Transport,
    envelope::{self, Incoming},
    handle::{Command, Reply},
    log_bridge,
    membership::{BadMembership, SnapshotBody},
    node_id, raft_id,
    storage::DiskStorage,
};

/// Commands that wait. A peer's messages beyond it are dropped, so it only has to cover a burst during one fsync.
const COMMANDS_MAX: usize = 1024;
/// Commands taken before Raft's output is handled: the size of a group commit.
const COMMANDS_PER_ROUND_MAX: usize = 256;
/// Events that wait for a slow reader before this thread waits too.
const EVENTS_MAX: usize = 64;
/// Ticks in one election timeout; a leader sends a heartbeat each tick.
const ELECTION_TICKS: usize = 10;
/// A leader that was not run for so many election timeouts asks whether it still is one.
const OVERSLEPT_ELECTION_TIMEOUTS: u32 = 2;
const APPEND_MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
const APPENDS_IN_FLIGHT_MAX: usize = 64;
/// Proposals beyond it answer busy.
const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
const COMMITTED_BYTES_PER_READY_MAX: u64 = 4 * 1024 * 1024;

/// Opens the files and starts the thread. The events begin with the stored snapshot, if there is one. A node with a new folder takes
/// no part until [`QuorumHandle::form`], or until a leader adds it.
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
    #[error("a committed membership change cannot be applied: {0}")]
    BadMemberChange(#[from] BadMembership),
    #[error("entry {0} changes several members at once, which this release does not do")]
    JointChange(u64),
}

/// What committed entries leave to do.
#[derive(Default)]
struct Passed {
    changes: Vec<Entry>,
    /// The last term whose leader's first entry was among them.
    term_begun: Option<u64>,
}

struct Driver {
    me: NodeId,
    /// The id of this node's folder.
    directory: Uuid,
    node: RawNode<DiskStorage>,
    transport: Arc<dyn Transport>,
    commands: Receiver<Command>,
    events: mpsc::Sender<Event>,
    status: watch::Sender<Status>,
    tick: Duration,
    election_timeout: Duration,
    members: Members,
    /// The last entry that was committed before this start, as far as this node knew: what it says was told then.
    known_at_start: u64,
    elections: Elections,
    contacts: Contacts,
    pending: Pending,
    /// The term for which [`Event::Leading`] was sent.
    leading: Option<u64>,
    /// Peers that a message did not reach, and whether it was a snapshot. Raft hears of it only between two Readys.
    lost: Vec<(NodeId, bool)>,
    /// The directory with which each peer last spoke, for answers to it.
    heard: BTreeMap<NodeId, Uuid>,
    /// Who spoke as leader to the member that this node is not (any more).
    leader_hint: Option<NodeId>,
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
        let (directory, members) = (storage.directory(), storage.members_at_start());
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
        let known_at_start = node.raft.raft_log.committed;
        let mut driver = Self {
            me: options.node_id,
            directory,
            node,
            transport,
            commands,
            events,
            status: watch::Sender::new(nothing_yet(directory)),
            tick: (options.election_timeout / ELECTION_TICKS as u32).max(Duration::from_millis(1)),
            election_timeout: options.election_timeout,
            members: Members::new(snapshot_index, members, options.catch_up_timeout),
            known_at_start,
            elections: Elections::default(),
            contacts: Contacts::default(),
            pending: Pending::default(),
            leading: None,
            lost: Vec::new(),
            heard: BTreeMap::new(),
            leader_hint: None,
        };
        driver.publish_status();
        Ok(driver)
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
        let index = self.node.store().snapshot_index();
        if index > 0 {
            let state = self.node.store().snapshot_state()?;
            self.emit_snapshot(index, state)?;
        }
        // What was committed before the restart comes first: Raft does not campaign over membership changes it has not applied.
        self.handle_all_ready()?;
        self.tell_membership();
        self.call_first_election()?;
        let mut next_tick = Instant::now() + self.tick;
        loop {
            let wake = self.elections.next().map_or(next_tick, |next| next.min(next_tick));
            self.take_commands(wake)?;
            // Raft may only become leader with everything on disk, which a sole voter does within a tick.
            self.handle_all_ready()?;
            let now = Instant::now();
            if now >= next_tick {
                self.tick();
                next_tick = now + self.tick;
            }
            self.hold_elections(now)?;
            self.propose_member_change(now);
            self.settle_hand_over();
            self.handle_all_ready()?;
        }
    }

    /// What a restart finds.
    fn tell_membership(&self) {
        let members = self.members.in_force();
        if !members.is_empty() {
            let voters: Vec<i32> = members.voters.keys().map(|node| node.0).collect();
            let directory_id = ClusterId::from_uuid(self.directory);
            tracing::info!(?voters, %directory_id, votes = self.may_campaign(), "rejoining the metadata quorum");
        }
    }

    /// Time for whoever leads or may lead. The others have no timeout: Raft knows members by node alone, so it would campaign for a
    /// node whose directory is new.
    fn tick(&mut self) {
        if self.may_campaign() || self.node.raft.state != StateRole::Follower {
            self.node.tick();
        }
    }

    /// Waits for a command or until something else is due, then takes what else is there.
    fn take_commands(&mut self, wake: Instant) -> Result<(), Ended> {
        let asked = Instant::now();
        let wait = wake.saturating_duration_since(asked);
        let mut next = match self.commands.recv_timeout(wait) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Stopped),
        };
        let overslept = asked.elapsed().saturating_sub(wait);
        if overslept > self.election_timeout * OVERSLEPT_ELECTION_TIMEOUTS {
            self.doubt_leadership(overslept)?;
        }
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
            Command::Members { request, reply } => self.change_members(request, reply)?,
            Command::Describe { reply } => answer(reply, self.describe()),
            Command::Step(incoming) => self.step(*incoming),
            Command::PeerGone(node) => self.peer_gone(node, Instant::now()),
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
            Ok(()) => {
                let (index, term) = (self.node.raft.raft_log.last_index(), self.node.raft.term);
                self.pending.add(index, term, Waiter::Proposal(reply));
            }
            Err(_) => answer(reply, Err(ProposeError::Busy)),
        }
    }

    fn step(&mut self, incoming: Incoming) {
        let Incoming { from, from_directory, to_directory, message } = incoming;
        let kind = message.get_msg_type();
        if to_directory != self.directory {
            // For the member that this node was before it lost its files; still it tells who leads.
            if matches!(kind, MessageType::MsgHeartbeat | MessageType::MsgAppend | MessageType::MsgSnapshot) {
                self.leader_hint = Some(from);
            }
            tracing::debug!(%from, ?kind, %to_directory, "message for another directory of this node not taken");
            return;
        }
        if envelope::is_answer(kind) && self.members.in_force().directory(from) != Some(from_directory) {
            tracing::debug!(%from, ?kind, %from_directory, "answer of a node that is no member with its directory not taken");
            return;
        }
        self.hear(from, from_directory);
        self.notice_resignation(&message);
        let id = message.from;
        if let Some(message) = self.admit(message)
            && let Err(error) = self.node.step(message)
        {
            tracing::debug!(%from, ?kind, %error, "message of a peer not taken");
        }
        if envelope::is_answer(kind) {
            self.note_contact(id);
        }
    }

    /// Keeps away from Raft what this node must not answer, and what would make Raft panic.
    fn admit(&self, mut message: Message) -> Option<Message> {
        let (from, kind) = (message.from, message.get_msg_type());
        let last_index = self.node.raft.raft_log.last_index();
        let refusal = match kind {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if !self.may_vote() => "this node has no vote",
            MessageType::MsgTimeoutNow if !self.may_campaign() => "this node may not lead",
            MessageType::MsgAppendResponse if !message.reject && message.index > last_index => {
                "the node has entries that its leader has not"
            }
            MessageType::MsgSnapshot if SnapshotBody::decode(&message.get_snapshot().data).is_err() => {
                "the snapshot does not say who the members are"
            }
            MessageType::MsgHeartbeat if message.commit > last_index => {
                message.commit = self.node.raft.raft_log.committed;
                return Some(message);
            }
            _ => return Some(message),
        };
        tracing::debug!(from, ?kind, refusal, "message of a peer not taken");
        None
    }

    fn save_snapshot(&mut self, index: u64, data: &Bytes) -> Result<(), Ended> {
        let Some(members) = self.members.at(index) else { return Ok(()) };
        if index <= self.node.raft.raft_log.applied && self.node.mut_store().compact(index, members, data)? {
            self.members.forget_before(index);
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
            self.install_snapshot(&ready.snapshot().clone())?;
        }
        let mut passed = Passed::default();
        self.pass_on(ready.take_committed_entries(), &mut passed)?;
        let entries = ready.take_entries();
        self.node.mut_store().persist(&entries, ready.hs(), ready.must_sync())?;
        self.send(ready.take_persisted_messages());
        let mut light = self.node.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.node.mut_store().note_commit(commit)?;
        }
        self.send(light.take_messages());
        self.pass_on(light.take_committed_entries(), &mut passed)?;
        // Not between ready() and advance_append(): a leader that loses its vote here steps down, and Raft does not expect that there.
        for entry in passed.changes {
            self.apply_member_change(&entry)?;
            self.publish_status();
            self.pending.committed(entry.index, entry.term);
        }
        self.node.advance_apply();
        if passed.term_begun == Some(self.node.raft.term) && self.node.raft.state == StateRole::Leader {
            self.lead()?;
        }
        Ok(())
    }

    /// Hands out committed entries, and keeps those that change members.
    fn pass_on(&mut self, committed: Vec<Entry>, passed: &mut Passed) -> Result<(), Ended> {
        let Some(through) = committed.last().map(|entry| entry.index) else { return Ok(()) };
        let mut entries = Vec::new();
        let mut done = Vec::new();
        for entry in committed {
            if entry.get_entry_type() != EntryType::EntryNormal {
                passed.changes.push(entry);
                continue;
            }
            done.push((entry.index, entry.term));
            if entry.data.is_empty() {
                passed.term_begun = Some(entry.term);
            } else {
                let data = Bytes::from(entry.data.to_vec());
                entries.push(QuorumEntry { index: entry.index, term: entry.term, data });
            }
        }
        self.emit(Event::Entries { entries, through })?;
        // Whoever is told of a commit finds it in the status, too.
        self.publish_status();
        for (index, term) in done {
            self.pending.committed(index, term);
        }
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
        self.members.resign();
        self.contacts.clear();
        if self.leading.take().is_some() {
            self.emit(Event::Resigned)?;
        }
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let kind = message.get_msg_type();
            let Some(to) = node_id(message.to) else { continue };
            let Some(directory) = self.directory_of(to, envelope::is_answer(kind)) else {
                tracing::debug!(%to, ?kind, "message to a node that is no member any more not sent");
                continue;
            };
            let snapshot = kind == MessageType::MsgSnapshot;
            let bytes = match envelope::encode(self.directory, directory, &message) {
                Ok(bytes) if bytes.len() <= MESSAGE_BYTES_MAX => Bytes::from(bytes),
                Ok(bytes) => {
                    tracing::error!(%to, bytes = bytes.len(), "message to a peer is over the bound and cannot be sent");
                    self.lost.push((to, snapshot));
                    continue;
                }
                Err(error) => {
                    tracing::error!(%to, %error, "message to a peer cannot be encoded");
                    self.lost.push((to, snapshot));
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

    /// The first snapshot of a quorum comes before any state, so only its index is news.
    fn emit_snapshot(&mut self, index: u64, state: Option<Vec<u8>>) -> Result<(), Ended> {
        self.emit(match state {
            Some(state) => Event::Snapshot { index, data: state.into() },
            None => Event::Entries { entries: Vec::new(), through: index },
        })
    }

    fn publish_status(&mut self) {
        let next = self.current_status();
        self.status.send_if_modified(|status| {
            let changed = *status != next;
            *status = next;
            changed
        });
    }

    fn current_status(&mut self) -> Status {
        let (raft, members) = (&self.node.raft, self.members.in_force());
        let formed = !members.is_empty();
        if raft.leader_id != raft::INVALID_ID {
            self.leader_hint = None;
        }
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower if self.may_campaign() => Role::Follower,
            StateRole::Follower => Role::Learner,
        };
        Status {
            formed,
            directory_id: self.directory,
            role,
            leader: node_id(raft.leader_id).or(self.leader_hint),
            term: raft.term,
            vote: node_id(raft.vote),
            committed: raft.raft_log.committed,
            last_index: raft.raft_log.last_index(),
            voters: members.voters.iter().map(|(node, directory)| (*node, *directory)).collect(),
            learners: members.learners.iter().map(|(node, directory)| (*node, *directory)).collect(),
            failed: None,
        }
    }
}

/// The status of a new folder.
fn nothing_yet(directory_id: Uuid) -> Status {
    Status {
        formed: false,
        directory_id,
        role: Role::Learner,
        leader: None,
        term: 0,
        vote: None,
        committed: 0,
        last_index: 0,
        voters: Vec::new(),
        learners: Vec::new(),
        failed: None,
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
