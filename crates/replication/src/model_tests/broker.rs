//! One broker of the model: a log in memory of which a part is flushed, and the role that the last image gave it.

use std::time::{Duration, Instant};

use twinstream_model::{LeaderEpoch, NodeId, Offset};

use super::Bug;
use super::controller::{Image, MIN_ISR};
use crate::follower::{Ask, FollowerState, OwnLog};
use crate::leader::{LeaderSettings, LeaderState, Limits, LogPositions};

const LIMITS: Limits = Limits { lag_max: Duration::from_millis(600), silence_max: Duration::from_millis(250) };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: LeaderEpoch,
    pub(super) value: u64,
}

#[derive(Debug)]
pub(super) enum Role {
    None,
    Leader(Box<LeaderState>),
    Follower { leader: NodeId, state: FollowerState, asked: Option<Ask> },
}

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) id: NodeId,
    pub(super) up: bool,
    /// Counts process starts, so that a connection of an earlier one is dead.
    pub(super) run: u64,
    pub(super) broker_epoch: i64,
    pub(super) log: Vec<Record>,
    pub(super) flushed: usize,
    /// Starts of epochs, those without records included.
    epochs: Vec<(LeaderEpoch, usize)>,
    pub(super) high_watermark: usize,
    checkpoint: usize,
    /// Something was lost since the last registration.
    pub(super) lost: bool,
    /// Something was lost since it was in the ISR.
    pub(super) hurt: bool,
    /// Records, from the first on, that were compared with what is committed.
    pub(super) verified: usize,
    /// The newest image that arrived.
    pub(super) seen: usize,
    pub(super) role: Role,
    bug: Option<Bug>,
}

impl Broker {
    pub(super) fn new(id: NodeId, bug: Option<Bug>) -> Broker {
        Broker {
            id,
            up: false,
            run: 0,
            broker_epoch: -1,
            log: Vec::new(),
            flushed: 0,
            epochs: Vec::new(),
            high_watermark: 0,
            checkpoint: 0,
            lost: false,
            hurt: false,
            verified: 0,
            seen: 0,
            role: Role::None,
            bug,
        }
    }

    pub(super) fn end(&self) -> Offset {
        Offset(self.log.len() as i64)
    }

    fn last_epoch(&self) -> LeaderEpoch {
        self.log.last().map_or(LeaderEpoch::NONE, |record| record.epoch)
    }

    fn own_log(&self) -> OwnLog {
        let last_epoch = match self.bug {
            Some(Bug::IgnoresLineage | Bug::CutsAtHighWatermark) => LeaderEpoch::NONE,
            _ => self.last_epoch(),
        };
        OwnLog { start: Offset(0), end: self.end(), high_watermark: Offset(self.high_watermark as i64), last_epoch }
    }

    /// Kafka's OffsetForLeaderEpoch.
    pub(super) fn end_of(&self, requested: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let (latest, _) = self.epochs.last()?;
        if requested == *latest {
            return Some((requested, self.end()));
        }
        let higher = self.epochs.iter().position(|(epoch, _)| *epoch > requested)?;
        let end = Offset(self.epochs[higher].1 as i64);
        Some(higher.checked_sub(1).map_or((requested, end), |before| (self.epochs[before].0, end)))
    }

    fn note_epoch(&mut self, epoch: LeaderEpoch) {
        let end = self.log.len();
        self.epochs.retain(|(_, start)| *start < end);
        if self.epochs.last().is_none_or(|(latest, _)| *latest < epoch) {
            self.epochs.push((epoch, end));
        }
    }

    pub(super) fn append(&mut self, record: Record) {
        self.note_epoch(record.epoch);
        self.log.push(record);
    }

    pub(super) fn cut(&mut self, to: usize) {
        self.log.truncate(to);
        self.flushed = self.flushed.min(to);
        self.verified = self.verified.min(to);
        self.high_watermark = self.high_watermark.min(to);
        self.checkpoint = self.checkpoint.min(to);
        self.epochs.retain(|(_, start)| *start < to);
        let own = self.own_log();
        if let Role::Follower { state, asked, .. } = &mut self.role {
            state.cut(own);
            *asked = None;
        }
    }

    pub(super) fn flush(&mut self) {
        self.flushed = self.log.len();
        self.checkpoint = self.high_watermark;
    }

    pub(super) fn crash(&mut self) {
        self.up = false;
        self.role = Role::None;
    }

    /// Loses what was not flushed, or everything.
    pub(super) fn lose(&mut self, keep_flushed: bool) {
        self.crash();
        self.cut(if keep_flushed { self.flushed } else { 0 });
        self.lost = true;
        self.hurt = true;
    }

    pub(super) fn start(&mut self, broker_epoch: i64, seen: usize) {
        self.up = true;
        self.run += 1;
        self.seen = seen;
        self.lost = false;
        self.broker_epoch = broker_epoch;
        self.high_watermark = self.checkpoint.min(self.log.len());
    }

    /// Takes in an image that is newer than the one before.
    pub(super) fn see(&mut self, index: usize, image: &Image, now: Instant) -> Vec<crate::leader::Effects> {
        self.seen = index;
        let standing = |id: NodeId| image.standing.get(&id).copied();
        let assignment = &image.assignment;
        let known = match &self.role {
            Role::None => None,
            Role::Leader(state) => Some(state.leader_epoch()),
            Role::Follower { state, .. } => Some(state.leader_epoch()),
        };
        if known == Some(assignment.leader_epoch) && image.leader.is_some() {
            let Role::Leader(state) = &mut self.role else { return Vec::new() };
            return vec![state.image_changed(assignment, now), state.brokers_changed(standing, now)];
        }
        self.role = match image.leader {
            None => Role::None,
            Some(id) if id == self.id => {
                self.note_epoch(assignment.leader_epoch);
                let mut high_watermark = Offset(self.high_watermark as i64);
                if self.bug == Some(Bug::TrustsItsOwnTail) {
                    high_watermark = self.end();
                }
                let log = LogPositions { start: Offset(0), end: self.end(), high_watermark };
                let min_insync_replicas = if self.bug == Some(Bug::CommitsBelowMinIsr) { 1 } else { MIN_ISR };
                let settings = LeaderSettings { min_insync_replicas, limits: LIMITS };
                let mut state = LeaderState::new(self.id, assignment, log, settings, standing, now);
                state.bug = self.bug;
                self.high_watermark = state.high_watermark().0 as usize;
                Role::Leader(Box::new(state))
            }
            Some(leader) => {
                if self.bug == Some(Bug::CutsAtHighWatermark) {
                    self.cut(self.high_watermark);
                }
                let state = FollowerState::new(assignment.leader_epoch, self.own_log());
                Role::Follower { leader, state, asked: None }
            }
        };
        Vec::new()
    }

    pub(super) fn leading(&self) -> Option<&LeaderState> {
        match &self.role {
            Role::Leader(state) if self.up => Some(state),
            _ => None,
        }
    }
}
