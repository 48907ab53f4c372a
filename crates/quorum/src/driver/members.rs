//! Changes of the members, on the leader.
//!
//! Picture: requests become single changes in a queue; one is proposed at a time, and the next one only when the one before is
//! applied here. Each change moves one node by one step, so the majorities before and after it always share a voter and no joint
//! configuration is needed. A learner that is to get a vote waits beside the queue until it has caught up.
//!
//! Invariants: a leader proposes no change before it has applied an entry of its own term (Raft keeps a leader's changes back until
//! all that it inherited is applied); a change of members is on disk as committed before it counts; a change that would leave
//! nobody with a vote is never proposed; who lost its directory is removed and added, never counted under the new one.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use raft::{
    StateRole,
    eraftpb::{Entry, EntryType, Snapshot},
};
use twinstream_model::{ClusterId, NodeId};
use uuid::Uuid;

use super::{
    Driver, Ended,
    pending::{Waiter, answer},
};
use crate::{
    MEMBERS_MAX, MemberError, ProposeError,
    handle::{MemberReply, MemberRequest},
    membership::{BadMembership, Change, ChangeKind, Membership, SnapshotBody},
    raft_id,
};

/// Membership changes that wait their turn.
const QUEUE_MAX: usize = 256;
/// Learners that wait until they have caught up.
const CATCHING_UP_MAX: usize = 16;
/// A node this near to the leader's end needs a round trip or two for the rest.
const CAUGHT_UP_ENTRIES: u64 = 64;
/// The first entry of every quorum, which its first snapshot stands for.
const FIRST: (u64, u64) = (1, 1);

/// Who the members are, and who wants to change that.
pub(super) struct Members {
    catch_up_timeout: Duration,
    /// Members after each change that the log may still be cut at; the last one is in force.
    history: VecDeque<(u64, Membership)>,
    queue: VecDeque<(Change, Option<MemberReply>)>,
    catching_up: Vec<CatchingUp>,
    handing_over: Vec<MemberReply>,
}

struct CatchingUp {
    node: NodeId,
    directory: Uuid,
    until: Instant,
    reply: MemberReply,
}

impl Members {
    pub(super) fn new(index: u64, members: Membership, catch_up_timeout: Duration) -> Self {
        Self {
            catch_up_timeout,
            history: VecDeque::from([(index, members)]),
            queue: VecDeque::new(),
            catching_up: Vec::new(),
            handing_over: Vec::new(),
        }
    }

    pub(super) fn in_force(&self) -> &Membership {
        static NOBODY: Membership = Membership { voters: BTreeMap::new(), learners: BTreeMap::new() };
        self.history.back().map_or(&NOBODY, |(_, members)| members)
    }

    /// The members after the entry at an index, unless that is too long ago.
    pub(super) fn at(&self, index: u64) -> Option<Membership> {
        self.history.iter().rev().find(|(since, _)| *since <= index).map(|(_, members)| members.clone())
    }

    pub(super) fn restart_at(&mut self, index: u64, members: Membership) {
        self.history = VecDeque::from([(index, members)]);
    }

    pub(super) fn forget_before(&mut self, index: u64) {
        while self.history.get(1).is_some_and(|(since, _)| *since <= index) {
            self.history.pop_front();
        }
    }

    /// This node leads no more.
    pub(super) fn resign(&mut self) {
        let waiting = self.queue.drain(..).filter_map(|(_, reply)| reply);
        for reply in waiting.chain(self.catching_up.drain(..).map(|waiting| waiting.reply)) {
            answer(reply, Err(MemberError::Proposal(ProposeError::NotLeader)));
        }
    }
}

impl Driver {
    pub(super) fn change_members(&mut self, request: MemberRequest, reply: MemberReply) -> Result<(), Ended> {
        match request {
            MemberRequest::Form { voters } => return self.form(voters, reply),
            MemberRequest::FormAlone if !self.members.in_force().is_empty() => answer(reply, Ok(FIRST.0)),
            MemberRequest::FormAlone => return self.form([(self.me, self.directory)].into(), reply),
            _ if self.node.raft.state != StateRole::Leader => {
                answer(reply, Err(MemberError::Proposal(ProposeError::NotLeader)));
            }
            _ if self.members.queue.len() >= QUEUE_MAX => answer(reply, Err(MemberError::Proposal(ProposeError::Busy))),
            MemberRequest::AddLearner { node, directory } => {
                self.add_learner(node, directory, Some(reply));
            }
            MemberRequest::AddVoter { node, directory } => self.add_voter(node, directory, reply),
            MemberRequest::RemoveVoter { node, directory } => self.remove_voter(node, directory, reply),
            MemberRequest::Remove { node } => self.remove(node, reply),
            MemberRequest::HandOver { to } => match self.hand_over(to) {
                Ok(()) => self.members.handing_over.push(reply),
                Err(error) => answer(reply, Err(error)),
            },
        }
        Ok(())
    }

    /// Begins a quorum: as if a leader of term 1 had sent a snapshot that only says who the members are. All voters write the same,
    /// so it does not matter who of them is first.
    fn form(&mut self, voters: BTreeMap<NodeId, Uuid>, reply: MemberReply) -> Result<(), Ended> {
        let members = Membership { voters, learners: BTreeMap::new() };
        if !self.members.in_force().is_empty() || self.node.raft.raft_log.last_index() > 0 {
            answer(reply, Err(MemberError::Formed));
            return Ok(());
        }
        if !members.is_voter(self.me, self.directory) {
            answer(reply, Err(MemberError::NotAmongVoters(members.voters.keys().copied().collect())));
            return Ok(());
        }
        if members.len() > MEMBERS_MAX {
            answer(reply, Err(MemberError::TooMany));
            return Ok(());
        }
        let voters: Vec<i32> = members.voters.keys().map(|node| node.0).collect();
        tracing::info!(?voters, directory_id = %ClusterId::from_uuid(self.directory), "forming the metadata quorum");
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = FIRST;
        metadata.set_conf_state(members.conf_state());
        snapshot.data = SnapshotBody { members, state: None }.encode().into();
        let term = self.node.raft.term.max(FIRST.1);
        self.node.raft.become_follower(term, raft::INVALID_ID);
        self.node.raft.restore(snapshot);
        self.handle_all_ready()?;
        answer(reply, Ok(FIRST.0));
        self.call_first_election()
    }

    fn add_learner(&mut self, node: NodeId, directory: Uuid, reply: Option<MemberReply>) {
        match self.members.in_force().directory(node) {
            Some(known) if known == directory => {
                let committed = self.node.raft.raft_log.committed;
                return reply.into_iter().for_each(|reply| answer(reply, Ok(committed)));
            }
            // The leader takes a confirmed entry for granted for ever, and a vote for given. Whoever lost its directory has
            // neither, so it is no longer the same member.
            Some(known) if self.may_lose_vote(node) => {
                let (old, new) = (ClusterId::from_uuid(known), ClusterId::from_uuid(directory));
                tracing::debug!(%node, %old, %new, "a member has lost its metadata log, it starts over without a vote");
                self.enqueue(ChangeKind::Remove, node, known, None);
            }
            Some(_) => {
                return reply.into_iter().for_each(|reply| answer(reply, Err(MemberError::LastVoter(node))));
            }
            None if self.members.in_force().len() + self.members.queue.len() >= MEMBERS_MAX => {
                return reply.into_iter().for_each(|reply| answer(reply, Err(MemberError::TooMany)));
            }
            None => {}
        }
        self.enqueue(ChangeKind::AddLearner, node, directory, reply);
    }

    fn add_voter(&mut self, node: NodeId, directory: Uuid, reply: MemberReply) {
        if self.members.in_force().is_voter(node, directory) {
            return answer(reply, Ok(self.node.raft.raft_log.committed));
        }
        if self.members.catching_up.len() >= CATCHING_UP_MAX {
            return answer(reply, Err(MemberError::Proposal(ProposeError::Busy)));
        }
        if self.members.in_force().directory(node) != Some(directory) {
            self.add_learner(node, directory, None);
        }
        let until = Instant::now() + self.members.catch_up_timeout;
        self.members.catching_up.push(CatchingUp { node, directory, until, reply });
    }

    fn remove_voter(&mut self, node: NodeId, directory: Option<Uuid>, reply: MemberReply) {
        let Some(found) = self.members.in_force().voters.get(&node).copied() else {
            return answer(reply, Err(MemberError::NotAMember(node)));
        };
        match directory {
            Some(expected) if expected != found => {
                answer(reply, Err(MemberError::OtherDirectory { node, found, expected }));
            }
            _ => match self.check_leaving(node) {
                Ok(()) => self.enqueue(ChangeKind::AddLearner, node, found, Some(reply)),
                Err(error) => answer(reply, Err(error)),
            },
        }
    }

    fn remove(&mut self, node: NodeId, reply: MemberReply) {
        let Some(directory) = self.members.in_force().directory(node) else {
            return answer(reply, Err(MemberError::NotAMember(node)));
        };
        match self.check_leaving(node) {
            Ok(()) => self.enqueue(ChangeKind::Remove, node, directory, Some(reply)),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// Whether a node may lose its vote now. A leader that did it to itself would go on without being counted, so it hands over.
    fn check_leaving(&mut self, node: NodeId) -> Result<(), MemberError> {
        if !self.may_lose_vote(node) {
            return Err(MemberError::LastVoter(node));
        }
        if node == self.me {
            self.hand_over(None)?;
            return Err(MemberError::Leads(node));
        }
        Ok(())
    }

    fn may_lose_vote(&self, node: NodeId) -> bool {
        let voters = &self.members.in_force().voters;
        voters.len() > 1 || !voters.contains_key(&node)
    }

    fn enqueue(&mut self, kind: ChangeKind, node: NodeId, directory: Uuid, reply: Option<MemberReply>) {
        self.members.queue.push_back((Change { kind, node, directory }, reply));
    }

    /// Lets the voter take over that is asked for, or the one that was heard of lately and has most of the log. Raft forgets
    /// whom it has heard of once per election timeout, so a silent voter is a worse choice and not a wrong one: Raft gives a
    /// hand-over up when nobody has taken over after an election timeout.
    fn hand_over(&mut self, to: Option<NodeId>) -> Result<(), MemberError> {
        let progress = self.node.raft.prs();
        let merit = |node: NodeId| progress.get(raft_id(node)).map(|of| (of.recent_active, of.matched));
        let voters = self.members.in_force().voters.keys().copied();
        let others = voters.filter(|voter| *voter != self.me && to.is_none_or(|to| to == *voter));
        let best = others.filter_map(|voter| Some((merit(voter)?, voter))).max();
        let Some((_, successor)) = best else { return Err(MemberError::NoSuccessor) };
        tracing::info!(%successor, "handing over the metadata quorum");
        self.node.transfer_leader(raft_id(successor));
        Ok(())
    }

    /// Answers those who wait for a hand-over that has happened or that Raft has given up.
    pub(super) fn settle_hand_over(&mut self) {
        if self.members.handing_over.is_empty() || self.node.raft.lead_transferee.is_some() {
            return;
        }
        let leads = self.node.raft.state == StateRole::Leader;
        for reply in self.members.handing_over.drain(..) {
            answer(reply, if leads { Err(MemberError::NotTakenOver) } else { Ok(self.node.raft.raft_log.committed) });
        }
    }

    /// Raft turns a change that is proposed while another is under way into nothing, so they go one by one.
    pub(super) fn propose_member_change(&mut self, now: Instant) {
        if self.node.raft.state != StateRole::Leader {
            return;
        }
        self.promote_caught_up(now);
        while !self.node.raft.has_pending_conf() {
            let Some((change, reply)) = self.members.queue.pop_front() else { return };
            if let Some(outcome) = self.needless(change) {
                reply.into_iter().for_each(|reply| answer(reply, outcome.clone()));
                continue;
            }
            match (self.node.propose_conf_change(Vec::new(), change.to_raft()), reply) {
                (Ok(()), Some(reply)) => {
                    let (index, term) = (self.node.raft.raft_log.last_index(), self.node.raft.term);
                    self.pending.add(index, term, Waiter::Members(reply));
                }
                (Err(_), Some(reply)) => answer(reply, Err(MemberError::Proposal(ProposeError::Busy))),
                (_, None) => {}
            }
        }
    }

    /// A change that earlier ones in the queue have made needless or wrong since it was asked for.
    fn needless(&self, change: Change) -> Option<Result<u64, MemberError>> {
        let members = self.members.in_force();
        let done = Some(Ok(self.node.raft.raft_log.committed));
        let node = change.node;
        match change.kind {
            ChangeKind::AddVoter if members.is_voter(node, change.directory) => done,
            ChangeKind::AddVoter if members.learners.get(&node) != Some(&change.directory) => {
                Some(Err(MemberError::NotAMember(node)))
            }
            ChangeKind::AddLearner if members.learners.get(&node) == Some(&change.directory) => done,
            ChangeKind::Remove if members.directory(node) != Some(change.directory) => done,
            ChangeKind::AddLearner | ChangeKind::Remove if !self.may_lose_vote(node) => {
                Some(Err(MemberError::LastVoter(node)))
            }
            ChangeKind::AddLearner | ChangeKind::Remove if node == self.me => Some(Err(MemberError::Leads(node))),
            ChangeKind::AddLearner
                if members.directory(node).is_some_and(|directory| directory != change.directory) =>
            {
                let found = members.directory(node).unwrap_or_default();
                Some(Err(MemberError::OtherDirectory { node, found, expected: change.directory }))
            }
            _ => None,
        }
    }

    /// Moves learners that have caught up into the queue, and gives up on those that take too long.
    fn promote_caught_up(&mut self, now: Instant) {
        for waiting in std::mem::take(&mut self.members.catching_up) {
            let behind = self.entries_behind(waiting.node, waiting.directory);
            match behind {
                Some(behind) if behind <= CAUGHT_UP_ENTRIES => {
                    let CatchingUp { node, directory, reply, .. } = waiting;
                    self.enqueue(ChangeKind::AddVoter, node, directory, Some(reply));
                }
                _ if now >= waiting.until => {
                    let behind = behind.unwrap_or(self.node.raft.raft_log.committed);
                    answer(waiting.reply, Err(MemberError::NotCaughtUp { node: waiting.node, behind }));
                }
                _ => self.members.catching_up.push(waiting),
            }
        }
    }

    /// How much a member lacks, `None` when it is none or was not heard of.
    fn entries_behind(&self, node: NodeId, directory: Uuid) -> Option<u64> {
        if self.members.in_force().directory(node) != Some(directory) {
            return None;
        }
        let progress = self.node.raft.prs().get(raft_id(node))?;
        let heard = progress.matched > 0;
        heard.then(|| self.node.raft.raft_log.last_index().saturating_sub(progress.matched))
    }

    /// A committed change takes effect.
    pub(super) fn apply_member_change(&mut self, entry: &Entry) -> Result<(), Ended> {
        let (change, raft_change) = match entry.get_entry_type() {
            EntryType::EntryConfChange => Change::read(&entry.data)?,
            // Nobody writes them; see the head of this file.
            EntryType::EntryConfChangeV2 | EntryType::EntryNormal => return Err(Ended::JointChange(entry.index)),
        };
        // It is on disk as committed before it counts: who restarts knows at least the members that it acted on.
        self.node.mut_store().persist(&[], None, true)?;
        if let Err(error) = self.node.apply_conf_change(&raft_change) {
            // Every node refuses it for the same reason, so they stay alike.
            tracing::error!(%error, index = entry.index, "a change of the members has no effect");
            return Ok(());
        }
        let mut members = self.members.in_force().clone();
        members.apply(change);
        let is_important =
            change.kind == ChangeKind::AddVoter || self.members.in_force().voters.contains_key(&change.node);
        if is_important && entry.index > self.known_at_start {
            let voters: Vec<i32> = members.voters.keys().map(|node| node.0).collect();
            tracing::info!(index = entry.index, node = %change.node, ?voters, "voters of the metadata quorum changed");
        }
        self.members.history.push_back((entry.index, members.clone()));
        self.node.mut_store().set_members(members);
        if !self.may_campaign() && self.node.raft.state != StateRole::Follower {
            tracing::info!("this node has no vote any more and steps down");
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
        Ok(())
    }

    /// A snapshot of the leader, or the first one of a quorum.
    pub(super) fn install_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Ended> {
        let body = self.node.mut_store().install_snapshot(snapshot)?;
        let index = snapshot.get_metadata().index;
        self.members.restart_at(index, body.members.clone());
        self.node.mut_store().set_members(body.members);
        self.emit_snapshot(index, body.state)
    }

    /// Whether this node may lead: it votes, with the directory that it has.
    pub(super) fn may_campaign(&self) -> bool {
        self.members.in_force().is_voter(self.me, self.directory)
    }

    /// Whether this node may answer who asks for its vote. A node whose log was lost has the id of a voter but not its directory,
    /// and its vote could be the second one in a term. A change that gives it a vote counts as soon as it is in the log: those who
    /// ask have applied it, and may have nobody else to ask.
    pub(super) fn may_vote(&self) -> bool {
        self.may_campaign() || self.gets_vote_in_log().unwrap_or(false)
    }

    fn gets_vote_in_log(&self) -> Option<bool> {
        let log = &self.node.raft.raft_log;
        let context = raft::GetEntriesContext::empty(false);
        let unapplied = log.entries(log.applied + 1, None, context).ok()?;
        let changes = unapplied.iter().filter(|entry| entry.get_entry_type() == EntryType::EntryConfChange);
        let changes: Result<Vec<Change>, BadMembership> =
            changes.map(|entry| Change::read(&entry.data).map(|(change, _)| change)).collect();
        let mut own = changes.ok()?.into_iter().filter(|change| change.node == self.me);
        Some(own.any(|change| change.kind == ChangeKind::AddVoter && change.directory == self.directory))
    }

    /// The directory that a message to a node is for: for an answer the one that asked, else that of the member.
    pub(super) fn directory_of(&self, node: NodeId, is_answer: bool) -> Option<Uuid> {
        let asked = self.heard.get(&node).copied().filter(|_| is_answer);
        asked.or_else(|| self.members.in_force().directory(node))
    }

    /// Remembers who speaks for a node. Bounded, since anybody may speak.
    pub(super) fn hear(&mut self, from: NodeId, directory: Uuid) {
        if self.heard.len() < 2 * MEMBERS_MAX || self.heard.contains_key(&from) {
            self.heard.insert(from, directory);
        }
    }
}
