//! The discipline around a shard: decide, append, replay, finish, answer once committed.
//!
//! Picture: a clerk with one desk. A request is decided; its records go to the log; only when the log has
//! them does the shard's state change (by replay); only when they are committed does the answer leave.
//!
//! ```text
//! handle_request ─▶ decide ─▶ records? ─▶ poll_append ─▶ (the driver appends) ─▶ handle_appended ─▶ replay ─▶ stored
//! handle_timeout ─▶ expire ─┘     │no                                        └▶ handle_append_failed ─▶ not_stored
//!                                 ▼
//!         answers and effects wait for handle_committed ─▶ poll_answer, poll_effect
//! ```
//!
//! Invariants:
//! - E1 One decision at a time: between a decision with records and the outcome of its append no other event
//!   is handled, so a decision never sees state that is not yet in the log, and nothing needs a rollback.
//! - E2 An answer waits until all that was appended before it is committed, reads included: nobody sees
//!   state that a change of leadership could take back. A read that knows what it has seen ([`Decision::seen`]) leaves at
//!   once when all of that is committed, whatever was appended since.
//! - E3 Answers leave in the order in which they were decided, but for those reads.
//! - E4 No answer waits for its commit longer than the time limit (Kafka's `offsets.commit.timeout.ms`); then it
//!   leaves as a failure that says nothing about the outcome: the records may be committed later.
//! - E5 An effect leaves when an answer would, but waits for its commit as long as that takes. Effects of records
//!   that were not stored are dropped, and so are all that are left when the shard moves away: what stored state
//!   says is unfinished, `loaded` asks for again.
//!
//! The driver calls, after each `handle_*`: `poll_append` until `None` (append, then `handle_appended` or
//! `handle_append_failed`), `poll_event`, `poll_answer`, `poll_effect`, then sleeps until `poll_deadline`.
//!
//! Not here: encoding, the log, tasks. The number of answers that wait is bounded by the driver: one per
//! connection that has a request here.

use std::collections::VecDeque;

use twinstream_model::{ErrorCode, Offset};

/// The two clocks of the outside world, read once per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines: never goes back.
    pub monotonic_ms: u64,
    /// For timestamps in records: milliseconds since 1970, as good as the machine's clock.
    pub wall_ms: i64,
}

/// Names a request of the driver that will be answered, at once or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Upper bound of one append, well below `max.message.bytes` of the internal topics (1 MiB); a single
/// record that is larger goes alone and the log decides about it.
pub const APPEND_BYTES_MAX: usize = 512 * 1024;

/// A state machine that one partition of an internal topic stores.
pub trait Shard {
    type Request;
    type Answer;
    type Record;
    /// Something that an operator wants to know; the driver logs it.
    type Event;
    /// What is left to do when the records of a decision are in the log, or could not be stored.
    type Then;
    /// Something to be done outside of the shard, once it is decided for good; [`NoEffect`] if there is nothing.
    type Effect;

    /// Decides a request. May change volatile state, never what is stored.
    fn decide(&mut self, now: Now, token: Token, request: Self::Request) -> Decision<Self>;

    /// Fires one deadline that is due, `None` if there is none.
    fn expire(&mut self, now: Now) -> Option<Decision<Self>>;

    /// Applies a stored record; the only way in which stored state changes.
    fn replay(&mut self, offset: Offset, record: &Self::Record);

    /// The records of a decision were replayed.
    fn stored(&mut self, now: Now, then: Self::Then) -> Decision<Self>;

    /// The records of a decision did not reach the log.
    fn not_stored(&mut self, now: Now, then: Self::Then, error: ErrorCode) -> Decision<Self>;

    /// Turns an answer whose records could not be stored into its failure.
    fn failed(answer: Self::Answer, error: ErrorCode) -> Self::Answer;

    /// Everything that the log held was replayed: arm deadlines, and have done again what is unfinished.
    fn loaded(&mut self, now: Now) -> Decision<Self>;

    /// Answers all that is parked inside, because the shard moves away.
    fn unload(&mut self, error: ErrorCode) -> Vec<(Token, Self::Answer)>;

    fn next_deadline(&self) -> Option<u64>;

    /// Roughly the size of a record in the log, for [`APPEND_BYTES_MAX`].
    fn record_bytes(record: &Self::Record) -> usize;
}

/// The effect of a shard that does nothing but store and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEffect {}

/// What a shard wants done.
pub struct Decision<S: Shard + ?Sized> {
    pub records: Vec<S::Record>,
    pub answers: Vec<(Token, S::Answer)>,
    pub events: Vec<S::Event>,
    pub then: Option<S::Then>,
    pub effects: Vec<S::Effect>,
    /// Where the records end that the answers of a decision without records speak of; `None` for all of the log (E2).
    pub seen: Option<Offset>,
}

impl<S: Shard + ?Sized> Default for Decision<S> {
    fn default() -> Self {
        Decision {
            records: Vec::new(),
            answers: Vec::new(),
            events: Vec::new(),
            then: None,
            effects: Vec::new(),
            seen: None,
        }
    }
}

impl<S: Shard + ?Sized> Decision<S> {
    /// Only an answer.
    pub fn answer(token: Token, answer: S::Answer) -> Self {
        Decision { answers: vec![(token, answer)], ..Decision::default() }
    }
}

/// A decision whose records are on their way to the log.
struct Append<S: Shard> {
    records: VecDeque<S::Record>,
    chunk_len: usize, // how many of the first records the driver is asked to append now
    answers: Vec<(Token, S::Answer)>,
    effects: Vec<S::Effect>,
    then: Option<S::Then>,
}

/// An answer that may leave once everything below `offset` is committed.
struct Waiting<A> {
    offset: Offset,
    due_ms: u64,
    token: Token,
    answer: A,
}

/// One shard and its place in the log.
pub struct Engine<S: Shard> {
    shard: S,
    append: Option<Append<S>>,
    log_end: Offset,
    committed: Offset,
    commit_timeout_ms: u64,
    waiting: VecDeque<Waiting<S::Answer>>, // invariant: offsets ascend, and so do deadlines
    ready: VecDeque<(Token, S::Answer)>,
    waiting_effects: VecDeque<(Offset, S::Effect)>, // invariant: offsets ascend
    ready_effects: VecDeque<S::Effect>,
    events: VecDeque<S::Event>,
}

impl<S: Shard> Engine<S> {
    /// An engine that waits for `load` and `handle_loaded`, and later at most `commit_timeout_ms` for a commit.
    pub fn new(shard: S, commit_timeout_ms: u64) -> Engine<S> {
        Engine {
            shard,
            append: None,
            log_end: Offset(0),
            committed: Offset(0),
            commit_timeout_ms,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            waiting_effects: VecDeque::new(),
            ready_effects: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The state machine, for reading.
    pub fn shard(&self) -> &S {
        &self.shard
    }

    /// Replays a record that the log holds; only before [`Engine::handle_loaded`].
    pub fn load(&mut self, offset: Offset, record: &S::Record) {
        self.shard.replay(offset, record);
    }

    /// All records below `log_end` were loaded.
    pub fn handle_loaded(&mut self, now: Now, log_end: Offset, committed: Offset) {
        self.log_end = log_end;
        self.committed = committed;
        let decision = self.shard.loaded(now);
        self.start(now, decision);
    }

    /// Decides a request. The driver must have finished the append of the decision before (E1).
    pub fn handle_request(&mut self, now: Now, token: Token, request: S::Request) {
        self.assert_idle();
        let decision = self.shard.decide(now, token, request);
        self.start(now, decision);
    }

    /// Fires one due deadline; `false` if none is due.
    pub fn handle_timeout(&mut self, now: Now) -> bool {
        self.assert_idle();
        if self.give_up_on_commit(now) {
            return true;
        }
        let Some(decision) = self.shard.expire(now) else { return false };
        self.start(now, decision);
        true
    }

    /// Fails the oldest answer that has waited too long for its commit (E4).
    fn give_up_on_commit(&mut self, now: Now) -> bool {
        let Some(late) = self.waiting.pop_front_if(|waiting| waiting.due_ms <= now.monotonic_ms) else { return false };
        self.ready.push_back((late.token, S::failed(late.answer, ErrorCode::RequestTimedOut)));
        true
    }

    /// The records that the driver must append next, as one batch.
    pub fn poll_append(&mut self) -> Option<&[S::Record]> {
        let append = self.append.as_mut()?;
        Some(&append.records.make_contiguous()[..append.chunk_len])
    }

    /// The records of `poll_append` are in the log from `base` on.
    pub fn handle_appended(&mut self, now: Now, base: Offset) {
        let Some(append) = self.append.as_mut() else { return };
        assert!(base >= self.log_end, "append went back from {} to {base}", self.log_end);
        for i in 0..append.chunk_len {
            self.shard.replay(Offset(base.0 + i as i64), &append.records[i]);
        }
        self.log_end = Offset(base.0 + append.chunk_len as i64);
        append.records.drain(..append.chunk_len);
        append.chunk_len = chunk_len::<S>(&append.records);
        if append.chunk_len == 0 {
            self.finish(now, None);
        }
    }

    /// The records of `poll_append` are not in the log, and those after them will not be tried.
    pub fn handle_append_failed(&mut self, now: Now, error: ErrorCode) {
        self.finish(now, Some(error));
    }

    /// Everything below `committed` will survive a change of leadership.
    pub fn handle_committed(&mut self, committed: Offset) {
        self.committed = self.committed.max(committed);
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.offset <= self.committed) {
            self.ready.push_back((waiting.token, waiting.answer));
        }
        while let Some((_, effect)) = self.waiting_effects.pop_front_if(|(offset, _)| *offset <= self.committed) {
            self.ready_effects.push_back(effect);
        }
    }

    /// The shard moves away: every answer that is still owed becomes `error`, and no effect leaves.
    pub fn handle_unload(&mut self, error: ErrorCode) {
        let in_flight = self.append.take().map(|append| append.answers).unwrap_or_default();
        let waiting = self.waiting.drain(..).map(|waiting| (waiting.token, waiting.answer));
        for (token, answer) in waiting.chain(in_flight) {
            self.ready.push_back((token, S::failed(answer, error)));
        }
        self.ready.extend(self.shard.unload(error));
        self.waiting_effects.clear();
        self.ready_effects.clear();
    }

    /// The next answer that may leave.
    pub fn poll_answer(&mut self) -> Option<(Token, S::Answer)> {
        self.ready.pop_front()
    }

    /// The next effect that may leave.
    pub fn poll_effect(&mut self) -> Option<S::Effect> {
        self.ready_effects.pop_front()
    }

    /// The next thing to log.
    pub fn poll_event(&mut self) -> Option<S::Event> {
        self.events.pop_front()
    }

    /// When to call [`Engine::handle_timeout`].
    pub fn poll_deadline(&self) -> Option<u64> {
        let commit = self.waiting.front().map(|waiting| waiting.due_ms);
        commit.into_iter().chain(self.shard.next_deadline()).min()
    }

    /// What it was told of commits; the log may be further.
    pub fn committed(&self) -> Offset {
        self.committed
    }

    /// The offset after the last record that this shard appended or loaded.
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    fn start(&mut self, now: Now, decision: Decision<S>) {
        self.events.extend(decision.events);
        if decision.records.is_empty() {
            debug_assert!(decision.then.is_none(), "a decision without records has nothing to wait for");
            if decision.seen.is_some_and(|end| end <= self.committed) {
                self.ready.extend(decision.answers);
                self.ready_effects.extend(decision.effects);
                return;
            }
            self.hold(now, decision.answers, decision.effects);
            return;
        }
        let Decision { records, answers, effects, then, .. } = decision;
        let records = VecDeque::from(records);
        let chunk_len = chunk_len::<S>(&records);
        self.append = Some(Append { records, chunk_len, answers, effects, then });
    }

    fn finish(&mut self, now: Now, error: Option<ErrorCode>) {
        let Some(append) = self.append.take() else { return };
        match error {
            None => self.hold(now, append.answers, append.effects),
            Some(error) => {
                let failed = append.answers.into_iter().map(|(token, answer)| (token, S::failed(answer, error)));
                self.hold(now, failed.collect(), Vec::new());
            }
        }
        if let Some(then) = append.then {
            let decision = match error {
                None => self.shard.stored(now, then),
                Some(error) => self.shard.not_stored(now, then, error),
            };
            self.start(now, decision);
        }
    }

    fn hold(&mut self, now: Now, answers: Vec<(Token, S::Answer)>, effects: Vec<S::Effect>) {
        let due_ms = now.monotonic_ms.saturating_add(self.commit_timeout_ms);
        for (token, answer) in answers {
            if self.log_end <= self.committed {
                self.ready.push_back((token, answer));
            } else {
                self.waiting.push_back(Waiting { offset: self.log_end, due_ms, token, answer });
            }
        }
        for effect in effects {
            if self.log_end <= self.committed {
                self.ready_effects.push_back(effect);
            } else {
                self.waiting_effects.push_back((self.log_end, effect));
            }
        }
    }

    fn assert_idle(&self) {
        assert!(self.append.is_none(), "an event was handled while an append was under way");
    }
}

fn chunk_len<S: Shard>(records: &VecDeque<S::Record>) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take_while(|record| {
        bytes += S::record_bytes(record);
        bytes <= APPEND_BYTES_MAX
    });
    fits.count().max(usize::from(!records.is_empty()))
}

/// What a client is told when the log refused our records: clients know these codes from Kafka, and each
/// tells them to look for the coordinator again, to retry, or that it is no use.
pub(crate) fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownLeaderEpoch
        | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
