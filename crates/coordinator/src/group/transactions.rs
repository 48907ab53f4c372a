//! Offsets as part of a transaction: committing them, and the marker that decides (KIP-98, KIP-447, KIP-890).
//!
//! ```text
//! CommitTransactionalOffsets ─▶ is the producer's transaction open here?
//!       │ yes                        │ no
//!       │                            ▼
//!       │              Unverified(guard) ─▶ the caller asks the transaction's coordinator ─▶ asks here again
//!       ▼                                                                                   with the guard
//! a transactional batch: the offsets are pending ─▶ EndTransaction: a marker, and they count or are gone
//! ```
//!
//! The answer of the transaction's coordinator may be old when it comes back: the transaction may have ended meanwhile. A
//! commit that is appended then belongs to no transaction, and no marker would ever decide on it. So the guard says since
//! when the caller asks, and the shard remembers the last [`ENDINGS_REMEMBERED`] markers.
//!
//! Members are fenced by id, instance and generation as with plain commits (KIP-447), except that the group may be in the
//! middle of a rebalance, and that older clients name no member at all. Producers are fenced by their epoch: against an
//! open transaction here, against everything older by the log.
//!
//! Not here: where pending offsets lie (`offset_book`), asking the transaction's coordinator (the broker).

use std::collections::VecDeque;

use twinstream_model::{ErrorCode, Offset, ProducerEpoch};

use super::offsets::{Committer, committed};
use super::record::{CommittedOffset, OffsetKey};
use super::request::{
    Answer, CommitAnswer, CommitTransactionalOffsets, EndTransaction, TransactionGuard, Verification,
};
use super::{Decision, GroupShard, Record};
use crate::transaction::{Producer, TransactionVersion};
use crate::{Now, Token};

/// How many markers a shard remembers for the sake of commits that are being verified. A verification takes
/// milliseconds; one that is slower than so many markers begins again.
pub(super) const ENDINGS_REMEMBERED: usize = 10_000;

/// The transactions that ended lately.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    /// Tells the guards of this shard from those of the one before it.
    loaded_ms: i64,
    /// Behind the newest record.
    log_end: Offset,
    /// All endings from here on are remembered.
    remembered_from: Offset,
    recent: VecDeque<Ending>,
}

#[derive(Debug)]
struct Ending {
    marker: Offset,
    producer: Producer,
}

/// What a guard is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    /// The transaction that was verified is over.
    Ended,
    /// Too much happened since.
    Unknown,
}

impl Endings {
    pub(super) fn loaded(&mut self, wall_ms: i64) {
        self.loaded_ms = wall_ms;
    }

    /// A record of any kind was replayed.
    pub(super) fn saw(&mut self, offset: Offset) {
        self.log_end = offset.next();
    }

    pub(super) fn ended(&mut self, marker: Offset, producer: Producer) {
        self.recent.push_back(Ending { marker, producer });
        if self.recent.len() > ENDINGS_REMEMBERED
            && let Some(forgotten) = self.recent.pop_front()
        {
            self.remembered_from = forgotten.marker.next();
        }
    }

    fn guard(&self) -> TransactionGuard {
        TransactionGuard { loaded_ms: self.loaded_ms, log_end: self.log_end }
    }

    fn verdict(&self, guard: TransactionGuard, producer: Producer, has_own_epoch: bool) -> Verdict {
        if guard.loaded_ms != self.loaded_ms || guard.log_end < self.remembered_from {
            return Verdict::Unknown;
        }
        let since = self.recent.iter().rev().take_while(|ending| ending.marker >= guard.log_end);
        // The marker of the transaction before has the epoch of this one (KIP-890).
        let ends_it = |ending: &Ending| {
            ending.producer.id == producer.id && !(has_own_epoch && ending.producer.epoch <= producer.epoch)
        };
        if since.into_iter().any(ends_it) { Verdict::Ended } else { Verdict::Holds }
    }
}

/// Why a commit goes no further.
enum Hindrance {
    Refused(ErrorCode),
    Unverified,
}

impl GroupShard {
    pub(super) fn commit_transactional_offsets(
        &mut self,
        now: Now,
        token: Token,
        commit: CommitTransactionalOffsets,
    ) -> Decision {
        match self.check_transactional(&commit) {
            Ok(()) => (),
            Err(Hindrance::Unverified) => {
                return Decision::answer(token, Answer::Unverified(self.endings.guard()));
            }
            Err(Hindrance::Refused(error)) => {
                let answer = CommitAnswer { error, offsets: Vec::new() };
                return Decision::answer(token, Answer::CommitTransactionalOffsets(answer));
            }
        }
        let mut decision = Decision::default();
        let mut offsets = Vec::with_capacity(commit.offsets.len());
        for offset in commit.offsets {
            if self.is_metadata_too_large(&offset) {
                offsets.push(ErrorCode::OffsetMetadataTooLarge);
                continue;
            }
            offsets.push(ErrorCode::None);
            let key = offset.key(&commit.group);
            let value = committed(offset, now.wall_ms, None);
            decision.records.push(Record::TransactionalCommit { producer: commit.producer, key, value });
        }
        let answer = CommitAnswer { error: ErrorCode::None, offsets };
        decision.answers.push((token, Answer::CommitTransactionalOffsets(answer)));
        decision
    }

    fn check_transactional(&self, commit: &CommitTransactionalOffsets) -> Result<(), Hindrance> {
        if commit.group.as_str().is_empty() {
            return Err(Hindrance::Refused(ErrorCode::InvalidGroupId));
        }
        self.check_producer(commit.producer, commit.verification)?;
        let committer = Committer {
            generation: commit.generation,
            member: &commit.member,
            instance: commit.instance.as_ref(),
            is_transactional: true,
            knows_member_epochs: true,
            offsets: &commit.offsets,
        };
        self.check_commit(&commit.group, &committer).map_err(|error| match error {
            ErrorCode::GroupIdNotFound => Hindrance::Refused(ErrorCode::IllegalGeneration),
            other => Hindrance::Refused(other),
        })
    }

    fn check_producer(&self, producer: Producer, verification: Verification) -> Result<(), Hindrance> {
        match self.offsets.open_epoch(producer.id) {
            Some(open) if open == producer.epoch => return Ok(()),
            Some(open) if open > producer.epoch => return Err(Hindrance::Refused(ErrorCode::InvalidProducerEpoch)),
            _ => (),
        }
        let (guard, has_own_epoch) = match verification {
            Verification::SwitchedOff => return Ok(()),
            Verification::Missing => return Err(Hindrance::Unverified),
            Verification::LookedUp(guard) => (guard, false),
            Verification::Added(guard) => (guard, true),
        };
        match self.endings.verdict(guard, producer, has_own_epoch) {
            Verdict::Holds => Ok(()),
            Verdict::Ended => Err(Hindrance::Refused(ErrorCode::InvalidTxnState)),
            Verdict::Unknown => Err(Hindrance::Unverified),
        }
    }

    /// Decides on the marker, which is written even when nothing is pending here: the transaction's coordinator may ask
    /// twice, and readers of the log wait for it.
    pub(super) fn end_transaction(&self, token: Token, end: EndTransaction) -> Decision {
        let is_fenced = |open: ProducerEpoch| match end.version {
            // The marker has the epoch of the next transaction (KIP-1228).
            TransactionVersion::V2 => end.producer.epoch <= open,
            TransactionVersion::V0 | TransactionVersion::V1 => end.producer.epoch < open,
        };
        if self.offsets.open_epoch(end.producer.id).is_some_and(is_fenced) {
            return Decision::answer(token, Answer::EndTransaction(ErrorCode::InvalidProducerEpoch));
        }
        let mut decision = Decision::answer(token, Answer::EndTransaction(ErrorCode::None));
        decision.records.push(Record::TransactionMarker {
            producer: end.producer,
            commit: end.commit,
            coordinator_epoch: end.coordinator_epoch,
        });
        decision
    }

    pub(super) fn replay_pending(&mut self, at: Offset, producer: Producer, key: &OffsetKey, value: &CommittedOffset) {
        self.ensure_group(&key.group);
        self.offsets.replay_pending(at, producer, key, value);
    }

    pub(super) fn replay_marker(&mut self, marker: Offset, producer: Producer, commit: bool) {
        self.endings.ended(marker, producer);
        for group in self.offsets.groups_of(producer.id) {
            self.marks.set(group, marker.next());
        }
        for group in self.offsets.replay_end(producer.id, commit) {
            self.ensure_group(&group);
        }
    }
}
