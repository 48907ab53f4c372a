//! Who should be in the ISR, and what becomes of a proposal.
//!
//! States of a proposal, all within one leader epoch:
//!
//! ```text
//!   none ──▶ in flight ──▶ none         accepted, refused for certain, or overtaken by an image
//!                │  ▲
//!                └──┘                   no answer: asked again, the same, because it may have been applied
//!                └──▶ waits for image   the controller knows more than we: in flight until the image tells
//! ```

use std::time::{Duration, Instant};

use twinstream_model::{LeaderEpoch, NodeId};

use super::progress::Progress;
use super::{Effects, LeaderState};

/// After a refusal the next proposal waits this long: the image that explains it is on its way.
const QUIET: Duration = Duration::from_millis(100);

/// A new ISR for the controller to decide about (AlterPartition).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Tells an answer from the answer to an earlier proposal.
    pub id: u64,
    pub leader_epoch: LeaderEpoch,
    /// What the change builds on; the controller refuses it if the partition has changed meanwhile.
    pub partition_epoch: i32,
    /// The members with the broker epochs under which they are known, -1 where none is (KIP-903).
    pub isr: Vec<(NodeId, i64)>,
}

/// What came of sending a [`Proposal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The controller answered with the partition as it is now.
    Decided { leader_epoch: LeaderEpoch, partition_epoch: i32, isr: Vec<NodeId> },
    /// Refused although the partition epoch was right, so it will never be applied: INELIGIBLE_REPLICA,
    /// OPERATION_NOT_ATTEMPTED.
    NotApplied,
    /// The controller knows a newer state than this leader: FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION,
    /// NEW_LEADER_ELECTED, UNKNOWN_TOPIC_ID, STALE_BROKER_EPOCH. Possibly because an earlier attempt of the same
    /// proposal *was* applied. Only the image can tell.
    Outdated,
    /// No answer, or from a node that is not the controller: it may have been applied or may yet be.
    Unknown,
}

/// What to do after an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The proposal is settled (or was long ago).
    Settled(Effects),
    /// Send the same proposal again after a pause.
    SendAgain(Proposal),
    /// Nothing until [`LeaderState::image_changed`] or a new leadership.
    WaitForImage,
}

impl LeaderState {
    /// The proposal that is in flight.
    pub fn in_flight(&self) -> Option<&Proposal> {
        self.in_flight.as_ref()
    }

    /// Brings back the outcome of a proposal.
    pub fn answered(&mut self, id: u64, answer: Answer, now: Instant) -> Answered {
        let Some(proposal) = self.in_flight.clone().filter(|proposal| proposal.id == id) else {
            return Answered::Settled(Effects::default()); // an image was faster
        };
        match answer {
            Answer::Decided { leader_epoch, partition_epoch, isr }
                if leader_epoch == self.leader_epoch && partition_epoch >= self.partition_epoch =>
            {
                self.partition_epoch = partition_epoch;
                self.isr = isr;
                self.in_flight = None;
                Answered::Settled(self.look(now))
            }
            Answer::Decided { .. } | Answer::Outdated => Answered::WaitForImage,
            Answer::NotApplied => {
                self.in_flight = None;
                self.quiet_until = Some(now + QUIET);
                Answered::Settled(self.look(now))
            }
            Answer::Unknown => Answered::SendAgain(proposal),
        }
    }

    /// Who should join and who should leave, if anybody; all in one proposal.
    pub(super) fn propose(&mut self, now: Instant) -> Option<Proposal> {
        if self.in_flight.is_some() || self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        let stays = |id: &NodeId| !self.followers.get(id).is_some_and(|follower| self.is_out_of_sync(follower, now));
        let joins = |(id, follower): &(&NodeId, &Progress)| !self.isr.contains(id) && self.may_join(follower, now);
        let mut joining = self.followers.iter().filter(joins).map(|(id, _)| *id).peekable();
        if self.isr.iter().all(stays) && joining.peek().is_none() {
            return None; // nearly always
        }
        let staying = self.isr.iter().copied().filter(stays);
        let isr = staying.chain(joining).map(|id| (id, self.known_epoch(id))).collect();
        self.proposals += 1;
        let proposal = Proposal {
            id: self.proposals,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr,
        };
        self.in_flight = Some(proposal.clone());
        Some(proposal)
    }

    /// The registration under which a follower's rows were filled; that of the leader is the sender's affair.
    fn known_epoch(&self, id: NodeId) -> i64 {
        let follower = self.followers.get(&id).filter(|follower| follower.log_end.is_some());
        follower.and_then(|follower| follower.standing).map_or(-1, |standing| standing.broker_epoch)
    }

    /// In the ISR, but not for long any more.
    fn is_out_of_sync(&self, follower: &Progress, now: Instant) -> bool {
        let limits = &self.settings.limits;
        !follower.is_caught_up(self.log.end, limits.lag_max, now)
            || follower.is_silent(limits.silence_max, self.awake_since, now)
    }

    /// It has all that is committed and has seen this epoch, it is alive, and the controller thinks so, too.
    fn may_join(&self, follower: &Progress, now: Instant) -> bool {
        let silent = follower.is_silent(self.settings.limits.silence_max, self.awake_since, now);
        let has = |end| end >= self.log.high_watermark && end >= self.epoch_start;
        #[cfg(test)]
        let has = |end| has(end) || self.bug == Some(crate::model_tests::Bug::JoinsTooEarly);
        follower.log_end.is_some_and(has) && follower.is_eligible() && !silent
    }

    /// A follower that keeps up and only lacks the membership. The high watermark waits for it.
    pub(super) fn is_about_to_join(&self, follower: &Progress, now: Instant) -> bool {
        let limits = &self.settings.limits;
        follower.is_eligible()
            && follower.is_caught_up(self.log.end, limits.lag_max, now)
            && !follower.is_silent(limits.silence_max, self.awake_since, now)
    }
}
