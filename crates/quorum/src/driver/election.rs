//! Elections before their time: when it is known that the leader's process is gone, nobody need wait out its lease. And again, when
//! one was decided for nobody.
//!
//! Picture: Raft makes a voter believe in its leader for an election timeout after it last heard of it, and deny others its vote as
//! long, so that a voter that is merely cut off disturbs nobody. A process whose port refuses connections needs no such patience.
//! Each voter notices that itself, forgets the leader and asks for votes at a time by its rank; until somebody leads it asks
//! again every few tens of milliseconds, since those it asked may have noticed a little later.
//!
//! Invariants: an early election is an ordinary one (pre-vote, then vote): nothing about who may win changes, so a wrong report costs
//! time and never data. A report counts for one election timeout and for the term of the leader that it is about.

use std::time::{Duration, Instant};

use raft::{
    INVALID_ID, StateRole,
    eraftpb::{Message, MessageType},
};
use twinstream_model::NodeId;

use super::{Driver, Ended};
use crate::raft_id;

/// Between the first tries of two voters, so that they do not split the votes.
const STAGGER: Duration = Duration::from_millis(20);
/// After a pre-vote that was not answered by a majority.
const PRE_VOTE_RETRY: Duration = Duration::from_millis(40);
/// While somebody collects votes, which takes two disk flushes.
const VOTE_PATIENCE: Duration = Duration::from_millis(150);

/// What this node knows about leaders that are gone.
#[derive(Debug, Default)]
pub(super) struct Elections {
    lost: Option<LostLeader>,
    /// When an election without a report is repeated, and the term and role in which this node asked.
    repeat: Option<(Instant, u64, StateRole)>,
}

#[derive(Debug)]
struct LostLeader {
    leader: u64,
    term: u64,
    /// Raft's term and role when they were last looked at: when they change, somebody is collecting votes.
    seen: (u64, StateRole),
    next_try: Instant,
    until: Instant,
}

impl Elections {
    /// When something may be due.
    pub(super) fn next(&self) -> Option<Instant> {
        let lost = self.lost.as_ref().map(|lost| lost.next_try);
        let repeat = self.repeat.map(|(next_try, ..)| next_try);
        [lost, repeat].into_iter().flatten().min()
    }
}

impl Driver {
    pub(super) fn peer_gone(&mut self, node: NodeId, now: Instant) {
        let gone = raft_id(node);
        if self.node.raft.leader_id != gone || self.node.raft.state == StateRole::Leader {
            return;
        }
        let term = self.node.raft.term;
        tracing::info!(leader = %node, term, "the process that led the metadata quorum is gone");
        self.node.raft.leader_id = INVALID_ID;
        if self.may_campaign() {
            let next_try = now + STAGGER * self.rank_without(node);
            let until = now + self.election_timeout;
            let seen = (term, self.node.raft.state);
            self.elections.lost = Some(LostLeader { leader: gone, term, seen, next_try, until });
        }
    }

    /// A leader asks for votes of a later term only when it leads no more: it was started anew, or stopped for long. Nobody need wait
    /// for the end of a lease that its holder has given up.
    pub(super) fn notice_resignation(&mut self, message: &Message) {
        let asks = matches!(message.get_msg_type(), MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        let raft = &mut self.node.raft;
        if asks && message.from == raft.leader_id && message.term > raft.term && raft.state != StateRole::Leader {
            tracing::info!(
                leader = raft.leader_id - 1,
                term = raft.term,
                "the leader of the metadata quorum leads no more"
            );
            raft.leader_id = INVALID_ID;
        }
    }

    /// This process was not run for long, with the machine or alone. Whatever it believes of the others is as old, and another node
    /// may lead by now; so it asks before it decides anything or takes the others for silent.
    pub(super) fn doubt_leadership(&mut self, overslept: Duration) -> Result<(), Ended> {
        if self.node.raft.state != StateRole::Leader {
            return Ok(());
        }
        tracing::warn!(
            stopped_ms = overslept.as_millis() as u64,
            "this process was stopped for a while and leads no more until it is elected again"
        );
        let term = self.node.raft.term;
        self.node.raft.become_follower(term, INVALID_ID);
        self.handle_all_ready()?;
        self.call_first_election()
    }

    /// How many voters go first.
    fn rank_without(&self, gone: NodeId) -> u32 {
        let voters = self.members.in_force().voters.keys();
        voters.filter(|voter| **voter != gone && **voter < self.me).count() as u32
    }

    /// Asks for votes when it is time. Must be called when Raft has nothing to persist.
    pub(super) fn hold_elections(&mut self, now: Instant) -> Result<(), Ended> {
        self.replace_lost_leader(now)?;
        self.repeat_election(now)
    }

    fn replace_lost_leader(&mut self, now: Instant) -> Result<(), Ended> {
        let Some(mut lost) = self.elections.lost.take() else { return Ok(()) };
        let (leader, term, role) = (self.node.raft.leader_id, self.node.raft.term, self.node.raft.state);
        if leader == lost.leader && term == lost.term && now < lost.until {
            // A message that the dead process had sent before.
            self.node.raft.leader_id = INVALID_ID;
        } else if leader != INVALID_ID || now >= lost.until || !self.may_campaign() {
            return Ok(());
        }
        let stagger = STAGGER * crate::node_id(lost.leader).map_or(0, |gone| self.rank_without(gone));
        if lost.seen.0 != term {
            lost.next_try = now + VOTE_PATIENCE + stagger;
        } else if now >= lost.next_try {
            tracing::debug!(term, ?role, "asking for votes without waiting for the lease");
            self.node.campaign()?;
            lost.next_try = now + PRE_VOTE_RETRY + stagger;
        }
        lost.seen = (self.node.raft.term, self.node.raft.state);
        self.elections.lost = Some(lost);
        Ok(())
    }

    /// A node that starts asks at once. If there is a leader it is not answered, and hears of it before it asks again; after a stop
    /// of all nodes nobody waits for an election timeout that began with nobody to hear.
    pub(super) fn call_first_election(&mut self) -> Result<(), Ended> {
        if self.may_campaign() {
            self.node.campaign()?;
            self.handle_all_ready()?;
            // The others may not reach this node yet; then their answers are lost, and nothing else may come for long.
            self.repeat_election(Instant::now())?;
        }
        Ok(())
    }

    /// A voter whose lease ends a moment later does not answer, and two that ask at the same time split the votes; without another try
    /// the next one would be an election timeout away.
    fn repeat_election(&mut self, now: Instant) -> Result<(), Ended> {
        let (term, role) = (self.node.raft.term, self.node.raft.state);
        let patience = match role {
            StateRole::PreCandidate => PRE_VOTE_RETRY,
            StateRole::Candidate => VOTE_PATIENCE,
            StateRole::Follower | StateRole::Leader => {
                self.elections.repeat = None;
                return Ok(());
            }
        };
        let next_try = now + patience + STAGGER * self.rank_without(NodeId::NONE);
        match self.elections.repeat {
            Some((due, in_term, as_role)) if (in_term, as_role) == (term, role) => {
                if now >= due && self.elections.lost.is_none() {
                    self.elections.repeat = Some((next_try, term, role));
                    self.node.campaign()?;
                }
            }
            _ => self.elections.repeat = Some((next_try, term, role)),
        }
        Ok(())
    }
}
