//! One group coordinator shard: decides group requests, replays group records.
//!
//! Picture: a table of groups (see [`state`]), one clock of deadlines for all of them, and a function per
//! request that looks at one group, changes its volatile side, and says which records and answers follow.
//! Joins and syncs that must wait are parked in the group as tokens and answered by a later event.
//!
//! What is stored: committed offsets, and a group's members with their assignments whenever a generation
//! completes, empties, or changes a static member's id. Everything between two generations is volatile as in
//! Kafka: after a restart members find the last stored generation and go on, or rejoin.
//!
//! Invariants: G1 a group's generation never goes back (except by wrapping to 0). G2 a stable group's
//! assignments are those of the last stored record. G3 a parked token is answered exactly once.
//! G4 every member of a group that is not excused (`Member::is_excused_from_heartbeat`) has a deadline.
//!
//! Groups of the newer protocol (KIP-848) are a table of their own, see [`consumer`]; offsets are the same for both.
//!
//! Not here: wire versions (`handlers` of the broker), bytes (`codec`).

mod admin; // describe, list, delete
pub mod assignor; // who is to own what in a consumer group
mod codec;
mod config;
pub(crate) mod consumer; // groups of the newer protocol
mod consumer_codec;
mod join; // who may come in
mod leave; // heartbeat and leave
mod marks; // what readers of offsets wait for
mod member;
mod offset_book; // what counts and what is pending
mod offsets; // commit, fetch, delete, expiry
mod rebalance; // prepare, complete, and the deadlines between
mod record;
pub mod regex; // subscriptions by pattern
mod request;
mod state;
pub(crate) mod subscription;
mod sync; // who gets what
mod topic_hash;
mod topics; // the cluster as groups see it
mod transactions; // offsets of transactions, and markers

use std::collections::BTreeMap;
use std::sync::Arc;

use twinstream_model::{ErrorCode, GroupId, Offset};

pub use codec::{decode, decode_marker, encode};
pub use config::GroupConfig;
pub use consumer::{
    ClassicMember, ConsumerDescription, ConsumerGroupConfig, ConsumerGroupState, ConsumerHeartbeat,
    ConsumerHeartbeatAnswer, ConsumerRecord, CurrentValue, DescribedConsumer, Epoch, GroupOverrides, GroupValue,
    MemberState, MemberValue, MigrationPolicy, OwnedPartitions, Partitions, RegexValue, TargetValue,
};
pub use record::{BatchKind, CommittedOffset, GroupMetadata, OffsetKey, Record, StoredMember};
pub use request::{
    Answer, CommitAnswer, CommitOffsets, CommitTransactionalOffsets, DeleteOffsets, DeleteOffsetsAnswer,
    DescribedMember, Description, EndTransaction, FetchAnswer, FetchOffsets, FetchedOffset, Generation, GroupKind,
    GroupState, Heartbeat, InstanceId, Join, JoinAnswer, JoinedMember, Leave, LeaveAnswer, LeavingMember, LeftMember,
    ListFilter, Listing, MemberId, OffsetToCommit, Protocol, Request, Sync, SyncAnswer, TransactionGuard, Verification,
};
pub use topics::{TopicFacts, Topics};

pub use crate::codec::{DecodeError, EncodeError, Encoded};
use crate::engine::{NoEffect, Now, Shard, Token, append_error};
use crate::{Deadlines, engine};
use consumer::ConsumerGroup;
use marks::Marks;
use offset_book::OffsetBook;
use state::Group;
use transactions::Endings;

/// The shard's kind of decision.
pub type Decision = engine::Decision<GroupShard>;

/// All groups of one partition of `__consumer_offsets`.
pub struct GroupShard {
    groups: BTreeMap<GroupId, Group>,
    consumers: BTreeMap<GroupId, ConsumerGroup>,
    /// The newest view of the cluster that came with a request; names topics where none came.
    cluster: Option<Arc<dyn Topics>>,
    offsets: OffsetBook,
    marks: Marks,
    endings: Endings,
    deadlines: Deadlines<Timer>,
    config: GroupConfig,
}

/// What falls due. Field order is the order in which simultaneous deadlines fire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The member must have been heard of, or a pending member must have come back.
    Session(GroupId, MemberId),
    /// The join phase ends with whoever is there.
    JoinPhase(GroupId),
    /// Members that have not asked for their assignment are out.
    SyncPhase(GroupId),
    /// A member of a consumer group must have given back what is not its own any more.
    Rebalance(GroupId, MemberId),
    /// A classic member of a consumer group must have joined again.
    MemberJoin(GroupId, MemberId),
    /// A classic member of a consumer group must have asked for its assignment.
    MemberSync(GroupId, MemberId),
    /// Old offsets are looked for.
    Expiry,
}

/// What remains to be done once the records of a decision are in the log.
pub enum Then {
    /// Hand out the leader's assignment.
    Stabilize(GroupId),
    /// Let a static member in under its new id.
    ReplaceStatic(Box<join::Replacement>),
    /// Nobody is left.
    Empty(GroupId),
    /// Believe what a heartbeat saw of the cluster; if what followed from it was not stored, the next one looks again.
    Believe(consumer::Look),
    /// Nothing but to see that members of a consumer group whose removal was not stored are removed later.
    RemoveConsumers(GroupId, Vec<MemberId>),
    /// Arm the sessions of a classic group that has become a consumer group.
    Upgrade(GroupId),
    /// A classic member has taken the place of another: perhaps only classic members are left.
    MayDowngrade(GroupId),
    /// Let a consumer group rebalance that has become a classic one, for these members have gone.
    Downgrade(GroupId, Vec<MemberId>),
    /// Let the first member into a classic group; the empty consumer group of that name is gone.
    Join(Box<(Token, Join)>),
}

/// What an operator may want to read in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Rebalancing { group: GroupId, generation: Generation, reason: String },
    GenerationStarted { group: GroupId, generation: Generation, members: usize },
    Stabilized { group: GroupId, generation: Generation, members: usize },
    Emptied { group: GroupId, generation: Generation },
    MemberFailed { group: GroupId, member: MemberId, reason: &'static str },
    MemberLeft { group: GroupId, member: MemberId, reason: String },
    StaticMemberFenced { group: GroupId, instance: InstanceId, old: MemberId, new: MemberId },
    NewGroupEpoch { group: GroupId, epoch: Epoch, members: usize },
    NewTarget { group: GroupId, epoch: Epoch, members: usize, assignor: &'static str },
    NotUpgraded { group: GroupId, reason: &'static str },
    NotStored { group: GroupId, what: &'static str, error: ErrorCode },
    OffsetsExpired { offsets: usize, groups: usize },
    Deleted { group: GroupId, offsets: usize },
}

/// Everything that a decision about one group needs besides the group.
pub(crate) struct Context<'a> {
    now: Now,
    config: &'a GroupConfig,
    deadlines: &'a mut Deadlines<Timer>,
    out: Decision,
}

impl Context<'_> {
    fn answer(&mut self, token: Token, answer: Answer) {
        self.out.answers.push((token, answer));
    }

    fn answer_join(&mut self, token: Token, answer: JoinAnswer) {
        self.answer(token, Answer::Join(answer));
    }

    fn answer_sync(&mut self, token: Token, answer: SyncAnswer) {
        self.answer(token, Answer::Sync(answer));
    }

    fn event(&mut self, event: Event) {
        self.out.events.push(event);
    }

    fn set_deadline(&mut self, timer: Timer, after_ms: u64) {
        self.deadlines.set(timer, self.now.monotonic_ms.saturating_add(after_ms));
    }

    /// The member was heard of: its session starts anew.
    fn renew_session(&mut self, group: &GroupId, member: &MemberId, timeout_ms: i32) {
        self.set_deadline(Timer::Session(group.clone(), member.clone()), timeout_ms.max(0) as u64);
    }

    fn end_session(&mut self, group: &GroupId, member: &MemberId) {
        self.deadlines.cancel(&Timer::Session(group.clone(), member.clone()));
    }
}

impl GroupShard {
    pub fn new(config: GroupConfig) -> GroupShard {
        GroupShard {
            groups: BTreeMap::new(),
            consumers: BTreeMap::new(),
            cluster: None,
            offsets: OffsetBook::default(),
            marks: Marks::default(),
            endings: Endings::default(),
            deadlines: Deadlines::default(),
            config,
        }
    }

    /// How many groups the shard knows, by state; for metrics.
    pub fn count_by_state(&self) -> BTreeMap<GroupState, usize> {
        let mut counts = BTreeMap::new();
        for group in self.groups.values() {
            *counts.entry(group.state).or_default() += 1;
        }
        counts
    }

    /// How many offsets are committed, over all groups; for metrics.
    pub fn offset_count(&self) -> usize {
        self.offsets.len()
    }

    /// Panics if the books of any group do not add up; for tests and simulation.
    pub fn check_invariants(&self) {
        self.offsets.check_invariants();
        self.marks.check_invariants();
        self.check_consumers();
        for group in self.groups.values() {
            group.check_invariants();
            self.check_sessions(group);
        }
    }

    /// G4: whoever is not excused can fail.
    fn check_sessions(&self, group: &Group) {
        let must_be_heard = group.members.values().filter(|m| !m.is_excused_from_heartbeat()).map(|m| &m.id);
        for member in must_be_heard.chain(&group.pending_joins) {
            let timer = Timer::Session(group.id.clone(), member.clone());
            assert!(self.deadlines.get(&timer).is_some(), "group {}: {member} has no session", group.id);
        }
    }

    /// Runs `decide` on a group with the rest of the shard at hand.
    fn with_group(
        &mut self,
        now: Now,
        id: &GroupId,
        decide: impl FnOnce(&mut Context<'_>, &mut Group),
    ) -> Option<Decision> {
        let group = self.groups.get_mut(id)?;
        let mut cx = Context { now, config: &self.config, deadlines: &mut self.deadlines, out: Decision::default() };
        decide(&mut cx, group);
        Some(cx.out)
    }
}

impl Shard for GroupShard {
    type Request = Request;
    type Answer = Answer;
    type Record = Record;
    type Event = Event;
    type Then = Then;
    type Effect = NoEffect;

    fn decide(&mut self, now: Now, token: Token, request: Request) -> Decision {
        match request {
            Request::Join(join) => self.join(now, token, join),
            Request::Sync(sync) => self.sync(now, token, sync),
            Request::Heartbeat(heartbeat) => self.heartbeat(now, token, &heartbeat),
            Request::Leave(leave) => self.leave(now, token, leave),
            Request::CommitOffsets(commit) => self.commit_offsets(now, token, commit),
            Request::CommitTransactionalOffsets(commit) => self.commit_transactional_offsets(now, token, commit),
            Request::EndTransaction(end) => self.end_transaction(token, end),
            Request::FetchOffsets(fetch) => self.fetch_offsets(token, fetch),
            Request::DeleteOffsets(delete) => self.delete_offsets(token, delete),
            Request::ConsumerHeartbeat(heartbeat) => self.consumer_heartbeat(now, token, heartbeat),
            Request::ConsumerDescribe(group) => self.consumer_describe(token, &group),
            Request::Describe(group) => self.describe(token, &group),
            Request::List(filter) => self.list(token, &filter),
            Request::Delete(group) => self.delete(token, group),
            Request::ForgetTopics(topics) => self.forget_topics(token, &topics),
        }
    }

    fn expire(&mut self, now: Now) -> Option<Decision> {
        let timer = self.deadlines.pop_due(now.monotonic_ms)?;
        Some(self.fire(now, timer))
    }

    fn replay(&mut self, offset: Offset, record: &Record) {
        self.endings.saw(offset);
        match record {
            Record::OffsetCommit { key, value: Some(value) } => self.replay_commit(offset, key, value),
            Record::OffsetCommit { key, value: None } => self.replay_tombstone(offset, key),
            Record::TransactionalCommit { producer, key, value } => {
                self.replay_pending(offset, *producer, key, value);
            }
            Record::TransactionMarker { producer, commit, .. } => self.replay_marker(offset, *producer, *commit),
            Record::Consumer(record) => self.replay_consumer(record),
            Record::GroupMetadata { group, value: Some(value) } => {
                self.forget_consumer_group(group);
                self.groups.entry(group.clone()).or_insert_with(|| Group::new(group.clone())).adopt(value);
            }
            Record::GroupMetadata { group, value: None } => self.replay_group_tombstone(group),
        }
    }

    fn stored(&mut self, now: Now, then: Then) -> Decision {
        let decision = match then {
            Then::RemoveConsumers(..) => None,
            Then::Believe(look) => {
                self.believe(look);
                None
            }
            Then::Upgrade(id) => Some(self.finish_upgrade(now, &id)),
            Then::MayDowngrade(id) => Some(self.downgrade_if_all_are_classic(now, &id)),
            Then::Downgrade(id, _) => Some(self.finish_downgrade(now, &id)),
            Then::Join(join) => {
                let (token, join) = *join;
                Some(self.join(now, token, join))
            }
            Then::Stabilize(group) => self.with_group(now, &group, sync::hand_out),
            Then::Empty(group) => self.with_group(now, &group, |cx, group| {
                cx.event(Event::Emptied { group: group.id.clone(), generation: group.generation });
            }),
            Then::ReplaceStatic(replacement) => {
                let id = replacement.group_id().clone();
                self.with_group(now, &id, |cx, group| join::finish_replacement(cx, group, *replacement))
            }
        };
        decision.unwrap_or_default()
    }

    fn not_stored(&mut self, now: Now, then: Then, error: ErrorCode) -> Decision {
        let error = append_error(error);
        let decision = match then {
            Then::RemoveConsumers(id, members) | Then::Downgrade(id, members) => {
                Some(self.keep_consumers(now, &id, &members, error))
            }
            Then::MayDowngrade(_) => None,
            Then::Believe(look) => {
                self.resume_after(now, &look);
                None
            }
            Then::Upgrade(group) => {
                let event = Event::NotStored { group, what: "the change to the consumer protocol", error };
                Some(Decision { events: vec![event], ..Decision::default() })
            }
            Then::Join(join) => {
                let (token, join) = *join;
                Some(Decision::answer(token, Answer::Join(JoinAnswer::failed(join.member, error))))
            }
            Then::Stabilize(id) => self.with_group(now, &id, |cx, group| sync::withdraw(cx, group, error)),
            Then::Empty(id) => self.with_group(now, &id, |cx, group| rebalance::empty_anyway(cx, group, error)),
            Then::ReplaceStatic(replacement) => {
                let id = replacement.group_id().clone();
                self.with_group(now, &id, |cx, group| join::refuse_replacement(cx, group, &replacement, error))
            }
        };
        decision.unwrap_or_default()
    }

    fn failed(answer: Answer, error: ErrorCode) -> Answer {
        answer.failed(append_error(error))
    }

    fn loaded(&mut self, now: Now) -> Decision {
        self.endings.loaded(now.wall_ms);
        let mut cx = Context { now, config: &self.config, deadlines: &mut self.deadlines, out: Decision::default() };
        for group in self.groups.values_mut() {
            rebalance::resume(&mut cx, group);
        }
        cx.set_deadline(Timer::Expiry, cx.config.offsets_retention_check_interval_ms);
        let decision = cx.out;
        self.resume_consumers(now);
        decision
    }

    fn unload(&mut self, error: ErrorCode) -> Vec<(Token, Answer)> {
        let mut answers = Vec::new();
        for member in self.groups.values_mut().flat_map(|g| g.members.values_mut()) {
            let id = member.id.clone();
            let join = member.awaiting_join.take();
            answers.extend(join.map(|t| (t, Answer::Join(JoinAnswer::failed(id, error)))));
            let sync = member.awaiting_sync.take();
            answers.extend(sync.map(|t| (t, Answer::Sync(SyncAnswer::failed(error)))));
        }
        self.groups.clear();
        self.consumers.clear();
        self.offsets = OffsetBook::default();
        self.marks = Marks::default();
        self.endings = Endings::default();
        self.deadlines = Deadlines::default();
        answers
    }

    fn next_deadline(&self) -> Option<u64> {
        self.deadlines.next()
    }

    fn record_bytes(record: &Record) -> usize {
        record.approximate_bytes()
    }
}

#[cfg(test)]
mod tests;
