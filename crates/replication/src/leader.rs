//! One partition as its leader sees it: who has what, what is committed, who is in sync.
//!
//! Picture: a table with a row for each follower, filled by the follower's fetches. A fetch at offset `n` says "I have
//! everything below `n`", provided that the epochs of both logs agree; [`LeaderState::fetched`] checks that first,
//! because a follower with a diverging tail has nothing at all above the fork.
//!
//! ```text
//!   committed ISR      what the newest image says: counts for min.insync.replicas
//!   proposed ISR       what the controller was asked for and has not answered
//!   maximal ISR        both together: counts for the high watermark
//! ```
//! Invariants: L1 high watermark = smallest log end over the maximal ISR (where `twinstream.flush` is `ack`: smallest
//! flushed end), and it stands still while the committed ISR
//! is smaller than min.insync.replicas (KIP-966). L2 one proposal at a time. L3 only an answer or an image of the same
//! leader epoch with a newer partition epoch changes the committed ISR. L4 a follower counts only under the broker
//! epoch of its present registration (KIP-903).
//!
//! Not here: the log and its epochs (they come in as numbers and a function), requests that wait.

mod isr; // who should be in the ISR, proposals and their fate
mod progress; // one follower's row

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thiserror::Error;
use twinstream_model::{LeaderEpoch, NodeId, Offset};

use progress::Progress;

pub use isr::{Answer, Answered, Proposal};

/// When a follower falls out of the ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `replica.lag.time.max.ms`: it was not at the leader's log end for this long.
    pub lag_max: Duration,
    /// It did not fetch at all for this long. A follower with nothing to fetch asks again every
    /// `replica.fetch.wait.max.ms`, so silence means that it is hung or cut off. Kafka has no such limit and so lets
    /// writers wait for the lag time.
    pub silence_max: Duration,
}

/// The settings that bear on a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderSettings {
    pub min_insync_replicas: usize,
    pub limits: Limits,
}

/// A partition's state in a metadata image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
}

/// What the newest metadata image says of a registered broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of its registration; a restart brings a larger one.
    pub broker_epoch: i64,
    /// Neither fenced nor in controlled shutdown, so that it may join an ISR (KIP-841).
    pub eligible: bool,
}

/// Where the leader's own log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPositions {
    pub start: Offset,
    pub end: Offset,
    pub high_watermark: Offset,
}

/// One partition in a follower's fetch request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaFetch {
    pub follower: NodeId,
    /// From `replica_state`; -1 if it was not sent.
    pub broker_epoch: i64,
    /// `current_leader_epoch`: the epoch in which the follower believes to ask.
    pub leader_epoch: LeaderEpoch,
    /// The follower's log end.
    pub offset: Offset,
    /// The epoch of the follower's last record, [`LeaderEpoch::NONE`] if it has none.
    pub last_epoch: LeaderEpoch,
    /// Where the follower's log begins.
    pub log_start: Offset,
}

/// Why a follower's fetch counts for nothing and gets no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FetchRefused {
    #[error("follower knows leader epoch {theirs}, it is {ours} by now")]
    FencedLeaderEpoch { theirs: LeaderEpoch, ours: LeaderEpoch },
    #[error("follower knows leader epoch {theirs}, this leader has not heard of it and leads epoch {ours}")]
    UnknownLeaderEpoch { theirs: LeaderEpoch, ours: LeaderEpoch },
    #[error("node {0} is no replica of this partition")]
    NotReplica(NodeId),
    #[error("node {node} fetches with broker epoch {theirs}, its registration has {ours}")]
    StaleBrokerEpoch { node: NodeId, theirs: i64, ours: i64 },
    #[error("node {0} is not registered, or this broker has not heard of it yet; ask again")]
    UnknownBroker(NodeId),
    /// The logs fork: the follower must cut its log (KIP-595's diverging epoch).
    #[error("logs diverge: epoch {epoch} of the leader ends at {end}")]
    Diverging { epoch: LeaderEpoch, end: Offset },
    #[error("fetch offset is outside the leader's log, which reaches from {start} to {end}")]
    OutOfRange { start: Offset, end: Offset },
}

/// The ISR is too small for `acks=all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{have} replicas are in sync, min.insync.replicas asks for {need}")]
pub struct NotEnoughReplicas {
    pub have: usize,
    pub need: usize,
}

/// What the caller has to do after an event.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The high watermark moved here: move the log's, wake who waits for it.
    pub high_watermark: Option<Offset>,
    /// Send this to the controller and bring back the outcome with [`LeaderState::answered`].
    pub proposal: Option<Proposal>,
}

/// A leader's view of one partition during one leader epoch. The next epoch begins with a new one.
#[derive(Clone, Debug)]
pub struct LeaderState {
    node: NodeId,
    leader_epoch: LeaderEpoch,
    /// Where the log ended when this epoch began. Who has less has not seen this epoch and may hold a diverging tail.
    epoch_start: Offset,
    partition_epoch: i32,
    replicas: Vec<NodeId>,
    /// The committed ISR.
    isr: Vec<NodeId>,
    in_flight: Option<Proposal>,
    proposals: u64,
    /// No proposal before this time, because the controller has just refused one.
    quiet_until: Option<Instant>,
    followers: BTreeMap<NodeId, Progress>,
    log: LogPositions,
    /// Of the own log only what lies below counts, because the rest is not on the disk yet. `None` where that does not
    /// matter.
    flushed: Option<Offset>,
    settings: LeaderSettings,
    ticked: Instant,
    /// Followers are not blamed for silence before this time: this process itself did not run.
    awake_since: Instant,
    /// A mistake that the model test plants to see that it would be noticed.
    #[cfg(test)]
    pub(crate) bug: Option<crate::model_tests::Bug>,
}

impl LeaderState {
    /// Begins a leadership. The caller has noted the epoch in its log (`note_leadership`) and passes the positions of
    /// its log. In-sync followers get their full time; the high watermark stays where it was until they have fetched.
    ///
    /// Only for images that hold the registration of *this* run of the broker: in an older one it may lead an epoch in
    /// which it has already written, and what it wrote may be lost since. Two records would share an epoch and an
    /// offset, and no comparison of epochs would ever notice.
    pub fn new(
        node: NodeId,
        assignment: &Assignment,
        log: LogPositions,
        settings: LeaderSettings,
        standing: impl Fn(NodeId) -> Option<Standing>,
        now: Instant,
    ) -> LeaderState {
        let mut state = LeaderState {
            node,
            leader_epoch: assignment.leader_epoch,
            epoch_start: log.end,
            partition_epoch: assignment.partition_epoch,
            replicas: assignment.replicas.clone(),
            isr: assignment.isr.clone(),
            in_flight: None,
            proposals: 0,
            quiet_until: None,
            followers: BTreeMap::new(),
            log,
            flushed: None,
            settings,
            ticked: now,
            awake_since: now,
            #[cfg(test)]
            bug: None,
        };
        state.line_up_followers(now);
        for (id, follower) in &mut state.followers {
            follower.set_standing(standing(*id));
        }
        state
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// The log end at the beginning of this epoch. ListOffsets for the latest offset answers OFFSET_NOT_AVAILABLE until
    /// the high watermark reaches it (KIP-207).
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    pub fn high_watermark(&self) -> Offset {
        self.log.high_watermark
    }

    /// The committed ISR: what the controller knows.
    pub fn isr(&self) -> &[NodeId] {
        &self.isr
    }

    pub fn replicas(&self) -> &[NodeId] {
        &self.replicas
    }

    pub fn in_isr(&self, node: NodeId) -> bool {
        self.isr.contains(&node)
    }

    /// Every node that is or may by now be in the ISR.
    pub fn maximal_isr(&self) -> impl Iterator<Item = NodeId> {
        let in_flight = self.in_flight.iter();
        #[cfg(test)]
        let in_flight = in_flight.filter(|_| self.bug != Some(crate::model_tests::Bug::NoMaximalIsr));
        let proposed = in_flight.flat_map(|proposal| proposal.isr.iter().map(|(id, _)| *id));
        self.isr.iter().copied().chain(proposed.filter(|id| !self.isr.contains(id)))
    }

    /// Whether an `acks=all` append may begin. Asked again after the records are committed.
    pub fn check_min_isr(&self) -> Result<(), NotEnoughReplicas> {
        let (have, need) = (self.isr.len(), self.effective_min_isr());
        if have < need { Err(NotEnoughReplicas { have, need }) } else { Ok(()) }
    }

    /// min.insync.replicas beyond the number of replicas would never be met (KIP-966).
    pub fn effective_min_isr(&self) -> usize {
        self.settings.min_insync_replicas.clamp(1, self.replicas.len().max(1))
    }

    /// What a follower is known to have: its log end, `None` if it has not fetched in this epoch.
    pub fn follower_end(&self, node: NodeId) -> Option<Offset> {
        self.followers.get(&node).and_then(|follower| follower.log_end)
    }

    /// Where a follower's log is known to begin.
    pub fn follower_start(&self, node: NodeId) -> Option<Offset> {
        self.followers.get(&node).and_then(|follower| follower.log_start)
    }

    /// Up to where records are deleted on all replicas whose brokers are eligible: DeleteRecords waits for it.
    pub fn low_watermark(&self) -> Offset {
        let starts = self.followers.values().filter(|f| f.is_eligible()).map(|f| f.log_start.unwrap_or(Offset(0)));
        starts.fold(self.log.start, Offset::min)
    }

    /// The configuration changed.
    pub fn set_settings(&mut self, settings: LeaderSettings, now: Instant) -> Effects {
        self.settings = settings;
        self.look(now)
    }

    /// The log's start moved, by retention or DeleteRecords.
    pub fn set_log_start(&mut self, start: Offset) {
        self.log.start = start;
    }

    /// Records were appended. Returns the high watermark if it moved, which it does at once where the leader is the
    /// only one in sync.
    pub fn appended(&mut self, log_end: Offset, now: Instant) -> Option<Offset> {
        self.log.end = log_end.max(self.log.end);
        self.move_high_watermark(now)
    }

    /// The log was cut here, where a mirror's source was cut: the high watermark goes back with it. Followers count again once they
    /// have fetched, which they can only after they have cut their logs, too.
    pub fn cut(&mut self, log_end: Offset) {
        self.log.end = log_end;
        self.log.high_watermark = self.log.high_watermark.min(log_end);
        self.epoch_start = self.epoch_start.min(log_end);
        let isr = &self.isr;
        for (id, follower) in &mut self.followers {
            follower.start_over(isr.contains(id));
        }
    }

    /// Where what this broker has may be lost with its power, only the part that it has flushed counts; the followers of
    /// such a partition fetch at what they have flushed. Takes effect with the next event, mostly
    /// [`LeaderState::appended`].
    pub fn set_flushed(&mut self, flushed: Option<Offset>) {
        self.flushed = flushed;
    }

    /// A follower asks for records: checks that its log agrees with ours and takes in what it says. `end_of_epoch` is
    /// the log's `end_offset_for_epoch`. Nothing is noted if the fetch is refused.
    pub fn fetched(
        &mut self,
        fetch: &ReplicaFetch,
        end_of_epoch: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
        now: Instant,
    ) -> Result<Effects, FetchRefused> {
        self.check_sender(fetch)?;
        self.check_lineage(fetch, end_of_epoch)?;
        let end = self.log.end;
        if let Some(follower) = self.followers.get_mut(&fetch.follower) {
            follower.fetched(fetch, end, now);
        }
        Ok(self.look(now))
    }

    /// The fetch that was taken in with [`LeaderState::fetched`] is still waiting for its answer, so its follower is alive.
    /// Nothing new is learned from it: since it was sent the follower may have asked for something else on another
    /// connection, or may have left the replicas, dropped its log and come back with none. So it counts only if it says what
    /// is known of this follower anyway.
    pub fn still_waits(&mut self, fetch: &ReplicaFetch, now: Instant) -> Result<Effects, FetchRefused> {
        self.check_sender(fetch)?;
        let end = self.log.end;
        if let Some(follower) = self.followers.get_mut(&fetch.follower)
            && follower.log_end == Some(fetch.offset)
        {
            follower.fetched(fetch, end, now);
        }
        Ok(self.look(now))
    }

    /// Whether a follower that stands here still has the records that we have. To be asked again after its records were read where a
    /// leader may cut its log: what lies at the same offsets may be something else by then.
    pub fn check_position(
        &self,
        fetch: &ReplicaFetch,
        end_of_epoch: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
    ) -> Result<(), FetchRefused> {
        self.check_sender(fetch)?;
        self.check_lineage(fetch, end_of_epoch)
    }

    /// Who asks: a replica, in this leader epoch, under its present registration.
    fn check_sender(&self, fetch: &ReplicaFetch) -> Result<(), FetchRefused> {
        let (theirs, ours) = (fetch.leader_epoch, self.leader_epoch);
        if theirs < ours {
            return Err(FetchRefused::FencedLeaderEpoch { theirs, ours });
        }
        if theirs > ours {
            return Err(FetchRefused::UnknownLeaderEpoch { theirs, ours });
        }
        let follower = self.followers.get(&fetch.follower).ok_or(FetchRefused::NotReplica(fetch.follower))?;
        let Some(standing) = follower.standing else {
            return Err(FetchRefused::UnknownBroker(fetch.follower));
        };
        match fetch.broker_epoch.cmp(&standing.broker_epoch) {
            std::cmp::Ordering::Less => Err(FetchRefused::StaleBrokerEpoch {
                node: fetch.follower,
                theirs: fetch.broker_epoch,
                ours: standing.broker_epoch,
            }),
            std::cmp::Ordering::Equal => Ok(()),
            // It registered again and our image lags behind.
            std::cmp::Ordering::Greater => Err(FetchRefused::UnknownBroker(fetch.follower)),
        }
    }

    /// What it has: the same records as we, as far as it goes.
    fn check_lineage(
        &self,
        fetch: &ReplicaFetch,
        end_of_epoch: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
    ) -> Result<(), FetchRefused> {
        let out_of_range = FetchRefused::OutOfRange { start: self.log.start, end: self.log.end };
        if fetch.offset < self.log.start {
            return Err(out_of_range); // whether it diverges does not matter, it has to begin anew
        }
        if fetch.last_epoch != LeaderEpoch::NONE {
            let (epoch, end) = end_of_epoch(fetch.last_epoch).ok_or(out_of_range)?;
            if epoch < fetch.last_epoch || end < fetch.offset {
                return Err(FetchRefused::Diverging { epoch, end });
            }
        }
        if fetch.offset > self.log.end { Err(out_of_range) } else { Ok(()) }
    }

    /// Time passed; call it several times within `silence_max`.
    pub fn tick(&mut self, now: Instant) -> Effects {
        if now.saturating_duration_since(self.ticked) > self.settings.limits.silence_max / 2 {
            self.awake_since = now;
        }
        self.ticked = now;
        self.look(now)
    }

    /// The image changed: registrations, fencing, shutdowns.
    pub fn brokers_changed(&mut self, standing: impl Fn(NodeId) -> Option<Standing>, now: Instant) -> Effects {
        for (id, follower) in &mut self.followers {
            let in_isr = self.isr.contains(id);
            if follower.set_standing(standing(*id)) {
                follower.start_over(in_isr);
            }
        }
        self.look(now)
    }

    /// The image changed for this partition; [`LeaderState::brokers_changed`] of the same image comes next, so that new
    /// replicas are known. An older state, or one of another leader epoch (which needs a new [`LeaderState`]), changes
    /// nothing.
    pub fn image_changed(&mut self, assignment: &Assignment, now: Instant) -> Effects {
        if assignment.leader_epoch == self.leader_epoch && assignment.partition_epoch > self.partition_epoch {
            self.partition_epoch = assignment.partition_epoch;
            self.replicas.clone_from(&assignment.replicas);
            self.isr.clone_from(&assignment.isr);
            // Whatever was proposed was proposed for an older partition epoch: it is in this state or it is void.
            self.in_flight = None;
            self.quiet_until = None;
            self.line_up_followers(now);
        }
        self.look(now)
    }

    /// Makes the table of followers agree with the replicas.
    fn line_up_followers(&mut self, now: Instant) {
        let replicas = &self.replicas;
        self.followers.retain(|id, _| replicas.contains(id));
        for id in self.replicas.iter().filter(|id| **id != self.node) {
            let in_isr = self.isr.contains(id);
            self.followers.entry(*id).or_insert_with(|| Progress::new(in_isr, now));
        }
    }

    /// Draws the conclusions from the present state.
    fn look(&mut self, now: Instant) -> Effects {
        let proposal = self.propose(now);
        Effects { high_watermark: self.move_high_watermark(now), proposal }
    }

    fn move_high_watermark(&mut self, now: Instant) -> Option<Offset> {
        if self.check_min_isr().is_err() {
            return None;
        }
        let mut reached = self.flushed.map_or(self.log.end, |flushed| flushed.min(self.log.end));
        for (id, follower) in &self.followers {
            if self.maximal_isr().any(|member| member == *id) {
                reached = reached.min(follower.log_end?);
            } else if let Some(end) = follower.log_end.filter(|_| self.is_about_to_join(follower, now)) {
                // It could never join while the high watermark keeps running away from it.
                reached = reached.min(end);
            }
        }
        if reached <= self.log.high_watermark {
            return None;
        }
        self.log.high_watermark = reached;
        Some(reached)
    }
}

#[cfg(test)]
mod tests;
